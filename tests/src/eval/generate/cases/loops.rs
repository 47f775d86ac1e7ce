//! One conversation that goes on.

use serde_json::json;

use super::super::{
    thread::Thread,
    wire::Reply,
    world::{Manner, World},
};

pub(super) fn one_answer(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    finish(world, thread);
}

pub(super) fn tool_loop(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let rounds = world.random.between(2, 5);
    rounds_of(world, thread, rounds, 1);
    finish(world, thread);
}

pub(super) fn parallel_tools(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 2, 4);
    finish(world, thread);
}

pub(super) fn second_wish(world: &mut World, thread: &mut Thread) {
    tool_loop(world, thread);
    for _ in 0..2 {
        world.next_wish(thread);
        rounds_of(world, thread, 1, 2);
        finish(world, thread);
    }
}

pub(super) fn mcp(world: &mut World, thread: &mut Thread) {
    let session = world.random.hex();
    world.wish(thread);
    for _ in 0..2 {
        let count = world.random.between(1, 3);
        let reply = world.calls(thread, count);
        let exchange = world.call(thread, reply);
        world.mcp(thread, exchange, &session);
    }
    finish(world, thread);
}

/// What many others call at the same time, too.
pub(super) fn mcp_equal(world: &mut World, thread: &mut Thread) {
    let session = world.random.hex();
    world.wish(thread);
    let tools = vec![("list_files".to_owned(), json!({ "path": "." }))];
    let reply = world.calling(thread, String::new(), tools);
    let exchange = world.call(thread, reply);
    world.mcp(thread, exchange, &session);
    finish(world, thread);
}

/// Pages are read: some named as they are, some within a command.
pub(super) fn fetch(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    for _ in 0..2 {
        let count = world.random.between(1, 3);
        let pages: Vec<String> =
            (0..count).map(|_| format!("/pages/{}?raw=1", world.random.hex())).collect();
        fetch_pages(world, thread, &pages);
    }
    finish(world, thread);
}

/// A page that many others read at the same time, too.
pub(super) fn fetch_equal(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    fetch_pages(world, thread, &["/".to_owned()]);
    finish(world, thread);
}

fn fetch_pages(world: &mut World, thread: &mut Thread, pages: &[String]) {
    let host = "docs.internal:8080";
    let in_command = world.random.between(0, 1) == 0;
    let tool = |page: &String| {
        let url = format!("http://{host}{page}");
        if in_command {
            ("shell".to_owned(), json!({ "command": format!("curl -s '{url}' | head") }))
        } else {
            ("fetch".to_owned(), json!({ "url": url }))
        }
    };
    let tools = pages.iter().map(tool).collect();
    let reply = world.calling(thread, String::new(), tools);
    let exchange = world.call(thread, reply);
    world.fetch(thread, exchange, host, pages);
}

/// Tools are called in words, and their results are what the user says.
pub(super) fn text_protocol(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    for _ in 0..3 {
        let text = format!("Thought: {}\nAction: run", world.random.text(4, 9));
        let manner = Manner { kind: Some(thread.role), most: None };
        world.call_as(thread, manner, &[Reply { text, calls: Vec::new() }], 0);
        thread.now += world.random.between(2_000, 900_000);
        let seen = world.random.text(3, 20);
        thread.hears(format!("Observation: {seen}"));
    }
    finish(world, thread);
}

pub(super) fn several_choices(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let choices = [world.says(), world.says(), world.says()];
    world.call_as(thread, Manner::default(), &choices, 1);
    world.next_wish(thread);
    finish(world, thread);
}

/// Ends are noticed after what follows from them has begun.
pub(super) fn skewed(world: &mut World, thread: &mut Thread) {
    thread.skew_us = 8_000;
    world.wish(thread);
    for _ in 0..3 {
        let reply = world.calls(thread, 1);
        let exchange = world.call(thread, reply);
        // Tools that take no time.
        let result = world.random.text(3, 9);
        World::results_are(thread, exchange, vec![result]);
    }
    finish(world, thread);
}

pub(super) fn lost_first(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    let reply = world.calls(thread, 1);
    let exchange = world.call(thread, reply);
    world.lose(exchange);
    world.results(thread, exchange);
    rounds_of(world, thread, 2, 1);
    finish(world, thread);
}

pub(super) fn lost_middle(world: &mut World, thread: &mut Thread) {
    world.wish(thread);
    rounds_of(world, thread, 2, 1);
    let reply = world.calls(thread, 1);
    let exchange = world.call(thread, reply);
    world.lose(exchange);
    world.results(thread, exchange);
    rounds_of(world, thread, 1, 1);
    finish(world, thread);
}

/// So many times a model calls up to so many tools, and has their results.
pub(super) fn rounds_of(world: &mut World, thread: &mut Thread, rounds: u64, most: u64) {
    for _ in 0..rounds {
        let count = world.random.between(most.min(2), most);
        let reply = world.calls(thread, count);
        let exchange = world.call(thread, reply);
        world.results(thread, exchange);
    }
}

pub(super) fn finish(world: &mut World, thread: &mut Thread) {
    let reply = world.says();
    world.call(thread, reply);
}
