//! The load: one process for each job, which watches the proxy's process meanwhile.

mod fixed;
mod h2;
mod idle;
mod saturate;
mod stream;
mod window;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    conversation::Conversation,
    statistics::Percentiles,
    tls,
    wire::{self, Protocol, Request, Wanted},
};

/// What to do, to whom, and whom to watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) address: SocketAddr,
    pub(super) channel: Channel,
    /// The proxy's process; none where there is no proxy.
    pub(super) watched: Option<u32>,
    pub(super) work: Work,
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Channel {
    Plain,
    /// TLS that a proxy may open.
    Tls,
    /// TLS that no proxy opens.
    Closed,
    /// HTTP/2 in TLS that a proxy may open: a connection for each stream.
    Http2,
    /// The same, all streams on one connection.
    Http2Shared,
}

/// The shape of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Requests at a fixed rate, whether or not earlier ones are answered: the delay counts from
    /// when a request should have been sent. Bodies have `bytes` bytes, in both directions.
    Fixed { protocol: Protocol, connections: u32, bytes: usize, per_second: u32, millis: u32 },
    /// Always so many requests under way.
    Saturate { protocol: Protocol, bodies: Bodies, streams: u32, millis: u32 },
    /// Streams whose every event says when it was sent.
    Stream { streams: u32, period_ms: u32, millis: u32 },
    /// Streams that stay open and say nothing more.
    Idle { streams: u32 },
}

/// What requests and answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Bodies {
    /// So many bytes each way, as one text.
    Text(usize),
    /// A conversation of 170 kB that is new, and an answer of so many bytes.
    Fresh(usize),
    /// The same, which goes on from turn to turn to 240 kB.
    Growing(usize),
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
            Work::Saturate { protocol, bodies, streams, millis } => {
                saturate::run(self, protocol, bodies, streams, millis)
            }
            Work::Stream { streams, period_ms, millis } => {
                stream::run(self, streams, period_ms, millis)
            }
            Work::Idle { streams } => idle::run(self, streams),
        }
    }
}

/// Where one stream's requests come from.
#[derive(Debug)]
enum Source {
    Same(Request),
    Growing(Conversation, Option<Request>),
}

impl Source {
    fn new(protocol: Protocol, bodies: Bodies) -> Result<Self> {
        Ok(match bodies {
            Bodies::Text(bytes) => {
                Self::Same(Request::new(protocol, bytes, Wanted::Answer(bytes))?)
            }
            Bodies::Fresh(answer) => Self::Same(Conversation::new(protocol, answer)?.first()),
            Bodies::Growing(answer) => Self::Growing(Conversation::new(protocol, answer)?, None),
        })
    }

    /// The next request, with a nonce where it opens a workflow.
    fn next(&mut self, nonce: u64) -> &Request {
        match self {
            Self::Same(request) => {
                request.set_nonce(nonce);
                request
            }
            Self::Growing(conversation, sent) => sent.insert(conversation.next(nonce)),
        }
    }
}

impl Bodies {
    /// Bytes of an answer's body.
    const fn answer(self) -> Answer {
        let (Self::Text(body) | Self::Fresh(body) | Self::Growing(body)) = self;
        Answer { body }
    }
}

/// A connection, encrypted or not.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Connects to the job's address as its channel has it.
async fn connect(job: &Job) -> Result<Box<dyn Io>> {
    let stream = TcpStream::connect(job.address).await.context("can't connect")?;
    stream.set_nodelay(true)?;
    let (name, protocol) = match job.channel {
        Channel::Plain => return Ok(Box::new(stream)),
        Channel::Tls => (tls::OPENED, tls::HTTP1),
        Channel::Closed => (tls::CLOSED, tls::HTTP1),
        Channel::Http2 | Channel::Http2Shared => (tls::OPENED, tls::HTTP2),
    };
    let connector = TlsConnector::from(tls::client(&[protocol])?);
    let stream = connector.connect(ServerName::try_from(name)?, stream).await?;
    let agreed = stream.get_ref().1.alpn_protocol();
    ensure!(agreed == Some(protocol) || protocol == tls::HTTP1, "no HTTP/2: {agreed:?}");
    Ok(Box::new(stream))
}

/// Sends a request on a connection and reads its answer to the end.
async fn exchange(
    stream: &mut Box<dyn Io>,
    protocol: Protocol,
    request: &[u8],
    answer: Answer,
    buffer: &mut [u8],
) -> Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
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
            Protocol::Chat | Protocol::Archive => {
                wire::head(beginning)?.context("half a head")?.len() + 4
            }
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.context("it hangs")? })
}

const BUFFER: usize = 64 * 1024;
/// More than any job takes.
const PATIENCE: Duration = Duration::from_mins(1);
