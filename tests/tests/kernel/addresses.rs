//! Whoever an agent calls is whom it reaches, and neither end sees that anybody is between them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine,
    peer::{Called, PeerServer, client, client_command, program, tries},
    sandbox::Sandbox,
    wait,
};

use super::resident;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
const OTHER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
const OTHER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9));

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::isolated();
    for address in [V4, OTHER_V4, V6, OTHER_V6] {
        sandbox.netns().add_address(address);
    }
    sandbox
}

fn serve(sandbox: &Sandbox, addresses: &[IpAddr]) -> PeerServer {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    PeerServer::start(Some(sandbox.netns()), &addresses)
}

/// Calls each, and checks what every end sees. The source is the one that the server must see.
fn check(sandbox: &Sandbox, words: &[&str], to: &[SocketAddr], source: impl Fn(IpAddr) -> IpAddr) {
    let called: Vec<Called> = client(sandbox, &[&["call"], words].concat(), to);
    assert_eq!(called.len(), to.len());
    for (called, asked) in called.iter().zip(to) {
        assert_eq!(called.reached, *asked, "{called:?}");
        assert_eq!(called.seen.ip(), source(asked.ip()), "{called:?}");
        assert!(!called.is_direct(), "{called:?}");
        let peername = called.peername;
        assert_eq!((peername.ip().to_canonical(), peername.port()), (asked.ip(), asked.port()));
        let mapped = words.contains(&"--mapped");
        assert_eq!(peername.is_ipv6(), mapped || asked.is_ipv6(), "{called:?}");
    }
}

#[test]
fn every_form_of_address_is_reached_and_shown() {
    let (gateway, sandbox) = (Gateway::start_open(Mode::Enforce), sandbox());
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let server = serve(&sandbox, &[V4, V6, loopback[0], loopback[1]]);
    let [v4, v6, localhost, localhost6] = server.addresses[..] else { panic!("four addresses") };
    let _resident = resident::attach(&gateway, &sandbox, "a");
    // The kernel picks the destination's own address as the source, all being on one machine.
    check(&sandbox, &[], &[v4, v6, localhost, localhost6], |asked| asked);
    check(&sandbox, &["--mapped"], &[v4, localhost], |asked| asked);
    check(&sandbox, &["--from", "10.77.0.9"], &[v4], |_| OTHER_V4);
    check(&sandbox, &["--from", "10.77.0.9", "--mapped"], &[v4], |_| OTHER_V4);
    check(&sandbox, &["--from", "fd77::9"], &[v6], |_| OTHER_V6);
    let agent = gateway.agent_json("a").expect("it is attached");
    assert_eq!(agent["coverage"]["redirected"], 9, "{agent}");
    assert_eq!(agent["coverage"]["connections_opaque"], 9, "{agent}");
}

#[test]
fn agents_with_the_same_destination_are_told_apart() {
    let (gateway, one) = (Gateway::start(Mode::Audit), sandbox());
    let server = serve(&one, &[V4]);
    let two = Sandbox::beside(&one);
    let _residents = [(&one, "one"), (&two, "two")]
        .map(|(sandbox, name)| resident::attach(&gateway, sandbox, name));
    for calls in 1..=3 {
        check(&one, &[], &server.addresses, |asked| asked);
        check(&two, &[], &server.addresses, |asked| asked);
        for name in ["one", "two"] {
            let agent = gateway.agent_json(name).expect("it is attached");
            assert_eq!(agent["coverage"]["redirected"], calls, "{agent}");
            assert_eq!(agent["coverage"]["connections_opaque"], calls, "{agent}");
        }
    }
}

#[test]
fn the_same_address_in_two_namespaces_is_two_servers() {
    let gateway = Gateway::start_open(Mode::Enforce);
    let pairs = [sandbox(), sandbox()].map(|sandbox| {
        let server = PeerServer::start(Some(sandbox.netns()), &[SocketAddr::new(V4, 7777)]);
        (sandbox, server)
    });
    for (place, (sandbox, server)) in pairs.iter().enumerate() {
        let _resident = resident::attach(&gateway, sandbox, &format!("agent-{place}"));
        check(sandbox, &[], &server.addresses, |asked| asked);
    }
    // Only the first namespace's server is left to answer in the first namespace.
    let [(first, server), (second, gone)] = pairs;
    drop(gone);
    check(&first, &[], &server.addresses, |asked| asked);
    let mut refused = second.command(&program());
    let refused = refused.args(["call", "10.77.0.1:7777"]).output().expect("it runs");
    assert!(!refused.status.success(), "{refused:?}");
}

#[test]
fn a_cgroup_made_later_belongs_to_the_agent_around_it() {
    let (gateway, sandbox) = (Gateway::start(Mode::Audit), sandbox());
    let server = serve(&sandbox, &[V4]);
    let _resident = resident::attach(&gateway, &sandbox, "a");
    let nested = sandbox.nested("later");
    let mut command = sandbox.command_in(&nested, &program());
    let printed = machine::run(command.arg("call").arg(server.addresses[0].to_string()));
    let called: Called = serde_json::from_str(&printed).expect("its own format");
    assert!(!called.is_direct(), "{called:?}");
    assert_eq!(gateway.agent_json("a").expect("attached")["coverage"]["redirected"], 1);
}

#[test]
fn an_agent_on_the_hosts_network_reaches_the_hosts_loopback() {
    let (gateway, sandbox) = (Gateway::start_open(Mode::Enforce), Sandbox::new());
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = PeerServer::start(None, &[loopback]);
    gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    check(&sandbox, &[], &server.addresses, |asked| asked);
    check(&sandbox, &["--mapped"], &server.addresses, |asked| asked);
}

#[test]
fn an_agent_whose_namespace_is_not_known_yet_is_followed() {
    let (gateway, sandbox) = (Gateway::start(Mode::Audit), sandbox());
    let server = serve(&sandbox, &[V4]);
    // Nothing runs in it: where its processes will live can't be known.
    gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    let client = sandbox.spawn(&mut client_command(&sandbox, &["load"], &server.addresses));
    wait::until_true(Duration::from_secs(10), "to be followed", || {
        tries(&client).iter().any(|it| it.result == "proxied")
    });
}
