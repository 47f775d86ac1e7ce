//! The model server: answers that are made before, on one thread, at as little cost as can be.

use std::{collections::HashMap, net::SocketAddr, pin::pin, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::LocalSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::wire::{self, Protocol, Rhythm, STREAM_END, STREAM_HEAD, Wanted};

/// Serves until it is killed. The first byte of a connection tells its protocol.
pub(super) fn run(listener: std::net::TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        let answers = Rc::new(answers()?);
        loop {
            let (stream, client) = listener.accept().await?;
            let answers = Rc::clone(&answers);
            tokio::task::spawn_local(async move {
                if let Err(error) = converse(stream, &answers).await {
                    complain(client, &error);
                }
            });
        }
    })
}

type Answers = HashMap<(bool, usize), Vec<u8>>;

/// Every answer that is asked for.
fn answers() -> Result<Answers> {
    let mut answers = Answers::new();
    for protocol in [Protocol::Chat, Protocol::Binary] {
        for size in super::plan::SIZES {
            answers.insert((protocol == Protocol::Chat, size), wire::answer(protocol, size)?);
        }
    }
    Ok(answers)
}

async fn converse(mut stream: TcpStream, answers: &Answers) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    let protocol = if first == *b"P" { Protocol::Chat } else { Protocol::Binary };
    let mut buffer = vec![0; BUFFER];
    while let Some(wanted) = request(&mut stream, protocol, &mut buffer).await? {
        match wanted {
            Wanted::Answer(size) => {
                let answer = answers.get(&(protocol == Protocol::Chat, size));
                stream.write_all(answer.context("an answer of another size")?).await?;
            }
            Wanted::Stream(rhythm) => send_events(&mut stream, rhythm).await?,
        }
    }
    Ok(())
}

/// Reads one request to its end. None: the client has closed the connection instead.
async fn request(
    stream: &mut TcpStream,
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

async fn send_events(stream: &mut TcpStream, rhythm: Rhythm) -> Result<()> {
    stream.write_all(STREAM_HEAD).await?;
    if rhythm.events == 0 {
        stream.write_all(wire::event(wire::now_ns()).as_bytes()).await?;
        // Only its end can come now.
        let _ = pin!(stream.readable()).await;
        return Ok(());
    }
    let start = Instant::now() + Duration::from_millis(rhythm.offset_ms.into());
    let mut ticks = interval_at(start, Duration::from_millis(rhythm.period_ms.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..rhythm.events {
        ticks.tick().await;
        stream.write_all(wire::event(wire::now_ns()).as_bytes()).await?;
    }
    stream.write_all(STREAM_END).await?;
    Ok(())
}

/// The load that notices ends the bench; this says what the server saw of it.
fn complain(client: SocketAddr, error: &anyhow::Error) {
    eprintln!("{client}: {error:#}");
}

const BUFFER: usize = 64 * 1024;
