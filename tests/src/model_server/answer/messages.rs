//! Anthropic's Messages: the API reference, "Create a message" and "Streaming messages".

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, pieces};

impl Answer {
    /// As one message.
    pub fn message_document(&self) -> Bytes {
        let content = json!([{"type": "text", "text": self.text}]);
        let mut message = self.message_envelope(&content);
        message["stop_reason"] = "end_turn".into();
        message["usage"]["output_tokens"] = self.usage.output_tokens.into();
        message.to_string().into()
    }

    /// As the events of a stream, each with its name and the blank line that ends it.
    pub fn message_events(&self) -> Vec<Bytes> {
        let mut events = vec![
            json!({"type": "message_start", "message": self.message_envelope(&json!([]))}),
            json!({
                "type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""},
            }),
        ];
        for piece in self.text.iter().flat_map(|text| pieces(text)) {
            let delta = json!({"type": "text_delta", "text": piece});
            events.push(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": 0}));
        events.push(json!({
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": self.usage.output_tokens},
        }));
        events.push(json!({"type": "message_stop"}));
        events.iter().map(named).collect()
    }

    fn message_envelope(&self, content: &Value) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": self.usage.input_tokens, "output_tokens": 1},
        })
    }
}

/// An event of a stream whose events have names: that of the type.
pub(super) fn named(event: &Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {event}\n\n").into()
}
