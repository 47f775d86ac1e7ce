//! The time in which things count: after everything has warmed up, before anything ends.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::Sample;
use crate::bench::probe;

/// Shared by the tasks of one job.
#[derive(Debug, Default)]
pub(super) struct Window {
    open: AtomicBool,
    over: AtomicBool,
    done: AtomicU64,
}

impl Window {
    /// Counts one, if the window is open. Gives whether it is.
    pub(super) fn count(&self) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        if open {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        open
    }

    /// Whether it has been open and is closed.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Opens it for a while. What was counted, and what the watched process used meanwhile.
    pub(super) async fn measure(&self, length: Duration, watched: Option<u32>) -> Result<Sample> {
        let meter = Meter::start(watched)?;
        self.open.store(true, Ordering::Relaxed);
        tokio::time::sleep(length).await;
        self.open.store(false, Ordering::Relaxed);
        let sample = meter.stop(self.done.load(Ordering::Relaxed))?;
        self.over.store(true, Ordering::Relaxed);
        Ok(sample)
    }
}

/// Time, and the watched process's CPU time.
#[derive(Debug)]
pub(super) struct Meter {
    watched: Option<u32>,
    cpu_ns: Option<u64>,
    started: Instant,
}

impl Meter {
    pub(super) fn start(watched: Option<u32>) -> Result<Self> {
        let cpu_ns = watched.map(probe::cpu_ns).transpose()?;
        Ok(Self { watched, cpu_ns, started: Instant::now() })
    }

    #[allow(clippy::cast_precision_loss, reason = "counts and times are far below 2^52")]
    pub(super) fn stop(self, done: u64) -> Result<Sample> {
        anyhow::ensure!(done > 0, "nothing was answered in time");
        let cpu_ns = self.watched.map(probe::cpu_ns).transpose()?;
        let used = cpu_ns.zip(self.cpu_ns).map(|(now, then)| now.saturating_sub(then));
        Ok(Sample {
            done,
            seconds: self.started.elapsed().as_secs_f64(),
            delays: None,
            cpu_us: used.map(|used| used as f64 / 1000.0 / done as f64),
            rss_kb: None,
        })
    }
}
