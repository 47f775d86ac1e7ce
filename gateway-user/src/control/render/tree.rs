//! The steps of a workflow as a tree.
//!
//! A conversation stays in its column: what goes on from a step stands below it. What is done in
//! between is a branch: tool calls that were made at once, and what a tool call has started. So is
//! each of several that go on from the same step; but a failed try stands right above the next one.
//!
//! ```text
//! ● planner
//! ├─● tool
//! ├─● tool
//! ● planner
//! ● tool
//! ├─● worker
//! ● final
//! ```

use std::collections::HashMap;

use crate::call::{CallKind, EvidenceKind, Step, StepId};

/// A step in its place.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) step: &'a Step,
    /// What is drawn before the step.
    pub(super) lead: String,
    /// What is drawn before the lines that belong to the step.
    pub(super) below: String,
    /// Whether it stands below all its parents.
    pub(super) joins: bool,
}

/// The steps, each after the one it hangs under. A step whose parents are all in other workflows,
/// or start after it, is a root. `steps` is in the order in which they started.
pub(super) fn arrange(steps: &[Step]) -> Vec<Node<'_>> {
    let Family { roots, children, places } = Family::of(steps);
    let mut nodes = Vec::with_capacity(steps.len());
    let mut open = Vec::new();
    push(&mut open, &roots, &Rails::default());
    // The steps form no cycle, since a parent always comes before its children.
    while let Some((at, lead, rails)) = open.pop() {
        let Some(step) = steps.get(at) else { continue };
        let offspring = children.get(at).map(|it| it.drawn(steps, &children)).unwrap_or_default();
        let mut below = rails.draw();
        below.push_str(if offspring.is_empty() { "  " } else { "│ " });
        let joins = places.get(at).and_then(Option::as_ref).is_some_and(|it| it.way == Way::Joins);
        nodes.push(Node { step, lead, below, joins });
        push(&mut open, &offspring, &rails);
    }
    nodes
}

/// Who hangs under whom.
struct Family {
    roots: Offspring,
    children: Vec<Children>,
    places: Vec<Option<Place>>,
}

/// What a step hangs under.
#[derive(Clone, Copy)]
struct Place {
    parent: usize,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is done for the parent.
    Within,
    /// It goes on from the parent.
    After,
    /// It goes on from several children of the parent.
    Joins,
}

/// The steps that hang under one, oldest first.
#[derive(Clone, Default)]
struct Children {
    within: Vec<usize>,
    after: Vec<usize>,
    joins: Vec<usize>,
}

/// How they are drawn: branches, then what stands in the parent's own column.
#[derive(Default)]
struct Offspring {
    branches: Vec<usize>,
    column: Vec<usize>,
}

impl Offspring {
    fn is_empty(&self) -> bool {
        self.branches.is_empty() && self.column.is_empty()
    }
}

impl Family {
    fn of(steps: &[Step]) -> Self {
        let mut numbers: HashMap<StepId, usize> = HashMap::with_capacity(steps.len());
        let mut places: Vec<Option<Place>> = Vec::with_capacity(steps.len());
        let mut children = vec![Children::default(); steps.len()];
        let mut roots = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let place = place(step, steps, &numbers, &places);
            places.push(place);
            match place.and_then(|it| Some((children.get_mut(it.parent)?, it.way))) {
                Some((siblings, Way::Within)) => siblings.within.push(at),
                Some((siblings, Way::After)) => siblings.after.push(at),
                Some((siblings, Way::Joins)) => siblings.joins.push(at),
                None => roots.push(at),
            }
            numbers.entry(step.step_id).or_insert(at);
        }
        let are_one = roots.len() == 1 || are_tries(&roots, steps, &children);
        let roots = if are_one {
            Offspring { branches: Vec::new(), column: roots }
        } else {
            Offspring { branches: roots, column: Vec::new() }
        };
        Self { roots, children, places }
    }
}

fn place(
    step: &Step,
    steps: &[Step],
    numbers: &HashMap<StepId, usize>,
    places: &[Option<Place>],
) -> Option<Place> {
    let tried = step.retry.as_ref().and_then(|retry| numbers.get(&retry.of_step_id));
    if let Some(&tried) = tried.filter(|_| step.evidence.iter().all(|it| !goes_on(it.kind))) {
        return *places.get(tried)?;
    }
    let parents: Vec<usize> =
        step.parent_step_ids.iter().filter_map(|id| numbers.get(id).copied()).collect();
    let above = |at: usize| places.get(at).copied().flatten().map(|place| place.parent);
    let &parent = parents.last()?;
    if let ([first, .., _], Some(common)) = (&*parents, above(parent))
        && *first != parent
        && parents.iter().all(|at| above(*at) == Some(common))
    {
        return Some(Place { parent: common, way: Way::Joins });
    }
    let is_tool = |step: &Step| step.call == CallKind::Tool;
    let after_tool = steps.get(parent).is_some_and(is_tool);
    let is_after =
        !is_tool(step) && (!after_tool || step.evidence.iter().any(|it| goes_on(it.kind)));
    Some(Place { parent, way: if is_after { Way::After } else { Way::Within } })
}

/// Whether it shows that a conversation goes on, and doesn't begin.
const fn goes_on(kind: EvidenceKind) -> bool {
    matches!(
        kind,
        EvidenceKind::ToolCallId
            | EvidenceKind::AnswerEcho
            | EvidenceKind::HistoryPrefix
            | EvidenceKind::ResponseId
            | EvidenceKind::ConversationId
    )
}

impl Children {
    fn drawn(&self, steps: &[Step], all: &[Self]) -> Offspring {
        let mut branches = self.within.clone();
        let mut column = if self.joins.is_empty() {
            self.after.clone()
        } else {
            branches.extend(&self.after);
            self.joins.clone()
        };
        if column.len() > 1 && !are_tries(&column, steps, all) {
            branches.append(&mut column);
        }
        // A single tool call needs no branch; a conversation that it has started does.
        if let ([only], []) = (&*branches, &*column)
            && steps.get(*only).is_some_and(|step| step.call == CallKind::Tool)
        {
            column = std::mem::take(&mut branches);
        }
        branches.sort_unstable();
        Offspring { branches, column }
    }

    fn is_empty(&self) -> bool {
        self.within.is_empty() && self.after.is_empty() && self.joins.is_empty()
    }
}

/// Whether each of the steps but the first tries the one before again, which has led nowhere.
fn are_tries(column: &[usize], steps: &[Step], children: &[Children]) -> bool {
    column.windows(2).all(|pair| {
        let [before, this] = *pair else { return false };
        let is_retry = steps.get(this).is_some_and(|step| step.retry.is_some());
        is_retry && children.get(before).is_none_or(Children::is_empty)
    })
}

/// Puts steps on the stack, the first on top.
fn push(open: &mut Vec<(usize, String, Rails)>, offspring: &Offspring, rails: &Rails) {
    for at in offspring.column.iter().rev() {
        open.push((*at, rails.draw(), rails.clone()));
    }
    for (from_last, at) in offspring.branches.iter().rev().enumerate() {
        let ends = from_last == 0 && offspring.column.is_empty();
        let (fork, rail) = if ends { ("└─", "  ") } else { ("├─", "│ ") };
        open.push((*at, rails.draw() + fork, rails.with(rail)));
    }
}

/// The branches that pass by a step, outermost first.
#[derive(Clone, Debug, Default)]
struct Rails {
    rails: Vec<&'static str>,
    /// Whether outer ones are left out.
    cut: bool,
}

impl Rails {
    fn with(&self, rail: &'static str) -> Self {
        let mut inner = self.clone();
        if inner.rails.len() == DEEPEST {
            inner.rails.remove(0);
            inner.cut = true;
        }
        inner.rails.push(rail);
        inner
    }

    fn draw(&self) -> String {
        let mark = if self.cut { "⋯ " } else { "" };
        mark.to_owned() + &self.rails.concat()
    }
}

/// Branches drawn beside each other; of deeper ones the outermost are left out.
const DEEPEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Confidence, Evidence, Retry, RetryReason, SideEffects, StepKind},
        control::sample::{model, tool},
    };

    fn goes_on(mut step: Step) -> Step {
        step.evidence = vec![Evidence::new(EvidenceKind::ToolCallId, Confidence::CERTAIN, None)];
        step
    }

    fn retries(mut step: Step, of: &Step) -> Step {
        step.retry = Some(Retry {
            of_step_id: of.step_id,
            reason: RetryReason::Overloaded,
            attempt: 1,
            side_effects: SideEffects::default(),
            replayed: false,
        });
        step
    }

    fn planner(id: u64, parents: &[u64]) -> Step {
        model(id, StepKind::Planner, parents)
    }

    /// The tree, each step by its number on its line.
    fn drawn(steps: &[Step]) -> Vec<String> {
        let number = |node: &Node<'_>| format!("{}{}", node.lead, node.step.step_id.0 >> 32);
        arrange(steps).iter().map(number).collect()
    }

    /// Of model steps given as (id, parents).
    fn drawn_of(steps: &[(u64, &[u64])]) -> Vec<String> {
        let steps: Vec<_> = steps.iter().map(|(id, parents)| planner(*id, parents)).collect();
        drawn(&steps)
    }

    #[test]
    fn a_chain_goes_straight_down() {
        assert_eq!(drawn_of(&[(1, &[]), (2, &[1]), (3, &[2])]), ["1", "2", "3"]);
        let loops = [planner(1, &[]), tool(2, "a", &[1]), goes_on(planner(3, &[2]))];
        assert_eq!(drawn(&loops), ["1", "2", "3"]);
        assert_eq!(drawn(&loops[..2]), ["1", "2"]);
    }

    #[test]
    fn what_follows_several_stands_below_all_of_them() {
        let steps = [
            planner(1, &[]),
            tool(2, "a", &[1]),
            tool(3, "b", &[1]),
            planner(4, &[2, 3]),
            planner(5, &[4]),
        ];
        assert_eq!(drawn(&steps), ["1", "├─2", "├─3", "4", "5"]);
        assert!(arrange(&steps)[3].joins);
        assert_eq!(drawn(&steps[..3]), ["1", "├─2", "└─3"], "not yet");
        // Those that are not of one parent: below the last.
        let steps = drawn_of(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2]), (5, &[4, 3])]);
        assert_eq!(steps, ["1", "├─2", "│ 4", "└─3", "  5"]);
    }

    #[test]
    fn a_conversation_that_a_tool_call_starts_is_a_branch() {
        let steps = [
            planner(1, &[]),
            tool(2, "ask", &[1]),
            model(3, StepKind::Worker, &[2]),
            tool(4, "search", &[3]),
            goes_on(model(5, StepKind::Worker, &[4])),
            goes_on(planner(6, &[2])),
        ];
        assert_eq!(drawn(&steps), ["1", "2", "├─3", "│ 4", "│ 5", "6"]);
        assert_eq!(drawn(&steps[..3]), ["1", "2", "└─3"], "while it runs, too");
    }

    #[test]
    fn a_failed_try_stands_above_the_next() {
        let first = goes_on(planner(3, &[2]));
        let second = retries(planner(4, &[2]), &first);
        let third = retries(planner(5, &[2]), &first);
        let mut steps = vec![planner(1, &[]), tool(2, "a", &[1]), first, second, third];
        assert_eq!(drawn(&steps), ["1", "2", "3", "4", "5"]);
        // One that has led somewhere is no failed try.
        steps.push(planner(6, &[3]));
        assert_eq!(drawn(&steps), ["1", "2", "├─3", "│ 6", "├─4", "└─5"]);
        let root = planner(1, &[]);
        let again = retries(planner(2, &[]), &root);
        assert_eq!(drawn(&[root, again, planner(3, &[2])]), ["1", "2", "3"]);
        // Of a conversation that a tool call has started.
        let worker = model(3, StepKind::Worker, &[2]);
        let again = retries(model(4, StepKind::Worker, &[2]), &worker);
        let steps = [planner(1, &[]), tool(2, "ask", &[1]), worker, again];
        assert_eq!(drawn(&steps), ["1", "2", "├─3", "└─4"]);
    }

    #[test]
    fn a_branch_with_a_chain_keeps_its_siblings_apart() {
        let tree = drawn_of(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2]), (5, &[4]), (6, &[4])]);
        assert_eq!(tree, ["1", "├─2", "│ 4", "│ ├─5", "│ └─6", "└─3"]);
    }

    #[test]
    fn a_parent_that_is_elsewhere_or_later_makes_a_root() {
        let tree = drawn_of(&[(1, &[2]), (2, &[1]), (3, &[99]), (4, &[4])]);
        assert_eq!(tree, ["├─1", "│ 2", "├─3", "└─4"]);
    }

    #[test]
    fn no_step_is_lost_and_no_line_grows_without_bound() {
        // Each step has two children, one of which goes on.
        let mut steps = vec![(1, vec![])];
        for id in 2..20_000 {
            steps.push((id, vec![id / 2 * 2 - 1]));
        }
        let steps: Vec<_> = steps.iter().map(|(id, parents)| (*id, parents.as_slice())).collect();
        let tree = drawn_of(&steps);
        assert_eq!(tree.len(), steps.len());
        let widest = tree.iter().map(|line| line.chars().count()).max();
        assert!(widest < Some(2 * DEEPEST + 12), "{widest:?}");
    }
}
