//! Calls that nobody waits for in their own exchange, and that are to end: upstream is asked to.

use std::{mem::take, sync::Arc};

use tokio::task::yield_now;

use super::{
    Arrival, Calls, Connection, Left, Running, Waiting, ended::CalledOff, settle, settle::Parties,
    wait,
};
use crate::{
    call::{Answer, Reason, Timestamp},
    dialect::{Answering, CallKey, Reading},
    limits,
    proxy::{
        agent::Agent,
        countermand::{Outstanding, Recall},
        cut::{SinceTold, Stand},
        exchange::Ended,
    },
};

impl Calls {
    /// The exchange has ended, with that status: what it did not answer another one will, unless that is
    /// not wanted any more and upstream can be told.
    pub(in crate::proxy) fn wait(&mut self, connection: &Connection, status: Option<u16>) {
        let agent = &connection.agent;
        let off = self.called_off.as_deref();
        let mut ended = Vec::new();
        for (key, mut running) in take(&mut self.running) {
            let response = agent.known().background_id(key);
            running.left = Some(Left { status, response });
            if off.is_some_and(|off| running.can_be_recalled(&off.reason)) {
                ended.push((key, running));
                continue;
            }
            let stand = running.stand;
            wait(connection, key, running);
            agent.recall_if_silenced(stand);
        }
        for key in take(&mut self.of_tools) {
            let Some(stand) = agent.waiting.leave(key, status) else { continue };
            let Some(off) = off else {
                agent.recall_if_silenced(stand);
                continue;
            };
            let is_due = |one: CallKey, running: &Running| {
                one == key && running.can_be_recalled(&off.reason)
            };
            ended.extend(agent.waiting.take(is_due));
        }
        for (key, running) in ended {
            end(connection.into(), off, key, running);
        }
    }
}

impl Waiting {
    /// The exchange of a tool's call has ended, with that status. Where the call belongs, if it is still
    /// without an answer.
    fn leave(&self, key: CallKey, status: Option<u16>) -> Option<Stand> {
        let mut calls = self.lock();
        let running = calls.get_mut(&key)?;
        running.left = Some(Left { status, response: None });
        Some(running.stand)
    }

    /// Those for which that holds wait no longer.
    fn take(&self, which: impl Fn(CallKey, &Running) -> bool) -> Vec<(CallKey, Running)> {
        let mut calls = self.lock();
        calls.extract_if(.., |key, running| which(*key, running)).collect()
    }

    /// A step belongs elsewhere, if it waits.
    pub(in crate::proxy) fn moved(&self, to: Stand) {
        let mut calls = self.lock();
        for running in calls.values_mut().filter(|running| running.stand.step == to.step) {
            running.stand = to;
        }
    }
}

impl Agent {
    /// Ends those of its calls that belong there and that nobody waits for in their own exchange, where
    /// upstream can be asked to. Nothing of that is done before this returns. How many there are.
    pub(in crate::proxy) fn recall(
        self: &Arc<Self>,
        reason: &Reason,
        which: impl Fn(&Stand) -> bool,
    ) -> usize {
        let due = self.waiting.take(|_, running| {
            running.left.is_some() && which(&running.stand) && running.can_be_recalled(reason)
        });
        let count = due.len();
        for (key, running) in due {
            let Some((errands, recording)) = running.recall.as_ref().and_then(Recall::desk) else {
                continue;
            };
            let (agent, reason, asking) =
                (Arc::clone(self), reason.clone(), Outstanding::begin(self));
            let since = SinceTold::now(recording.clock.now());
            errands.run(async move {
                // What is under way lets go of upstream first.
                yield_now().await;
                if let Some(recall) = &running.recall {
                    recall.tell_client(&agent, &reason);
                }
                let off = CalledOff::new(&reason, since, None);
                end(Parties { agent: &agent, recording: &recording }, Some(&off), key, running);
                drop(asking);
            });
        }
        count
    }

    /// It may have been killed before it could be found among those that wait.
    fn recall_if_silenced(self: &Arc<Self>, stand: Stand) {
        if let Some(reason) = self.is_silenced(stand) {
            self.recall(&reason, |one| one.step == stand.step);
        }
    }

    /// Forgets what it would take to have upstream asked, of calls that have waited for too long, and answers
    /// that nobody has come back for.
    pub(in crate::proxy) fn forget_recalls(&self, now: Timestamp) {
        let before = |started: Timestamp| started.after(limits::COUNTERMAND_AGE.into()) < now;
        for running in self.waiting.lock().values_mut() {
            if running.left.is_some() && before(running.place.started) {
                running.recall = None;
            }
        }
        if let Some(replays) = &self.policing.replays {
            replays.forget(now);
        }
    }
}

/// Ends a call whose exchange has ended without its answer.
fn end(parties: Parties<'_>, off: Option<&CalledOff>, key: CallKey, running: Running) {
    parties.agent.known().forget(key);
    let status = running.left.as_ref().and_then(|left| left.status);
    let arrival = Arrival { ended: Ended::Cut, status, first_byte: None };
    let response_id = running.left.as_ref().and_then(|left| left.response.as_deref());
    let answer = Answer { response_id: response_id.map(str::to_owned), ..Answer::default() };
    let reading = Reading { answer, not_understood: None };
    settle(parties, arrival, off, (reading, Answering::default()), running);
}
