//! What the model will do in each session: made up from a seed before anything runs, so that whoever
//! plays the model knows what it is up to.

use super::{
    profile::{Can, Profile},
    words,
};
use crate::eval::generate::random::Random;

/// A session: what its user wants, one thing after the other.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) case: &'static str,
    pub(super) wishes: Vec<Part>,
    /// Whether its answers have to be of a form, which the framework makes a tool of.
    pub(super) is_formal: bool,
}

/// What an agent is told to do, and what comes of it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) scenes: Vec<Scene>,
}

/// One turn of the model.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) act: Act,
    /// What becomes of the first tries.
    pub(super) faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Calls tools, so many at once.
    Tools(usize),
    /// Calls the same tool as every time, with the same arguments.
    Same,
    /// Has others do something, at once.
    Delegate(Vec<Part>),
    /// The same, and goes on without waiting for them; it is told of each when it is done.
    Launch(Vec<Part>),
    /// The same, and tells them all that was said so far.
    Fork(Vec<Part>),
    /// Waits for one of those that it has launched.
    WaitFor(usize),
    /// Says something while others are not done.
    Wait,
    HandOff,
    /// Answers in another form than it was asked to.
    Blunder,
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Status(u16),
    /// The connection ends before an answer.
    Reset,
    /// The answer ends before its end.
    Truncated,
    /// There is no answer for as long as the client waits.
    Silence,
}

/// What happens in a session.
struct Case {
    name: &'static str,
    /// Whom it can be asked of.
    of: fn(Can) -> bool,
    make: fn(&mut Random) -> Vec<Vec<Scene>>,
}

impl Plot {
    /// So many sessions: every case as often as every other one that the profile is capable of.
    pub(super) fn several(profile: &Profile, seed: u64, count: usize) -> Vec<Self> {
        let mut random = Random::new(seed);
        let cases: Vec<&Case> = CASES.iter().filter(|case| (case.of)(profile.can)).collect();
        let mut plots: Vec<Self> =
            cases.iter().cycle().take(count).map(|case| case.plot(&mut random)).collect();
        for at in (1..plots.len()).rev() {
            plots.swap(at, random.below(at + 1));
        }
        plots
    }
}

impl Case {
    fn plot(&self, random: &mut Random) -> Plot {
        let parts = (self.make)(random);
        let wishes = words::wishes(random, parts.len());
        let part = |(text, scenes)| Part { text, scenes };
        let wishes = wishes.into_iter().zip(parts).map(part).collect();
        Plot { case: self.name, wishes, is_formal: self.name == FORMAL }
    }
}

const fn case(
    name: &'static str,
    of: fn(Can) -> bool,
    make: fn(&mut Random) -> Vec<Vec<Scene>>,
) -> Case {
    Case { name, of, make }
}

/// Common things are there several times over.
const CASES: &[Case] = &[
    case("one answer", |_| true, |_| vec![vec![plain(Act::Answer)]]),
    case("tool loop", |_| true, |random| vec![tools(2 + random.below(3), 1)]),
    case("tool loop", |_| true, |random| vec![tools(1 + random.below(3), 1)]),
    case("parallel tools", |_| true, |random| vec![tools(2, 2 + random.below(3))]),
    case(
        "same call again and again",
        |_| true,
        |_| vec![[vec![plain(Act::Same); 4], vec![plain(Act::Answer)]].concat()],
    ),
    case(
        "second wish",
        |_| true,
        |random| vec![tools(1 + random.below(2), 1), tools(1, 2), vec![plain(Act::Answer)]],
    ),
    case("sub-agent", |can| can.delegate, |random| vec![delegating(random, 1)]),
    case("sub-agent", |can| can.delegate, |random| vec![delegating(random, 1)]),
    case("parallel sub-agents", |can| can.delegate, |random| vec![delegating(random, 3)]),
    case("parallel sub-agents", |can| can.delegate, |random| vec![delegating(random, 2)]),
    case(
        "sub-agents in the background",
        |can| can.launch,
        |random| {
            // When to answer follows from when they are done.
            let parts = parts(random, 2);
            vec![vec![plain(Act::Tools(1)), plain(Act::Launch(parts))]]
        },
    ),
    case("sub-agent, waited for", |can| can.wait, |random| vec![launching(random, 1, Act::Launch)]),
    case(
        "parallel sub-agents, waited for",
        |can| can.wait,
        |random| vec![launching(random, 3, Act::Launch)],
    ),
    case(
        "parallel sub-agents, waited for",
        |can| can.wait,
        |random| vec![launching(random, 2, Act::Launch)],
    ),
    case("forked sub-agent", |can| can.wait, |random| vec![launching(random, 1, Act::Fork)]),
    case("nested sub-agents", |can| can.nest, |random| vec![nested(random)]),
    case(
        "handoff",
        |can| can.hand_off,
        |_| vec![[vec![plain(Act::Tools(1)), plain(Act::HandOff)], tools(1, 1)].concat()],
    ),
    case(
        FORMAL,
        |can| can.formal,
        |_| vec![vec![plain(Act::Tools(1)), plain(Act::Blunder), plain(Act::Answer)]],
    ),
    case("retry: rate_limit", |can| can.rate_limit, |_| retried(&[Fault::Status(429)])),
    case(
        "retry: overloaded",
        |_| true,
        |random| {
            let status = *random.pick(&[500, 502, 503, 529]);
            retried(&[Fault::Status(status)])
        },
    ),
    case("retry: conn_reset", |_| true, |_| retried(&[Fault::Reset])),
    case("retry: stream_truncated", |can| can.truncated, |_| retried(&[Fault::Truncated])),
    case("retry: timeout", |can| can.time_out, |_| retried(&[Fault::Silence])),
    case(
        "retry: several, first call",
        |_| true,
        |_| {
            let faults = vec![Fault::Status(503), Fault::Reset];
            let mut scenes = tools(1, 2);
            scenes[0].faults = faults;
            vec![scenes]
        },
    ),
    case(
        "retry: in a sub-agent",
        |can| can.delegate,
        |random| {
            let mut scenes = delegating(random, 2);
            for scene in &mut scenes {
                if let Act::Delegate(parts) = &mut scene.act {
                    parts[0].scenes[0].faults = vec![Fault::Status(503)];
                }
            }
            vec![scenes]
        },
    ),
];

const FORMAL: &str = "retry: content_invalid";

const fn plain(act: Act) -> Scene {
    Scene { act, faults: Vec::new() }
}

/// So many times that many tools at once, and an answer.
fn tools(times: usize, at_once: usize) -> Vec<Scene> {
    [vec![plain(Act::Tools(at_once)); times], vec![plain(Act::Answer)]].concat()
}

fn retried(faults: &[Fault]) -> Vec<Vec<Scene>> {
    let mut scenes = tools(2, 1);
    scenes[1].faults = faults.to_vec();
    vec![scenes]
}

fn delegating(random: &mut Random, count: usize) -> Vec<Scene> {
    let parts = parts(random, count);
    vec![plain(Act::Tools(1)), plain(Act::Delegate(parts)), plain(Act::Answer)]
}

/// As `delegating`, and each is waited for.
fn launching(random: &mut Random, count: usize, act: fn(Vec<Part>) -> Act) -> Vec<Scene> {
    let act = act(parts(random, count));
    let begin = vec![plain(Act::Tools(1)), plain(act)];
    let waits = (0..count).map(|which| plain(Act::WaitFor(which))).collect();
    [begin, waits, vec![plain(Act::Answer)]].concat()
}

/// What sub-agents do.
fn parts(random: &mut Random, count: usize) -> Vec<Part> {
    let texts = words::tasks(random, count);
    let part = |text| Part { text, scenes: tools(1 + random.below(2), 1) };
    texts.into_iter().map(part).collect()
}

fn nested(random: &mut Random) -> Vec<Scene> {
    let [outer, inner] = words::tasks(random, 2).try_into().unwrap_or_default();
    let inner = Part { text: inner, scenes: tools(1, 1) };
    let scenes = vec![plain(Act::Tools(1)), plain(Act::Delegate(vec![inner])), plain(Act::Answer)];
    let outer = Part { text: outer, scenes };
    vec![plain(Act::Delegate(vec![outer])), plain(Act::Answer)]
}
