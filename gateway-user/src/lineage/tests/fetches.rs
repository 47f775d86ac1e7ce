use super::{values::begins, *};
use crate::call::{Mention, Url, Value};

const PAGE: &str = "https://docs.test/page?x=1";
const OTHER: &str = "http://docs.test:8080/";

/// The agent's own process.
const AGENT: u32 = 100;

fn url(text: &str) -> Url {
    Url::of(text).expect("a URL")
}

/// An answer with a tool call for each of these texts.
fn naming(name: &str, texts: &[&str]) -> (Message, Outcome) {
    let ids: Vec<String> = (0..texts.len()).map(|id| format!("{name}{id}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let answer = calls("fetch", &ids);
    let mut outcome = outcome(&answer);
    for (call, text) in outcome.answer.tool_calls.iter_mut().zip(texts) {
        call.arguments = u128::from(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        call.urls = Mention::all_in(text, false).collect();
    }
    (answer, outcome)
}

impl Traffic {
    /// Asks for a wish, and is answered with tool calls that say this.
    fn named(&mut self, wish: &str, texts: &[&str]) -> (Placement, Vec<StepId>, Message) {
        let (answer, outcome) = naming(wish, texts);
        let call = self.ask(&[user(wish)]);
        let end = self.end(&call, &outcome);
        (call, steps(&end), answer)
    }

    fn fetch(&mut self, text: &str) -> Option<Placement> {
        self.fetch_of(None, text)
    }

    fn fetch_of(&mut self, pid: Option<u32>, text: &str) -> Option<Placement> {
        self.wait(1);
        self.lineage.place_fetch(pid, self.now, url(text))
    }

    fn fetched(&mut self, text: &str) -> Placement {
        self.fetch(text).expect("a tool call names it")
    }

    /// It was answered with that status.
    fn responded(&mut self, fetch: &Placement, status: u16) -> Completion {
        let answer = Answer { complete: true, ..Answer::default() };
        let outcome = Outcome { answer, status: Some(status), failure: None };
        let from = fetch.parents.first().copied();
        self.lineage.finish_tool(fetch.workflow, fetch.step, from, &outcome)
    }
}

#[test]
fn a_url_that_a_tool_call_names_is_that_step_when_it_is_fetched() {
    let mut traffic = Traffic::new();
    let (model, opened, answer) = traffic.named("a", &[PAGE]);
    let fetch = traffic.fetched("HTTPS://docs.test:443/page?x=1#part");
    assert_eq!((fetch.workflow, fetch.step), (model.workflow, opened[0]));
    assert_eq!((fetch.trace, fetch.session), (model.trace, model.session));
    assert_eq!((&fetch.parents, fetch.opens_workflow), (&vec![model.step], false));
    assert_eq!(fetch.kind, StepKind::Tool);
    let [evidence] = fetch.evidence[..] else { panic!("{fetch:?}") };
    assert_eq!(evidence.kind, EvidenceKind::UrlFetched);
    assert_eq!(evidence.from_step_id, Some(model.step));
    assert!(evidence.confidence.get() > 0.9);
    let end = traffic.responded(&fetch, 200);
    assert_eq!((end.kind, end.state), (StepKind::Tool, State::Active), "the model waits");
    assert_eq!(traffic.fetch(PAGE), None, "it is made");
    let next = traffic.ask(&[user("a"), answer, result("a0", "r")]);
    assert_eq!((&next.parents, &next.answered), (&opened, &opened));
}

#[test]
fn what_nobody_named_is_no_step() {
    let mut traffic = Traffic::new();
    assert!(!traffic.lineage.awaits_fetches());
    assert_eq!(traffic.fetch(PAGE), None);
    let (_, _, answer) = traffic.named("a", &["docs.test", PAGE]);
    for other in [
        "http://docs.test/page?x=1",
        "https://docs.test/page",
        "https://docs.test/page?x=1&y=2",
        "https://docs.test/",
    ] {
        assert!(!traffic.lineage.awaits_fetch(url(other)));
        assert_eq!(traffic.fetch(other), None, "{other}");
    }
    assert!(traffic.lineage.awaits_fetch(url(PAGE)));
    traffic.ask(&[user("a"), answer, result("a0", "r"), result("a1", "r")]);
    assert_eq!(traffic.fetch(PAGE), None, "it has its result");
    assert_eq!(traffic.lineage.fetches.size(), [0, 0]);
    // What the model was asked after, it can't have named.
    let began = traffic.now;
    traffic.named("b", &[PAGE]);
    assert_eq!(traffic.lineage.place_fetch(None, began, url(PAGE)), None);
}

#[test]
fn interleaved_workflows_fetch_each_its_own() {
    let mut traffic = Traffic::new();
    let pages: Vec<String> = (0..8).map(|number| format!("{PAGE}{number}")).collect();
    let flows: Vec<_> =
        pages.iter().map(|page| (traffic.named(&format!("wish {page}"), &[page]), page)).collect();
    for ((model, opened, _), page) in flows.iter().rev() {
        let fetch = traffic.fetched(page);
        assert_eq!((fetch.workflow, fetch.step), (model.workflow, opened[0]));
        assert!(fetch.confidence.get() > 0.9);
    }
}

#[test]
fn of_two_that_name_the_same_url_the_one_that_waits_longest_fetches_it_in_doubt() {
    let mut traffic = Traffic::new();
    let (one, ..) = traffic.named("a", &[PAGE]);
    let (other, ..) = traffic.named("b", &[PAGE]);
    let first = traffic.fetched(PAGE);
    assert_eq!(first.workflow, one.workflow);
    assert!(first.confidence.get() < 0.5, "either may be meant");
    let second = traffic.fetched(PAGE);
    assert_eq!(second.workflow, other.workflow);
    assert!(second.confidence.get() > 0.9, "it is the only one left");

    // One that looks abandoned comes after a fresh one, and is not as sure alone.
    let (stale, ..) = traffic.named("c", &[PAGE]);
    traffic.wait(120_000);
    let (fresh, ..) = traffic.named("d", &[PAGE]);
    let fetches = [(); 2].map(|()| traffic.fetched(PAGE));
    assert_eq!(fetches.each_ref().map(|it| it.workflow), [fresh.workflow, stale.workflow]);
    assert!(fetches[1].confidence.get() < 0.8);
}

#[test]
fn a_url_that_is_an_argument_comes_before_one_in_other_text() {
    let mut traffic = Traffic::new();
    let (model, opened, _) =
        traffic.named("a", &[&format!("See <{PAGE}>."), PAGE, &format!("curl -s '{OTHER}' | wc")]);
    let fetch = traffic.fetched(PAGE);
    assert_eq!((fetch.step, fetch.confidence), (opened[1], Confidence::new(0.95)));
    let command = traffic.fetched(OTHER);
    assert_eq!((command.workflow, command.step), (model.workflow, opened[2]));
    assert_eq!(command.confidence, Confidence::new(0.85));
}

#[test]
fn equal_calls_of_one_answer_are_fetched_one_after_the_other() {
    let mut traffic = Traffic::new();
    let (_, opened, _) = traffic.named("a", &[PAGE, PAGE]);
    let fetches = [(); 2].map(|()| traffic.fetched(PAGE));
    assert_eq!(fetches.each_ref().map(|it| it.step), opened[..]);
    assert!(fetches.iter().all(|it| it.confidence.get() > 0.9));
    assert_eq!(traffic.fetch(PAGE), None);
}

#[test]
fn another_agents_request_is_not_joined() {
    let mut traffic = Traffic::new();
    traffic.named("a", &[PAGE]);
    let mut elsewhere = Lineage::new(2);
    assert!(!elsewhere.awaits_fetch(url(PAGE)));
    assert_eq!(elsewhere.place_fetch(None, traffic.now, url(PAGE)), None);
}

#[test]
fn the_process_that_asks_tells_whose_fetch_it_is() {
    let mut traffic = Traffic::new();
    let mut ask = |pid: u32, wish: &str| {
        traffic.wait(1);
        let model = traffic.lineage.place_of(Some(pid), traffic.now, &prompt(&[user(wish)]));
        let end = traffic.end(&model, &naming(wish, &[PAGE]).1);
        (model, steps(&end)[0])
    };
    let (one, other) = (ask(1, "a"), ask(2, "b"));
    let fetch = traffic.fetch_of(Some(2), PAGE).expect("it is named");
    assert_eq!((fetch.workflow, fetch.step), (other.0.workflow, other.1));
    assert_eq!(fetch.confidence, Confidence::new(0.95));
    assert_eq!(traffic.fetched(PAGE).workflow, one.0.workflow);
}

#[test]
fn a_command_that_fetches_is_sure_by_its_process() {
    let mut traffic = Traffic::new();
    let line = format!("curl -s {PAGE}");
    traffic.named("z", &[&line]);
    let (model, end, _) = traffic.plan(AGENT, "a", &[&line]);
    assert_eq!(traffic.start(AGENT, 7, &line).len(), 1);
    let fetch = traffic.fetch_of(Some(7), PAGE).expect("it is named");
    assert_eq!((fetch.workflow, fetch.step), (model.workflow, steps(&end)[0]));
    assert_eq!(fetch.confidence, Confidence::new(0.95));
}

#[test]
fn what_a_sub_agent_fetches_is_its_own() {
    let mut traffic = Traffic::new();
    let task = format!("Sum up what {PAGE} says");
    let (_, mut plan) = naming("a", &[&task]);
    plan.answer.tool_calls[0].values = Value::of(&task).into_iter().collect();
    let root = traffic.ask(&[user("a")]);
    let delegated = traffic.end(&root, &plan);
    traffic.wait(1);
    let sub = traffic.lineage.place(traffic.now, &begins("reader", &task));
    assert_eq!(sub.parents, steps(&delegated));
    let end = traffic.end(&sub, &naming("b", &[&format!("curl {PAGE}")]).1);
    let fetch = traffic.fetched(PAGE);
    assert_eq!((fetch.workflow, fetch.step), (root.workflow, steps(&end)[0]));
    assert_eq!((&fetch.parents, fetch.confidence), (&vec![sub.step], Confidence::new(0.85)));
    assert_eq!(traffic.fetch(PAGE), None);
}

#[test]
fn a_sub_agent_in_a_process_of_its_own_asks_for_itself() {
    for asks_itself in [true, false] {
        let mut traffic = Traffic::new();
        let (root, outer, _) = traffic.plan(AGENT, "a", &["python3 sub.py"]);
        traffic.start(AGENT, 7, "python3 sub.py");
        let sub = traffic.ask_of(7, &[user("b")]);
        assert_eq!((sub.workflow, &sub.parents), (root.workflow, &steps(&outer)));
        let end = traffic.end(&sub, &naming("b", &[PAGE]).1);
        if !asks_itself {
            traffic.start(7, 8, "get it");
        }
        let fetch = traffic.fetch_of(Some(if asks_itself { 7 } else { 8 }), PAGE);
        let fetch = fetch.expect("it is named");
        assert_eq!((fetch.workflow, fetch.step), (root.workflow, steps(&end)[0]));
        assert_eq!(fetch.confidence, Confidence::new(0.95));
    }
}

#[test]
fn a_request_that_failed_is_made_again() {
    let mut traffic = Traffic::new();
    let (_, opened, _) = traffic.named("a", &[PAGE]);
    for status in [503, 404, 200] {
        let fetch = traffic.fetched(PAGE);
        assert_eq!(fetch.step, opened[0]);
        traffic.responded(&fetch, status);
    }
    assert_eq!(traffic.fetch(PAGE), None);
}

#[test]
fn a_redirected_request_goes_on_where_it_was_sent() {
    let mut traffic = Traffic::new();
    let (_, opened, _) = traffic.named("a", &[PAGE]);
    let fetch = traffic.fetched(PAGE);
    traffic.lineage.redirect(fetch.step, url(OTHER));
    traffic.responded(&fetch, 301);
    assert_eq!(traffic.fetch(PAGE), None);
    let next = traffic.fetched(OTHER);
    assert_eq!(next.step, opened[0]);
    traffic.responded(&next, 200);
    assert_eq!(traffic.fetch(OTHER), None);
    // It is no longer told of when it is over.
    traffic.lineage.redirect(opened[0], url(PAGE));
    assert_eq!(traffic.fetched(PAGE).step, opened[0]);
    assert_eq!(traffic.lineage.fetches.size(), [1, 1]);
}

#[test]
fn a_tool_that_was_called_elsewhere_is_not_fetched() {
    let mut traffic = Traffic::new();
    let (_, outcome) = naming("a", &[PAGE]);
    let arguments = outcome.answer.tool_calls[0].arguments;
    let (_, opened, _) = traffic.named("a", &[PAGE]);
    assert_eq!(traffic.invoke("search", arguments).step, opened[0]);
    assert_eq!(traffic.fetch(PAGE), None, "the server fetches it");
}

#[test]
fn a_request_may_be_seen_before_the_end_of_the_answer() {
    let mut traffic = Traffic::new();
    let call = traffic.ask(&[user("a")]);
    let began = traffic.now;
    assert_eq!(traffic.fetch(PAGE), None);
    let end = traffic.end(&call, &naming("a", &[PAGE]).1);
    let fetch = traffic.lineage.place_fetch(None, began, url(PAGE)).expect("it is named");
    assert_eq!(fetch.step, steps(&end)[0]);
}

#[test]
fn calls_that_wait_are_bounded_and_grow_old() {
    let mut traffic = Traffic::new();
    for number in 0..limits::FETCHING_CALLS_PER_AGENT + 3 {
        traffic.named(&format!("wish {number}"), &[&format!("{PAGE}{number} and {OTHER}")]);
    }
    let bound = limits::FETCHING_CALLS_PER_AGENT;
    assert_eq!(traffic.lineage.fetches.size(), [bound, bound + 1]);
    assert_eq!(traffic.lineage.counters().evicted, 3);
    assert_eq!(traffic.fetch(&format!("{PAGE}2")), None);
    assert!(traffic.fetch(&format!("{PAGE}3")).is_some());
    traffic.wait(601_000);
    assert_eq!(traffic.fetch(&format!("{PAGE}4")), None);
    traffic.named("last", &[PAGE]);
    assert_eq!(traffic.lineage.fetches.size(), [1, 1]);
}
