//! Values that flow into new conversations, and what stands beside them.

use super::*;
use crate::call::Value;

const WISH: &str = "Write a report on the harbour of the old town";
const TASK: &str = "Find out who built the harbour, and when";

fn wish(text: &str, messages: &[Message]) -> Prompt {
    Prompt { wish: Some(text.to_owned()), ..prompt(messages) }
}

/// A conversation of this kind of agent that begins so.
pub(super) fn begins(kind: &str, text: &str) -> Prompt {
    wish(text, &[system(kind), user(text)])
}

/// The conversation, longer by an answer and what follows it.
pub(super) fn on(prompt: &Prompt, answer: &Message, then: &[Message]) -> Prompt {
    let messages = [prompt.messages.clone(), vec![answer.clone()], then.to_vec()].concat();
    Prompt { messages, ..prompt.clone() }
}

/// An answer that calls a tool with each of these texts.
pub(super) fn delegates(tasks: &[&str]) -> (Message, Outcome) {
    let ids: Vec<String> = (0..tasks.len()).map(|at| format!("call_{at}")).collect();
    let message = calls("delegate", &ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut outcome = outcome(&message);
    for (call, task) in outcome.answer.tool_calls.iter_mut().zip(tasks) {
        call.values = Value::of(task).into_iter().collect();
    }
    (message, outcome)
}

/// An answer in text, with the values in it.
pub(super) fn tells(text: &str) -> Outcome {
    let mut outcome = outcome(&says(text));
    outcome.answer.values = Value::all_in(text);
    outcome
}

impl Traffic {
    pub(super) fn put(&mut self, prompt: &Prompt) -> Placement {
        self.wait(1);
        self.lineage.place(self.now, prompt)
    }

    pub(super) fn exchange(
        &mut self,
        prompt: &Prompt,
        outcome: &Outcome,
    ) -> (Placement, Completion) {
        let call = self.put(prompt);
        let end = self.end(&call, outcome);
        (call, end)
    }
}

fn kinds(corrections: &[Correction]) -> Vec<(StepId, StepKind)> {
    let kind = |it: &Correction| match it.change {
        Change::Kind(kind) => Some((it.step, kind)),
        Change::Place(_) => None,
    };
    corrections.iter().filter_map(kind).collect()
}

fn places(corrections: &[Correction]) -> Vec<(StepId, Vec<StepId>)> {
    let place = |it: &Correction| match &it.change {
        Change::Kind(_) => None,
        Change::Place(place) => Some((it.step, place.parents.clone())),
    };
    corrections.iter().filter_map(place).collect()
}

#[test]
fn what_a_tool_call_says_starts_a_sub_agent_whose_answer_is_the_result() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let (message, plan) = delegates(&[TASK]);
    let (lead, planned) = traffic.exchange(&root, &plan);
    let sub = begins("worker", &format!("Your task: {TASK}. Report back."));
    let look = calls("look", &["call_0"]);
    let (first, looked) = traffic.exchange(&sub, &outcome(&look));
    assert_eq!((first.workflow, first.session), (lead.workflow, lead.session));
    assert_eq!((first.parents, first.kind), (steps(&planned), StepKind::Worker));
    assert_eq!(first.evidence[0].kind, EvidenceKind::ArgumentPassed);
    assert!(!first.opens_workflow && first.confidence.get() > 0.9);
    let second = on(&sub, &look, &[result("call_0", "x")]);
    let (second, answered) = traffic.exchange(&second, &tells("Built by monks in 1200"));
    assert_eq!((second.parents, answered.kind), (steps(&looked), StepKind::Worker));

    let back = Message {
        content: says("Built by monks in 1200").content,
        ..result("call_0", "Built by monks in 1200")
    };
    let (last, end) = traffic.exchange(&on(&root, &message, &[back]), &tells("Here is the report"));
    assert_eq!((last.parents, end.kind), (steps(&planned), StepKind::Final));
    let returned = last.evidence.iter().find(|it| it.kind == EvidenceKind::AnswerReturned);
    assert_eq!(returned.and_then(|it| it.from_step_id), Some(second.step));
    assert_eq!(end.state, State::Done);
}

#[test]
fn of_equal_tasks_the_answers_tell_which_call_started_which() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let (message, plan) = delegates(&[TASK, TASK]);
    let (_, planned) = traffic.exchange(&root, &plan);
    let sub = begins("worker", TASK);
    let (one, _) = traffic.exchange(&sub, &tells("It was the monks"));
    let (other, _) = traffic.exchange(&sub, &tells("It was the king"));
    let [first, second] = steps(&planned)[..] else { panic!("two calls") };
    assert_eq!((one.parents, other.parents), (vec![first], vec![second]));
    let back = |id, text| Message { content: says(text).content, ..result(id, text) };
    let results = [back("call_0", "It was the king"), back("call_1", "It was the monks")];
    let last = traffic.put(&on(&root, &message, &results));
    let mut replaced = places(&last.corrections);
    replaced.sort();
    let mut expected = vec![(one.step, vec![second]), (other.step, vec![first])];
    expected.sort();
    assert_eq!(replaced, expected);
}

#[test]
fn a_user_who_says_what_a_tool_call_says_is_no_sub_agent() {
    let mut traffic = Traffic::new();
    let (_, plan) = delegates(&[TASK]);
    for text in [WISH, "Explain the tides to a child of five", "Plan a trip to the islands"] {
        traffic.exchange(&begins("lead", text), &plan);
    }
    let other = traffic.put(&begins("lead", TASK));
    assert!(other.opens_workflow && other.parents.is_empty());
    let sub = traffic.put(&begins("worker", TASK));
    assert!(!sub.opens_workflow && sub.confidence.get() < 0.6, "three calls could be meant");
    // What is short is said by many.
    let (_, plan) = delegates(&["in the old town"]);
    traffic.exchange(&begins("guide", "Where should we eat tonight?"), &plan);
    let long = "Tell me of all that there is to be seen by a walker in the old town, and how long it takes";
    assert!(traffic.put(&begins("walker", long)).opens_workflow);
}

#[test]
fn what_one_step_answers_and_another_goes_on_with_is_no_final_answer() {
    let mut traffic = Traffic::new();
    let outline = "First the history of the harbour, then its trade, then its future";
    let (first, end) = traffic.exchange(&begins("outline", WISH), &tells(outline));
    assert_eq!(end.kind, StepKind::Final);
    let second = traffic.put(&begins("write", &format!("Write this out: {outline}")));
    assert_eq!((second.workflow, &second.parents), (first.workflow, &vec![first.step]));
    assert_eq!(second.evidence[0].kind, EvidenceKind::AnswerPassed);
    assert_eq!(kinds(&second.corrections), [(first.step, StepKind::Planner)]);
}

#[test]
fn a_summary_that_opens_a_new_history_is_a_utility() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let look = calls("look", &["call_0"]);
    traffic.exchange(&root, &outcome(&look));
    let sum_up = on(&root, &look, &[result("call_0", "x"), user("Summarise all that was said")]);
    let summary = "The user wants a report on the harbour; the monks were found";
    let (summed, _) = traffic.exchange(&sum_up, &tells(summary));
    let anew = traffic.put(&begins("lead", &format!("<summary>{summary}</summary> Go on.")));
    assert_eq!((anew.workflow, &anew.parents), (summed.workflow, &vec![summed.step]));
    assert_eq!(kinds(&anew.corrections), [(summed.step, StepKind::Utility)]);
}

#[test]
fn a_title_stands_beside_whichever_comes_first() {
    let title = |text: &str| {
        let mut title = begins("Write a title", text);
        title.terms.max_output = Some(20);
        title
    };
    let mut traffic = Traffic::new();
    let main = traffic.put(&begins("lead", WISH));
    let beside = traffic.put(&title(&format!("The conversation: {WISH}")));
    assert_eq!((beside.workflow, beside.kind), (main.workflow, StepKind::Utility));
    assert!(beside.parents.is_empty() && !beside.opens_workflow);
    assert_eq!(beside.evidence[0].kind, EvidenceKind::WishQuoted);
    assert_eq!(traffic.end(&beside, &tells("The harbour of the town")).kind, StepKind::Utility);

    let mut traffic = Traffic::new();
    let beside = traffic.put(&title(WISH));
    let main = traffic.put(&begins("lead", WISH));
    assert_eq!(main.workflow, beside.workflow);
    assert_eq!(kinds(&main.corrections), [(beside.step, StepKind::Utility)]);
    traffic.wait(60_000);
    traffic.end(&main, &tells("Here is the report on the harbour"));
    traffic.wait(60_000);
    assert!(traffic.put(&title(WISH)).opens_workflow, "long after it is another user's");
}

#[test]
fn words_that_clients_put_before_every_wish_join_nothing() {
    let mut traffic = Traffic::new();
    let mut ask = |kind: &str, text: &str| {
        let environment =
            "<environment><shell>bash</shell> and what else is the same</environment>";
        let messages = [system(kind), user(environment), user(text)];
        let mut prompt = wish(environment, &messages);
        prompt.terms.latest = Some(text.to_owned());
        traffic.put(&prompt)
    };
    let first = ask("lead, at noon", WISH);
    let other = ask("lead, a minute later", TASK);
    assert!(other.opens_workflow && other.session != first.session);
    let quoting = ask("Write a title", WISH);
    assert_eq!(quoting.workflow, first.workflow);
}

#[test]
fn a_judge_of_an_answer_stands_beside_it() {
    let mut traffic = Traffic::new();
    let answer = "The harbour was built by monks, who traded in salt";
    let (main, _) = traffic.exchange(&begins("lead", WISH), &tells(answer));
    let mut judge = begins("Say yes or no", &format!("Is this an answer? {answer}"));
    judge.terms.max_output = Some(5);
    let judge = traffic.put(&judge);
    assert_eq!((judge.workflow, judge.kind), (main.workflow, StepKind::Utility));
    assert!(judge.parents.is_empty() && judge.corrections.is_empty());
}

#[test]
fn a_probe_belongs_to_what_follows_it() {
    let mut traffic = Traffic::new();
    let signals = vec![Signal { name: "session-id", value: "s".into() }];
    let named = |mut prompt: Prompt| {
        prompt.terms.signals.clone_from(&signals);
        prompt
    };
    let mut probe = named(begins("lead", "quota"));
    probe.terms.max_output = Some(1);
    let (probe, end) = traffic.exchange(&probe, &outcome(&says("I")));
    assert_eq!(end.kind, StepKind::Utility);
    traffic.wait(10_000);
    let main = traffic.put(&named(begins("lead", WISH)));
    assert_eq!((main.workflow, main.kind), (probe.workflow, StepKind::Planner));
    assert!(main.parents.is_empty() && !main.opens_workflow);
}

#[test]
fn a_call_that_came_before_the_end_of_the_last_one_is_put_right_by_it() {
    let mut traffic = Traffic::new();
    let look = calls("look", &["call_0", "call_1"]);
    let root = begins("lead", WISH);
    let first = traffic.put(&root);
    let results = [result("call_0", "x"), result("call_1", "y")];
    let hasty = traffic.put(&on(&root, &look, &results));
    assert_eq!(hasty.parents, [first.step]);
    let end = traffic.end(&first, &outcome(&look));
    assert_eq!(places(&end.corrections), [(hasty.step, steps(&end))]);
    // The same where two could be meant, and none was.
    let mut traffic = Traffic::new();
    let [one, other] = [(); 2].map(|()| traffic.put(&root));
    let hasty = traffic.put(&on(&root, &look, &results));
    assert!(hasty.opens_workflow);
    let end = traffic.end(&other, &outcome(&look));
    let [Correction { workflow, step, change: Change::Place(place) }] = &end.corrections[..] else {
        panic!("one correction: {:?}", end.corrections)
    };
    assert_eq!((*workflow, *step), (hasty.workflow, hasty.step));
    assert_eq!((place.workflow, place.session), (other.workflow, other.session));
    assert_eq!((&place.parents, &place.answered), (&steps(&end), &steps(&end)));
    assert_ne!(one.workflow, other.workflow);
}

#[test]
fn a_report_in_the_users_place_is_no_new_wish() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let act = says("Thought: look it up. Action: search");
    let (first, end) = traffic.exchange(&root, &outcome(&act));
    assert_eq!(end.kind, StepKind::Final);
    let mut next = on(&root, &act, &[user("Observation: monks")]);
    next.terms.latest = Some("Observation: monks".to_owned());
    let (second, _) = traffic.exchange(&next, &tells("The monks built it, long ago"));
    assert_eq!(second.workflow, first.workflow);
    assert_eq!(kinds(&second.corrections), [(first.step, StepKind::Planner)]);
    let mut third = on(&next, &says("The monks built it, long ago"), &[user("And the tower?")]);
    third.terms.latest = Some("And the tower?".to_owned());
    let third = traffic.put(&third);
    assert!(third.opens_workflow && third.session == first.session);
}

#[test]
fn a_fork_of_a_conversation_that_goes_on_is_a_worker() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let look = calls("look", &["call_0"]);
    traffic.exchange(&root, &outcome(&look));
    let goes_on = on(&root, &look, &[result("call_0", "x")]);
    let fork = on(&root, &look, &[result("call_0", "x"), user("You are a helper now")]);
    assert_eq!(traffic.put(&goes_on).kind, StepKind::Planner);
    assert_eq!(traffic.put(&fork).kind, StepKind::Worker);

    let mut traffic = Traffic::new();
    traffic.exchange(&root, &outcome(&look));
    let fork = traffic.put(&fork);
    let goes_on = traffic.put(&goes_on);
    assert_eq!((fork.kind, goes_on.kind), (StepKind::Planner, StepKind::Planner));
    assert_eq!(kinds(&goes_on.corrections), [(fork.step, StepKind::Worker)]);
}

#[test]
fn an_answer_is_found_again_when_the_history_before_it_is_cut() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let mut whole = root.clone();
    let mut ends = Vec::new();
    for round in 0..3 {
        let look = calls(&format!("look {round}"), &["call_0"]);
        ends.push(traffic.exchange(&whole, &outcome(&look)));
        whole = on(&whole, &look, &[result("call_0", &round.to_string())]);
    }
    let mut cut = whole.clone();
    cut.messages.drain(1..4);
    let call = traffic.put(&cut);
    let (first, (_, last)) = (&ends[0].0, &ends[2]);
    assert_eq!((call.workflow, call.parents), (first.workflow, steps(last)));
}

#[test]
fn instructions_that_change_part_no_conversation() {
    let mut traffic = Traffic::new();
    let transfer = calls("transfer", &["call_0"]);
    let (first, end) = traffic.exchange(&begins("desk", WISH), &outcome(&transfer));
    let messages = [system("expert"), user(WISH), transfer, result("call_0", "done")];
    let second = traffic.put(&wish(WISH, &messages));
    assert_eq!((second.workflow, second.parents), (first.workflow, steps(&end)));
}

#[test]
fn clients_that_count_would_have_counted() {
    let mut traffic = Traffic::new();
    let ask = |count| Prompt { client_retry: Some(count), ..begins("lead", WISH) };
    let failed = traffic.put(&ask(0));
    traffic.fail(&failed, 503);
    let again = traffic.put(&ask(1));
    assert!(again.retry.is_some());
    traffic.fail(&again, 503);
    let other = traffic.put(&ask(0));
    assert!(other.retry.is_none() && other.opens_workflow, "another user's");
    let last = traffic.put(&ask(2));
    assert_eq!(last.retry.map(|retry| retry.of_step_id), Some(failed.step));
}

#[test]
fn an_answer_of_no_use_is_asked_for_again() {
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let look = calls("look", &["call_0"]);
    traffic.exchange(&root, &outcome(&look));
    let next = on(&root, &look, &[result("call_0", "x")]);
    let (useless, _) = traffic.exchange(&next, &tells("no JSON at all"));
    let again = traffic.put(&next);
    let retry = again.retry.expect("a retry");
    assert_eq!((retry.of_step_id, retry.reason), (useless.step, RetryReason::ContentInvalid));
}

#[test]
fn how_deep_agents_are_nested_and_how_many_a_step_has_started_is_told() {
    let mut traffic = Traffic::new();
    let main = begins("planner", WISH);
    let (answer, outcome) = delegates(&[TASK, "Count the ships that lie in it in winter"]);
    let (first, _) = traffic.exchange(&main, &outcome);
    assert_eq!((first.depth, first.sub_plan), (1, None));
    let sub = begins("researcher", TASK);
    let deeper = "Look the year up in the archive of the town";
    let (_, asks) = delegates(&[deeper]);
    let (second, _) = traffic.exchange(&sub, &asks);
    assert_eq!((second.depth, second.sub_plan), (2, Some(1)));
    let (third, _) = traffic.exchange(&begins("archivist", deeper), &tells("In 1843."));
    assert_eq!((third.depth, third.sub_plan), (3, Some(1)));
    let other = begins("researcher", "Count the ships that lie in it in winter");
    let (fourth, _) = traffic.exchange(&other, &tells("Twelve."));
    assert_eq!((fourth.depth, fourth.sub_plan), (2, Some(2)));
    let results = [result("call_0", "1843"), result("call_1", "12")];
    let back = traffic.put(&on(&main, &answer, &results));
    assert_eq!((back.depth, back.sub_plan), (1, None));
}
