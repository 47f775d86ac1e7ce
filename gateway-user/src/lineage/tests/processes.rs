use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::call::{Act, Command, Mention, ProcessEvent, Value};

/// The agent's own process.
const AGENT: u32 = 100;

impl Traffic {
    pub(super) fn ask_of(&mut self, pid: u32, messages: &[Message]) -> Placement {
        self.wait(1);
        self.lineage.place_of(Some(pid), self.now, &prompt(messages))
    }

    /// Asks as a process, and is answered with calls of these commands, under ids from `0` on.
    pub(super) fn plan(
        &mut self,
        pid: u32,
        wish: &str,
        commands: &[&str],
    ) -> (Placement, Completion, Message) {
        let ids: Vec<String> = (0..commands.len()).map(|id| format!("{wish}{id}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let answer = calls("run", &ids);
        let mut outcome = outcome(&answer);
        for (call, command) in outcome.answer.tool_calls.iter_mut().zip(commands) {
            call.commands = Command::of_text(command).into_iter().collect();
            call.urls = Mention::all_in(command, false).collect();
        }
        let call = self.ask_of(pid, &[user(wish)]);
        let end = self.end(&call, &outcome);
        (call, end, answer)
    }

    fn happens(&mut self, pid: u32, act: Act) -> Vec<ToolRun> {
        self.wait(1);
        self.lineage.witness(&ProcessEvent { at: self.now, pid, act })
    }

    fn fork(&mut self, by: u32, pid: u32) -> Vec<ToolRun> {
        self.happens(pid, Act::Forked { by })
    }

    fn exec(&mut self, pid: u32, line: &str) -> Vec<ToolRun> {
        self.happens(pid, Act::Executed { command: Command::of_text(line) })
    }

    fn exit(&mut self, pid: u32) -> Vec<ToolRun> {
        self.happens(pid, Act::Exited)
    }

    /// Forks a process and has it run something.
    pub(super) fn start(&mut self, by: u32, pid: u32, line: &str) -> Vec<ToolRun> {
        let mut runs = self.fork(by, pid);
        runs.extend(self.exec(pid, line));
        runs
    }
}

fn is_in(call: &Placement, tool: StepId, model: &Placement) {
    assert_eq!((call.workflow, call.session), (model.workflow, model.session));
    assert_eq!((&call.parents, call.opens_workflow), (&vec![tool], false));
    let [evidence] = call.evidence[..] else { panic!("{call:?}") };
    assert_eq!((evidence.kind, evidence.from_step_id), (EvidenceKind::ProcessTree, Some(tool)));
}

#[test]
fn what_a_command_starts_belongs_to_the_tool_call_that_asked_for_it() {
    let mut traffic = Traffic::new();
    let (model, end, answer) = traffic.plan(AGENT, "a", &["python3 sub.py --n 3", "make test"]);
    let tool = steps(&end)[0];
    let began = traffic.start(AGENT, 101, "/bin/sh -c 'python3 sub.py --n 3'");
    let [run] = began[..] else { panic!("{began:?}") };
    assert_eq!((run.workflow, run.step, run.pid), (model.workflow, tool, 101));
    assert_eq!((run.stage, run.at), (Stage::Began, traffic.now));
    assert_eq!(run.evidence.kind, EvidenceKind::ProcessCommand);
    assert_eq!(run.evidence.from_step_id, Some(model.step));
    assert!(run.evidence.confidence.get() > 0.9);
    // Its children are its own, whatever they run.
    assert_eq!(traffic.start(101, 102, "python3 sub.py --n 3"), []);
    assert_eq!(traffic.start(102, 103, "make test"), []);

    let sub = traffic.ask_of(103, &[system("you are a worker"), user("b")]);
    is_in(&sub, tool, &model);
    assert_eq!(sub.kind, StepKind::Worker);
    assert!(sub.confidence.get() > 0.9);
    let end = traffic.answer(&sub, &says("c"));
    assert_eq!((end.kind, end.state), (StepKind::Worker, State::Active), "the tool call waits");
    let on = [system("you are a worker"), user("b"), says("c"), user("and d?")];
    let on = traffic.ask_of(103, &on);
    assert_eq!((on.workflow, on.kind), (model.workflow, StepKind::Worker));
    assert_eq!(on.parents, [sub.step], "values say more");
    traffic.answer(&on, &says("e"));

    assert_eq!((traffic.exit(103), traffic.exit(102)), (vec![], vec![]));
    let ended = traffic.exit(101);
    assert_eq!((ended[0].stage, ended[0].step, ended[0].at), (Stage::Ended, tool, traffic.now));
    let late = traffic.ask_of(103, &[user("its last words")]);
    is_in(&late, tool, &model);
    let results = [user("a"), answer, result("a0", "r"), result("a1", "r")];
    let next = traffic.ask_of(AGENT, &results);
    assert_eq!((next.workflow, next.kind), (model.workflow, StepKind::Planner));
}

#[test]
fn processes_that_are_told_of_before_the_answer_s_end_are_not_missed() {
    let mut traffic = Traffic::new();
    let model = traffic.ask_of(AGENT, &[user("a")]);
    traffic.start(AGENT, 101, "ls -l /tmp");
    let began = traffic.now;
    for other in ["env ls -l", "ls"] {
        traffic.exec(101, other);
    }
    traffic.exit(101);
    let ended = traffic.now;
    let mut outcome = outcome(&calls("run", &["x"]));
    outcome.answer.tool_calls[0].commands = Command::of_text("ls -l /tmp").into_iter().collect();
    let end = traffic.end(&model, &outcome);
    let runs: Vec<_> = end.runs.iter().map(|run| (run.step, run.stage, run.at)).collect();
    let tool = steps(&end)[0];
    assert_eq!(runs, [(tool, Stage::Began, began), (tool, Stage::Ended, ended)]);
}

#[test]
fn what_ran_before_the_model_was_asked_is_nobody_s() {
    let mut traffic = Traffic::new();
    traffic.start(AGENT, 101, "python3 sub.py");
    let (_, end, _) = traffic.plan(AGENT, "a", &["python3 sub.py"]);
    assert_eq!(end.runs, []);
    assert!(traffic.ask_of(101, &[user("b")]).opens_workflow);
}

#[test]
fn of_several_tool_calls_that_fit_each_is_carried_out_once() {
    let mut traffic = Traffic::new();
    let (_, one, _) = traffic.plan(AGENT, "a", &["make test", "make test", "make"]);
    let (_, other, _) = traffic.plan(AGENT + 50, "b", &["make test"]);
    let mut run = |by, pid| {
        let runs = traffic.start(by, pid, "make test");
        runs.first().map(|run| (run.step, run.evidence.confidence.get() > 0.9))
    };
    assert_eq!(run(AGENT + 50, 201), Some((steps(&other)[0], true)), "its own parent asked");
    assert_eq!(run(AGENT, 101), Some((steps(&one)[0], true)));
    assert_eq!(run(AGENT, 102), Some((steps(&one)[1], true)));
    assert_eq!(run(AGENT, 103), None, "one word is not enough");
}

#[test]
fn the_better_fit_and_the_fresher_one_are_taken() {
    let mut traffic = Traffic::new();
    let (_, old, _) = traffic.plan(AGENT, "a", &["python sub.py"]);
    traffic.wait(120_000);
    let note = "to write: first python sub.py then read";
    let (_, new, _) = traffic.plan(AGENT, "b", &[note, "python sub.py"]);
    let step = |runs: &[ToolRun]| runs.first().map(|run| run.step);
    assert_eq!(step(&traffic.start(AGENT, 101, "python sub.py")), Some(steps(&new)[1]));
    assert_eq!(step(&traffic.start(AGENT, 102, "python sub.py")), Some(steps(&old)[0]));
    let part = traffic.start(AGENT, 103, "python sub.py");
    assert_eq!(step(&part), Some(steps(&new)[0]));
    assert!(part[0].evidence.confidence.get() < 0.9);
}

#[test]
fn what_is_forked_while_one_tool_call_alone_waits_may_be_its_own() {
    let mut traffic = Traffic::new();
    let (model, end, answer) = traffic.plan(AGENT, "a", &["something else entirely"]);
    assert_eq!(traffic.start(AGENT, 101, "worker --serve"), []);
    traffic.fork(101, 102);
    let sub = traffic.ask_of(102, &[user("b")]);
    is_in(&sub, steps(&end)[0], &model);
    assert!((0.5..0.7).contains(&sub.confidence.get()));
    // Its command says more.
    let (_, second, _) = traffic.plan(AGENT + 1, "c", &["python3 sub.py"]);
    assert_eq!(traffic.exec(102, "python3 sub.py")[0].step, steps(&second)[0]);
    // Once the result is told, nothing waits.
    traffic.ask_of(AGENT, &[user("a"), answer, result("a0", "r")]);
    traffic.fork(AGENT, 103);
    assert!(traffic.ask_of(103, &[user("d")]).opens_workflow);
}

#[test]
fn what_is_forked_while_several_wait_or_none_has_for_long_is_nobody_s() {
    let mut traffic = Traffic::new();
    traffic.plan(AGENT, "a", &["one thing", "another thing"]);
    traffic.fork(AGENT, 101);
    assert!(traffic.ask_of(101, &[user("b")]).opens_workflow);
    traffic.plan(AGENT + 1, "c", &["a third thing"]);
    traffic.wait(61_000);
    traffic.fork(AGENT + 1, 102);
    traffic.fork(AGENT + 2, 103);
    for pid in [102, 103, 999] {
        assert!(traffic.ask_of(pid, &[user(&format!("{pid}"))]).opens_workflow);
    }
}

#[test]
fn a_fork_just_before_the_answer_s_end_counts_as_after_it() {
    let mut traffic = Traffic::new();
    traffic.fork(AGENT, 101);
    traffic.wait(1000);
    let model = traffic.ask_of(AGENT, &[user("a")]);
    traffic.fork(AGENT, 102);
    let end = traffic.answer(&model, &calls("run", &["x"]));
    is_in(&traffic.ask_of(102, &[user("b")]), steps(&end)[0], &model);
    assert!(traffic.ask_of(101, &[user("c")]).opens_workflow);
}

#[test]
fn a_tool_that_a_command_calls_belongs_to_it_and_one_that_was_asked_for_is_its_own_step() {
    let mut traffic = Traffic::new();
    let (model, end, _) = traffic.plan(AGENT, "a", &["python3 sub.py"]);
    traffic.start(AGENT, 101, "python3 sub.py");
    let invocation = |arguments| crate::call::Invocation {
        dialect: Dialect::Mcp,
        operation: Operation::ExecuteTool,
        tool: Some("search".into()),
        arguments: Some(arguments),
        rpc_id: None,
        signals: Vec::new(),
    };
    let inner = traffic.lineage.place_tool_of(Some(101), traffic.now, &invocation(7));
    is_in(&inner, steps(&end)[0], &model);
    assert_eq!(inner.kind, StepKind::Tool);
    // A process carries it out: nobody else does.
    assert_ne!(
        traffic.lineage.place_tool_of(None, traffic.now, &invocation(0)).step,
        steps(&end)[0]
    );
}

#[test]
fn what_values_say_counts_more_than_who_started_whom() {
    let mut traffic = Traffic::new();
    let task = "Find the oldest letter in the archive";
    let model = traffic.ask_of(AGENT, &[user("a")]);
    let mut outcome = outcome(&calls("run", &["x", "y"]));
    let [command, told] = &mut outcome.answer.tool_calls[..] else { panic!("two calls") };
    command.commands = Command::of_text("python3 sub.py").into_iter().collect();
    told.values = Value::of(task).into_iter().collect();
    let tools = steps(&traffic.end(&model, &outcome));
    assert_eq!(traffic.start(AGENT, 101, "python3 sub.py")[0].step, tools[0]);
    let mut told = prompt(&[system("you are a worker"), user(task)]);
    told.wish = Some(task.to_owned());
    let told = traffic.lineage.place_of(Some(101), traffic.now, &told);
    assert_eq!(
        (&told.parents, told.evidence[0].kind),
        (&vec![tools[1]], EvidenceKind::ArgumentPassed)
    );
    is_in(&traffic.ask_of(101, &[user("something else")]), tools[0], &model);
}

#[test]
fn the_same_program_that_runs_again_does_not_repeat_its_calls() {
    let mut traffic = Traffic::new();
    let (_, end, _) = traffic.plan(AGENT, "a", &["python3 sub.py", "python3 sub.py"]);
    let mut calls = Vec::new();
    for pid in [101, 102] {
        traffic.start(AGENT, pid, "python3 sub.py");
        let call = traffic.ask_of(pid, &[user("b")]);
        traffic.answer(&call, &says("c"));
        traffic.exit(pid);
        calls.push((call.parents, call.retry));
    }
    assert_eq!(calls, steps(&end).iter().map(|step| (vec![*step], None)).collect::<Vec<_>>());
    // One that failed it may have had another program try again.
    traffic.fork(AGENT, 103);
    let failed = traffic.ask_of(103, &[user("d")]);
    traffic.fail(&failed, 500);
    traffic.fork(AGENT, 104);
    let again = traffic.ask_of(104, &[user("d")]);
    assert_eq!(again.retry.map(|retry| retry.of_step_id), Some(failed.step));
}

#[test]
fn a_pid_that_is_given_again_is_another_process() {
    let mut traffic = Traffic::new();
    let (_, end, _) = traffic.plan(AGENT, "a", &["python3 sub.py", "b c"]);
    traffic.start(AGENT, 101, "python3 sub.py");
    // Its end was not seen.
    let missed = traffic.fork(1, 101);
    assert_eq!((missed[0].step, missed[0].stage), (steps(&end)[0], Stage::Ended));
    assert!(traffic.ask_of(101, &[user("b")]).opens_workflow);
    assert_eq!((traffic.exit(101), traffic.exit(101), traffic.exit(7)), (vec![], vec![], vec![]));
}

#[test]
fn the_ended_make_room_first_and_what_is_forgotten_is_counted() {
    let mut traffic = Traffic::new();
    let most = u32::try_from(limits::PROCESSES_PER_AGENT).expect("few");
    traffic.plan(AGENT, "a", &["python3 sub.py"]);
    traffic.start(AGENT, 101, "python3 sub.py");
    for pid in 1000..1000 + 2 * most {
        traffic.fork(1, pid);
        traffic.exit(pid);
    }
    assert_eq!(traffic.lineage.counters().processes_evicted, 0);
    assert!(!traffic.ask_of(101, &[user("b")]).opens_workflow, "it runs, and is known");
    for pid in 100_000..100_000 + 2 * most {
        traffic.fork(1, pid);
    }
    let [known, running, ended, _] = traffic.lineage.processes.size();
    assert_eq!((known, running, ended), (most as usize, most as usize, 0));
    assert!(traffic.lineage.counters().processes_evicted > 0);
    assert!(traffic.ask_of(101, &[user("c")]).opens_workflow);
    for wish in 0..=limits::COMMANDED_CALLS_PER_AGENT {
        traffic.plan(AGENT, &wish.to_string(), &["some command"]);
    }
    assert_eq!(traffic.lineage.processes.size()[3], limits::COMMANDED_CALLS_PER_AGENT);
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0_u32..12).prop_map(|by| Act::Forked { by }),
        "(ls|make|a b|sh -c ls)?"
            .prop_map(|line| Act::Executed { command: Command::of_text(&line) }),
        Just(Act::Exited),
    ]
}

proptest! {
    #[test]
    fn whatever_processes_do_each_tool_call_is_carried_out_once_and_ends_after_it_began(
        events in prop::collection::vec((0_u32..12, act(), any::<bool>()), 0..200),
    ) {
        let mut traffic = Traffic::new();
        let mut runs = Vec::new();
        for (number, (pid, act, asks)) in events.into_iter().enumerate() {
            if asks {
                let (_, end, _) = traffic.plan(pid, &number.to_string(), &["ls", "a b"]);
                runs.extend(end.runs);
            }
            runs.extend(traffic.happens(pid, act));
            let [known, running, ended, _] = traffic.lineage.processes.size();
            prop_assert_eq!(known, running + ended);
        }
        let mut stages: BTreeMap<StepId, Vec<Stage>> = BTreeMap::new();
        for run in runs {
            stages.entry(run.step).or_default().push(run.stage);
        }
        for stages in stages.values() {
            prop_assert!(matches!(stages[..], [Stage::Began] | [Stage::Began, Stage::Ended]));
        }
    }
}
