//! The load: one process for each job, which watches the proxy's process meanwhile.

mod fixed;
mod idle;
mod saturate;
mod stream;
mod window;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    statistics::Percentiles,
    wire::{self, Protocol},
};

/// What to do, to whom, and whom to watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) address: SocketAddr,
    /// The proxy's process; none where there is no proxy.
    pub(super) watched: Option<u32>,
    pub(super) work: Work,
}

/// The shape of the load. Bodies have `bytes` bytes, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Requests at a fixed rate, whether or not earlier ones are answered: the delay counts from
    /// when a request should have been sent.
    Fixed { protocol: Protocol, connections: u32, bytes: usize, per_second: u32, millis: u32 },
    /// On each connection the next request as soon as the last is answered.
    Saturate { protocol: Protocol, connections: u32, bytes: usize, millis: u32 },
    /// Streams whose every event says when it was sent.
    Stream { streams: u32, period_ms: u32, millis: u32 },
    /// Streams that stay open and say nothing more.
    Idle { streams: u32 },
}

/// What came of a job.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Requests, events or streams.
    pub(super) done: u64,
    pub(super) seconds: f64,
    #[serde(default)]
    pub(super) delays: Option<Percentiles>,
    /// What the watched process used meanwhile, for each one done.
    #[serde(default)]
    pub(super) cpu_us: Option<f64>,
    #[serde(default)]
    pub(super) rss_kb: Option<f64>,
}

impl Job {
    /// Does it. Errors on the first answer that is not whole and right.
    pub(super) fn run(&self) -> Result<Sample> {
        match self.work {
            Work::Fixed { protocol, connections, bytes, per_second, millis } => {
                let total = u64::from(per_second) * u64::from(millis) / 1000;
                fixed::run(self, protocol, bytes, connections, per_second, total)
            }
            Work::Saturate { protocol, connections, bytes, millis } => {
                saturate::run(self, protocol, bytes, connections, millis)
            }
            Work::Stream { streams, period_ms, millis } => {
                stream::run(self, streams, period_ms, millis)
            }
            Work::Idle { streams } => idle::run(self, streams),
        }
    }
}

/// Sends a request on a connection and reads its answer to the end.
async fn exchange(
    stream: &mut TcpStream,
    protocol: Protocol,
    request: &[u8],
    answer: Answer,
    buffer: &mut [u8],
) -> Result<()> {
    stream.write_all(request).await?;
    let mut have = 0;
    let length = loop {
        let read = stream.read(&mut buffer[have..]).await?;
        ensure!(read > 0, "the connection ended before the answer");
        have += read;
        if let Some(length) = answer.check(protocol, &buffer[..have])? {
            break length;
        }
    };
    while have < length {
        let read = stream.read(buffer).await?;
        ensure!(read > 0, "the connection ended in the answer");
        have += read;
    }
    ensure!(have == length, "more than an answer");
    Ok(())
}

/// The answer that must come.
#[derive(Clone, Copy, Debug)]
struct Answer {
    body: usize,
}

impl Answer {
    /// The length of the answer that begins so, once it can be told. Errors on another one than
    /// was asked for.
    fn check(self, protocol: Protocol, beginning: &[u8]) -> Result<Option<usize>> {
        let Some(length) = wire::message_length(protocol, beginning)? else { return Ok(None) };
        wire::check_status(protocol, beginning)?;
        let head = match protocol {
            Protocol::Chat => wire::head(beginning)?.context("half a head")?.len() + 4,
            Protocol::Binary => 4,
        };
        ensure!(length == head + self.body, "an answer of {} bytes", length - head);
        Ok(Some(length))
    }
}

/// Where a job's nonces begin: no two jobs share any.
fn first_nonce() -> u64 {
    wire::now_ns() << 8
}

/// Runs a job's asynchronous part, on this thread alone.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("can't connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

const BUFFER: usize = 64 * 1024;
