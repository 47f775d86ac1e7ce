//! Events of Responses, whose last one has the whole answer (`OpenAI` API reference, "Streaming
//! events").

use serde_json::Value;

use super::{Incomplete, join::Fields};

/// What the events so far come to.
#[derive(Default)]
pub(super) struct Events {
    answer: Option<Value>,
}

impl Events {
    pub(super) fn take(&mut self, mut event: Fields) {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_last =
            matches!(kind, "response.completed" | "response.incomplete" | "response.failed");
        if is_last && let Some(answer @ Value::Object(_)) = event.remove("response") {
            self.answer = Some(answer);
        }
    }

    pub(super) fn whole(self) -> Result<Value, Incomplete> {
        self.answer.ok_or(Incomplete::Cut)
    }
}
