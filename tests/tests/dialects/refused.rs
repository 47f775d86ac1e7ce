//! Calls that are refused before they are made, in enforce: one attempt, none of it upstream, and an
//! error that carries the reason.

use std::{collections::BTreeMap, sync::LazyLock};

use turnpike_tests::{
    container::Container,
    dialects::{Agents, CASES, Case, Manner, Seen, TOOL_CASES, ToolServer, UNMETERED_CASES},
    gateway::{Gateway, Mode},
    model_server::Logged,
    site::PlainSite,
};

use super::audited::AUDITED;

/// What came of every case. The same for all tests.
struct Refused {
    seen: BTreeMap<String, Seen>,
    logged: Vec<Logged>,
}

static REFUSED: LazyLock<Refused> = LazyLock::new(Refused::make);

impl Refused {
    fn make() -> Self {
        let container = Container::start();
        let site = PlainSite::beside(&container);
        let _tools = ToolServer::beside(&container);
        let gateway = Gateway::start(Mode::Enforce);
        gateway.attach_container(&container, &[]);
        let server = site.server.address();
        let doubled = [CASES.as_slice(), &TOOL_CASES].concat();
        let doubled = Agents::start(&container, server, "", &doubled, Manner::Doubling);
        let mut seen = Agents::start(&container, server, "", &UNMETERED_CASES, Manner::Usual).end();
        seen.extend(doubled.end());
        Self { seen, logged: site.server.logged() }
    }
}

#[track_caller]
fn assert_refused<'a>(cases: impl IntoIterator<Item = &'a Case>, reason: &str) {
    for Case { name, .. } in cases {
        let seen = REFUSED.seen.get(*name).unwrap_or_else(|| panic!("{name} said nothing"));
        assert_eq!(seen.attempts, 1, "{name}: {seen:?}");
        assert!(seen.texts.is_empty(), "{name}: {seen:?}");
        let raised = |error: &String| error.contains("turnpike: ") && error.contains(reason);
        assert!(seen.errors.iter().any(raised), "{name}: {seen:?}");
        let upstream = REFUSED.logged.iter().find(|it| it.tag.as_deref() == Some(name));
        assert!(upstream.is_none(), "{name}: {upstream:?}");
    }
}

/// Every case of a dialect, stream and not.
#[track_caller]
fn assert_dialect_refused(dialect: &str) {
    assert_refused(CASES.iter().filter(|case| case.dialect == dialect), TWICE);
}

#[test]
fn chat() {
    assert_dialect_refused("openai_chat");
}

#[test]
fn completions() {
    assert_dialect_refused("openai_completions");
}

#[test]
fn embeddings() {
    assert_dialect_refused("openai_embeddings");
}

#[test]
fn responses() {
    assert_dialect_refused("openai_responses");
}

#[test]
fn messages() {
    assert_dialect_refused("anthropic_messages");
}

#[test]
fn gemini() {
    assert_dialect_refused("gemini");
}

#[test]
fn ollama() {
    assert_dialect_refused("ollama");
}

#[test]
fn files_and_batches() {
    let [files, batches, more] = &UNMETERED_CASES;
    assert_refused([files, more], "it hands over files");
    assert_refused([batches], "it hands in a batch");
    // What their bodies say the server does not read.
    let is_it = |path: &str| path.contains("/files") || path.contains("/batches");
    let upstream: Vec<&str> = REFUSED.logged.iter().map(|it| it.path.as_str()).collect();
    assert!(!upstream.iter().any(|path| is_it(path)), "{upstream:?}");
}

/// A model is shown the reason as the tool's answer, in the session that goes on: over the transport
/// before there were sessions too, where a client waits for answers in another exchange.
#[test]
fn tools() {
    for case in TOOL_CASES {
        let name = case.name;
        let seen = REFUSED.seen.get(name).unwrap_or_else(|| panic!("{name} said nothing"));
        assert!(seen.errors.is_empty(), "{name}: {seen:?}");
        let [offered, found, failed, unknown] = seen.texts.as_slice() else {
            panic!("{name}: {seen:?}");
        };
        assert_eq!(offered, "search broken dig", "{name}");
        for text in [found, failed] {
            assert!(text.starts_with("True: turnpike: ") && text.contains(TWICE), "{name}: {text}");
        }
        assert!(unknown.starts_with("-32602: "), "{name}: {unknown}");
        assert_eq!(seen.attempts, AUDITED.seen(case).attempts, "{name}: nothing was asked again");
    }
}

const TWICE: &str = "its body says the same thing twice";
