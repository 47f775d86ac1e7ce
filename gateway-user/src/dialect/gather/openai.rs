//! Chunks of Chat Completions, and of Completions (`OpenAI` API reference, "The chat completion chunk
//! object"; vLLM and llama.cpp say more in them).

use serde_json::{Value, json};

use super::{
    Incomplete, Room,
    join::{Fields, fields, join_fields, replace_fields},
};
use crate::{
    dialect::NotUnderstood,
    limits::{CHOICES_PER_ANSWER, TOOL_CALLS_PER_ANSWER},
};

/// What the chunks so far add up to.
#[derive(Default)]
pub(super) struct Chunks {
    /// Beside the choices.
    fields: Fields,
    /// In the order in which they have begun.
    choices: Vec<Choice>,
    room: Room,
}

#[derive(Default)]
struct Choice {
    index: u64,
    /// Beside its index and message.
    fields: Fields,
    /// Beside its tool calls.
    message: Fields,
    calls: Vec<Call>,
}

#[derive(Default)]
struct Call {
    /// Where a server says which one a piece is of.
    index: Option<u64>,
    fields: Fields,
}

impl Chunks {
    pub(super) fn take(&mut self, mut chunk: Fields) -> Result<(), Incomplete> {
        let Some(Value::Array(parts)) = chunk.remove("choices") else {
            return replace_fields(&mut self.fields, chunk, &mut self.room);
        };
        replace_fields(&mut self.fields, chunk, &mut self.room)?;
        for part in parts {
            let mut part = fields(Some(part));
            let index = part.remove("index").and_then(|index| index.as_u64()).unwrap_or(0);
            let at = match self.choices.iter().position(|choice| choice.index == index) {
                Some(at) => at,
                None if self.choices.len() == CHOICES_PER_ANSWER => {
                    return Err(NotUnderstood::TooLarge.into());
                }
                None => {
                    self.choices.push(Choice { index, ..Choice::default() });
                    self.choices.len() - 1
                }
            };
            if let Some(choice) = self.choices.get_mut(at) {
                choice.take(part, &mut self.room)?;
            }
        }
        Ok(())
    }

    /// The answer of a chat.
    pub(super) fn chat(self) -> Result<Value, Incomplete> {
        self.whole("chat.completion", Choice::chat)
    }

    /// The answer of a completion.
    pub(super) fn completion(self) -> Result<Value, Incomplete> {
        self.whole("text_completion", Choice::plain)
    }

    fn whole(mut self, object: &str, choice: fn(Choice) -> Value) -> Result<Value, Incomplete> {
        let is_whole = |choice: &Choice| {
            choice.fields.get("finish_reason").is_some_and(|reason| !reason.is_null())
        };
        if self.choices.is_empty() || !self.choices.iter().all(is_whole) {
            return Err(Incomplete::Cut);
        }
        self.choices.sort_unstable_by_key(|choice| choice.index);
        self.fields.insert("object".into(), object.into());
        self.fields.insert("choices".into(), self.choices.into_iter().map(choice).collect());
        Ok(Value::Object(self.fields))
    }
}

impl Choice {
    fn take(&mut self, mut part: Fields, room: &mut Room) -> Result<(), Incomplete> {
        let mut delta = fields(part.remove("delta"));
        join_fields(&mut self.fields, part, room)?;
        if let Some(Value::Array(parts)) = delta.remove("tool_calls") {
            for part in parts {
                self.call(fields(Some(part)), room)?;
            }
        }
        join_fields(&mut self.message, delta, room)
    }

    /// Some servers say no index: there a call that has a name, or another id, is another one.
    fn call(&mut self, mut part: Fields, room: &mut Room) -> Result<(), Incomplete> {
        let index = part.remove("index").and_then(|index| index.as_u64());
        let text = |fields: &Fields, name: &str| {
            let text = fields.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let id = text(&part, "id");
        let named = part.get("function").and_then(Value::as_object);
        let named = named.is_some_and(|function| text(function, "name").is_some());
        let goes_on = |call: &Call| match (index, call.index) {
            (Some(index), Some(of)) => index == of,
            _ => match &id {
                Some(id) => text(&call.fields, "id").as_ref() == Some(id),
                None => !named,
            },
        };
        let at = match self.calls.iter().rposition(goes_on) {
            Some(at) => at,
            None if self.calls.len() == TOOL_CALLS_PER_ANSWER => {
                return Err(NotUnderstood::TooLarge.into());
            }
            None => {
                self.calls.push(Call { index, ..Call::default() });
                self.calls.len() - 1
            }
        };
        match self.calls.get_mut(at) {
            Some(call) => join_fields(&mut call.fields, part, room),
            None => Ok(()),
        }
    }

    fn chat(mut self) -> Value {
        self.message.entry("role").or_insert_with(|| "assistant".into());
        self.message.entry("content").or_insert(Value::Null);
        if !self.calls.is_empty() {
            let calls = self.calls.into_iter().map(|mut call| {
                call.fields.entry("type").or_insert_with(|| "function".into());
                Value::Object(call.fields)
            });
            self.message.insert("tool_calls".into(), calls.collect());
        }
        self.fields.entry("logprobs").or_insert(Value::Null);
        self.fields.insert("message".into(), Value::Object(self.message));
        self.fields.insert("index".into(), json!(self.index));
        Value::Object(self.fields)
    }

    fn plain(mut self) -> Value {
        self.fields.entry("logprobs").or_insert(Value::Null);
        self.fields.insert("index".into(), json!(self.index));
        Value::Object(self.fields)
    }
}
