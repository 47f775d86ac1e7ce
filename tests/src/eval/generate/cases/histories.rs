//! Conversations that are gone back in, changed or begun anew, and calls beside them.

use turnpike::call::StepKind;

use super::{
    super::{
        thread::Thread,
        wire::{Reply, Turn},
        world::{Fault, Manner, World},
    },
    loops::{finish, rounds_of, tool_loop},
};
use crate::eval::record::StepRef;

/// The second wish is taken back, and another one made in its place.
pub(super) fn rewind(world: &mut World, thread: &mut Thread) {
    tool_loop(world, thread);
    let checkpoint = thread.clone();
    world.next_wish(thread);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
    *thread = Thread { now: thread.now + 5_000_000, ..checkpoint };
    world.next_wish(thread);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}

/// Two wishes go on from one answer at the same time.
pub(super) fn fork(world: &mut World, thread: &mut Thread) {
    tool_loop(world, thread);
    let mut other = thread.clone();
    for thread in [&mut *thread, &mut other] {
        world.next_wish(thread);
        rounds_of(world, thread, 2, 1);
        finish(world, thread);
    }
    thread.now = thread.now.max(other.now);
}

/// Old results are cut short to save room; the conversation goes on from newer ones.
pub(super) fn edited_results(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 3, 1);
    let mut results = thread.turns.iter_mut().filter_map(|turn| match turn {
        Turn::Results(results) => results.first_mut(),
        _ => None,
    });
    if let Some(result) = results.next() {
        "[old result]".clone_into(&mut result.text);
    }
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}

/// The user changes what the model said, and asks on.
pub(super) fn edited_answer(world: &mut World, thread: &mut Thread) {
    tool_loop(world, thread);
    if let Some(Turn::Assistant(reply)) = thread.turns.last_mut() {
        reply.text.push_str(" Corrected.");
    }
    world.next_wish(thread);
    finish(world, thread);
}

/// Only the instructions and the last turns are sent: the wish is gone.
pub(super) fn trimmed(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 4, 1);
    thread.turns.drain(1..4);
    finish(world, thread);
}

/// The user stops an answer and says more: the wish is still the same one.
pub(super) fn interrupted(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let exchange = world.fails(thread, Fault::Aborts, "client_abort");
    thread.failed = None;
    thread.parents = vec![StepRef::exchange(exchange)];
    let more = world.random.text(4, 9);
    thread.hears(more);
    rounds_of(world, thread, 2, 1);
    finish(world, thread);
}

/// The conversation is summed up, and goes on from that.
pub(super) fn compaction(world: &mut World, thread: &mut Thread) {
    let wish = world.wish(thread);
    rounds_of(world, thread, 3, 1);
    thread.hears("Summarise all that was said so far, for somebody who goes on with the work.");
    let summary = world.says();
    world.utility(thread, summary.clone(), None);
    let head = thread.turns.first().cloned();
    let said = format!("<summary>\n{}\n</summary>\nGo on with: {wish}", summary.text);
    thread.begins_anew(head.into_iter().chain([Turn::User(said)]).collect());
    rounds_of(world, thread, 2, 1);
    finish(world, thread);
}

/// While the first call runs another one finds a title.
pub(super) fn title(world: &mut World, thread: &mut Thread) {
    let wish = world.wish(thread);
    // Many say no more than what the user said.
    let says = match world.random.between(0, 1) {
        0 => wish,
        _ => format!("Write a title for a conversation that begins so: {wish}"),
    };
    let mut beside = world.beside(thread, "You write titles of five words.", &says);
    beside.now += 1;
    title_of(world, &mut beside);
    rounds_of(world, thread, 2, 1);
    finish(world, thread);
}

/// A small model says what kind of answer that was.
pub(super) fn classifier(world: &mut World, thread: &mut Thread) {
    tool_loop(world, thread);
    let answer = match thread.turns.last() {
        Some(Turn::Assistant(reply)) => reply.text.clone(),
        _ => String::new(),
    };
    let says = format!("Does this answer the question? {answer}");
    let mut beside = world.beside(thread, "Say yes or no.", &says);
    title_of(world, &mut beside);
}

/// Before all else it is tried whether there is any quota left.
pub(super) fn probe(world: &mut World, thread: &mut Thread) {
    let mut beside = world.beside(thread, thread.framework.instructions, "quota");
    let reply = Reply { text: "I".to_owned(), calls: Vec::new() };
    world.utility(&mut beside, reply, Some(1));
    thread.now = beside.now + 20_000;
    tool_loop(world, thread);
}

/// The first call is made once before, only so that its prompt is known.
pub(super) fn prewarm(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let mut warm = thread.clone();
    let reply = Reply { text: "I".to_owned(), calls: Vec::new() };
    let manner = Manner { kind: Some(StepKind::Utility), most: Some(1) };
    world.call_as(&mut warm, manner, &[reply], 0);
    thread.now = warm.now + 300_000;
    rounds_of(world, thread, 2, 1);
    finish(world, thread);
}

fn title_of(world: &mut World, beside: &mut Thread) {
    let text = world.random.text(3, 5);
    world.utility(beside, Reply { text, calls: Vec::new() }, Some(32));
}
