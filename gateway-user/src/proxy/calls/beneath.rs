//! What is made for a tool call that was cancelled: nobody waits for it any more.

use std::{collections::BTreeSet, sync::Arc};

use super::{Kind, Place, Waiting};
use crate::{
    call::{Cancel, CancelCause, Reason, StepId},
    config::Mode,
    dialect::CallKey,
    lineage::Starter,
    proxy::{agent::Agent, cut::Stand},
};

/// Whether others end with a call that has ended so.
pub(super) fn takes_others(place: Place, kind: Kind, cancel: Option<&Cancel>) -> bool {
    // Nothing is made for a model call that is in flight: whatever could be is made for a tool call, which
    // its answer opens when that has ended. What goes on from it meanwhile has its answer already.
    let is_tool = matches!(kind, Kind::Tool(_)) && place.is_likely;
    // When the gateway ends so does all the rest, for a reason for which it may be sent again.
    is_tool && cancel.is_some_and(|cancel| cancel.cause != CancelCause::GatewayEnding)
}

impl Waiting {
    /// The step of a call, if that is likely, while it is without its answer.
    fn step(&self, key: CallKey) -> Option<StepId> {
        let calls = self.lock();
        let place = calls.get(&key).map(|running| running.place);
        place.filter(|place| place.is_likely).map(|place| place.step)
    }

    /// The tool calls that calls are made for which nobody waits for in their own exchange.
    fn starters(&self) -> BTreeSet<Starter> {
        let calls = self.lock();
        let left = calls.values().filter(|running| running.left.is_some());
        left.filter_map(|running| running.stand.under).collect()
    }
}

impl Agent {
    /// A tool call's client wants no answer any more, whatever its exchange still comes to.
    pub(in crate::proxy) fn withdrawn(self: &Arc<Self>, key: CallKey) {
        if let Some(step) = self.waiting.step(key) {
            self.cut_beneath(step);
        }
    }

    /// A tool call was cancelled: ends what is under way beneath it, in enforce. No latch is set: what
    /// comes later, or just now on another thread, is a call like any other.
    pub(super) fn cut_beneath(self: &Arc<Self>, step: StepId) {
        if self.mode == Mode::Audit {
            return;
        }
        let mut starters = self.policing.under_way.starters();
        starters.append(&mut self.waiting.starters());
        if starters.is_empty() {
            return;
        }
        // Apart from the rest: lineage is locked no longer than for this.
        let lineage = self.lineage();
        starters.retain(|starter| lineage.is_beneath(*starter, step));
        drop(lineage);
        let reason = Reason::beneath(step);
        let is_beneath =
            |stand: &Stand| stand.under.is_some_and(|starter| starters.contains(&starter));
        let cut = self.policing.under_way.cut_where(&reason, is_beneath);
        let recalled = self.recall(&reason, is_beneath);
        if cut + recalled > 0 {
            tracing::debug!(%step, cut, recalled, "what was made for a tool call ends with it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::{
        call::{
            AgentRef, Answer, Cause, ConnectionId, Dialect, Message, Operation, Prompt, Role,
            Timestamp, ToolCall, Value, WorkflowId,
        },
        lineage::{Outcome, Placement},
        proxy::{clock::Clock, cut::Cut},
    };

    const TASK: &str = "Find out who built the harbour, and when";
    const OTHER: &str = "Count the ships that lie in it in winter";
    const DEEPER: &str = "Look the year up in the archive of the town";

    fn agent(mode: Mode) -> Arc<Agent> {
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        Arc::new(Agent::new(7, reference, 1).in_mode(mode))
    }

    /// A call of an agent of that kind, which is told this.
    fn asks(agent: &Agent, kind: u64, text: &str) -> Placement {
        let said = |role, hash| Message {
            role,
            hash: u128::from(hash),
            content: Some(hash),
            tool_calls: Vec::new(),
            tool_result: None,
        };
        let told = Value::of(text).expect("it is long enough").opening();
        let prompt = Prompt {
            dialect: Dialect::OpenaiChat,
            operation: Operation::Chat,
            model: None,
            stream: true,
            messages: vec![said(Role::System, kind), said(Role::User, told)],
            tools_hash: None,
            wish: Some(text.to_owned()),
            client_retry: None,
            terms: Box::default(),
        };
        agent.lineage().place(Timestamp(kind), &prompt)
    }

    /// It is answered with a tool call for each task: their steps.
    fn delegates(agent: &Agent, call: &Placement, tasks: &[&str]) -> Vec<StepId> {
        let tool_calls = tasks.iter().map(|task| ToolCall {
            id: None,
            name: "delegate".to_owned(),
            arguments: 0,
            values: Value::of(task).into_iter().collect(),
            commands: Vec::new(),
            urls: Vec::new(),
        });
        let tool_calls = tool_calls.collect();
        let answer = Answer { tool_calls, complete: true, ..Answer::default() };
        let outcome = Outcome { answer, status: Some(200), failure: None };
        let end = agent.lineage().finish(call.step, Timestamp(1000), &outcome);
        end.tools.iter().map(|tool| tool.step).collect()
    }

    #[test]
    fn only_a_tool_call_that_is_cancelled_and_surely_that_one_takes_others_with_it() {
        let cancel = |cause| Cancel {
            cause,
            reason: None,
            requested_at: Timestamp(1),
            upstream_closed_ms: None,
            bytes_after_cancel: 0,
            generation_may_continue: None,
            upstream_told: None,
            cleanup_ms: None,
            cancel_request: None,
        };
        let (gone, ending) = (cancel(CancelCause::ClientGone), cancel(CancelCause::GatewayEnding));
        for (is_likely, kind, cancel, takes) in [
            (true, Kind::Tool(None), Some(&gone), true),
            (true, Kind::Tool(None), None, false),
            (true, Kind::Tool(None), Some(&ending), false),
            (false, Kind::Tool(None), Some(&gone), false),
            (true, Kind::Model, Some(&gone), false),
        ] {
            let (workflow, step, started) = (WorkflowId(1), StepId(2), Timestamp(0));
            let place = Place { workflow, step, is_likely, started, first_byte: None };
            assert_eq!(takes_others(place, kind, cancel), takes, "{place:?} {kind:?} {cancel:?}");
        }
    }

    #[test]
    fn what_is_beneath_a_cancelled_tool_call_ends_however_deep_and_nothing_else() {
        for mode in [Mode::Enforce, Mode::Audit] {
            let agent = agent(mode);
            let lead = asks(&agent, 1, "Write a report on the harbour of the old town");
            let tools = delegates(&agent, &lead, &[TASK, OTHER]);
            let worker = asks(&agent, 2, TASK);
            delegates(&agent, &worker, &[DEEPER]);
            let under_way = [
                lead,
                worker,
                asks(&agent, 3, DEEPER),
                asks(&agent, 2, OTHER),
                asks(&agent, 4, "Explain the tides to a child of five"),
            ];
            let cuts = (0..).zip(&under_way).map(|(seq, placement)| {
                let cut = Cut::list(&agent, ConnectionId(5), seq, Clock::start());
                let cut = cut.expect("there is room");
                cut.belongs(placement.into());
                cut
            });
            let cuts: Vec<Cut> = cuts.collect();
            agent.cut_beneath(tools[0]);
            let cx = Context::from_waker(Waker::noop());
            let told: Vec<_> = cuts.iter().map(|cut| cut.poll(&cx)).collect();
            let reason = Reason::beneath(tools[0]);
            let beneath = Some(&reason).filter(|_| mode == Mode::Enforce);
            assert_eq!(told, [None, beneath, beneath, None, None]);
            assert!(beneath.is_none_or(|reason| reason.cause == Cause::ParentCancelled));
        }
    }
}
