//! Calls of tools over MCP, to a server of the `mcp` package's own.

use turnpike_tests::{
    dialects::{TOOL_CASES, TOOL_PORTS},
    trace::Step,
};

use super::audited::AUDITED;

/// In one of the ways in which a tool server is spoken to.
#[track_caller]
fn assert_understood(place: usize) {
    let (case, port) = (TOOL_CASES[place], TOOL_PORTS[place]);
    let (name, seen) = (case.name, AUDITED.seen(case));
    assert!(seen.errors.is_empty(), "{name}: {seen:?}");
    let [offered, found, failed, unknown] = seen.texts.as_slice() else {
        panic!("{name}: {seen:?}");
    };
    assert_eq!(offered, "search broken dig", "{name}");
    assert!(found.starts_with("False: search of"), "{name}: {found}");
    assert_eq!(failed, "True: Error executing tool broken: the archive is closed", "{name}");
    assert!(unknown.starts_with("-32602: "), "{name}: {unknown}");

    let mut shown: Vec<&Step> = AUDITED.to_port(port);
    shown.sort_by_key(|step| step.tool.as_ref().map(|tool| tool.name != "search"));
    let [search, broken] = shown.as_slice() else { panic!("{name}: {shown:?}") };
    for (step, tool) in [(search, "search"), (broken, "broken")] {
        assert_eq!(step.call, "tool", "{name}");
        assert_eq!(step.dialect.as_deref(), Some(case.dialect), "{name}");
        assert_eq!(step.operation.as_deref(), Some(case.operation), "{name}");
        let shown = step.tool.as_ref().expect("a tool step");
        assert_eq!(shown.name, tool, "{name}");
        assert_eq!(shown.server.as_deref(), Some(format!("127.0.0.1:{port}").as_str()), "{name}");
        assert!(step.settled && step.usage.is_none(), "{name}: {step:?}");
    }
    assert_eq!(search.error, None, "{name}");
    assert_eq!(broken.error.as_deref(), Some("tool_error"), "{name}");
}

#[test]
fn after_a_handshake() {
    assert_understood(0);
}

#[test]
fn without_a_handshake() {
    assert_understood(1);
}

#[test]
fn over_the_old_transport() {
    assert_understood(2);
}
