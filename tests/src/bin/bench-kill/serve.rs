//! The model server: a stream for who asks for one, else a short answer; and an account of it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::now;

/// What a server has seen so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) accepted: usize,
    pub(super) open: usize,
    /// When the last connection ended, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) last_end: Option<u64>,
}

/// Serves, and says what it has seen for each line that it is given.
pub(super) fn serve(address: SocketAddr) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(address).await?;
        println!("{}", listener.local_addr()?);
        let seen = Arc::<Mutex<Seen>>::default();
        let account = Arc::clone(&seen);
        thread::spawn(move || {
            for _ in io::stdin().lines() {
                let line = serde_json::to_string(&*lock(&account)).unwrap_or_default();
                println!("{line}");
            }
            // Nobody wants to know any more.
            std::process::exit(0);
        });
        loop {
            let (stream, _) = listener.accept().await?;
            let seen = Arc::clone(&seen);
            {
                let mut seen = lock(&seen);
                seen.accepted += 1;
                seen.open += 1;
            }
            spawn_local(async move {
                // However it ends.
                let _ = converse(stream).await;
                let mut seen = lock(&seen);
                seen.open -= 1;
                seen.last_end = Some(now());
            });
        }
    })
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&piece[..count]);
        if !read.ends_with(b"}") {
            continue;
        }
        if read.windows(STREAMS.len()).any(|part| part == STREAMS) {
            return generate(stream).await;
        }
        read.clear();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        let answer = format!("{head}{}\r\n\r\n{ANSWER}", ANSWER.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// An event now and then, until the other side leaves.
async fn generate(mut stream: TcpStream) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let event = format!("{:x}\r\n{EVENT}\r\n", EVENT.len());
    let mut ticks = interval_at(Instant::now(), Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut from, mut to) = stream.split();
    let mut byte = [0; 1];
    loop {
        tokio::select! {
            _ = ticks.tick() => to.write_all(event.as_bytes()).await?,
            // It says nothing more: this is its end.
            _ = from.read(&mut byte) => return Ok(()),
        }
    }
}

const STREAMS: &[u8] = b"\"stream\":true";
const EVENT: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\
     \"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n";
const ANSWER: &str = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\
     \"message\":{\"role\":\"assistant\",\"content\":\"yes\"},\"finish_reason\":\"stop\"}],\
     \"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6}}";
