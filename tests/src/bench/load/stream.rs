//! Streams of events: how much later than it was sent does each arrive?

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use super::{BUFFER, Io, Job, Sample, block_on, connect, first_nonce, window::Window};
use crate::bench::{
    statistics::Percentiles,
    wire::{self, Protocol, Request, Rhythm, STAMP, STAMP_DIGITS, Wanted},
};

pub(super) fn run(job: &Job, streams: u32, period_ms: u32, millis: u32) -> Result<Sample> {
    block_on(async {
        let window = Arc::new(Window::default());
        let mut clients = JoinSet::new();
        let first = first_nonce();
        let events = (millis + MARGIN_MS) / period_ms;
        for number in 0..streams {
            // Models do not speak in chorus.
            let offset_ms = period_ms * number / streams;
            let wanted = Wanted::Stream(Rhythm { events, period_ms, offset_ms });
            let mut request = Request::new(Protocol::Chat, REQUEST, wanted)?;
            let mut stream = connect(job).await?;
            stream.write_all(request.with_nonce(first + u64::from(number))).await?;
            stream.flush().await?;
            let window = Arc::clone(&window);
            clients.spawn(async move { follow(stream, events, &window).await });
        }
        tokio::time::sleep(Duration::from_millis((MARGIN_MS / 2).into())).await;
        let sample = window.measure(Duration::from_millis(millis.into()), job.watched).await?;
        let mut delays = Vec::new();
        while let Some(ended) = clients.join_next().await {
            let ended: Result<Vec<u64>> = ended?;
            delays.extend(ended?);
        }
        Ok(Sample { delays: Percentiles::of(delays), ..sample })
    })
}

/// Reads a stream to its end. The delays, in nanoseconds, of events that came in the window.
async fn follow(mut stream: Box<dyn Io>, events: u32, window: &Window) -> Result<Vec<u64>> {
    let mut delays = Vec::new();
    let mut seen = 0;
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut head_read = false;
    loop {
        ensure!(stream.read_buf(&mut buffer).await? > 0, "a stream was cut after {seen} events");
        let now = wire::now_ns();
        if !head_read {
            let Some(head) = wire::head(&buffer)?.map(str::len) else { continue };
            wire::check_status(Protocol::Chat, &buffer)?;
            buffer.drain(..head);
            head_read = true;
        }
        while let Some((sent, end)) = stamp(&buffer)? {
            buffer.drain(..end);
            seen += 1;
            if window.count() {
                delays.push(now.saturating_sub(sent));
            }
        }
        if buffer.ends_with(b"0\r\n\r\n") {
            ensure!(seen == events, "a stream of {seen} events, not {events}");
            return Ok(delays);
        }
    }
}

/// The first event's time, and where it ends in the buffer.
fn stamp(buffer: &[u8]) -> Result<Option<(u64, usize)>> {
    let Some(at) = buffer.iter().position(|byte| *byte == STAMP) else { return Ok(None) };
    let end = at + 1 + STAMP_DIGITS;
    let Some(digits) = buffer.get(at + 1..end) else { return Ok(None) };
    let sent = str::from_utf8(digits)?.parse().context("an event's time")?;
    Ok(Some((sent, end)))
}

/// Bytes of the request's body.
const REQUEST: usize = 2000;
/// A stream's length beyond the window: half of it before, half of it after.
const MARGIN_MS: u32 = 500;
