//! A call with a long history, in an agent whose lineage is full.

use std::{hint::black_box, time::Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use turnpike::{
    call::{Answer, Prompt, Role, Timestamp},
    dialect::{Known, What},
    lineage::{Lineage, Outcome},
};
use turnpike_tests::{
    chat::{Chat, read},
    figure::{Figure, micros, rounds},
};

use crate::traffic::{TURNS, Traffic};

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let messages = prompt(&Chat::of(BYTES).body())?.messages.len();
    let mut busy = Busy::new();
    let placed = busy.place_new(false)?;
    let whole = Figure::new(
        "reading it, nothing of it known, then placing it",
        "µs",
        Some(AIM_MICROS),
        busy.place_new(true)?,
    );
    let tenth = Some((whole.median() / 10.0).round());
    Ok(vec![
        Figure::new(
            format!("placing a call of 200 kB, {messages} messages, that is read"),
            "µs",
            Some(AIM_MICROS),
            placed,
        ),
        whole,
        Figure::new("placing its next turn, that is read", "µs", tenth, busy.go_on(false)?),
        Figure::new(
            "reading its next turn, all but that known, then placing it",
            "µs",
            tenth,
            busy.go_on(true)?,
        ),
        Figure::new("the SHA-256 of the request, a part of reading it", "µs", None, digest()?),
    ])
}

/// An agent with as many live workflows as its lineage remembers.
struct Busy {
    lineage: Lineage,
    now: Timestamp,
}

impl Busy {
    fn new() -> Self {
        let (mut lineage, mut now) = (Lineage::new(1), Timestamp(0));
        let traffic = Traffic { workflows: Traffic::PER_AGENT };
        for (_, call) in (0..TURNS).flat_map(|turn| traffic.calls(turn)) {
            let placement = lineage.place(call.at, &call.prompt());
            lineage.finish(placement.step, call.at, &call.outcome());
            now = call.at;
        }
        Self { lineage, now }
    }

    /// Calls that go on from nothing that is known.
    fn place_new(&mut self, with_reading: bool) -> Result<Vec<f64>> {
        let body = Chat::of(BYTES).body();
        let mut round = 0;
        rounds(|| {
            round += 1;
            self.now.0 += MINUTE;
            let mut known = Known::default();
            let start = Instant::now();
            let mut asked = read(&body, &mut known)?.1;
            let reading = start.elapsed();
            let What::Model(prompt) = &mut asked.what else { bail!("not a model's call") };
            // Another conversation each time, of which nothing is known.
            for message in &mut prompt.messages {
                message.hash ^= round << 64;
            }
            let start = Instant::now();
            black_box(self.lineage.place(self.now, prompt));
            known.keep(asked);
            let placing = start.elapsed();
            Ok(micros(if with_reading { reading + placing } else { placing }, 1))
        })
    }

    /// The turns of a conversation, each with all that was said before.
    fn go_on(&mut self, with_reading: bool) -> Result<Vec<f64>> {
        let mut chat = Chat::of(BYTES);
        let mut known = Known::default();
        rounds(|| {
            self.now.0 += MINUTE;
            let body = chat.body();
            chat.go_on();
            let outcome = answer(prompt(&chat.body())?)?;
            let start = Instant::now();
            let asked = read(&body, &mut known)?.1;
            let reading = start.elapsed();
            let What::Model(prompt) = &asked.what else { bail!("not a model's call") };
            let start = Instant::now();
            let placement = self.lineage.place(self.now, prompt);
            known.keep(asked);
            let placing = start.elapsed();
            self.lineage.finish(placement.step, self.now, &outcome);
            Ok(micros(if with_reading { reading + placing } else { placing }, 1))
        })
    }
}

fn digest() -> Result<Vec<f64>> {
    let body = Chat::of(BYTES).body();
    rounds(|| {
        let start = Instant::now();
        black_box(Sha256::digest(black_box(&body)));
        Ok(micros(start.elapsed(), 1))
    })
}

fn prompt(body: &[u8]) -> Result<Prompt> {
    match read(body, &mut Known::default())?.1.what {
        What::Model(prompt) => Ok(prompt),
        What::Tool(_) => bail!("not a model's call"),
    }
}

/// The answer that this request goes on from.
fn answer(prompt: Prompt) -> Result<Outcome> {
    let mut messages = prompt.messages.into_iter();
    let last = messages.rfind(|message| message.role == Role::Assistant).context("an answer")?;
    let answer = Answer { choices: vec![last], complete: true, ..Answer::default() };
    Ok(Outcome { answer, status: Some(200), failure: None })
}

const BYTES: usize = 200_000;
const AIM_MICROS: f64 = 300.0;
const MINUTE: u64 = 60_000_000;
