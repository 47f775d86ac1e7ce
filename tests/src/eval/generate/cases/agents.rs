//! Agents that start others: the argument of a tool call is a sub-agent's first question, and its last
//! answer is the call's result.

use serde_json::{Value, json};
use turnpike::call::StepKind;

use super::{
    super::{thread::Thread, wire::Turn, world::World},
    loops::{finish, rounds_of},
};
use crate::eval::record::StepRef;

pub(super) fn one(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 1, 1);
    delegate(world, thread, 1, 0);
    finish(world, thread);
}

pub(super) fn nested(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    delegate(world, thread, 1, 2);
    finish(world, thread);
}

pub(super) fn parallel(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    delegate(world, thread, 4, 0);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}

/// Two tool calls of one answer start sub-agents on the very same task, at once.
pub(super) fn equal_tasks(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let task = world.random.wish();
    start(world, thread, &[task.clone(), task], 0);
    finish(world, thread);
}

/// A sub-agent in the background, which is told all that was said so far.
pub(super) fn forked(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 1, 1);
    let mut fork = thread.clone();
    fork.role = StepKind::Worker;
    fork.names = thread.names.within(&mut world.random);
    fork.now += world.random.between(1_000, 9_000);
    let task = world.random.wish();
    fork.hears(format!("You are a helper now. {task}"));
    rounds_of(world, &mut fork, 1, 1);
    finish(world, &mut fork);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}

/// So many sub-agents at once, each of which starts one of its own down to that depth.
fn delegate(world: &mut World, thread: &mut Thread, count: u64, depth: u64) {
    let tasks: Vec<String> = (0..count).map(|_| world.random.wish()).collect();
    start(world, thread, &tasks, depth);
}

fn start(world: &mut World, thread: &mut Thread, tasks: &[String], depth: u64) {
    let call = |task: &String| {
        ("delegate".to_owned(), json!({ "agent": "worker", "task": task }) as Value)
    };
    let reply = world.calling(thread, String::new(), tasks.iter().map(call).collect());
    let exchange = world.call(thread, reply);
    let (mut texts, mut end) = (Vec::new(), thread.now);
    for (at, task) in tasks.iter().enumerate() {
        let mut child = world.sub_agent(thread, StepRef::call(exchange, at), task);
        if depth > 0 {
            delegate(world, &mut child, 1, depth - 1);
        } else {
            rounds_of(world, &mut child, 1, 1);
        }
        finish(world, &mut child);
        if let Some(Turn::Assistant(reply)) = child.turns.last() {
            texts.push(reply.text.clone());
        }
        end = end.max(child.now);
    }
    thread.now = end + world.random.between(1_000, 20_000);
    World::results_are(thread, exchange, texts);
}
