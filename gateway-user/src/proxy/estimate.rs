//! Counting the tokens of calls that nobody reported, on a thread of its own.
//!
//! A tokenizer is large and slow to load, so no connection waits for it, and it is kept only while it
//! is needed. The calls that wait are bounded: those beyond are estimated by their size, at once.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
};

use super::{
    agent::Agent,
    coverage::add,
    meter::Meter,
    purse::Held,
    recording::Recorder,
    spend::{Bill, Order},
};
use crate::{
    call::{Name, Spent, StepId, Timestamp, Usage, WorkflowId},
    ledger::{self, Ceiling},
    limits::{self, Bound},
    price::Prices,
    tokens::{Accuracy, Calibration, Count, Side, Text, Tokenizer},
};

/// Says what calls spent, and learns from those that say it themselves.
pub(super) struct Estimator {
    desk: Arc<Desk>,
    /// Absent: the thread could not be started.
    jobs: OnceLock<Option<SyncSender<Job>>>,
}

/// How good estimates are, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// Calls whose usage was estimated.
    pub calls: u64,
    /// Those of them that were estimated by their size alone.
    pub by_size: u64,
    /// By model.
    pub accuracy: Vec<(Name, Accuracy)>,
    /// Calls that were not learned from for want of room.
    pub beyond: u64,
}

/// A call that has ended, and does not say what it spent.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) agent: Arc<Agent>,
    pub(super) workflow: WorkflowId,
    pub(super) step: StepId,
    pub(super) bill: Bill,
    /// What is held for it, the tools that its answer calls, and when it ended.
    pub(super) held: Option<Held>,
    pub(super) tools: Vec<Name>,
    pub(super) at: Timestamp,
}

/// What the thread does.
enum Job {
    Learn(Bill, Usage),
    Estimate(Open),
    /// Tells when all before it are done.
    Tell(SyncSender<()>),
}

/// What both sides share.
struct Desk {
    prices: Prices,
    recorder: Arc<dyn Recorder>,
    calibration: Mutex<Calibration>,
    calls: AtomicU64,
    by_size: AtomicU64,
}

impl Estimator {
    pub(super) fn new(prices: Prices, recorder: Arc<dyn Recorder>) -> Self {
        let desk = Desk {
            prices,
            recorder,
            calibration: Mutex::default(),
            calls: AtomicU64::new(0),
            by_size: AtomicU64::new(0),
        };
        Self { desk: Arc::new(desk), jobs: OnceLock::new() }
    }

    /// The most that a call may come to, before it is made: its input by its size, with a margin.
    pub(super) fn worst(&self, order: &Order, at: Timestamp) -> ledger::Order {
        let (model, text) = order.asks();
        let guess = Count::Guess(text.guess());
        let input = match model {
            Some(model) => self.desk.calibration().estimate(model, Side::Input, guess),
            None => guess.tokens(),
        };
        let input = input.saturating_add(input / INPUT_MARGIN).saturating_add(INPUT_LEAST);
        order.worst(&self.desk.prices, input, at)
    }

    /// What holds the answers of a model to a ceiling.
    pub(super) fn meter(&self, model: Option<&Name>, ceiling: Ceiling) -> Meter {
        let most = model.map_or(ceiling.tokens, |model| {
            self.desk.calibration().counted(model, Side::Output, ceiling.tokens)
        });
        Meter::new(ceiling, most)
    }

    /// A call that reported what it spent.
    pub(super) fn reported(&self, agent: &Agent, bill: Bill, usage: Usage) -> Spent {
        let spent = bill.spent(&self.desk.prices, usage);
        add(&agent.coverage.calls_unpriced, spent.unpriced.into());
        if bill.model().is_some_and(|model| self.desk.calibration().wants(model))
            && let Some(jobs) = self.jobs()
        {
            // There are others to learn from.
            let _ = jobs.try_send(Job::Learn(bill, usage));
        }
        spent
    }

    /// A call that did not: the recorder is told when it is known.
    pub(super) fn estimate(&self, open: Open) {
        let job = Job::Estimate(open);
        let unsent = match self.jobs() {
            Some(jobs) => jobs.try_send(job).map_err(|error| match error {
                TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
            }),
            None => Err(job),
        };
        if let Err(Job::Estimate(open)) = unsent {
            open.agent.bounds.hit(Bound::Estimates);
            self.desk.by_size.fetch_add(1, Ordering::Relaxed);
            self.desk.close(open, |text| Count::Guess(text.guess()));
        }
    }

    /// Waits until what was to be estimated before is, within [`limits::ESTIMATE_TIME`].
    pub(super) fn settle(&self) {
        let Some(Some(jobs)) = self.jobs.get() else { return };
        let (told, done) = mpsc::sync_channel(1);
        if jobs.send(Job::Tell(told)).is_ok() {
            // Whoever asks goes on without those that take longer.
            let _ = done.recv_timeout(limits::ESTIMATE_TIME);
        }
    }

    pub(super) fn estimates(&self) -> Estimates {
        let calibration = self.desk.calibration();
        Estimates {
            calls: self.desk.calls.load(Ordering::Relaxed),
            by_size: self.desk.by_size.load(Ordering::Relaxed),
            accuracy: calibration.accuracy(),
            beyond: calibration.beyond(),
        }
    }

    /// To the thread, which is started when there is something to do.
    fn jobs(&self) -> Option<&SyncSender<Job>> {
        let start = || {
            let (jobs, waiting) = mpsc::sync_channel(limits::ESTIMATES);
            let desk = Arc::clone(&self.desk);
            let thread = thread::Builder::new().name("estimates".into());
            match thread.spawn(move || work(&desk, &waiting)) {
                Ok(_) => Some(jobs),
                Err(error) => {
                    tracing::error!(%error, "tokens are estimated by size alone: no thread for it");
                    None
                }
            }
        };
        self.jobs.get_or_init(start).as_ref()
    }
}

/// Until nobody can ask any more.
fn work(desk: &Desk, jobs: &Receiver<Job>) {
    let mut tokenizer = None;
    loop {
        let job = match jobs.recv_timeout(limits::TOKENIZER_IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                tokenizer = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match job {
            Job::Learn(bill, usage) => {
                desk.learn(tokenizer.get_or_insert_with(Tokenizer::load), &bill, &usage);
            }
            Job::Estimate(open) => {
                let tokenizer = tokenizer.get_or_insert_with(Tokenizer::load);
                desk.close(open, |text| Count::Tokens(text.count(tokenizer)));
            }
            // Whoever asked may have gone on.
            Job::Tell(told) => drop(told.try_send(())),
        }
    }
}

impl Desk {
    fn calibration(&self) -> MutexGuard<'_, Calibration> {
        self.calibration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, tokenizer: &Tokenizer, bill: &Bill, usage: &Usage) {
        let Some(model) = bill.model() else { return };
        for (side, reported) in [(Side::Input, usage.input), (Side::Output, usage.output)] {
            if side == Side::Input && bill.other_parts() > 0 {
                continue;
            }
            let text = bill.text(side);
            // Apart from the lock, which the data path takes too.
            let (tokens, guess) = (text.count(tokenizer), text.guess());
            self.calibration().learn(model, side, tokens, guess, reported);
        }
    }

    fn close(&self, open: Open, count: impl Fn(&Text<'_>) -> Count) {
        let Open { agent, workflow, step, bill, held, tools, at } = open;
        let [input, output] = [Side::Input, Side::Output].map(|side| count(&bill.text(side)));
        let usage = bill.estimate(&self.calibration(), input, output);
        let spent = bill.spent(&self.prices, usage);
        self.calls.fetch_add(1, Ordering::Relaxed);
        add(&agent.coverage.calls_estimated, 1);
        add(&agent.coverage.calls_unpriced, spent.unpriced.into());
        self.recorder.spent(&agent.reference(), workflow, step, spent);
        if let Some(held) = held {
            held.settle(at, &spent, tools);
        }
    }
}

/// Nothing of what it works on: that is private.
impl fmt::Debug for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Estimator").finish_non_exhaustive()
    }
}

/// The part of an estimated input that is held beside it: estimates by size are off by less on average.
const INPUT_MARGIN: u64 = 4;
/// Tokens that are held beside it in any case, for what templates add.
const INPUT_LEAST: u64 = 32;

#[cfg(test)]
mod tests;
