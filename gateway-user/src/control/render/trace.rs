//! One workflow with its steps.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use super::{
    Color, Screen, lists, number,
    table::{Align, Cell, Column, Table},
    tree::{self, Node},
};
use crate::call::{
    CallKind, CancelCause, CancelOutcome, CancelRequest, Corrected, Decision, Evidence,
    EvidenceKind, RetryReason, Ruling, SideEffects, State, Step, StepId, StepKind, Usage, Was,
    Workflow, WorkflowSummary,
};

/// A line for the workflow, then its steps as a tree; `why` adds what each was placed by.
pub fn trace(
    out: &mut dyn Write,
    screen: &Screen,
    workflow: &Workflow,
    why: bool,
) -> io::Result<()> {
    write_summary(out, screen, &workflow.summary)?;
    if workflow.steps.is_empty() {
        return Ok(());
    }
    let active = workflow.summary.state == State::Active;
    let here: HashSet<StepId> = workflow.steps.iter().map(|step| step.step_id).collect();
    let mut table = Table::new(&COLUMNS);
    for node in tree::arrange(&workflow.steps) {
        let step = node.step;
        table.row(vec![
            label(&node, active),
            Cell::new(&step.usage.as_ref().map(usage).unwrap_or_default()),
            Cell::new(&step.usd.map(number::usd).unwrap_or_default()),
            Cell::new(&step.ttft_ms.map(number::duration).unwrap_or_default()),
            Cell::new(&step.duration_ms.map(number::duration).unwrap_or_default()),
            Cell::default()
                .and(if why { short(step) } else { String::new() }.as_str(), Color::Faint),
            notes(&node, active),
        ]);
        if why {
            for evidence in &step.evidence {
                table.note(reason(&node, evidence, &here));
            }
            for correction in &step.corrections {
                table.note(corrected(&node, correction, screen));
            }
        }
    }
    table.write(out, screen)
}

/// Which workflow it is and how it stands; then what it has spent.
fn write_summary(
    out: &mut dyn Write,
    screen: &Screen,
    workflow: &WorkflowSummary,
) -> io::Result<()> {
    let totals = &workflow.totals;
    let took = number::duration(totals.wall_ms);
    let title = Cell::default()
        .and("workflow ", Color::Faint)
        .and(&lists::short(workflow.workflow_id), Color::Strong)
        .and("  ", Color::Plain)
        .and(&workflow.agent.name, Color::Strong)
        .and("  ", Color::Plain)
        .append(lists::state(workflow.state))
        .and(&format!("  {took}  started {}", screen.time(workflow.started_at)), Color::Plain);
    let cached = Some(totals.cache_read_tokens);
    let usd = totals.usd.map(|usd| format!(", {}", number::usd(usd)));
    let unpriced = Some(totals.unpriced_calls).filter(|calls| *calls > 0);
    let unpriced =
        unpriced.map(|calls| format!(" and {} without a price", number::of(calls, "call")));
    let spent = Cell::new(&format!(
        "{}, {}, {}{}{}",
        number::of(totals.model_calls, "model call"),
        number::of(totals.tool_calls, "tool call"),
        tokens(totals.input_tokens, totals.output_tokens, cached, " tokens"),
        usd.unwrap_or_default(),
        unpriced.unwrap_or_default(),
    ));
    for line in [title, spent] {
        writeln!(out, "{}", line.paint(screen, screen.columns.unwrap_or(usize::MAX)).0)?;
    }
    Ok(())
}

/// The step's place, its kind, and the model or tool.
fn label(node: &Node<'_>, active: bool) -> Cell {
    let step = node.step;
    let (mark, color) = match outcome(step, active) {
        Outcome::Ended => ("●", Color::Good),
        Outcome::Running => ("○", Color::Busy),
        Outcome::Unfinished => ("○", Color::Faint),
        Outcome::Failed => ("✗", Color::Bad),
    };
    let kind_color = match step.kind {
        StepKind::Planner | StepKind::Worker | StepKind::Final => Color::Strong,
        StepKind::Tool => Color::Tool,
        StepKind::Utility => Color::Plain,
    };
    Cell::default()
        .and(&node.lead, Color::Faint)
        .and(mark, color)
        .and(" ", Color::Plain)
        .and(kind(step.kind), kind_color)
        .and(" ", Color::Plain)
        .and(callee(step), Color::Plain)
}

const fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Planner => "planner",
        StepKind::Worker => "worker",
        StepKind::Tool => "tool",
        StepKind::Final => "final",
        StepKind::Utility => "utility",
    }
}

/// The model that answered, the tool that was called, or the host.
fn callee(step: &Step) -> &str {
    let model = step.response_model.as_deref().or(step.request_model.as_deref());
    let tool = step.tool.as_ref().map(|tool| &*tool.name);
    let named = match step.call {
        CallKind::Model => model.or(tool),
        CallKind::Tool | CallKind::Other => tool.or(model),
    };
    named.or(step.host.as_deref()).unwrap_or_default()
}

/// `1.2k → 340 (800 cached)`; estimated figures with a tilde.
fn usage(usage: &Usage) -> String {
    let about = if usage.estimated { "~" } else { "" };
    about.to_owned() + &tokens(usage.input, usage.output, usage.cache_read, "")
}

fn tokens(input: u64, output: u64, cached: Option<u64>, unit: &str) -> String {
    let cached = cached.filter(|cached| *cached > 0);
    let cached = cached.map(|cached| format!(" ({} cached)", number::count(cached)));
    let (input, output) = (number::count(input), number::count(output));
    format!("{input} → {output}{unit}{}", cached.unwrap_or_default())
}

enum Outcome {
    Running,
    /// The workflow ended before the step did.
    Unfinished,
    Failed,
    Ended,
}

fn outcome(step: &Step, active: bool) -> Outcome {
    let answered = step.status.is_none_or(|status| status < 400);
    if !answered {
        Outcome::Failed
    } else if !step.settled {
        if active { Outcome::Running } else { Outcome::Unfinished }
    } else if step.call == CallKind::Model && step.status.is_none() {
        Outcome::Failed
    } else {
        Outcome::Ended
    }
}

/// What is out of the ordinary.
fn notes(node: &Node<'_>, active: bool) -> Cell {
    let step = node.step;
    let mut notes = Vec::new();
    match outcome(step, active) {
        Outcome::Running => notes.push(("running".to_owned(), Color::Busy)),
        Outcome::Unfinished => notes.push(("unfinished".to_owned(), Color::Busy)),
        Outcome::Failed if step.status.is_none() => {
            notes.push(("no answer".to_owned(), Color::Bad));
        }
        _ if step.cancel.is_some() => {}
        Outcome::Ended if step.call == CallKind::Model && step.finish_reasons.is_empty() => {
            notes.push(("no end seen".to_owned(), Color::Busy));
        }
        Outcome::Failed | Outcome::Ended => {}
    }
    if let Some(cancel) = &step.cancel {
        notes.push((ended_by(cancel.cause).to_owned(), Color::Bad));
        if cancel.upstream_closed_ms.is_none() {
            notes.push(("its answer was read on for a retry".to_owned(), Color::Plain));
        } else if cancel.generation_may_continue == Some(true) {
            notes.push(("the model may have gone on".to_owned(), Color::Busy));
        }
        notes.extend(cancel.cancel_request.as_ref().map(requested));
    }
    if let Some(status) = step.status.filter(|status| *status != 200) {
        let color = if status < 400 { Color::Plain } else { Color::Bad };
        notes.push((format!("HTTP {status}"), color));
    }
    if let Some(retry) = &step.retry {
        let text = format!("retry {}: {}", retry.attempt, cause(retry.reason));
        notes.push((text, Color::Busy));
        if retry.replayed {
            notes.push(("replayed".to_owned(), Color::Plain));
        }
        let SideEffects { tokens_spent, output_delivered, tool_run } = retry.side_effects;
        let done = [
            (tool_run, "its tool had run"),
            (output_delivered, "some of its answer had come"),
            // Else that goes without saying.
            (tokens_spent && !output_delivered, "its tokens were spent"),
        ];
        let done = done.into_iter().filter(|(done, _)| *done);
        notes.extend(done.map(|(_, what)| (what.to_owned(), Color::Bad)));
    }
    notes.extend(step.policy.iter().map(ruled));
    if let Some(tokens) = step.withheld_tokens {
        notes.push((format!("{} held back", number::of(tokens, "token")), Color::Busy));
    }
    if step.unpriced {
        notes.push(("no price known".to_owned(), Color::Faint));
    }
    if let Some(parts) = step.uncounted_parts {
        notes.push((format!("{} not counted", number::of(parts, "non-text part")), Color::Faint));
    }
    let others = step.parent_step_ids.len().saturating_sub(1);
    if others > 0 && !node.joins {
        let plural = if others == 1 { "" } else { "s" };
        notes.push((format!("+{others} parent{plural}"), Color::Faint));
    }
    let mut cell = Cell::default();
    for (at, (text, color)) in notes.iter().enumerate() {
        cell = cell.and(if at == 0 { "" } else { ", " }, Color::Plain).and(text, *color);
    }
    cell
}

/// What a rule said of it.
fn ruled(ruling: &Ruling) -> (String, Color) {
    let (what, color) = match ruling.decision {
        Decision::Deny if &*ruling.rule == Ruling::ON_RETRY => ("refused by", Color::Bad),
        Decision::WouldDeny if &*ruling.rule == Ruling::ON_RETRY => {
            ("would be refused by", Color::Busy)
        }
        Decision::Deny if matches!(&*ruling.rule, Ruling::KILL | Ruling::STATE) => {
            ("refused by the", Color::Bad)
        }
        Decision::Deny => ("refused by budget", Color::Bad),
        Decision::WouldDeny => ("would be refused by budget", Color::Busy),
        Decision::Clamp => ("answer bounded by", Color::Busy),
        Decision::Cut => ("answer ended by budget", Color::Bad),
        Decision::WouldCut => ("answer would be ended by budget", Color::Busy),
    };
    (format!("{what} {}", ruling.rule), color)
}

/// What came of the gateway's own request that it be ended.
fn requested(request: &CancelRequest) -> (String, Color) {
    let (text, color) = match request.outcome {
        CancelOutcome::Pending => ("asking its server to stop", Color::Busy),
        CancelOutcome::Acknowledged => ("its server was asked to stop", Color::Plain),
        CancelOutcome::Unknown => ("its server knew nothing of it any more", Color::Plain),
        CancelOutcome::Refused => ("its server refused to stop", Color::Bad),
        CancelOutcome::Failed => ("its server could not be asked to stop", Color::Bad),
    };
    (text.to_owned(), color)
}

const fn ended_by(cause: CancelCause) -> &'static str {
    match cause {
        CancelCause::Kill => "killed",
        CancelCause::Budget => "ended by a budget",
        CancelCause::Deadline => "ended, since its time was over",
        CancelCause::Loop => "ended as a loop",
        CancelCause::Policy => "ended by a rule",
        CancelCause::ClientGone => "its client left",
        CancelCause::ParentCancelled => "ended with the tool call that it was made for",
        CancelCause::AgentExited => "ended, since its agent had exited",
        CancelCause::GatewayEnding => "ended with the gateway",
    }
}

const fn cause(reason: RetryReason) -> &'static str {
    match reason {
        RetryReason::RateLimit => "rate limit",
        RetryReason::Overloaded => "overloaded",
        RetryReason::Timeout => "timeout",
        RetryReason::Auth => "credentials",
        RetryReason::ConnReset => "connection lost",
        RetryReason::StreamTruncated => "answer cut short",
        RetryReason::ClientAbort => "client gave up",
        RetryReason::FallbackModel => "another model",
        RetryReason::Rejected => "rejected",
        RetryReason::ContentInvalid => "answer of no use",
    }
}

/// One piece of evidence, under its step; `here` are the steps of the workflow.
fn reason(node: &Node<'_>, evidence: &Evidence, here: &HashSet<StepId>) -> Cell {
    let is_tool = node.step.call == CallKind::Tool;
    let fact = match evidence.kind {
        EvidenceKind::ToolCallId if is_tool => "it was asked for in the answer of",
        EvidenceKind::ToolCallId => "the tool call's id comes from",
        EvidenceKind::AnswerEcho => "the history holds the answer of",
        EvidenceKind::HistoryPrefix => "the history goes on from",
        EvidenceKind::ToolArguments => "the tool and its arguments were asked for by",
        EvidenceKind::UrlFetched => "the URL that was fetched is named in a tool call of",
        EvidenceKind::ProcessCommand => "a process ran the command that was asked for by",
        EvidenceKind::ProcessTree => "it was made by a process that was started for",
        EvidenceKind::ResponseId => "it names the response of",
        EvidenceKind::ConversationId => "it names a conversation, whose last answer is that of",
        EvidenceKind::SessionId => "its client names the session of",
        EvidenceKind::TraceId => "its client names the trace of",
        EvidenceKind::SameRequest => "the same request was sent before as",
        EvidenceKind::ArgumentPassed => "it begins with an argument of",
        EvidenceKind::AnswerPassed => "it begins with the answer of",
        EvidenceKind::AnswerReturned => "a tool's result is the answer of",
        EvidenceKind::WishQuoted => "it begins with what the user said in",
        EvidenceKind::Time => "it came a moment after",
        EvidenceKind::NewHistory => "nothing seen before leads here",
    };
    let from = evidence.from_step_id.map(|id| {
        let elsewhere = if here.contains(&id) { "" } else { ", in another workflow" };
        format!(" {}{elsewhere}", beginning(&id.to_string()))
    });
    let text =
        format!("{fact}{} (confidence {:.2})", from.unwrap_or_default(), evidence.confidence.get());
    Cell::default()
        .and(&node.below, Color::Faint)
        .and("because ", Color::Faint)
        .and(&text, Color::Faint)
}

/// What was said of the step before, under it.
fn corrected(node: &Node<'_>, correction: &Corrected, screen: &Screen) -> Cell {
    let ids = |ids: &[StepId]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.iter().map(|id| beginning(id)).collect::<Vec<_>>().join(", ")
    };
    let was = match &correction.was {
        Was::Kind(was) => format!("it was taken for a {} step", kind(*was)),
        Was::ParentStepIds(parents) if parents.is_empty() => "it had no parent".to_owned(),
        Was::ParentStepIds(parents) => format!("it was put after {}", ids(parents)),
        Was::WorkflowId(id) => format!("it was put into workflow {}", beginning(&id.to_string())),
    };
    Cell::default()
        .and(&node.below, Color::Faint)
        .and("corrected ", Color::Faint)
        .and(&format!("at {}: before, {was}", screen.time(correction.at)), Color::Faint)
}

fn short(step: &Step) -> String {
    beginning(&step.step_id.to_string()).to_owned()
}

fn beginning(id: &str) -> &str {
    id.get(..lists::SHORT_ID_DIGITS).unwrap_or(id)
}

const COLUMNS: [Column; 7] = [
    Column { title: "STEP", align: Align::Left, flexible: true },
    Column { title: "TOKENS", align: Align::Left, flexible: false },
    Column { title: "COST", align: Align::Right, flexible: false },
    Column { title: "FIRST", align: Align::Right, flexible: false },
    Column { title: "TOOK", align: Align::Right, flexible: false },
    Column { title: "ID", align: Align::Left, flexible: false },
    Column { title: "NOTES", align: Align::Left, flexible: false },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Cancel, Confidence, Micros, NanoUsd, Retry, Timestamp, UpstreamTold},
        control::sample,
    };

    const PIPE: Screen = Screen { color: false, columns: None, now: Timestamp(0) };

    fn shown(screen: &Screen, workflow: &Workflow, why: bool) -> String {
        let mut out = Vec::new();
        trace(&mut out, screen, workflow, why).expect("a Vec takes it all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_workflow_is_a_line_and_a_tree() {
        insta::assert_snapshot!(shown(&PIPE, &sample::workflow(0xaa << 56), false), @r"
        workflow aa0000000000  research  done  4.2 s  started 2023-11-14T22:13:20.000000Z
        2 model calls, 2 tool calls, 1.7k → 390 tokens (800 cached)
        STEP              TOKENS                    FIRST   TOOK
        ● planner gpt-4o  500 → 50                 340 ms  2.1 s
        ├─● tool search                                    12 ms
        ├─● tool fetch                                     12 ms
        ● final gpt-4o    1.2k → 340 (800 cached)  340 ms  2.1 s
        ");
    }

    #[test]
    fn the_evidence_stands_under_each_step() {
        insta::assert_snapshot!(shown(&PIPE, &sample::workflow(1), true), @r"
        workflow 000000000000  research  done  4.2 s  started 2023-11-14T22:13:20.000000Z
        2 model calls, 2 tool calls, 1.7k → 390 tokens (800 cached)
        STEP              TOKENS                    FIRST   TOOK  ID
        ● planner gpt-4o  500 → 50                 340 ms  2.1 s  000000010000
        │ because nothing seen before leads here (confidence 1.00)
        ├─● tool search                                    12 ms  000000020000
        ├─● tool fetch                                     12 ms  000000030000
        ● final gpt-4o    1.2k → 340 (800 cached)  340 ms  2.1 s  000000040000
          because the tool call's id comes from 000000030000 (confidence 1.00)
        ");
    }

    #[test]
    fn what_a_step_of_another_workflow_shows_is_said_to_be_there() {
        let mut workflow = sample::workflow(1);
        let evidence = |kind, from| Evidence::new(kind, Confidence::new(0.97), Some(StepId(from)));
        workflow.steps[0].evidence = vec![evidence(EvidenceKind::AnswerEcho, 0xbb << 56)];
        let planner = workflow.steps[0].step_id.0;
        workflow.steps[1].evidence = vec![evidence(EvidenceKind::ToolCallId, planner)];
        let text = shown(&PIPE, &workflow, true);
        let because: Vec<&str> = text.lines().filter(|line| line.contains("because")).collect();
        insta::assert_snapshot!(because.join("\n"), @r"
        │ because the history holds the answer of bb0000000000, in another workflow (confidence 0.97)
        │   because it was asked for in the answer of 000000010000 (confidence 0.97)
          because the tool call's id comes from 000000030000 (confidence 1.00)
        ");
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_said() {
        let mut workflow = sample::workflow(1);
        workflow.summary.state = State::Active;
        workflow.steps.truncate(1);
        let mut failed = sample::model(5, StepKind::Planner, &[1]);
        failed.status = Some(429);
        let mut retry = sample::model(6, StepKind::Planner, &[1]);
        retry.retry = Some(Retry {
            of_step_id: failed.step_id,
            reason: RetryReason::RateLimit,
            attempt: 1,
            side_effects: SideEffects::default(),
            replayed: false,
        });
        let mut broken = sample::model(7, StepKind::Planner, &[]);
        broken.status = None;
        let mut cut = sample::model(9, StepKind::Planner, &[7]);
        cut.finish_reasons.clear();
        let mut running = sample::tool(8, "search", &[6]);
        running.settled = false;
        running.duration_ms = None;
        workflow.steps.extend([failed, retry, broken, running, cut]);
        insta::assert_snapshot!(shown(&PIPE, &workflow, false), @r"
        workflow 000000000000  research  active  4.2 s  started 2023-11-14T22:13:20.000000Z
        2 model calls, 2 tool calls, 1.7k → 390 tokens (800 cached)
        STEP                TOKENS     FIRST   TOOK  NOTES
        ├─● planner gpt-4o  500 → 50  340 ms  2.1 s
        │ ✗ planner gpt-4o  500 → 50  340 ms  2.1 s  HTTP 429
        │ ● planner gpt-4o  500 → 50  340 ms  2.1 s  retry 1: rate limit
        │ ○ tool search                              running
        └─✗ planner gpt-4o  500 → 50  340 ms  2.1 s  no answer
          ● planner gpt-4o  500 → 50  340 ms  2.1 s  no end seen
        ");
        workflow.summary.state = State::Failed;
        assert!(shown(&PIPE, &workflow, false).contains("unfinished"));
    }

    #[test]
    fn what_it_cost_is_said_where_it_is_known() {
        let mut workflow = sample::workflow(1);
        workflow.summary.totals.usd = Some(NanoUsd(1_230_456));
        workflow.summary.totals.unpriced_calls = 1;
        workflow.steps[0].usd = Some(NanoUsd(1_230_456));
        workflow.steps[3].unpriced = true;
        workflow.steps[3].policy = vec![Ruling::new("daily".into(), Decision::WouldDeny)];
        workflow.steps[3].uncounted_parts = Some(2);
        workflow.steps[0].policy = vec![
            Ruling::new(Ruling::ON_RETRY.into(), Decision::WouldDeny),
            Ruling::new("daily".into(), Decision::Cut),
        ];
        workflow.steps[0].withheld_tokens = Some(7);
        workflow.steps[1].cancel = Some(Box::new(Cancel {
            cause: CancelCause::Kill,
            reason: None,
            requested_at: sample::START,
            upstream_closed_ms: Some(Micros(7)),
            bytes_after_cancel: 0,
            generation_may_continue: Some(true),
            upstream_told: Some(UpstreamTold::CancelRequest),
            cleanup_ms: Some(Micros(8)),
            cancel_request: Some(CancelRequest {
                outcome: CancelOutcome::Refused,
                status: Some(503),
                after_ms: Some(Micros(9)),
            }),
        }));
        workflow.steps[2].policy = vec![Ruling::new(Ruling::KILL.into(), Decision::Deny)];
        insta::assert_snapshot!(shown(&PIPE, &workflow, false), @r"
        workflow 000000000000  research  done  4.2 s  started 2023-11-14T22:13:20.000000Z
        2 model calls, 2 tool calls, 1.7k → 390 tokens (800 cached), $0.0012 and 1 call without a price
        STEP              TOKENS                      COST   FIRST   TOOK  NOTES
        ● planner gpt-4o  500 → 50                 $0.0012  340 ms  2.1 s  would be refused by on_retry, answer ended by budget daily, 7 tokens held back
        ├─● tool search                                             12 ms  killed, the model may have gone on, its server refused to stop
        ├─● tool fetch                                              12 ms  refused by the kill
        ● final gpt-4o    1.2k → 340 (800 cached)           340 ms  2.1 s  would be refused by budget daily, no price known, 2 non-text parts not counted
        ");
    }

    #[test]
    fn names_from_outside_can_t_steer_the_terminal() {
        let mut workflow = sample::workflow(1);
        workflow.summary.agent.name = "a\u{1b}[2J".to_owned();
        workflow.steps[0].response_model = Some("gpt\r\n\u{9b}31m".into());
        workflow.steps[1].tool.as_mut().expect("a tool").name = "x".repeat(100_000);
        let text = shown(&PIPE, &workflow, false);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("gpt\\r\\n\\u{9b}31m") && text.contains("a\\u{1b}[2J"), "{text}");
        assert!(text.len() < 5_000, "a name is bounded");
    }

    #[test]
    fn a_narrow_terminal_is_kept_to() {
        let now = sample::START.after(Micros(200_000_000));
        let mut workflow = sample::workflow(1);
        workflow.steps[0].response_model = Some("a-model-with-quite-a-long-name".into());
        let screen = Screen { color: false, columns: Some(66), now };
        let text = shown(&screen, &workflow, false);
        assert!(text.lines().all(|line| line.chars().count() <= 66), "{text}");
        insta::assert_snapshot!(text, @r"
        workflow 000000000000  research  done  4.2 s  started 3 min ago
        2 model calls, 2 tool calls, 1.7k → 390 tokens (800 cached)
        STEP                        TOKENS                    FIRST   TOOK
        ● planner a-model-with-qu…  500 → 50                 340 ms  2.1 s
        ├─● tool search                                              12 ms
        ├─● tool fetch                                               12 ms
        ● final gpt-4o              1.2k → 340 (800 cached)  340 ms  2.1 s
        ");
    }

    #[test]
    fn colour_is_there_only_when_asked_for() {
        let screen = Screen { color: true, ..PIPE };
        assert!(shown(&screen, &sample::workflow(1), false).contains("\u{1b}[32m●\u{1b}[0m"));
        assert!(!shown(&PIPE, &sample::workflow(1), false).contains('\u{1b}'));
    }
}
