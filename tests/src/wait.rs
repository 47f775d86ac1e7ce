//! Waiting for a state, never for a time.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// Asks until there is an answer, and panics with `what` when it takes too long: as it is then.
#[track_caller]
pub fn until<T>(
    deadline: Duration,
    what: impl fmt::Display,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        thread::sleep(PERIOD);
    }
}

/// As `until`, for what is true or not.
#[track_caller]
pub fn until_true(deadline: Duration, what: impl fmt::Display, mut ask: impl FnMut() -> bool) {
    until(deadline, what, || ask().then_some(()));
}

const PERIOD: Duration = Duration::from_millis(10);
