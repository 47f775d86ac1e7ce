//! A gateway that is killed at any point of attaching or detaching, and one that does both many times:
//! nothing is left behind, and the agent notices nothing that it need not.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use turnpike::attach::{
    ebpf::{Hooks, OBJECT, version},
    pins::Instance,
};
use turnpike_tests::{
    gateway::{Gateway, Mode, Place},
    leaks::Held,
    peer::{PeerServer, Try, program, tries},
    process::Background,
    sandbox::Sandbox,
    wait,
};

const SOON: Duration = Duration::from_secs(10);

/// An agent in a cgroup below another, that calls again and again.
struct Agent {
    sandbox: Sandbox,
    cgroup: PathBuf,
    load: Background,
    _server: PeerServer,
}

impl Agent {
    fn start() -> Self {
        let sandbox = Sandbox::isolated();
        let ip = IpAddr::V4(Ipv4Addr::new(10, 84, 0, 1));
        sandbox.netns().add_address(ip);
        let server = PeerServer::start(Some(sandbox.netns()), &[SocketAddr::new(ip, 0)]);
        let cgroup = sandbox.nested("agent");
        let mut command = sandbox.command_in(&cgroup, &program());
        let load = sandbox.spawn(command.arg("load").arg(server.addresses[0].to_string()));
        let agent = Self { sandbox, cgroup, load, _server: server };
        wait::until_true(SOON, "some load", || agent.tries().len() > 10);
        agent
    }

    fn path(&self) -> &str {
        self.cgroup.to_str().expect("our own path")
    }

    fn tries(&self) -> Vec<Try> {
        tries(&self.load)
    }

    fn now(&self) -> u64 {
        self.tries().last().map_or(0, |last| last.at_us)
    }

    /// What neither went directly nor through the gateway.
    fn failed(&self) -> Vec<Try> {
        let mut tries = self.tries();
        tries.retain(|it| it.result != "direct" && it.result != "proxied");
        tries
    }
}

/// The same numbers in each run (Marsaglia, "Xorshift RNGs", 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        for shift in [13, -7, 17] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        self.0 % bound
    }
}

/// What a gateway without agents has open, once what ended has been closed.
fn descriptors(gateway: &Gateway) -> usize {
    let count = || fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("it lives").count();
    let mut last = usize::MAX;
    wait::until(SOON, "the descriptors to settle", || {
        let before = std::mem::replace(&mut last, count());
        (before == last).then_some(last)
    })
}

fn pinned(gateway: &Gateway) -> BTreeSet<String> {
    let directory = gateway.place().runtime_dir().join("bpf").join(version()).join("daemon/agents");
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What a gateway that has just started holds is what it shows, and nothing else is left.
fn is_tidy(gateway: &Gateway, agents: &[&Agent]) {
    let listed = gateway.agents_json();
    let enforced = listed.iter().filter(|agent| agent["mode"] == "enforce");
    let enforced: BTreeSet<String> = enforced.map(|agent| agent["cgroup_id"].to_string()).collect();
    assert_eq!(pinned(gateway), enforced);
    assert_eq!(gateway.place().mounts().len(), usize::from(!enforced.is_empty()));
    for agent in agents {
        let below = fs::read_dir(&agent.cgroup).expect("it is there").flatten();
        assert_eq!(below.filter(|entry| entry.path().is_dir()).count(), 0);
    }
}

#[test]
fn a_gateway_killed_while_it_attaches_or_detaches_leaves_nothing_behind() {
    const KILLS: u64 = 30;
    /// Attaching takes about as long.
    const WITHIN: Duration = Duration::from_millis(150);

    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut gateway = Gateway::start(Mode::Audit);
    let (audit, enforce) = (Agent::start(), Agent::start());
    let (mut held, mut killed_at) = (Vec::new(), Vec::new());
    let mut interrupted = 0;
    let idle = descriptors(&gateway);
    for kill in 0..KILLS {
        let (agent, name, mode) = if kill % 2 == 0 {
            (&audit, "audit", "audit")
        } else {
            (&enforce, "enforce", "enforce")
        };
        let is_held = gateway.agent_json(name).is_some();
        let words = ["attach", "--cgroup", agent.path(), "--name", name, "--mode", mode];
        let words = if is_held { &["detach", name][..] } else { &words[..] };
        let mut command = gateway.place().command(words);
        let mut asking = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        let micros = u64::try_from(WITHIN.as_micros()).expect("it is short");
        std::thread::sleep(Duration::from_micros(numbers.below(micros)));
        held.push(Held::by(gateway.pid()));
        killed_at.push(audit.now());
        gateway.kill9();
        interrupted += u32::from(!asking.wait().expect("our own child").success());
        gateway.restart();
        is_tidy(&gateway, &[&audit, &enforce]);
    }
    assert!(interrupted > 0, "no kill came while anything was done");
    for name in ["audit", "enforce"] {
        if gateway.agent_json(name).is_some() {
            gateway.detach(name);
        }
    }
    assert_eq!(descriptors(&gateway), idle, "what is open grows");
    held.push(Held::by(gateway.pid()));
    gateway.terminate();
    held.iter().for_each(Held::assert_gone);
    assert!(gateway.place().mounts().is_empty());
    let late: Vec<Try> = audit.failed();
    let near = |it: &Try| killed_at.iter().any(|at| (*at..at + 1_000_000).contains(&it.at_us));
    assert!(late.iter().all(near), "more than a second after a kill: {late:?}");
    assert!(audit.load.stdout().lines().count() > 100);
}

#[test]
fn two_hundred_attachments_beside_another_program_are_not_noticed() {
    let (gateway, agent) = (Gateway::start(Mode::Audit), Agent::start());
    let _other = Other::attach(&agent.sandbox);
    let idle = descriptors(&gateway);
    for _ in 0..200 {
        gateway.succeed(&["attach", "--cgroup", agent.path(), "--name", "a"]);
        gateway.detach("a");
    }
    let failed = agent.failed();
    assert!(failed.is_empty(), "{failed:?}");
    let tries = agent.tries();
    let proxied = tries.iter().filter(|it| it.result == "proxied").count();
    assert!(proxied > 200, "{proxied} of {}", tries.len());
    assert_eq!(descriptors(&gateway), idle, "what is open grows");
    assert!(gateway.place().mounts().is_empty());
}

/// Programs of somebody else on the cgroup above the agent: they look at each connect, and let it be.
struct Other {
    _place: Place,
    _hooks: Hooks,
    _links: turnpike::attach::ebpf::Links,
}

impl Other {
    fn attach(sandbox: &Sandbox) -> Self {
        let place = Place::new(Mode::Audit);
        let pins = Instance::daemon(&place.runtime_dir()).pins();
        let hooks = Hooks::load(OBJECT, &pins, false).expect("the kernel takes them");
        let cgroup = fs::File::open(sandbox.cgroup()).expect("it is there");
        let links = hooks.attach(cgroup).expect("the kernel takes them");
        Self { _place: place, _hooks: hooks, _links: links }
    }
}
