//! `cargo xtask bench dialect` runs this: what it costs to read a call, and to price it. In this process, on one core,
//! without a network; each figure beside its aim.

use std::{
    fmt,
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;
use serde_json::{Value, json};
use turnpike::{
    call::{Dialect, Timestamp, Usage},
    dialect::{Known, Observer, RequestInfo, ResponseInfo, detect},
    price::{Prices, Purchase},
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
        Figure::new("a chat request of 200 kB that nothing is known of", "µs", 500.0, cold(LARGE)?),
        Figure::new(
            "a chat request of 200 kB that goes on from a known one",
            "µs",
            500.0,
            known()?,
        ),
        Figure::new("a chat request of 2 kB", "µs", 10.0, cold(SMALL)?),
        Figure::new("an event of a streamed chat answer", "µs", 1.5, events()?),
        Figure::new("allocations for such an event", "", 0.0, allocations()?),
        Figure::new("the price table, when it is first needed", "µs", 10_000.0, first_price()?),
        Figure::new("a price", "µs", 5.0, price()?),
    ];
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "figures": figures }))?);
    } else {
        for figure in &figures {
            println!("{figure}");
        }
    }
    Ok(())
}

/// One thing that is measured, over the rounds.
#[derive(Debug, Serialize)]
struct Figure {
    what: &'static str,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    at_most: f64,
    met: bool,
}

impl Figure {
    fn new(what: &'static str, unit: &'static str, at_most: f64, mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |place: usize| rounds.get(place).copied().unwrap_or(f64::NAN);
        let (median, min, max) = (at(rounds.len() / 2), at(0), at(rounds.len().saturating_sub(1)));
        Self { what, unit, median, min, max, at_most, met: median <= at_most }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "met   " } else { "MISSED" };
        let Self { what, unit, median, min, max, at_most, .. } = self;
        write!(f, "{verdict}  {what}: {median:.2} ({min:.2}–{max:.2}) {unit} (aim ≤ {at_most})")
    }
}

/// Requests of so many bytes, each to an agent that nothing is known of.
fn cold(bytes: usize) -> Result<Vec<f64>> {
    let body = Conversation::of(bytes).body();
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
    let mut conversation = Conversation::of(LARGE);
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

/// Of an event once the stream has been going on for a while.
fn allocations() -> Result<Vec<f64>> {
    let event = event();
    let mut observer = answering()?;
    for _ in 0..EVENTS {
        observer.response_body(&event);
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..EVENTS {
            observer.response_body(&event);
        }
    });
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

fn rounds(mut round: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    // The first ones find nothing in the caches, nor a clock that has sped up.
    for _ in 0..ROUNDS / 5 {
        round()?;
    }
    (0..ROUNDS).map(|_| round()).collect()
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn micros(span: Duration, times: usize) -> f64 {
    span.as_nanos() as f64 / 1000.0 / times as f64
}

/// Reads a request as it is read on its way, in pieces.
fn ask(body: &[u8], known: &mut Known) -> Result<Observer> {
    let mut observer = detect(&RequestInfo {
        method: "POST",
        host: None,
        target: "/v1/chat/completions",
        content_type: Some("application/json"),
        content_encoding: None,
        content_length: Some(body.len() as u64),
        client_retry: None,
        signals: &[],
    })
    .context("a chat completion")?;
    for piece in body.chunks(PIECE) {
        observer.request_body(piece);
    }
    for asked in observer.request_end(known)? {
        known.keep(black_box(asked));
    }
    Ok(observer)
}

/// A stream that has begun.
fn answering() -> Result<Observer> {
    let mut observer = ask(&Conversation::of(SMALL).body(), &mut Known::default())?;
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

/// Instructions, a task, then calls of a tool and what it found, by turns.
struct Conversation(Vec<Value>);

impl Conversation {
    /// One whose request has about so many bytes.
    fn of(bytes: usize) -> Self {
        let mut conversation = Self(vec![
            json!({"role": "system", "content": "You are a careful assistant. ".repeat(20)}),
            json!({"role": "user", "content": "Tidy the project, file by file."}),
        ]);
        while conversation.body().len() < bytes {
            conversation.go_on();
        }
        conversation
    }

    fn go_on(&mut self) {
        let number = self.0.len();
        let id = format!("call_{number:024x}");
        let lines =
            (0..16).map(|line| format!("{line:4}  let part_{number} = \"a word or two\";\n"));
        let arguments = json!({"path": format!("src/part_{number}.rs")}).to_string();
        let call = json!({"id": id, "type": "function",
            "function": {"name": "read_file", "arguments": arguments}});
        self.0.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        let content = lines.collect::<String>();
        self.0.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
    }

    fn body(&self) -> Vec<u8> {
        json!({"messages": self.0, "model": "gpt-4o-mini", "stream": true}).to_string().into_bytes()
    }
}

const LARGE: usize = 200_000;
const SMALL: usize = 2_000;
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;
/// Events of a stream.
const EVENTS: usize = 10_000;
/// Prices that are asked for in a round.
const PRICES: usize = 1000;
/// How often each is measured.
const ROUNDS: usize = 101;
