//! Ending in good order: tell everybody how far it has come, and wait until the last has left, but
//! not for ever.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// How far the end has come. It only ever goes on.
///
/// ```text
/// Running ──► Closing ──► Draining ──► Cut
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// Nothing new is taken on; what there is goes on.
    Closing,
    /// What there is ends as soon as it can.
    Draining,
    /// What is left ends now.
    Cut,
}

/// The side that tells. Dropping it tells nobody anything, and lets everybody go on.
#[derive(Debug)]
pub struct Signal(watch::Sender<Phase>);

/// The side that is told. Whoever holds one is waited for.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Phase>);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Everybody left by themselves.
    Whole,
    /// The deadline came first.
    Deadline,
}

/// Both sides.
#[must_use]
pub fn channel() -> (Signal, Watch) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Signal(sender), Watch(receiver))
}

impl Signal {
    /// Tells every watcher that it has come so far. Going back is not possible, and does nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Waits until the last watcher is gone, at most until the deadline.
    pub async fn gone(&self, deadline: Duration) -> Drained {
        match timeout(deadline, self.0.closed()).await {
            Ok(()) => Drained::Whole,
            Err(_) => Drained::Deadline,
        }
    }
}

impl Watch {
    /// Resolves when it has come to `phase` or beyond. Never, if the other side left before.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wait_ends_when_the_last_watcher_has_left() {
        let (signal, mut watch) = channel();
        let watcher = tokio::spawn(async move { watch.reached(Phase::Draining).await });
        signal.advance(Phase::Draining);
        assert_eq!(signal.gone(Duration::from_mins(1)).await, Drained::Whole);
        watcher.await.expect("it ended");
    }

    #[tokio::test]
    async fn a_watcher_that_stays_meets_the_deadline() {
        let (signal, watch) = channel();
        signal.advance(Phase::Cut);
        assert_eq!(signal.gone(Duration::from_millis(5)).await, Drained::Deadline);
        drop(watch);
    }

    #[tokio::test]
    async fn a_phase_that_was_passed_is_reached_and_there_is_no_way_back() {
        let (signal, mut watch) = channel();
        signal.advance(Phase::Draining);
        signal.advance(Phase::Closing);
        watch.reached(Phase::Closing).await;
        watch.reached(Phase::Draining).await;
    }
}
