//! An agent's conversation as it is sent again with each turn: most of a request is what the last
//! one was, and what the server answered to it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::wire::{self, NONCE, Protocol, Request, Wanted};

/// A conversation, as far as it has gone.
#[derive(Debug)]
pub(super) struct Conversation {
    path: &'static str,
    /// Bytes of an answer's body.
    answer: usize,
    /// The answer as it is sent back, and what the user says to it.
    turn: String,
    /// What it begins with: a task of its own, and tools that were called for it.
    opening: String,
    messages: Vec<u8>,
    turns: u32,
}

impl Conversation {
    /// One whose answers have `answer` bytes.
    pub(super) fn new(protocol: Protocol, answer: usize) -> Result<Self> {
        let path = protocol.path().context("conversations are held over HTTP")?;
        let whole: Value = serde_json::from_slice(&wire::answer_body(protocol, answer)?)?;
        let echo = &whole["choices"][0]["message"]["content"];
        let assistant = json!({"role": "assistant", "content": echo});
        let user = json!({"role": "user", "content": "Go on with the next file."});
        let turn = format!(",{assistant},{user}");
        let mut opening = String::new();
        for number in 0.. {
            match message(number).to_string() {
                text if opening.len() + text.len() > OPENING_BYTES => break,
                text if number == 0 => opening = text,
                text => opening = format!("{opening},{text}"),
            }
        }
        Ok(Self { path, answer, turn, opening, messages: Vec::new(), turns: 0 })
    }

    /// The request that begins it, as a new one each time by its nonce.
    pub(super) fn first(&mut self) -> Request {
        self.messages = self.opening.clone().into_bytes();
        self.turns = 0;
        self.request()
    }

    /// The request of the next turn; after some turns, of another conversation.
    pub(super) fn next(&mut self, nonce: u64) -> Request {
        if self.messages.is_empty() || self.turns == TURNS {
            let mut request = self.first();
            request.set_nonce(nonce);
            // The nonce stays what it is for all turns.
            let messages = request.body().get(HEAD.len()..).unwrap_or_default();
            let messages = messages.get(..self.messages.len()).unwrap_or_default();
            self.messages = messages.to_vec();
            return request;
        }
        self.turns += 1;
        self.messages.extend_from_slice(self.turn.as_bytes());
        self.request()
    }

    fn request(&self) -> Request {
        let wanted = Wanted::Answer(self.answer).to_string();
        Request::http(self.path, &wanted, &[HEAD, &self.messages, TAIL])
    }
}

/// Instructions, a task, then calls of a tool and what it found, by turns.
fn message(number: u32) -> Value {
    let id = format!("call_{:024x}", number / 2);
    match number {
        0 => json!({"role": "system", "content": "You are a careful assistant."}),
        1 => json!({"role": "user", "content": format!("Task {NONCE}: tidy the project.")}),
        _ if number.is_multiple_of(2) => json!({"role": "assistant", "content": null,
            "tool_calls": [{"id": id, "type": "function", "function": {"name": "read_file",
                "arguments": json!({"path": format!("src/part_{number}.rs")}).to_string()}}]}),
        _ => json!({"role": "tool", "tool_call_id": id, "content": file(number)}),
    }
}

/// A file as tools return it: lines, some of them with quotes.
fn file(number: u32) -> String {
    let line = |at: u32| format!("{at:4}  let part_{number} = \"{}\";\n", wire::words(40));
    (0..LINES).map(line).collect()
}

const HEAD: &[u8] = br#"{"messages":["#;
const TAIL: &[u8] = br#"],"model":"gpt-4o-mini","temperature":0.2}"#;
/// Bytes of a conversation's first request: with half of its turns it has 200 kB.
const OPENING_BYTES: usize = 170_000;
/// Turns of a conversation after its first.
const TURNS: u32 = 40;
/// Of a file.
const LINES: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(request: &Request) -> Vec<Value> {
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        body["messages"].as_array().expect("messages").clone()
    }

    #[test]
    fn a_turn_says_all_that_was_said_before() {
        let mut conversation = Conversation::new(Protocol::Chat, 2000).expect("a conversation");
        let first = messages(&conversation.next(1));
        let second = messages(&conversation.next(2));
        assert_eq!(second[..first.len()], first);
        assert_eq!(second.len(), first.len() + 2);
        assert!(first[1]["content"].as_str().expect("text").contains("0000000000000001"));
        let sizes: Vec<_> = (1..TURNS).map(|_| conversation.next(3).body().len()).collect();
        let other = messages(&conversation.next(4));
        assert!(sizes.iter().all(|size| (170_000..240_000).contains(size)), "{sizes:?}");
        assert_ne!(other[1], first[1]);
    }
}
