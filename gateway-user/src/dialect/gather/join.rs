//! How pieces of a value become the value.

use serde_json::{Map, Value, map::Entry};

use super::{Incomplete, Room};

pub(super) type Fields = Map<String, Value>;

/// Adds a piece to what there is: texts and lists go on, objects field by field, and of all else the
/// last counts. `null` says nothing.
pub(super) fn join(whole: &mut Value, piece: Value, room: &mut Room) -> Result<(), Incomplete> {
    match (whole, piece) {
        (_, Value::Null) => {}
        (Value::Object(whole), Value::Object(piece)) => join_fields(whole, piece, room)?,
        (Value::String(whole), Value::String(piece)) => {
            room.take(piece.len())?;
            whole.push_str(&piece);
        }
        (Value::Array(whole), Value::Array(piece)) => {
            for item in piece {
                room.take(weight(&item))?;
                whole.push(item);
            }
        }
        (whole, piece) => {
            room.take(weight(&piece))?;
            room.give_back(weight(whole));
            *whole = piece;
        }
    }
    Ok(())
}

/// The same of an object's fields. What names something is told once, or each time anew.
pub(super) fn join_fields(
    whole: &mut Fields,
    piece: Fields,
    room: &mut Room,
) -> Result<(), Incomplete> {
    for (name, piece) in piece {
        let is_told = piece.as_str().is_some_and(|text| !text.is_empty());
        match whole.entry(name) {
            Entry::Vacant(entry) => {
                room.take(entry.key().len() + weight(&piece))?;
                entry.insert(piece);
            }
            Entry::Occupied(entry) if names(entry.key()) && !is_empty(entry.get()) => {}
            Entry::Occupied(mut entry) if names(entry.key()) && is_told => {
                room.take(weight(&piece))?;
                entry.insert(piece);
            }
            Entry::Occupied(mut entry) => join(entry.get_mut(), piece, room)?,
        }
    }
    Ok(())
}

/// Puts fields in the place of those that were there. `null` says nothing where something was said.
pub(super) fn replace_fields(
    whole: &mut Fields,
    piece: Fields,
    room: &mut Room,
) -> Result<(), Incomplete> {
    for (name, piece) in piece {
        if !piece.is_null() || !whole.contains_key(&name) {
            room.take(name.len() + weight(&piece))?;
            let bytes = name.len();
            if let Some(before) = whole.insert(name, piece) {
                room.give_back(bytes + weight(&before));
            }
        }
    }
    Ok(())
}

/// An object's fields; none of anything else.
pub(super) fn fields(value: Option<Value>) -> Fields {
    match value {
        Some(Value::Object(fields)) => fields,
        _ => Fields::new(),
    }
}

/// Whether a field of that name is no text that comes in pieces.
fn names(field: &str) -> bool {
    matches!(field, "id" | "type" | "role" | "name" | "finish_reason" | "stop_reason")
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

/// About how much memory a value takes.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| name.len() + weight(value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
