//! Sockets that are older than the agent's attachment: kept and counted, or reset so that their owners
//! connect again; and none but the agent's.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use turnpike::attach::{cgroup::Cgroup, netns::Netns, sockets};
use turnpike_tests::{
    gateway::{Gateway, Mode},
    peer::{Called, PeerServer, client, program, tries},
    process::Background,
    sandbox::Sandbox,
    wait,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 83, 0, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd83, 0, 0, 0, 0, 0, 0, 1));
const SOON: Duration = Duration::from_secs(15);

/// A namespace with a server beside the agent.
pub(super) struct Site {
    pub(super) sandbox: Sandbox,
    pub(super) server: PeerServer,
}

impl Site {
    pub(super) fn new() -> Self {
        let sandbox = Sandbox::isolated();
        for address in [V4, V6] {
            sandbox.netns().add_address(address);
        }
        let server =
            PeerServer::start(Some(sandbox.netns()), &[V4, V6].map(|ip| SocketAddr::new(ip, 0)));
        Self { sandbox, server }
    }

    fn v4(&self) -> String {
        self.server.addresses[0].to_string()
    }

    /// A client whose connection is open, before the agent is attached.
    pub(super) fn pings(&self) -> Client {
        Client::start(&self.sandbox, self.sandbox.cgroup(), PING, &self.v4())
    }
}

/// A Python program that tells of its connection, a line each time.
pub(super) struct Client(Background);

impl Client {
    fn start(sandbox: &Sandbox, cgroup: &Path, program: &str, to: &str) -> Self {
        let (host, port) = to.rsplit_once(':').expect("an address");
        let mut command = sandbox.command_in(cgroup, "python3");
        command.args(["-u", "-c", program, host.trim_matches(['[', ']']), port]);
        let client = Self(sandbox.spawn(&mut command));
        client.says("direct");
        client
    }

    fn lines(&self) -> Vec<String> {
        self.0.stdout().lines().map(str::to_owned).collect()
    }

    #[track_caller]
    pub(super) fn says(&self, line: &str) {
        wait::until_true(SOON, line, || self.lines().iter().any(|said| said == line));
    }

    /// Its connection carries more than it has so far.
    #[track_caller]
    pub(super) fn goes_on(&self) {
        let before = self.lines().len();
        wait::until_true(SOON, "more echoes", || self.lines().len() > before + 3);
        assert!(self.lines().iter().all(|line| line == "direct" || line == "."), "{:?}", self.0);
    }

    /// Its connection broke in a way, and the next one was redirected.
    #[track_caller]
    fn is_reset(&self) {
        self.says("proxied");
        let lines = self.lines();
        let end = lines.iter().find(|line| line.starts_with('E'));
        assert_eq!(end.map(String::as_str), Some("ECONNABORTED"), "{lines:?}");
    }
}

/// Echoes through one connection until it breaks, then makes another.
const PING: &str = r"
import errno, socket, sys, time
host, port = sys.argv[1], int(sys.argv[2])
def open():
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.connect((host, port))
    f = s.makefile('rb')
    seen = f.readline().decode().split()[1].rpartition(':')[2]
    print('direct' if seen == str(s.getsockname()[1]) else 'proxied')
    return s, f
s, f = open()
try:
    while True:
        s.sendall(b'x')
        assert f.read(1) == b'x', 'the end'
        print('.')
        time.sleep(.01)
except OSError as e:
    print(errno.errorcode[e.errno])
open()
time.sleep(600)
";

/// Sends through a connected UDP socket, and waits for what becomes of it.
const UDP: &str = r"
import errno, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
print('direct')
try:
    s.recv(1)
except OSError as e:
    print(errno.errorcode[e.errno])
time.sleep(600)
";

/// Opens connections and keeps them, and says again and again how many are open and of which kind.
const HOARD: &str = r"
import socket, sys, time
host, port = sys.argv[1], int(sys.argv[2])
held = []
while True:
    if len(held) < 300:
        s = socket.create_connection((host, port))
        f = s.makefile('rb')
        seen = f.readline().decode().split()[1].rpartition(':')[2]
        held.append((s, f, seen == str(s.getsockname()[1])))
    left = []
    for s, f, direct in held:
        try:
            s.sendall(b'x')
            if f.read(1) == b'x': left.append((s, f, direct))
        except OSError:
            pass
    held = left
    direct = sum(1 for _, _, direct in held if direct)
    print('open', direct, len(held) - direct)
    if len(held) == direct: print('direct')
";

fn coverage(gateway: &Gateway, name: &str) -> Value {
    gateway.agent_json(name).expect("it is attached")["coverage"].clone()
}

#[test]
fn kept_sockets_go_on_and_are_counted_until_they_close() {
    let (gateway, site) = (Gateway::start(Mode::Audit), Site::new());
    let (one, two) = (site.pings(), site.pings());
    let udp = Client::start(&site.sandbox, site.sandbox.cgroup(), UDP, &site.v4());
    let agent = gateway.attach_cgroup(site.sandbox.cgroup(), "a", &["--existing", "keep"]);
    assert_eq!(agent["coverage"]["existing_sockets"], 3, "{agent}");
    one.goes_on();
    two.goes_on();
    assert!(gateway.succeed(&["agents"]).contains("sockets older than attach: 3"));
    // What comes after is seen, and no part of it.
    let called: Vec<Called> = client(&site.sandbox, &["call"], &site.server.addresses);
    assert!(called.iter().all(|called| !called.is_direct()), "{called:?}");
    drop((two, udp));
    wait::until_true(SOON, "two to be counted no longer", || {
        coverage(&gateway, "a")["existing_sockets"] == 1
    });
    one.goes_on();
    drop(one);
    wait::until_true(SOON, "none to be left", || coverage(&gateway, "a")["existing_sockets"] == 0);
}

#[test]
fn keeping_is_the_default_of_audit() {
    let (gateway, site) = (Gateway::start(Mode::Audit), Site::new());
    let client = site.pings();
    let said = gateway.succeed(&["attach", "--cgroup", path(site.sandbox.cgroup()), "--name", "a"]);
    assert!(said.contains("go on unseen: 1"), "{said}");
    client.goes_on();
}

#[test]
fn reset_sockets_are_aborted_and_their_owners_come_back_through_the_gateway() {
    let (gateway, site) = (Gateway::start(Mode::Audit), Site::new());
    let port = site.server.addresses[0].port();
    let clients: Vec<Client> =
        [site.v4(), site.server.addresses[1].to_string(), format!("[::ffff:{V4}]:{port}")]
            .iter()
            .map(|to| Client::start(&site.sandbox, site.sandbox.cgroup(), PING, to))
            .collect();
    let udp = Client::start(&site.sandbox, site.sandbox.cgroup(), UDP, &site.v4());
    let agent = gateway.attach_cgroup(site.sandbox.cgroup(), "a", &["--existing", "reset"]);
    assert_eq!(agent["coverage"]["existing_reset"], 4, "{agent}");
    assert_eq!(agent["coverage"]["existing_sockets"], 0, "{agent}");
    clients.iter().for_each(Client::is_reset);
    udp.says("ECONNABORTED");
}

#[test]
fn enforce_always_resets_and_refuses_to_keep() {
    let (gateway, site) = (Gateway::start_open(Mode::Enforce), Site::new());
    let client = site.pings();
    let cgroup = path(site.sandbox.cgroup());
    for mode in [&["--mode", "enforce"][..], &[]] {
        let keep = ["attach", "--cgroup", cgroup, "--existing", "keep"];
        let line = gateway.refused(&[&keep, mode].concat());
        assert!(line.contains("unseen") && line.contains("--existing reset"), "{line}");
    }
    client.goes_on();
    assert_eq!(gateway.agents_json().len(), 0);
    let agent = gateway.attach_cgroup(site.sandbox.cgroup(), "a", &[]);
    assert_eq!(agent["coverage"]["existing_reset"], 1, "{agent}");
    client.is_reset();
}

#[test]
fn nested_cgroups_are_reset_and_siblings_and_listeners_are_not() {
    let (gateway, site) = (Gateway::start(Mode::Audit), Site::new());
    let sibling = Sandbox::beside(&site.sandbox);
    let nested = [site.sandbox.nested("in"), site.sandbox.nested("in/deeper")];
    let inside = nested.map(|cgroup| Client::start(&site.sandbox, &cgroup, PING, &site.v4()));
    let beside = Client::start(&sibling, sibling.cgroup(), PING, &site.v4());
    let mut serve = site.sandbox.command(&program());
    let server = site.sandbox.spawn(serve.args(["serve", &format!("{V4}:0")]));
    let listens: Vec<SocketAddr> = wait::until(SOON, "the agent to listen", || {
        server.stdout().lines().next().and_then(|line| serde_json::from_str(line).ok())
    });
    let agent = gateway.attach_cgroup(site.sandbox.cgroup(), "a", &["--existing", "reset"]);
    assert_eq!(agent["coverage"]["existing_reset"], 2, "{agent}");
    inside.iter().for_each(Client::is_reset);
    beside.goes_on();
    let called: Vec<Called> = client(&sibling, &["call"], &listens);
    assert_eq!(called[0].reached, listens[0]);
}

#[test]
fn connections_that_are_opened_all_the_while_end_up_covered() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (gateway, site) = (Gateway::start_open(mode), Site::new());
        let hoard = Client::start(&site.sandbox, site.sandbox.cgroup(), HOARD, &site.v4());
        let load = site.sandbox.spawn(site.sandbox.command(&program()).arg("load").arg(site.v4()));
        wait::until_true(SOON, "some load", || tries(&load).len() > 20);
        // More than the kernel lists in one answer.
        hoard.says("open 300 0");
        let agent = gateway.attach_cgroup(site.sandbox.cgroup(), "a", &["--existing", "reset"]);
        assert!(agent["coverage"]["existing_reset"].as_u64() >= Some(300), "{agent}");
        let seen = (hoard.lines().len(), tries(&load).len());
        wait::until_true(SOON, "more load", || {
            hoard.lines().len() > seen.0 + 10 && tries(&load).len() > seen.1 + 50
        });
        // The first of each may have been on its way.
        let later: Vec<String> = hoard.lines().split_off(seen.0 + 2);
        assert!(later.iter().all(|line| line.starts_with("open 0 ")), "{later:?}");
        let later = tries(&load).split_off(seen.1 + 2);
        assert!(later.iter().all(|it| it.result == "proxied"), "{later:?}");
        assert_eq!(coverage(&gateway, "a")["existing_sockets"], 0);
        assert_eq!(coverage(&gateway, "a")["left_direct"], 0);
    }
}

#[test]
fn what_the_gateway_carries_is_neither_counted_nor_reset() {
    let (gateway, site) = (Gateway::start(Mode::Audit), Site::new());
    let first = site.pings();
    gateway.attach_cgroup(site.sandbox.cgroup(), "a", &["--existing", "reset"]);
    first.is_reset();
    let mut hold = site.sandbox.command(&program());
    let carried = site.sandbox.spawn(hold.arg("hold").arg(site.v4()));
    wait::until_true(SOON, "it to be open", || carried.stdout().lines().count() == 1);
    gateway.detach("a");
    let agent = gateway.attach_cgroup(site.sandbox.cgroup(), "a", &["--existing", "reset"]);
    assert_eq!(agent["coverage"]["existing_reset"], 0, "{agent}");
    assert_eq!(carried.stdout().lines().count(), 1, "{carried:?}");
}

#[test]
fn everything_of_a_cgroup_can_be_destroyed() {
    let site = Site::new();
    let clients = [site.pings(), site.pings()];
    let netns = Netns::of_process(clients[0].0.pid()).expect("it is alive");
    let cgroup = Cgroup::open(site.sandbox.cgroup()).expect("it is there");
    // Each connects again, and may find itself destroyed once more.
    let destroyed = sockets::destroy_all(netns, &cgroup).expect("the kernel does");
    assert!((2..=4).contains(&destroyed), "{destroyed}");
    for client in &clients {
        client.says("ECONNABORTED");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("our own path")
}
