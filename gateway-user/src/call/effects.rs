//! What tries have done that are made again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{CallKind, Step, StepId};

/// What the tries before a retry had done already. Written as a list of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<SideEffect>", into = "Vec<SideEffect>")]
pub struct SideEffects {
    /// Tokens were spent, which the retry spends again.
    pub tokens_spent: bool,
    /// Some of an answer had reached the client.
    pub output_delivered: bool,
    /// A tool that the answer called was run.
    pub tool_run: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SideEffect {
    TokensSpent,
    OutputDelivered,
    ToolRun,
}

impl SideEffects {
    #[must_use]
    pub const fn is_none(&self) -> bool {
        !(self.tokens_spent || self.output_delivered || self.tool_run)
    }

    /// Says of each retry among a workflow's steps, in their order, what the tries before it had done.
    pub fn tell(steps: &mut [Step]) {
        if steps.iter().all(|step| step.retry.is_none()) {
            return;
        }
        let mut done: HashMap<StepId, Self> = HashMap::new();
        let run: Vec<StepId> = steps.iter().filter_map(run_for).collect();
        for step in steps {
            let first = step.retry.map_or(step.step_id, |retry| retry.of_step_id);
            let before = done.get(&first).copied().unwrap_or_default();
            if let Some(retry) = &mut step.retry {
                retry.side_effects = if retry.replayed { Self::default() } else { before };
            }
            let own = Self::of(step, run.contains(&step.step_id));
            done.insert(first, before.and(own));
        }
    }

    fn of(step: &Step, tool_run: bool) -> Self {
        let is_model = step.call == CallKind::Model;
        let went_well = step.status.is_some_and(|status| matches!(status, 101 | 200..300));
        Self {
            tokens_spent: step.usage.is_some_and(|usage| usage.input > 0 || usage.output > 0),
            output_delivered: is_model && went_well && step.ttft_ms.is_some(),
            // A tool call that was answered has been run itself.
            tool_run: tool_run || (!is_model && went_well),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            tokens_spent: self.tokens_spent || other.tokens_spent,
            output_delivered: self.output_delivered || other.output_delivered,
            tool_run: self.tool_run || other.tool_run,
        }
    }
}

/// The model call that a tool which was run was called by.
fn run_for(step: &Step) -> Option<StepId> {
    let was_run = step.call == CallKind::Tool && step.pid.is_some();
    step.parent_step_ids.first().copied().filter(|_| was_run)
}

impl From<SideEffects> for Vec<SideEffect> {
    fn from(effects: SideEffects) -> Self {
        let all = [
            (effects.tokens_spent, SideEffect::TokensSpent),
            (effects.output_delivered, SideEffect::OutputDelivered),
            (effects.tool_run, SideEffect::ToolRun),
        ];
        all.into_iter().filter_map(|(done, effect)| done.then_some(effect)).collect()
    }
}

impl From<Vec<SideEffect>> for SideEffects {
    fn from(effects: Vec<SideEffect>) -> Self {
        Self {
            tokens_spent: effects.contains(&SideEffect::TokensSpent),
            output_delivered: effects.contains(&SideEffect::OutputDelivered),
            tool_run: effects.contains(&SideEffect::ToolRun),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Micros, Retry, RetryReason, StepKind, Timestamp, Usage};

    fn step(id: u64, call: CallKind) -> Step {
        Step::new(StepId(id), (StepKind::Planner, call), "a".into(), Timestamp(id))
    }

    fn again(id: u64, of: u64) -> Step {
        let retry = Retry {
            of_step_id: StepId(of),
            reason: RetryReason::StreamTruncated,
            attempt: 1,
            side_effects: SideEffects::default(),
            replayed: false,
        };
        Step { retry: Some(retry), ..step(id, CallKind::Model) }
    }

    fn effects(steps: &[Step], at: usize) -> SideEffects {
        steps[at].retry.expect("a retry").side_effects
    }

    #[test]
    fn a_retry_is_told_what_all_tries_before_it_have_done() {
        let refused = Step { status: Some(429), ..step(1, CallKind::Model) };
        let usage = Usage { input: 5, output: 7, ..Usage::default() };
        let cut =
            Step { status: Some(200), ttft_ms: Some(Micros(1)), usage: Some(usage), ..again(2, 1) };
        let tool =
            Step { parent_step_ids: vec![StepId(2)], pid: Some(9), ..step(3, CallKind::Tool) };
        let mut steps = [refused, cut, tool, again(4, 1), again(5, 9)];
        SideEffects::tell(&mut steps);
        assert!(effects(&steps, 1).is_none());
        let all = SideEffects { tokens_spent: true, output_delivered: true, tool_run: true };
        assert_eq!(effects(&steps, 3), all);
        assert!(effects(&steps, 4).is_none());
        let json = serde_json::to_string(&all).expect("plain data");
        assert_eq!(json, r#"["tokens_spent","output_delivered","tool_run"]"#);
        assert_eq!(serde_json::from_str::<SideEffects>(&json).expect("reads"), all);
    }

    #[test]
    fn a_tool_call_that_was_answered_has_been_run() {
        let made = Step { status: Some(200), ..step(1, CallKind::Tool) };
        let mut steps = [made, again(2, 1)];
        SideEffects::tell(&mut steps);
        assert!(effects(&steps, 1).tool_run && !effects(&steps, 1).tokens_spent);
    }
}
