//! The same, said twice, which is no retry.

use super::{
    super::{
        thread::Thread,
        world::{Fault, World},
    },
    loops::{finish, rounds_of},
};

/// Two users ask the very same thing at once, and are answered differently.
pub(super) fn at_once(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let mut other = world.sibling(thread);
    for thread in [&mut *thread, &mut other] {
        rounds_of(world, thread, 2, 1);
        finish(world, thread);
    }
    thread.now = thread.now.max(other.now);
}

/// They are answered alike, too, until the end.
pub(super) fn all_equal(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let mut other = world.sibling(thread);
    let tools = vec![world.random.tool()];
    let result = world.random.text(3, 9);
    for thread in [&mut *thread, &mut other] {
        let reply = world.calling(thread, String::new(), tools.clone());
        let exchange = world.call(thread, reply);
        World::results_are(thread, exchange, vec![result.clone()]);
        finish(world, thread);
    }
    thread.now = thread.now.max(other.now);
}

/// The one who asked second is refused, and tries again while the first goes on.
pub(super) fn one_fails(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let mut other = world.sibling(thread);
    world.fails(&mut other, Fault::Status(429), "rate_limit");
    for thread in [&mut *thread, &mut other] {
        rounds_of(world, thread, 2, 1);
        finish(world, thread);
    }
    thread.now = thread.now.max(other.now);
}

/// They ask different agents.
pub(super) fn two_agents(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let mut other = world.sibling(thread);
    (other.agent, other.pid) = (1, 900);
    for thread in [&mut *thread, &mut other] {
        rounds_of(world, thread, 2, 1);
        finish(world, thread);
    }
    thread.now = thread.now.max(other.now);
}

/// One asks after the other has been answered.
pub(super) fn later(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let other = world.sibling(thread);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
    let mut other =
        Thread { now: thread.now + world.random.between(1_000_000, 9_000_000), ..other };
    rounds_of(world, &mut other, 1, 1);
    finish(world, &mut other);
    thread.now = other.now;
}

/// The model is asked twice at once, on purpose, and the second answer is gone on from.
pub(super) fn best_of_two(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 1, 1);
    let mut other = thread.clone();
    other.now += world.random.between(1, 9_000);
    let reply = world.calls(&other, 1);
    world.call(&mut other, reply);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}
