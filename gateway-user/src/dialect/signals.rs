//! What clients say of the session, the task or the place that a call belongs to: which header
//! fields, as data. They are evidence, not authority.

mod baggage;

use crate::{call::Signal, limits};

/// Fields of requests, in lower case, that name a session, a task, an agent or a parent of one; from
/// what clients were seen to send, or document.
const FIELDS: &[&str] = &[
    // Claude Code.
    "x-claude-code-session-id",
    "x-claude-code-agent-id",
    "x-claude-code-parent-agent-id",
    // Codex.
    "session-id",
    "session_id",
    "thread-id",
    "conversation_id",
    "x-codex-parent-thread-id",
    "x-codex-turn-metadata",
    "x-codex-window-id",
    "x-openai-subagent",
    // opencode, and others with its names.
    "x-session-id",
    "x-session-affinity",
    "x-parent-session-id",
    "x-opencode-session",
    "x-opencode-request",
    "x-opencode-parent-session",
    // Copilot.
    "x-interaction-id",
    "x-client-session-id",
    "x-initiator",
    // Kilo, Mux, LiteLLM, LangSmith, Dynamo, llama.cpp.
    "x-kilocode-taskid",
    "x-mux-workspace-id",
    "x-litellm-session-id",
    "x-litellm-trace-id",
    "langsmith-trace",
    "x-dynamo-session-id",
    "x-dynamo-parent-session-id",
    "x-conversation-id",
    // Any.
    "x-client-request-id",
    "idempotency-key",
    "traceparent",
    "baggage",
    // MCP.
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    // A2A.
    "a2a-version",
];

/// For each length of a name, what names of that length begin with: a bit for each letter. Most
/// fields of a request are told by it.
const BEGINNINGS: [u32; 32] = {
    let mut beginnings = [0; 32];
    let mut at = 0;
    while at < FIELDS.len() {
        beginnings[FIELDS[at].len()] |= letter(FIELDS[at].as_bytes()[0]);
        at += 1;
    }
    beginnings
};

/// Every such field, in lower case.
#[must_use]
pub const fn fields() -> &'static [&'static str] {
    FIELDS
}

const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

/// Adds the field to the signals, if it is one, while there is room.
pub fn note(signals: &mut Vec<Signal>, name: &[u8], value: &[u8]) {
    let beginnings = BEGINNINGS.get(name.len()).copied().unwrap_or(0);
    if name.first().is_none_or(|first| beginnings & letter(*first) == 0) {
        return;
    }
    let Some(name) = FIELDS.iter().find(|field| field.as_bytes().eq_ignore_ascii_case(name)) else {
        return;
    };
    let Ok(value) = str::from_utf8(value) else { return };
    if value.len() > limits::SIGNAL_BYTES {
        return;
    }
    push(signals, name, value);
    if *name == "baggage" {
        for (name, id) in baggage::sessions(value) {
            push(signals, name, &id);
        }
    }
}

fn push(signals: &mut Vec<Signal>, name: &'static str, value: &str) {
    if signals.len() < limits::SIGNALS_PER_CALL {
        signals.push(Signal { name, value: value.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_told_by_its_beginning_in_any_case() {
        for field in FIELDS {
            let mut signals = Vec::new();
            note(&mut signals, field.to_ascii_uppercase().as_bytes(), b"1");
            assert_eq!(signals, [Signal { name: field, value: "1".to_owned() }]);
        }
        let mut signals = Vec::new();
        note(&mut signals, b"", b"1");
        note(&mut signals, &[b'x'; 40], b"1");
        assert!(signals.is_empty());
    }

    #[test]
    fn fields_are_known_in_any_case_and_bounded() {
        let mut signals = Vec::new();
        note(&mut signals, b"X-Claude-Code-Session-Id", b"s1");
        note(&mut signals, b"accept", b"*/*");
        note(&mut signals, b"traceparent", &[b'x'; limits::SIGNAL_BYTES + 1]);
        note(&mut signals, b"baggage", b"\xff");
        let one = Signal { name: "x-claude-code-session-id", value: "s1".to_owned() };
        assert_eq!(signals, [one]);
        note(&mut signals, b"baggage", b"a=1,session.id=s1");
        assert!(signals[2].names_session() && signals[2].value == "s1" && signals.len() == 3);
        for _ in 0..limits::SIGNALS_PER_CALL {
            note(&mut signals, b"session-id", b"s2");
        }
        assert_eq!(signals.len(), limits::SIGNALS_PER_CALL);
    }
}
