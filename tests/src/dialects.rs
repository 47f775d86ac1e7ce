//! SDKs of model servers and tool servers, unchanged, in small agents: which there are for each
//! dialect, and what they say that they saw. The agents are `agents/dialects.py` and `.mjs`; the tool
//! server, which is a package's own, is `agents/tools.py`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::Deserialize;

use crate::{container::Container, process::Background, wait};

/// One conversation of one SDK in one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What the agents call it, and its calls' tag.
    pub name: &'static str,
    /// As a trace names it.
    pub dialect: &'static str,
    pub operation: &'static str,
    /// The conversation goes on after tools were called. None of it: it makes one call.
    pub tools: bool,
}

/// What an agent says that it saw in one case.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Seen {
    pub response_ids: Vec<String>,
    /// The tools that it was asked to use: their calls' ids, where there are any, and names.
    pub calls: Vec<(Option<String>, String)>,
    pub texts: Vec<String>,
    /// Requests that it made.
    pub attempts: usize,
    /// What the SDK raised.
    pub errors: Vec<String>,
}

/// How agents go about their work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Usual,
    /// SDKs that can compare every answer with what they know of the API do so.
    Strict,
    /// Bodies say something twice; of tool servers, those that call a tool.
    Doubling,
}

/// The tool server, in a container of its own that shares the network of the agents'.
#[derive(Debug)]
pub struct ToolServer {
    _process: Background,
    _container: Container,
}

/// The agents, at work on cases: one process for each language.
#[derive(Debug)]
pub struct Agents {
    processes: Vec<Background>,
}

/// A line that an agent prints.
#[derive(Deserialize)]
struct Line {
    case: String,
    event: String,
    #[serde(flatten)]
    seen: serde_json::Value,
}

impl Case {
    const fn new(
        name: &'static str,
        dialect: &'static str,
        operation: &'static str,
        tools: bool,
    ) -> Self {
        Self { name, dialect, operation, tools }
    }

    pub fn is_streamed(&self) -> bool {
        self.name.ends_with("-stream")
    }

    /// Whether it is an agent in JavaScript that knows it.
    fn is_of_node(&self) -> bool {
        self.name.starts_with("js-") || self.name.starts_with("ai-")
    }
}

impl Manner {
    fn option(self) -> Option<&'static str> {
        match self {
            Self::Usual => None,
            Self::Strict => Some("--strict"),
            Self::Doubling => Some("--double"),
        }
    }
}

/// The one of this name.
#[track_caller]
pub fn case(name: &str) -> Case {
    let found = CASES.into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("there is no case {name}"))
}

impl ToolServer {
    #[track_caller]
    pub fn beside(agents: &Container) -> Self {
        let container = Container::start_sharing(agents);
        let mut command = container.command("python3");
        let ports = TOOL_PORTS.map(|port| port.to_string());
        let mut process = container.spawn(command.arg("/agents/tools.py").args(&ports));
        wait::until_true(START, "the tool server to listen", || {
            assert!(process.status().is_none(), "it ended: {}", process.stderr());
            let listeners = agents.listeners();
            ports.iter().all(|port| listeners.iter().any(|it| it.contains(&format!(":{port} "))))
        });
        Self { _process: process, _container: container }
    }
}

impl Agents {
    /// Lets them begin with all cases at once; `script` is for the model server.
    #[track_caller]
    pub fn start(
        container: &Container,
        server: SocketAddr,
        script: &str,
        cases: &[Case],
        manner: Manner,
    ) -> Self {
        let url = format!("http://{server}");
        let (node, python): (Vec<&Case>, Vec<&Case>) =
            cases.iter().partition(|case| case.is_of_node());
        let mut processes = Vec::new();
        if !python.is_empty() {
            let mut command = container.command("python3");
            command.arg("/agents/dialects.py").args(manner.option());
            command.args(["--server", &url, "--script", script, "--tools"]);
            command.args(TOOL_PORTS.map(|port| port.to_string()));
            command.arg("--").args(python.iter().map(|case| case.name));
            processes.push(container.spawn(&mut command));
        }
        if !node.is_empty() {
            let mut command = container.command("node");
            command.arg("/agents/dialects.mjs").args(manner.option()).args([&url, script]);
            command.args(node.iter().map(|case| case.name));
            processes.push(container.spawn(&mut command));
        }
        Self { processes }
    }

    /// Waits until streams of these cases have brought their first piece.
    #[track_caller]
    pub fn wait_for_streams(&mut self, cases: &[Case]) {
        wait::until_true(START, "the streams to begin", || {
            for process in &mut self.processes {
                let ended = process.status();
                assert!(ended.is_none(), "{ended:?}: {}{}", process.stdout(), process.stderr());
            }
            let lines = self.lines();
            let has_begun = |case: &Case| {
                lines.iter().any(|line| line.event == "streaming" && line.case == case.name)
            };
            cases.iter().filter(|case| case.is_streamed()).all(has_begun)
        });
    }

    /// Waits until they have ended. What they saw, by the cases' names.
    #[track_caller]
    pub fn end(mut self) -> BTreeMap<String, Seen> {
        for process in &mut self.processes {
            let status = process.wait(WORK);
            assert!(status.success(), "{status}: {}", process.stderr());
        }
        let ends = self.lines().into_iter().filter(|line| line.event == "end");
        let parse = |line: Line| {
            (line.case, serde_json::from_value(line.seen).expect("as an agent prints it"))
        };
        ends.map(parse).collect()
    }

    fn lines(&self) -> Vec<Line> {
        let printed: String = self.processes.iter().map(Background::stdout).collect();
        // The last line may be half written.
        printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// With a handshake, without, and by the old transport.
pub const TOOL_PORTS: [u16; 3] = [8001, 8002, 8003];

const CHAT: &str = "openai_chat";
const COMPLETIONS: &str = "openai_completions";
const EMBEDDINGS: &str = "openai_embeddings";
const RESPONSES: &str = "openai_responses";
const MESSAGES: &str = "anthropic_messages";

/// Every conversation. What asks a tool server only is not among them.
pub const CASES: [Case; 37] = [
    Case::new("openai-chat", CHAT, "chat", true),
    Case::new("openai-chat-stream", CHAT, "chat", true),
    Case::new("js-openai-chat", CHAT, "chat", true),
    Case::new("js-openai-chat-stream", CHAT, "chat", true),
    Case::new("ai-openai-chat", CHAT, "chat", true),
    Case::new("ai-openai-chat-stream", CHAT, "chat", true),
    Case::new("openai-responses", RESPONSES, "chat", true),
    Case::new("openai-responses-stream", RESPONSES, "chat", true),
    Case::new("openai-stored-responses", RESPONSES, "chat", true),
    Case::new("openai-stored-responses-stream", RESPONSES, "chat", true),
    Case::new("js-openai-responses", RESPONSES, "chat", true),
    Case::new("js-openai-responses-stream", RESPONSES, "chat", true),
    Case::new("ai-openai-responses", RESPONSES, "chat", true),
    Case::new("ai-openai-responses-stream", RESPONSES, "chat", true),
    Case::new("openai-completions", COMPLETIONS, "text_completion", false),
    Case::new("openai-completions-stream", COMPLETIONS, "text_completion", false),
    Case::new("js-openai-completions", COMPLETIONS, "text_completion", false),
    Case::new("js-openai-completions-stream", COMPLETIONS, "text_completion", false),
    Case::new("openai-embeddings", EMBEDDINGS, "embeddings", false),
    Case::new("js-openai-embeddings", EMBEDDINGS, "embeddings", false),
    Case::new("ai-openai-embeddings", EMBEDDINGS, "embeddings", false),
    Case::new("anthropic-messages", MESSAGES, "chat", true),
    Case::new("anthropic-messages-stream", MESSAGES, "chat", true),
    Case::new("js-anthropic-messages", MESSAGES, "chat", true),
    Case::new("js-anthropic-messages-stream", MESSAGES, "chat", true),
    Case::new("ai-anthropic-messages", MESSAGES, "chat", true),
    Case::new("ai-anthropic-messages-stream", MESSAGES, "chat", true),
    Case::new("anthropic-count-tokens", MESSAGES, "count_tokens", false),
    Case::new("js-anthropic-count-tokens", MESSAGES, "count_tokens", false),
    Case::new("genai", "gemini", "generate_content", true),
    Case::new("genai-stream", "gemini", "generate_content", true),
    Case::new("genai-count-tokens", "gemini", "count_tokens", false),
    Case::new("httpx-gemini-array-stream", "gemini", "generate_content", false),
    Case::new("ollama-chat", "ollama", "chat", true),
    Case::new("ollama-chat-stream", "ollama", "chat", true),
    Case::new("ollama-generate", "ollama", "text_completion", false),
    Case::new("ollama-generate-stream", "ollama", "text_completion", false),
];

/// What asks a tool server only: its operation is the call of a tool.
pub const TOOL_CASES: [Case; 3] = [
    Case::new("mcp", "mcp", "execute_tool", true),
    Case::new("mcp-modern", "mcp", "execute_tool", true),
    Case::new("mcp-sse", "mcp", "execute_tool", true),
];

/// A tool of such a server that goes on for longer than anybody waits, and tells of its progress.
pub const LONG_TOOL_CASES: [Case; 2] = [
    Case::new("mcp-stream", "mcp", "execute_tool", true),
    Case::new("mcp-modern-stream", "mcp", "execute_tool", true),
];

/// What asks for something whose cost can't be told beforehand.
pub const UNMETERED_CASES: [Case; 3] = [
    Case::new("openai-files", "none", "none", false),
    Case::new("anthropic-batches", "none", "none", false),
    Case::new("genai-files", "none", "none", false),
];

/// An SDK takes seconds to load on a busy machine.
const START: Duration = Duration::from_mins(1);
const WORK: Duration = Duration::from_secs(90);
