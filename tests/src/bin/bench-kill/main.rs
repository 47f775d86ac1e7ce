//! `cargo xtask bench kill` runs this: how long it is from a kill to silence, with the real gateway, on the
//! real kernel; each figure beside its aim.
//!
//! An agent holds streams, each with an event every now and then. The clock starts before the kill is sent
//! to the control socket, and stops when the streams' server, a process of its own, has seen the last of
//! its connections end: what it sent after that nobody has read.

#![allow(clippy::cast_precision_loss, reason = "times and counts are far below 2^52")]

mod agents;
mod serve;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use turnpike::{
    call::Timestamp,
    control::{
        Client,
        kill::{KillReport, KillRequest, ReviveRequest, Victim},
    },
};
use turnpike_tests::{
    figure::{self, Figure},
    gateway::{Mode, Place},
    process::Background,
    wait,
};

use self::agents::Site;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench kill",
    about = "Measures how long it is from a kill to silence"
)]
struct Arguments {
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
    /// How often each is measured
    #[arg(long, default_value_t = 50)]
    runs: usize,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The parts that this program plays in processes of their own.
#[derive(Clone, Copy, Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    /// A model server, whose streams do not end by themselves
    Serve { address: SocketAddr },
    /// An agent that holds so many streams until they end, and then tries to connect again
    Hold { address: SocketAddr, streams: usize, seed: u64 },
    /// An agent that asks one thing after the other
    Ask { address: SocketAddr, every_us: u64 },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Serve { address }) => return serve::serve(address),
        Some(Role::Hold { address, streams, seed }) => return agents::hold(address, streams, seed),
        Some(Role::Ask { address, every_us }) => return agents::ask(address, every_us),
        None => {}
    }
    let mut bench = Bench::start(arguments.runs)?;
    let mut figures = bench.kills("one stream", 1, 5.0)?;
    figures.extend(bench.kills("1,000 streams", 1000, 25.0)?);
    figures.extend(bench.bystander()?);
    figures.push(bench.dies()?);
    let busy = bench.saturate();
    figures.extend(bench.kills(
        "1,000 streams, beside an agent that saturates the machine",
        1000,
        100.0,
    )?);
    drop(busy);
    figure::print(&figures, arguments.json)
}

/// The gateway, and who is attached to it.
struct Bench {
    runs: usize,
    runtime: Runtime,
    client: Client,
    killed: Site,
    _bystander: Site,
    busy: Site,
    asks: Background,
    /// When kills were, as nanoseconds of `CLOCK_MONOTONIC`.
    kills: Vec<u64>,
    seed: u64,
    daemon: Background,
    /// Removed after the daemon's end.
    _place: Place,
}

/// What one kill came to.
struct Killed {
    /// Milliseconds until the server had seen the last connection end.
    silence: f64,
    /// Until the command had its proof.
    proof: f64,
    report: KillReport,
    reached: usize,
}

/// What an agent that was cut says of what it tried afterwards.
#[derive(Debug, Serialize, Deserialize)]
struct Tried {
    refused: usize,
    connected: usize,
}

impl Bench {
    fn start(runs: usize) -> Result<Self> {
        let place = Place::new(Mode::Audit);
        let mut command = place.command(&["daemon", "--config"]);
        let mut daemon = Background::spawn("turnpike daemon", command.arg(place.config()));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(place.control());
        wait::until(SOON, "the gateway to be ready", || {
            assert!(daemon.status().is_none(), "turnpike ended: {}", daemon.stderr());
            runtime.block_on(client.probe()).ok()
        });
        let [killed, bystander, busy] =
            ["killed", "bystander", "busy"].map(|name| Site::start(&place, name));
        let asks = bystander.ask(Duration::from_millis(2));
        Ok(Self {
            runs,
            runtime,
            client,
            killed,
            _bystander: bystander,
            busy,
            asks,
            kills: Vec::new(),
            seed: 0,
            daemon,
            _place: place,
        })
    }

    /// Kills so many streams, again and again.
    fn kills(&mut self, what: &str, streams: usize, aim: f64) -> Result<Vec<Figure>> {
        let mut all = Vec::with_capacity(self.runs);
        for run in 0..self.runs {
            all.push(self.kill(streams)?);
            eprint!("\r{what}: {} of {}", run + 1, self.runs);
        }
        eprintln!();
        let slipped: usize = all.iter().map(|killed| killed.reached).sum();
        let of = |part: fn(&Killed) -> f64| all.iter().map(part).collect::<Vec<f64>>();
        let told = |killed: &Killed| after(&killed.report, killed.report.cancelled_at);
        let last = |killed: &Killed| after(&killed.report, killed.report.last_upstream_byte_at);
        let p99 = |values: Vec<f64>| vec![quantile(values, 990)];
        Ok(vec![
            Figure::new(
                format!("{what}: kill to silence, p99"),
                "ms",
                Some(aim),
                p99(of(|it| it.silence)),
            ),
            Figure::new(format!("{what}: kill to silence"), "ms", None, of(|it| it.silence)),
            Figure::new(format!("{what}: until all calls are told"), "ms", None, of(told)),
            Figure::new(
                format!("{what}: the last byte, as the command proves it"),
                "ms",
                None,
                of(last),
            ),
            Figure::new(format!("{what}: kill to proof"), "ms", None, of(|it| it.proof)),
            Figure::new(
                format!("{what}: connections that reached the server afterwards"),
                "",
                Some(0.0),
                vec![slipped as f64],
            ),
        ])
    }

    fn kill(&mut self, streams: usize) -> Result<Killed> {
        self.seed += 1;
        let holder = self.killed.hold(streams, self.seed);
        wait::until_true(SOON, "the streams to live", || holder.stdout().contains("live"));
        let before = self.killed.server.seen()?;
        ensure!(before.open >= streams, "{} of {streams} streams are open", before.open);
        let request = KillRequest {
            victim: Victim::Agent("killed".into()),
            reason: Some("measured".into()),
            signal: false,
            timeout_ms: 5000,
        };
        let start = now();
        let report = self.runtime.block_on(self.client.kill(&request))?;
        let proof = now();
        self.kills.push(start);
        ensure!(report.silent, "no silence: {:?}", report.not_covered);
        ensure!(report.streams_cut == streams as u64, "not all were cut: {report:?}");
        let after = wait::until(SOON, "the server to see it", || {
            self.killed.server.seen().ok().filter(|seen| seen.open == 0)
        });
        let last = after.last_end.context("no connection has ended")?;
        let tried: Tried = wait::until(SOON, "the agent to try again", || {
            holder.stdout().lines().nth(1).and_then(|line| serde_json::from_str(line).ok())
        });
        ensure!(tried.refused > 0, "it tried nothing");
        let later = self.killed.server.seen()?;
        let victim = Victim::Agent("killed".into());
        self.runtime.block_on(self.client.revive(&ReviveRequest { victim }))?;
        Ok(Killed {
            silence: ms(last.saturating_sub(start)),
            proof: ms(proof.saturating_sub(start)),
            report,
            reached: tried.connected + (later.accepted - before.accepted),
        })
    }

    /// Ends the process that holds a stream, again and again.
    fn dies(&mut self) -> Result<Figure> {
        let mut all = Vec::with_capacity(self.runs);
        for _ in 0..self.runs {
            self.seed += 1;
            let mut holder = self.killed.hold(1, self.seed);
            wait::until_true(SOON, "the stream to live", || holder.stdout().contains("live"));
            let start = now();
            holder.kill();
            let after = wait::until(SOON, "the server to see it", || {
                self.killed.server.seen().ok().filter(|seen| seen.open == 0)
            });
            let last = after.last_end.context("no connection has ended")?;
            all.push(ms(last.saturating_sub(start)));
        }
        let what = "an agent's process that dies in mid-stream: until upstream is let go, p99";
        Ok(Figure::new(what, "ms", Some(50.0), vec![quantile(all, 990)]))
    }

    /// What the agent beside has noticed of the kills so far.
    fn bystander(&mut self) -> Result<Vec<Figure>> {
        let answers = agents::answers(&self.asks)?;
        let near =
            |at: u64| self.kills.iter().any(|kill| at + WINDOW > *kill && at < kill + WINDOW);
        let broken = answers.iter().filter(|answer| answer.us.is_none()).count();
        let (mut during, mut else_) = (Vec::new(), Vec::new());
        for answer in &answers {
            if let Some(us) = answer.us {
                if near(answer.at) { &mut during } else { &mut else_ }.push(us as f64);
            }
        }
        let figure = |what: &str, values: &[f64], q| {
            Figure::new(
                format!("a bystander's call, {what}"),
                "µs",
                None,
                vec![quantile(values.to_vec(), q)],
            )
        };
        Ok(vec![
            figure("p50, within 50 ms of a kill", &during, 500),
            figure("p50, else", &else_, 500),
            figure("p99, within 50 ms of a kill", &during, 990),
            figure("p99, else", &else_, 990),
            Figure::new("a bystander's calls that failed", "", Some(0.0), vec![broken as f64]),
        ])
    }

    /// Agents that ask as much as they can.
    fn saturate(&self) -> Vec<Background> {
        (0..4).map(|_| self.busy.ask(Duration::ZERO)).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Agents are let go in good order.
        let _ = self.daemon.signal(rustix::process::Signal::TERM);
        let over = std::time::Instant::now() + SOON;
        while self.daemon.status().is_none() && std::time::Instant::now() < over {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// `CLOCK_MONOTONIC`, which all processes share, in nanoseconds.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Milliseconds after the kill was received.
fn after(report: &KillReport, at: Option<Timestamp>) -> f64 {
    at.unwrap_or(report.received_at).since(report.received_at).0 as f64 / 1000.0
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn quantile(mut values: Vec<f64>, permille: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() * permille).div_ceil(1000);
    values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

const SOON: Duration = Duration::from_secs(30);
/// Before and after a kill.
const WINDOW: u64 = 50_000_000;
