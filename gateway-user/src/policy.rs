//! What is allowed, and what is looked into. Decisions only: who asks acts on them.

pub mod hosts;
