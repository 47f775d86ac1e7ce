//! Rules in order, and what names count for.

use proptest::prelude::*;

use super::*;

const GITHUB: &str = "140.82.1.1:443";

fn rule(action: Action) -> Rule {
    Rule { agent: None, host: None, net: None, ports: None, protocol: Protocol::Tcp, action }
}

const ALLOW: Action = Action::Allow { opaque_bytes: None };

fn host(name: &str, action: Action) -> Rule {
    Rule { host: Some(name.parse().expect("a pattern")), ..rule(action) }
}

fn net(text: &str, action: Action) -> Rule {
    Rule { net: Some(text.parse().expect("a network")), ..rule(action) }
}

fn flow<'a>(to: &str, names: &'a [Box<str>]) -> Flow<'a> {
    Flow { agent: "a", to: to.parse().expect("an address"), names, names_are_learnt: true }
}

fn names(all: &[&str]) -> Vec<Box<str>> {
    all.iter().map(|name| (*name).into()).collect()
}

fn allowed(rule: usize) -> Decision {
    Decision::Allowed { rule, opaque_bytes: None }
}

const fn unlisted(unconfirmed: Option<usize>) -> Decision {
    Decision::Unlisted { unconfirmed }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let ports = |text: &str| Some(text.parse().expect("ports"));
    let rules = Egress::new(vec![
        Rule { agent: Some("b*".parse().expect("a pattern")), ..rule(Action::Deny) },
        Rule { ports: ports("22"), ..net("10.0.0.0/8", ALLOW) },
        net("10.0.0.0/8", Action::Deny),
        Rule { protocol: Protocol::Udp, ..rule(ALLOW) },
    ]);
    for (agent, to, decision) in [
        ("a", "10.1.1.1:22", allowed(1)),
        ("a", "10.1.1.1:80", Decision::Denied { rule: 2 }),
        ("a", "[::ffff:10.1.1.1]:22", allowed(1)),
        ("a", "192.0.2.1:22", unlisted(None)),
        ("bot", "10.1.1.1:22", Decision::Denied { rule: 0 }),
    ] {
        assert_eq!(rules.decide(&Flow { agent, ..flow(to, &[]) }, None), decision, "{agent} {to}");
    }
    assert_eq!(rules.udp("a").count(), 1);
}

#[test]
fn a_claimed_name_has_to_be_confirmed() {
    let rules = Egress::new(vec![host("github.com", ALLOW)]);
    let (given, other) = (names(&["github.com"]), names(&["evil.example"]));
    let decide = |names, claim| rules.decide(&flow(GITHUB, names), claim);
    assert_eq!(decide(&given, Some("GitHub.com.")), allowed(0));
    assert_eq!(decide(&other, Some("github.com")), unlisted(Some(0)), "spoofed");
    assert_eq!(decide(&[], Some("github.com")), unlisted(Some(0)), "never asked for");
    assert_eq!(decide(&given, Some("evil.example")), unlisted(None));
    // Nobody can know.
    let blind = Flow { names_are_learnt: false, ..flow(GITHUB, &[]) };
    assert_eq!(rules.decide(&blind, Some("github.com")), allowed(0));
    // The rule says where the host is.
    let both =
        Rule { host: Some("github.com".parse().expect("one")), ..net("140.82.0.0/16", ALLOW) };
    assert_eq!(Egress::new(vec![both]).decide(&flow(GITHUB, &[]), Some("github.com")), allowed(0));
}

#[test]
fn who_claims_nothing_goes_by_the_names_of_the_address() {
    let rules = Egress::new(vec![host("*.internal", ALLOW)]);
    let decide = |given: &[&str]| rules.decide(&flow(GITHUB, &names(given)), None);
    assert_eq!(decide(&["other.example", "git.internal"]), allowed(0));
    assert_eq!(decide(&["other.example"]), unlisted(None));
    assert_eq!(decide(&[]), unlisted(None));
}

#[test]
fn a_denied_host_is_not_reached_under_another_name() {
    let rules = Egress::new(vec![host("paste.example", Action::Deny), rule(ALLOW)]);
    let denied = Decision::Denied { rule: 0 };
    let decide = |names, claim| rules.decide(&flow(GITHUB, names), claim);
    assert_eq!(decide(&[], Some("paste.example")), denied);
    let given = names(&["paste.example"]);
    assert_eq!(decide(&given, None), denied);
    assert_eq!(decide(&given, Some("other.example")), denied, "made up");
    // Many names share the addresses of one content network.
    let shared = names(&["paste.example", "docs.example"]);
    assert_eq!(decide(&shared, Some("docs.example")), allowed(1));
}

#[test]
fn before_the_dial_only_what_no_name_could_allow_is_denied() {
    let rules = Egress::new(vec![
        host("paste.example", Action::Deny),
        host("github.com", ALLOW),
        net("140.82.0.0/16", Action::Deny),
        rule(ALLOW),
    ]);
    let denied = |to, given: &[&str]| rules.denied_at_connect(&flow(to, &names(given)));
    assert_eq!(denied(GITHUB, &[]), None, "it may be github.com");
    assert_eq!(denied(GITHUB, &["paste.example"]), Some(0));
    assert_eq!(denied(GITHUB, &["paste.example", "github.com"]), None);
    let no_allow =
        Egress::new(vec![host("paste.example", Action::Deny), net("140.82.0.0/16", Action::Deny)]);
    assert_eq!(no_allow.denied_at_connect(&flow(GITHUB, &[])), Some(1));
    assert_eq!(no_allow.denied_at_connect(&flow("192.0.2.1:443", &[])), None);
}

#[test]
fn the_rule_that_is_missing_is_written_as_it_would_have_to_be() {
    let text = |names: &[Box<str>], claim| Wanted::of(&flow(GITHUB, names), claim).to_string();
    let by_host = r#"match = { host = "github.com", port = 443 }, decision = "allow""#;
    let by_address = r#"match = { cidr = "140.82.1.1", port = 443 }, decision = "allow""#;
    assert_eq!(text(&names(&["github.com"]), Some("github.com")), by_host);
    assert_eq!(text(&names(&["github.com"]), None), by_host);
    assert_eq!(text(&[], None), by_address);
    assert_eq!(text(&[], Some("github.com")), by_address, "nothing confirms the name");
    let odd = Flow { names_are_learnt: false, ..flow(GITHUB, &[]) };
    assert_eq!(Wanted::of(&odd, Some("a\" }, x")).to_string(), by_address);
}

/// A few agents, addresses, ports and names, so that rules and connections often meet.
fn any_rule() -> impl Strategy<Value = Rule> {
    let host = prop::option::of("[ab*]{1,2}".prop_map(|text| text.parse().expect("a pattern")));
    let net = prop::option::of((0..4_u8, 30..=32_u8).prop_map(|(last, prefix)| {
        Network::new([10, 0, 0, last].into(), prefix).expect("a prefix")
    }));
    let port = |(first, more): (u16, u16)| format!("{first}-{}", first + more);
    let ports = prop::option::of(
        (1..4_u16, 0..2_u16).prop_map(move |range| port(range).parse().expect("a range")),
    );
    let agent = prop::option::of("[ab*]".prop_map(|text| text.parse().expect("a pattern")));
    let protocol = prop_oneof![9 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
    let action = prop_oneof![Just(ALLOW), Just(Action::Deny)];
    (agent, host, net, ports, protocol, action).prop_map(
        |(agent, host, net, ports, protocol, action)| Rule {
            agent,
            host,
            net,
            ports,
            protocol,
            action,
        },
    )
}

type Connection = (String, u8, u16, Vec<Box<str>>, bool, Option<String>);

fn any_connection() -> impl Strategy<Value = Connection> {
    let names = prop::collection::vec("[ab]{1,2}".prop_map(String::into_boxed_str), 0..3);
    let claim = prop::option::of("[ab]{1,2}");
    ("[ab]", 0..4_u8, 1..5_u16, names, any::<bool>(), claim)
}

fn flow_of(connection: &Connection) -> Flow<'_> {
    let (agent, last, port, names, names_are_learnt, _) = connection;
    let to = SocketAddr::from(([10, 0, 0, *last], *port));
    Flow { agent, to, names, names_are_learnt: *names_are_learnt }
}

fn number(decision: Decision) -> Option<usize> {
    match decision {
        Decision::Allowed { rule, .. } | Decision::Denied { rule } => Some(rule),
        Decision::Unlisted { .. } => None,
    }
}

proptest! {
    #[test]
    fn what_comes_after_the_rule_that_decides_changes_nothing(
        rules in prop::collection::vec(any_rule(), 0..6), connection in any_connection(),
    ) {
        let flow = flow_of(&connection);
        let claim = connection.5.as_deref();
        let decision = Egress::new(rules.clone()).decide(&flow, claim);
        let end = number(decision).map_or(rules.len(), |rule| rule + 1);
        let decide = |rules: &[Rule]| Egress::new(rules.to_vec()).decide(&flow, claim);
        prop_assert_eq!(decide(&rules[..end]), decision);
        // Nor does one before it that is for others.
        if let Some(rule) = number(decision) {
            prop_assert!(number(decide(&rules[..rule])).is_none());
            prop_assert_eq!(number(decide(&rules[rule..])), Some(0));
        }
    }

    #[test]
    fn rules_without_hosts_decide_by_the_address_alone(
        rules in prop::collection::vec(any_rule(), 0..6), connection in any_connection(),
    ) {
        let rules: Vec<Rule> = rules.into_iter().map(|rule| Rule { host: None, ..rule }).collect();
        let flow = flow_of(&connection);
        let fits = |rule: &Rule| {
            rule.protocol == Protocol::Tcp
                && rule.agent.as_ref().is_none_or(|agent| agent.matches(flow.agent))
                && rule.net.is_none_or(|net| net.contains(flow.to.ip()))
                && rule.ports.as_ref().is_none_or(|ports| ports.contains(flow.to.port()))
        };
        let first = rules.iter().position(fits);
        let egress = Egress::new(rules.clone());
        let decision = egress.decide(&flow, connection.5.as_deref());
        prop_assert_eq!(number(decision), first);
        let denies = first.filter(|rule| rules[*rule].action == Action::Deny);
        prop_assert_eq!(egress.denied_at_connect(&flow), denies);
    }

    #[test]
    fn who_is_denied_before_the_dial_would_be_denied_after_it_whatever_it_says(
        rules in prop::collection::vec(any_rule(), 0..6), connection in any_connection(),
    ) {
        let egress = Egress::new(rules);
        let flow = flow_of(&connection);
        if egress.denied_at_connect(&flow).is_some() {
            let decision = egress.decide(&flow, connection.5.as_deref());
            prop_assert!(matches!(decision, Decision::Denied { .. }), "{:?}", decision);
        }
    }

    #[test]
    fn a_claim_opens_nothing_that_its_name_was_not_given_to(
        rules in prop::collection::vec(any_rule(), 0..6), connection in any_connection(),
        claim in "[ab]{1,2}",
    ) {
        let rules: Vec<Rule> = rules.into_iter().map(|rule| Rule { net: None, ..rule }).collect();
        let flow = Flow { names_are_learnt: true, names: &[], ..flow_of(&connection) };
        let decision = Egress::new(rules.clone()).decide(&flow, Some(&claim));
        if let Decision::Allowed { rule, .. } = decision {
            prop_assert!(rules[rule].host.is_none());
        }
    }
}
