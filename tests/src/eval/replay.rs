//! The engine itself: one [`Lineage`] for each agent, driven as the proxy drives it.

use std::collections::HashMap;

use turnpike::{
    call::{StepId, StepKind, WorkflowId},
    dialect::{CallKey, What},
    lineage::{Lineage, Outcome, Placement},
};

use super::{
    guess::{Guess, Guesser, Place},
    read::{Event, Events, Happening},
    record::StepRef,
};

/// The engine, with ids that follow from the seed.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    pub seed: u64,
}

impl Guesser for Engine {
    fn name(&self) -> &'static str {
        "turnpike"
    }

    fn guess(&self, events: &Events) -> Guess {
        let mut agents: HashMap<usize, Agent> = HashMap::new();
        let mut guess = Guess::new();
        for event in &events.events {
            let seed = self.seed.wrapping_add(event.agent as u64);
            let agent = agents.entry(event.agent).or_insert_with(|| Agent::new(seed));
            match &event.what {
                Happening::Asked(what) => {
                    guess.insert(event.exchange, agent.asked(event, what));
                }
                Happening::Ended(outcome) => {
                    if let (Some(kind), Some(place)) =
                        (agent.ended(event, outcome), guess.get_mut(&event.exchange))
                    {
                        place.kind = kind;
                    }
                }
            }
        }
        guess
    }
}

#[derive(Debug)]
struct Agent {
    lineage: Lineage,
    running: HashMap<CallKey, Running>,
    /// What each step is.
    steps: HashMap<StepId, StepRef>,
}

#[derive(Debug)]
struct Running {
    workflow: WorkflowId,
    step: StepId,
    called: Called,
}

#[derive(Clone, Copy, Debug)]
enum Called {
    Model,
    /// A tool, after this step.
    Tool(Option<StepId>),
}

impl Agent {
    fn new(seed: u64) -> Self {
        let (running, steps) = (HashMap::new(), HashMap::new());
        Self { lineage: Lineage::new(seed), running, steps }
    }

    fn asked(&mut self, event: &Event, what: &What) -> Place {
        let placement = match what {
            What::Model(prompt) => self.lineage.place(event.at, prompt),
            What::Tool(invocation) => self.lineage.place_tool(event.at, invocation),
        };
        // A tool call may be a step that a model's answer has opened.
        self.steps.entry(placement.step).or_insert(StepRef::exchange(event.exchange));
        let called = match what {
            What::Model(_) => Called::Model,
            What::Tool(_) => Called::Tool(placement.parents.first().copied()),
        };
        let running = Running { workflow: placement.workflow, step: placement.step, called };
        self.running.insert(event.call, running);
        self.place(&placement)
    }

    /// What kind of step it turned out to be.
    fn ended(&mut self, event: &Event, outcome: &Outcome) -> Option<StepKind> {
        let Running { workflow, step, called } = self.running.remove(&event.call)?;
        let completion = match called {
            Called::Model => self.lineage.finish(step, event.at, outcome),
            Called::Tool(from) => self.lineage.finish_tool(workflow, step, from, outcome),
        };
        for (call, opened) in completion.tools.iter().enumerate() {
            self.steps.insert(opened.step, StepRef::call(event.exchange, call));
        }
        // Should the engine come to correct earlier placements, they are corrected here.
        Some(completion.kind)
    }

    fn place(&self, placement: &Placement) -> Place {
        let step = |id: &StepId| self.steps.get(id).copied();
        Place {
            session: u128::from(placement.session.0),
            workflow: u128::from(placement.workflow.0),
            parents: placement.parents.iter().filter_map(step).collect(),
            kind: placement.kind,
            retry: placement.retry.map(|retry| {
                let of = step(&retry.of_step_id).map(|step| step.exchange);
                (of, name(retry.reason))
            }),
            confidence: Some(placement.confidence.get()),
        }
    }
}

/// As traces name it.
fn name(reason: turnpike::call::RetryReason) -> String {
    let name = serde_json::to_value(reason).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
