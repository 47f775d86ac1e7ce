//! Calls for one answer, in enforce: their server is asked for streams, and SDKs get what they asked for, to
//! the last field that they compare with what they know of the API.

use std::sync::LazyLock;

use turnpike_tests::{
    dialects::{CASES, Case, case},
    gateway::Mode,
};

use super::{
    audited::Audited,
    understood::{assert_seen, assert_shown},
};

static GATHERED: LazyLock<Audited> = LazyLock::new(|| {
    let is_one_of_them = |case: &&Case| NAMES.concat().contains(&case.name);
    Audited::make(Mode::Enforce, &CASES.iter().filter(is_one_of_them).copied().collect::<Vec<_>>())
});

const CHAT: &[&str] = &["openai-chat", "js-openai-chat", "ai-openai-chat"];
const COMPLETIONS: &[&str] = &["openai-completions", "js-openai-completions"];
const RESPONSES: &[&str] = &["openai-responses", "js-openai-responses", "ai-openai-responses"];
const MESSAGES: &[&str] = &["anthropic-messages", "js-anthropic-messages", "ai-anthropic-messages"];
const OLLAMA: &[&str] = &["ollama-chat", "ollama-generate"];
const NAMES: [&[&str]; 5] = [CHAT, COMPLETIONS, RESPONSES, MESSAGES, OLLAMA];

#[track_caller]
fn assert_gathered(names: &[&str]) {
    for name in names {
        let case = case(name);
        let conversation = GATHERED.conversation(case);
        assert!(conversation.calls.iter().all(|(logged, _)| logged.stream), "{conversation:?}");
        assert_seen(case, &conversation);
        assert_shown(case, &conversation);
    }
}

#[test]
fn chat() {
    assert_gathered(CHAT);
}

#[test]
fn completions() {
    assert_gathered(COMPLETIONS);
}

#[test]
fn responses() {
    assert_gathered(RESPONSES);
}

#[test]
fn messages() {
    assert_gathered(MESSAGES);
}

/// Its answers have no ids, by which they could be found in the trace.
#[test]
fn ollama() {
    for name in OLLAMA {
        let case = case(name);
        let (seen, logged) = (GATHERED.seen(case), GATHERED.logged_of(case));
        assert!(seen.errors.is_empty(), "{name}: {seen:?}");
        assert_eq!((seen.attempts, seen.texts.len()), (logged.len(), 1), "{name}: {seen:?}");
        assert!(!logged.is_empty() && logged.iter().all(|it| it.stream), "{name}: {logged:?}");
    }
}
