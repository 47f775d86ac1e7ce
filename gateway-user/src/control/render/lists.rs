//! Agents, workflows, and the gateway itself.

use std::io::{self, Write};

use super::{
    Color, Screen, number,
    table::{Align, Cell, Column, Table},
};
use crate::{
    authority::Certificate,
    call::{Micros, State, WorkflowId, WorkflowSummary},
    control::{
        model::{
            self, Accuracy, AgentInfo, AgentState, Coverage, EgressRefused, EgressRule, Kept,
            OtherTraffic, Redirect, Status, Unit,
        },
        text,
    },
};

/// What the gateway says of itself.
pub fn status(out: &mut dyn Write, screen: &Screen, status: &Status) -> io::Result<()> {
    let (state, color) =
        if status.ready { ("ready", Color::Good) } else { ("not ready", Color::Busy) };
    let part = if status.embedded { "run" } else { "daemon" };
    let lines = [
        ("state", Cell::default().and(state, color)),
        ("gateway", Cell::new(&format!("{part} {}, pid {}", status.version, status.pid))),
        ("started", Cell::new(&screen.time(status.started_at))),
        ("agents", Cell::new(&status.agents.to_string())),
        ("boot id", Cell::new(&status.boot_id)),
    ];
    for (name, value) in lines {
        let value = value.paint(screen, usize::MAX).0;
        writeln!(out, "{}  {value}", screen.paint(&format!("{name:<7}"), Color::Faint))?;
    }
    if let Some(Kept { problem: Some(problem), unwritten, .. }) = &status.ledger {
        let name = screen.paint("budgets are not kept", Color::Bad);
        writeln!(out, "{name}  {} ({unwritten} records so far)", text::escape(problem))?;
    }
    for (name, count) in &status.counters {
        writeln!(out, "{}  {count}", screen.paint(&name.replace('_', " "), Color::Busy))?;
    }
    for bound in status.bounds.iter().filter(|bound| bound.hits > 0) {
        let limit = bound.limit.map(|limit| match bound.unit {
            Unit::Count => number::count(limit),
            Unit::Bytes => number::bytes(limit),
            Unit::Ms => format!("{limit} ms"),
        });
        let limit = limit.map(|limit| format!(" ({limit})")).unwrap_or_default();
        let name = format!("bound {}{limit} hit", bound.name);
        writeln!(out, "{}  {}", screen.paint(&name, Color::Busy), bound.hits)?;
    }
    for model in &status.estimates.models {
        let error =
            |it: &Accuracy| format!("{}.{} %", it.error_permille / 10, it.error_permille % 10);
        let samples = model.input.samples.max(model.output.samples);
        let name = format!("estimates of {}", text::escape(&model.model));
        let (input, output) = (error(&model.input), error(&model.output));
        let of = number::of(samples, "call");
        let line = format!("off by {input} of input, {output} of output, in {of}");
        writeln!(out, "{}  {line}", screen.paint(&name, Color::Faint))?;
    }
    for (number, rule) in (1..).zip(&status.egress) {
        writeln!(out, "{}", egress_rule(number, rule).paint(screen, usize::MAX).0)?;
    }
    Ok(())
}

/// A rule, and the connections on which it decided.
fn egress_rule(number: usize, rule: &EgressRule) -> Cell {
    let counts = [
        ("allowed", rule.allowed, Color::Plain),
        ("denied", rule.denied, Color::Busy),
        ("would deny", rule.would_deny, Color::Busy),
        ("over opaque_bytes", rule.exceeded, Color::Busy),
    ];
    let cell = Cell::default().and(&format!("egress {number}"), Color::Faint);
    let cell = cell.and(&format!("  {}", rule.rule), Color::Plain);
    let counted = counts.into_iter().filter(|(_, count, _)| *count > 0);
    counted.fold(cell, |cell, (name, count, color)| {
        cell.and(&format!("  {name}: {}", number::count(count)), color)
    })
}

/// A table of agents, each with what was not covered.
pub fn agents(out: &mut dyn Write, screen: &Screen, agents: &[AgentInfo]) -> io::Result<()> {
    if agents.is_empty() {
        return writeln!(
            out,
            "no agents; attach one with `turnpike attach` or start one with `turnpike run -- CMD`"
        );
    }
    let mut table = Table::new(&AGENTS);
    for agent in agents {
        let seen = &agent.coverage;
        table.row(vec![
            Cell::default().and(&agent.name, Color::Strong),
            Cell::new(&agent.mode.to_string()),
            state_of(agent.state),
            Cell::new(&number::count(seen.connections_observed)),
            Cell::new(&number::count(seen.connections_opaque)),
            counted(seen.missed()),
            Cell::new(&number::count(seen.denied)),
            Cell::new(&number::count(seen.calls)),
            Cell::new(&number::bytes(seen.bytes_observed.saturating_add(seen.bytes_opaque))),
            Cell::new(&workload(agent)),
        ]);
        if let Some(note) = not_covered(seen) {
            table.note(Cell::default().and(&note, Color::Busy));
        }
        if let Some(note) = other_traffic(&agent.other) {
            table.note(Cell::default().and(&note, Color::Faint));
        }
        if let Some(Redirect::Failed { why }) = &agent.redirect {
            table.note(Cell::default().and(&format!("  redirect: failed ({why})"), Color::Bad));
        }
        if let Some(note) = by_rule(agent) {
            table.note(note);
        }
        for EgressRefused { allow, connections } in &agent.egress_refused {
            let times = number::count(*connections);
            let line = format!("  egress denied: {times}; to allow it: [[egress]] {allow}");
            table.note(Cell::default().and(&line, Color::Busy));
        }
        for note in &agent.undecrypted {
            table.note(Cell::default().and(&format!("  {note}"), Color::Busy));
        }
        for note in &agent.notes {
            table.note(Cell::default().and(&format!("  {note}"), Color::Faint));
        }
    }
    table.write(out, screen)
}

/// The node's certificate authority.
pub fn ca(out: &mut dyn Write, screen: &Screen, certificate: &Certificate) -> io::Result<()> {
    let lines = [
        ("sha256", certificate.sha256.clone()),
        ("from", certificate.not_before.to_string()),
        ("until", certificate.not_after.to_string()),
        ("kept in", certificate.path.display().to_string()),
    ];
    for (name, value) in lines {
        let value = Cell::new(&value).paint(screen, usize::MAX).0;
        writeln!(out, "{}  {value}", screen.paint(&format!("{name:<7}"), Color::Faint))?;
    }
    Ok(())
}

/// That an agent has been attached, and as what.
pub fn attached(out: &mut dyn Write, screen: &Screen, agent: &AgentInfo) -> io::Result<()> {
    let line = Cell::new("attached ")
        .and(&agent.name, Color::Strong)
        .and(&format!(" in {} mode: {}", agent.mode, workload(agent)), Color::Plain);
    writeln!(out, "{}", line.paint(screen, usize::MAX).0)?;
    for (text, color) in noteworthy(agent) {
        writeln!(out, "  {}", Cell::default().and(&text, color).paint(screen, usize::MAX).0)?;
    }
    Ok(())
}

/// What the user should know of an agent that has just been attached.
fn noteworthy(agent: &AgentInfo) -> Vec<(String, Color)> {
    let seen = &agent.coverage;
    let mut notes = Vec::new();
    match seen.existing_sockets {
        None => notes.push(("sockets that were open before are not counted".into(), Color::Busy)),
        Some(0) => {}
        Some(count) => {
            let count = number::count(count);
            let note = format!(
                "sockets that were open before and go on unseen: {count} (to reset them: attach with \
                 --existing reset)"
            );
            notes.push((note, Color::Busy));
        }
    }
    if seen.existing_reset > 0 {
        let count = number::count(seen.existing_reset);
        notes.push((format!("sockets that were open before and are reset: {count}"), Color::Plain));
    }
    notes.extend(agent.undecrypted.iter().map(|note| (note.clone(), Color::Busy)));
    if let Some(Redirect::Failed { why }) = &agent.redirect {
        notes.push((format!("redirect: failed ({why})"), Color::Bad));
    }
    notes
}

/// That an agent has been detached.
pub fn detached(out: &mut dyn Write, screen: &Screen, name: &str) -> io::Result<()> {
    let line = Cell::new("detached ").and(name, Color::Strong);
    writeln!(out, "{}", line.paint(screen, usize::MAX).0)
}

/// A table of workflows.
pub fn workflows(
    out: &mut dyn Write,
    screen: &Screen,
    workflows: &[WorkflowSummary],
) -> io::Result<()> {
    if workflows.is_empty() {
        return writeln!(out, "no workflows");
    }
    let mut table = Table::new(&WORKFLOWS);
    for workflow in workflows {
        let totals = &workflow.totals;
        table.row(vec![
            Cell::new(&short(workflow.workflow_id)),
            Cell::default().and(&workflow.agent.name, Color::Strong),
            state(workflow.state),
            Cell::new(&number::count(totals.model_calls)),
            Cell::new(&number::count(totals.tool_calls)),
            Cell::new(&number::count(totals.input_tokens)),
            Cell::new(&number::count(totals.output_tokens)),
            Cell::new(&totals.usd.map(number::usd).unwrap_or_default()),
            Cell::new(&number::duration(totals.wall_ms)),
            Cell::new(&screen.time(workflow.started_at)),
        ]);
    }
    table.write(out, screen)
}

/// A workflow's state, in its colour.
pub(super) fn state(state: State) -> Cell {
    let color = match state {
        State::Active | State::Cancelled => Color::Busy,
        State::Done => Color::Good,
        State::Failed => Color::Bad,
    };
    Cell::default().and(model::state_name(state), color)
}

/// The beginning of a workflow's id, which every command takes for the whole.
pub(super) fn short(id: WorkflowId) -> String {
    let mut id = id.to_string();
    id.truncate(SHORT_ID_DIGITS);
    id
}

fn state_of(state: AgentState) -> Cell {
    let (text, color) = match state {
        AgentState::Attached => ("attached", Color::Good),
        AgentState::Pinned => ("pinned", Color::Busy),
        AgentState::Killed => ("killed", Color::Bad),
    };
    Cell::default().and(text, color)
}

/// A count that should be zero.
fn counted(count: u64) -> Cell {
    let color = if count == 0 { Color::Plain } else { Color::Busy };
    Cell::default().and(&number::count(count), color)
}

/// The pod, the container, or the cgroup: what the user most likely knows the agent by.
fn workload(agent: &AgentInfo) -> String {
    if let Some(pod) = &agent.pod {
        return format!("pod {pod}");
    }
    match &agent.container_id {
        Some(id) => format!("container {}", id.chars().take(SHORT_ID_DIGITS).collect::<String>()),
        None => format!("cgroup {}", agent.cgroup),
    }
}

/// Which rule attached it, for whom, and how late.
fn by_rule(agent: &AgentInfo) -> Option<Cell> {
    let rule = agent.attached_by.as_ref().filter(|by| *by != "command");
    let tenant = agent.tenant.as_ref().map(|tenant| format!("tenant {tenant}"));
    let rule = rule.map(|rule| format!("attached by {rule}"));
    let who: Vec<String> = rule.into_iter().chain(tenant).collect();
    let who = (!who.is_empty())
        .then(|| Cell::default().and(&format!("  {}", who.join(", ")), Color::Faint))?;
    let Some(ms) = agent.late_ms else { return Some(who) };
    let late = format!(
        "; late: what it did in up to {} before is not known",
        number::duration(Micros(ms.saturating_mul(1000)))
    );
    Some(who.and(&late, Color::Busy))
}

/// What was not understood, missed or refused, in words.
fn not_covered(seen: &Coverage) -> Option<String> {
    let mut causes: Vec<_> =
        seen.reasons.iter().map(|(reason, count)| (reason.replace('_', " "), *count)).collect();
    causes.push(("sockets older than attach".to_owned(), seen.existing_sockets.unwrap_or(0)));
    causes.push(("connections reset".to_owned(), seen.connections_reset));
    causes.push(("calls not understood".to_owned(), seen.calls_not_understood));
    causes.push(("calls not metered".to_owned(), seen.calls_unmetered));
    causes.push(("calls whose usage is estimated".to_owned(), seen.calls_estimated));
    causes.push(("calls without a price".to_owned(), seen.calls_unpriced));
    let listed: Vec<_> = causes
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(cause, count)| format!("{cause}: {}", number::count(count)))
        .collect();
    (!listed.is_empty()).then(|| format!("  {}", listed.join(", ")))
}

/// What makes no calls that are known, in a line: how much, and the kind that there is most of.
fn other_traffic(kinds: &[OtherTraffic]) -> Option<String> {
    let most = kinds.first()?;
    let exchanges = kinds.iter().map(|kind| kind.exchanges).sum();
    let bytes = kinds.iter().map(|kind| kind.request_bytes.saturating_add(kind.response_bytes));
    let what = most.rpc_method.as_deref().unwrap_or(&most.method);
    let host = most.host.as_deref().unwrap_or_default();
    Some(format!(
        "  other traffic: {} of {}, {}; most: {what} {host}{} ({})",
        number::of(exchanges, "exchange"),
        number::of(kinds.len() as u64, "kind"),
        number::bytes(bytes.fold(0, u64::saturating_add)),
        most.path,
        number::count(most.exchanges),
    ))
}

const fn column(title: &'static str, align: Align, flexible: bool) -> Column {
    Column { title, align, flexible }
}

const AGENTS: [Column; 10] = [
    column("NAME", Align::Left, true),
    column("MODE", Align::Left, false),
    column("STATE", Align::Left, false),
    column("OBSERVED", Align::Right, false),
    column("OPAQUE", Align::Right, false),
    column("MISSED", Align::Right, false),
    column("DENIED", Align::Right, false),
    column("CALLS", Align::Right, false),
    column("BYTES", Align::Right, false),
    column("WORKLOAD", Align::Left, true),
];

const WORKFLOWS: [Column; 10] = [
    column("WORKFLOW", Align::Left, false),
    column("AGENT", Align::Left, true),
    column("STATE", Align::Left, false),
    column("CALLS", Align::Right, false),
    column("TOOLS", Align::Right, false),
    column("IN", Align::Right, false),
    column("OUT", Align::Right, false),
    column("COST", Align::Right, false),
    column("TOOK", Align::Right, false),
    column("STARTED", Align::Left, false),
];

/// Digits of an id that tell it from the others on a screen.
pub(super) const SHORT_ID_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Micros, Timestamp},
        control::{model::Bound, sample},
    };

    const PIPE: Screen = Screen { color: false, columns: None, now: Timestamp(0) };

    fn shown(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("a Vec takes it all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn agents_are_listed_with_what_was_missed() {
        let mut blind = sample::agent("blind\u{7}");
        blind.state = AgentState::Pinned;
        blind.container_id = None;
        blind.coverage.left_direct = 3;
        blind.coverage.reasons.insert("left_dead".to_owned(), 3);
        blind.coverage.calls_not_understood = 2;
        blind.coverage.existing_sockets = Some(4);
        blind.redirect = Some(Redirect::Failed { why: "the connect timed\nout".to_owned() });
        let list = [sample::agent("research"), blind];
        insta::assert_snapshot!(shown(|out| agents(out, &PIPE, &list)), @r"
        NAME        MODE   STATE     OBSERVED  OPAQUE  MISSED  DENIED  CALLS  BYTES  WORKLOAD
        research    audit  attached      1.2k       0       0       0     17  35 MB  container 0123456789ab
        blind\u{7}  audit  pinned        1.2k       0       7       0     17  35 MB  cgroup /machine.slice/blind\u{7}.scope
          left dead: 3, sockets older than attach: 4, calls not understood: 2
          redirect: failed (the connect timed\nout)
        ");
    }

    #[test]
    fn an_agent_of_a_rule_shows_for_whom_and_how_late() {
        let mut agent = sample::agent("web");
        agent.attached_by = Some("rule 2".to_owned());
        let line = |agent: &AgentInfo| {
            let text = shown(|out| agents(out, &PIPE, std::slice::from_ref(agent)));
            text.lines().nth(2).unwrap_or_default().to_owned()
        };
        assert_eq!(line(&agent), "  attached by rule 2");
        (agent.tenant, agent.late_ms) = (Some("acme".to_owned()), Some(35));
        let late = "  attached by rule 2, tenant acme; late: what it did in up to 35 ms before is \
                    not known";
        assert_eq!(line(&agent), late);
        agent.attached_by = Some("command".to_owned());
        assert!(line(&agent).starts_with("  tenant acme"));
    }

    #[test]
    fn other_traffic_is_summed_up_in_a_line() {
        let kind = |path: &str, exchanges| OtherTraffic {
            host: Some("api.test".to_owned()),
            method: "GET".to_owned(),
            path: path.to_owned(),
            rpc_method: None,
            unmetered: None,
            exchanges,
            request_bytes: 1000,
            response_bytes: 2000,
            status: Some(200),
        };
        let mut agent = sample::agent("web");
        agent.other = vec![kind("/users/{id}", 7), kind("/", 1)];
        let text = shown(|out| agents(out, &PIPE, std::slice::from_ref(&agent)));
        let line =
            "  other traffic: 8 exchanges of 2 kinds, 6.0 kB; most: GET api.test/users/{id} (7)";
        assert_eq!(text.lines().nth(2), Some(line));
        let written = serde_json::to_value(&agent).expect("is JSON");
        assert_eq!(written["other"][0]["path"], "/users/{id}");
        assert!(written["other"][0].get("unmetered").is_none());
    }

    #[test]
    fn no_agents_says_what_to_do() {
        assert!(shown(|out| agents(out, &PIPE, &[])).contains("turnpike attach"));
    }

    #[test]
    fn workflows_are_listed_by_the_beginning_of_their_ids() {
        let list = [sample::workflow(0xaa << 56).summary, sample::workflow(1).summary];
        insta::assert_snapshot!(shown(|out| workflows(out, &PIPE, &list)), @r"
        WORKFLOW      AGENT     STATE  CALLS  TOOLS    IN  OUT   TOOK  STARTED
        aa0000000000  research  done       2      2  1.7k  390  4.2 s  2023-11-14T22:13:20.000000Z
        000000000000  research  done       2      2  1.7k  390  4.2 s  2023-11-14T22:13:20.000000Z
        ");
    }

    #[test]
    fn a_terminal_shows_how_long_ago_something_was() {
        let now = sample::START.after(Micros(150_000_000));
        let screen = Screen { color: false, columns: Some(80), now };
        let text = shown(|out| workflows(out, &screen, &[sample::workflow(1).summary]));
        assert!(text.contains("2 min ago"), "{text}");
    }

    #[test]
    fn the_status_is_a_few_plain_lines() {
        let status_now = Status { pid: 12, ..sample::status() };
        insta::assert_snapshot!(shown(|out| status(out, &PIPE, &status_now)), @r"
        state    ready
        gateway  daemon 0.1.0, pid 12
        started  2023-11-14T22:13:20.000000Z
        agents   1
        boot id  00ff
        ");
    }

    #[test]
    fn the_status_tells_of_bounds_that_were_hit_and_of_egress_rules() {
        let bound = |name: &str, hits| Bound {
            name: name.into(),
            limit: Some(8192),
            unit: Unit::Count,
            in_use: None,
            hits,
        };
        let rule = |rule: &str, allowed, denied| EgressRule {
            rule: rule.into(),
            allowed,
            denied,
            would_deny: 0,
            exceeded: 0,
        };
        let status_now = Status {
            pid: 12,
            ledger: Some(Kept {
                directory: "/s/ledger".into(),
                journal_bytes: 10,
                unwritten: 3,
                problem: Some("no space".to_owned()),
            }),
            bounds: vec![bound("connections", 0), bound("connections_per_agent", 3)],
            egress: vec![rule("allow host=github.com", 2, 0), rule("deny", 0, 7)],
            estimates: model::Estimates {
                calls: 3,
                by_size: 0,
                models: vec![model::EstimatedModel {
                    model: "gpt\n".to_owned(),
                    input: Accuracy { samples: 16, error_permille: 47 },
                    output: Accuracy { samples: 9, error_permille: 120 },
                }],
            },
            ..sample::status()
        };
        let text = shown(|out| status(out, &PIPE, &status_now));
        let told: Vec<&str> = text.lines().skip(5).collect();
        assert_eq!(
            told,
            [
                "budgets are not kept  no space (3 records so far)",
                "bound connections_per_agent (8.2k) hit  3",
                "estimates of gpt\\n  off by 4.7 % of input, 12.0 % of output, in 16 calls",
                "egress 1  allow host=github.com  allowed: 2",
                "egress 2  deny  denied: 7",
            ]
        );
    }
}
