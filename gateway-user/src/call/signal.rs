//! What a client says of where its call belongs.

/// An id that a client sent. Evidence, not authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The header, in lower case, or the place in the body, with dots.
    pub name: &'static str,
    pub value: String,
}

/// Signals whose values clients keep for one conversation, and give to no other. What names a user, a
/// turn, a request, a thread or a cache is not among them.
const OF_SESSIONS: &[&str] = &[
    // Claude Code.
    "x-claude-code-session-id",
    "body.metadata.user_id.session_id",
    // Codex.
    "session-id",
    "session_id",
    "conversation_id",
    "body.client_metadata.session_id",
    // opencode, and others with its names.
    "x-session-id",
    "x-opencode-session",
    // Copilot, Kilo, LiteLLM, Dynamo, llama.cpp.
    "x-client-session-id",
    "x-kilocode-taskid",
    "x-litellm-session-id",
    "x-dynamo-session-id",
    "x-conversation-id",
    // Gemini's Code Assist.
    "body.request.session_id",
    // Applications of the Responses API.
    "body.metadata.session_id",
    "body.metadata.conversation_id",
    // Members of W3C baggage: OpenTelemetry's, Langfuse's, and those of LangSmith's metadata.
    "baggage.session.id",
    "baggage.gen_ai.conversation.id",
    "baggage.langfuse_session_id",
    "baggage.langfuse.session.id",
    "baggage.langsmith-metadata.session_id",
    "baggage.langsmith-metadata.thread_id",
    "baggage.langsmith-metadata.conversation_id",
];

impl Signal {
    /// Whether it says which session a call belongs to.
    #[must_use]
    pub fn names_session(&self) -> bool {
        OF_SESSIONS.contains(&self.name)
    }
}
