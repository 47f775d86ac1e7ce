//! An agent's processes, and the tool calls that they carry out: a model asks for a command, and a
//! process with that command line follows. What such a process calls, or one that it started, belongs
//! to the tool call.
//!
//! - A process that runs a **command** that a model asked for, and that no other runs yet, carries that
//!   tool call out: from then until it ends.
//! - A process that is **forked** by the one that got a model's answer, while exactly one tool call of
//!   that answer waits, may well belong to that tool call, too.
//! - Which of the two comes first, the answer's end or the process, is not known: answers are read
//!   after they went on their way. So each is compared with what came a little earlier of the other.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use crate::{
    call::{
        Act, Command, Confidence, Evidence, EvidenceKind, Likeness, ProcessEvent, SessionId,
        SpreadMap, StepId, Timestamp, WorkflowId,
    },
    limits,
};

use super::{
    Lineage, OpenedTool, Outcome, Placement,
    known::{Known, Part},
    place::{self, Put},
    returned::{Started, Starter, Under},
};

/// The number of a process in the order in which they were noticed. Unlike a pid it is never given
/// twice.
type Number = u64;

/// That a process carries out a tool call, or has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToolRun {
    pub workflow: WorkflowId,
    /// The tool call's.
    pub step: StepId,
    pub pid: u32,
    pub at: Timestamp,
    pub stage: Stage,
    pub evidence: Evidence,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Began,
    Ended,
}

/// The processes of an agent, and the tool calls that wait for some.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: BTreeMap<Number, Process>,
    next: Number,
    /// Those that run.
    by_pid: SpreadMap<u32, Number>,
    /// Those that have ended, the first one first.
    ended: VecDeque<Number>,
    /// Oldest first.
    calls: VecDeque<WaitingCall>,
    evicted: u64,
}

/// What is known of a process.
#[derive(Debug)]
struct Process {
    pid: u32,
    parent: Option<Number>,
    since: Timestamp,
    /// What it runs, and since when, after what it ran before: shells turn into what they are to run.
    runs: VecDeque<(Timestamp, Command)>,
    ended: Option<Timestamp>,
    /// What it belongs to, not because of its parent.
    role: Option<Role>,
}

/// The part that a process has in a tool call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Role {
    call: ToolStep,
    /// Whether it carries it out: its command line says so.
    carries_out: bool,
    confidence: Confidence,
}

/// A tool call that a model's answer opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ToolStep {
    /// As it was when the tool call was opened.
    workflow: WorkflowId,
    /// The model call that emitted it.
    from: StepId,
    step: StepId,
}

/// One that waits for its result.
#[derive(Debug)]
pub(super) struct WaitingCall {
    call: ToolStep,
    /// The process that got the answer.
    by: Option<u32>,
    /// When the model was asked, and when its answer had ended.
    asked: Timestamp,
    opened: Timestamp,
    commands: Vec<Command>,
    /// Whether a process carries it out.
    is_taken: bool,
}

/// How a process fits a tool call.
#[derive(Clone, Copy, Debug)]
struct Fit {
    rank: Rank,
    /// Since when it runs what fits.
    since: Timestamp,
    /// Whether no other tool call fits as well.
    is_sole: bool,
}

/// How well it does, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Whether the process comes of the one that got the answer.
    is_kin: bool,
    likeness: Likeness,
    is_fresh: bool,
}

impl Lineage {
    /// A process of the agent's has done something: which tool calls that begins or ends.
    pub fn witness(&mut self, event: &ProcessEvent) -> Vec<ToolRun> {
        let runs = self.processes.note(event);
        self.note_made(&runs);
        runs
    }

    /// The processes that run now and belong to tool calls of that session or workflow.
    #[must_use]
    pub fn tool_processes(&self, is_of: impl Fn(SessionId, WorkflowId) -> bool) -> Vec<u32> {
        let belongs = |number: Number| {
            let role = self.processes.ancestry(number).find_map(|(_, process)| process.role);
            let from = role.and_then(|role| self.memory.find(role.call.from));
            let from = from.and_then(|seq| self.memory.step(seq));
            let flow =
                from.and_then(|from| Some((self.memory.flow(from.workflow)?, from.workflow)));
            flow.is_some_and(|(flow, workflow)| is_of(flow.session, workflow))
        };
        let running = self.processes.by_pid.iter();
        running.filter(|(_, number)| belongs(**number)).map(|(pid, _)| *pid).collect()
    }

    /// Tool calls have been opened by an answer: which of them processes carry out already, or have.
    pub(super) fn expect(&mut self, calls: Vec<WaitingCall>) -> Vec<ToolRun> {
        let runs = self.processes.expect(calls);
        self.note_made(&runs);
        runs
    }

    /// As the first call of a conversation that a tool call has started.
    pub(super) fn put_in_tool(&mut self, pid: Option<u32>) -> Option<Put> {
        let call = self.processes.role(pid?)?.call;
        let placement = self.place_in_tool(pid)?;
        let (sure, under) = (placement.confidence, self.start_under(call));
        Some(Put { placement, part: Part::Nested, under, sure, covers: 0 })
    }

    /// As a call of what a tool call has started.
    pub(super) fn place_in_tool(&mut self, pid: Option<u32>) -> Option<Placement> {
        let Role { call, confidence, .. } = self.processes.role(pid?)?;
        let from = self.memory.find(call.from).and_then(|seq| self.memory.step(seq));
        let workflow = from.map_or(call.workflow, |from| from.workflow);
        let sure = from.map_or(confidence, |from| place::least(confidence, from.confidence));
        let because = Evidence::new(EvidenceKind::ProcessTree, confidence, Some(call.step));
        let placement = self.within(workflow, sure, vec![because])?;
        let under = Starter { step: call.step, from: call.from }.if_likely(sure);
        Some(Placement { parents: vec![call.step], under, ..placement })
    }

    /// The model call that comes next begins a conversation of that tool call.
    fn start_under(&mut self, call: ToolStep) -> Option<Under> {
        let this = self.memory.next();
        let seq = self.memory.find(call.from)?;
        let tools = &mut self.memory.step_mut(seq)?.tools;
        let at = tools.iter().position(|tool| tool.step == call.step)?;
        tools.get_mut(at)?.started = Some(Started::by(this));
        Some((seq, u16::try_from(at).ok()?))
    }

    /// Nobody else makes these calls.
    fn note_made(&mut self, runs: &[ToolRun]) {
        for run in runs {
            self.memory.set_made(run.step, run.evidence.from_step_id, true);
        }
    }
}

impl Processes {
    /// Processes, and tool calls, that were forgotten to make room while they mattered.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> [usize; 4] {
        [self.known.len(), self.by_pid.len(), self.ended.len(), self.calls.len()]
    }

    /// The tool calls have their results.
    pub(super) fn settle(&mut self, steps: &[StepId]) {
        if !steps.is_empty() {
            self.calls.retain(|waiting| !steps.contains(&waiting.call.step));
        }
    }

    fn note(&mut self, event: &ProcessEvent) -> Vec<ToolRun> {
        let ProcessEvent { at, pid, ref act } = *event;
        match act {
            Act::Forked { by } => self.fork(at, pid, *by).into_iter().collect(),
            Act::Executed { command } => self.execute(at, pid, command.clone()),
            Act::Exited => self.exit(at, pid).into_iter().collect(),
        }
    }

    /// That the process which had this pid before has ended, if that was not seen.
    fn fork(&mut self, at: Timestamp, pid: u32, by: u32) -> Option<ToolRun> {
        let parent = self.running(by, at);
        let missed = self.exit(at, pid);
        let child = self.enter(pid, Some(parent), at);
        let role = self.likely(by, at);
        if let Some(child) = self.known.get_mut(&child) {
            child.role = role;
        }
        missed
    }

    fn execute(&mut self, at: Timestamp, pid: u32, command: Option<Command>) -> Vec<ToolRun> {
        let number = self.running(pid, at);
        let Some(process) = self.known.get_mut(&number) else { return Vec::new() };
        process.runs.extend(command.map(|command| (at, command)));
        if process.runs.len() > limits::COMMANDS_PER_PROCESS {
            process.runs.pop_front();
        }
        self.take_up(number)
    }

    fn exit(&mut self, at: Timestamp, pid: u32) -> Option<ToolRun> {
        let number = self.by_pid.remove(&pid)?;
        self.ended.push_back(number);
        let process = self.known.get_mut(&number)?;
        process.ended = Some(at);
        process.run(Stage::Ended, at)
    }

    fn expect(&mut self, calls: Vec<WaitingCall>) -> Vec<ToolRun> {
        let (asked, opened) = match calls.first() {
            Some(first) => (first.asked, first.opened),
            None => return Vec::new(),
        };
        let by = calls.first().and_then(|first| first.by);
        self.calls.extend(calls);
        while self.calls.len() > limits::COMMANDED_CALLS_PER_AGENT {
            let forgotten = self.calls.pop_front();
            self.evicted += u64::from(forgotten.is_some_and(|call| !call.is_taken));
        }
        let earlier = |process: &Process| process.runs.back().is_some_and(|(at, _)| *at >= asked);
        let numbers: Vec<Number> = self.numbers(earlier);
        let runs = numbers.into_iter().flat_map(|number| self.take_up(number)).collect();
        let by_answered = by.and_then(|by| Some((by, *self.by_pid.get(&by)?)));
        if let Some((by, parent)) = by_answered {
            let lately = asked.0.max(opened.0.saturating_sub(READING_MICROS));
            for number in self.numbers(|it| it.parent == Some(parent) && it.since.0 >= lately) {
                let role = self.likely(by, opened);
                if let Some(process) = self.known.get_mut(&number) {
                    process.role = process.role.or(role);
                }
            }
        }
        runs
    }

    /// The part that a process has in a tool call, by itself or by whom it comes from. It may have
    /// ended since it called.
    fn role(&self, pid: u32) -> Option<Role> {
        let is_it = |number: &&Number| self.known.get(number).is_some_and(|it| it.pid == pid);
        let mut lately = self.ended.iter().rev().take(LATELY_ENDED);
        let number = self.by_pid.get(&pid).or_else(|| lately.find(is_it))?;
        self.ancestry(*number).find_map(|(_, process)| process.role)
    }

    /// The tool call that a process belongs to, if it belongs to one.
    pub(super) fn tool_step(&self, pid: u32) -> Option<StepId> {
        self.role(pid).map(|role| role.call.step)
    }

    /// Has a process carry out the tool call that its command line fits best, if it fits any and
    /// the process does not belong to one already.
    fn take_up(&mut self, number: Number) -> Vec<ToolRun> {
        let carries_out =
            |(_, process): (_, &Process)| process.role.is_some_and(|it| it.carries_out);
        if self.ancestry(number).any(carries_out) {
            return Vec::new();
        }
        let Some((place, fit)) = self.fitting(number) else { return Vec::new() };
        let Some(waiting) = self.calls.get_mut(place) else { return Vec::new() };
        waiting.is_taken = true;
        waiting.commands = Vec::new();
        let confidence = fit.confidence();
        let role = Role { call: waiting.call, carries_out: true, confidence };
        let Some(process) = self.known.get_mut(&number) else { return Vec::new() };
        process.role = Some(role);
        let began = process.run(Stage::Began, fit.since);
        let ended = process.ended.and_then(|at| process.run(Stage::Ended, at));
        began.into_iter().chain(ended).collect()
    }

    /// Where the tool call is among those that wait which a process's command line fits best, the
    /// one that waits longest first.
    fn fitting(&self, number: Number) -> Option<(usize, Fit)> {
        let open = self.calls.iter().enumerate().filter(|(_, waiting)| !waiting.is_taken);
        let fits: Vec<(usize, Fit)> =
            open.filter_map(|(place, waiting)| Some((place, self.fit(number, waiting)?))).collect();
        let best = fits.iter().map(|(_, fit)| fit.rank).max()?;
        let mut bests = fits.iter().filter(|(_, fit)| fit.rank == best);
        let (first, fit) = *bests.next()?;
        let from = |place: usize| self.calls.get(place).map(|waiting| waiting.call.from);
        // Equal calls of one answer are as good as one: whichever is made, is made.
        let is_sole = bests.all(|(other, _)| from(*other) == from(first));
        Some((first, Fit { is_sole, ..fit }))
    }

    /// How a process fits a tool call by what it runs, or ran, since the model was asked.
    fn fit(&self, number: Number, waiting: &WaitingCall) -> Option<Fit> {
        let process = self.known.get(&number)?;
        let since = process.runs.iter().filter(|(at, _)| *at >= waiting.asked);
        let alike = since.flat_map(|(at, own)| {
            let likenesses = waiting.commands.iter().filter_map(|asked| own.likeness(asked));
            likenesses.map(|likeness| (likeness, Reverse(*at)))
        });
        let (likeness, Reverse(since)) = alike.max()?;
        let by = waiting.by.and_then(|by| self.by_pid.get(&by));
        let is_kin = by.is_some_and(|by| self.ancestry(number).any(|(it, _)| it == *by));
        let is_fresh = since.since(waiting.opened).0 <= ABANDONED_MICROS;
        Some(Fit { rank: Rank { is_kin, likeness, is_fresh }, since, is_sole: true })
    }

    /// The part in a tool call of what this process forks now: it has had an answer, and one tool call
    /// alone of its own waits.
    fn likely(&self, by: u32, at: Timestamp) -> Option<Role> {
        let mut waiting = self.calls.iter().filter(|call| call.by == Some(by) && !call.is_taken);
        let only = waiting.next().filter(|_| waiting.next().is_none())?;
        let is_fresh = at.since(only.opened).0 <= ABANDONED_MICROS;
        is_fresh.then_some(Role {
            call: only.call,
            carries_out: false,
            confidence: Confidence::new(0.6),
        })
    }

    /// The process with this pid, which is noticed now if it was not before.
    fn running(&mut self, pid: u32, at: Timestamp) -> Number {
        let known = self.by_pid.get(&pid).copied();
        known.unwrap_or_else(|| self.enter(pid, None, at))
    }

    fn enter(&mut self, pid: u32, parent: Option<Number>, since: Timestamp) -> Number {
        while self.known.len() >= limits::PROCESSES_PER_AGENT {
            self.make_room();
        }
        let number = self.next;
        self.next += 1;
        self.by_pid.insert(pid, number);
        let process =
            Process { pid, parent, since, runs: VecDeque::new(), ended: None, role: None };
        self.known.insert(number, process);
        number
    }

    /// Forgets the process that ended first; if all run, the oldest.
    fn make_room(&mut self) {
        let ended = self.ended.pop_front();
        let number = ended.or_else(|| self.known.keys().next().copied());
        let Some(process) = number.and_then(|number| self.known.remove(&number)) else { return };
        if process.ended.is_none() {
            self.by_pid.remove(&process.pid);
        }
        self.evicted += u64::from(process.ended.is_none() || process.role.is_some());
    }

    /// A process and those that it comes from, nearest first.
    fn ancestry(&self, number: Number) -> impl Iterator<Item = (Number, &Process)> {
        let find = |number: Number| Some((number, self.known.get(&number)?));
        let line = std::iter::successors(find(number), move |(_, it)| find(it.parent?));
        line.take(limits::PROCESS_ANCESTORS)
    }

    /// Of those that were noticed last.
    fn numbers(&self, wanted: impl Fn(&Process) -> bool) -> Vec<Number> {
        let found = self.known.iter().filter(|(_, process)| wanted(process));
        found.map(|(number, _)| *number).collect()
    }
}

impl Process {
    /// What is to be told of it, if it carries out a tool call.
    fn run(&self, stage: Stage, at: Timestamp) -> Option<ToolRun> {
        let Role { call, confidence, .. } = self.role.filter(|role| role.carries_out)?;
        let kind = EvidenceKind::ProcessCommand;
        let evidence = Evidence { kind, confidence, from_step_id: Some(call.from) };
        Some(ToolRun {
            workflow: call.workflow,
            step: call.step,
            pid: self.pid,
            at,
            stage,
            evidence,
        })
    }
}

impl Fit {
    fn confidence(self) -> Confidence {
        let alike = match self.rank.likeness {
            Likeness::Same | Likeness::Whole => 0.95,
            Likeness::Part => 0.85,
            Likeness::Begins => 0.8,
        };
        let kin = if self.rank.is_kin { 1.0 } else { 0.8 };
        let doubt = if self.is_sole { 1.0 } else { 0.5 };
        Confidence::new(alike * kin * doubt)
    }
}

/// The tool calls of an answer that has ended, as processes are compared with them.
pub(super) fn waiting(
    known: &Known,
    at: Timestamp,
    tools: &[OpenedTool],
    outcome: &Outcome,
) -> Vec<WaitingCall> {
    let calls = tools.iter().zip(&outcome.answer.tool_calls);
    let waiting = calls.map(|(tool, asked)| WaitingCall {
        call: ToolStep { workflow: known.workflow, from: known.id, step: tool.step },
        by: known.pid,
        asked: known.asked_at,
        opened: at,
        commands: asked.commands.clone(),
        is_taken: false,
    });
    waiting.collect()
}

/// Processes, those that ended last, among which one that has called is looked for.
const LATELY_ENDED: usize = 64;
/// How long it may take to read the end of an answer after its client has: what was forked so long
/// before belongs to what it opened.
pub(super) const READING_MICROS: u64 = 100_000;
/// A tool call that nothing has carried out for this long is taken to be abandoned if a fresher one
/// waits too, and is not what a process without its command is for.
const ABANDONED_MICROS: u64 = 60_000_000;
