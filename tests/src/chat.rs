//! A chat of a tool loop that grows, for benchmarks, and how its requests are read.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use turnpike::dialect::{Asked, Known, Observer, RequestInfo, detect};

/// Instructions, a task, then calls of a tool and what it found, by turns.
#[derive(Debug)]
pub struct Chat(Vec<Value>);

impl Chat {
    /// One whose request has about so many bytes.
    pub fn of(bytes: usize) -> Self {
        let mut conversation = Self(vec![
            json!({"role": "system", "content": "You are a careful assistant. ".repeat(20)}),
            json!({"role": "user", "content": "Tidy the project, file by file."}),
        ]);
        while conversation.body().len() < bytes {
            conversation.go_on();
        }
        conversation
    }

    pub fn go_on(&mut self) {
        let number = self.0.len();
        let id = format!("call_{number:024x}");
        let lines =
            (0..16).map(|line| format!("{line:4}  let part_{number} = \"a word or two\";\n"));
        let arguments = json!({"path": format!("src/part_{number}.rs")}).to_string();
        let call = json!({"id": id, "type": "function",
            "function": {"name": "read_file", "arguments": arguments}});
        self.0.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        let content = lines.collect::<String>();
        self.0.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
    }

    pub fn body(&self) -> Vec<u8> {
        json!({"messages": self.0, "model": "gpt-4o-mini", "stream": true}).to_string().into_bytes()
    }
}

/// Reads a request as it is read on its way, in pieces.
pub fn read(body: &[u8], known: &mut Known) -> Result<(Observer, Asked)> {
    let mut observer = detect(&RequestInfo {
        method: "POST",
        host: None,
        target: "/v1/chat/completions",
        content_type: Some("application/json"),
        content_encoding: None,
        content_length: Some(body.len() as u64),
        client_retry: None,
        signals: &[],
    })
    .context("a chat completion")?;
    for piece in body.chunks(PIECE) {
        observer.request_body(piece);
    }
    let asked = observer.request_end(known)?.pop().context("a call")?;
    Ok((observer, asked))
}

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;
