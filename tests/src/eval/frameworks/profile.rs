//! The frameworks, and how each is driven.

use super::stage::Ids;

/// One framework in one manner of speaking to its model.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub framework: &'static str,
    /// As the programs call it.
    pub api: &'static str,
    pub is_streamed: bool,
    pub(super) ids: Ids,
    /// Its tools are a server's.
    pub(super) has_tool_server: bool,
    /// How many sessions a machine can be asked to have under way at once.
    pub(super) most: usize,
    /// In a container.
    pub(super) program: &'static [&'static str],
    pub(super) can: Can,
}

/// What can be asked of a program.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "any of them may be so, whatever the others are")]
pub(super) struct Can {
    pub(super) delegate: bool,
    /// Does so in the background, too.
    pub(super) launch: bool,
    /// Waits for what it has launched, by a tool.
    pub(super) wait: bool,
    /// Sub-agents have sub-agents.
    pub(super) nest: bool,
    pub(super) hand_off: bool,
    /// Answers in a given form, and asks again for it.
    pub(super) formal: bool,
    /// Tries again when it is told that it asks too often.
    pub(super) rate_limit: bool,
    /// Tries again when an answer breaks off.
    pub(super) truncated: bool,
    /// Tries again when none comes.
    pub(super) time_out: bool,
}

impl Profile {
    const fn new(
        framework: &'static str,
        program: &'static [&'static str],
        api: &'static str,
        can: Can,
    ) -> Self {
        Self {
            framework,
            api,
            is_streamed: false,
            ids: Ids::Unique,
            has_tool_server: false,
            most: usize::MAX,
            program,
            can,
        }
    }

    /// The SDKs try again only what breaks off before they hand on the first piece.
    const fn streamed(mut self) -> Self {
        self.is_streamed = true;
        self.can.truncated = false;
        self
    }

    /// Each session is a process, and tries again whatever breaks off.
    const fn of_processes(mut self) -> Self {
        self.most = 10;
        self.can.truncated = true;
        self
    }

    const fn with_tool_server(mut self) -> Self {
        self.has_tool_server = true;
        self
    }

    /// By a server whose ids of tool calls are the same in every answer.
    const fn restarting(mut self) -> Self {
        self.ids = Ids::Restarting;
        self
    }

    /// As files and tables name it.
    pub fn name(&self) -> String {
        let manner = if self.is_streamed { ", streamed" } else { "" };
        let ids = if self.ids == Ids::Restarting { ", call_0" } else { "" };
        let tools = if self.has_tool_server { ", mcp" } else { "" };
        format!("{} {}{manner}{ids}{tools}", self.framework, self.api)
    }

    pub fn file_name(&self) -> String {
        self.name().replace(", ", "-").replace(' ', "-")
    }
}

/// All that are recorded.
pub const ALL: &[Profile] = &[
    Profile::new("openai-agents", OPENAI_AGENTS, "chat", AGENTS_SDK),
    Profile::new("openai-agents", OPENAI_AGENTS, "responses", AGENTS_SDK).streamed(),
    Profile::new("openai-agents", OPENAI_AGENTS, "chat", AGENTS_SDK).with_tool_server(),
    Profile::new("langgraph", LANGGRAPH, "chat", LANGCHAIN).streamed(),
    Profile::new("langgraph", LANGGRAPH, "messages", LANGCHAIN),
    Profile::new("pydantic-ai", PYDANTIC_AI, "chat", PYDANTIC),
    Profile::new("pydantic-ai", PYDANTIC_AI, "messages", PYDANTIC).streamed(),
    Profile::new("pydantic-ai", PYDANTIC_AI, "chat", PYDANTIC).restarting(),
    Profile::new("ai-sdk", AI_SDK, "chat", AI).streamed(),
    Profile::new("ai-sdk", AI_SDK, "responses", AI),
    Profile::new("ai-sdk", AI_SDK, "messages", AI),
    Profile::new("claude-code", CLAUDE_CODE, "messages", CLAUDE).streamed().of_processes(),
    Profile::new("codex", CODEX_CLI, "responses", CODEX).streamed().of_processes(),
];

const OPENAI_AGENTS: &[&str] = &["python3", "/agents/frameworks/with_openai_agents.py"];
const LANGGRAPH: &[&str] = &["python3", "/agents/frameworks/with_langgraph.py"];
const PYDANTIC_AI: &[&str] = &["python3", "/agents/frameworks/with_pydantic_ai.py"];
const CLAUDE_CODE: &[&str] = &["python3", "/agents/frameworks/with_cli.py", "claude"];
const CODEX_CLI: &[&str] = &["python3", "/agents/frameworks/with_cli.py", "codex"];
const AI_SDK: &[&str] = &["node", "/agents/frameworks/with_ai_sdk.mjs"];

const AGENTS_SDK: Can = Can {
    delegate: true,
    launch: false,
    wait: false,
    nest: true,
    hand_off: true,
    formal: false,
    rate_limit: true,
    truncated: true,
    time_out: true,
};
const LANGCHAIN: Can = Can { hand_off: false, formal: true, ..AGENTS_SDK };
const PYDANTIC: Can = LANGCHAIN;
const AI: Can = Can { hand_off: false, truncated: false, time_out: false, ..AGENTS_SDK };
const CLAUDE: Can = Can { launch: true, nest: false, formal: false, time_out: false, ..LANGCHAIN };
const CODEX: Can = Can { wait: true, rate_limit: false, delegate: false, launch: false, ..CLAUDE };
