//! The agent: Python with the `openai` SDK as it is published, doing `agents/loop.py`.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde::Deserialize;

use crate::{process::Background, trace::Usage, wait};

/// What the agent is told to do.
#[derive(Clone, Debug)]
pub struct Job {
    pub server: SocketAddr,
    /// Begins the tag of each workflow.
    pub prefix: String,
    /// Workflows at the same time, over one pool of connections.
    pub concurrency: u32,
    /// How many in all; none: until it is told to stop.
    pub workflows: Option<u32>,
    pub steps: u32,
    pub parallel: u32,
    pub stream: bool,
    /// A client, and so a pool of connections, for each workflow.
    pub own_clients: bool,
    /// The SDK's own retries.
    pub retries: u32,
    /// More words for the model server's script.
    pub script: String,
}

impl Job {
    /// Workflows of three turns with two tool calls each, one at a time.
    pub fn new(server: SocketAddr, prefix: &str) -> Self {
        Self {
            server,
            prefix: prefix.into(),
            concurrency: 1,
            workflows: None,
            steps: 3,
            parallel: 2,
            stream: false,
            own_clients: false,
            retries: 0,
            script: String::new(),
        }
    }

    /// The arguments of `loop.py`.
    pub fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> =
            vec!["--base-url".into(), format!("http://{}/v1", self.server)];
        let mut option = |name: &str, value: String| words.extend([name.into(), value]);
        option("--prefix", self.prefix.clone());
        option("--concurrency", self.concurrency.to_string());
        option("--steps", self.steps.to_string());
        option("--parallel", self.parallel.to_string());
        option("--max-retries", self.retries.to_string());
        option("--script", self.script.clone());
        match self.workflows {
            Some(count) => option("--workflows", count.to_string()),
            None => option("--until", STOP_FILE.into()),
        }
        for (given, flag) in [(self.stream, "--stream"), (self.own_clients, "--own-clients")] {
            if given {
                words.push(flag.into());
            }
        }
        words
    }

    /// Adds to a command that runs in a container: Python, the agent and its arguments.
    pub fn python<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.arg("/agents/loop.py").args(self.arguments())
    }
}

/// A workflow as the agent saw it.
#[derive(Clone, Debug, Deserialize)]
pub struct Finished {
    pub tag: String,
    /// In the order of the calls.
    pub response_ids: Vec<String>,
    pub call_ids: Vec<String>,
    pub usage: Usage,
    /// Whom its sockets said that they were connected to.
    pub peers: Vec<SocketAddr>,
    /// What the SDK raised.
    pub error: Option<String>,
    /// Seconds since the epoch.
    pub started: f64,
    pub ended: f64,
}

/// The workflows that an agent has finished so far. Panics if the SDK raised anything.
#[track_caller]
pub fn finished(agent: &Background) -> Vec<Finished> {
    let text = agent.stdout();
    // The last line may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line: &str| -> Finished {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    };
    let finished: Vec<Finished> = whole.lines().map(parse).collect();
    for workflow in &finished {
        assert_eq!(workflow.error, None, "the client of {} saw an error", workflow.tag);
    }
    finished
}

/// Waits until the agent has finished so many workflows more than it has now.
#[track_caller]
pub fn wait_for_more(agent: &Background, more: usize) -> Vec<Finished> {
    let before = finished(agent).len();
    wait::until(WORK, "the agent to finish workflows", || {
        Some(finished(agent)).filter(|now| now.len() >= before + more)
    })
}

/// Waits for the end of an agent that has a number of workflows to do.
#[track_caller]
pub fn wait_for_end(agent: &mut Background) -> Vec<Finished> {
    let status = agent.wait(WORK);
    assert!(status.success(), "the agent's end: {status}: {}", agent.stderr());
    finished(agent)
}

/// In the agent's container: the agent ends once it is there.
pub const STOP_FILE: &str = "/tmp/stop";
const WORK: Duration = Duration::from_secs(40);
