//! The model server: answers that are made before, on one thread, at as little cost as can be.

mod h2;

use std::{collections::HashMap, net::SocketAddr, path::Path, pin::pin, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_rustls::TlsAcceptor;

use super::{
    tls,
    wire::{self, Protocol, Rhythm, STREAM_END, STREAM_HEAD, Wanted},
};

/// Serves until it is killed: on one port without TLS, where the first byte of a connection tells
/// its protocol, on the other with it, where ALPN does.
pub(super) fn run(
    plain: std::net::TcpListener,
    encrypted: std::net::TcpListener,
    identity: &Path,
) -> Result<()> {
    plain.set_nonblocking(true)?;
    encrypted.set_nonblocking(true)?;
    let acceptor = TlsAcceptor::from(tls::server(identity)?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let (plain, encrypted) = (TcpListener::from_std(plain)?, TcpListener::from_std(encrypted)?);
        let answers = Rc::new(Answers::make()?);
        loop {
            let answers = Rc::clone(&answers);
            tokio::select! {
                accepted = plain.accept() => {
                    let (stream, client) = accepted?;
                    spawn_local(async move {
                        complain(client, serve_plain(stream, &answers).await);
                    });
                }
                accepted = encrypted.accept() => {
                    let (stream, client) = accepted?;
                    let acceptor = acceptor.clone();
                    spawn_local(async move {
                        complain(client, serve_encrypted(stream, &acceptor, answers).await);
                    });
                }
            }
        }
    })
}

async fn serve_plain(mut stream: TcpStream, answers: &Answers) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    let protocol = if first == *b"P" { Protocol::Chat } else { Protocol::Binary };
    converse(&mut stream, protocol, answers).await
}

async fn serve_encrypted(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    answers: Rc<Answers>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    match stream.get_ref().1.alpn_protocol() {
        Some(tls::HTTP2) => h2::converse(stream, answers).await,
        _ => converse(&mut stream, Protocol::Chat, &answers).await,
    }
}

/// Every answer that is asked for.
struct Answers {
    whole: HashMap<(bool, usize), Vec<u8>>,
    bodies: HashMap<usize, Bytes>,
}

impl Answers {
    fn make() -> Result<Self> {
        let (mut whole, mut bodies) = (HashMap::new(), HashMap::new());
        for size in super::plan::SIZES {
            for protocol in [Protocol::Chat, Protocol::Binary] {
                whole.insert((protocol == Protocol::Chat, size), wire::answer(protocol, size)?);
            }
            bodies.insert(size, wire::answer_body(Protocol::Chat, size)?.into());
        }
        Ok(Self { whole, bodies })
    }
}

async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    protocol: Protocol,
    answers: &Answers,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    while let Some(wanted) = request(stream, protocol, &mut buffer).await? {
        match wanted {
            Wanted::Answer(size) => {
                let answer = answers.whole.get(&(protocol == Protocol::Chat, size));
                stream.write_all(answer.context("an answer of another size")?).await?;
                stream.flush().await?;
            }
            Wanted::Stream(rhythm) => send_events(stream, rhythm).await?,
        }
    }
    Ok(())
}

/// Reads one request to its end. None: the client has closed the connection instead.
async fn request(
    stream: &mut (impl AsyncRead + Unpin),
    protocol: Protocol,
    buffer: &mut [u8],
) -> Result<Option<Wanted>> {
    let mut have = 0;
    let length = loop {
        let read = stream.read(&mut buffer[have..]).await?;
        if read == 0 {
            return Ok(None);
        }
        have += read;
        if let Some(length) = wire::message_length(protocol, &buffer[..have])? {
            break length;
        }
    };
    let wanted = wire::wanted(protocol, &buffer[..have])?;
    while have < length {
        let read = stream.read(buffer).await?;
        anyhow::ensure!(read > 0, "half a request");
        have += read;
    }
    anyhow::ensure!(have == length, "more than a request");
    Ok(Some(wanted))
}

async fn send_events(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    rhythm: Rhythm,
) -> Result<()> {
    stream.write_all(STREAM_HEAD).await?;
    if rhythm.events == 0 {
        stream.write_all(wire::event(wire::now_ns()).as_bytes()).await?;
        stream.flush().await?;
        // Only its end can come now.
        let _ = pin!(stream.read_u8()).await;
        return Ok(());
    }
    let start = Instant::now() + Duration::from_millis(rhythm.offset_ms.into());
    let mut ticks = interval_at(start, Duration::from_millis(rhythm.period_ms.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..rhythm.events {
        ticks.tick().await;
        stream.write_all(wire::event(wire::now_ns()).as_bytes()).await?;
        stream.flush().await?;
    }
    stream.write_all(STREAM_END).await?;
    Ok(stream.flush().await?)
}

/// The load that notices ends the bench; this says what the server saw of it.
fn complain(client: SocketAddr, result: Result<()>) {
    if let Err(error) = result {
        eprintln!("{client}: {error:#}");
    }
}

const BUFFER: usize = 64 * 1024;
