//! What is allowed, and what is looked into. Decisions only: who asks acts on them.

pub mod egress;
pub mod hosts;
pub mod metering;
mod network;
pub mod retries;
pub mod upstreams;

pub use self::network::{Network, NetworkError};
