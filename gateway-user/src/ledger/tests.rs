//! What a ledger allows and refuses. That no order of calls overspends is shown by the simulation in
//! the tests' own crate.

use super::*;
use crate::{
    call::{Micros, NanoUsd, SessionId, Usage, WorkflowId},
    limits,
};

fn limited(of: &[(Dimension, u64)]) -> Limits {
    let amounts = of.iter().fold(Amounts::MOST, |sum, (of, most)| sum.with(*of, *most));
    Limits { amounts, ..Limits::default() }
}

fn budget(scope: Scope, limits: Limits) -> Budget {
    Budget::new(scope.as_str(), scope, limits)
}

fn standing(ledger: &Ledger, workflow: u64) -> Standing {
    let payers = ledger.payers("research".into(), Some("acme".into()));
    Standing { payers, session: SessionId(workflow / 10), workflow: WorkflowId(workflow) }
}

const fn order(input: u64, output: Option<u64>) -> Order {
    Order {
        input,
        output,
        choices: 1,
        price: Some(Price { input: NanoUsd(0), output: NanoUsd(0) }),
    }
}

fn ask(input: u64, output: Option<u64>) -> Ask<'static> {
    Ask::model(order(input, output), true)
}

fn reported(input: u64, output: u64) -> Spending<'static> {
    let usage = Usage { input, output, ..Usage::default() };
    let amounts = Amounts::of_model(&usage, NanoUsd(0));
    Spending { amounts, tools: &[], certainty: Certainty::Reported }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + seconds * 1_000_000)
}

#[test]
fn of_many_calls_at_once_those_that_fit_are_made() {
    let limits = limited(&[(Dimension::OutputTokens, 1000)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let standing = standing(&ledger, 1);
    let granted: Vec<_> = (0..200)
        .filter_map(|_| ledger.reserve(at(0), &standing, &ask(10, Some(100))).ok())
        .collect();
    assert_eq!(granted.len(), 10);
    for granted in granted {
        assert_eq!(granted.output, Some(100));
        ledger.settle(at(1), granted.reservation, &reported(10, 100));
    }
    let denied = ledger.reserve(at(2), &standing, &ask(10, Some(100))).expect_err("nothing left");
    assert_eq!((denied.how, denied.spent, denied.held), (Denial::Exceeded, 1000, 0));
    let text = denied.to_string();
    assert!(
        text.contains("budget workflow allows workflow 0000000000000001 1000 output"),
        "{text}"
    );
}

#[test]
fn a_call_that_asks_for_more_than_is_left_is_given_that() {
    let limits = limited(&[(Dimension::OutputTokens, 1000)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Agent, limits)]);
    let standing = standing(&ledger, 1);
    let first = ledger.reserve(at(0), &standing, &ask(10, Some(900))).expect("fits");
    let second = ledger.reserve(at(0), &standing, &ask(10, None)).expect("with what is left");
    assert_eq!(second.output, Some(100));
    // Nothing useful is left, as long as those are in flight.
    let denied = ledger.reserve(at(0), &standing, &ask(10, None)).expect_err("nothing left");
    assert_eq!((denied.how, denied.held), (Denial::InFlight, 1000));
    ledger.settle(at(1), first.reservation, &reported(10, 5));
    let third = ledger.reserve(at(1), &standing, &ask(10, None)).expect("there is room again");
    assert_eq!(third.output, Some(895));
    let (_, _) = (second.reservation, third.reservation);
}

#[test]
fn dollars_bound_the_answer_too_and_all_answers_together() {
    let limits = limited(&[(Dimension::Usd, 1_000_000)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let standing = standing(&ledger, 1);
    // 400 000 for the input, and 1000 for each token of output.
    let price = Price { input: NanoUsd(400_000), output: NanoUsd(1_000_000_000) };
    let order = Order { choices: 4, price: Some(price), ..order(10, None) };
    let granted = ledger.reserve(at(0), &standing, &Ask::model(order, true)).expect("fits");
    assert_eq!(granted.output, Some(150));
    let balance = ledger.balances().next().expect("an account");
    assert_eq!(balance.held[Dimension::Usd], 1_000_000);
    let unpriced = Order { price: None, ..order };
    let denied = ledger.reserve(at(0), &standing, &Ask::model(unpriced, true)).expect_err("denied");
    assert!(denied.to_string().contains("give it a [[price]]"), "{denied}");
    ledger.settle(at(0), granted.reservation, &reported(0, 0));
}

#[test]
fn who_was_stopped_may_go_on_with_what_was_spent() {
    let mut ledger =
        Ledger::new(vec![budget(Scope::Agent, limited(&[(Dimension::OutputTokens, 100)]))]);
    let standing = standing(&ledger, 1);
    let agent = Holder::Agent(standing.payers.agent().into());
    let granted = ledger.reserve(at(0), &standing, &ask(0, Some(60))).expect("fits");
    ledger.settle(at(1), granted.reservation, &reported(0, 95));
    let denied = ledger.reserve(at(2), &standing, &ask(0, Some(60))).expect_err("too much");
    assert_eq!(denied.how, Denial::Exceeded);
    let denied = ledger.reserve(at(3), &standing, &ask(0, Some(5))).expect_err("stopped");
    assert_eq!(denied.how, Denial::Stopped);
    assert!(ledger.resume(at(4), &agent) && !ledger.resume(at(4), &agent));
    // What fits is made, what does not stops it again.
    let granted = ledger.reserve(at(5), &standing, &ask(0, Some(5))).expect("fits");
    ledger.settle(at(6), granted.reservation, &reported(0, 5));
    let denied = ledger.reserve(at(7), &standing, &ask(0, Some(5))).expect_err("spent");
    assert_eq!((denied.how, denied.spent), (Denial::Exceeded, 100));
}

#[test]
fn a_budget_that_comes_back_goes_on_with_its_accounts() {
    let own = || vec![budget(Scope::Agent, limited(&[(Dimension::OutputTokens, 100)]))];
    let mut ledger = Ledger::new(Vec::new());
    ledger.add(own());
    let payers = ledger.payers("a".into(), None);
    let standing = standing(&ledger, 1);
    let held = ledger.reserve(at(0), &standing, &ask(0, Some(60))).expect("fits");
    // Its agent is let go while a call is in flight, and attached again, twice.
    ledger.retire(&["agent".into()]);
    ledger.add(own());
    ledger.add(own());
    assert_eq!(ledger.payers("a".into(), None), payers);
    ledger.settle(at(1), held.reservation, &reported(0, 60));
    let granted = ledger.reserve(at(2), &standing, &ask(0, Some(60))).expect("what is left");
    assert_eq!(granted.output, Some(40));
    ledger.settle(at(3), granted.reservation, &reported(0, 0));
}

#[test]
fn every_budget_above_a_call_holds_it() {
    let scopes = [Scope::Workflow, Scope::Session, Scope::Agent, Scope::Tenant, Scope::Node];
    for tight in scopes {
        let most = |scope| if scope == tight { 2 } else { 100 };
        let limits = |scope| limited(&[(Dimension::ModelCalls, most(scope))]);
        let budgets = scopes.map(|scope| budget(scope, limits(scope)));
        let mut ledger = Ledger::new(budgets.into());
        let standing = standing(&ledger, 1);
        let mut reserve = || ledger.reserve(at(0), &standing, &ask(1, Some(1)));
        let held = [reserve().expect("fits"), reserve().expect("fits")];
        assert_eq!(&*reserve().expect_err("denied").budget, tight.as_str());
        drop(held.map(|granted| granted.reservation));
        assert!(ledger.balances().all(|balance| balance.held[Dimension::ModelCalls] == 2));
    }
}

#[test]
fn a_holder_that_met_a_limit_is_stopped_until_it_is_reset() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let [own, other] = [1, 2].map(|workflow| standing(&ledger, workflow));
    let granted = ledger.reserve(at(0), &own, &ask(1, Some(100))).expect("fits");
    ledger.settle(at(1), granted.reservation, &reported(1, 90));
    let denied = ledger.reserve(at(2), &own, &ask(1, Some(50)));
    assert_eq!(denied.expect_err("less than is useful is left").how, Denial::Exceeded);
    let denied = ledger.reserve(at(3), &own, &ask(1, Some(1))).expect_err("stopped");
    assert_eq!(denied.how, Denial::Stopped);
    assert!(denied.to_string().contains("turnpike budget reset"), "{denied}");
    assert!(ledger.reserve(at(3), &other, &ask(1, Some(50))).is_ok());
    let exceeded = ledger.take_events().into_iter().filter(|event| {
        matches!(event, Event::Exceeded { action: OnExceed::Deny, enforced: true, .. })
    });
    assert_eq!(exceeded.count(), 1);
    let why = Why::default;
    let holder = Holder::Workflow(WorkflowId(1));
    assert!(ledger.reset(at(4), &holder, Some("another"), why()).is_none());
    let reset = ledger.reset(at(4), &holder, None, why()).expect("it has spent something");
    assert_eq!(reset.budgets, [Name::from("workflow")]);
    assert_eq!(ledger.resets().collect::<Vec<_>>(), [&reset]);
    assert!(ledger.reserve(at(5), &own, &ask(1, Some(50))).is_ok());
}

#[test]
fn where_nothing_is_enforced_it_is_only_told() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let warn = Budget { on_exceed: OnExceed::Warn, ..budget(Scope::Agent, limits.clone()) };
    for (budget, enforced) in [(warn, true), (budget(Scope::Workflow, limits), false)] {
        let mut ledger = Ledger::new(vec![budget]);
        let standing = standing(&ledger, 1);
        for _ in 0..3 {
            let ask = Ask { enforced, ..ask(1, Some(80)) };
            let granted = ledger.reserve(at(0), &standing, &ask).expect("it may");
            assert_eq!(granted.output, None);
            ledger.settle(at(0), granted.reservation, &reported(1, 80));
        }
        let ask = Ask { enforced, ..ask(1, None) };
        let granted = ledger.reserve(at(0), &standing, &ask).expect("it may");
        let denied = granted.would_deny.expect("it is told");
        assert_eq!((denied.spent, denied.most), (240, 100));
        let events = ledger.take_events();
        let exceeded = events.iter().filter(|event| matches!(event, Event::Exceeded { .. }));
        assert_eq!(exceeded.count(), 1, "{events:?}");
        ledger.settle(at(0), granted.reservation, &reported(1, 1));
    }
}

#[test]
fn thresholds_are_told_once_each() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let standing = standing(&ledger, 1);
    let mut percents = Vec::new();
    for output in [10, 45, 1, 34, 10] {
        let granted = ledger.reserve(at(0), &standing, &ask(1, Some(output))).expect("fits");
        ledger.settle(at(0), granted.reservation, &reported(1, output));
        percents.extend(ledger.take_events().into_iter().map(|event| match event {
            Event::Threshold { percent, .. } => percent,
            Event::Exceeded { .. } => unreachable!("not more than allowed"),
        }));
    }
    assert_eq!(percents, [50, 80, 100]);
}

#[test]
fn tools_are_counted_when_a_model_emits_them_and_once() {
    let limits = Limits {
        tools: vec![("delete_*".parse().expect("a pattern"), 2)],
        ..limited(&[(Dimension::ToolCalls, 3)])
    };
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let own = standing(&ledger, 1);
    let tool = |name, is_counted| Ask { what: Wanted::Tool { name, is_counted }, ..ask(0, None) };
    let granted = ledger.reserve(at(0), &own, &ask(1, Some(1))).expect("fits");
    let tools = ["read".into(), "delete_row".into()];
    ledger.settle(at(0), granted.reservation, &Spending { tools: &tools, ..reported(1, 1) });
    // The model's own calls are counted already.
    let granted = ledger.reserve(at(0), &own, &tool("delete_row", true)).expect("it is counted");
    let nothing = Spending { amounts: Amounts::ZERO, ..reported(0, 0) };
    ledger.settle(at(0), granted.reservation, &nothing);
    // One that no model asked for.
    let granted = ledger.reserve(at(0), &own, &tool("delete_all", false)).expect("the third");
    ledger.settle(at(0), granted.reservation, &nothing);
    let balance = ledger.balances().next().expect("an account");
    assert_eq!((balance.spent[Dimension::ToolCalls], balance.tools), (3, &[2][..]));
    let other = standing(&ledger, 2);
    let held = [(); 2].map(|()| ledger.reserve(at(0), &other, &tool("delete_all", false)));
    assert!(held.iter().all(Result::is_ok));
    let denied = ledger.reserve(at(0), &other, &tool("delete_all", false)).expect_err("the third");
    assert_eq!((denied.how, denied.limit), (Denial::InFlight, Limit::Tool(0)));
    assert!(ledger.reserve(at(0), &other, &tool("read", false)).is_ok());
}

#[test]
fn depth_fan_out_concurrency_and_loops_have_their_limits() {
    let limits = Limits {
        concurrent_calls: Some(2),
        depth: Some(2),
        fan_out: Some(3),
        repeats: Some(1),
        ..Limits::default()
    };
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let mut refused = |workflow, asks: &[Ask<'_>]| {
        let standing = standing(&ledger, workflow);
        let all = asks.iter().map(|ask| ledger.reserve(at(0), &standing, ask));
        let last = all.last().expect("some");
        last.err().map(|denied| (denied.limit, denied.how))
    };
    let plain = ask(1, Some(1));
    let deep = |depth| Ask { depth, ..plain.clone() };
    let sub = |number| Ask { sub_plan: Some(number), ..plain.clone() };
    let same = |is_retry| Ask { sameness: Some(7), is_retry, ..plain.clone() };
    assert_eq!(refused(1, &[deep(2)]), None);
    assert_eq!(refused(2, &[deep(3)]), Some((Limit::Depth, Denial::Exceeded)));
    assert_eq!(refused(3, &[sub(3)]), None);
    assert_eq!(refused(4, &[sub(4)]), Some((Limit::FanOut, Denial::Exceeded)));
    assert_eq!(refused(5, &[plain.clone(), plain.clone()]), None);
    let busy = Some((Limit::ConcurrentCalls, Denial::InFlight));
    assert_eq!(refused(6, &[plain.clone(), plain.clone(), plain.clone()]), busy);
    let mut ledger = Ledger::new(vec![budget(
        Scope::Workflow,
        Limits { repeats: Some(1), ..Limits::default() },
    )]);
    let own = standing(&ledger, 1);
    let mut again = |ask| ledger.reserve(at(0), &own, &ask).map(|_| ()).map_err(|d| d.limit);
    // The first, its retry, its one repeat, and one too many.
    let tries = [same(false), same(true), same(false), same(false)].map(&mut again);
    assert_eq!(tries, [Ok(()), Ok(()), Ok(()), Err(Limit::Repeats)]);
}

#[test]
fn a_workflow_whose_time_is_over_ends_without_a_call() {
    let limits = Limits { wall_clock: Some(Micros(10_000_000)), ..Limits::default() };
    let cancel = Budget { on_exceed: OnExceed::Cancel, ..budget(Scope::Workflow, limits) };
    let mut ledger = Ledger::new(vec![cancel]);
    let own = standing(&ledger, 1);
    assert_eq!(ledger.deadline(), None);
    let granted = ledger.reserve(at(0), &own, &ask(1, Some(1))).expect("in time");
    assert_eq!(ledger.deadline(), Some(at(10)));
    ledger.tick(at(9));
    assert_eq!(ledger.take_events(), []);
    ledger.tick(at(10));
    let events = ledger.take_events();
    let [Event::Exceeded { denied, action: OnExceed::Cancel, enforced: true }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (denied.limit, &denied.holder),
        (Limit::WallClock, &Holder::Workflow(WorkflowId(1)))
    );
    let denied = ledger.reserve(at(11), &own, &ask(1, Some(1))).expect_err("stopped");
    assert!(denied.to_string().contains("10.0 s wall_clock"), "{denied}");
    ledger.settle(at(11), granted.reservation, &reported(1, 1));
    ledger.reset(at(12), &Holder::Workflow(WorkflowId(1)), None, Why::default());
    assert_eq!(ledger.deadline(), Some(at(22)));
    assert!(ledger.reserve(at(12), &own, &ask(1, Some(1))).is_ok());
}

#[test]
fn a_clock_that_is_set_back_gives_nothing_back() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let hour = Window::Rolling(Micros(3_600_000_000));
    let mut ledger = Ledger::new(vec![Budget { window: hour, ..budget(Scope::Agent, limits) }]);
    let own = standing(&ledger, 1);
    let granted = ledger.reserve(at(5000), &own, &ask(1, Some(100))).expect("fits");
    ledger.settle(at(5000), granted.reservation, &reported(1, 100));
    assert!(ledger.reserve(at(0), &own, &ask(1, Some(100))).is_err());
    // It is not stopped for ever either.
    assert!(ledger.reserve(at(5000 + 3599), &own, &ask(1, Some(100))).is_err());
    assert!(ledger.reserve(at(5000 + 3661), &own, &ask(1, Some(100))).is_ok());
}

#[test]
fn corrections_take_along_what_is_held_and_what_was_spent() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let budgets = vec![budget(Scope::Workflow, limits.clone()), budget(Scope::Agent, limited(&[]))];
    let mut ledger = Ledger::new(budgets);
    let [one, two] = [1, 2].map(|workflow| standing(&ledger, workflow));
    let first = ledger.reserve(at(0), &one, &ask(1, Some(60))).expect("fits");
    ledger.settle(at(0), first.reservation, &reported(1, 60));
    let second = ledger.reserve(at(0), &one, &ask(1, Some(30))).expect("fits");
    ledger.transfer(at(1), (&one, &two), &reported(1, 60));
    assert!(!ledger.reassign(at(1), &second.reservation, &two));
    let figures = |ledger: &Ledger, holder: Holder| {
        let balance = ledger.balances().find(|balance| *balance.holder == holder).expect("one");
        let of = Dimension::OutputTokens;
        (balance.spent[of], balance.held[of])
    };
    assert_eq!(figures(&ledger, Holder::Workflow(WorkflowId(1))), (0, 0));
    assert_eq!(figures(&ledger, Holder::Workflow(WorkflowId(2))), (60, 30));
    assert_eq!(figures(&ledger, Holder::Agent("research".into())), (60, 30));
    ledger.settle(at(2), second.reservation, &reported(1, 30));
    ledger.merge(
        at(3),
        &two,
        &one,
        &Spending {
            amounts: reported(1, 60).amounts.plus(&reported(1, 30).amounts),
            ..reported(0, 0)
        },
    );
    assert_eq!(figures(&ledger, Holder::Workflow(WorkflowId(1))), (90, 0));
    assert_eq!(figures(&ledger, Holder::Workflow(WorkflowId(2))), (0, 0));
    assert_eq!(figures(&ledger, Holder::Agent("research".into())), (90, 0));
}

#[test]
fn who_has_left_a_stopped_workflow_is_stopped_where_it_went() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let [one, two] = [1, 2].map(|workflow| standing(&ledger, workflow));
    let granted = ledger.reserve(at(0), &one, &ask(1, Some(100))).expect("fits");
    ledger.settle(at(0), granted.reservation, &reported(1, 100));
    assert!(ledger.reserve(at(0), &one, &ask(1, Some(100))).is_err());
    let held = ledger.reserve(at(0), &two, &ask(1, Some(100))).expect("a workflow of its own");
    ledger.merge(at(1), &one, &two, &reported(1, 100));
    let denied = ledger.reserve(at(1), &two, &ask(1, Some(1))).expect_err("it is the same");
    assert_eq!(denied.how, Denial::Stopped);
    assert!(ledger.reassign(at(1), &held.reservation, &two));
}

#[test]
fn when_there_is_no_room_what_is_not_used_any_more_makes_it_and_nothing_else_does() {
    let limits = limited(&[(Dimension::OutputTokens, 100)]);
    let mut ledger = Ledger::new(vec![budget(Scope::Workflow, limits)]);
    let [idle, busy, stopped] = [1, 2, 3].map(|workflow| standing(&ledger, workflow));
    let granted = ledger.reserve(at(0), &idle, &ask(1, Some(1))).expect("fits");
    ledger.settle(at(0), granted.reservation, &reported(1, 1));
    let held = ledger.reserve(at(0), &busy, &ask(1, Some(1))).expect("fits");
    let granted = ledger.reserve(at(0), &stopped, &ask(1, Some(100))).expect("fits");
    ledger.settle(at(0), granted.reservation, &reported(1, 200));
    let age = limits::LEDGER_AGE.as_secs();
    for workflow in 4..=limits::LEDGER_ACCOUNTS as u64 {
        ledger.look(at(age), &standing(&ledger, workflow));
    }
    let further = standing(&ledger, 0);
    let denied = ledger.reserve(at(age), &further, &ask(1, Some(1))).expect_err("no room");
    assert_eq!((denied.limit, denied.how), (Limit::Accounts, Denial::InFlight));
    let kept = |ledger: &Ledger, workflow| {
        ledger.balances().any(|balance| *balance.holder == Holder::Workflow(WorkflowId(workflow)))
    };
    assert!(kept(&ledger, 1));
    assert!(ledger.reserve(at(age + 2), &further, &ask(1, Some(1))).is_ok());
    assert!(!kept(&ledger, 1) && kept(&ledger, 2) && kept(&ledger, 3));
    ledger.settle(at(0), held.reservation, &reported(1, 1));
}
