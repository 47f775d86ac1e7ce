//! What is measured, how long, and in which order.

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
    load::{Sample, Work},
    subject::{Subject, Subjects},
    wire::Protocol,
};

/// The sizes of bodies.
pub(super) const SIZES: [usize; 2] = [SMALL, LARGE];
pub(super) const SMALL: usize = 2_000;
pub(super) const LARGE: usize = 200_000;
/// At the fixed rate.
pub(super) const RATE: u32 = 500;
pub(super) const RATE_CONNECTIONS: u32 = 16;
pub(super) const CONNECTIONS: u32 = 64;
pub(super) const STREAMS: u32 = 100;
pub(super) const PERIOD_MS: u32 = 50;
pub(super) const IDLE_STREAMS: u32 = 500;

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) rounds: u32,
    pub(super) quick: bool,
    fixed_ms: u32,
    saturate_ms: u32,
    stream_ms: u32,
}

/// One load, on every subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    Fixed(Protocol),
    Saturate(Protocol, usize),
    Stream,
    Idle,
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
    pub(super) const ALL: [Self; 8] = [
        Self::Fixed(Protocol::Chat),
        Self::Fixed(Protocol::Binary),
        Self::Saturate(Protocol::Chat, SMALL),
        Self::Saturate(Protocol::Chat, LARGE),
        Self::Saturate(Protocol::Binary, SMALL),
        Self::Saturate(Protocol::Binary, LARGE),
        Self::Stream,
        Self::Idle,
    ];

    pub(super) fn subjects(self) -> Vec<Subject> {
        let mut subjects = Subject::ALL.to_vec();
        if self == Self::Saturate(Protocol::Chat, SMALL) {
            subjects.push(Subject::HaproxyThreads);
        }
        if self == Self::Idle {
            subjects.retain(|subject| *subject != Subject::Direct);
        }
        subjects
    }
}

impl Plan {
    pub(super) const fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 2, quick, fixed_ms: 600, saturate_ms: 400, stream_ms: 800 }
        } else {
            Self { rounds: 5, quick, fixed_ms: 1500, saturate_ms: 1000, stream_ms: 1500 }
        }
    }

    /// Measures everything. Memory comes first, while the proxies are as they started.
    pub(super) fn run(&self, subjects: &mut Subjects) -> Result<Results> {
        let interrupted = interruption()?;
        let mut results = Results::default();
        for subject in Subject::ALL {
            if let Some(rss_kb) = subjects.rss_kb(subject)? {
                results.rss_kb.insert(subject, rss_kb);
            }
        }
        let mut measure = |scenario: Scenario| {
            for subject in scenario.subjects() {
                ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
                let sample = subjects.measure(subject, self.work(scenario))?;
                results.samples.entry((scenario, subject)).or_default().push(sample);
            }
            Ok(())
        };
        measure(Scenario::Idle)?;
        for round in 1..=self.rounds {
            eprintln!("round {round} of {} …", self.rounds);
            for scenario in Scenario::ALL {
                if scenario != Scenario::Idle {
                    measure(scenario)?;
                }
            }
        }
        Ok(results)
    }

    fn work(&self, scenario: Scenario) -> Work {
        match scenario {
            Scenario::Fixed(protocol) => Work::Fixed {
                protocol,
                connections: RATE_CONNECTIONS,
                bytes: SMALL,
                per_second: RATE,
                millis: self.fixed_ms,
            },
            Scenario::Saturate(protocol, bytes) => Work::Saturate {
                protocol,
                connections: CONNECTIONS,
                bytes,
                millis: self.saturate_ms,
            },
            Scenario::Stream => {
                Work::Stream { streams: STREAMS, period_ms: PERIOD_MS, millis: self.stream_ms }
            }
            Scenario::Idle => Work::Idle { streams: IDLE_STREAMS },
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
