//! The connection and its exchanges: accept → origin → admit → dial → relay, with a tap on the
//! relayed bytes that understands what passes. The only place that puts the pure modules in
//! sequence.

mod admit;
pub mod agent;
mod calls;
mod carry;
mod clock;
mod connect;
mod cut;
mod decrypt;
mod dialogue;
mod egress;
mod estimate;
mod exchange;
mod gate;
pub mod h1;
pub mod h2;
mod http;
mod inbox;
mod lane;
mod leg;
mod opening;
mod origin;
mod others;
mod refusal;
mod relay;
mod selftest;
mod silence;
mod sniff;
mod spend;
mod splice;
mod tap;
pub mod tls;
mod way;
mod wishes;
mod worker;
pub mod ws;

pub use agent::{Agent, Agents, Coverage, CoverageSnapshot, OpaqueReason};
pub use clock::Clock;
pub use egress::{Refusals, RuleSnapshot, Rules};
pub use estimate::Estimates;
pub use exchange::{Recorder, Recording};
pub use gate::{Decision, Gate, Open};
pub use origin::Origins;
pub use others::{Kind, Others, Tally};
pub use selftest::{Arrived, SelfTests, Word};
pub use tls::{Binary, Certificates, Decryption, Distrust, NoLeaf, Roots, Why};
pub use worker::{Context, LAST_CALL, Listeners, serve};
