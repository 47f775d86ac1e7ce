//! One framework at work: its program in a container, the gateway in between, the model's server in
//! another network namespace.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Seek as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::fd::AsFd as _,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{
    check,
    plot::Plot,
    profile::Profile,
    reported,
    serve::{Exchange, Server},
    stage::{self, Stage},
};
use crate::{
    container::Container,
    eval::{guess::Guess, record::Record},
    gateway::{Gateway, Mode},
    model_server::answer,
    network::Netns,
    process::Background,
    trace::Workflow,
    wait,
};

/// How much a framework is given to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// How many sessions are under way at once, and how many there are in all.
    pub at_once: usize,
    pub sessions: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Performance {
    /// In the order in which they started.
    pub records: Vec<Record>,
    /// What the gateway says of them.
    pub reported: Guess,
}

/// What a program prints of one session.
#[derive(Debug, Deserialize)]
struct Line {
    key: String,
    #[serde(default)]
    answers: Vec<String>,
    error: Option<String>,
}

/// Has the framework do what the plan says. An error: something could not be explained, or is not as
/// the program saw it.
pub fn perform(profile: &Profile, plan: Plan) -> Result<Performance> {
    let seed = seed(profile, plan);
    let plots = Plot::several(profile, seed, plan.sessions);
    let jobs: Vec<_> = plots.iter().enumerate().map(|(at, plot)| job(at, plot)).collect();
    let stage = Stage::new(plots, seed, profile.ids);
    let server = Arc::new(Server::new(stage, profile.name()));

    let container = Container::start();
    let netns = Netns::new();
    let cable = netns.connect(container.pid());
    let listener = listen(&netns, (cable.here, 0).into())?;
    let address = listener.local_addr()?;
    let runtime = Runtime::new()?;
    let entered = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(entered);
    runtime.spawn(Arc::clone(&server).serve(listener));
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&container, &[]);

    let order = json!({
        "base_url": format!("http://{address}"),
        "api": profile.api,
        "streamed": profile.is_streamed,
        "tool_server": profile.has_tool_server,
        "at_once": plan.at_once,
        "timeout": TIMEOUT.as_secs(),
        "jobs": jobs,
    });
    let lines = work(&container, profile, &order.to_string());
    let wrong = server.seen().wrong.first().cloned();
    ensure!(wrong.is_none(), "{}: {}", profile.name(), wrong.unwrap_or_default());
    agree(&lines?, &server)?;
    let exchanges = server.seen().exchanges.clone();
    let workflows = settled(&gateway, &exchanges);
    let reported = reported::guess(&workflows, &exchanges);
    let processes = reported::processes(&workflows, &exchanges);
    let mut records: Vec<Record> = exchanges.into_iter().map(|it| it.record).collect();
    for record in &mut records {
        record.pid = processes.get(&record.exchange).copied().unwrap_or(record.pid);
    }
    records.sort_by_key(|record| (record.start_us, record.exchange));
    check::check(&records)?;
    Ok(Performance { records, reported })
}

/// No two recordings are to have ids in common.
fn seed(profile: &Profile, plan: Plan) -> u64 {
    let parts = [profile.name(), plan.at_once.to_string(), plan.seed.to_string()];
    let digest = answer::digest(&parts.each_ref().map(String::as_str), 8);
    u64::from_str_radix(&digest, 16).unwrap_or(plan.seed)
}

fn job(at: usize, plot: &Plot) -> serde_json::Value {
    let wishes: Vec<&str> = plot.wishes.iter().map(|wish| wish.text.as_str()).collect();
    json!({ "key": stage::key(at as u64 + 1), "wishes": wishes, "formal": plot.is_formal })
}

/// A socket that listens in another network namespace.
fn listen(netns: &Netns, address: SocketAddr) -> Result<TcpListener> {
    let enter_and_listen = || {
        let netns = File::open(netns.path())?;
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    // A thread of its own, as it can't come back.
    thread::scope(|scope| scope.spawn(enter_and_listen).join())
        .map_err(|_| anyhow!("entering the network namespace"))?
}

fn work(container: &Container, profile: &Profile, order: &str) -> Result<Vec<Line>> {
    let mut input = tempfile::tempfile()?;
    input.write_all(order.as_bytes())?;
    input.rewind()?;
    let (program, words) = profile.program.split_first().context("a program")?;
    let mut command = container.interactive(program);
    let mut process = Background::spawn(profile.framework, command.args(words).stdin(input));
    let status = process.wait(WORK);
    ensure!(status.success(), "{}: {status}: {}", profile.name(), process.stderr());
    let line = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
    process.stdout().lines().map(line).collect()
}

/// Every session must have been played to its end, and have got the answers that were given.
fn agree(lines: &[Line], server: &Server) -> Result<()> {
    let played = server.stage().played();
    let failed: Vec<String> = lines
        .iter()
        .filter_map(|line| Some(format!("{}: {}", line.key, line.error.as_ref()?)))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    let played = played.map_err(anyhow::Error::msg)?;
    let seen: BTreeMap<String, Vec<String>> =
        lines.iter().map(|line| (line.key.clone(), line.answers.clone())).collect();
    for (key, answers) in &played {
        ensure!(seen.get(key) == Some(answers), "{key}: {:?}, not {answers:?}", seen.get(key));
    }
    Ok(())
}

/// All workflows, once the gateway has told of every exchange; or of as many as it will.
fn settled(gateway: &Gateway, exchanges: &[Exchange]) -> Vec<Workflow> {
    let start = std::time::Instant::now();
    wait::until(2 * SOON, "the traces", || {
        let workflows = gateway.traces();
        let reported = reported::guess(&workflows, exchanges).len();
        (reported == exchanges.len() || start.elapsed() > SOON).then_some(workflows)
    })
}

/// How long the programs wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(8);
/// For everything.
const WORK: Duration = Duration::from_mins(5);
const SOON: Duration = Duration::from_secs(10);
