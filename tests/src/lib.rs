//! What the tests on the real kernel share: a gateway, agents to attach, servers for them to call.
//! Whatever is made is removed when it is dropped, also when a test panics, and has a name of its
//! own, so that tests run beside each other.
#![allow(clippy::missing_panics_doc, reason = "it is how a test fails")]
#![allow(clippy::must_use_candidate, reason = "a test may do something for its effect alone")]

pub mod agent;
pub mod authority;
pub mod bench;
pub mod bundle;
pub mod burst;
pub mod chat;
pub mod clients;
pub mod container;
pub mod dialects;
pub mod eval;
pub mod figure;
pub mod gateway;
pub mod host;
pub mod leaks;
pub mod machine;
pub mod model_server;
pub mod network;
pub mod peer;
pub mod process;
pub mod random;
pub mod routes;
pub mod sandbox;
pub mod simulate;
pub mod site;
pub mod trace;
pub mod wait;
