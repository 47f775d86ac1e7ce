//! What is measured, how long, and in which order.

mod title;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    load::{Bodies, Channel, Sample, Work},
    subject::{Subject, Subjects},
    wire::Protocol,
};

/// The sizes of answers.
pub(super) const SIZES: [usize; 2] = [SMALL, LARGE];
pub(super) const SMALL: usize = 2_000;
pub(super) const LARGE: usize = 200_000;
/// At the fixed rate.
pub(super) const RATE: u32 = 500;
pub(super) const RATE_CONNECTIONS: u32 = 16;
/// Requests under way at a time: connections, or streams of HTTP/2.
pub(super) const CONNECTIONS: u32 = 64;
pub(super) const STREAMS: u32 = 100;
pub(super) const PERIOD_MS: u32 = 50;
pub(super) const IDLE_STREAMS: u32 = 500;
/// How long a peer is measured that is a hundred times slower than the others.
const SLOW_MS: u32 = 4000;
/// What the ends of HTTP/2 allow each other: no stream waits for its window, or for others to end.
pub(super) const H2_WINDOW: u32 = 1024 * 1024;
pub(super) const H2_STREAMS: u32 = 256;

/// What to do, and how long it may take.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) scenarios: Vec<Scenario>,
    pub(super) rounds: u32,
    pub(super) quick: bool,
    fixed_ms: u32,
    saturate_ms: u32,
    stream_ms: u32,
}

/// One load, on every subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    /// Latency at a fixed rate.
    Fixed(Protocol),
    /// As many requests as can be answered.
    Saturate(Protocol, Channel, Bodies),
    Stream(Channel),
    Idle(Channel),
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Of each scenario and subject, a sample for each round.
    pub(super) samples: BTreeMap<(Scenario, Subject), Vec<Sample>>,
    /// In kB, before any load.
    pub(super) rss_kb: BTreeMap<Subject, u64>,
}

impl Scenario {
    /// Every one of them, in the order in which they are reported.
    pub(super) fn all() -> Vec<Self> {
        use Channel::{Closed, Http2, Http2Shared, Plain, Tls};
        use Protocol::{Archive, Binary, Chat};

        const SMALL_TEXT: Bodies = Bodies::Text(SMALL);
        const LARGE_TEXT: Bodies = Bodies::Text(LARGE);
        let saturate = |(protocol, channel, bodies)| Self::Saturate(protocol, channel, bodies);
        let loads = [
            (Chat, Plain, SMALL_TEXT),
            (Chat, Plain, LARGE_TEXT),
            (Archive, Plain, LARGE_TEXT),
            (Chat, Plain, Bodies::Fresh(SMALL)),
            (Archive, Plain, Bodies::Fresh(SMALL)),
            (Chat, Plain, Bodies::Growing(SMALL)),
            (Archive, Plain, Bodies::Growing(SMALL)),
            (Binary, Plain, SMALL_TEXT),
            (Binary, Plain, LARGE_TEXT),
            (Chat, Tls, SMALL_TEXT),
            (Chat, Tls, LARGE_TEXT),
            (Chat, Http2, SMALL_TEXT),
            (Chat, Http2Shared, SMALL_TEXT),
            (Chat, Http2Shared, LARGE_TEXT),
            (Chat, Closed, SMALL_TEXT),
            (Chat, Closed, LARGE_TEXT),
        ];
        let mut all = vec![Self::Fixed(Chat), Self::Fixed(Binary)];
        all.extend(loads.map(saturate));
        all.extend([Plain, Tls].map(Self::Stream));
        all.extend([Plain, Tls].map(Self::Idle));
        all
    }

    pub(super) const fn channel(self) -> Channel {
        match self {
            Self::Fixed(_) => Channel::Plain,
            Self::Saturate(_, channel, _) | Self::Stream(channel) | Self::Idle(channel) => channel,
        }
    }

    /// Whether proxies look at nothing: they can't, or they leave it alone.
    pub(super) fn is_opaque(self) -> bool {
        let binary =
            matches!(self, Self::Fixed(p) | Self::Saturate(p, ..) if p == Protocol::Binary);
        binary || self.channel() == Channel::Closed
    }

    /// Whether it consists of calls that a gateway can understand.
    pub(super) fn is_understood(self) -> bool {
        let framed = matches!(self, Self::Saturate(Protocol::Archive, ..));
        !framed && !self.is_opaque()
    }

    /// Memory comes first, while the proxies are as they started.
    const fn comes_first(self) -> bool {
        matches!(self, Self::Idle(_))
    }
}

impl Plan {
    /// `only` the scenarios that have these words in their titles, if there are any.
    pub(super) fn new(quick: bool, only: Option<&str>) -> Self {
        let mut scenarios = Scenario::all();
        scenarios.retain(|it| only.is_none_or(|words| it.to_string().contains(words)));
        if quick {
            Self { scenarios, rounds: 2, quick, fixed_ms: 600, saturate_ms: 400, stream_ms: 800 }
        } else {
            Self { scenarios, rounds: 5, quick, fixed_ms: 1500, saturate_ms: 800, stream_ms: 1500 }
        }
    }

    /// Measures everything.
    pub(super) fn run(&self, subjects: &mut Subjects) -> Result<Results> {
        let interrupted = interruption()?;
        let mut results = Results::default();
        for subject in subjects.all() {
            if let Some(rss_kb) = subjects.rss_kb(subject)? {
                results.rss_kb.insert(subject, rss_kb);
            }
        }
        let mut measure = |scenario: Scenario| {
            for subject in subjects.of(scenario) {
                ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
                let sample = subjects.measure(subject, scenario, self.work(scenario, subject))?;
                results.samples.entry((scenario, subject)).or_default().push(sample);
            }
            Ok(())
        };
        let (first, every_round): (Vec<Scenario>, Vec<Scenario>) =
            self.scenarios.iter().partition(|scenario| scenario.comes_first());
        first.into_iter().try_for_each(&mut measure)?;
        for round in 1..=self.rounds {
            eprintln!("round {round} of {} …", self.rounds);
            every_round.iter().copied().try_for_each(&mut measure)?;
        }
        Ok(results)
    }

    fn work(&self, scenario: Scenario, subject: Subject) -> Work {
        match scenario {
            Scenario::Fixed(protocol) => Work::Fixed {
                protocol,
                connections: RATE_CONNECTIONS,
                bytes: SMALL,
                per_second: RATE,
                millis: self.fixed_ms,
            },
            Scenario::Saturate(protocol, _, bodies) => {
                // Enough for some hundred requests.
                let millis = if subject == Subject::Mitmproxy { SLOW_MS } else { self.saturate_ms };
                Work::Saturate { protocol, bodies, streams: CONNECTIONS, millis }
            }
            Scenario::Stream(_) => {
                Work::Stream { streams: STREAMS, period_ms: PERIOD_MS, millis: self.stream_ms }
            }
            Scenario::Idle(_) => Work::Idle { streams: IDLE_STREAMS },
        }
    }
}

/// Becomes true with SIGINT or SIGTERM: then the bench ends between two jobs, and takes down what
/// it has set up.
fn interruption() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            flag.store(true, Ordering::Relaxed);
        });
    });
    Ok(interrupted)
}
