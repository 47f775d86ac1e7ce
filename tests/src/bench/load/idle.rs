//! What an open stream that says nothing costs in memory.

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Io, Job, Sample, block_on, connect, first_nonce, window::Meter};
use crate::bench::{
    probe,
    wire::{self, Protocol, Request, Rhythm, STAMP, Wanted},
};

pub(super) fn run(job: &Job, streams: u32) -> Result<Sample> {
    block_on(async {
        let rss = || job.watched.map(probe::rss_kb).transpose();
        let first = first_nonce();
        let mut open = Vec::new();
        for number in 0..FIRST {
            open.push(open_stream(job, first + number).await?);
        }
        let before = rss()?;
        let meter = Meter::start(job.watched)?;
        for number in 0..u64::from(streams) {
            open.push(open_stream(job, first + FIRST + number).await?);
        }
        let after = rss()?;
        let mut sample = meter.stop(streams.into())?;
        let grown = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        #[allow(clippy::cast_precision_loss, reason = "memory in kB is far below 2^52")]
        let each = grown.map(|grown| grown as f64 / f64::from(streams));
        sample.rss_kb = each;
        Ok(sample)
    })
}

/// Opens a stream and reads its first event: all that will ever come.
async fn open_stream(job: &Job, nonce: u64) -> Result<Box<dyn Io>> {
    let silent = Rhythm { events: 0, period_ms: 1, offset_ms: 0 };
    let mut request = Request::new(Protocol::Chat, REQUEST, Wanted::Stream(silent))?;
    let mut stream = connect(job).await?;
    stream.write_all(request.with_nonce(nonce)).await?;
    stream.flush().await?;
    let mut buffer = Vec::with_capacity(REQUEST);
    while !(buffer.contains(&STAMP) && buffer.ends_with(b"\r\n")) {
        ensure!(stream.read_buf(&mut buffer).await? > 0, "a stream ended before it began");
    }
    wire::head(&buffer)?.context("a stream without a head")?;
    wire::check_status(Protocol::Chat, &buffer)?;
    Ok(stream)
}

/// Streams that are open before: what is needed once does not count.
const FIRST: u64 = 16;
/// Bytes of the request's body.
const REQUEST: usize = 2000;
