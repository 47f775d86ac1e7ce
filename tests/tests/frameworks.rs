//! Frameworks as they are published, several workflows at once in one process, and a command-line
//! program, several processes at once: what the gateway makes of them.

use turnpike_tests::eval::{
    frameworks::{self, Performance, Plan, Profile},
    guess::{Guess, Guesser as _},
    judge,
    metrics::Figures,
    read,
    record::Record,
    replay::Engine,
};

#[test]
fn the_agents_sdk_is_followed() {
    is_followed("openai-agents chat");
}

#[test]
fn langgraph_is_followed() {
    is_followed("langgraph chat, streamed");
}

#[test]
fn codex_is_followed() {
    is_followed("codex responses, streamed");
}

#[track_caller]
fn is_followed(name: &str) {
    let plan = Plan { seed: 1, at_once: 5, sessions: 24 };
    let Performance { records, reported } =
        frameworks::perform(profile(name), plan).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(reported.len(), records.len(), "every exchange is told of");
    let figures = figures(&records, &reported);
    assert!(figures.edge_precision >= Some(0.95), "{figures:?}");
    assert!(figures.edge_recall >= Some(0.8), "{figures:?}");
    assert!(figures.session_purity >= Some(0.95), "{figures:?}");
    assert!(figures.retry_of_f1 >= Some(0.8), "{figures:?}");
    assert!(figures.exact_workflows >= Some(0.5), "{figures:?}");
    // What was recorded stands for what the gateway has seen, but for who was first by a hair.
    let replayed = figures_of_replay(&records);
    let [live, later] = [&figures, &replayed].map(|it| it.edge_recall.unwrap_or_default());
    assert!((live - later).abs() < 0.05, "{figures:?}, {replayed:?}");
}

#[track_caller]
fn profile(name: &str) -> &'static Profile {
    let found = frameworks::ALL.iter().find(|profile| profile.name() == name);
    found.unwrap_or_else(|| panic!("there is no profile {name}"))
}

fn figures(records: &[Record], guess: &Guess) -> Figures {
    Figures::of(&judge::judge(records, guess))
}

fn figures_of_replay(records: &[Record]) -> Figures {
    figures(records, &Engine { seed: 1 }.guess(&read::read(records)))
}
