//! Egress rules for UDP, which the kernel keeps.

use turnpike_tests::{
    gateway::{Gateway, Mode},
    routes::{Routes, counted},
};

/// An enforced agent `a`, and egress rules.
fn start(routes: &Routes, rules: &str) -> Gateway {
    let gateway = Gateway::start_with(Mode::Enforce, rules);
    gateway.attach_cgroup(&routes.cgroup(), "a", &[]);
    gateway
}

fn rule(agent: &str, cidr: &str, port: u16) -> String {
    format!(
        "[[egress]]\nmatch = {{ agent = \"{agent}\", cidr = \"{cidr}\", port = {port}, \
         protocol = \"udp\" }}\ndecision = \"allow\"\n"
    )
}

#[test]
fn udp_leaves_where_a_rule_lets_it_and_nowhere_else() {
    let routes = Routes::new();
    let sink = routes.cable().here.to_string();
    let gateway = start(&routes, &[rule("a", &sink, 7001), rule("b", "0.0.0.0/0", 443)].concat());
    for route in ["udp_sendto", "udp_connected", "udp_mapped"] {
        assert_eq!(routes.attempt(route), "sent", "{route}");
        assert_eq!(routes.arrived(route), 1, "{route}");
    }
    assert_eq!(counted(&gateway, "a", "direct_packets"), 3);
    // Another port, which is another agent's, and another family.
    for route in ["quic_sendto", "udp_sendto6", "dns_elsewhere"] {
        assert_eq!(routes.attempt(route), "EPERM", "{route}");
        assert_eq!(routes.arrived(route), 0, "{route}");
    }
}

#[test]
fn a_restart_with_other_rules_closes_what_they_do_not_open() {
    let routes = Routes::new();
    let sink = routes.cable().here.to_string();
    let mut gateway = start(&routes, &rule("*", &sink, 7001));
    assert_eq!(routes.attempt("udp_sendto"), "sent");
    let config = std::fs::read_to_string(gateway.place().config()).expect("it is ours");
    let (rest, _) = config.split_once("[[egress]]").expect("it has a rule");
    std::fs::write(gateway.place().config(), rest).expect("it is ours");
    gateway.restart();
    assert_eq!(routes.attempt("udp_sendto"), "EPERM");
    assert_eq!(routes.arrived("udp_sendto"), 1, "that before the restart");
}
