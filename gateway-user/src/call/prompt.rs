//! What a dialect reads off a request.

use super::{Dialect, Name, Operation, Signal, Unmetered};

/// What the client asked of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub dialect: Dialect,
    pub operation: Operation,
    pub model: Option<Name>,
    pub stream: bool,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// A hash of the tools on offer, in canonical form; absent without tools.
    pub tools_hash: Option<u128>,
    /// The first `user` message's text, in canonical form: the wish. Absent if there is none.
    pub wish: Option<String>,
    /// How often the client says that it has sent this request before.
    pub client_retry: Option<u32>,
    /// Further facts. In a box, as most who look at a prompt do not need them.
    pub terms: Box<Terms>,
}

/// On which terms a model is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The most tokens that the answer may have, if it is said (`max_tokens` and its synonyms).
    pub max_output: Option<u64>,
    /// How many answers are asked for, if it is said (`n`, `candidateCount`).
    pub choices: Option<u64>,
    /// The service tier that is asked for, as the provider calls it.
    pub service_tier: Option<Name>,
    /// Whether a stream will report its usage, as far as the request decides on it.
    pub reports_usage: bool,
    /// What the server remembers of the conversation, which this request goes on from.
    pub goes_on_from: Option<Anchor>,
    /// The last `user` message's text, unless it is the first one's.
    pub latest: Option<String>,
    /// Whether the answer is made while nobody waits for it.
    pub background: bool,
    /// Whether it only prepares the provider's cache: nothing is generated.
    pub prewarms: bool,
    /// What the client says of its session, task and place: names as in the list of signals.
    pub signals: Vec<Signal>,
    pub segments: Segments,
    /// Parts of the messages that are no text: images, files, sound.
    pub other_parts: u64,
    /// Why the request does not tell what it may cost, if it doesn't.
    pub unmetered: Option<Unmetered>,
}

/// A conversation that a server keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// `previous_response_id`.
    Response(String),
    /// `conversation`.
    Conversation(String),
}

/// The parts of a prompt in the order in which providers cache them, with the bytes of their text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    pub tools: u64,
    pub system: u64,
    /// All that is not `system`.
    pub messages: u64,
}

impl Segments {
    /// All of them together.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.tools.saturating_add(self.system).saturating_add(self.messages)
    }
}

/// One message of a conversation, reduced to what lineage needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    /// Of the message in canonical form: equal for messages that mean the same, whatever their
    /// key order, their content's form (string or parts), or the defaults written out.
    pub hash: u128,
    /// A hash of what it says, whoever says it.
    pub content: Option<u64>,
    /// The ids of the tool calls that an assistant message makes.
    pub tool_calls: Vec<String>,
    /// The id of the tool call that a tool message answers.
    pub tool_result: Option<String>,
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions: `system` and `developer`.
    System,
    User,
    Assistant,
    /// The result of a tool call: `tool` and `function`.
    Tool,
    Other,
}

/// What the client asked of a tool server or of another agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    pub dialect: Dialect,
    pub operation: Operation,
    /// The tool's name; absent for another agent.
    pub tool: Option<Name>,
    /// A hash of the arguments in canonical form, equal to that of the model's call that asked for
    /// it: see [`super::ToolCall::arguments`].
    pub arguments: Option<u128>,
    /// The id of the request in its session, as it is written.
    pub rpc_id: Option<String>,
    pub signals: Vec<Signal>,
}
