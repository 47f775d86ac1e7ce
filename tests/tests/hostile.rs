//! A hostile process in a real container, enforced: whatever it tries, no payload reaches the sink
//! but through the gateway. The same routes as in `kernel/routes.rs`, where audit is looked at too.

use std::{net::Ipv4Addr, time::Duration};

use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine,
    process::Background,
    routes::{self, Routes, counted, finish},
    wait,
};

const SOON: Duration = Duration::from_secs(20);

/// What is made and sent after the attach.
const STOPPED: [&str; 18] = [
    "udp_connected",
    "udp_connected6",
    "udp_to_device",
    "udp_sendto",
    "udp_sendto6",
    "udp_mapped",
    "udp_large",
    "quic_connected",
    "quic_sendto",
    "dns_elsewhere",
    "unspec_udp",
    "raw",
    "raw6",
    "raw_udp",
    "icmp",
    "icmp6",
    "udplite",
    "uring_udp",
];
/// What is there before.
const OLD: [&str; 6] = ["old_tcp", "old_tcp6", "old_mptcp", "old_udp", "old_raw", "old_raw6"];
/// What leads to the gateway.
const REDIRECTED: [&str; 3] = ["fastopen", "unspec_tcp", "uring_tcp"];

fn attach(routes: &Routes) -> Gateway {
    let gateway = Gateway::start(Mode::Enforce);
    gateway.attach_cgroup(&routes.cgroup(), "hostile", &[]);
    gateway
}

fn figure(gateway: &Gateway, name: &str) -> u64 {
    let agent = gateway.agent_json("hostile").expect("it is attached");
    agent["coverage"][name].as_u64().expect("a figure")
}

#[test]
fn nothing_that_is_made_after_the_attach_gets_out() {
    let routes = Routes::from_container();
    // Each leads somewhere as long as nobody stops it, or the rest would show nothing.
    for route in STOPPED {
        assert_eq!(routes.attempt(route), "sent", "{route} before");
        assert!(routes.arrived(route) > 0, "{route} before");
    }
    let before = STOPPED.map(|route| routes.arrived(route));
    let gateway = attach(&routes);
    for (route, before) in STOPPED.into_iter().zip(before) {
        assert_ne!(routes.attempt(route), "sent", "{route}");
        assert_eq!(routes.arrived(route), before, "{route}");
    }
    for route in ["mptcp", "tcp_to_device", "sctp"] {
        assert_ne!(routes.attempt(route), "sent", "{route}");
        assert_eq!(routes.arrived(route), 0, "{route}");
    }
    assert_eq!(figure(&gateway, "bytes_left"), 0);
    assert!(figure(&gateway, "bytes_dropped") > 0 && figure(&gateway, "denied") > 0);
}

#[test]
fn nothing_gets_out_over_sockets_older_than_the_attach() {
    for route in OLD {
        let routes = Routes::from_container();
        let old = routes.spawn(route);
        routes.wait_ready();
        let gateway = attach(&routes);
        routes.go();
        assert_ne!(finish(old), "sent", "{route}");
        assert_eq!(routes.arrived(route), 0, "{route}");
        // Reset when the agent was attached, or, where the kernel can't, without effect.
        let stopped = ["existing_reset", "packets_dropped"].map(|name| figure(&gateway, name));
        assert!(stopped.iter().any(|count| *count > 0), "{route}");
    }
}

#[test]
fn nobody_outside_is_answered() {
    let routes = Routes::from_container();
    let gateway = attach(&routes);
    let server = routes.spawn("inbound");
    routes.wait_ready();
    routes.go();
    let mut client = routes.call_in(9000);
    assert_eq!(finish(server), "timed out");
    assert!(!client.wait(SOON).success());
    assert_eq!(routes.arrived("inbound"), 0);
    assert_eq!(figure(&gateway, "bytes_left"), 0);
}

#[test]
fn a_socket_that_is_given_away_stays_closed() {
    let routes = Routes::from_container();
    let gateway = attach(&routes);
    let _helper = routes.helper();
    assert_eq!(routes.attempt("given"), "EPERM");
    assert_eq!(routes.arrived("given"), 0);
    assert_eq!(counted(&gateway, "hostile", "dropped_udp_packets"), 1);
}

#[test]
fn tcp_by_any_route_leads_to_the_gateway() {
    let routes = Routes::from_container();
    let gateway = attach(&routes);
    for (count, route) in (1..).zip(REDIRECTED) {
        routes.attempt(route);
        assert!(figure(&gateway, "redirected") >= count, "{route}");
        assert_eq!(figure(&gateway, "packets_left"), 0, "{route}");
        // The kernel's own multicast reports may be: the container's network belongs to it.
        assert_eq!(counted(&gateway, "hostile", "dropped_tcp_packets"), 0, "{route}");
    }
}

/// The kernel asks for them on a socket that belongs to whoever made the network namespace: the
/// container.
#[test]
fn a_closed_agent_s_network_still_finds_its_ipv6_neighbours() {
    let routes = Routes::from_container();
    let _gateway = attach(&routes);
    machine::run(routes.beside("ip").args(["-6", "neigh", "flush", "dev", "eth0"]));
    assert_eq!(routes.attempt_beside("udp_sendto6"), "sent");
    wait::until_true(SOON, "it to arrive", || routes.arrived("udp_sendto6") == 1);
    assert_ne!(routes.attempt("udp_sendto6"), "sent");
    assert_eq!(routes.arrived("udp_sendto6"), 1);
}

#[test]
fn a_dead_gateway_opens_nothing() {
    let routes = Routes::from_container();
    let mut gateway = attach(&routes);
    gateway.kill9();
    for route in ["udp_sendto", "quic_connected", "raw", "tcp", "fastopen", "mptcp", "uring_tcp"] {
        assert_ne!(routes.attempt(route), "sent", "{route}");
        assert_eq!(routes.arrived(route), 0, "{route}");
    }
}

#[test]
fn only_the_resolvers_of_the_attach_are_asked() {
    let routes = Routes::from_container();
    let resolver = routes.cable().here.to_string();
    let tell = format!("echo nameserver {resolver} > /etc/resolv.conf");
    machine::run(routes.command("sh").args(["-c", &tell]));
    let other = Ipv4Addr::new(10, 231, 0, 9);
    let outside = routes.outside();
    machine::run(outside.command("ip").args(["addr", "add", "10.231.0.9/24", "dev", "veth0"]));
    let mut everywhere = outside.command("python3");
    everywhere.arg(routes::script()).args(["resolver", "0.0.0.0"]);
    let resolvers = Background::spawn("the resolvers", &mut everywhere);
    wait::until_true(SOON, "the resolvers", || resolvers.stdout().starts_with("ready"));
    let ask = |server: &str| {
        let mut command = routes.command("python3");
        let output =
            command.args(["/agents/routes.py", "resolve", server, "api.example.com"]).output();
        output.expect("it runs").status.success()
    };
    assert!(ask(&resolver) && ask(&other.to_string()), "before, anybody answers");

    let gateway = attach(&routes);
    assert!(ask(&resolver));
    assert!(!ask(&other.to_string()));
    // What it says of itself later changes nothing.
    machine::run(
        routes.command("sh").args(["-c", &format!("echo nameserver {other} > /etc/resolv.conf")]),
    );
    assert!(!ask(&other.to_string()));
    assert_eq!(counted(&gateway, "hostile", "dropped_udp_packets"), 2);
    assert!(counted(&gateway, "hostile", "direct_bytes") > 0);
    wait::until_true(SOON, "the name to be learnt", || {
        gateway.stderr().lines().any(|line| line.contains("DNS answer") && line.contains("count=1"))
    });
}

/// Truth about what is not closed: `agents` names the capability, and `doctor` each way.
#[test]
fn what_stays_open_is_said() {
    let routes = Routes::from_container();
    let gateway = attach(&routes);
    assert_eq!(routes.attempt("packet"), "sent");
    assert!(routes.arrived("packet") > 0, "not closed");
    let agent = gateway.agent_json("hostile").expect("it is attached");
    let notes = agent["notes"].to_string();
    assert!(notes.contains("CAP_NET_RAW") && notes.contains("--cap-drop=NET_RAW"), "{notes}");
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).expect("it is text");
    for way in ["AF_PACKET", "CAP_NET_ADMIN", "AF_VSOCK", "Unix socket", "a process outside", "DNS"]
    {
        assert!(doctor.contains(way), "{way}: {doctor}");
    }
}
