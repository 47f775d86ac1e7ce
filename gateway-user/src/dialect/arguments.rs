//! The arguments of a tool call: a hash of them, their size, and the texts among them.

use std::{cmp::Reverse, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::canonical::{Json, JsonVisitor, Notes};
use crate::{
    call::{Command, Mention, ToolCall, Value},
    limits,
};

/// What a tool is called with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) json: Json,
    /// Of its names and texts; of what is no JSON, all of them.
    pub(super) bytes: usize,
    /// The beginning of each text, behind a zero byte.
    texts: String,
}

impl Arguments {
    /// Text that should hold JSON: see [`Json::in_text`].
    pub(super) fn in_text(text: &str) -> Self {
        let mut found = Found::default();
        let json = Json::noted_in_text(text, &mut found);
        Self { json, bytes: text.len(), texts: found.texts }
    }

    /// Of which only the hash is known.
    pub(super) const fn hashed(json: Json) -> Self {
        Self { json, bytes: 0, texts: String::new() }
    }

    /// As those of a call that a model made.
    pub(super) fn of_call(&self, id: Option<&str>, name: &str) -> ToolCall {
        ToolCall {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            arguments: self.json.get(),
            values: self.values(),
            commands: self.commands(),
            urls: self.urls(),
        }
    }

    /// The first texts among them, and all in a row: programs and what they are given come apart.
    fn commands(&self) -> Vec<Command> {
        let texts = self.texts.split('\0').skip(1);
        let command = |text: &str| {
            if is_cut(text) { Command::of_beginning(text) } else { Command::of_text(text) }
        };
        let mut commands: Vec<Command> =
            texts.filter_map(command).take(limits::COMMANDS_PER_TOOL_CALL - 1).collect();
        if commands.len() > 1 {
            commands.extend(Command::of_text(&self.texts));
        }
        commands
    }

    /// The first URLs in them, each once.
    fn urls(&self) -> Vec<Mention> {
        let texts = self.texts.split('\0').skip(1);
        let mut urls: Vec<Mention> = Vec::new();
        for found in texts.flat_map(|text| Mention::all_in(text, is_cut(text))) {
            if let Some(known) = urls.iter_mut().find(|known| known.url == found.url) {
                known.is_whole |= found.is_whole;
            } else if urls.len() < limits::URLS_PER_TOOL_CALL {
                urls.push(found);
            } else {
                break;
            }
        }
        urls
    }

    /// The texts among them, the longest first.
    fn values(&self) -> Vec<Value> {
        let texts = self.texts.split('\0').skip(1);
        let mut values: Vec<Value> = texts.filter_map(Value::of).collect();
        values.sort_by_key(|value| Reverse(value.bytes()));
        values.truncate(limits::VALUES_PER_CALL);
        values
    }
}

/// No arguments, as an empty object is.
impl Default for Arguments {
    fn default() -> Self {
        Self::in_text("")
    }
}

/// Nothing of the texts: they are private.
impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments").field("json", &self.json).finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = Found::default();
        let json = deserializer.deserialize_any(JsonVisitor(&mut found))?;
        Ok(Self { json, bytes: found.bytes, texts: found.texts })
    }
}

/// The same where they are JSON in a string or, from some, the JSON itself.
#[derive(Debug, Default)]
pub(super) struct Written(pub(super) Arguments);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WrittenVisitor;

        impl<'de> Visitor<'de> for WrittenVisitor {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_unit<E>(self) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Written, E> {
                Ok(Written(Arguments::in_text(text)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Arguments::deserialize(MapAccessDeserializer::new(map)).map(Written)
            }
        }

        deserializer.deserialize_any(WrittenVisitor)
    }
}

/// What is found on the way through them.
#[derive(Default)]
struct Found {
    bytes: usize,
    texts: String,
}

impl Notes for Found {
    fn name(&mut self, name: &str) {
        self.bytes += name.len();
    }

    fn text(&mut self, text: &str) {
        self.bytes += text.len();
        if !text.is_empty() && self.texts.len() < MOST_BYTES {
            self.texts.push('\0');
            self.texts.push_str(&text[..text.floor_char_boundary(2 * limits::VALUE_BYTES)]);
        }
    }
}

/// Whether there may have been more of a text than is kept of it.
const fn is_cut(text: &str) -> bool {
    text.len() > 2 * limits::VALUE_BYTES - char::MAX.len_utf8()
}

/// Of all texts that are kept until it is known whether they are wanted, and which are the longest.
const MOST_BYTES: usize = 4 * limits::VALUES_PER_CALL * limits::VALUE_BYTES;

#[cfg(test)]
mod tests {
    use crate::call::{Likeness, Url};

    use super::*;

    #[test]
    fn texts_are_found_wherever_they_stand_in_the_arguments() {
        let (long, short) = ("Find the oldest letter in the archive", "in the east wing");
        let json = format!(r#"{{"to":"x","with":[{{"a":"{short}"}},7],"task":"{long}"}}"#);
        let values: Vec<Value> = [long, short].into_iter().filter_map(Value::of).collect();
        let object: Arguments = serde_json::from_str(&json).expect("JSON");
        let text = Arguments::in_text(&json);
        assert_eq!((object.values(), object.json), (values.clone(), text.json));
        assert_eq!(text.values(), values);
        assert_eq!(object.bytes, "towithatask".len() + 1 + short.len() + long.len());
        assert_eq!(Arguments::in_text(long).values(), values[..1], "no JSON, one text");
        assert_eq!(Arguments::default().values(), []);
    }

    #[test]
    fn urls_are_found_in_each_text() {
        let of = |json: &str| Arguments::in_text(json).of_call(None, "get").urls;
        let url = |text| Url::of(text).expect("a URL");
        let (a, b) = ("https://a.test/x", "http://b.test/y?z=1");
        let urls = of(&format!(r#"{{"note":"as {a} has it","with":[{{"url":"{b}"}},"{a}"]}}"#));
        let expected = [(a, true), (b, true)].map(|(text, is_whole)| (url(text), is_whole));
        assert_eq!(urls.iter().map(|it| (it.url, it.is_whole)).collect::<Vec<_>>(), expected);
        let long = format!("{a} {b}/{}", "x".repeat(2 * limits::VALUE_BYTES));
        let urls = of(&format!(r#"{{"url":"{long}"}}"#));
        assert_eq!(urls.iter().map(|it| it.url).collect::<Vec<_>>(), [url(a)], "one is cut");
        let many: Vec<String> = (0..20).map(|number| format!("{a}{number}")).collect();
        assert_eq!(of(&many.join(" ")).len(), limits::URLS_PER_TOOL_CALL);
        assert_eq!(of("{}"), []);
    }

    #[test]
    fn each_text_may_be_a_command_and_so_may_all_in_a_row() {
        let of = |json: &str| {
            let arguments = Arguments::in_text(json);
            arguments.of_call(None, "run").commands
        };
        let command = |text| Command::of_text(text).expect("a command");
        assert_eq!(of(r#"{"command":"ls -l"}"#), [command("ls -l")]);
        let row = [command("python3"), command("sub.py"), command("python3 sub.py")];
        assert_eq!(of(r#"{"command":"python3","args":["sub.py"]}"#), row);
        let shell = of(r#"{"cmd":["bash","-lc","make it"],"in":"/tmp/x"}"#);
        assert_eq!(shell.last(), Some(&command("bash -lc make it x")));
        assert_eq!(shell.len(), limits::COMMANDS_PER_TOOL_CALL);
        let long = "word ".repeat(limits::VALUE_BYTES);
        let process = Command::of_arguments(format!("sh\0-c\0{long}\0").as_bytes(), false);
        let likeness = process.expect("words").likeness(&of(&format!(r#"{{"a":"{long}"}}"#))[0]);
        assert_eq!(likeness, Some(Likeness::Part));
        assert_eq!(of("{}"), []);
    }
}
