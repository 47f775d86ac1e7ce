//! Whether the truth of a recording holds together.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use turnpike::call::StepKind;

use crate::eval::record::{Record, Truth};

/// Every step has a truth, which fits those before it. The records are to be in the order in which
/// they started.
pub(super) fn check(records: &[Record]) -> Result<()> {
    let mut known: HashMap<u64, (&Record, &Truth)> = HashMap::new();
    let mut finals: HashMap<u64, usize> = HashMap::new();
    for record in records {
        let number = record.exchange;
        let Some(truth) = &record.truth else {
            ensure!(is_no_step(record), "exchange {number} has no truth");
            continue;
        };
        ensure!(record.end_us >= record.start_us, "exchange {number} has not ended");
        ensure!(!known.contains_key(&number), "two exchanges are {number}");
        for parent in &truth.parents {
            let Some((before, of)) = known.get(&parent.exchange) else {
                anyhow::bail!("exchange {number} has a parent {parent:?} that is not before it");
            };
            ensure!(of.session == truth.session, "{number} is in another session than its parent");
            let is_next_wish = parent.call.is_none() && of.workflow < truth.workflow;
            let fits = of.workflow == truth.workflow || is_next_wish;
            ensure!(fits, "{number} is in another workflow than its parent");
            ensure!(before.end_us <= record.start_us, "{number} began before its parent's end");
            ensure!(before.response.is_some(), "{number} follows what has no answer");
        }
        if let Some(retry) = &truth.retry {
            let Some((_, first)) = known.get(&retry.of) else {
                anyhow::bail!("exchange {number} repeats one that is not before it");
            };
            let is_alike = first.parents == truth.parents || retry.reason == "content_invalid";
            ensure!(is_alike, "{number} has other parents than what it repeats");
            ensure!(first.workflow == truth.workflow, "{number} repeats another workflow's");
        }
        *finals.entry(truth.workflow).or_default() +=
            usize::from(truth.kind == Some(StepKind::Final));
        known.insert(number, (record, truth));
    }
    for (workflow, count) in finals {
        ensure!(count <= 1, "workflow {workflow} has {count} final answers");
    }
    Ok(())
}

/// What a tool server is asked besides being told to do something.
fn is_no_step(record: &Record) -> bool {
    record.request.target.ends_with("/mcp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{
        frameworks::interleave,
        generate::{Plan, corpus},
        record::{Retry, StepRef},
    };

    /// What spoils the truth of one of the records.
    type Spoil = fn(&mut Record);

    fn truth(record: &mut Record) -> &mut Truth {
        record.truth.as_mut().expect("a truth")
    }

    /// A recording of one workflow with three exchanges.
    fn records() -> Vec<Record> {
        let all = corpus(Plan { seed: 1, at_once: 1, times: 1 });
        let of = |record: &&Record| {
            record.truth.as_ref().is_some_and(|truth| truth.case == "parallel tools")
        };
        interleave::groups(vec![all.iter().filter(of).cloned().collect()], 1).flatten().collect()
    }

    #[test]
    fn a_truth_that_does_not_hold_together_is_an_error() {
        let good = records();
        assert!(good.len() >= 3);
        check(&good).expect("what the generator makes");
        let spoils: [Spoil; 7] = [
            |record| record.truth = None,
            |record| truth(record).session += 1,
            |record| truth(record).workflow += 1,
            |record| truth(record).parents = vec![StepRef::exchange(1)],
            |record| truth(record).kind = Some(StepKind::Final),
            |record| record.start_us -= 3_600_000_000,
            |record| {
                let retry = Retry { of: 1, reason: "timeout".to_owned() };
                truth(record).retry = Some(retry);
            },
        ];
        for (at, spoil) in spoils.into_iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad[1]);
            assert!(check(&bad).is_err(), "spoil {at}");
        }
    }
}
