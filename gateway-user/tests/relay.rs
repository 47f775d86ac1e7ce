//! The whole data path in one process: real sockets and a scripted upstream; only the kernel's
//! part, which tells where a connection was going, is played by the test.

mod relay {
    mod bed;
    mod bounds;
    mod chat;
    mod drain;
    mod egress;
    mod ends;
    mod enforce;
    mod gate;
    mod http;
    mod large;
    mod mcp;
    mod opaque;
    mod properties;
    mod responses;
    mod script;
    mod smuggling;
    mod tls;
    mod usage;
    mod websocket;
}
