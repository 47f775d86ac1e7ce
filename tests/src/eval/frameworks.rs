//! Real frameworks, as they are published, driven against a model that is played here: what they put on
//! the wire, with its truth, and what the gateway that they went through has made of it.
//!
//! ```text
//! plot ─▶ stage ◀─▶ serve ◀─▶ (gateway) ◀─▶ a framework's program
//!           │         │           │
//!           └ truth ──┴▶ record   └▶ reported ─▶ judge
//! ```

mod check;
pub mod corpus;
mod interleave;
mod perform;
mod plot;
mod profile;
mod reported;
mod serve;
mod stage;
mod words;

pub use perform::{Performance, Plan, perform};
pub use profile::{ALL, Profile};
