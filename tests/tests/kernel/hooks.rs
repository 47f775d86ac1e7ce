//! The hooks by themselves, in states that a whole gateway seldom meets: a full map, a lost
//! handoff, a dead heartbeat.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use gateway_common::{
    AgentId, Counter, Endpoint, Listener, MAX_SOCKETS_PER_AGENT, MODE_AUDIT, MODE_ENFORCE, Origin,
    PeerKey, Redirected,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use turnpike::{
    attach::{
        diag,
        ebpf::{Hooks, Links, OBJECT},
        pins::Instance,
    },
    call::{AgentRef, Settlement, Spent, Step, StepId, Timestamp, WorkflowId},
    drain::{self, Phase, Signal},
    lineage::{Completion, Placement},
    price::Prices,
    proxy::{self, Agent, Agents, Clock, Context, Listeners, Origins, Recorder, Recording},
};
use turnpike_tests::{
    gateway::{Mode, Place},
    peer::{Called, PeerServer, client, client_command},
    sandbox::Sandbox,
};

/// One agent on the host's network, with the hooks and the proxy in this process.
struct Bed {
    place: Place,
    hooks: Arc<Hooks>,
    links: Option<Links>,
    sandbox: Sandbox,
    server: PeerServer,
    id: AgentId,
    port: u16,
    kernel: Arc<Kernel>,
    signal: Signal,
    thread: Option<JoinHandle<()>>,
}

impl Bed {
    fn start(mode: u32) -> Self {
        let (place, sandbox) = (Place::new(Mode::Audit), Sandbox::new());
        let instance = Instance::daemon(&place.runtime_dir());
        std::fs::create_dir_all(place.runtime_dir()).expect("a temporary directory");
        let pins = instance.prepare_pins().expect("we are root");
        let hooks = Arc::new(Hooks::load(OBJECT, &pins, false).expect("the kernel takes them"));
        let id = std::fs::metadata(sandbox.cgroup()).expect("it is there").ino();
        hooks.set_agent(id, mode).expect("there is room");
        let listeners = Listeners::bind().expect("loopback");
        let port = listeners.port().expect("a port");
        let listener = Listener { port: port.into(), v6: u32::from(listeners.has_v6()) };
        hooks.set_listener(listeners.netns(), listener).expect("there is room");
        let cgroup = File::open(sandbox.cgroup()).expect("it is there");
        let mut links = hooks.attach(&cgroup).expect("the kernel takes them");
        hooks.pin(id, &mut links).expect("there is a bpffs");
        hooks.beat(now(), Duration::from_hours(1)).expect("it is one entry");
        let kernel = Arc::new(Kernel::new(Arc::clone(&hooks)));
        let (signal, thread) = serve(id, listeners, Arc::clone(&kernel));
        let server = PeerServer::start(None, &[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        Self {
            place,
            hooks,
            links: Some(links),
            sandbox,
            server,
            id,
            port,
            kernel,
            signal,
            thread: Some(thread),
        }
    }

    fn call(&self) -> Called {
        client(&self.sandbox, &["call"], &self.server.addresses).remove(0)
    }

    /// What a call that must fail says.
    fn failure(&self, to: SocketAddr) -> String {
        let output = client_command(&self.sandbox, &["call"], &[to]).output().expect("it runs");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.hooks.counters(self.id).expect("it is entered")[counter as usize]
    }

    /// A handle of our own to a map.
    fn map<K: aya::Pod, V: aya::Pod>(&self, name: &str) -> HashMap<MapData, K, V> {
        let pins = Instance::daemon(&self.place.runtime_dir()).pins();
        let data = MapData::from_pin(pins.join("maps").join(name)).expect("it is pinned");
        Map::HashMap(data).try_into().expect("these are its types")
    }

    /// Takes every place in the table of redirected sockets that is left.
    fn fill_origins(&self) -> Vec<u64> {
        let mut origins: HashMap<_, u64, Redirected> = self.map("ORIGINS");
        let origin = Origin {
            dst: Endpoint::v4(0, 0),
            tgid: 0,
            agent: u64::MAX,
            cgroup: 0,
            cookie: 0,
            at_ns: 0,
        };
        let handed = PeerKey { netns: 0, local: Endpoint::v4(0, 0), reserved: 0 };
        let redirected = Redirected { origin, handed };
        // No socket has such a cookie: they count up from 1.
        let cookies = (0..u64::MAX).map(|cookie| u64::MAX - cookie);
        let taken = cookies.take_while(|cookie| origins.insert(cookie, redirected, 0).is_ok());
        let taken: Vec<u64> = taken.collect();
        assert!((1000..1_000_000).contains(&taken.len()), "{}", taken.len());
        taken
    }

    /// Takes every place in the table of what connections hand over.
    fn fill_handoffs(&self) {
        let mut handoffs: HashMap<_, PeerKey, Origin> = self.map("HANDOFFS");
        let origin = Origin {
            dst: Endpoint::v4(0, 0),
            tgid: 0,
            agent: u64::MAX,
            cgroup: 0,
            cookie: 0,
            at_ns: 0,
        };
        // No namespace has such a cookie.
        let keys = (0..u64::MAX).map(|number| PeerKey {
            netns: u64::MAX - number,
            local: Endpoint::v4(0, 0),
            reserved: 0,
        });
        let room =
            keys.map(|key| handoffs.insert(key, origin, 0)).take_while(Result::is_ok).count();
        assert!((1000..1_000_000).contains(&room), "{room}");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.signal.advance(Phase::Cut);
        let ended = self.thread.take().expect("it is joined once").join();
        drop(self.links.take().map(Links::detach));
        if !std::thread::panicking() {
            ended.expect("the proxy did not panic");
        }
    }
}

/// The proxy, in this thread's network namespace.
fn serve(id: AgentId, listeners: Listeners, kernel: Arc<Kernel>) -> (Signal, JoinHandle<()>) {
    let (signal, watch) = drain::channel();
    let name = AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
    let agents = Agents::default();
    agents.insert(Arc::new(Agent::new(id, name, 1)));
    let recorder = Arc::new(Nowhere);
    let recording = Arc::new(Recording::new(Clock::start(), [0; 32], recorder, Prices::default()));
    let context = Arc::new(Context {
        origins: Shared(kernel),
        agents,
        selftests: proxy::SelfTests::default(),
        names: Arc::default(),
        recording,
    });
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (closed, _) = oneshot::channel();
        let serving = proxy::serve(context, listeners, watch, closed);
        runtime.expect("a runtime").block_on(serving).expect("it serves");
    });
    (signal, thread)
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("it counts up from 0")
}

/// The kernel's tables, where entries may go missing.
#[derive(Debug)]
struct Kernel {
    hooks: Arc<Hooks>,
    loses: AtomicBool,
    recovered: AtomicU64,
}

impl Kernel {
    fn new(hooks: Arc<Hooks>) -> Self {
        Self { hooks, loses: AtomicBool::new(false), recovered: AtomicU64::new(0) }
    }
}

struct Shared(Arc<Kernel>);

impl Origins for Shared {
    fn handoff(&self, key: &PeerKey) -> Option<Origin> {
        if self.0.loses.load(Ordering::Relaxed) {
            self.0.hooks.take_handoff(key).expect("the map is there");
        }
        self.0.hooks.handoff(key)
    }

    fn take_handoff(&self, key: &PeerKey) {
        self.0.hooks.take_handoff(key).expect("the map is there");
    }

    fn recover(&self, client: SocketAddr, listener: SocketAddr) -> Option<Origin> {
        self.0.recovered.fetch_add(1, Ordering::Relaxed);
        let cookie = diag::socket_cookie(client, listener).expect("the kernel answers")?;
        self.0.hooks.origin(cookie)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(now().as_nanos()).expect("not for centuries")
    }
}

/// Nothing is recorded of what is not HTTP.
struct Nowhere;

impl Recorder for Nowhere {
    fn placed(&self, _: &AgentRef, _: &Placement, _: Step, _: Option<String>) {}
    fn finished(&self, _: &AgentRef, _: WorkflowId, _: Settlement, _: &Completion, _: Timestamp) {}
    fn spent(&self, _: &AgentRef, _: WorkflowId, _: StepId, _: Spent) {}
}

#[test]
fn an_agent_that_holds_its_share_of_sockets_gets_no_more_until_one_ends() {
    let bed = Bed::start(MODE_ENFORCE);
    let mut held: HashMap<_, AgentId, u64> = bed.map("HELD");
    let count =
        |held: &HashMap<MapData, AgentId, u64>| held.get(&bed.id, 0).expect("it is entered");
    bed.call();
    assert_eq!(count(&held), 0, "the socket is gone");
    held.insert(bed.id, u64::from(MAX_SOCKETS_PER_AGENT) - 1, 0).expect("it is entered");
    bed.call();
    assert_eq!(bed.counted(Counter::DeniedFull), 0, "the last one");
    held.insert(bed.id, u64::from(MAX_SOCKETS_PER_AGENT), 0).expect("it is entered");
    let said = bed.failure(bed.server.addresses[0]);
    assert!(said.contains("refused"), "{said}");
    assert_eq!(bed.counted(Counter::DeniedFull), 1);
    assert_eq!(count(&held), u64::from(MAX_SOCKETS_PER_AGENT), "what was refused is not held");
    held.insert(bed.id, u64::from(MAX_SOCKETS_PER_AGENT) - 1, 0).expect("it is entered");
    bed.call();
}

#[test]
fn a_lost_handoff_is_recovered_from_the_kernels_socket_table() {
    let bed = Bed::start(MODE_ENFORCE);
    assert!(!bed.call().is_direct());
    assert_eq!(bed.kernel.recovered.load(Ordering::Relaxed), 0);
    bed.kernel.loses.store(true, Ordering::Relaxed);
    let to = &bed.server.addresses;
    for words in [&["call"][..], &["call", "--mapped"]] {
        let called: Vec<Called> = client(&bed.sandbox, words, to);
        assert_eq!(called[0].reached, called[0].asked);
        assert!(!called[0].is_direct());
    }
    assert_eq!(bed.kernel.recovered.load(Ordering::Relaxed), 2);
}

#[test]
fn a_connection_that_ended_leaves_no_entry() {
    let bed = Bed::start(MODE_ENFORCE);
    let (origins, handoffs): (HashMap<_, u64, Redirected>, HashMap<_, PeerKey, Origin>) =
        (bed.map("ORIGINS"), bed.map("HANDOFFS"));
    for _ in 0..10 {
        bed.call();
    }
    turnpike_tests::wait::until_true(Duration::from_secs(5), "the entries to go", || {
        origins.keys().count() == 0 && handoffs.keys().count() == 0
    });
}

#[test]
fn a_full_table_never_misdirects() {
    let audit = Bed::start(MODE_AUDIT);
    audit.fill_origins();
    assert!(audit.call().is_direct(), "left to connect directly");
    assert_eq!(audit.counted(Counter::LeftFull), 1);

    let enforce = Bed::start(MODE_ENFORCE);
    enforce.fill_origins();
    let said = enforce.failure(enforce.server.addresses[0]);
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!(enforce.counted(Counter::DeniedFull), 1);
}

#[test]
fn what_found_no_room_leaves_nothing_and_there_is_room_again() {
    for (mode, counter) in [(MODE_AUDIT, Counter::LeftFull), (MODE_ENFORCE, Counter::DeniedFull)] {
        let bed = Bed::start(mode);
        let (mut origins, held): (HashMap<_, u64, Redirected>, HashMap<_, AgentId, u64>) =
            (bed.map("ORIGINS"), bed.map("HELD"));
        let handoffs: HashMap<_, PeerKey, Origin> = bed.map("HANDOFFS");
        let taken = bed.fill_origins();
        for _ in 0..5 {
            if mode == MODE_AUDIT {
                assert!(bed.call().is_direct());
            } else {
                bed.failure(bed.server.addresses[0]);
            }
        }
        assert_eq!(bed.counted(counter), 5);
        assert_eq!(held.get(&bed.id, 0).expect("it is entered"), 0);
        assert_eq!(handoffs.keys().count(), 0);
        for cookie in &taken {
            origins.remove(cookie).expect("it was entered");
        }
        assert_eq!(origins.keys().count(), 0, "nothing else was entered");
        assert!(!bed.call().is_direct());
        assert_eq!(bed.counted(counter), 5);
    }
}

#[test]
fn what_can_t_be_handed_over_is_found_in_the_kernels_socket_table() {
    for mode in [MODE_AUDIT, MODE_ENFORCE] {
        let bed = Bed::start(mode);
        bed.fill_handoffs();
        assert!(!bed.call().is_direct());
        assert_eq!(bed.kernel.recovered.load(Ordering::Relaxed), 1);
        let origins: HashMap<_, u64, Redirected> = bed.map("ORIGINS");
        turnpike_tests::wait::until_true(Duration::from_secs(5), "the entry to go", || {
            origins.keys().count() == 0
        });
    }
}

#[test]
fn a_killed_agent_may_not_connect_until_it_is_revived() {
    for mode in [MODE_AUDIT, MODE_ENFORCE] {
        let bed = Bed::start(mode);
        bed.hooks.set_killed(bed.id, || true).expect("there is room");
        let said = bed.failure(bed.server.addresses[0]);
        assert!(said.contains("Operation not permitted"), "{said}");
        assert_eq!(bed.counted(Counter::DeniedKilled), 1);
        bed.hooks.set_killed(bed.id, || false).expect("it is there");
        assert!(!bed.call().is_direct());
    }
}

#[test]
fn a_dead_heartbeat_means_what_the_mode_says() {
    let old = || now().saturating_sub(Duration::from_secs(2));
    let audit = Bed::start(MODE_AUDIT);
    audit.hooks.beat(old(), Duration::from_secs(1)).expect("it is one entry");
    assert!(audit.call().is_direct());
    assert_eq!(audit.counted(Counter::LeftDead), 1);

    let enforce = Bed::start(MODE_ENFORCE);
    enforce.hooks.beat(old(), Duration::from_secs(1)).expect("it is one entry");
    let said = enforce.failure(enforce.server.addresses[0]);
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!(enforce.counted(Counter::DeniedDead), 1);
}

#[test]
fn the_gateways_own_listener_is_refused_as_a_destination() {
    let bed = Bed::start(MODE_AUDIT);
    for (count, ip) in
        ["127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"].iter().enumerate()
    {
        let to = format!("{ip}:{}", bed.port).parse().expect("an address");
        let said = bed.failure(to);
        assert!(said.contains("Connection refused"), "{ip}: {said}");
        assert_eq!(bed.counted(Counter::DeniedLoop), count as u64 + 1, "{ip}");
    }
}
