//! A message: as it is written, and in canonical form.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::{
    arguments::{Arguments, Written},
    attached::Attachments,
    canonical,
    content::Content,
    draft::Draft,
    json::{Text, UpTo, given},
};
use crate::limits::TOOL_CALLS_PER_ANSWER;

/// A message of a request's history or of an answer. What is not read does not count: what
/// servers add to an answer (`annotations`, `reasoning_content`, …), some clients send back and
/// some don't.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    content: Content<'a>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    audio: Option<Audio<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: UpTo<TOOL_CALLS_PER_ANSWER, ToolCall<'a>>,
    /// The form before there were `tool_calls`.
    #[serde(borrow)]
    pub(super) function_call: Option<Function<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
}

impl Message<'_> {
    /// Who speaks; `default` if that is not said.
    pub(super) fn draft<'m>(&'m self, default: &'m str) -> Draft {
        let mut draft = Draft::new(given(self.role.as_ref()).unwrap_or(default));
        draft.name(given(self.name.as_ref()));

        draft.content(self.content());
        draft.audio(self.audio.as_ref().and_then(|audio| given(audio.id.as_ref())));

        for call in &self.tool_calls.0 {
            draft.call(given(call.id.as_ref()), call.name(), call.arguments().json);
        }
        if let Some(call) = &self.function_call {
            let name = given(call.name.as_ref()).unwrap_or_default();
            draft.call(None, name, call.arguments.0.json);
        }
        draft.answers(given(self.tool_call_id.as_ref()));
        draft
    }

    fn content(&self) -> canonical::Content {
        let refusal = given(self.refusal.as_ref()).unwrap_or_default();
        if refusal.is_empty() {
            return self.content.canonical();
        }
        let mut content = canonical::Content::default();
        self.content.add_to(&mut content);
        content.text(refusal);
        content
    }

    /// Bytes of what the message says and calls for.
    pub(super) fn size(&self) -> u64 {
        let called = self.tool_calls.0.iter().map(|call| call.name().len() + call.size());
        let function = self.function_call.as_ref().map(|call| call.arguments.0.bytes);
        let texts = self.texts().map(str::len);
        texts.chain(called).chain(function).sum::<usize>() as u64
    }

    /// What it says, in pieces.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.content.texts().chain(given(self.refusal.as_ref()))
    }

    /// What of it is no text.
    pub(super) fn attached(&self) -> Attachments {
        self.content.attached()
    }

    /// The texts of the content.
    pub(super) fn content_texts(&self) -> impl Iterator<Item = &str> {
        self.content.texts()
    }
}

/// The reference to audio that an answer spoke. The sound itself is sent once and never echoed.
#[derive(Debug, Deserialize)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
}

/// A call of a function, with JSON arguments, or of a custom tool, with text as input.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    custom: Option<Custom<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(default)]
    pub(super) arguments: Written,
}

#[derive(Debug, Deserialize)]
struct Custom<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Text<'a>>,
}

impl ToolCall<'_> {
    pub(super) fn name(&self) -> &str {
        let function = self.function.as_ref().and_then(|function| function.name.as_ref());
        let custom = self.custom.as_ref().and_then(|custom| custom.name.as_ref());
        given(function.or(custom)).unwrap_or_default()
    }

    /// Bytes of its arguments, where they are text.
    fn size(&self) -> usize {
        match (&self.function, &self.custom) {
            (None, Some(custom)) => given(custom.input.as_ref()).map_or(0, str::len),
            (Some(function), _) => function.arguments.0.bytes,
            (None, None) => 0,
        }
    }

    pub(super) fn arguments(&self) -> Cow<'_, Arguments> {
        match (&self.function, &self.custom) {
            (None, Some(custom)) => {
                let input = given(custom.input.as_ref()).unwrap_or_default();
                Cow::Owned(Arguments::in_text(input))
            }
            (Some(function), _) => Cow::Borrowed(&function.arguments.0),
            (None, None) => Cow::Owned(Arguments::default()),
        }
    }
}
