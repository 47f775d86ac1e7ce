//! The threads of the data path: one in each network namespace that an agent lives in.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use gateway_common::Listener;
use tokio::sync::oneshot;

use super::kernel::KernelOrigins;
use crate::{
    attach::netns::{Netns, NetnsId},
    drain::{self, Phase, Signal, Watch},
    proxy::{self, Listeners},
};

type Context = Arc<proxy::Context<KernelOrigins>>;

/// The threads that accept, and those that only carry what they had accepted.
#[derive(Debug)]
pub(super) struct Threads {
    context: Context,
    open: HashMap<NetnsId, Thread>,
    closed: Vec<Thread>,
}

/// One thread of the data path.
#[derive(Debug)]
struct Thread {
    id: NetnsId,
    netns: u64,
    listener: Listener,
    signal: Signal,
    /// Ends when nothing is accepted any more.
    accepting: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

/// What a thread says once it listens.
type Started = io::Result<(u64, Listener)>;

impl Threads {
    pub(super) fn new(context: Context) -> Self {
        Self { context, open: HashMap::new(), closed: Vec::new() }
    }

    /// Makes sure that a thread accepts in the namespace. Gives its cookie and where it listens.
    pub(super) fn ensure(&mut self, netns: Netns) -> io::Result<(u64, Listener)> {
        self.closed.retain(|thread| !thread.handle.is_finished());
        let id = netns.id();
        if let Some(thread) = self.open.get(&id).filter(|thread| !thread.handle.is_finished()) {
            return Ok((thread.netns, thread.listener));
        }
        let thread = Thread::start(netns, Arc::clone(&self.context))?;
        let found = (thread.netns, thread.listener);
        self.open.insert(id, thread);
        Ok(found)
    }

    /// Whether a thread accepts in the namespace.
    pub(super) fn serves(&self, id: NetnsId) -> bool {
        self.open.get(&id).is_some_and(|thread| !thread.handle.is_finished())
    }

    /// The cookie of a namespace in which a thread accepts.
    pub(super) fn cookie(&self, id: NetnsId) -> Option<u64> {
        self.open.get(&id).map(|thread| thread.netns)
    }

    /// The ports of a namespace on which threads accept, or have accepted what they still carry.
    pub(super) fn ports(&self, id: NetnsId) -> BTreeSet<u16> {
        let threads = self.open.values().chain(&self.closed);
        let living = threads.filter(|thread| thread.id == id && !thread.handle.is_finished());
        // Ports come from the kernel, which has no larger ones.
        living.filter_map(|thread| u16::try_from(thread.listener.port).ok()).collect()
    }

    /// Stops accepting in a namespace. What was accepted goes on.
    pub(super) async fn close(&mut self, id: NetnsId) {
        let Some(mut thread) = self.open.remove(&id) else { return };
        thread.signal.advance(Phase::Closing);
        // An error says that the thread let go of its side, which is what is waited for.
        let _ = (&mut thread.accepting).await;
        self.closed.push(thread);
    }

    /// As `close`, where nobody is left to connect: there is nothing to wait for.
    pub(super) fn abandon(&mut self, id: NetnsId) {
        if let Some(thread) = self.open.remove(&id) {
            thread.signal.advance(Phase::Closing);
            self.closed.push(thread);
        }
    }

    /// Ends every connection: those that are idle at once, the others as soon as they are, and
    /// what is left at the deadline.
    pub(super) async fn end(&mut self, deadline: Duration) {
        let threads: Vec<Thread> =
            self.open.drain().map(|(_, thread)| thread).chain(self.closed.drain(..)).collect();
        for thread in &threads {
            thread.signal.advance(Phase::Draining);
        }
        let end = tokio::time::Instant::now() + deadline;
        for thread in threads {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            if thread.signal.gone(left).await == drain::Drained::Deadline {
                thread.signal.advance(Phase::Cut);
            }
            let handle = thread.handle;
            if tokio::task::spawn_blocking(|| handle.join()).await.is_err() {
                tracing::error!("a thread of the data path ended badly");
            }
        }
    }
}

impl Thread {
    fn start(netns: Netns, context: Context) -> io::Result<Self> {
        let id = netns.id();
        let (signal, watch) = drain::channel();
        let (closed, accepting) = oneshot::channel();
        let (started, starting) = mpsc::sync_channel(1);
        let handle = netns.spawn("turnpike-netns".into(), move |entered| {
            live(entered, context, watch, closed, &started);
        })?;
        // The sender is dropped at the latest when the thread ends.
        let (netns, listener) = starting.recv().map_err(io::Error::other)??;
        Ok(Self { id, netns, listener, signal, accepting, handle })
    }
}

/// The life of one thread.
fn live(
    entered: io::Result<()>,
    context: Context,
    watch: Watch,
    closed: oneshot::Sender<()>,
    started: &mpsc::SyncSender<Started>,
) {
    let prepare = || {
        entered?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            // What others wake goes first: a kill wakes every connection, and each has more to do than to
            // let go of upstream.
            .global_queue_interval(1)
            .enable_all()
            .build()?;
        let listeners = Listeners::bind()?;
        let listener =
            Listener { port: listeners.port()?.into(), v6: u32::from(listeners.has_v6()) };
        Ok((runtime, listeners, listener))
    };
    let (runtime, listeners, listener) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            // Nobody listens any more if the receiver is gone: then the error is of no use.
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok((listeners.netns(), listener))).is_err() {
        return;
    }
    if let Err(error) = runtime.block_on(proxy::serve(context, listeners, watch, closed)) {
        tracing::error!(%error, "a thread of the data path ended");
    }
    // Dropping the runtime ends every connection that is left.
}
