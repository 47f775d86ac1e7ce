//! Many calls at once of an SDK, unchanged: what the agents `agents/burst.py` and `.mjs` are told to
//! do, and what they say that came of it.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use crate::{container::Container, machine, process::Background, wait};

/// Whose SDK it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    OpenAi,
    Anthropic,
    /// In JavaScript.
    NodeOpenAi,
}

/// What an agent is told to do.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    pub sdk: Sdk,
    pub calls: usize,
    pub max_tokens: Option<u64>,
    pub stream: bool,
    /// What the model has said before: the conversation goes on from there. For SDKs in Python.
    pub after: Option<&'static str>,
    /// How long a client waits for an answer, if not as long as the SDK has it.
    pub patience: Option<Duration>,
    /// For the model server.
    pub script: &'static str,
}

/// An agent at work.
#[derive(Debug)]
pub struct Bursting {
    process: Background,
}

/// What came of one call.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    /// Of a stream.
    pub pieces: usize,
    /// Of the answer, if it came to its end.
    pub words: Option<u64>,
    /// Words that came in a stream, whether it came to its end or not.
    pub delivered: u64,
    pub error: Option<Raised>,
}

/// What the SDK raised.
#[derive(Clone, Debug, Deserialize)]
pub struct Raised {
    pub kind: String,
    pub status: Option<u16>,
    pub text: String,
}

/// What came of all of them.
#[derive(Clone, Debug)]
pub struct Seen {
    pub outcomes: Vec<Outcome>,
    /// Requests that were sent, those that the SDK sent again included.
    pub attempts: usize,
}

#[derive(Deserialize)]
struct End {
    attempts: usize,
}

impl Burst {
    /// The same call that many times, and nothing special about it.
    pub const fn of(sdk: Sdk, calls: usize) -> Self {
        Self {
            sdk,
            calls,
            max_tokens: None,
            stream: false,
            after: None,
            patience: None,
            script: "fill hold",
        }
    }

    /// Lets the agent begin.
    #[track_caller]
    pub fn start(&self, container: &Container, server: SocketAddr) -> Bursting {
        let (program, agent) = match self.sdk {
            Sdk::OpenAi | Sdk::Anthropic => ("python3", "/agents/burst.py"),
            Sdk::NodeOpenAi => ("node", "/agents/burst.mjs"),
        };
        let mut command = container.command(program);
        Bursting::of(container.spawn(command.arg(agent).args(self.arguments(server))))
    }

    /// A command that does it on the host, for SDKs in Python.
    pub fn on_the_host(&self, server: SocketAddr) -> [String; 3] {
        let line = machine::python_on_the_host("burst.py", &self.arguments(server));
        ["sh".into(), "-c".into(), line]
    }

    fn arguments(&self, server: SocketAddr) -> Vec<String> {
        let limit = self.max_tokens.map(|most| format!("--max-tokens={most}"));
        let sdk = match self.sdk {
            Sdk::OpenAi | Sdk::NodeOpenAi => "openai",
            Sdk::Anthropic => "anthropic",
        };
        let url = format!("http://{server}");
        let mut words: Vec<String> = limit.into_iter().collect();
        words.extend(self.patience.map(|time| format!("--patience={}", time.as_secs_f64())));
        words.extend(self.after.map(|said| format!("--after={said}")));
        words.extend(self.stream.then(|| "--stream".to_owned()));
        words.extend([sdk.to_owned(), url, self.calls.to_string(), self.script.to_owned()]);
        words
    }
}

impl Bursting {
    /// An agent that was started with what [`Burst::on_the_host`] says.
    pub const fn of(process: Background) -> Self {
        Self { process }
    }

    /// Waits until it has an answer, or an error, for so many calls. What must hold all the while is
    /// asserted each time that it is looked.
    #[track_caller]
    pub fn wait_for(&mut self, calls: usize, mut assert: impl FnMut()) {
        wait::until_true(WORK, format_args!("{calls} calls to end"), || {
            assert();
            let ended = self.process.status();
            let outcomes = self.outcomes().len();
            assert!(ended.is_none() || outcomes >= calls, "{ended:?}: {}", self.process.stderr());
            outcomes >= calls
        });
    }

    /// Waits until so many of its streams have begun.
    #[track_caller]
    pub fn wait_for_streams(&self, count: usize) {
        wait::until_true(WORK, format_args!("{count} streams to begin"), || {
            self.process.stdout().lines().filter(|line| line.contains("\"begun\"")).count() == count
        });
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Seen {
        let status = self.process.wait(WORK);
        assert!(status.success(), "{status}: {}", self.process.stderr());
        let printed = self.process.stdout();
        let last = printed.lines().last().unwrap_or_default();
        let End { attempts } = serde_json::from_str(last).expect("how many requests were sent");
        Seen { outcomes: self.outcomes(), attempts }
    }

    /// So far.
    fn outcomes(&self) -> Vec<Outcome> {
        // The last line may be half written, and is something else at the end.
        let printed = self.process.stdout();
        printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Seen {
    /// How many words each answer has that came to its end.
    pub fn words(&self) -> Vec<u64> {
        self.outcomes.iter().filter_map(|outcome| outcome.words).collect()
    }

    pub fn errors(&self) -> Vec<&Raised> {
        self.outcomes.iter().filter_map(|outcome| outcome.error.as_ref()).collect()
    }
}

/// An SDK takes seconds to load on a busy machine.
const WORK: Duration = Duration::from_mins(2);
