//! A corpus from a seed: every case several times, so many workflows at once, in one process and over
//! the connections that it shares.

mod cases;
mod exchange;
mod framework;
pub(super) mod random;
mod thread;
mod wire;
mod world;

use std::collections::BTreeMap;

use self::{framework::Framework, thread::Thread, world::World};
use super::record::Record;

/// What a corpus is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// How many workflows are under way at once.
    pub at_once: usize,
    /// How often each case is there, at least.
    pub times: usize,
}

/// The records of a corpus, in the order in which they started.
pub fn corpus(plan: Plan) -> Vec<Record> {
    let mut world = World::new(plan.seed);
    let lanes = plan.at_once.max(1);
    let count = (cases::ALL.len() * plan.times).max(lanes);
    let mut order: Vec<usize> = (0..count).map(|at| at % cases::ALL.len()).collect();
    shuffle(&mut world, &mut order);
    // When each lane is free for its next workflow.
    let mut free: Vec<u64> = (0..lanes).map(|_| world.random.between(0, SPREAD_US)).collect();
    for case in order.iter().filter_map(|&at| cases::ALL.get(at)) {
        let soonest = free.iter_mut().min();
        let Some(lane) = soonest else { break };
        let frameworks: Vec<&'static Framework> =
            framework::ALL.iter().filter(|framework| (case.of)(framework)).collect();
        let framework = *world.random.pick(&frameworks);
        let mut thread = world.open(framework, case.name, START_US + *lane);
        settle_in(&mut world, &mut thread);
        (case.run)(&mut world, &mut thread);
        *lane = thread.now - START_US + world.random.between(1_000, 50_000);
    }
    let mut records = world.records;
    records.sort_by_key(|record| (record.start_us, record.exchange));
    connect(&mut records);
    records
}

/// Most run in one process; some in another one, or in another agent.
fn settle_in(world: &mut World, thread: &mut Thread) {
    match world.random.between(0, 15) {
        0 => thread.pid = 101,
        1 => (thread.agent, thread.pid) = (1, 900),
        _ => {}
    }
}

/// Fisher and Yates's.
fn shuffle(world: &mut World, order: &mut [usize]) {
    for at in (1..order.len()).rev() {
        let other = usize::try_from(world.random.between(0, at as u64)).unwrap_or(at);
        order.swap(at, other);
    }
}

/// Gives each exchange a connection: one of its process to its server that is free, else a new one.
fn connect(records: &mut [Record]) {
    let mut pools: BTreeMap<(u32, String), Vec<(u64, u64)>> = BTreeMap::new();
    let mut next = 0;
    for record in records {
        let headers = &record.request.headers;
        let host = headers.iter().find(|(name, _)| name == "host");
        let host = host.map(|(_, host)| host.clone()).unwrap_or_default();
        let pool = pools.entry((record.pid, host)).or_default();
        let free = pool.iter().rposition(|(_, until)| *until < record.start_us);
        let at = free.unwrap_or_else(|| {
            next += 1;
            pool.push((next, 0));
            pool.len() - 1
        });
        if let Some((connection, until)) = pool.get_mut(at) {
            (record.connection, *until) = (*connection, record.end_us);
        }
    }
}

/// Some time in 2026.
const START_US: u64 = 1_780_000_000_000_000;
/// In which lanes begin.
const SPREAD_US: u64 = 3_000_000;

#[cfg(test)]
mod tests;
