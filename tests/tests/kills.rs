//! Real clients, unchanged, that are killed, or die, in the middle of an answer.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use turnpike_tests::{
    burst::{Burst, Raised, Sdk, Seen},
    container::Container,
    gateway::{Gateway, Mode, Place},
    site::PlainSite,
    trace::{Workflow, WorkflowSummary},
    wait,
};

/// A container in a mode, and a server for it to call.
struct Bed {
    // What is dropped first lets go of what follows.
    gateway: Gateway,
    site: PlainSite,
    container: Container,
}

impl Bed {
    fn new(mode: Mode) -> Self {
        Self::at(Place::new(mode))
    }

    fn at(place: Place) -> Self {
        let container = Container::start();
        let site = PlainSite::beside(&container);
        let gateway = Gateway::start_at(place);
        gateway.attach_container(&container, &["--name", AGENT]);
        Self { gateway, site, container }
    }

    /// Workflows whose answer has begun, once there are so many.
    fn under_way(&self, count: usize) -> Vec<WorkflowSummary> {
        wait::until(SOON, format_args!("{count} streams"), || {
            let mut all = self.gateway.workflows_json();
            all.retain(|workflow| workflow.state == "active");
            (all.len() == count).then_some(all)
        })
    }

    fn call(&self, burst: &Burst) -> Seen {
        burst.start(&self.container, self.site.server.address()).end()
    }

    fn kill(&self, arguments: &[&str]) -> Value {
        let arguments = [&["kill", "--json"], arguments].concat();
        serde_json::from_str(&self.gateway.succeed(&arguments)).expect("JSON")
    }
}

#[test]
fn a_killed_workflow_s_client_is_told_why_and_then_all_of_them_are() {
    for (sdk, mode, kind) in [
        (Sdk::OpenAi, Mode::Audit, "APIError"),
        (Sdk::Anthropic, Mode::Enforce, "APIStatusError"),
        (Sdk::NodeOpenAi, Mode::Audit, "APIError"),
    ] {
        let bed = Bed::new(mode);
        let burst =
            Burst { max_tokens: Some(100_000), stream: true, script: LONG, ..Burst::of(sdk, 4) };
        let mut agent = burst.start(&bed.container, bed.site.server.address());
        agent.wait_for_streams(4);
        let chosen = &bed.under_way(4)[0].workflow_id;
        let report = bed.kill(&[chosen, "--reason", "it mails customers"]);
        assert_eq!(
            (&report["silent"], &report["streams_cut"]),
            (&Value::from(true), &Value::from(1))
        );
        agent.wait_for(1, || {});
        bed.under_way(3);

        let report = bed.kill(&["--agent", AGENT]);
        assert_eq!(
            (&report["silent"], &report["streams_cut"]),
            (&Value::from(true), &Value::from(3))
        );
        let seen = agent.end();
        let (of_workflow, of_agent): (Vec<&Raised>, Vec<&Raised>) =
            seen.errors().into_iter().partition(|raised| raised.text.contains("workflow"));
        assert_eq!((of_workflow.len(), of_agent.len(), seen.attempts), (1, 3, 4));
        for (raised, reason) in of_workflow
            .into_iter()
            .map(|raised| {
                (raised, format!("turnpike: workflow {chosen} was killed (it mails customers)"))
            })
            .chain(
                of_agent.into_iter().map(|it| (it, "turnpike: agent crew was killed;".to_owned())),
            )
        {
            assert_eq!(raised.kind, kind, "{}", raised.text);
            assert!(raised.text.contains(&reason), "{}", raised.text);
        }
        let cancelled = |trace: &Workflow| {
            trace.summary.state == "cancelled"
                && trace.model_steps().all(|step| {
                    let cancel = step.cancel.as_ref().expect("it was ended");
                    cancel["cause"] == "kill" && cancel["generation_may_continue"] == false
                })
        };
        let traces = bed.gateway.traces();
        assert!(traces.len() == 4 && traces.iter().all(cancelled), "{traces:?}");

        let seen =
            Burst { calls: 1, ..burst }.start(&bed.container, bed.site.server.address()).end();
        let [raised] = &seen.errors()[..] else { panic!("{seen:?}") };
        assert!(raised.kind.contains("ConnectionError"), "it connects nowhere: {raised:?}");
    }
}

#[test]
fn what_goes_on_with_a_killed_workflow_is_refused_once() {
    for sdk in [Sdk::OpenAi, Sdk::Anthropic] {
        let bed = Bed::new(Mode::Enforce);
        let one =
            Burst { max_tokens: Some(100_000), stream: true, script: LONG, ..Burst::of(sdk, 1) };
        let agent = one.start(&bed.container, bed.site.server.address());
        agent.wait_for_streams(1);
        bed.kill(&[&bed.under_way(1)[0].workflow_id]);
        agent.end();
        // The very same is a try of the same again.
        let seen = one.start(&bed.container, bed.site.server.address()).end();
        let [raised] = &seen.errors()[..] else { panic!("{seen:?}") };
        assert!(raised.text.contains("was killed; an operator can have it go on"), "{raised:?}");
        assert_eq!((seen.attempts, bed.gateway.traces().len()), (1, 1));
    }
}

#[test]
fn a_client_that_dies_in_the_middle_ends_its_call_and_its_workflow() {
    let bed = Bed::new(Mode::Audit);
    let one = Burst { stream: true, script: LONG, ..Burst::of(Sdk::OpenAi, 1) };
    let agent = one.start(&bed.container, bed.site.server.address());
    agent.wait_for_streams(1);
    let procs =
        fs::read_to_string(bed.container.cgroup().join("cgroup.procs")).expect("its processes");
    let is_client = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "python3")
    };
    let pid: i32 = procs.lines().find(is_client).expect("a client").parse().expect("a pid");
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("a process");
    let cancelled = wait::until(SOON, "its workflow to be cancelled", || {
        bed.gateway.traces().pop().filter(|trace| trace.summary.state == "cancelled")
    });
    let step = cancelled.model_steps().next().expect("its call");
    let cancel = step.cancel.as_ref().expect("it was ended");
    assert_eq!((&cancel["cause"], &cancel["reason"]), (&Value::from("client_gone"), &Value::Null));
}

/// What the next gateway knows of who was killed is enough to recognise it, however the last one ended.
#[test]
fn what_goes_on_with_a_killed_workflow_is_refused_by_the_next_gateway() {
    for in_good_order in [false, true] {
        let mut bed = Bed::new(Mode::Enforce);
        let spared = Burst { script: "fill", max_tokens: Some(20), ..Burst::of(Sdk::OpenAi, 1) };
        assert_eq!(bed.call(&spared).errors().len(), 0);
        let killed = Burst { stream: true, script: LONG, max_tokens: Some(100_000), ..spared };
        let agent = killed.start(&bed.container, bed.site.server.address());
        agent.wait_for_streams(1);
        let workflow = &bed.under_way(1)[0].workflow_id;
        bed.kill(&[workflow, "--reason", "it mails customers"]);
        agent.end();
        let [kept] = &remains(&bed.gateway)[..] else { panic!("one is kept") };
        let kept = fs::read_to_string(kept).expect("it is there");
        assert!(kept.contains(workflow.as_str()) && !kept.contains("shelf"), "{kept}");

        if !in_good_order {
            bed.gateway.kill9();
        }
        bed.gateway.restart();
        let goes_on = |burst: Burst| Burst { after: Some("a few words"), ..burst };
        let seen = bed.call(&goes_on(killed));
        let [raised] = &seen.errors()[..] else { panic!("{seen:?}") };
        let reason = format!("turnpike: workflow {workflow} was killed (it mails customers)");
        assert!(raised.text.contains(&reason), "{raised:?}");
        assert_eq!(bed.call(&goes_on(spared)).errors().len(), 0);

        bed.gateway.succeed(&["revive", workflow]);
        assert_eq!(remains(&bed.gateway), Vec::<PathBuf>::new());
        let agent = goes_on(killed).start(&bed.container, bed.site.server.address());
        agent.wait_for_streams(1);
        bed.kill(&["--all"]);
        agent.end();
    }
}

/// So it is with a session that its budget has stopped.
#[test]
fn what_goes_on_with_a_stopped_session_is_refused_by_the_next_gateway() {
    let budgets = "[[budget]]\nname = \"talk\"\nscope = \"session\"\nlimits = { model_calls = 1 }\n\
                   [[budget]]\nname = \"crew\"\nscope = \"agent\"\nlimits = { model_calls = 99 }\n";
    let mut bed = Bed::at(Place::configured(Mode::Enforce, budgets));
    let one = Burst { script: "fill", max_tokens: Some(20), ..Burst::of(Sdk::Anthropic, 1) };
    assert_eq!(bed.call(&one).errors().len(), 0);
    let goes_on = Burst { after: Some("a few words"), ..one };
    assert_eq!(bed.call(&goes_on).errors().len(), 1);
    wait::until_true(SOON, "it to be remembered", || remains(&bed.gateway).len() == 1);
    bed.gateway.kill9();
    bed.gateway.restart();
    let seen = bed.call(&goes_on);
    let [raised] = &seen.errors()[..] else { panic!("{seen:?}") };
    assert!(raised.text.contains("is stopped: it met the limit of 1 model_calls"), "{raised:?}");
    let other = Burst { max_tokens: Some(21), script: "words=3", ..goes_on };
    assert_eq!(bed.call(&other).errors().len(), 0, "it is another conversation");
}

/// The files of what remains of who is killed or stopped.
fn remains(gateway: &Gateway) -> Vec<PathBuf> {
    let directory = gateway.place().config().with_file_name("state").join("remains");
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.map(|entry| entry.path()).collect()
}

const AGENT: &str = "crew";
/// It would take minutes.
const LONG: &str = "words=20000 chunk-ms=20";
const SOON: Duration = Duration::from_secs(20);
