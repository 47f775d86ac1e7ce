//! Calls of what an agent's tools start: whose steps they are.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use serde_json::Value;
use turnpike::call::{Micros, Timestamp};
use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine,
    model_server::ModelServer,
    process::Background,
    sandbox::Sandbox,
    wait,
};

use super::resident;

/// An attached agent, and a model that it asks.
struct Bed {
    gateway: Gateway,
    server: ModelServer,
    _resident: Background,
    sandbox: Sandbox,
}

impl Bed {
    fn start() -> Self {
        let (gateway, sandbox) = (Gateway::start(Mode::Audit), Sandbox::new());
        let server = ModelServer::start(&[(Ipv4Addr::LOCALHOST, 0).into()]);
        let resident = resident::attach(&gateway, &sandbox, "a");
        Self { gateway, server, _resident: resident, sandbox }
    }

    /// What asks the model by itself, with this wish.
    fn line(&self, wish: &str) -> String {
        let script = machine::sources().join("agents/commands.py");
        format!("{PYTHON} {} http://{} {wish}", script.display(), self.server.address())
    }

    /// Lets an agent do what its model says. It has pids of its own, as in a container.
    fn agent(&self, wish: &str, instead: Option<&str>) {
        let line = self.line(&format!("'{wish}'"));
        let mut command: Command = self.sandbox.command("unshare");
        let more = instead.map(|instead| format!(" \"{instead}\"")).unwrap_or_default();
        machine::run(command.args(["--pid", "--fork", "sh", "-c", &(line + &more)]));
    }

    /// The only workflow, once it is done.
    fn workflow(&self) -> Workflow {
        wait::until(SOON, "the workflow to be done", || {
            let text = self.gateway.succeed(&["trace", "--all", "--json"]);
            let all: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert!(all.len() <= 1, "{text}");
            all.into_iter().find(|it| it["state"] == "done").map(Workflow)
        })
    }
}

struct Workflow(Value);

impl Workflow {
    /// Its steps of this kind, in the order in which they began.
    fn steps(&self, kind: &str) -> Vec<&Value> {
        let steps = self.0["steps"].as_array().expect("a list");
        steps.iter().filter(|step| step["kind"] == kind).collect()
    }

    #[track_caller]
    fn only(&self, kind: &str) -> &Value {
        let steps = self.steps(kind);
        let [step] = steps[..] else { panic!("{:#}", self.0) };
        step
    }
}

#[track_caller]
fn assert_follows(step: &Value, parent: &Value) {
    let parents = step["parent_step_ids"].as_array().expect("a list");
    assert_eq!(parents[..], [parent["step_id"].clone()], "{step:#}");
}

/// How sure the evidence of that kind is.
#[track_caller]
fn evidence(step: &Value, kind: &str, from: &Value) -> f64 {
    let all = step["evidence"].as_array().expect("a list");
    let one = all.iter().find(|it| it["kind"] == kind).unwrap_or_else(|| panic!("{step:#}"));
    assert_eq!(one["from_step_id"], from["step_id"], "{step:#}");
    one["confidence"].as_f64().expect("a number")
}

/// When it began, and when it had ended.
fn began_and_ended(step: &Value) -> (Timestamp, Timestamp) {
    let began: Timestamp = serde_json::from_value(step["started_at"].clone()).expect("a time");
    let lasted: Micros = serde_json::from_value(step["duration_ms"].clone()).expect("it has ended");
    (began, began.after(lasted))
}

#[test]
fn a_call_of_what_a_tool_call_s_command_started_is_a_step_below_it() {
    for (beginning, end) in [("exec+", ""), ("", ";+true")] {
        let bed = Bed::start();
        let command = beginning.to_owned() + &bed.line("ask-it").replace(' ', "+") + end;
        bed.agent(&format!("go [steps=1 command={command}]"), None);
        let workflow = bed.workflow();
        let [planner, tool, worker, last] =
            ["planner", "tool", "worker", "final"].map(|kind| workflow.only(kind));
        assert_follows(tool, planner);
        assert_follows(worker, tool);
        assert_follows(last, tool);
        assert!(evidence(tool, "process_command", planner) > 0.9);
        assert!(evidence(worker, "process_tree", tool) > 0.9);
        assert_eq!(tool["settled"], true);
        // Of the same process as the shell that was started, or of its child.
        assert_eq!(worker["pid"] == tool["pid"], end.is_empty());
        let [planner, tool, worker, last] = [planner, tool, worker, last].map(began_and_ended);
        assert!(planner.0 < tool.0 && tool.0 < worker.0, "{:#}", workflow.0);
        assert!(worker.1 <= tool.1 && tool.1 <= last.0, "{:#}", workflow.0);
        assert_eq!(workflow.0["totals"]["model_calls"], 3);
        assert_eq!(workflow.0["totals"]["tool_calls"], 1);
    }
}

#[test]
fn what_is_started_while_one_tool_call_alone_waits_is_likely_its_own() {
    let bed = Bed::start();
    bed.agent("go [steps=1]", Some(&bed.line("ask-it")));
    let workflow = bed.workflow();
    let (tool, worker) = (workflow.only("tool"), workflow.only("worker"));
    assert_follows(worker, tool);
    assert!((0.5..0.7).contains(&evidence(worker, "process_tree", tool)));
    assert_eq!(tool["pid"], Value::Null, "nothing says that the tool call is that process");
}

#[test]
fn equal_commands_of_one_tool_call_after_the_other_are_each_its_own() {
    let bed = Bed::start();
    let command = bed.line("ask-it").replace(' ', "+");
    bed.agent(&format!("go [steps=2 command={command}]"), None);
    let workflow = bed.workflow();
    let (tools, workers) = (workflow.steps("tool"), workflow.steps("worker"));
    assert_eq!((tools.len(), workers.len()), (2, 2), "{:#}", workflow.0);
    for (worker, tool) in workers.iter().zip(&tools) {
        assert_follows(worker, tool);
    }
    let planners = workflow.steps("planner");
    assert_follows(planners[1], tools[0]);
    assert_follows(workflow.only("final"), tools[1]);
}

const PYTHON: &str = "/usr/bin/python3";
const SOON: Duration = Duration::from_secs(20);
