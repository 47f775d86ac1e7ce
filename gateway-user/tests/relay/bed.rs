//! What every test stands on: a proxy on a thread of its own, and connections through it.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gateway_common::{Endpoint, Origin, PeerKey};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::sync::oneshot;
use turnpike::{
    call::{
        AgentRef, Cancel, CancelRequest, Settlement, Spent, Step, StepId, Timestamp, WorkflowId,
    },
    config::Mode,
    drain::{self, Phase, Signal},
    ledger::{Budget, Ledger},
    lineage::{Completion, Placement, Remains},
    names::Directory,
    policy::egress::{Action, Egress, Protocol, Rule},
    price::Prices,
    proxy::{
        self, Agent, Agents, Clock, Context, CoverageSnapshot, Latch, Listeners, Origins, Purse,
        Recorder, Recording, Rules, SelfTests, Sockets,
    },
};

/// No step of a test takes so long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An egress rule that allows everything.
pub(crate) fn everywhere() -> Arc<Rules> {
    allowing(None)
}

/// An egress rule that allows a host, or everything.
pub(crate) fn allowing(host: Option<&str>) -> Arc<Rules> {
    let rule = Rule {
        agent: None,
        host: host.map(|host| host.parse().expect("a pattern")),
        net: None,
        ports: None,
        protocol: Protocol::Tcp,
        action: Action::Allow { opaque_bytes: None },
    };
    Arc::new(Rules::new(Egress::new(vec![rule]), Arc::default(), Clock::start()))
}

/// A running proxy with one agent.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) agent: Arc<Agent>,
    pub(crate) steps: Arc<Steps>,
    pub(crate) port: u16,
    /// What the agent's addresses are called.
    pub(crate) names: Arc<Directory>,
    origins: Fake,
    signal: Signal,
    closed: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What lineage hashes under.
const SALT: u128 = 7;

/// The agent's id.
pub(crate) const AGENT: u64 = 7;

impl Bed {
    pub(crate) fn start() -> Self {
        Self::with(|agent| agent)
    }

    /// One whose agent is in enforce, and may leave nothing unread.
    pub(crate) fn strict() -> Self {
        Self::with(|agent| agent.in_mode(Mode::Enforce))
    }

    /// One whose agent is in enforce, and may leave whatever is not meant to be read unread.
    pub(crate) fn enforcing() -> Self {
        Self::with(|agent| agent.in_mode(Mode::Enforce).under(everywhere()))
    }

    /// One whose agent is held to these budgets.
    pub(crate) fn paying(mode: Mode, budgets: Vec<Budget>) -> (Self, Purse) {
        Self::paying_as(budgets, |agent| agent.in_mode(mode).under(everywhere()))
    }

    /// The same, whose agent is like that.
    pub(crate) fn paying_as(
        budgets: Vec<Budget>,
        like: impl FnOnce(Agent) -> Agent,
    ) -> (Self, Purse) {
        let agents = Agents::default();
        let purse = Purse::new(Ledger::new(budgets), agents.clone());
        let paying = purse.clone();
        let prepare = |agent: Agent| like(agent).paying(paying, None);
        (Self::among(agents, prepare), purse)
    }

    /// One whose agent may be killed.
    pub(crate) fn mortal(mode: Mode) -> (Self, Agents, Latch) {
        let (agents, latch) = (Agents::default(), Latch::default());
        let latched = latch.clone();
        let prepare = |agent: Agent| {
            let agent = agent.in_mode(mode).under(everywhere()).latched(latched, None);
            agent.recalling(SALT, [])
        };
        (Self::among(agents.clone(), prepare), agents, latch)
    }

    /// One whose agent may be killed, and knows what remains of workflows that there were before.
    pub(crate) fn recalling(mode: Mode, latch: &Latch, remains: &Remains) -> Self {
        Self::with(|agent| {
            let agent = agent.in_mode(mode).under(everywhere()).latched(latch.clone(), None);
            agent.recalling(SALT, [remains])
        })
    }

    /// With an agent that is made ready first.
    pub(crate) fn with(prepare: impl FnOnce(Agent) -> Agent) -> Self {
        Self::among(Agents::default(), prepare)
    }

    fn among(agents: Agents, prepare: impl FnOnce(Agent) -> Agent) -> Self {
        let (origins, steps) = (Fake::default(), Arc::new(Steps::default()));
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        let agent = Arc::new(prepare(Agent::new(AGENT, reference, 1)));
        agents.insert(Arc::clone(&agent));
        let recorder = Arc::new(Shared(Arc::clone(&steps)));
        let recording = Recording::new(Clock::start(), [1; 32], recorder, Prices::default());
        let recording = Arc::new(recording.knowing(Box::new(origins.clone())));
        let names = Arc::<Directory>::default();
        let context = Arc::new(Context {
            origins: origins.clone(),
            agents,
            selftests: SelfTests::default(),
            names: Arc::clone(&names),
            recording,
        });
        let listeners = Listeners::bind().expect("loopback");
        let port = listeners.port().expect("a port");
        let (signal, watch) = drain::channel();
        let (closing, closed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(proxy::serve(context, listeners, watch, closing)).expect("it serves");
        });
        let (closed, thread) = (Some(closed), Some(thread));
        Self { agent, steps, port, names, origins, signal, closed, thread }
    }

    /// A client's connection through the proxy.
    pub(crate) fn connect(&self, to: SocketAddr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        self.connect_from(socket, to).expect("the proxy listens")
    }

    /// The same, from a socket that is set up already.
    pub(crate) fn connect_from(&self, socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let from = socket.local_addr()?.as_socket().expect("an address").port();
        self.origins.send(from, to);
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).into())?;
        let stream = TcpStream::from(socket);
        patient(&stream);
        Ok(stream)
    }

    /// A connection from that port, which somebody else makes, will have been going there.
    pub(crate) fn expect(&self, from: u16, to: SocketAddr) {
        self.origins.send(from, to);
    }

    /// Both ends of a connection through the proxy: the client's and the server's.
    pub(crate) fn pair(&self) -> (TcpStream, TcpStream) {
        let server = Server::new();
        let client = self.connect(server.address);
        (client, server.accept())
    }

    /// Its clients' sockets are closed, of which nothing more is to be seen.
    pub(crate) fn close_clients(&self) {
        self.origins.0.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, phase: Phase) {
        self.signal.advance(phase);
    }

    /// Waits until nothing is accepted any more.
    pub(crate) fn closed(&mut self) {
        let closed = self.closed.take().expect("not waited for yet");
        assert!(closed.blocking_recv().is_err(), "it is dropped, never sent");
    }

    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// How often that was counted, whether connections have ended or not.
    pub(crate) fn counted(&self, reason: &str) -> u64 {
        self.agent.coverage.snapshot().reasons.get(reason).copied().unwrap_or(0)
    }

    /// The coverage, once every connection has ended.
    pub(crate) fn coverage(&self) -> CoverageSnapshot {
        eventually("the connections end", || self.agent.connections() == 0);
        self.agent.coverage.snapshot()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.signal.advance(Phase::Cut);
        let ended = self.thread.take().expect("it is joined once").join();
        if !std::thread::panicking() {
            ended.expect("the proxy did not panic");
        }
    }
}

/// Polls until it is so: for what nobody tells us.
pub(crate) fn eventually(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A listening server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::from(TcpListener::bind("127.0.0.1:0").expect("loopback"))
    }

    pub(crate) fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("a connection");
        patient(&stream);
        stream
    }
}

impl Server {
    /// Nobody has called, or waits to be accepted.
    pub(crate) fn never_called(&self) {
        self.listener.set_nonblocking(true).expect("an option");
        let error = self.listener.accept().expect_err("nobody calls");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

impl Server {
    /// As [`accept`](Self::accept), in vain if nobody calls.
    pub(crate) fn await_call(&self) -> TcpStream {
        self.listener.set_nonblocking(true).expect("an option");
        let called = std::cell::OnceCell::new();
        eventually("somebody calls", || {
            let Ok((stream, _)) = self.listener.accept() else { return false };
            called.set(stream).is_ok()
        });
        self.listener.set_nonblocking(false).expect("an option");
        let stream = called.into_inner().expect("somebody called");
        stream.set_nonblocking(false).expect("an option");
        patient(&stream);
        stream
    }
}

impl From<TcpListener> for Server {
    fn from(listener: TcpListener) -> Self {
        Self { address: listener.local_addr().expect("bound"), listener }
    }
}

/// Has the stream fail instead of hanging for ever.
fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.set_write_timeout(Some(PATIENCE)).expect("an option");
    stream.set_nodelay(true).expect("an option");
}

/// Ends the connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(stream);
}

/// The kernel's part: where the connection from each port was going.
#[derive(Clone, Debug, Default)]
struct Fake(Arc<Ports>);

#[derive(Debug, Default)]
struct Ports {
    going: Mutex<HashMap<u32, Origin>>,
    cookie: AtomicU64,
    /// Every client has closed its socket.
    closed: AtomicBool,
}

impl Sockets for Fake {
    fn is_open(&self, _: u64) -> bool {
        !self.0.closed.load(Ordering::Relaxed)
    }
}

impl Fake {
    fn send(&self, from: u16, to: SocketAddr) {
        let IpAddr::V4(ip) = to.ip() else { panic!("the tests use IPv4") };
        let cookie = self.0.cookie.fetch_add(1, Ordering::Relaxed) + 1;
        let dst = Endpoint::v4(u32::from_ne_bytes(ip.octets()), to.port().into());
        let origin = Origin { dst, tgid: 42, agent: AGENT, cgroup: AGENT, cookie, at_ns: 1 };
        self.0.going.lock().expect("not poisoned").insert(from.into(), origin);
    }
}

impl Origins for Fake {
    fn handoff(&self, key: &PeerKey) -> Option<Origin> {
        self.0.going.lock().expect("not poisoned").get(&key.local.port).copied()
    }

    fn take_handoff(&self, key: &PeerKey) {
        self.0.going.lock().expect("not poisoned").remove(&key.local.port);
    }

    fn recover(&self, _: SocketAddr, _: SocketAddr) -> Option<Origin> {
        None
    }

    fn now_ns(&self) -> u64 {
        2
    }
}

/// The steps that the proxy recorded.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    placed: Mutex<Vec<(WorkflowId, Step)>>,
    finished: Mutex<Vec<Finished>>,
    one_more: Condvar,
}

/// A step in its final form.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) workflow: WorkflowId,
    pub(crate) step: Step,
    pub(crate) completion: Completion,
}

impl Steps {
    pub(crate) fn placed(&self) -> Vec<(WorkflowId, Step)> {
        self.placed.lock().expect("not poisoned").clone()
    }

    /// Waits until so many have finished, and gives them in that order.
    pub(crate) fn finished(&self, count: usize) -> Vec<Finished> {
        let steps = self.finished.lock().expect("not poisoned");
        let waited = self.one_more.wait_timeout_while(steps, PATIENCE, |it| it.len() < count);
        let (steps, _) = waited.expect("not poisoned");
        assert_eq!(steps.len(), count, "{steps:#?}");
        steps.clone()
    }
}

impl Steps {
    /// The same, once what they spent is known too.
    pub(crate) fn settled(&self, count: usize) -> Vec<Finished> {
        self.finished(count);
        let steps = self.finished.lock().expect("not poisoned");
        let waited = self.one_more.wait_timeout_while(steps, PATIENCE, |steps| {
            steps.iter().any(|finished| !finished.step.settled)
        });
        let (steps, _) = waited.expect("not poisoned");
        assert!(steps.iter().all(|finished| finished.step.settled), "{steps:#?}");
        steps.clone()
    }
}

impl Steps {
    /// Waits until the one step that has finished, which was ended, has nothing left to be told.
    pub(crate) fn ended(&self) -> Cancel {
        let waits = |finished: &[Finished]| {
            let cancel = finished.first().and_then(|it| it.step.cancel.as_ref());
            cancel.is_none_or(|cancel| cancel.cancel_request == Some(CancelRequest::PENDING))
        };
        let steps = self.finished.lock().expect("not poisoned");
        let waited = self.one_more.wait_timeout_while(steps, PATIENCE, |steps| waits(steps));
        let (steps, _) = waited.expect("not poisoned");
        assert!(steps.len() == 1 && !waits(&steps), "{steps:#?}");
        *steps[0].step.cancel.clone().expect("it was ended")
    }
}

struct Shared(Arc<Steps>);

impl Recorder for Shared {
    fn placed(&self, _: &AgentRef, placement: &Placement, step: Step, _: Option<String>) {
        self.0.placed.lock().expect("not poisoned").push((placement.workflow, step));
    }

    fn finished(
        &self,
        _: &AgentRef,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        _: Timestamp,
    ) {
        let placed = self.0.placed();
        let of_it = placed.into_iter().rfind(|(_, step)| step.step_id == settlement.step_id);
        let (_, mut step) = of_it.expect("it was placed");
        settlement.settle(&mut step);
        let finished = Finished { workflow, step, completion: completion.clone() };
        self.0.finished.lock().expect("not poisoned").push(finished);
        self.0.one_more.notify_all();
    }

    fn spent(&self, _: &AgentRef, workflow: WorkflowId, step: StepId, spent: Spent) {
        let mut all = self.0.finished.lock().expect("not poisoned");
        let ended = all.iter_mut().find(|it| (it.workflow, it.step.step_id) == (workflow, step));
        let step = &mut ended.expect("its end was told before").step;
        assert!(!step.settled, "it is told once");
        spent.settle(step);
        drop(all);
        self.0.one_more.notify_all();
    }

    fn requested(&self, _: &AgentRef, workflow: WorkflowId, id: StepId, request: CancelRequest) {
        let mut all = self.0.finished.lock().expect("not poisoned");
        let ended = all.iter_mut().find(|it| (it.workflow, it.step.step_id) == (workflow, id));
        let cancel = ended.and_then(|it| it.step.cancel.as_mut());
        let cancel = cancel.expect("it was said before that it is asked");
        assert_eq!(cancel.cancel_request, Some(CancelRequest::PENDING), "it is told once");
        cancel.requested(request);
        drop(all);
        self.0.one_more.notify_all();
    }
}
