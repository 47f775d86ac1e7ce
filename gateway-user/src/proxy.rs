//! The connection and its exchanges.

pub mod h1;
