//! `cargo xtask bench dialect` runs this: what it costs to read a call, and to price it. In this process, on one core,
//! without a network; each figure beside its aim.

use std::{hint::black_box, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::json;
use turnpike::{
    call::{Dialect, Timestamp, Usage},
    dialect::{Known, Observer, Progress, ResponseInfo, cut::Place},
    price::{Prices, Purchase},
};
use turnpike_tests::{
    chat::{Chat, read},
    figure::{self, Figure, micros, rounds},
};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench dialect", about = "Measures what it costs to read a call")]
struct Arguments {
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let figures = [
        Figure::new(
            "a chat request of 200 kB that nothing is known of",
            "µs",
            Some(500.0),
            cold(LARGE)?,
        ),
        Figure::new(
            "a chat request of 200 kB that goes on from a known one",
            "µs",
            Some(500.0),
            known()?,
        ),
        Figure::new("a chat request of 2 kB", "µs", Some(10.0), cold(SMALL)?),
        Figure::new("an event of a streamed chat answer", "µs", Some(1.5), events()?),
        Figure::new("the same, held to what is held for it", "µs", Some(1.5), measured()?),
        Figure::new("allocations for such an event", "", Some(0.0), allocations()?),
        Figure::new(
            "the price table, when it is first needed",
            "µs",
            Some(10_000.0),
            first_price()?,
        ),
        Figure::new("a price", "µs", Some(5.0), price()?),
    ];
    figure::print(&figures, arguments.json)
}

/// Requests of so many bytes, each to an agent that nothing is known of.
fn cold(bytes: usize) -> Result<Vec<f64>> {
    let body = Chat::of(bytes).body();
    let repeats = (LARGE / bytes).clamp(1, 200);
    rounds(|| {
        let agents: Vec<_> = (0..repeats).map(|_| Known::default()).collect();
        let start = Instant::now();
        for mut known in agents {
            ask(&body, &mut known)?;
        }
        Ok(micros(start.elapsed(), repeats))
    })
}

/// The turns of a conversation, each with all that was said before.
fn known() -> Result<Vec<f64>> {
    let mut conversation = Chat::of(LARGE);
    let mut known = Known::default();
    ask(&conversation.body(), &mut known)?;
    rounds(|| {
        conversation.go_on();
        let body = conversation.body();
        let start = Instant::now();
        ask(&body, &mut known)?;
        Ok(micros(start.elapsed(), 1))
    })
}

fn events() -> Result<Vec<f64>> {
    let event = event();
    rounds(|| {
        let mut observer = answering()?;
        let start = Instant::now();
        for _ in 0..EVENTS {
            observer.response_body(black_box(&event));
        }
        Ok(micros(start.elapsed(), EVENTS))
    })
}

/// As an answer is read that is to end where it comes to too much.
fn measured() -> Result<Vec<f64>> {
    let event = event();
    rounds(|| {
        let (mut observer, mut place) = (answering()?, place()?);
        let start = Instant::now();
        for _ in 0..EVENTS {
            measure(&mut observer, &mut place, black_box(&event))?;
        }
        Ok(micros(start.elapsed(), EVENTS))
    })
}

fn place() -> Result<Place> {
    Place::new(Some("text/event-stream"), None).context("it is a stream")
}

/// How far an answer has come with this event.
fn measure(observer: &mut Observer, place: &mut Place, event: &[u8]) -> Result<Progress> {
    let end = place.event_end(event).context("it is whole")?;
    let (event, _) = event.split_at(end);
    observer.response_body(event);
    place.passed(event);
    observer.progress().context("it streams")
}

/// Of an event once the stream has been going on for a while.
fn allocations() -> Result<Vec<f64>> {
    let event = event();
    let (mut observer, mut place) = (answering()?, place()?);
    for _ in 0..EVENTS {
        measure(&mut observer, &mut place, &event)?;
    }
    let mut read = Ok(());
    let counted = allocation_counter::measure(|| {
        for _ in 0..EVENTS {
            read = measure(&mut observer, &mut place, &event).map(drop);
        }
    });
    read?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(vec![counted.count_total as f64 / EVENTS as f64])
}

/// Once: it is kept from then on.
fn first_price() -> Result<Vec<f64>> {
    let start = Instant::now();
    buy()?;
    Ok(vec![micros(start.elapsed(), 1)])
}

fn price() -> Result<Vec<f64>> {
    rounds(|| {
        let start = Instant::now();
        for _ in 0..PRICES {
            buy()?;
        }
        Ok(micros(start.elapsed(), PRICES))
    })
}

/// Of the provider with most models.
fn buy() -> Result<()> {
    let purchase = Purchase {
        host: Some("openrouter.ai"),
        dialect: Some(Dialect::OpenaiChat),
        response_model: Some(black_box("anthropic/claude-haiku-4.5")),
        ..Purchase::at(Timestamp(1_796_040_000_000_000))
    };
    let usage = Usage { input: 1000, output: 100, ..Usage::default() };
    black_box(Prices::default().cost(&purchase, &usage)).context("a price").map(drop)
}

fn ask(body: &[u8], known: &mut Known) -> Result<Observer> {
    let (observer, asked) = read(body, known)?;
    known.keep(black_box(asked));
    Ok(observer)
}

/// A stream that has begun.
fn answering() -> Result<Observer> {
    let mut observer = ask(&Chat::of(SMALL).body(), &mut Known::default())?;
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type: Some("text/event-stream"),
        content_encoding: None,
        signals: &[],
    });
    Ok(observer)
}

/// As `OpenAI` writes it.
fn event() -> Vec<u8> {
    let choice = json!({"index": 0, "delta": {"content": " word"}, "logprobs": null,
        "finish_reason": null});
    let chunk = json!({"id": "chatcmpl-C2ZvOGAq4H1SJ2oUyjmYt3LqKcPxw", "object":
        "chat.completion.chunk", "created": 1_780_000_000, "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default", "system_fingerprint": "fp_560af6e559", "choices": [choice],
        "usage": null, "obfuscation": "sX9dKq"});
    format!("data: {chunk}\n\n").into_bytes()
}

const LARGE: usize = 200_000;
const SMALL: usize = 2_000;
/// Events of a stream.
const EVENTS: usize = 10_000;
/// Prices that are asked for in a round.
const PRICES: usize = 1000;
