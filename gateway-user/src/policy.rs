//! What an agent may do. Decisions only: who is asked, and what becomes of the answer in which mode,
//! is for the proxy.

pub mod egress;
mod network;

pub use self::network::{Network, NetworkError};
