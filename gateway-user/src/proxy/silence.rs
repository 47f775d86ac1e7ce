//! Ending a connection on which nothing moves.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Looks now and then whether something has moved, so that it costs a connection that works
/// nothing: one that does not is found out after one to two such times.
#[derive(Debug)]
pub(super) struct Silence {
    time: Duration,
    next_look: Pin<Box<Sleep>>,
    moved: bool,
}

impl Silence {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, next_look: Box::pin(sleep(time)), moved: false }
    }

    /// Ready when nothing has moved for that time. `moved` is whether something has since it was
    /// last polled.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        self.moved |= moved;
        loop {
            ready!(self.next_look.as_mut().poll(cx));
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(());
            }
            self.next_look.as_mut().reset(Instant::now() + self.time);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const TIME: Duration = Duration::from_mins(5);

    /// How long it takes from now on; something has moved up to now.
    async fn wait(silence: &mut Silence) -> Duration {
        let (mut moved, begun) = (true, Instant::now());
        poll_fn(|cx| silence.poll(cx, std::mem::take(&mut moved))).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_noticed_when_nothing_has_moved_for_that_time_and_not_before() {
        let mut silence = Silence::new(TIME);
        for _ in 0..10 {
            let soon = tokio::time::timeout(TIME * 2 / 3, wait(&mut silence)).await;
            assert!(soon.is_err(), "it moved all the time");
        }
        let waited = wait(&mut silence).await;
        assert!(waited >= TIME && waited <= 2 * TIME, "{waited:?}");
    }
}
