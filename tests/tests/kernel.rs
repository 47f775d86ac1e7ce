//! The hooks, the proxy and the command line on the real kernel. Each test has a gateway, cgroups
//! and network namespaces of its own.

mod kernel {
    mod addresses;
    mod attach;
    mod bad_input;
    mod control;
    mod crash;
    mod death;
    mod direct;
    mod egress;
    mod existing;
    mod hooks;
    mod kill;
    mod load;
    mod log;
    mod processes;
    mod resident;
    mod routes;
    mod selftest;
    mod subprocess;
}
