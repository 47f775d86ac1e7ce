//! Responses: the `openai` API reference, "Create a model response" and its streaming events. Over
//! a WebSocket the same events come, each in a message.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, messages::named, pieces};

impl Answer {
    /// As one response.
    pub fn response_document(&self) -> Bytes {
        self.response("completed").to_string().into()
    }

    /// As the events of a stream, each with its name and the blank line that ends it.
    pub fn response_events(&self) -> Vec<Bytes> {
        self.response_messages().iter().map(named).collect()
    }

    /// As the messages of a socket.
    pub fn response_messages(&self) -> Vec<Value> {
        let item = || format!("msg_{}", self.id);
        let mut events = vec![
            json!({"type": "response.created", "response": self.response("in_progress")}),
            json!({"type": "response.in_progress", "response": self.response("in_progress")}),
        ];
        if let Some(text) = &self.text {
            let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
            let at = |kind: &str, key: &str, value: Value| {
                json!({
                    "type": kind, "item_id": item(), "output_index": 0, "content_index": 0,
                    key: value,
                })
            };
            let mut started = self.output(text);
            started["status"] = "in_progress".into();
            started["content"] = json!([]);
            events.push(
                json!({"type": "response.output_item.added", "output_index": 0, "item": started}),
            );
            events.push(at("response.content_part.added", "part", part("")));
            for piece in pieces(text) {
                events.push(at("response.output_text.delta", "delta", piece.into()));
            }
            events.push(at("response.output_text.done", "text", text.as_str().into()));
            events.push(at("response.content_part.done", "part", part(text)));
            events.push(json!({
                "type": "response.output_item.done", "output_index": 0, "item": self.output(text),
            }));
        }
        events.push(json!({"type": "response.completed", "response": self.response("completed")}));
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = number.into();
        }
        events
    }

    /// Without text: a client that says `generate: false` wants its prompt to be read, no more.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.text = None;
        self.usage.output_tokens = 0;
        self
    }

    fn response(&self, status: &str) -> Value {
        let done = status == "completed";
        let usage = self.usage;
        let output: Vec<Value> = self.text.iter().map(|text| self.output(text)).collect();
        json!({
            "id": self.id, "object": "response", "created_at": 1_767_225_600, "status": status,
            "model": self.model, "error": null, "incomplete_details": null, "metadata": {},
            "output": if done { output } else { Vec::new() },
            "usage": done.then(|| json!({
                "input_tokens": usage.input_tokens,
                "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
                "output_tokens": usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
                "total_tokens": usage.input_tokens + usage.output_tokens,
            })),
        })
    }

    fn output(&self, text: &str) -> Value {
        json!({
            "id": format!("msg_{}", self.id), "type": "message", "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        })
    }
}
