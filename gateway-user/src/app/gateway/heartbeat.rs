//! The gateway's sign of life, and what the programs have to say.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use aya_log::EbpfLogger;

use crate::{app::kernel::monotonic, attach::ebpf::Hooks, sys};

/// How often the gateway says that it lives.
const PERIOD: Duration = Duration::from_millis(150);
/// How long it is believed. A dead gateway is known as dead within a second, and a busy machine has
/// room for a few late beats.
const MAX_AGE: Duration = Duration::from_millis(750);

/// A thread that beats: not a task, so that busy tasks can't make the gateway look dead.
#[derive(Debug)]
pub(super) struct Heartbeat {
    hooks: Arc<Hooks>,
    over: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Heartbeat {
    /// Ready to beat. Nothing is redirected before [`Heartbeat::begin`].
    pub(super) fn new(hooks: Arc<Hooks>) -> Self {
        Self { hooks, over: Arc::default(), thread: Mutex::default() }
    }

    /// Beats from now on.
    pub(super) fn begin(&self) -> io::Result<()> {
        let (hooks, over) = (Arc::clone(&self.hooks), Arc::clone(&self.over));
        beat(&hooks, MAX_AGE);
        let thread = thread::Builder::new().name("turnpike-beat".into()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                beat(&hooks, MAX_AGE);
                thread::park_timeout(PERIOD);
            }
        })?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Says that the gateway is dead, at once.
    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the heartbeat ended badly");
            }
        }
        beat(&self.hooks, Duration::ZERO);
    }
}

fn beat(hooks: &Hooks, max_age: Duration) {
    if let Err(error) = hooks.beat(monotonic(), max_age) {
        tracing::error!(%error, "the kernel can't be told that the gateway lives");
    }
}

/// Passes the programs' messages on to `tracing`, at the level that each has.
pub(super) fn log_messages(hooks: &Hooks) {
    let logger = hooks.with_ebpf(EbpfLogger::init);
    let logger = match logger.map_err(io::Error::other).and_then(sys::watch) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "the BPF programs' messages can't be shown");
            return;
        }
    };
    tokio::spawn(async move {
        let mut logger = logger;
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}
