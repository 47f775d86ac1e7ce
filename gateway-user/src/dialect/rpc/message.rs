//! JSON-RPC 2.0 messages (its specification of 2013-01-04, sections 4 to 6), one or a batch. What is
//! in them is found, and left as it was written.

use memchr::memmem;
use serde::Deserialize;
use serde_json::from_slice;

use super::super::{
    NotUnderstood, Reading,
    canonical::Json,
    cursor::Cursor,
    json::{Text, given},
};
use crate::{
    call::{Answer, Name},
    limits,
};

/// One message.
#[derive(Debug)]
pub(in crate::dialect) struct Message<'a> {
    /// Of the request that it makes or answers; absent in a notification, and in the answer to
    /// what was no request.
    pub(in crate::dialect) id: Option<Id>,
    pub(in crate::dialect) content: Content<'a>,
}

#[derive(Debug)]
pub(in crate::dialect) enum Content<'a> {
    /// A request, or without an id a notification. Without parameters these are an empty object.
    Request {
        method: Text<'a>,
        params: &'a [u8],
    },
    Result(&'a [u8]),
    Error(&'a [u8]),
}

/// The id of a request. `1` and `"1"` are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) struct Id {
    /// What it is told by.
    pub(in crate::dialect) hash: u128,
    /// As it is written, unless it is too long to be kept.
    pub(in crate::dialect) text: Option<String>,
}

/// Whether a document may hold any, as a glance shows: its letters say so, or escapes or another
/// encoding (RFC 4627, section 3) hide what they say. Most that hold none need not be parsed.
pub(in crate::dialect) fn may_be_in(document: &[u8]) -> bool {
    let has = |text: &str| memmem::find(document, text.as_bytes()).is_some();
    has("jsonrpc") || has("\\u") || has("\0")
}

/// The messages of a document, in their order. What is no JSON-RPC message is passed over: a server
/// that takes batches answers it with an error, and does what the others say.
pub(in crate::dialect) fn read(document: &[u8]) -> Result<Vec<Message<'_>>, NotUnderstood> {
    let mut cursor = Cursor::new(document, 0);
    let mut messages = Vec::new();
    if cursor.takes(b'[') {
        let mut goes_on = !cursor.takes(b']');
        while goes_on {
            messages.extend(message(&mut cursor)?);
            if messages.len() > limits::RPC_BATCH {
                return Err(NotUnderstood::TooLarge);
            }
            goes_on = cursor.goes_on(b']')?;
        }
    } else {
        messages.extend(message(&mut cursor)?);
    }
    if cursor.is_at_end() { Ok(messages) } else { Err(NotUnderstood::NotJson) }
}

/// What an `error` object says: its code.
pub(in crate::dialect) fn error_reading(error: &[u8]) -> Reading {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
    }
    let error = from_slice(error).map_err(NotUnderstood::from);
    Reading::of(error.map(|Error { code }| Answer {
        error: Some(Name::shared(&code.to_string())),
        complete: true,
        ..Answer::default()
    }))
}

impl Id {
    /// `null` is none.
    pub(in crate::dialect) fn read(raw: &[u8]) -> Result<Option<Self>, NotUnderstood> {
        let Some(hash) = from_slice::<Option<Json>>(raw)? else { return Ok(None) };
        let text = str::from_utf8(raw).ok().filter(|text| text.len() <= limits::RPC_ID_BYTES);
        Ok(Some(Self { hash: hash.get(), text: text.map(str::to_owned) }))
    }
}

fn message<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Message<'a>>, NotUnderstood> {
    if cursor.peek() != Some(b'{') {
        cursor.raw()?;
        return Ok(None);
    }
    cursor.take(b'{')?;
    let mut fields = Fields::default();
    let mut goes_on = !cursor.takes(b'}');
    while goes_on {
        let Text(name) = cursor.name()?;
        fields.put(&name, cursor.raw()?);
        goes_on = cursor.goes_on(b'}')?;
    }
    fields.message()
}

/// The fields of a message, each as it is written.
#[derive(Default)]
struct Fields<'a> {
    is_rpc: bool,
    id: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    params: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    /// A field came again: which one holds is for each reader to decide.
    has_duplicate: bool,
}

impl<'a> Fields<'a> {
    fn put(&mut self, name: &str, value: &'a [u8]) {
        let field = match name {
            "jsonrpc" => {
                self.has_duplicate |= self.is_rpc;
                self.is_rpc |= from_slice(value).is_ok_and(|Text(version)| version == "2.0");
                return;
            }
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "result" => &mut self.result,
            "error" => &mut self.error,
            _ => return,
        };
        self.has_duplicate |= field.replace(value).is_some();
    }

    fn message(self) -> Result<Option<Message<'a>>, NotUnderstood> {
        if !self.is_rpc {
            return Ok(None);
        }
        if self.has_duplicate {
            return Err(NotUnderstood::DuplicateKey);
        }
        let method = match self.method {
            Some(raw) => Some(from_slice::<Text<'a>>(raw)?),
            None => None,
        };
        let content = match (method, self.result, self.error) {
            (Some(method), ..) if given(Some(&method)).is_some() => {
                Content::Request { method, params: self.params.unwrap_or(b"{}") }
            }
            // Some servers write both, the one that does not apply as null.
            (None, result, Some(error)) if error != b"null" || result.is_none() => {
                Content::Error(error)
            }
            (None, Some(result), _) => Content::Result(result),
            _ => return Ok(None),
        };
        Ok(Some(Message { id: self.id.map(Id::read).transpose()?.flatten(), content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(raw: &str) -> Option<Id> {
        Id::read(raw.as_bytes()).expect("an id")
    }

    #[test]
    fn messages_are_told_apart() {
        let batch = br#"[
            {"jsonrpc":"2.0","id":1,"method":"ping"},
            {"method":"a","params":[1],"jsonrpc":"2.0"},
            {"jsonrpc":"2.0","id":"x","result":{"a":1}},
            {"jsonrpc":"2.0","id":null,"error":{"code":-32700}},
            {"jsonrpc":"2.0","id":2,"result":{},"error":null},
            {"jsonrpc":"1.0","id":3,"method":"ping"}, 7, {"jsonrpc":"2.0"}
        ]"#;
        let messages = read(batch).expect("a batch");
        let shown: Vec<_> = messages
            .iter()
            .map(|message| {
                let id = message.id.as_ref().and_then(|id| id.text.as_deref());
                let (kind, raw) = match &message.content {
                    Content::Request { method: Text(method), params } => (&**method, *params),
                    Content::Result(raw) => ("result", *raw),
                    Content::Error(raw) => ("error", *raw),
                };
                (id, kind, str::from_utf8(raw).expect("text"))
            })
            .collect();
        assert_eq!(
            shown,
            [
                (Some("1"), "ping", "{}"),
                (None, "a", "[1]"),
                (Some("\"x\""), "result", r#"{"a":1}"#),
                (None, "error", r#"{"code":-32700}"#),
                (Some("2"), "result", "{}"),
            ]
        );
    }

    #[test]
    fn ids_of_two_kinds_are_two() {
        assert_ne!(id("1"), id("\"1\""));
        assert_eq!(id("1").map(|id| id.hash), id("1.0").map(|id| id.hash));
        assert_eq!(id("null"), None);
        let long = format!("\"{}\"", "x".repeat(limits::RPC_ID_BYTES + 1));
        assert_eq!(id(&long).expect("an id").text, None);
    }

    #[test]
    fn what_could_be_read_either_way_is_not_read() {
        let twice = [
            r#"{"jsonrpc":"2.0","method":"ping","method":"tools/call"}"#,
            r#"{"params":{},"jsonrpc":"2.0","method":"ping","par\u0061ms":{}}"#,
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","method":"ping"}"#,
        ];
        for document in twice {
            let error = read(document.as_bytes()).expect_err(document);
            assert_eq!(error, NotUnderstood::DuplicateKey, "{document}");
        }
        assert!(read(br#"{"id":1,"id":2}"#).is_ok_and(|messages| messages.is_empty()));
    }

    #[test]
    fn bounds_hold() {
        let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"a"}"#; 1025].join(","));
        assert_eq!(read(many.as_bytes()).expect_err("too many"), NotUnderstood::TooLarge);
        let deep = format!(r#"{{"jsonrpc":"2.0","method":"a","id":{}"#, "[".repeat(100_000));
        assert_eq!(read(deep.as_bytes()).expect_err("cut"), NotUnderstood::NotJson);
        let deep = "[".repeat(100_000);
        assert_eq!(read(deep.as_bytes()).expect_err("cut"), NotUnderstood::NotJson);
        for garbage in [&b""[..], b"{", b"[", b"[{}", b"{}x", b"\xff", b"[{},]"] {
            assert!(read(garbage).is_err(), "{garbage:?}");
        }
    }
}
