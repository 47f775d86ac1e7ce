//! Calls that their server refuses, and that SDKs make again: every attempt is a step.

use turnpike_tests::{
    container::Container,
    dialects::{Agents, Case, Manner, case},
    gateway::{Gateway, Mode},
    model_server::Logged,
    site::PlainSite,
    trace::{Step, Workflow},
    wait,
};

use super::audited::SOON;

#[test]
fn attempts_that_fail_are_steps_too() {
    let container = Container::start();
    let site = PlainSite::beside(&container);
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&container, &[]);
    let cases: [Case; 5] = CASES.map(case);
    let script = "fail=529x1 words=5";
    let seen =
        Agents::start(&container, site.server.address(), script, &cases, Manner::Usual).end();
    for case in cases {
        let (name, seen) = (case.name, &seen[case.name]);
        assert!(seen.errors.is_empty(), "{name}: {seen:?}");
        let logged = site.server.logged_of(name);
        let statuses: Vec<u16> = logged.iter().map(|it| it.status).collect();
        assert_eq!((statuses.as_slice(), seen.attempts), ([529, 200].as_slice(), 2), "{name}");
        let steps = wait::until(SOON, name, || settled(&gateway.traces(), &logged[0]));
        let shown: Vec<Option<u16>> = steps.iter().map(|step| step.status).collect();
        assert_eq!(shown, [Some(529), Some(200)], "{name}");
        assert!(steps.iter().all(|step| step.dialect.as_deref() == Some(case.dialect)), "{name}");
        let shown: Vec<Option<&str>> = steps.iter().map(|it| it.response_id.as_deref()).collect();
        assert_eq!(shown, [None, logged[1].response_id.as_deref()], "{name}");
    }
}

/// The two steps of a call that was made twice, which has the same body both times.
fn settled(workflows: &[Workflow], logged: &Logged) -> Option<Vec<Step>> {
    let is_it = |step: &&Step| step.request_sha256.as_ref() == Some(&logged.request_sha256);
    let steps = workflows.iter().flat_map(|workflow| &workflow.steps);
    let steps: Vec<Step> = steps.filter(is_it).cloned().collect();
    (steps.len() == 2 && steps.iter().all(|step| step.settled)).then_some(steps)
}

/// Of SDKs that make a call again.
const CASES: [&str; 5] = [
    "openai-chat",
    "openai-responses-stream",
    "js-openai-responses",
    "anthropic-messages-stream",
    "js-anthropic-messages",
];
