//! What may pass by the gateway, and what is learnt from DNS: the hooks by themselves.

use std::{fs::File, net::IpAddr, os::unix::fs::MetadataExt as _, time::Duration};

use gateway_common::{AgentId, Counter, MODE_AUDIT, MODE_ENFORCE};
use turnpike::{
    attach::{
        direct::{DirectRules, Direction, Protocol, Rule},
        ebpf::{Answer, EbpfFailure, Hooks, Links, OBJECT},
        pins::Instance,
    },
    names,
    policy::Network,
};
use turnpike_tests::{
    gateway::{Mode, Place},
    machine,
    process::Background,
    routes::{Routes, finish},
    wait,
};

/// An agent with the hooks and nothing else: whatever is redirected is refused.
struct Bed {
    hooks: Hooks,
    links: Option<Links>,
    routes: Routes,
    id: AgentId,
    _place: Place,
}

impl Bed {
    fn start(mode: u32) -> Self {
        let (place, routes) = (Place::new(Mode::Audit), Routes::new());
        let hooks = Hooks::load(OBJECT, &Instance::daemon(&place.runtime_dir()).pins(), false);
        let hooks = hooks.expect("the kernel takes them");
        let id = std::fs::metadata(routes.cgroup()).expect("it is there").ino();
        hooks.set_agent(id, mode).expect("there is room");
        Self { hooks, links: None, routes, id, _place: place }
    }

    fn attach(&mut self) {
        let cgroup = File::open(self.routes.cgroup()).expect("it is there");
        self.links = Some(self.hooks.attach(&cgroup).expect("the kernel takes them"));
    }

    fn allow(&self, rules: &[Rule]) {
        let mut direct = DirectRules::default();
        for rule in rules {
            direct.add(rule.clone()).expect("there is room");
        }
        self.hooks.set_direct(self.id, &direct).expect("there is room");
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.hooks.counters(self.id).expect("it is entered")[counter as usize]
    }

    fn sink(&self) -> IpAddr {
        self.routes.cable().here.into()
    }

    fn resolver(&self, address: IpAddr, outside: bool) -> Background {
        let mut command = if outside {
            self.routes.outside().command("python3")
        } else {
            self.routes.beside("python3")
        };
        let address = address.to_string();
        command.arg(turnpike_tests::routes::script()).args(["resolver", &address]);
        let resolver = Background::spawn("the resolver", &mut command);
        wait::until_true(SOON, "the resolver", || resolver.stdout().starts_with("ready"));
        resolver
    }

    /// Asks in the agent.
    fn ask(&self, server: IpAddr, name: &str) -> String {
        let mut command = self.routes.command("python3");
        let server = server.to_string();
        machine::run(command.arg(turnpike_tests::routes::script()).args(["resolve", &server, name]))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.links.take().map(Links::detach));
    }
}

fn out(net: Network, port: u16) -> Rule {
    Rule { direction: Direction::Out, protocol: Protocol::Udp, net, ports: port..=port }
}

#[test]
fn a_direct_rule_lets_out_what_it_names_and_nothing_else() {
    let mut bed = Bed::start(MODE_ENFORCE);
    bed.attach();
    let net = Network::new(bed.sink(), 24).expect("a prefix");
    bed.allow(&[out(Network::of(bed.routes.cable().there.into()), 7001), out(net, 7001)]);
    for route in ["udp_sendto", "udp_connected", "udp_mapped"] {
        assert_eq!(bed.routes.attempt(route), "sent");
        assert_eq!(bed.routes.arrived(route), 1, "{route}");
    }
    assert_eq!(bed.counted(Counter::DirectPackets), 3);
    assert_eq!(bed.counted(Counter::DirectBytes), 600);
    // Another port, another family, another protocol.
    for route in ["quic_sendto", "udp_sendto6", "dns_elsewhere"] {
        assert_eq!(bed.routes.attempt(route), "EPERM", "{route}");
        assert_eq!(bed.routes.arrived(route), 0, "{route}");
    }
    bed.allow(&[]);
    assert_eq!(bed.routes.attempt("udp_sendto"), "EPERM", "the rule is gone");
}

#[test]
fn what_only_looks_like_what_a_rule_names_stays_in() {
    let mut bed = Bed::start(MODE_ENFORCE);
    bed.allow(&[out(Network::of(bed.sink()), 7001)]);
    let old = bed.routes.spawn("old_raw_udp");
    bed.routes.wait_ready();
    bed.attach();
    bed.routes.go();
    assert_eq!(finish(old), "EPERM", "a raw socket");
    assert_eq!(bed.routes.attempt("udp_options"), "EPERM", "IPv4 options");
    assert_eq!(bed.routes.arrived("old_raw_udp") + bed.routes.arrived("udp_options"), 0);
    assert_eq!(bed.routes.attempt("udp_sendto"), "sent", "what the rule names");
}

#[test]
fn an_inbound_rule_lets_the_agent_answer() {
    let mut bed = Bed::start(MODE_ENFORCE);
    bed.attach();
    let net = Network::new(bed.sink(), 8).expect("a prefix");
    let rule =
        |port| Rule { direction: Direction::In, protocol: Protocol::Tcp, net, ports: port..=port };
    bed.allow(&[rule(8999), rule(9000)]);
    let server = bed.routes.spawn("inbound");
    bed.routes.wait_ready();
    bed.routes.go();
    let mut client = bed.routes.call_in(9000);
    assert_eq!(finish(server), "sent");
    assert!(client.wait(SOON).success());
    assert!(bed.routes.arrived("inbound") > 0);
    assert!(bed.counted(Counter::DirectBytes) >= 200);
}

#[test]
fn a_killed_agent_sends_nothing_in_either_mode() {
    for mode in [MODE_AUDIT, MODE_ENFORCE] {
        let mut bed = Bed::start(mode);
        bed.allow(&[out(Network::of(bed.sink()), 7001)]);
        let old = bed.routes.spawn("old_udp");
        bed.routes.wait_ready();
        bed.attach();
        bed.hooks.set_killed(bed.id, || true).expect("there is room");
        bed.routes.go();
        assert_eq!(finish(old), "EPERM");
        assert_eq!(bed.routes.attempt("udp_sendto"), "EPERM");
        assert_eq!(bed.routes.arrived("old_udp") + bed.routes.arrived("udp_sendto"), 0);
        assert_eq!(bed.counted(Counter::DroppedUdpPackets), 1);
        assert_eq!(bed.counted(Counter::DeniedKilled), 1);
        bed.hooks.set_killed(bed.id, || false).expect("it is there");
        assert_eq!(bed.routes.attempt("udp_sendto"), "sent", "revived");
    }
}

#[tokio::test]
async fn a_resolver_s_answers_are_shown_with_where_they_came_from() {
    let mut bed = Bed::start(MODE_ENFORCE);
    let resolvers = [bed.sink()];
    bed.hooks.set_direct(bed.id, &DirectRules::to_resolvers(&resolvers)).expect("there is room");
    bed.attach();
    let mut answers = bed.hooks.answers().expect("the ring is there");
    let _resolver = bed.resolver(bed.sink(), true);
    let here = IpAddr::from([127, 0, 0, 53]);
    let _forger = bed.resolver(here, false);

    assert_eq!(bed.ask(bed.sink(), "api.example.com").trim(), "192.0.2.7");
    assert_eq!(bed.ask(here, "bank.example").trim(), "192.0.2.7");
    let mut next = async || -> Answer {
        let next = tokio::time::timeout(SOON, answers.next()).await.expect("it comes");
        next.expect("the ring can be read")
    };
    let (real, forged) = (next().await, next().await);
    for answer in [&real, &forged] {
        assert_eq!(answer.agent, bed.id);
        assert_eq!(answer.netns, real.netns);
    }
    assert_eq!((real.from, real.over_loopback), (bed.sink(), false));
    assert_eq!((forged.from, forged.over_loopback), (here, true));
    let hints = names::read(&real.message).expect("an answer");
    assert_eq!((&*hints[0].name, hints[0].ip), ("api.example.com", IpAddr::from([192, 0, 2, 7])));

    let trust = names::Trust { resolvers: resolvers.into(), netns: real.netns, loopback: false };
    assert!(trust.accepts(real.from, real.netns, real.over_loopback));
    assert!(!trust.accepts(forged.from, forged.netns, forged.over_loopback));
    assert_eq!(bed.counted(Counter::DnsLost), 0);
}

#[test]
fn maps_of_another_shape_are_refused_with_what_to_do() {
    let place = Place::new(Mode::Audit);
    let instance = Instance::daemon(&place.runtime_dir());
    std::fs::create_dir_all(place.runtime_dir()).expect("a temporary directory");
    let pins = instance.prepare_pins().expect("we are root");
    let maps = pins.join("maps");
    std::fs::create_dir_all(&maps).expect("a bpffs");
    for (kind, key, value, entries) in
        [("hash", 8, 16, 1024), ("hash", 8, 8, 512), ("hash", 4, 8, 1024), ("lru_hash", 8, 8, 1024)]
    {
        let path = maps.join("AGENTS");
        let line = format!(
            "bpftool map create {} type {kind} key {key} value {value} entries {entries} name odd",
            path.display()
        );
        machine::sh(&line);
        let refused = Hooks::load(OBJECT, &pins, false).expect_err("it is of another shape");
        assert!(matches!(refused, EbpfFailure::Shape(_)), "{refused}");
        assert!(refused.to_string().contains("turnpike detach NAME --force"), "{refused}");
        std::fs::remove_file(path).expect("it is pinned");
    }
    Hooks::load(OBJECT, &pins, false).expect("nothing is in the way");
}

const SOON: Duration = Duration::from_secs(20);
