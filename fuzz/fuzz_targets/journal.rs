//! Journals from anywhere: reading never panics, what is read can be written again, and a ledger can go on
//! from it, whatever it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::{
    call::{Micros, Timestamp},
    ledger::{Budget, Ledger, Limits, Period, Replay, Scope, Window},
    state,
};
use xxhash_rust::xxh3::xxh3_64;

// The first byte says whether its lines have the right checksums.
fuzz_target!(|data: &[u8]| {
    let [framed, text @ ..] = data else { return };
    let contents = if framed % 8 == 0 { state::read(text) } else { state::read(&with_sums(text)) };
    let Ok(contents) = contents else { return };
    let mut replay = Replay::default();
    for record in contents.records {
        let text = serde_json::to_string(&record).expect("what is read can be written");
        assert_eq!(serde_json::from_str(&text).ok().as_ref(), Some(&record), "{text}");
        replay.apply(record);
    }
    replay.begin(Timestamp(u64::MAX / 2));
    assert_eq!(replay.holds().len(), 0);
    let mut ledger = Ledger::restored(budgets(), replay);
    ledger.tick(Timestamp(u64::MAX));
    let whole = ledger.whole();
    assert_eq!(ledger.balances().count() + ledger.aside(), accounts(&whole));
});

fn with_sums(text: &[u8]) -> Vec<u8> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .flat_map(|line| [format!("{:016x} ", xxh3_64(line)).as_bytes(), line, b"\n"].concat())
        .collect()
}

fn accounts(records: &[turnpike::ledger::Record]) -> usize {
    let opened = |record: &&turnpike::ledger::Record| {
        matches!(record, turnpike::ledger::Record::Opened { .. })
    };
    records.iter().filter(opened).count()
}

/// Some that records may be of.
fn budgets() -> Vec<Budget> {
    let limits = Limits { wall_clock: Some(Micros(1_000_000)), ..Limits::default() };
    let budget = |name: &str, scope| Budget::new(name, scope, limits.clone());
    vec![
        Budget { window: Window::Rolling(Micros(60)), ..budget("a", Scope::Workflow) },
        Budget { window: Window::Calendar(Period::Month), ..budget("b", Scope::Agent) },
        budget("c", Scope::Node),
    ]
}
