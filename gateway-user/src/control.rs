//! The control socket and the commands.

pub mod api;
pub mod budget;
pub mod cli;
pub mod client;
pub mod commands;
pub mod kill;
pub mod model;
pub mod render;
pub mod server;
pub mod socket;
mod text;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use api::{Gateway, Peer};
pub use client::{Client, ClientError};
pub use model::{
    AgentInfo, AgentState, AttachRequest, Coverage, Existing, Refusal, Status, Target,
};
pub use server::serve;
pub use socket::{BindError, ControlSocket};
