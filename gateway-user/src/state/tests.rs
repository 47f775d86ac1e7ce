//! What is written is read again, whatever becomes of the one who wrote it.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{
    call::{SessionId, WorkflowId},
    ledger::{
        Amounts, Ask, Budget, Certainty, Dimension, Ledger, Limits, Order, Reservation, Scope,
        Spending, Standing,
    },
};

/// A ledger, and where it is kept.
struct Bed {
    ledger: Ledger,
    state: State,
}

impl Bed {
    fn open(place: &TempDir) -> Result<Self, StateError> {
        Self::open_at(place, Timestamp(5))
    }

    fn open_at(place: &TempDir, now: Timestamp) -> Result<Self, StateError> {
        let (state, replay) = State::open_unattended(place.path(), now)?;
        let limits = Limits {
            amounts: Amounts::MOST.with(Dimension::OutputTokens, 1 << 40),
            ..Limits::default()
        };
        let ledger = Ledger::restored(vec![Budget::new("crew", Scope::Workflow, limits)], replay);
        Ok(Self { ledger, state })
    }

    fn begin(&mut self, workflow: u64) -> (Reservation, Result<(), Unwritten>) {
        let payers = self.ledger.payers("crew".into(), None);
        let standing = Standing { payers, session: SessionId(1), workflow: WorkflowId(workflow) };
        let order = Order { input: 1, output: Some(100), choices: 1, price: None };
        let granted = self.ledger.reserve(Timestamp(9), &standing, &Ask::model(order, true));
        let written = self.state.write(&self.ledger.take_records());
        (granted.expect("fits").reservation, written)
    }

    fn end(&mut self, reservation: Reservation, output: u64) {
        let amounts = Amounts::ZERO.with(Dimension::OutputTokens, output);
        let spending = Spending { amounts, tools: &[], certainty: Certainty::Reported };
        self.ledger.settle(Timestamp(9), reservation, &spending);
        self.state.keep(&self.ledger.take_records());
    }

    /// A call that spends so much.
    fn call(&mut self, workflow: u64, output: u64) {
        let (reservation, written) = self.begin(workflow);
        written.expect("it is written");
        self.end(reservation, output);
    }

    /// What is not written is lost, and nobody tidies up.
    fn kill(self) {
        drop(self);
    }

    fn spent(&self) -> u64 {
        self.ledger.balances().map(|balance| balance.spent[Dimension::OutputTokens]).sum()
    }

    fn held(&self) -> u64 {
        self.ledger.balances().map(|balance| balance.held[Dimension::OutputTokens]).sum()
    }
}

fn names(place: &TempDir) -> Vec<String> {
    let all = fs::read_dir(place.path().join(DIRECTORY)).expect("it is there");
    let mut names: Vec<_> =
        all.map(|entry| entry.expect("it is").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn refused(place: &TempDir) -> String {
    Bed::open(place).err().expect("it is refused").to_string()
}

#[test]
fn an_end_in_good_order_loses_nothing() {
    let place = TempDir::new().expect("room");
    for times in 0..3 {
        let mut bed = Bed::open(&place).expect("it opens");
        assert_eq!(bed.spent(), times * 30);
        bed.call(1, 10);
        bed.call(2, 20);
        bed.state.end();
        assert_eq!(names(&place), ["ledger.db"]);
    }
}

#[test]
fn what_is_in_flight_is_charged_as_it_was_held_and_only_once() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open(&place).expect("it opens");
    bed.call(1, 10);
    let (_first, written) = bed.begin(1);
    written.expect("it is written");
    let (second, written) = bed.begin(2);
    written.expect("it is written");
    // Nobody wrote that down any more.
    bed.end(second, 1);
    bed.kill();
    for _ in 0..3 {
        let bed = Bed::open(&place).expect("it opens");
        assert_eq!((bed.spent(), bed.held()), (210, 0));
        bed.kill();
    }
}

#[test]
fn a_journal_that_has_grown_ends_up_in_the_database() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open(&place).expect("it opens");
    let (held, written) = bed.begin(1);
    written.expect("it is written");
    bed.state.writer().rotate_at(0);
    bed.call(1, 10);
    bed.state.compact();
    assert_eq!(names(&place), ["journal-2", "ledger.db"]);
    bed.end(held, 5);
    bed.call(1, 10);
    bed.kill();
    let bed = Bed::open(&place).expect("it opens");
    // The last one was settled in memory alone.
    assert_eq!(bed.spent(), 10 + 5 + 100);
}

#[test]
fn the_thread_puts_an_earlier_gateway_s_journals_into_the_database() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open(&place).expect("it opens");
    bed.call(1, 10);
    bed.kill();
    let (state, _) = State::open(place.path(), Timestamp(5)).expect("it opens");
    let start = std::time::Instant::now();
    while names(&place) != ["journal-2", "ledger.db"] {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", names(&place));
        thread::sleep(Duration::from_millis(5));
    }
    state.end();
    assert_eq!(names(&place), ["ledger.db"]);
}

#[test]
fn one_gateway_at_a_time_has_it() {
    let place = TempDir::new().expect("room");
    let bed = Bed::open(&place).expect("it opens");
    assert!(refused(&place).contains("another gateway keeps its budgets in "));
    bed.state.end();
    drop(bed);
    Bed::open(&place).expect("it opens").state.end();
}

#[test]
fn a_line_that_has_no_end_is_left_out_and_damage_is_refused() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open(&place).expect("it opens");
    bed.call(1, 10);
    bed.call(1, 20);
    bed.kill();
    let path = place.path().join("ledger/journal-1");
    let whole = fs::read(&path).expect("it is there");

    fs::write(&path, &whole[..whole.len() - 3]).expect("room");
    let bed = Bed::open(&place).expect("it opens");
    assert_eq!(bed.spent(), 10, "the second reservation is not whole");
    bed.kill();

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&path, damaged).expect("room");
    let error = refused(&place);
    assert!(error.contains("/ledger/journal-1: it is damaged at byte "), "{error}");
    assert!(error.contains("/ledger away: every budget begins anew then"), "{error}");

    fs::remove_file(&path).expect("it is there");
    let error = refused(&place);
    assert!(error.contains("/ledger/ledger.db is missing"), "{error}");
}

#[test]
fn a_database_that_is_damaged_or_newer_is_refused() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open(&place).expect("it opens");
    bed.call(1, 10);
    bed.state.end();
    drop(bed);
    let path = place.path().join("ledger/ledger.db");
    let whole = fs::read(&path).expect("it is there");
    let damage: [fn(&mut Vec<u8>); 4] = [
        Vec::clear,
        |bytes| bytes.truncate(5000),
        |bytes| bytes[..100].fill(0),
        |bytes| bytes.iter_mut().skip(4100).step_by(7).for_each(|byte| *byte ^= 0x55),
    ];
    for change in damage {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).expect("room");
        let error = refused(&place);
        assert!(error.contains("/ledger/ledger.db: it is damaged: "), "{error}");
    }
    fs::write(&path, &whole).expect("room");
    let connection = rusqlite::Connection::open(&path).expect("it opens");
    connection.pragma_update(None, "user_version", 2).expect("it is set");
    drop(connection);
    let error = refused(&place);
    assert!(error.contains("it was written by a newer turnpike (version 2"), "{error}");
}

#[test]
fn what_could_not_be_written_is_made_good() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open(&place).expect("it opens");
    bed.call(1, 10);
    bed.state.writer().fail(&io::Error::other("no space"));
    let (held, written) = bed.begin(1);
    let error = written.expect_err("it can't be written").to_string();
    assert!(error.contains("/ledger: no space; until it can, no call is made"), "{error}");
    bed.end(held, 30);
    let health = bed.state.health();
    assert!(health.unwritten > 0 && health.problem.is_some(), "{health:?}");
    bed.state.begin_anew(&bed.ledger.whole());
    assert_eq!(bed.state.health().problem, None);
    bed.call(1, 2);
    bed.state.write(&[]).expect("it is written");
    bed.kill();
    let bed = Bed::open(&place).expect("it opens");
    assert_eq!(bed.spent(), 42);
    bed.state.end();
}

#[test]
fn a_clock_that_was_far_ahead_is_set_back_for_everybody_who_reads() {
    let place = TempDir::new().expect("room");
    let mut bed = Bed::open_at(&place, Timestamp(1 << 50)).expect("it opens");
    bed.call(1, 10);
    bed.kill();
    // From its journal, from that and the next one's, and from the database.
    for now in [7, 8, 9].map(Timestamp) {
        let (state, replay) = State::open_unattended(place.path(), now).expect("it opens");
        assert_eq!((replay.now(), replay.astray()), (now, 0));
        if now == Timestamp(8) {
            state.end();
        }
    }
    assert_eq!(Bed::open(&place).expect("it opens").spent(), 100, "as it was held");
}
