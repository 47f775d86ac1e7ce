//! Lines of Ollama's own API: of a text each has a piece, and the last one says how it was made.

use serde_json::Value;

use super::{
    Incomplete, Room,
    join::{Fields, fields, join_fields, replace_fields},
};

/// What the lines so far add up to.
#[derive(Default)]
pub(super) struct Lines {
    fields: Fields,
    /// Of a chat.
    message: Fields,
    /// What comes in pieces of all else.
    pieces: Fields,
    room: Room,
}

impl Lines {
    pub(super) fn take(&mut self, mut line: Fields) -> Result<(), Incomplete> {
        let message = fields(line.remove("message"));
        join_fields(&mut self.message, message, &mut self.room)?;
        for name in PIECES {
            if let Some(piece) = line.remove(name) {
                let piece = Fields::from_iter([(name.to_owned(), piece)]);
                join_fields(&mut self.pieces, piece, &mut self.room)?;
            }
        }
        replace_fields(&mut self.fields, line, &mut self.room)
    }

    pub(super) fn whole(mut self) -> Result<Value, Incomplete> {
        if self.fields.get("done") != Some(&Value::Bool(true)) {
            return Err(Incomplete::Cut);
        }
        self.fields.append(&mut self.pieces);
        if !self.message.is_empty() {
            self.fields.insert("message".into(), Value::Object(self.message));
        }
        Ok(Value::Object(self.fields))
    }
}

const PIECES: [&str; 3] = ["response", "thinking", "logprobs"];
