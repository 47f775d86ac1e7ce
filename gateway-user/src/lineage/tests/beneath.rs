//! Under which tool call a call is, so that it can end with that.

use super::{
    values::{begins, delegates, on, tells},
    *,
};

const WISH: &str = "Write a report on the harbour of the old town";
const TASK: &str = "Find out who built the harbour, and when";
const OTHER: &str = "Count the ships that lie in it in winter";

/// A tool call of a model step.
const fn of(from: &Placement, step: StepId) -> Starter {
    Starter { step, from: from.step }
}

#[test]
fn all_of_a_sub_agent_is_under_the_tool_call_that_started_it() {
    let mut traffic = Traffic::new();
    let (_, plan) = delegates(&[TASK]);
    let (lead, planned) = traffic.exchange(&begins("lead", WISH), &plan);
    let made = traffic.invoke("search", 0);
    assert_eq!((made.step, lead.under, made.under), (steps(&planned)[0], None, None));

    let sub = begins("worker", TASK);
    let look = calls("look", &["call_0"]);
    let (first, looked) = traffic.exchange(&sub, &outcome(&look));
    let tool = traffic.invoke("search", 0);
    assert_eq!(tool.step, steps(&looked)[0]);
    let second = traffic.put(&on(&sub, &look, &[result("call_0", "x")]));
    let retried = traffic.put(&on(&sub, &look, &[result("call_0", "x")]));
    for call in [first, tool, second, retried] {
        assert_eq!(call.under, Some(of(&lead, made.step)), "{call:?}");
    }
}

#[test]
fn what_is_under_a_tool_call_is_beneath_those_that_this_one_is_under() {
    let mut traffic = Traffic::new();
    let deeper = "Look the year up in the archive of the town";
    let (_, plan) = delegates(&[TASK, OTHER]);
    let (_, planned) = traffic.exchange(&begins("lead", WISH), &plan);
    let (_, asks) = delegates(&[deeper]);
    let (_, asked) = traffic.exchange(&begins("worker", TASK), &asks);
    let starter = traffic.put(&begins("archivist", deeper)).under.expect("it is under one");
    assert_eq!(starter.step, steps(&asked)[0]);
    let [own, other] = steps(&planned)[..] else { panic!("two calls") };
    for (step, is_beneath) in [(starter.step, true), (own, true), (other, false)] {
        assert_eq!(traffic.lineage.is_beneath(starter, step), is_beneath, "{step}");
    }
}

#[test]
fn what_may_be_under_another_tool_call_is_under_none() {
    // Both say the same: only the answers tell which is which.
    let mut traffic = Traffic::new();
    let root = begins("lead", WISH);
    let (message, plan) = delegates(&[TASK, TASK]);
    let (lead, planned) = traffic.exchange(&root, &plan);
    let sub = begins("worker", TASK);
    for answer in ["It was the monks", "It was the king"] {
        assert_eq!(traffic.exchange(&sub, &tells(answer)).0.under, None);
    }
    let back = |id, text| Message { content: says(text).content, ..result(id, text) };
    let results = [back("call_0", "It was the king"), back("call_1", "It was the monks")];
    let replaced = traffic.put(&on(&root, &message, &results)).corrections;
    let places = replaced.iter().filter_map(|it| match &it.change {
        Change::Place(place) => place.under,
        Change::Kind(_) => None,
    });
    let mut places: Vec<_> = places.collect();
    places.sort();
    let mut expected: Vec<_> = steps(&planned).into_iter().map(|step| of(&lead, step)).collect();
    expected.sort();
    assert_eq!(places, expected);

    // Two workflows do.
    let mut traffic = Traffic::new();
    let (_, plan) = delegates(&[TASK]);
    for wish in [WISH, "Explain the tides to a child of five"] {
        traffic.exchange(&begins("lead", wish), &plan);
    }
    let sub = traffic.put(&sub);
    assert!(!sub.opens_workflow && sub.under.is_none(), "{sub:?}");
}

#[test]
fn a_call_that_is_put_right_is_under_what_its_conversation_is() {
    let mut traffic = Traffic::new();
    let (_, plan) = delegates(&[TASK]);
    let (lead, planned) = traffic.exchange(&begins("lead", WISH), &plan);
    let sub = begins("worker", TASK);
    let look = calls("look", &["look_0"]);
    let first = traffic.put(&sub);
    let hasty = traffic.put(&on(&sub, &look, &[result("look_0", "x")]));
    let end = traffic.end(&first, &outcome(&look));
    let place = end.corrections.iter().find_map(|it| match &it.change {
        Change::Place(place) if it.step == hasty.step => Some(place),
        _ => None,
    });
    let place = place.expect("it is corrected");
    assert_eq!((&place.parents, place.under), (&steps(&end), Some(of(&lead, steps(&planned)[0]))));
}
