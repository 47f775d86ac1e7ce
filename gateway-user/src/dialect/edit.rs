//! Changes of a request's body, as splices on the bytes that the client sent: all else stays as it
//! is.

use std::{borrow::Cow, ops::Range};

use serde::de::IgnoredAny;

use super::{NotUnderstood, cursor::Cursor, json::Count};
use crate::call::Dialect;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Another model is asked.
    Model(String),
    /// The answer may have no more tokens than that: what the client asks for if that is less.
    MaxOutput(u64),
    /// A stream reports its usage.
    ReportUsage,
    /// The answer comes as a stream.
    Stream,
}

/// What takes the place of a part of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Empty where something is added.
    pub range: Range<usize>,
    pub bytes: Vec<u8>,
}

/// Why a body can't be changed so. It is the client's, which has to write it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("its API has no place in the body for it")]
    NoPlace,
    #[error("the body names `{0}` twice, or in a spelling that some servers take for it")]
    Ambiguous(&'static str),
    #[error("`{0}` is not of the type that its API gives it")]
    NotThisType(&'static str),
    #[error(transparent)]
    Body(#[from] NotUnderstood),
}

/// The splices that bring the edits about, in the order of their ranges, which do not overlap. None
/// for what is so already.
pub fn splice(body: &[u8], edits: &[Edit], dialect: Dialect) -> Result<Vec<Splice>, EditError> {
    let mut editor = Editor { body, splices: Vec::new(), added: Vec::new() };
    let (mut model, mut max_output) = (None, None::<u64>);
    let (mut report_usage, mut stream) = (false, false);
    for edit in edits {
        match edit {
            Edit::Model(name) => model = Some(name),
            Edit::MaxOutput(most) => {
                max_output = Some(max_output.map_or(*most, |other| other.min(*most)));
            }
            Edit::ReportUsage => report_usage = true,
            Edit::Stream => stream = true,
        }
    }
    if let Some(name) = model {
        let place = model_place(dialect).ok_or(EditError::NoPlace)?;
        let name = serde_json::Value::from(name.as_str()).to_string();
        editor.put(place, &name, |given| Some(given == name.as_bytes()))?;
    }
    if let Some(most) = max_output {
        let place = output_place(dialect).ok_or(EditError::NoPlace)?;
        editor.put(place, &most.to_string(), |given| is_at_most(given, most))?;
    }
    if report_usage {
        let place = usage_place(dialect).ok_or(EditError::NoPlace)?;
        editor.put(place, "true", is_true)?;
    }
    if stream {
        let place = stream_place(dialect).ok_or(EditError::NoPlace)?;
        editor.put(place, "true", is_true)?;
    }
    editor.finish()
}

/// The body with the splices.
#[must_use]
pub fn apply(body: &[u8], splices: &[Splice]) -> Vec<u8> {
    let added: usize = splices.iter().map(|splice| splice.bytes.len()).sum();
    let mut whole = Vec::with_capacity(body.len() + added);
    let mut done = 0;
    for Splice { range, bytes } in splices {
        whole.extend_from_slice(body.get(done..range.start).unwrap_or_default());
        whole.extend_from_slice(bytes);
        done = range.end;
    }
    whole.extend_from_slice(body.get(done..).unwrap_or_default());
    whole
}

/// A field, in every spelling that its API takes for it.
type Field = &'static [&'static str];

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The object that it is in, if that is not the body itself.
    within: Option<Field>,
    /// The fields that have the value, the one that is added first.
    fields: &'static [Field],
}

const fn top(fields: &'static [Field]) -> Place {
    Place { within: None, fields }
}

const fn within(field: Field, fields: &'static [Field]) -> Place {
    Place { within: Some(field), fields }
}

/// Gemini and Bedrock have the model in the request's target.
const fn model_place(dialect: Dialect) -> Option<Place> {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiEmbeddings
        | Dialect::OpenaiResponses
        | Dialect::AnthropicMessages
        | Dialect::Ollama => Some(top(&[&["model"]])),
        Dialect::Gemini | Dialect::Bedrock | Dialect::Mcp | Dialect::A2a => None,
    }
}

/// `max_tokens` of Chat Completions is deprecated, and models that reason refuse it: what is added
/// is its successor.
const fn output_place(dialect: Dialect) -> Option<Place> {
    Some(match dialect {
        Dialect::OpenaiChat => top(&[&["max_completion_tokens"], &["max_tokens"]]),
        Dialect::OpenaiCompletions | Dialect::AnthropicMessages => top(&[&["max_tokens"]]),
        Dialect::OpenaiResponses => top(&[&["max_output_tokens"]]),
        // JSON of protocol buffers has two names for each field.
        Dialect::Gemini => within(
            &["generationConfig", "generation_config"],
            &[&["maxOutputTokens", "max_output_tokens"]],
        ),
        Dialect::Ollama => within(&["options"], &[&["num_predict"]]),
        Dialect::Bedrock => within(&["inferenceConfig"], &[&["maxTokens"]]),
        Dialect::OpenaiEmbeddings | Dialect::Mcp | Dialect::A2a => return None,
    })
}

const fn usage_place(dialect: Dialect) -> Option<Place> {
    match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiCompletions => {
            Some(within(&["stream_options"], &[&["include_usage"]]))
        }
        _ => None,
    }
}

/// Gemini and Bedrock have it in the request's target.
const fn stream_place(dialect: Dialect) -> Option<Place> {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiResponses
        | Dialect::AnthropicMessages
        | Dialect::Ollama => Some(top(&[&["stream"]])),
        Dialect::OpenaiEmbeddings
        | Dialect::Gemini
        | Dialect::Bedrock
        | Dialect::Mcp
        | Dialect::A2a => None,
    }
}

/// Whether it is so already; `None` if it is neither.
fn is_true(given: &[u8]) -> Option<bool> {
    match given {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// Whether a number is at most so large; `None` if it is no number. Ollama writes what is unlimited
/// as a negative one.
fn is_at_most(given: &[u8], most: u64) -> Option<bool> {
    if !matches!(given.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    let given: Count = serde_json::from_slice(given).ok()?;
    Some(given.get().is_some_and(|given| given <= most))
}

/// Collects splices.
struct Editor<'a> {
    body: &'a [u8],
    splices: Vec<Splice>,
    /// Fields that are added to the body itself.
    added: Vec<String>,
}

impl Editor<'_> {
    /// Gives the fields of a place this value. `keeps` says whether one that is given may stay, or
    /// is of the wrong type. `null` is the same as nothing.
    fn put(
        &mut self,
        place: Place,
        value: &str,
        keeps: impl Fn(&[u8]) -> Option<bool>,
    ) -> Result<(), EditError> {
        let first = name(place.fields.first().copied().unwrap_or_default());
        let object = match place.within {
            None => scan(self.body, 0, place.fields)?,
            Some(field) => {
                let whole = scan(self.body, 0, &[field])?;
                let Some(range) = whole.values.into_iter().flatten().next() else {
                    self.added.push(format!("\"{}\":{{\"{first}\":{value}}}", name(field)));
                    return Ok(());
                };
                match self.body.get(range.clone()) {
                    Some(b"null") => {
                        let bytes = format!("{{\"{first}\":{value}}}").into_bytes();
                        self.splices.push(Splice { range, bytes });
                        return Ok(());
                    }
                    Some([b'{', ..]) => scan(self.body, range.start, place.fields)?,
                    _ => return Err(EditError::NotThisType(name(field))),
                }
            }
        };
        let mut given = false;
        for (field, range) in place.fields.iter().zip(&object.values) {
            let Some(range) = range else { continue };
            let text = self.body.get(range.clone()).unwrap_or_default();
            if text == b"null" {
                continue;
            }
            given = true;
            if !keeps(text).ok_or(EditError::NotThisType(name(field)))? {
                self.replace(range, value);
            }
        }
        match object.values.into_iter().next().flatten() {
            _ if given => {}
            Some(null) => self.replace(&null, value),
            None if place.within.is_none() => self.added.push(format!("\"{first}\":{value}")),
            None => {
                let comma = if object.is_empty { "" } else { "," };
                let bytes = format!("\"{first}\":{value}{comma}").into_bytes();
                self.splices.push(Splice { range: object.open..object.open, bytes });
            }
        }
        Ok(())
    }

    fn replace(&mut self, range: &Range<usize>, value: &str) {
        self.splices.push(Splice { range: range.clone(), bytes: value.into() });
    }

    fn finish(mut self) -> Result<Vec<Splice>, EditError> {
        if !self.added.is_empty() {
            let body = scan(self.body, 0, &[])?;
            let mut bytes = self.added.join(",");
            if !body.is_empty {
                bytes.push(',');
            }
            self.splices.push(Splice { range: body.open..body.open, bytes: bytes.into() });
        }
        self.splices.sort_by_key(|splice| splice.range.start);
        Ok(self.splices)
    }
}

/// An object, as far as it is looked at.
struct Object {
    /// Behind its brace.
    open: usize,
    is_empty: bool,
    /// Where the values of the fields are that were looked for, in their order.
    values: Vec<Option<Range<usize>>>,
}

/// Reads the object that begins there. The one that the body consists of begins at 0.
fn scan(body: &[u8], at: usize, wanted: &[Field]) -> Result<Object, EditError> {
    let mut cursor = Cursor::new(body, at);
    cursor.take(b'{')?;
    let open = cursor.at();
    let mut object =
        Object { open, is_empty: cursor.takes(b'}'), values: vec![None; wanted.len()] };
    let mut goes_on = !object.is_empty;
    while goes_on {
        let called: Cow<'_, str> = cursor.name()?.0;
        cursor.peek();
        let from = cursor.at();
        cursor.value::<IgnoredAny>()?;
        let found =
            wanted.iter().zip(&mut object.values).find(|(field, _)| is_like(&called, field));
        if let Some((field, value)) = found
            && (!field.contains(&&*called) || value.replace(from..cursor.at()).is_some())
        {
            return Err(EditError::Ambiguous(name(field)));
        }
        goes_on = cursor.goes_on(b'}')?;
    }
    if at == 0 && !cursor.is_at_end() {
        return Err(NotUnderstood::NotJson.into());
    }
    Ok(object)
}

/// Whether some take the name for the field's: case means nothing to Go.
fn is_like(called: &str, field: Field) -> bool {
    field.iter().any(|name| name.eq_ignore_ascii_case(called))
}

fn name(field: Field) -> &'static str {
    field.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn edited(body: &str, edits: &[Edit], dialect: Dialect) -> Result<String, EditError> {
        let splices = splice(body.as_bytes(), edits, dialect)?;
        Ok(String::from_utf8(apply(body.as_bytes(), &splices)).expect("text"))
    }

    fn clamped(body: &str, dialect: Dialect) -> Result<String, EditError> {
        edited(body, &[Edit::MaxOutput(50)], dialect)
    }

    #[test]
    fn the_output_is_clamped_where_its_dialect_has_the_limit() {
        use Dialect::{
            AnthropicMessages, Bedrock, Gemini, Ollama, OpenaiChat, OpenaiCompletions,
            OpenaiResponses,
        };
        for (dialect, body, expected) in [
            (OpenaiChat, r#"{"a":1}"#, r#"{"max_completion_tokens":50,"a":1}"#),
            (OpenaiChat, r#"{"max_tokens": 51 }"#, r#"{"max_tokens": 50 }"#),
            (OpenaiChat, r#"{"max_tokens":50}"#, r#"{"max_tokens":50}"#),
            (
                OpenaiChat,
                r#"{"max_tokens":9e9,"max_completion_tokens":60}"#,
                r#"{"max_tokens":50,"max_completion_tokens":50}"#,
            ),
            (
                OpenaiChat,
                r#"{"max_tokens":null}"#,
                r#"{"max_completion_tokens":50,"max_tokens":null}"#,
            ),
            (OpenaiCompletions, r#"{ "max_tokens" : null }"#, r#"{ "max_tokens" : 50 }"#),
            (OpenaiResponses, "{ }", r#"{"max_output_tokens":50 }"#),
            (AnthropicMessages, r#"{"max_tokens":1024}"#, r#"{"max_tokens":50}"#),
            (Gemini, "{}", r#"{"generationConfig":{"maxOutputTokens":50}}"#),
            (
                Gemini,
                r#"{"generation_config":{"max_output_tokens":99}}"#,
                r#"{"generation_config":{"max_output_tokens":50}}"#,
            ),
            (
                Gemini,
                r#"{"generationConfig":{"topK":1}}"#,
                r#"{"generationConfig":{"maxOutputTokens":50,"topK":1}}"#,
            ),
            (Ollama, r#"{"options":{"num_predict":-1}}"#, r#"{"options":{"num_predict":50}}"#),
            (Ollama, r#"{"options":null}"#, r#"{"options":{"num_predict":50}}"#),
            (Bedrock, r#"{"inferenceConfig":{}}"#, r#"{"inferenceConfig":{"maxTokens":50}}"#),
        ] {
            assert_eq!(clamped(body, dialect).as_deref(), Ok(expected), "{dialect:?} {body}");
        }
    }

    #[test]
    fn a_stream_is_made_to_report_its_usage() {
        for (body, expected) in [
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{}}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#"{"stream_options": {"x": 1}}"#,
                r#"{"stream_options": {"include_usage":true,"x": 1}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage" : false}}"#,
                r#"{"stream_options":{"include_usage" : true}}"#,
            ),
            (r#"{"stream_options":null}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#"{"stream_options":{"include_usage":true}}"#,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            let after = edited(body, &[Edit::ReportUsage], Dialect::OpenaiChat);
            assert_eq!(after.as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn several_edits_of_one_body_do_not_disturb_each_other() {
        let edits =
            [Edit::ReportUsage, Edit::Model("b\"c".into()), Edit::MaxOutput(9), Edit::MaxOutput(7)];
        let after = edited(r#"{"mod\u0065l": "a"}"#, &edits, Dialect::OpenaiChat);
        let expected = r#"{"max_completion_tokens":7,"stream_options":{"include_usage":true},"mod\u0065l": "b\"c"}"#;
        assert_eq!(after.as_deref(), Ok(expected));
    }

    #[test]
    fn what_two_servers_could_read_differently_is_not_edited() {
        let chat = |body| clamped(body, Dialect::OpenaiChat);
        let ambiguous = Err(EditError::Ambiguous("max_tokens"));
        assert_eq!(chat(r#"{"max_tokens":1,"max_tokens":2}"#), ambiguous);
        assert_eq!(chat(r#"{"max_tokens":1,"max\u005ftokens":2}"#), ambiguous);
        assert_eq!(chat(r#"{"max_tokens":1,"Max_Tokens":2}"#), ambiguous);
        let both = r#"{"generationConfig":{},"generation_config":{}}"#;
        let ambiguous = Err(EditError::Ambiguous("generationConfig"));
        assert_eq!(clamped(both, Dialect::Gemini), ambiguous);
        assert_eq!(chat(r#"{"max_tokens":"9"}"#), Err(EditError::NotThisType("max_tokens")));
        let options = Err(EditError::NotThisType("options"));
        assert_eq!(clamped(r#"{"options":[]}"#, Dialect::Ollama), options);
    }

    #[test]
    fn what_has_no_place_or_is_no_object_is_not_edited() {
        assert_eq!(clamped("{}", Dialect::Mcp), Err(EditError::NoPlace));
        let model = [Edit::Model("m".into())];
        assert_eq!(edited("{}", &model, Dialect::Gemini), Err(EditError::NoPlace));
        for body in ["", "[]", "{", r#"{"a":1"#, r#"{"a":1}}"#, r#"{"a" 1}"#] {
            let unread = Err(EditError::Body(NotUnderstood::NotJson));
            assert_eq!(clamped(body, Dialect::OpenaiChat), unread, "{body}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_what_is_edited_differs(
            fields in prop::collection::hash_map("[a-z\"]{1,4}", any_json(), 0..6),
            given in prop::option::of(0_u64..100),
            options in prop::option::of(prop::collection::hash_map("[a-d]", any_json(), 0..3)),
            most in 0_u64..100,
            pretty: bool,
        ) {
            let mut whole = Value::Object(fields.into_iter().collect());
            if let Some(given) = given {
                whole["max_tokens"] = given.into();
            }
            if let Some(options) = options {
                whole["stream_options"] = Value::Object(options.into_iter().collect());
            }
            let text = if pretty { serde_json::to_string_pretty(&whole) } else { serde_json::to_string(&whole) };
            let text = text.expect("JSON");
            let edits = [Edit::MaxOutput(most), Edit::ReportUsage];
            let splices = splice(text.as_bytes(), &edits, Dialect::OpenaiCompletions).expect("plain");
            let after = apply(text.as_bytes(), &splices);

            let mut expected = whole;
            expected["max_tokens"] = given.map_or(most, |given| given.min(most)).into();
            expected["stream_options"]["include_usage"] = json!(true);
            prop_assert_eq!(serde_json::from_slice::<Value>(&after).expect("JSON"), expected);
            // Without what was spliced in, the rest is there, byte for byte and in its order.
            let (mut at, mut before) = (0, 0);
            for Splice { range, bytes } in &splices {
                let kept = range.start - before;
                prop_assert_eq!(&after[at..at + kept], &text.as_bytes()[before..range.start]);
                at += kept + bytes.len();
                before = range.end;
            }
            prop_assert_eq!(&after[at..], &text.as_bytes()[before..]);
        }

        #[test]
        fn nothing_makes_it_panic(body: Vec<u8>, dialect in prop_oneof![
            Just(Dialect::OpenaiChat), Just(Dialect::Gemini), Just(Dialect::Ollama),
        ]) {
            let _ = splice(&body, &[Edit::MaxOutput(1), Edit::ReportUsage], dialect);
        }
    }
}
