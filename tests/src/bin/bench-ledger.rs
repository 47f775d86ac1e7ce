//! `cargo xtask bench ledger` runs this: what it costs to hold what a call may spend, and to settle it, and
//! to write that down. In this process and without a network; each figure beside its aim.

use std::{
    fs,
    hint::black_box,
    sync::{Barrier, Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use clap::Parser;
use tempfile::TempDir;
use turnpike::{
    call::{NanoUsd, SessionId, Timestamp, Usage, WorkflowId},
    ledger::{
        Amounts, Ask, Budget, Certainty, Dimension, Ledger, Limits, Order, Price, Scope, Spending,
        Standing,
    },
    state::State,
};
use turnpike_tests::figure::{self, Figure, micros, rounds};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench ledger", about = "Measures what it costs to hold a budget")]
struct Arguments {
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let figures = [
        Figure::new("reserve and settle, through 5 budgets", "µs", Some(2.0), alone(1)?),
        Figure::new(
            "the same, each call in another of 20,000 workflows",
            "µs",
            Some(2.0),
            alone(20_000)?,
        ),
        Figure::new(
            "the same, two threads at once, in all (2 µs are 500,000 a second)",
            "µs",
            Some(2.0),
            together()?,
        ),
        Figure::new(
            "reserve and settle, through 5 budgets, with a journal",
            "µs",
            Some(20.0),
            written()?,
        ),
        Figure::new(
            "to begin again with 10,000 calls of as many workflows in the journal",
            "ms",
            Some(2000.0),
            begun_again()?,
        ),
        Figure::new(
            "a call that is refused, as its workflow is stopped",
            "µs",
            Some(2.0),
            refused()?,
        ),
    ];
    figure::print(&figures, arguments.json)
}

/// Calls one after the other, over so many workflows.
fn alone(workflows: u64) -> Result<Vec<f64>> {
    let mut ledger = ledger(u64::MAX / 2);
    let standings: Vec<_> = (0..workflows).map(|workflow| standing(&ledger, workflow)).collect();
    let mut standings = standings.iter().cycle();
    let mut now = 0;
    rounds(|| {
        let start = Instant::now();
        for standing in standings.by_ref().take(CALLS) {
            now += 1;
            pay(&mut ledger, now, standing)?;
        }
        Ok(micros(start.elapsed(), CALLS))
    })
}

/// Calls of two threads, which share a ledger as connections do.
fn together() -> Result<Vec<f64>> {
    let ledger = Mutex::new(ledger(u64::MAX / 2));
    let lock = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let standings = [1, 2].map(|workflow| standing(&lock(), workflow));
    rounds(|| {
        let barrier = Barrier::new(standings.len() + 1);
        thread::scope(|scope| {
            let work = |standing| {
                barrier.wait();
                for now in 0..CALLS as u64 {
                    // Between the two the call would be made.
                    let granted = lock().reserve(Timestamp(now), standing, &ask())?;
                    black_box(&granted);
                    lock().settle(Timestamp(now), granted.reservation, &spending());
                }
                Ok(())
            };
            let threads: Vec<_> =
                standings.iter().map(|standing| scope.spawn(move || work(standing))).collect();
            // Before they begin: this thread may be the last to learn that they did.
            let start = Instant::now();
            barrier.wait();
            for thread in threads {
                let ended: Result<()> = thread.join().expect("it does not panic");
                ended?;
            }
            Ok(micros(start.elapsed(), CALLS * standings.len()))
        })
    })
}

/// Calls whose reservations are written before they would go upstream, as the gateway does.
fn written() -> Result<Vec<f64>> {
    let place = TempDir::new()?;
    let (mut ledger, state) = open(&place)?;
    let standing = standing(&ledger, 1);
    let mut now = 0;
    let figures = rounds(|| {
        let start = Instant::now();
        for _ in 0..CALLS {
            now += 1;
            pay_in_writing(&mut ledger, &state, now, &standing)?;
        }
        Ok(micros(start.elapsed(), CALLS))
    });
    state.end();
    figures
}

/// What a gateway takes to read what another one left that was killed.
fn begun_again() -> Result<Vec<f64>> {
    // Each takes a second.
    (0..5).map(|_| begin_again()).collect()
}

fn begin_again() -> Result<f64> {
    let place = TempDir::new()?;
    let (mut ledger, state) = open(&place)?;
    for workflow in 0..CALLS as u64 {
        let standing = standing(&ledger, workflow);
        pay_in_writing(&mut ledger, &state, workflow, &standing)?;
    }
    // As a kill leaves it: a copy, of what it has written.
    let copy = TempDir::new()?;
    fs::create_dir(copy.path().join("ledger"))?;
    fs::copy(place.path().join("ledger/journal-1"), copy.path().join("ledger/journal-1"))?;
    let start = Instant::now();
    let (again, killed) = open(&copy)?;
    let took = start.elapsed();
    ensure!(again.balances().count() == 2 * CALLS + 3, "an account is missing");
    killed.end();
    state.end();
    Ok(took.as_secs_f64() * 1000.0)
}

fn open(place: &TempDir) -> Result<(Ledger, State)> {
    let (state, replay) = State::open(place.path(), Timestamp(0))?;
    Ok((Ledger::restored(budgets(u64::MAX / 2), replay), state))
}

fn pay_in_writing(ledger: &mut Ledger, state: &State, now: u64, standing: &Standing) -> Result<()> {
    let granted = ledger.reserve(Timestamp(now), standing, &ask())?;
    state.write(&ledger.take_records())?;
    ledger.settle(Timestamp(now), black_box(granted).reservation, &spending());
    state.keep(&ledger.take_records());
    Ok(())
}

fn refused() -> Result<Vec<f64>> {
    let mut ledger = ledger(0);
    let standing = standing(&ledger, 1);
    rounds(|| {
        let start = Instant::now();
        for now in 0..CALLS as u64 {
            let denied = ledger.reserve(Timestamp(now), &standing, &ask());
            ensure!(black_box(denied).is_err(), "a budget of nothing allows a call");
        }
        Ok(micros(start.elapsed(), CALLS))
    })
}

fn pay(ledger: &mut Ledger, now: u64, standing: &Standing) -> Result<()> {
    let granted = ledger.reserve(Timestamp(now), standing, &ask())?;
    ledger.settle(Timestamp(now), black_box(granted).reservation, &spending());
    Ok(())
}

fn ledger(most: u64) -> Ledger {
    Ledger::new(budgets(most))
}

/// One budget of each scope, with limits of several kinds.
fn budgets(most: u64) -> Vec<Budget> {
    let scopes = [Scope::Workflow, Scope::Session, Scope::Agent, Scope::Tenant, Scope::Node];
    let amounts = Amounts::MOST
        .with(Dimension::OutputTokens, most)
        .with(Dimension::Usd, most)
        .with(Dimension::ModelCalls, most);
    let limits =
        Limits { amounts, concurrent_calls: Some(1000), depth: Some(8), ..Limits::default() };
    scopes.map(|scope| Budget::new(scope.as_str(), scope, limits.clone())).into()
}

fn standing(ledger: &Ledger, workflow: u64) -> Standing {
    let payers = ledger.payers("research".into(), Some("acme".into()));
    Standing { payers, session: SessionId(workflow), workflow: WorkflowId(workflow) }
}

const fn ask() -> Ask<'static> {
    let price = Price { input: NanoUsd(1_000_000), output: NanoUsd(15_000_000_000) };
    let order = Order { input: 2000, output: Some(500), choices: 1, price: Some(price) };
    Ask::model(order, true)
}

fn spending() -> Spending<'static> {
    let usage = Usage { input: 1800, output: 400, ..Usage::default() };
    let amounts = Amounts::of_model(&usage, NanoUsd(7_000_000));
    Spending { amounts, tools: &[], certainty: Certainty::Reported }
}

/// In each round.
const CALLS: usize = 10_000;
