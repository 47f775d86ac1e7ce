//! The control socket and the commands.
