//! The engine itself: one [`Lineage`] for each agent, driven as the proxy drives it.

use std::collections::HashMap;

use turnpike::{
    call::{StepId, Url, WorkflowId},
    dialect::{CallKey, What},
    lineage::{Change, Completion, Correction, Lineage, Outcome, Placement},
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
                    let (place, corrections) = agent.asked(event, what);
                    guess.insert(event.exchange, place);
                    agent.correct(&mut guess, &corrections);
                }
                Happening::Fetched(url, outcome) => {
                    let Some(place) = agent.fetched(event, *url, outcome) else { continue };
                    guess.insert(event.exchange, place);
                }
                Happening::Ended(outcome) => {
                    let Some(completion) = agent.ended(event, outcome) else { continue };
                    if let Some(place) = guess.get_mut(&event.exchange) {
                        place.kind = completion.kind;
                    }
                    agent.correct(&mut guess, &completion.corrections);
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

    fn asked(&mut self, event: &Event, what: &What) -> (Place, Vec<Correction>) {
        let mut placement = match what {
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
        self.running.extend(event.call.map(|call| (call, running)));
        let corrections = std::mem::take(&mut placement.corrections);
        (self.place(&placement), corrections)
    }

    /// A plain exchange, if it is a tool call. That it ends when it begins makes no difference to others.
    fn fetched(&mut self, event: &Event, url: Url, outcome: &Outcome) -> Option<Place> {
        let placement = self.lineage.place_fetch(None, event.at, url)?;
        let from = placement.parents.first().copied();
        self.lineage.finish_tool(placement.workflow, placement.step, from, outcome);
        Some(self.place(&placement))
    }

    fn ended(&mut self, event: &Event, outcome: &Outcome) -> Option<Completion> {
        let Running { workflow, step, called } = self.running.remove(&event.call?)?;
        let completion = match called {
            Called::Model => self.lineage.finish(step, event.at, outcome),
            Called::Tool(from) => self.lineage.finish_tool(workflow, step, from, outcome),
        };
        for (call, opened) in completion.tools.iter().enumerate() {
            self.steps.insert(opened.step, StepRef::call(event.exchange, call));
        }
        Some(completion)
    }

    /// Earlier placements turned out to be wrong.
    fn correct(&self, guess: &mut Guess, corrections: &[Correction]) {
        for Correction { step, change, .. } in corrections {
            let exchange = self.steps.get(step).map(|step| step.exchange);
            let Some(place) = exchange.and_then(|it| guess.get_mut(&it)) else { continue };
            match change {
                Change::Kind(kind) => place.kind = *kind,
                Change::Place(new) => {
                    place.session = u128::from(new.session.0);
                    place.workflow = u128::from(new.workflow.0);
                    place.parents =
                        new.parents.iter().filter_map(|id| self.steps.get(id).copied()).collect();
                    place.confidence = Some(new.confidence.get());
                }
            }
        }
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
