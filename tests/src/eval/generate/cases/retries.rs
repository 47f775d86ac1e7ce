//! Calls that are made again.

use super::{
    super::{
        thread::Thread,
        world::{Fault, Manner, World},
    },
    loops::{finish, rounds_of},
};

pub(super) fn rate_limit(world: &mut World, thread: &mut Thread) {
    retried(world, thread, Fault::Status(429), "rate_limit");
}

pub(super) fn overloaded(world: &mut World, thread: &mut Thread) {
    let status = *world.random.pick(&[500, 502, 503, 529]);
    retried(world, thread, Fault::Status(status), "overloaded");
}

pub(super) fn timeout_told(world: &mut World, thread: &mut Thread) {
    retried(world, thread, Fault::Status(408), "timeout");
}

pub(super) fn timeout(world: &mut World, thread: &mut Thread) {
    retried(world, thread, Fault::GivesUp, "timeout");
}

pub(super) fn conn_reset(world: &mut World, thread: &mut Thread) {
    retried(world, thread, Fault::Reset, "conn_reset");
}

pub(super) fn truncated(world: &mut World, thread: &mut Thread) {
    retried(world, thread, Fault::Truncated, "stream_truncated");
}

pub(super) fn aborted(world: &mut World, thread: &mut Thread) {
    retried(world, thread, Fault::Aborts, "client_abort");
}

pub(super) fn auth(world: &mut World, thread: &mut Thread) {
    let status = *world.random.pick(&[401, 403]);
    retried(world, thread, Fault::Status(status), "auth");
}

/// Another model is asked the same.
pub(super) fn fallback(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 1, 1);
    world.fails(thread, Fault::Status(503), "fallback_model");
    thread.counts_anew();
    thread.model = "fallback-model";
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}

/// The answer is whole, and not what the framework can use.
pub(super) fn invalid(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 1, 1);
    let before = thread.clone();
    let reply = world.says();
    // Whether an answer that nobody wants is final is left open.
    let exchange = world.call_as(thread, Manner::default(), &[reply], 0);
    if let Some(truth) = world.records.last_mut().and_then(|record| record.truth.as_mut()) {
        truth.kind = None;
    }
    *thread = Thread { now: thread.now, ..before };
    world.is_to_be_repeated(thread, exchange, "content_invalid");
    thread.counts_anew();
    finish(world, thread);
}

/// The very first call fails twice.
pub(super) fn several(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    world.fails(thread, Fault::Status(429), "rate_limit");
    world.fails(thread, Fault::Status(529), "overloaded");
    rounds_of(world, thread, 2, 1);
    finish(world, thread);
}

fn retried(world: &mut World, thread: &mut Thread, fault: Fault, reason: &'static str) {
    world.wish(thread);
    rounds_of(world, thread, 1, 1);
    world.fails(thread, fault, reason);
    // By the SDK, or by the framework on top of it.
    if world.random.between(0, 1) == 0 {
        thread.counts_anew();
    }
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}
