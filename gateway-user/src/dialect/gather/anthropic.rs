//! Events of Anthropic Messages (API reference, "Streaming messages").

use serde_json::{Map, Value};

use super::{
    Incomplete, Room,
    join::{Fields, fields, join_fields, replace_fields},
};
use crate::dialect::NotUnderstood;

/// What the events so far add up to.
#[derive(Default)]
pub(super) struct Events {
    message: Fields,
    /// In the order in which they have begun.
    blocks: Vec<Block>,
    is_over: bool,
    room: Room,
}

struct Block {
    index: Option<u64>,
    fields: Fields,
    /// The input of a tool, as far as it was written.
    input: String,
}

impl Events {
    pub(super) fn take(&mut self, mut event: Fields) -> Result<(), Incomplete> {
        let kind = event.remove("type");
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "message_start" => {
                let message = fields(event.remove("message"));
                replace_fields(&mut self.message, message, &mut self.room)
            }
            "content_block_start" => {
                // What it takes beside what is in it.
                self.room.take(size_of::<Block>())?;
                let mut block = Block {
                    index: event.get("index").and_then(Value::as_u64),
                    fields: Map::new(),
                    input: String::new(),
                };
                let begun = fields(event.remove("content_block"));
                replace_fields(&mut block.fields, begun, &mut self.room)?;
                self.blocks.push(block);
                Ok(())
            }
            "content_block_delta" => {
                let index = event.get("index").and_then(Value::as_u64);
                let mut blocks = self.blocks.iter_mut();
                let block = blocks.rfind(|block| block.index == index);
                let block = block.ok_or(NotUnderstood::NotThisShape)?;
                block.take(fields(event.remove("delta")), &mut self.room)
            }
            "message_delta" => {
                let delta = fields(event.remove("delta"));
                replace_fields(&mut self.message, delta, &mut self.room)?;
                let usage = fields(event.remove("usage"));
                if let Some(Value::Object(all)) = self.message.get_mut("usage") {
                    replace_fields(all, usage, &mut self.room)?;
                } else {
                    self.message.insert("usage".into(), Value::Object(usage));
                }
                replace_fields(&mut self.message, event, &mut self.room)
            }
            "message_stop" => {
                self.is_over = true;
                Ok(())
            }
            // Pings, ends of blocks, and what is not known yet.
            _ => Ok(()),
        }
    }

    pub(super) fn whole(mut self) -> Result<Value, Incomplete> {
        if !self.is_over {
            return Err(Incomplete::Cut);
        }
        self.blocks.sort_by_key(|block| block.index);
        // An input may have been cut with its answer.
        let reason = self.message.get("stop_reason").and_then(Value::as_str);
        let is_cut = matches!(reason, Some("max_tokens" | "model_context_window_exceeded"));
        let content: Result<Vec<_>, _> =
            self.blocks.into_iter().map(|block| block.whole(is_cut)).collect();
        self.message.insert("content".into(), Value::Array(content?));
        Ok(Value::Object(self.message))
    }
}

impl Block {
    fn take(&mut self, mut delta: Fields, room: &mut Room) -> Result<(), Incomplete> {
        delta.remove("type");
        if let Some(Value::String(piece)) = delta.remove("partial_json") {
            room.take(piece.len())?;
            self.input.push_str(&piece);
        }
        if let Some(citation) = delta.remove("citation") {
            let all = self.fields.entry("citations").or_insert(Value::Null);
            if all.is_null() {
                *all = Value::Array(Vec::new());
            }
            let citation =
                Fields::from_iter([("citations".to_owned(), Value::Array(vec![citation]))]);
            join_fields(&mut self.fields, citation, room)?;
        }
        join_fields(&mut self.fields, delta, room)
    }

    fn whole(mut self, is_cut: bool) -> Result<Value, Incomplete> {
        if !self.input.is_empty() {
            match serde_json::from_str(&self.input) {
                Ok(input) => drop(self.fields.insert("input".into(), input)),
                Err(_) if is_cut => {}
                Err(error) => return Err(NotUnderstood::from(error).into()),
            }
        }
        Ok(Value::Object(self.fields))
    }
}
