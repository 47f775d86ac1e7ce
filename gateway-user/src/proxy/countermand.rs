//! Requests that the gateway makes itself, so that upstream stops what it does for calls that were
//! ended: it need not notice that nobody listens, or is not to take it for that.
//!
//! ```text
//! head of a call's request ──▶ Letter ──▶ Recall, kept with the call ──▶ Dispatch ──▶ outcome
//!                                            gone with the call            sent when the call is ended
//! ```
//!
//! They go where the call went, on a connection of their own out of the same network namespace, over TLS
//! that is verified no worse, and let in by what the call's own request had in its head. Nobody waits for
//! them: they come when upstream has been let go, a few at once, and not for long.

mod errand;
mod head;
mod send;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use super::{agent::Agent, cut::Stand, recording::Recording};
use crate::{
    call::{Dialect, Reason, Timestamp},
    dialect::{Countermand, cut, refusal::Caller},
    limits::{self, Bound},
};

pub(super) use errand::Errands;
pub(super) use head::{Letter, Retained};

/// Those of an agent.
#[derive(Debug)]
pub(super) struct Countermands {
    /// Calls for which there may be one.
    kept: AtomicUsize,
    /// How many have not come to an end.
    under_way: AtomicUsize,
    turns: Semaphore,
}

/// What it takes to have upstream stop one call. Its credentials are gone with it.
#[derive(Debug)]
pub(super) struct Recall {
    what: Countermand,
    letter: Arc<Letter>,
    kept: Kept,
}

/// A call's place among those that are kept; dropping it makes room.
#[derive(Debug)]
struct Kept(Arc<Countermands>);

/// That upstream is to be asked, until it is known what came of it.
#[derive(Debug)]
pub(super) struct Outstanding(Arc<Countermands>);

/// A request that is ready to go.
pub(super) struct Dispatch {
    letter: Arc<Letter>,
    target: String,
    body: Vec<u8>,
    _kept: Kept,
}

/// For which call, and since when that is to end.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) agent: Arc<Agent>,
    pub(super) recording: Arc<Recording>,
    pub(super) stand: Stand,
    pub(super) since: Timestamp,
}

impl Default for Countermands {
    fn default() -> Self {
        Self {
            kept: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            turns: Semaphore::new(limits::COUNTERMANDS_AT_ONCE_PER_AGENT),
        }
    }
}

impl Recall {
    /// Keeps what it takes. `None` over [`limits::COUNTERMANDS_KEPT_PER_AGENT`].
    pub(super) fn keep(agent: &Agent, what: Countermand, letter: &Arc<Letter>) -> Option<Self> {
        let all = &agent.policing.countermands;
        let kept = Kept(Arc::clone(all));
        if all.kept.fetch_add(1, Ordering::Relaxed) >= limits::COUNTERMANDS_KEPT_PER_AGENT {
            agent.bounds.hit(Bound::CountermandsKept);
            return None;
        }
        Some(Self { what, letter: Arc::clone(letter), kept })
    }

    /// The request, if it is known what to say: of an answer that is made in the background, what its
    /// id is.
    pub(super) fn dispatch(self, response: Option<&str>, reason: &Reason) -> Option<Dispatch> {
        let Self { what, letter, kept } = self;
        let wording = what.wording(letter.target(), response, reason)?;
        let (target, body) = (wording.target.into_owned(), wording.body);
        Some(Dispatch { letter, target, body, _kept: kept })
    }

    /// Whether it is known what to say, and somebody is there to do so.
    pub(super) fn can_be_sent(&self, response: Option<&str>, reason: &Reason) -> bool {
        let wording = self.what.wording(self.letter.target(), response, reason);
        wording.is_some() && self.letter.errands().are_done()
    }

    /// Has its client told why, in the stream in which that waits for the answer. A server that is notified
    /// gives none. Where there is no such stream nobody is told.
    pub(super) fn tell_client(&self, agent: &Agent, reason: &Reason) {
        let (Countermand::Notify(id), Some(to)) = (&self.what, self.letter.inbox()) else { return };
        let (dialect, rpc_id) = (Some(Dialect::Mcp), Some(id.to_string()));
        let caller = Caller { dialect, rpc_id, calls_tool: true, ..Caller::default() };
        agent.policing.inboxes.send(agent, &to, cut::message(&caller, reason));
    }

    /// Where whatever has to be done about the call can be, and is recorded.
    pub(super) fn desk(&self) -> Option<(Errands, Arc<Recording>)> {
        Some((self.letter.errands(), self.letter.recording()?))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outstanding {
    pub(super) fn begin(agent: &Agent) -> Self {
        let all = Arc::clone(&agent.policing.countermands);
        all.under_way.fetch_add(1, Ordering::AcqRel);
        Self(all)
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Agent {
    /// Requests of the gateway's own that have not come to an end.
    #[must_use]
    pub fn countermands_under_way(&self) -> usize {
        self.policing.countermands.under_way.load(Ordering::Acquire)
    }

    /// Those that came to nothing, so far.
    #[must_use]
    pub fn countermands_failed(&self) -> u64 {
        self.coverage.countermands_failed.load(Ordering::Acquire)
    }
}
