//! Many connections, at once and in a row: each reaches its own destination.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine,
    peer::{PeerServer, Tally, client},
    process::Background,
    sandbox::Sandbox,
};

use super::resident;

/// Twenty servers, at four addresses and five ports each, and an agent beside them.
fn site(gateway: &Gateway) -> (Sandbox, PeerServer, Background) {
    let sandbox = Sandbox::isolated();
    let mut addresses = vec![];
    for host in 1..=4 {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 78, 0, host));
        sandbox.netns().add_address(ip);
        addresses.extend([SocketAddr::new(ip, 0); 5]);
    }
    let server = PeerServer::start(Some(sandbox.netns()), &addresses);
    let resident = resident::attach(gateway, &sandbox, "a");
    (sandbox, server, resident)
}

#[test]
fn two_thousand_connections_at_once_reach_their_own_destinations() {
    let gateway = Gateway::start_open(Mode::Enforce);
    let (sandbox, server, _resident) = site(&gateway);
    let tallies: Vec<Tally> =
        client(&sandbox, &["many", "--connections", "2000"], &server.addresses);
    assert_eq!(tallies, [Tally { proxied: 2000, ..Tally::default() }]);
}

#[test]
fn ten_thousand_connects_with_reused_ports_reach_their_own_destinations() {
    let gateway = Gateway::start_open(Mode::Enforce);
    let (sandbox, server, _resident) = site(&gateway);
    // So few that each port comes again and again.
    let narrow = "echo 40000 40255 > /proc/sys/net/ipv4/ip_local_port_range";
    machine::run(sandbox.netns().command("sh").args(["-c", narrow]));
    let tallies: Vec<Tally> =
        client(&sandbox, &["reuse", "--connections", "10000"], &server.addresses);
    assert_eq!(tallies, [Tally { proxied: 10_000, ..Tally::default() }]);
}
