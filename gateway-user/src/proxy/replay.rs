//! Answers that come when their clients have left, kept for the case that those ask the same again.
//!
//! ```text
//!   the client leaves ─▶ Expected ─┬─ whole ───────────────▶ kept ──▶ taken by the next try
//!                                  └─ an error, too late, ─▶ gone: the next try goes upstream
//!                                     or none at all
//! ```
//!
//! A try that is made while the answer is still expected waits for it, and gets whatever comes.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::future::{FutureExt as _, Shared};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::{
    call::{Digest, StepId, Timestamp},
    limits,
};

/// Those of an agent, oldest first.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<VecDeque<Entry>>);

/// Which tries are of the same call: they are retries of the same first one, and ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) first: StepId,
    /// Of the request's head: see [`identity`].
    pub(super) head: Digest,
    pub(super) body: Digest,
}

/// An answer, as it is to be sent: with its head, and so framed that its end can be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// Whether it is worth keeping: only whoever waits for an error gets that.
    pub(super) went_well: bool,
}

/// The obligation to tell whoever waits for an answer what has come: dropped, that none has.
#[derive(Debug)]
#[must_use]
pub(super) struct Expected(oneshot::Sender<Arc<Answer>>);

/// The answer that a try is to get.
#[derive(Debug)]
pub(super) struct Replay(Heard);

#[derive(Debug)]
struct Entry {
    key: Key,
    since: Timestamp,
    heard: Heard,
}

type Heard = Shared<oneshot::Receiver<Arc<Answer>>>;

impl Replays {
    /// An answer is read on. Over [`limits::REPLAYS_PER_AGENT`] the oldest is forgotten, which this says.
    pub(super) fn expect(&self, key: Key, now: Timestamp) -> (Expected, bool) {
        let (expected, heard) = oneshot::channel();
        let mut all = self.lock();
        forget(&mut all, now);
        let is_full = all.len() >= limits::REPLAYS_PER_AGENT;
        if is_full {
            all.pop_front();
        }
        all.push_back(Entry { key, since: now, heard: heard.shared() });
        (Expected(expected), is_full)
    }

    /// The answer to that call, if one is kept or still expected.
    pub(super) fn take(&self, key: &Key, now: Timestamp) -> Option<Replay> {
        let mut all = self.lock();
        forget(&mut all, now);
        let at = all.iter().rposition(|entry| entry.key == *key)?;
        let heard = all.get(at)?.heard.clone();
        match heard.clone().now_or_never() {
            // This try may be given up as well, and the next one have it.
            None => Some(Replay(heard)),
            Some(outcome) => {
                all.remove(at);
                outcome.is_ok_and(|answer| answer.went_well).then_some(Replay(heard))
            }
        }
    }

    /// Forgets what is too old.
    pub(super) fn forget(&self, now: Timestamp) {
        forget(&mut self.lock(), now);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// It has come.
    pub(super) fn fulfil(self, answer: Answer) {
        // Nobody may be left to wait for it.
        let _ = self.0.send(Arc::new(answer));
    }
}

impl Replay {
    /// The answer, or that none will come. Not to be asked again then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Answer>>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

fn forget(all: &mut VecDeque<Entry>, now: Timestamp) {
    all.retain(|entry| entry.since.after(limits::REPLAY_TIME.into()) >= now);
}

/// What a request's head says, but for what differs from one try of a call to the next: who asks, whom,
/// for what, and in which form. So nobody is answered what was meant for somebody else.
pub(super) fn identity(head: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    for line in head.split(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !DIFFERS.iter().any(|differs| name.eq_ignore_ascii_case(differs.as_bytes())) {
            hasher.update(line.trim_ascii_end());
            hasher.update(b"\n");
        }
    }
    Digest(hasher.finalize().into())
}

/// Fields that count, trace or date a try.
const DIFFERS: [&str; 11] = [
    "x-stainless-retry-count",
    "x-stainless-read-timeout",
    "x-stainless-timeout",
    "x-client-request-id",
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "sentry-trace",
    "date",
];

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn key(first: u64) -> Key {
        Key { first: StepId(first), head: Digest([1; 32]), body: Digest([2; 32]) }
    }

    fn answer(went_well: bool) -> Answer {
        Answer { bytes: b"answer".to_vec(), went_well }
    }

    fn poll(replay: &mut Replay) -> Poll<Option<Vec<u8>>> {
        let answer = replay.poll(&mut Context::from_waker(Waker::noop()));
        answer.map(|answer| answer.map(|answer| answer.bytes.clone()))
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn an_answer_is_taken_once_and_only_by_the_same_call() {
        let replays = Replays::default();
        let (expected, _) = replays.expect(key(1), NOW);
        expected.fulfil(answer(true));
        for other in [
            key(2),
            Key { head: Digest([3; 32]), ..key(1) },
            Key { body: Digest([3; 32]), ..key(1) },
        ] {
            assert!(replays.take(&other, NOW).is_none());
        }
        let mut replay = replays.take(&key(1), NOW).expect("kept");
        assert_eq!(poll(&mut replay), Poll::Ready(Some(b"answer".to_vec())));
        assert!(replays.take(&key(1), NOW).is_none());
    }

    #[test]
    fn tries_that_wait_get_what_comes_an_error_too() {
        let replays = Replays::default();
        let (expected, _) = replays.expect(key(1), NOW);
        let mut waiting = [(); 2].map(|()| replays.take(&key(1), NOW).expect("expected"));
        assert_eq!(poll(&mut waiting[0]), Poll::Pending);
        expected.fulfil(answer(false));
        for replay in &mut waiting {
            assert_eq!(poll(replay), Poll::Ready(Some(b"answer".to_vec())));
        }
        assert!(replays.take(&key(1), NOW).is_none(), "an error is not kept");
    }

    #[test]
    fn where_no_answer_comes_the_next_try_goes_upstream() {
        let replays = Replays::default();
        let (expected, _) = replays.expect(key(1), NOW);
        let mut waiting = replays.take(&key(1), NOW).expect("expected");
        drop(expected);
        assert_eq!(poll(&mut waiting), Poll::Ready(None));
        assert!(replays.take(&key(1), NOW).is_none());
    }

    #[test]
    fn answers_are_kept_for_a_while_and_only_so_many() {
        let replays = Replays::default();
        let full = |first| {
            let (expected, full) = replays.expect(key(first), NOW);
            expected.fulfil(answer(true));
            full
        };
        let most = limits::REPLAYS_PER_AGENT as u64;
        assert!((0..most).all(|first| !full(first)) && full(most));
        assert!(replays.take(&key(0), NOW).is_none());
        assert!(replays.take(&key(1), NOW).is_some());
        let later = NOW.after(limits::REPLAY_TIME.into());
        assert!(replays.take(&key(2), later).is_some());
        replays.forget(later.after(crate::call::Micros(1)));
        assert!(replays.lock().is_empty());
    }

    #[test]
    fn the_tries_of_a_call_have_heads_that_differ_in_what_counts_them_alone() {
        let head = |key: &str, count: u32, trace: &str| {
            let head = format!(
                "POST /v1/messages HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\n\
                 X-Stainless-Retry-Count: {count}\r\nTraceparent: {trace}\r\n\r\n"
            );
            identity(head.as_bytes())
        };
        assert_eq!(head("k", 0, "00-a"), head("k", 1, "00-b"));
        assert_ne!(head("k", 0, "00-a"), head("l", 0, "00-a"));
    }
}
