//! The agents, each with a network namespace and a server of its own.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
    sync::mpsc,
};
use turnpike_tests::{gateway::Place, machine, process::Background, sandbox::Sandbox, wait};

use super::{SOON, Tried, now, serve::Seen};

/// An agent's place, and the server there.
pub(super) struct Site {
    /// By it the gateway knows which namespace the agent lives in.
    _resident: Background,
    sandbox: Sandbox,
    pub(super) server: Server,
}

/// A server in a process of its own, outside of every agent.
pub(super) struct Server {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    address: SocketAddr,
}

/// How long a call took; nothing if it failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// In nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) at: u64,
    pub(super) us: Option<u64>,
}

impl Site {
    pub(super) fn start(place: &Place, name: &str) -> Self {
        let sandbox = Sandbox::isolated();
        let ip = IpAddr::V4(Ipv4Addr::new(10, 81, 0, 1));
        sandbox.netns().add_address(ip);
        let mut command = sandbox.netns().command(&program());
        let server = Server::start(command.args(["serve", &SocketAddr::new(ip, 0).to_string()]));
        let resident = sandbox.spawn(sandbox.command("sleep").arg("infinity"));
        let processes = sandbox.cgroup().join("cgroup.procs");
        wait::until_true(SOON, "the agent's first process", || {
            fs::read_to_string(&processes).is_ok_and(|pids| !pids.is_empty())
        });
        let cgroup = sandbox.cgroup().to_str().expect("our own path").to_owned();
        machine::run(&mut place.command(&["attach", "--cgroup", &cgroup, "--name", name]));
        Self { _resident: resident, sandbox, server: server.expect("a server") }
    }

    pub(super) fn hold(&self, streams: usize, seed: u64) -> Background {
        self.play(&[
            "hold",
            &self.server.address.to_string(),
            &streams.to_string(),
            &seed.to_string(),
        ])
    }

    pub(super) fn ask(&self, every: Duration) -> Background {
        let every = every.as_micros().to_string();
        self.play(&["ask", &self.server.address.to_string(), &every])
    }

    fn play(&self, words: &[&str]) -> Background {
        self.sandbox.spawn(self.sandbox.command(&program()).args(words))
    }
}

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("a pipe")?;
        let mut stdout = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().parse().context("the server's address")?;
        Ok(Self { child, pipes: Mutex::new((stdin, stdout)), address })
    }

    /// What it has seen until now.
    pub(super) fn seen(&self) -> Result<Seen> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.0.write_all(b"\n")?;
        let mut line = String::new();
        pipes.1.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its own child, which may be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an agent that asks was answered so far.
pub(super) fn answers(agent: &Background) -> Result<Vec<Answer>> {
    let said = agent.stdout();
    // The last line may be half written.
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Holds streams until they end; says "live" once each has had an event, and then what came of trying to
/// connect again.
pub(super) fn hold(address: SocketAddr, streams: usize, seed: u64) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (live, mut lives) = mpsc::channel(streams);
        let (over, mut ended) = mpsc::channel(streams);
        for number in 0..streams {
            let (live, over) = (live.clone(), over.clone());
            tokio::spawn(async move {
                // However it ends.
                let _ = stream(address, &format!("wish {seed} {number}"), live).await;
                let _ = over.send(()).await;
            });
        }
        for _ in 0..streams {
            lives.recv().await.context("a stream that does not begin")?;
        }
        println!("live");
        for _ in 0..streams {
            ended.recv().await;
        }
        anyhow::Ok(())
    })?;
    let mut tried = Tried { refused: 0, connected: 0 };
    let start = Instant::now();
    while start.elapsed() < AGAIN {
        match TcpStream::connect(address) {
            Ok(_) => tried.connected += 1,
            Err(_) => tried.refused += 1,
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!("{}", serde_json::to_string(&tried)?);
    Ok(())
}

async fn stream(address: SocketAddr, wish: &str, live: mpsc::Sender<()>) -> Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request(wish, true).as_bytes()).await?;
    let (mut read, mut piece) = (0, [0; 4096]);
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        let before = read;
        read += count;
        // More than the head.
        if before < EVENT_FROM && read >= EVENT_FROM {
            live.send(()).await?;
        }
    }
}

/// Asks one thing after the other over one connection, and says how long each took.
pub(super) fn ask(address: SocketAddr, every_us: u64) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut piece = [0; 4096];
    for number in 0_u64.. {
        let at = now();
        let asked = stream.write_all(request(&format!("ask {number}"), false).as_bytes());
        let answered = asked.and_then(|()| stream.read(&mut piece)).ok().filter(|count| *count > 0);
        let us = answered.map(|_| (now() - at) / 1000);
        if every_us > 0 || us.is_none() {
            println!("{}", serde_json::to_string(&Answer { at, us })?);
        }
        if us.is_none() {
            break;
        }
        thread::sleep(Duration::from_micros(every_us));
    }
    Ok(())
}

fn request(wish: &str, stream: bool) -> String {
    let body = format!(
        r#"{{"model":"m","stream":{stream},"messages":[{{"role":"user","content":"{wish}"}}]}}"#
    );
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn program() -> String {
    env::current_exe()
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .expect("/proc is mounted")
}

/// How long an agent tries to connect again.
const AGAIN: Duration = Duration::from_millis(100);
/// Bytes of an answer with an event in it.
const EVENT_FROM: usize = 120;
