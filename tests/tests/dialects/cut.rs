//! Streams that are ended in their middle, in enforce, as the gateway ends: every SDK raises an error
//! that carries the reason, and tries nothing again.

use std::{collections::BTreeMap, sync::LazyLock};

use turnpike_tests::{
    container::Container,
    dialects::{Agents, CASES, Case, LONG_TOOL_CASES, Manner, Seen, ToolServer},
    gateway::{Gateway, Mode},
    model_server::Logged,
    site::PlainSite,
};

/// What came of every streamed case. The same for all tests.
struct Cut {
    seen: BTreeMap<String, Seen>,
    logged: Vec<Logged>,
}

static CUT: LazyLock<Cut> = LazyLock::new(Cut::make);

impl Cut {
    fn make() -> Self {
        let container = Container::start();
        let site = PlainSite::beside(&container);
        let _tools = ToolServer::beside(&container);
        let mut gateway = Gateway::start(Mode::Enforce);
        gateway.attach_container(&container, &[]);
        let cases = CASES.into_iter().filter(Case::is_streamed).chain(LONG_TOOL_CASES);
        let cases: Vec<Case> = cases.collect();
        let mut agents =
            Agents::start(&container, site.server.address(), SLOW, &cases, Manner::Usual);
        agents.wait_for_streams(&cases);
        gateway.terminate();
        Self { seen: agents.end(), logged: site.server.logged() }
    }
}

/// Every streamed case of a dialect.
#[track_caller]
fn assert_cut(dialect: &str) {
    let cases = CASES.iter().filter(|case| case.dialect == dialect && case.is_streamed());
    for Case { name, .. } in cases {
        let seen = CUT.seen.get(*name).unwrap_or_else(|| panic!("{name} said nothing"));
        let upstream = CUT.logged.iter().filter(|it| it.tag.as_deref() == Some(name)).count();
        assert_eq!((seen.attempts, upstream), (1, 1), "{name}: {seen:?}");
        assert!(seen.texts.is_empty(), "{name}: {seen:?}");
        // An array that grows is no stream of events: it can only be broken off.
        let reason = if *name == ARRAY { "" } else { "turnpike: the gateway is ending" };
        let raised = |error: &String| error.contains(reason);
        assert!(seen.errors.iter().any(raised), "{name}: {seen:?}");
    }
}

#[test]
fn chat() {
    assert_cut("openai_chat");
}

#[test]
fn completions() {
    assert_cut("openai_completions");
}

#[test]
fn responses() {
    assert_cut("openai_responses");
}

#[test]
fn messages() {
    assert_cut("anthropic_messages");
}

#[test]
fn gemini() {
    assert_cut("gemini");
}

#[test]
fn ollama() {
    assert_cut("ollama");
}

/// A model is shown the reason as the tool's answer.
#[test]
fn tools() {
    for Case { name, .. } in LONG_TOOL_CASES {
        let seen = CUT.seen.get(name).unwrap_or_else(|| panic!("{name} said nothing"));
        assert_eq!(seen.attempts, 1, "{name}: {seen:?}");
        let [text] = seen.texts.as_slice() else { panic!("{name}: {seen:?}") };
        assert!(text.starts_with("True: turnpike: the gateway is ending"), "{name}: {text}");
    }
}

const ARRAY: &str = "httpx-gemini-array-stream";
/// It would take minutes.
const SLOW: &str = "words=20000 chunk-ms=20";
