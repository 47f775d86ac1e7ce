//! Ids from a seed: the same log gives the same ids.

use crate::call::{SessionId, StepId, TraceId, WorkflowId};

/// A `SplitMix64` sequence (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Debug)]
pub(super) struct Ids {
    state: u64,
}

impl Ids {
    /// The seed is mixed first, so that neighbouring seeds don't give the same ids, shifted.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    pub(super) fn workflow(&mut self) -> WorkflowId {
        WorkflowId(self.draw())
    }

    pub(super) fn session(&mut self) -> SessionId {
        SessionId(self.draw())
    }

    pub(super) fn step(&mut self) -> StepId {
        StepId(self.draw())
    }

    pub(super) fn trace(&mut self) -> TraceId {
        TraceId(self.wide())
    }

    pub(super) fn wide(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// Never zero: W3C Trace Context calls an all-zero id invalid.
    fn draw(&mut self) -> u64 {
        loop {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let drawn = mix(self.state);
            if drawn != 0 {
                return drawn;
            }
        }
    }
}

fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
