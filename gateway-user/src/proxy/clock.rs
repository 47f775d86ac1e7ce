//! The one clock of the data path.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::call::{Micros, Timestamp};

/// Wall-clock time that never goes backwards: the system's at the start, and monotonic from there.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    epoch: Timestamp,
}

impl Clock {
    /// A clock that agrees with the system's now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is where time is read")]
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch: Timestamp(Micros::from(epoch).0) }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.epoch.after(self.started.elapsed().into())
    }
}
