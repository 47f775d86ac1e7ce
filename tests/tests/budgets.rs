//! Real clients, unchanged, that would spend more than their budget in enforce: what fits it goes
//! upstream, all else raises an error with the reason, once.

use std::{net::IpAddr, process::Stdio, time::Duration};

use turnpike_tests::{
    burst::{Burst, Bursting, Raised, Sdk, Seen},
    container::Container,
    gateway::{Gateway, Mode, Place},
    model_server::ModelServer,
    process::Background,
    site::PlainSite,
    trace::{Step, Workflow},
    wait,
};

/// An enforced container with a budget, and a server for it to call.
struct Bed {
    // What is dropped first lets go of what follows.
    gateway: Gateway,
    site: PlainSite,
    container: Container,
}

impl Bed {
    fn new(config: &str) -> Self {
        Self::told(|_| config.to_owned())
    }

    /// With what is configured for a server at that address.
    fn told(config: impl FnOnce(IpAddr) -> String) -> Self {
        let container = Container::start();
        let site = PlainSite::beside(&container);
        let gateway = Gateway::start_with(Mode::Enforce, &config(site.server.address().ip()));
        gateway.attach_container(&container, &["--name", AGENT]);
        Self { gateway, site, container }
    }

    fn start(&self, burst: &Burst) -> Bursting {
        burst.start(&self.container, self.site.server.address())
    }

    /// Makes calls of which so many fit, and lets them end.
    fn spend(&mut self, burst: &Burst, fit: usize) {
        let agent = self.start(burst);
        let seen = hold_and_release(agent, &mut self.site.server, burst, fit);
        assert_fit(&seen, &self.site.server, burst, fit, "budget crew allows agent crew ");
        assert_eq!(self.refused(), burst.calls - fit);
        for step in self.settled(fit) {
            let spent = step.usage.expect("it is settled");
            // Streams are made to tell it, though their clients do not ask for it.
            assert_eq!((spent.usage.output_tokens, spent.estimated), (EACH, false));
        }
    }

    /// The calls that were let through, once it is known of all what they came to.
    fn settled(&self, count: usize) -> Vec<Step> {
        let made = |step: &Step| step.status == Some(200) && step.usage.is_some();
        wait::until(SOON, format_args!("{count} calls to be settled"), || {
            let traces = self.gateway.traces();
            let steps = traces.iter().flat_map(Workflow::model_steps).filter(|step| made(step));
            let steps: Vec<Step> = steps.cloned().collect();
            assert!(steps.len() <= count, "{steps:?}");
            (steps.len() == count).then_some(steps)
        })
    }

    /// How many calls the gateway says that it refused.
    fn refused(&self) -> usize {
        let agent = self.gateway.agent_json(AGENT).expect("it is attached");
        let refused = agent["coverage"]["reasons"]["calls_refused"].as_u64();
        refused.and_then(|refused| refused.try_into().ok()).unwrap_or(0)
    }
}

/// Starts calls of which the server holds all that come, so that each is decided on while those that
/// were let through are in flight; and ends them when so many are refused that the rest fits.
fn hold_and_release(
    mut agent: Bursting,
    server: &mut ModelServer,
    burst: &Burst,
    fit: usize,
) -> Seen {
    let upstream = || server.logged().len();
    agent
        .wait_for(burst.calls - fit, || assert!(upstream() <= fit, "{} went upstream", upstream()));
    wait::until_true(SOON, "those that fit to arrive", || upstream() == fit);
    server.release();
    agent.end()
}

/// So many calls must have been made, all of them whole, and every other one must have been refused for
/// that reason, at its first try.
#[track_caller]
fn assert_fit(seen: &Seen, server: &ModelServer, burst: &Burst, fit: usize, reason: &str) {
    assert_eq!(seen.words(), vec![EACH; fit], "what was delivered, and no token more");
    let upstream = server.logged();
    let limits: Vec<_> = upstream.iter().map(|call| call.max_output).collect();
    assert_eq!(limits, vec![Some(EACH); fit], "what the server was asked for");
    assert_eq!(seen.attempts, burst.calls, "nothing is tried again");
    assert_refused(seen, burst, burst.calls - fit, reason);
}

/// So many calls must have raised the error that the SDK has for what is wrong with the caller.
#[track_caller]
fn assert_refused(seen: &Seen, burst: &Burst, count: usize, reason: &str) {
    assert_eq!(seen.errors().len(), count);
    let expected = match burst.sdk {
        Sdk::OpenAi | Sdk::NodeOpenAi => ("BadRequestError", Some(400)),
        Sdk::Anthropic => ("PaymentRequiredError", Some(402)),
    };
    for error in seen.errors() {
        assert_eq!((error.kind.as_str(), error.status), expected, "{error:?}");
        assert!(error.text.contains(&format!("turnpike: {reason}")), "{error:?}");
    }
}

/// A budget of the agent: limits, and more lines.
fn budget(limits: &str, more: &str) -> String {
    format!("[[budget]]\nname = \"crew\"\nscope = \"agent\"\nlimits = {{ {limits} }}\n{more}\n")
}

#[test]
fn of_two_hundred_calls_at_once_ten_fit_and_none_afterwards() {
    let mut bed = Bed::new(&budget("output_tokens = 1000", ""));
    let burst = Burst { max_tokens: Some(EACH), ..Burst::of(Sdk::OpenAi, 200) };
    bed.spend(&burst, 10);
    let more = Burst { calls: 5, ..burst };
    let seen = bed.start(&more).end();
    assert_refused(&seen, &more, 5, "");
    assert_eq!((seen.attempts, bed.site.server.logged().len()), (5, 10));
}

#[test]
fn streams_that_set_no_limit_are_given_one() {
    let mut bed = Bed::new(&budget("output_tokens = 1000", "default_output_tokens = 100"));
    bed.spend(&Burst { stream: true, ..Burst::of(Sdk::OpenAi, 200) }, 10);
}

#[test]
fn anthropic_s_sdk() {
    for stream in [false, true] {
        let mut bed = Bed::new(&budget("output_tokens = 400", ""));
        bed.spend(&Burst { max_tokens: Some(EACH), stream, ..Burst::of(Sdk::Anthropic, 40) }, 4);
    }
}

#[test]
fn openai_s_sdk_in_javascript() {
    let burst = Burst::of(Sdk::NodeOpenAi, 40);
    let mut bed = Bed::new(&budget("output_tokens = 400", ""));
    bed.spend(&Burst { max_tokens: Some(EACH), ..burst }, 4);
    let mut bed = Bed::new(&budget("output_tokens = 400", "default_output_tokens = 100"));
    bed.spend(&Burst { stream: true, ..burst }, 4);
}

/// An answer costs $0.001, and what is asked for it less than a hundredth of that: four of them leave
/// less than what a further one would need to be of use.
#[test]
fn dollars_are_held_by_the_worst_case_too() {
    let burst = Burst { max_tokens: Some(EACH), ..Burst::of(Sdk::OpenAi, 40) };
    let price = "[[price]]\nmatch = { model = \"scripted-1*\" }\ninput = \"0.10\"\noutput = \"10\"";
    Bed::new(&budget("usd = \"0.0041\"", price)).spend(&burst, 4);
}

#[test]
fn a_run_is_held_to_what_its_command_line_says() {
    let mut server = ModelServer::start(&["127.0.0.1:0".parse().expect("an address")]);
    let place = Place::new(Mode::Audit);
    let burst = Burst { max_tokens: Some(EACH), ..Burst::of(Sdk::OpenAi, 40) };
    let mut run = place.run(&[
        // The command changes its root, where what it would be told to trust is not to be seen.
        "--decrypt",
        "off",
        "--mode",
        "enforce",
        "--name",
        AGENT,
        "--budget",
        "output_tokens=400",
    ]);
    let run = Background::spawn("turnpike run", run.args(burst.on_the_host(server.address())));
    let seen = hold_and_release(Bursting::of(run), &mut server, &burst, 4);
    assert_fit(&seen, &server, &burst, 4, "budget run-crew-agent allows agent crew ");
}

#[test]
fn a_run_whose_workflows_alone_are_limited_is_told_what_is_missing() {
    let place = Place::new(Mode::Audit);
    let run = |budget: &str| {
        let mut run = place.run(&["--mode", "enforce", "--budget", budget]);
        run.args(["echo", "it runs"]).stdin(Stdio::null()).output().expect("turnpike runs")
    };
    let refused = run("workflow:usd=1");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("or to --budget a limit without a scope"), "{said}");
    assert!(refused.stdout.is_empty(), "its command is not run");

    let held = run("workflow:usd=1,usd=2");
    let said = String::from_utf8_lossy(&held.stderr);
    assert!(held.status.success() && held.stdout == b"it runs\n", "{said}");
}

#[test]
fn streams_that_outlast_their_time_are_ended_and_none_follows() {
    for (sdk, kind) in [
        (Sdk::OpenAi, "APIError"),
        (Sdk::Anthropic, "APIStatusError"),
        (Sdk::NodeOpenAi, "APIError"),
    ] {
        let bed = Bed::new(&budget("wall_clock = \"2s\"", "on_exceed = \"cancel\""));
        let max_tokens = Some(100_000);
        let long = Burst { max_tokens, stream: true, script: LONG, ..Burst::of(sdk, 3) };
        let seen = bed.start(&long).end();
        assert_eq!((seen.attempts, bed.site.server.logged().len()), (3, 3));
        assert_eq!(seen.errors().len(), 3);
        for Raised { kind: raised, text, .. } in seen.errors() {
            assert_eq!(raised, kind, "{text}");
            assert!(
                text.contains("turnpike: budget crew allows agent crew 2.0 s wall_clock"),
                "{text}"
            );
        }
        let begun = seen.outcomes.iter().filter(|outcome| outcome.pieces > 0).count();
        assert_eq!(begun, 3, "they are ended in their middle: {:?}", seen.outcomes);

        let seen = bed.start(&long).end();
        assert_refused(&seen, &long, 3, "agent crew is stopped: ");
        assert_eq!((seen.attempts, bed.site.server.logged().len()), (3, 3), "none goes upstream");
    }
}

/// The server does not keep to the limit that it is given.
#[test]
fn not_a_word_of_a_stream_is_delivered_beyond_what_is_held() {
    for (sdk, kind, max_tokens) in [
        (Sdk::OpenAi, "APIError", None),
        (Sdk::Anthropic, "APIStatusError", Some(EACH)),
        (Sdk::NodeOpenAi, "APIError", None),
    ] {
        let bed = Bed::new(&budget("output_tokens = 1000", "default_output_tokens = 100"));
        let long = Burst { max_tokens, stream: true, script: ENDLESS, ..Burst::of(sdk, 3) };
        let seen = bed.start(&long).end();
        assert_eq!((seen.attempts, bed.site.server.logged().len()), (3, 3));
        assert_eq!(seen.errors().len(), 3);
        for Raised { kind: raised, text, .. } in seen.errors() {
            assert_eq!(raised, kind, "{text}");
            assert!(text.contains("turnpike: budget crew holds 100 output_tokens"), "{text}");
        }
        for outcome in &seen.outcomes {
            // Each is a token, and the first two have a sign beside them that is another one.
            assert!((97..=EACH).contains(&outcome.delivered), "{outcome:?}");
        }
        for step in bed.settled(3) {
            let spent = step.usage.expect("it is settled");
            assert!(spent.estimated && spent.usage.output_tokens > 80, "{spent:?}");
        }
    }
}

/// Each SDK gives its first try up, and asks again by itself.
#[test]
fn an_answer_that_came_too_late_for_its_client_is_not_paid_for_twice() {
    for sdk in [Sdk::OpenAi, Sdk::Anthropic, Sdk::NodeOpenAi] {
        let mut bed = Bed::told(|server| {
            let as_asked = format!("hosts = [\"{server}\"]\nstream_upstream = false");
            let budget = budget("output_tokens = 1000", "");
            format!("replay_aborted = true\n[[upstream]]\n{as_asked}\n{budget}")
        });
        let patience = Some(Duration::from_secs(3));
        let burst = Burst { max_tokens: Some(EACH), patience, ..Burst::of(sdk, 1) };
        let agent = bed.start(&burst);
        let steps = |gateway: &Gateway| -> Vec<Step> {
            gateway.traces().iter().flat_map(Workflow::model_steps).cloned().collect()
        };
        wait::until_true(SOON, "it to ask again", || steps(&bed.gateway).len() >= 2);
        bed.site.server.release();
        let seen = agent.end();
        assert_eq!(seen.words(), [EACH], "{seen:?}");
        assert!(seen.attempts >= 2 && seen.errors().is_empty(), "{seen:?}");
        assert_eq!(bed.site.server.logged().len(), 1, "{sdk:?}");
        let steps = wait::until(SOON, "all to be settled", || {
            let steps = steps(&bed.gateway);
            steps.iter().all(|step| step.settled).then_some(steps)
        });
        let (first, again) = steps.split_first().expect("it was tried");
        let spent = |step: &Step| step.usage.as_ref().map(|spent| spent.usage.output_tokens);
        assert_eq!(spent(first), Some(EACH), "{first:?}");
        for later in again {
            let retry = later.retry.as_ref().expect("a retry");
            assert!(retry.replayed && spent(later).is_none(), "{later:?}");
            assert_eq!(retry.of_step_id, first.step_id);
        }
    }
}

const AGENT: &str = "crew";
/// Tokens of an answer.
const EACH: u64 = 100;
/// It would take minutes.
const LONG: &str = "words=20000 chunk-ms=20";
/// It takes no notice of limits.
const ENDLESS: &str = "words=20000 chunk-ms=1";
const SOON: Duration = Duration::from_secs(20);
