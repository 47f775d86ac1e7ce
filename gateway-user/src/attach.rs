//! Agents and their sockets.
