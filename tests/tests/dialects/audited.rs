//! Agents at work at the same time, under one gateway: what each side saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use turnpike_tests::{
    container::Container,
    dialects::{Agents, CASES, Case, Manner, Seen, TOOL_CASES, ToolServer},
    gateway::{Gateway, Mode},
    model_server::Logged,
    site::PlainSite,
    trace::{Step, Workflow},
    wait,
};

/// What the three sides say.
pub(super) struct Audited {
    /// By the cases' names.
    seen: BTreeMap<String, Seen>,
    pub(super) logged: Vec<Logged>,
    workflows: Vec<Workflow>,
    pub(super) coverage: Value,
}

/// One conversation, from all three sides.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    pub(super) seen: &'a Seen,
    /// What the server answered, and what the gateway shows of it.
    pub(super) calls: Vec<(&'a Logged, &'a Step)>,
    /// The tools that the model asked for, as the gateway shows them: ids and names.
    pub(super) tools: BTreeSet<(Option<&'a str>, &'a str)>,
}

/// The same for all tests: they look at different parts of it.
pub(super) static AUDITED: LazyLock<Audited> =
    LazyLock::new(|| Audited::make(Mode::Audit, &[CASES.as_slice(), &TOOL_CASES].concat()));

impl Audited {
    /// Of agents in that mode, at work on these cases.
    pub(super) fn make(mode: Mode, cases: &[Case]) -> Self {
        let container = Container::start();
        let site = PlainSite::beside(&container);
        let _tools = ToolServer::beside(&container);
        let gateway = Gateway::start(mode);
        gateway.attach_container(&container, &[]);
        let seen =
            Agents::start(&container, site.server.address(), SCRIPT, cases, Manner::Strict).end();
        let logged = site.server.logged();
        let workflows = settled(&gateway, &logged);
        let coverage = gateway.agents_json()[0]["coverage"].clone();
        Self { seen, logged, workflows, coverage }
    }

    /// Panics if a side lacks something, naming it.
    #[track_caller]
    pub(super) fn conversation(&self, case: Case) -> Conversation<'_> {
        let name = case.name;
        let mut calls = Vec::new();
        let mut tools = BTreeSet::new();
        for logged in self.logged_of(case) {
            let (workflow, step) = self
                .step(logged)
                .unwrap_or_else(|| panic!("{name}: there is no step for its {}", logged.path));
            calls.push((logged, step));
            let of_step = |tool: &&Step| tool.parent_step_ids.contains(&step.step_id);
            let emitted = workflow.tool_steps().filter(of_step);
            tools.extend(emitted.filter_map(|tool| {
                let tool = tool.tool.as_ref()?;
                Some((tool.call_id.as_deref(), tool.name.as_str()))
            }));
        }
        Conversation { seen: self.seen(case), calls, tools }
    }

    #[track_caller]
    pub(super) fn seen(&self, case: Case) -> &Seen {
        let seen = self.seen.get(case.name);
        seen.unwrap_or_else(|| panic!("{} has said nothing: {:?}", case.name, self.seen))
    }

    /// What the gateway shows of calls to a port.
    pub(super) fn to_port(&self, port: u16) -> Vec<&Step> {
        let steps = self.workflows.iter().flat_map(|workflow| &workflow.steps);
        steps.filter(|step| step.original_dst.is_some_and(|dst| dst.port() == port)).collect()
    }

    pub(super) fn logged_of(&self, case: Case) -> Vec<&Logged> {
        self.logged.iter().filter(|it| it.tag.as_deref() == Some(case.name)).collect()
    }

    /// What the gateway shows of a call, with its workflow.
    pub(super) fn step(&self, logged: &Logged) -> Option<(&Workflow, &Step)> {
        step(&self.workflows, logged)
    }
}

/// By the answer's id, or by the body, as not every answer has one; each conversation's holds its name.
fn step<'a>(workflows: &'a [Workflow], logged: &Logged) -> Option<(&'a Workflow, &'a Step)> {
    let is_it = |step: &&Step| {
        let id = logged.response_id.as_ref();
        step.request_sha256.as_ref() == Some(&logged.request_sha256)
            || id.is_some() && step.response_id.as_ref() == id
    };
    workflows.iter().find_map(|workflow| Some((workflow, workflow.steps.iter().find(is_it)?)))
}

/// All workflows, once every call that costs is recorded, which is when its client has had the last byte. What
/// is not recorded in time is for the test of its dialect to miss.
fn settled(gateway: &Gateway, logged: &[Logged]) -> Vec<Workflow> {
    let start = Instant::now();
    wait::until(2 * SOON, "the trace", || {
        let workflows = gateway.traces();
        let is_settled = |it: &Logged| {
            it.usage.is_none() || step(&workflows, it).is_some_and(|(_, step)| step.settled)
        };
        let settled = logged.iter().all(is_settled);
        (settled || start.elapsed() > SOON).then_some(workflows)
    })
}

const SCRIPT: &str = "steps=1 parallel=2 words=20 seed=5 chunk-ms=1 think";
pub(super) const SOON: Duration = Duration::from_secs(5);
