use super::*;
use crate::call::Invocation;

impl Traffic {
    pub(super) fn invoke(&mut self, name: &str, arguments: u128) -> Placement {
        self.wait(1);
        let invocation = Invocation {
            dialect: Dialect::Mcp,
            operation: Operation::ExecuteTool,
            tool: Some(name.into()),
            arguments: Some(arguments),
            rpc_id: None,
            signals: Vec::new(),
        };
        self.lineage.place_tool(self.now, &invocation)
    }

    fn made(&mut self, call: &Placement, outcome: &Outcome) -> Completion {
        let from = call.parents.first().copied();
        self.lineage.finish_tool(call.workflow, call.step, from, outcome)
    }
}

fn done() -> Outcome {
    Outcome {
        answer: Answer { complete: true, ..Answer::default() },
        status: Some(200),
        failure: None,
    }
}

#[test]
fn a_tool_call_that_a_model_asked_for_is_that_step() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0", "call_1"]);
    let (model, end) = traffic.turn(&[user("a")], &plan);
    // Both are equal: each is made once.
    let made = [(); 2].map(|()| traffic.invoke("search", 0));
    assert_eq!(made.each_ref().map(|it| it.step), steps(&end)[..]);
    for placement in &made {
        assert_eq!(placement.workflow, model.workflow);
        assert_eq!((placement.trace, placement.session), (model.trace, model.session));
        assert_eq!((&placement.parents, placement.opens_workflow), (&vec![model.step], false));
        assert_eq!(placement.kind, StepKind::Tool);
        let [evidence] = placement.evidence[..] else { panic!("{placement:?}") };
        assert_eq!(evidence.kind, EvidenceKind::ToolArguments);
        assert_eq!(evidence.from_step_id, Some(model.step));
        assert!(evidence.confidence.get() > 0.9);
        let end = traffic.made(placement, &done());
        assert_eq!((end.kind, end.state), (StepKind::Tool, State::Active), "the model waits");
    }
    let third = traffic.invoke("search", 0);
    assert!(third.opens_workflow && third.workflow != model.workflow);
    // What the model is told then are the results of the same steps.
    let results = [result("call_0", "r"), result("call_1", "r")];
    let next = traffic.ask(&join(&[&[user("a"), plan], &results]));
    assert_eq!(next.answered, steps(&end));
}

#[test]
fn another_tool_other_arguments_or_a_result_make_another_call() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    let (model, _) = traffic.turn(&[user("a")], &plan);
    for (name, arguments) in [("search", 1), ("searc", 0), ("fetch", 0)] {
        let other = traffic.invoke(name, arguments);
        assert!(other.opens_workflow, "{name} {arguments}");
        assert_ne!(other.session, model.session);
    }
    traffic.ask(&[user("a"), plan, result("call_0", "r")]);
    assert!(traffic.invoke("search", 0).opens_workflow, "it had its result");
}

#[test]
fn a_call_of_its_own_ends_its_workflow() {
    let mut traffic = Traffic::new();
    let failed = |outcome: &Outcome| {
        let mut traffic = Traffic::new();
        let alone = traffic.invoke("search", 0);
        traffic.made(&alone, outcome).state
    };
    assert_eq!(failed(&done()), State::Done);
    assert_eq!(failed(&Outcome { status: Some(500), ..Outcome::default() }), State::Failed);
    let gone = Some(Failure::ClientGone);
    assert_eq!(
        failed(&Outcome { failure: gone, status: Some(200), ..Outcome::default() }),
        State::Failed
    );
    let mut error = done();
    error.answer.error = Some("-32602".into());
    assert_eq!(failed(&error), State::Failed);
    assert_ne!(traffic.invoke("a", 0).workflow, traffic.invoke("a", 0).workflow);
}

#[test]
fn of_equal_calls_the_one_that_waits_longest_is_made_unless_it_looks_abandoned() {
    let mut traffic = Traffic::new();
    let (one, _) = traffic.turn(&[user("a")], &calls("plan", &["x"]));
    let (other, _) = traffic.turn(&[user("b")], &calls("plan", &["y"]));
    let first = traffic.invoke("search", 0);
    assert_eq!(first.workflow, one.workflow);
    assert!(first.confidence.get() <= 0.5, "either may be meant");
    let second = traffic.invoke("search", 0);
    assert_eq!(second.workflow, other.workflow);
    assert!(second.confidence.get() > 0.9, "it is the only one left");

    let (_, _) = traffic.turn(&[user("c")], &calls("plan", &["z"]));
    traffic.wait(120_000);
    let (fresh, _) = traffic.turn(&[user("d")], &calls("plan", &["w"]));
    assert_eq!(traffic.invoke("search", 0).workflow, fresh.workflow);
}

#[test]
fn a_call_that_failed_or_wants_more_is_made_again() {
    let mut wants_more = done();
    wants_more.answer.finish_reasons.push("input_required".into());
    let unauthorised = Outcome { status: Some(401), ..Outcome::default() };
    for first in [wants_more, unauthorised] {
        let mut traffic = Traffic::new();
        let (_, end) = traffic.turn(&[user("a")], &calls("plan", &["x"]));
        let tries = [first, done()].map(|outcome| {
            let call = traffic.invoke("search", 0);
            traffic.made(&call, &outcome);
            call.step
        });
        assert_eq!(tries, [steps(&end)[0]; 2]);
        assert!(traffic.invoke("search", 0).opens_workflow, "it is made");
    }
}

#[test]
fn another_agent_is_called_in_a_workflow_of_its_own() {
    let mut traffic = Traffic::new();
    traffic.turn(&[user("a")], &calls("plan", &["x"]));
    let invocation = Invocation {
        dialect: Dialect::A2a,
        operation: Operation::InvokeAgent,
        tool: None,
        arguments: None,
        rpc_id: None,
        signals: Vec::new(),
    };
    assert!(traffic.lineage.place_tool(traffic.now, &invocation).opens_workflow);
}
