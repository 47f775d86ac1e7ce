//! Kinds of agents: what each speaks, and what it says of itself. From what real ones were seen to
//! put on the wire.

use serde_json::{Value, json};

use super::{random::Random, wire::Wire};
use crate::eval::record::Headers;

#[derive(Debug)]
pub(super) struct Framework {
    pub(super) name: &'static str,
    pub(super) wire: Wire,
    pub(super) host: &'static str,
    pub(super) model: &'static str,
    /// All its agents share this; sub-agents have their own.
    pub(super) instructions: &'static str,
    /// What a sub-agent's task is put into.
    pub(super) task: [&'static str; 2],
    pub(super) tool_ids: ToolIds,
    pub(super) counts: Counts,
    /// Whether answers come in pieces.
    pub(super) streams: bool,
    ids: Ids,
}

/// The ids of tool calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolIds {
    Unique,
    /// `call_0` is the first of every answer.
    Restarting,
    /// There are none on the wire.
    None,
}

/// What `x-stainless-retry-count` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Retries,
    /// Always 0.
    Nothing,
    /// It is not there.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    None,
    Claude,
    Codex,
    Opencode,
    CacheKey,
    /// A trace for each task, as where requests are instrumented.
    Trace,
}

/// What a client calls its session, and the part of it that a sub-agent is.
#[derive(Clone, Debug)]
pub(super) struct Names {
    session: String,
    pub(super) own: Option<String>,
}

impl Names {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { session: random.hex(), own: None }
    }

    /// A sub-agent's.
    pub(super) fn within(&self, random: &mut Random) -> Self {
        Self { session: self.session.clone(), own: Some(random.hex()) }
    }
}

impl Framework {
    /// Adds what the client says of its session.
    pub(super) fn sign(&self, names: &Names, task: u64, headers: &mut Headers, body: &mut Value) {
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        let (session, own) = (&*names.session, names.own.as_deref());
        match self.ids {
            Ids::None => {}
            Ids::Claude => {
                add("x-claude-code-session-id", session);
                if let Some(own) = own {
                    add("x-claude-code-agent-id", own);
                }
                let user = json!({ "device_id": "d", "session_id": session }).to_string();
                body["metadata"] = json!({ "user_id": user });
            }
            Ids::Codex => {
                add("session-id", session);
                add("thread-id", own.unwrap_or(session));
                if own.is_some() {
                    add("x-codex-parent-thread-id", session);
                    add("x-openai-subagent", "collab_spawn");
                }
                body["prompt_cache_key"] = own.unwrap_or(session).into();
            }
            Ids::Opencode => {
                add("x-session-id", own.unwrap_or(session));
                add("x-session-affinity", own.unwrap_or(session));
                if own.is_some() {
                    add("x-parent-session-id", session);
                }
            }
            Ids::CacheKey => {
                body["prompt_cache_key"] = format!("agents-sdk:run:{session}").into();
            }
            Ids::Trace => {
                let trace = u128::from(task) * TRACES_APART;
                add("traceparent", &format!("00-{trace:032x}-00f067aa0ba902b7-01"));
            }
        }
    }
}

/// So that ids of traces have all their digits.
const TRACES_APART: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced;

const PLAIN: Framework = Framework {
    name: "chat",
    wire: Wire::Chat,
    host: "api.openai.com",
    model: "gpt-5",
    instructions: "You are a helpful assistant. Use the tools that you are given.",
    task: ["", ""],
    tool_ids: ToolIds::Unique,
    counts: Counts::Retries,
    streams: false,
    ids: Ids::None,
};

/// Every kind.
pub(super) const ALL: &[Framework] = &[
    PLAIN,
    Framework {
        name: "chat with session fields",
        instructions: "You are a coding agent in a terminal. Be terse.",
        counts: Counts::Absent,
        streams: true,
        ids: Ids::Opencode,
        ..PLAIN
    },
    Framework {
        name: "chat with restarting ids",
        host: "vllm.internal:8000",
        model: "qwen3",
        instructions: "You are an agent. Answer in one sentence.",
        task: ["Your task:\n", "\nReport back."],
        tool_ids: ToolIds::Restarting,
        counts: Counts::Absent,
        ids: Ids::Trace,
        ..PLAIN
    },
    Framework {
        name: "messages with session fields",
        wire: Wire::Messages,
        host: "api.anthropic.com",
        model: "claude-sonnet-4-5",
        instructions: "You are a careful engineer who works in a repository.",
        counts: Counts::Nothing,
        streams: true,
        ids: Ids::Claude,
        ..PLAIN
    },
    Framework {
        name: "messages",
        wire: Wire::Messages,
        host: "api.anthropic.com",
        model: "claude-haiku-4-5",
        instructions: "You plan, and let others work.",
        task: ["<task>", "</task>"],
        ..PLAIN
    },
    Framework {
        name: "responses with session fields",
        wire: Wire::Responses { chained: false },
        instructions: "You are a coding agent. Follow the project's rules.",
        counts: Counts::Absent,
        streams: true,
        ids: Ids::Codex,
        ..PLAIN
    },
    Framework {
        name: "responses by id",
        wire: Wire::Responses { chained: true },
        instructions: "You hand over to whoever knows better.",
        ids: Ids::CacheKey,
        ..PLAIN
    },
    Framework {
        name: "gemini",
        wire: Wire::Gemini,
        host: "generativelanguage.googleapis.com",
        model: "gemini-2.5-pro",
        instructions: "You are an interactive agent for software work.",
        tool_ids: ToolIds::None,
        counts: Counts::Absent,
        ..PLAIN
    },
    Framework {
        name: "ollama",
        wire: Wire::Ollama,
        host: "ollama.internal:11434",
        model: "llama3.3",
        instructions: "You are a small agent with few tools.",
        task: ["Context: another agent asks. ", ""],
        tool_ids: ToolIds::None,
        counts: Counts::Absent,
        ids: Ids::Trace,
        ..PLAIN
    },
];
