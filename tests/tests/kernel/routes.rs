//! Every way out of an agent: what audit counts of it, and that nothing of it gets out in enforce.
//! The sink looks at whole frames, so what it has not seen has not left.

use turnpike_tests::{
    gateway::{Gateway, Mode},
    routes::{Routes, counted, finish},
    wait,
};

/// An agent in either mode.
struct Bed {
    gateway: Gateway,
    routes: Routes,
}

impl Bed {
    fn start(mode: Mode) -> Self {
        let bed = Self::before_attach(mode);
        bed.attach();
        bed
    }

    fn before_attach(mode: Mode) -> Self {
        Self { gateway: Gateway::start(mode), routes: Routes::new() }
    }

    fn attach(&self) {
        self.gateway.attach_cgroup(&self.routes.cgroup(), "a", &[]);
    }

    fn counted(&self, reason: &str) -> u64 {
        counted(&self.gateway, "a", reason)
    }

    fn coverage(&self, figure: &str) -> u64 {
        let agent = self.gateway.agent_json("a").expect("it is attached");
        agent["coverage"][figure].as_u64().expect("a figure")
    }
}

/// A route that is left and counted in audit, and stopped with this error and counted in enforce.
fn stopped(route: &str, left: &str, error: &str, denied: &str) {
    let audit = Bed::start(Mode::Audit);
    assert_eq!(audit.routes.attempt(route), "sent", "{route} in audit");
    assert!(audit.routes.arrived(route) > 0, "{route} in audit: the route leads somewhere");
    assert!(audit.counted(left) > 0, "{route} in audit: {left}");
    if left.ends_with("_packets") {
        assert!(audit.counted("left_bytes") >= 200, "{route} in audit");
    }

    let enforce = Bed::start(Mode::Enforce);
    assert_eq!(enforce.routes.attempt(route), error, "{route} in enforce");
    assert_eq!(enforce.routes.arrived(route), 0, "{route} in enforce");
    assert!(enforce.counted(denied) > 0, "{route} in enforce: {denied}");
}

/// A route that leads to the gateway in either mode.
fn redirected(route: &str) {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = Bed::start(mode);
        // What the gateway does with it then is not the kernel's.
        let outcome = bed.routes.attempt(route);
        assert!(mode == Mode::Enforce || outcome == "sent", "{route}: {outcome}");
        assert_eq!(bed.coverage("packets_left"), 0, "{route} in {mode:?}");
        assert_eq!(bed.coverage("packets_dropped"), 0, "{route} in {mode:?}");
        assert!(bed.coverage("redirected") > 0, "{route} in {mode:?}");
    }
}

/// A route over a socket that is older than the attach.
fn old(route: &str, left: &str, outcome: &str, dropped: &str) {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = Bed::before_attach(mode);
        let process = bed.routes.spawn(route);
        bed.routes.wait_ready();
        bed.attach();
        bed.routes.go();
        let found = finish(process);
        let arrived = bed.routes.arrived(route);
        if mode == Mode::Audit {
            assert_eq!(found, "sent", "{route}");
            assert!(arrived > 0 && bed.counted(left) > 0, "{route} in audit: {arrived}");
        } else {
            assert_eq!(found, outcome, "{route}");
            assert_eq!(arrived, 0, "{route} in enforce");
            // What could be reset when the agent was attached has nothing left to drop.
            let dropped = bed.counted(dropped) > 0;
            assert!(dropped || bed.coverage("existing_reset") > 0, "{route} in enforce");
        }
    }
}

#[test]
fn udp_that_is_connected() {
    stopped("udp_connected", "left_udp_packets", "EPERM", "dropped_udp_packets");
    stopped("udp_connected6", "left_udp_packets", "EPERM", "dropped_udp_packets");
}

#[test]
fn udp_that_names_its_destination() {
    stopped("udp_sendto", "left_udp_packets", "EPERM", "dropped_udp_packets");
    stopped("udp_sendto6", "left_udp_packets", "EPERM", "dropped_udp_packets");
    stopped("udp_mapped", "left_udp_packets", "EPERM", "dropped_udp_packets");
}

#[test]
fn udp_in_fragments() {
    stopped("udp_large", "left_udp_packets", "EPERM", "dropped_udp_packets");
}

#[test]
fn udp_that_is_bound_to_a_device() {
    stopped("udp_to_device", "left_udp_packets", "EPERM", "dropped_udp_packets");
}

#[test]
fn quic_fails_at_once() {
    stopped("quic_connected", "left_quic_packets", "EPERM", "dropped_quic_packets");
    stopped("quic_sendto", "left_quic_packets", "EPERM", "dropped_quic_packets");
}

#[test]
fn dns_to_another_server() {
    stopped("dns_elsewhere", "left_udp_packets", "EPERM", "dropped_udp_packets");
}

#[test]
fn udp_that_was_disconnected_and_connected_again() {
    stopped("unspec_udp", "left_udp_packets", "EPERM", "dropped_udp_packets");
}

#[test]
fn tcp_that_was_disconnected_and_connected_again() {
    redirected("unspec_tcp");
}

#[test]
fn tcp_that_is_bound_to_a_device() {
    stopped("tcp_to_device", "left_tied_to_interface", "ECONNREFUSED", "denied_tied_to_interface");
}

#[test]
fn tcp_fast_open() {
    redirected("fastopen");
}

#[test]
fn mptcp_is_left_as_tcp_or_refused_as_if_the_kernel_had_none() {
    let audit = Bed::start(Mode::Audit);
    assert_eq!(audit.routes.attempt("mptcp"), "sent");
    // A self-test that is under way counts too, until it is over.
    wait::until_true(SOON, "one redirected connection", || {
        (audit.counted("left_mptcp"), audit.coverage("redirected")) == (1, 1)
    });
    assert_eq!(audit.coverage("packets_left"), 0);

    let enforce = Bed::start(Mode::Enforce);
    assert_eq!(enforce.routes.attempt("mptcp"), "ENOPROTOOPT");
    assert_eq!(enforce.routes.arrived("mptcp"), 0);
    assert_eq!(enforce.counted("denied_mptcp"), 1);
}

#[test]
fn raw_ip() {
    stopped("raw", "left_raw", "EPERM", "denied_raw");
    stopped("raw6", "left_other_packets", "EPERM", "denied_raw");
    stopped("raw_udp", "left_udp_packets", "EPERM", "denied_raw");
}

#[test]
fn icmp() {
    stopped("icmp", "left_raw", "EPERM", "denied_raw");
    stopped("icmp_raw", "left_other_packets", "EPERM", "denied_raw");
    stopped("icmp6", "left_other_packets", "EPERM", "denied_raw");
}

#[test]
fn further_protocols() {
    stopped("udplite", "left_other_protocol", "EPERM", "denied_other_protocol");
}

#[test]
fn sctp_where_the_kernel_has_it() {
    if std::fs::exists("/proc/sys/net/sctp").unwrap_or(false) {
        stopped("sctp", "left_sctp", "EPERM", "denied_sctp");
    } else {
        let bed = Bed::start(Mode::Enforce);
        assert_eq!(bed.routes.attempt("sctp"), "EPROTONOSUPPORT");
        assert_eq!(bed.routes.arrived("sctp"), 0);
    }
}

#[test]
fn io_uring() {
    stopped("uring_udp", "left_udp_packets", "EPERM", "dropped_udp_packets");
    redirected("uring_tcp");
}

#[test]
fn sockets_older_than_the_attach() {
    old("old_tcp", "left_tcp_packets", "ECONNABORTED", "dropped_tcp_packets");
    old("old_tcp6", "left_tcp_packets", "ECONNABORTED", "dropped_tcp_packets");
    old("old_mptcp", "left_tcp_packets", "ECONNABORTED", "dropped_tcp_packets");
    old("old_udp", "left_udp_packets", "EDESTADDRREQ", "dropped_udp_packets");
    old("old_raw", "left_udp_packets", "EPERM", "dropped_udp_packets");
    old("old_raw6", "left_other_packets", "EPERM", "dropped_other_packets");
}

#[test]
fn a_server_whose_client_is_outside() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = Bed::start(mode);
        let server = bed.routes.spawn("inbound");
        bed.routes.wait_ready();
        bed.routes.go();
        let mut client = bed.routes.call_in(9000);
        let (found, arrived) = (finish(server), bed.routes.arrived("inbound"));
        if mode == Mode::Audit {
            assert_eq!((found.as_str(), client.wait(SOON).success()), ("sent", true));
            assert!(arrived > 0 && bed.counted("left_tcp_packets") > 0);
        } else {
            assert_eq!((found.as_str(), arrived), ("timed out", 0));
            assert!(bed.counted("dropped_tcp_packets") > 0);
        }
    }
}

#[test]
fn a_socket_that_is_used_by_a_process_outside_is_still_the_agents() {
    for (mode, outcome) in [(Mode::Audit, "sent"), (Mode::Enforce, "EPERM")] {
        let bed = Bed::start(mode);
        let _helper = bed.routes.helper();
        assert_eq!(bed.routes.attempt("given"), outcome);
        assert_eq!(bed.routes.arrived("given") > 0, mode == Mode::Audit);
        let reason =
            ["left_udp_packets", "dropped_udp_packets"][usize::from(mode == Mode::Enforce)];
        assert_eq!(bed.counted(reason), 1);
    }
}

/// It belongs to the cgroup that made it, whose hooks are none of ours. `turnpike doctor` says so.
#[test]
fn a_socket_that_was_made_outside_is_not_the_agents() {
    let bed = Bed::start(Mode::Enforce);
    let _helper = bed.routes.helper();
    assert_eq!(bed.routes.attempt("received"), "sent");
    assert!(bed.routes.arrived("received") > 0, "not closed");
}

/// No hook sees frames that are made by hand. `turnpike doctor` says so.
#[test]
fn packet_sockets_are_not_closed() {
    let bed = Bed::start(Mode::Enforce);
    assert_eq!(bed.routes.attempt("packet"), "sent");
    assert!(bed.routes.arrived("packet") > 0, "not closed");
}

const SOON: std::time::Duration = std::time::Duration::from_secs(20);
