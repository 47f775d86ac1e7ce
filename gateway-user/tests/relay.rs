//! The whole data path in one process: real sockets and a scripted upstream; only the kernel's
//! part, which tells where a connection was going, is played by the test.

mod relay {
    mod bed;
    mod beneath;
    mod bounds;
    mod budget;
    mod chat;
    mod countermand;
    mod drain;
    mod egress;
    mod ends;
    mod enforce;
    mod fetch;
    mod gate;
    mod http;
    mod kill;
    mod large;
    mod mcp;
    mod opaque;
    mod properties;
    mod repeats;
    mod replay;
    mod responses;
    mod script;
    mod smuggling;
    mod tls;
    mod usage;
    mod websocket;
}
