//! The steps of a workflow as a tree.
//!
//! A step hangs under the last of its parents. A parent's only child stands right below it, so
//! that a long chain does not wander off to the right; where there are several, each is a branch:
//!
//! ```text
//! ● planner
//! ├─● tool
//! └─● tool
//!   ● final
//! ```

use std::collections::HashMap;

use crate::call::{Step, StepId};

/// A step in its place.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) step: &'a Step,
    /// What is drawn before the step.
    pub(super) lead: String,
    /// What is drawn before the lines that belong to the step.
    pub(super) below: String,
}

/// The steps, each after the one it hangs under. A step whose parents are all in other workflows,
/// or start after it, is a root. `steps` is in the order in which they started.
pub(super) fn arrange(steps: &[Step]) -> Vec<Node<'_>> {
    let (roots, children) = children(steps);
    let mut nodes = Vec::with_capacity(steps.len());
    let mut open = Vec::new();
    push(&mut open, &roots, &Rails::default());
    // The steps form no cycle, since a parent always comes before its children.
    while let Some((at, lead, rails)) = open.pop() {
        let Some(step) = steps.get(at) else { continue };
        let offspring = children.get(at).map_or(&[][..], Vec::as_slice);
        let mut below = rails.draw();
        below.push_str(if offspring.is_empty() { "  " } else { "│ " });
        nodes.push(Node { step, lead, below });
        push(&mut open, offspring, &rails);
    }
    nodes
}

/// For each step the steps that hang under it, and the steps that hang under none.
fn children(steps: &[Step]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut places: HashMap<StepId, usize> = HashMap::with_capacity(steps.len());
    let mut children = vec![Vec::new(); steps.len()];
    let mut roots = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let parent = step.parent_step_ids.iter().rev().find_map(|id| places.get(id));
        match parent.and_then(|parent| children.get_mut(*parent)) {
            Some(siblings) => siblings.push(at),
            None => roots.push(at),
        }
        places.entry(step.step_id).or_insert(at);
    }
    (roots, children)
}

/// Puts siblings on the stack, the first on top.
fn push(open: &mut Vec<(usize, String, Rails)>, siblings: &[usize], rails: &Rails) {
    if let [only] = siblings {
        open.push((*only, rails.draw(), rails.clone()));
        return;
    }
    for (from_last, at) in siblings.iter().rev().enumerate() {
        let (fork, rail) = if from_last == 0 { ("└─", "  ") } else { ("├─", "│ ") };
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
    use crate::{call::StepKind, control::sample};

    /// The tree of steps given as (id, parents), each on its line.
    fn drawn(steps: &[(u64, &[u64])]) -> Vec<String> {
        let steps: Vec<_> = steps
            .iter()
            .map(|(id, parents)| sample::model(*id, StepKind::Planner, parents))
            .collect();
        arrange(&steps)
            .iter()
            .map(|node| format!("{}{}", node.lead, node.step.step_id.0 >> 32))
            .collect()
    }

    #[test]
    fn a_chain_goes_straight_down() {
        assert_eq!(drawn(&[(1, &[]), (2, &[1]), (3, &[2])]), ["1", "2", "3"]);
    }

    #[test]
    fn a_step_hangs_under_the_last_of_its_parents() {
        let tree = drawn(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[4])]);
        assert_eq!(tree, ["1", "├─2", "└─3", "  4", "  5"]);
    }

    #[test]
    fn a_branch_with_a_chain_keeps_its_siblings_apart() {
        let tree = drawn(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2]), (5, &[4]), (6, &[4])]);
        assert_eq!(tree, ["1", "├─2", "│ 4", "│ ├─5", "│ └─6", "└─3"]);
    }

    #[test]
    fn a_parent_that_is_elsewhere_or_later_makes_a_root() {
        let tree = drawn(&[(1, &[2]), (2, &[1]), (3, &[99]), (4, &[4])]);
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
        let tree = drawn(&steps);
        assert_eq!(tree.len(), steps.len());
        let widest = tree.iter().map(|line| line.chars().count()).max();
        assert!(widest < Some(2 * DEEPEST + 12), "{widest:?}");
    }
}
