//! What an agent may do. Decisions only: who is asked, and what becomes of the answer in which mode,
//! is for the proxy.

pub mod egress;
mod glob;
mod network;

pub use self::{
    glob::{Glob, GlobError, HostGlob},
    network::{Network, NetworkError},
};
