//! Streams in which an agent waits for the answers to what it posts elsewhere, and what the gateway
//! answers there in the server's place.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use super::agent::Agent;
use crate::{
    call::Name,
    dialect::Session,
    limits::{self, Bound},
};

/// For whose answers a stream is there: the host that is asked, and the session.
pub(super) type Address = (Option<Name>, Session);

/// The streams of an agent. No other agent finds them.
#[derive(Debug, Default)]
pub(super) struct Inboxes(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    next: u64,
    inboxes: BTreeMap<u64, (Address, Arc<Letters>)>,
}

/// Events for a stream that are still to be said in it.
#[derive(Debug, Default)]
struct Letters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Vec<u8>>,
    /// Of the stream's task. Absent until it is there, and once it was woken.
    waker: Option<Waker>,
}

/// The stream's own end. While it is there the stream can be written to.
#[derive(Debug)]
pub(super) struct Inbox {
    agent: Arc<Agent>,
    number: u64,
    letters: Arc<Letters>,
}

impl Inboxes {
    /// Has the event said in the one stream with that address. Whether it will be, as long as that
    /// stream lasts: not if there is none, or if it can't be told which of several it is, or over
    /// [`limits::REFUSALS_PER_STREAM`].
    pub(super) fn send(&self, agent: &Agent, to: &Address, event: Vec<u8>) -> bool {
        let listed = self.listed();
        let mut found = listed.inboxes.values().filter(|(address, _)| address == to);
        let (Some((_, letters)), None) = (found.next(), found.next()) else { return false };
        let sent = letters.put(event);
        if !sent {
            agent.bounds.hit(Bound::RefusalsPerStream);
        }
        sent
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Lists a stream. `None` over [`limits::LISTENING_STREAMS_PER_AGENT`]: then nothing is said in
    /// it.
    pub(super) fn list(agent: &Arc<Agent>, address: Address) -> Option<Self> {
        let mut listed = agent.policing.inboxes.listed();
        if listed.inboxes.len() >= limits::LISTENING_STREAMS_PER_AGENT {
            agent.bounds.hit(Bound::ListeningStreams);
            return None;
        }
        let letters = Arc::<Letters>::default();
        let number = listed.next;
        listed.next += 1;
        listed.inboxes.insert(number, (address, Arc::clone(&letters)));
        drop(listed);
        Some(Self { agent: Arc::clone(agent), number, letters })
    }

    /// Has the task woken when there is something to be said.
    pub(super) fn poll(&self, cx: &Context<'_>) {
        let mut waiting = self.letters.waiting();
        if let Some(waker) = &mut waiting.waker {
            waker.clone_from(cx.waker());
            return;
        }
        waiting.waker = Some(cx.waker().clone());
        // It came when nobody could be woken.
        if !waiting.events.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    /// What is to be said now.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.letters.waiting();
        let events = std::mem::take(&mut waiting.events);
        (!events.is_empty()).then(|| events.concat())
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.agent.policing.inboxes.listed().inboxes.remove(&self.number);
    }
}

impl Letters {
    /// Whether there was room.
    fn put(&self, event: Vec<u8>) -> bool {
        let mut waiting = self.waiting();
        if waiting.events.len() >= limits::REFUSALS_PER_STREAM {
            return false;
        }
        waiting.events.push(event);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;
    use crate::{
        call::AgentRef,
        dialect::{Observer, RequestInfo, detect},
    };

    fn agent() -> Arc<Agent> {
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        Arc::new(Agent::new(7, reference, 1))
    }

    fn address(host: &str, target: &str) -> Address {
        let posted = detect(&RequestInfo {
            method: "POST",
            target,
            host: Some(host),
            content_type: Some("application/json"),
            content_encoding: None,
            content_length: None,
            client_retry: None,
            signals: &[],
        });
        (Some(host.into()), posted.as_ref().and_then(Observer::session).expect("a session"))
    }

    fn send(agent: &Agent, to: &Address, event: &str) -> bool {
        agent.policing.inboxes.send(agent, to, event.into())
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_sent_comes_once_and_wakes_whoever_waits() {
        let (agent, to) = (agent(), address("a", "/messages?session_id=1"));
        let inbox = Inbox::list(&agent, to.clone()).expect("there is room");
        assert_eq!(inbox.take(), None);
        assert!(send(&agent, &to, "1"));
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let woken = || count.0.load(Ordering::Relaxed);
        inbox.poll(&cx);
        assert_eq!(woken(), 1, "it was there before");
        inbox.poll(&cx);
        assert_eq!(woken(), 1, "that is known");
        assert!(send(&agent, &to, "2"));
        assert_eq!(woken(), 2);
        assert_eq!((inbox.take(), inbox.take()), (Some(b"12".to_vec()), None));
    }

    #[test]
    fn only_the_one_stream_with_that_address_in_that_agent_is_found() {
        let (ours, to) = (agent(), address("a", "/messages?session_id=1"));
        let inbox = Inbox::list(&ours, to.clone()).expect("there is room");
        for other in [address("b", "/messages?session_id=1"), address("a", "/messages")] {
            assert!(!send(&ours, &other, "1"), "{other:?}");
        }
        assert!(!send(&agent(), &to, "1"), "another agent's");
        assert!(send(&ours, &to, "1"));
        let second = Inbox::list(&ours, to.clone()).expect("there is room");
        assert!(!send(&ours, &to, "2"), "either may be meant");
        drop(second);
        assert!(send(&ours, &to, "3"));
        assert_eq!(inbox.take(), Some(b"13".to_vec()));
        drop(inbox);
        assert!(!send(&ours, &to, "4"), "it has ended");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (agent, to) = (agent(), address("a", "/messages"));
        let list = || Inbox::list(&agent, to.clone());
        let inbox = list().expect("there is room");
        for _ in 0..limits::REFUSALS_PER_STREAM {
            assert!(send(&agent, &to, "1"));
        }
        assert!(!send(&agent, &to, "1"));
        assert_eq!(agent.bounds.hits(Bound::RefusalsPerStream), 1);
        assert_eq!(inbox.take().map(|events| events.len()), Some(limits::REFUSALS_PER_STREAM));
        let rest: Vec<_> = (1..limits::LISTENING_STREAMS_PER_AGENT).map_while(|_| list()).collect();
        assert_eq!(rest.len(), limits::LISTENING_STREAMS_PER_AGENT - 1);
        assert!(list().is_none());
        assert_eq!(agent.bounds.hits(Bound::ListeningStreams), 1);
    }
}
