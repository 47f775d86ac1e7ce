//! A message: as it is written, and in canonical form.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::{
    Asking,
    arguments::Arguments,
    canonical::{self, Json},
    draft::Draft,
    json::{Gather, Said, Text, UpTo, given},
    sample::Sample,
    wished::Wished,
};
use crate::{
    call::{self, Role},
    limits::{self, TOOL_CALLS_PER_ANSWER},
};

/// A message of a request's history or of an answer. What a model thought does not count: clients
/// send it back or don't.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) thinking: Option<Said<'a>>,
    #[serde(borrow)]
    images: Images<'a>,
    #[serde(borrow)]
    pub(super) tool_calls: UpTo<TOOL_CALLS_PER_ANSWER, ToolCall<'a>>,
    /// Of the tool whose result it is.
    #[serde(borrow)]
    tool_name: Option<Text<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
}

/// Images, in Base64.
pub(super) type Images<'a> = UpTo<{ limits::PARTS_PER_MESSAGE }, Text<'a>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    arguments: Option<Arguments>,
}

impl Message<'_> {
    fn draft(&self) -> Draft {
        let mut draft = Draft::new(given(self.role.as_ref()).unwrap_or_default());
        draft.name(given(self.tool_name.as_ref()));
        draft.content(content(self.text(), &self.images));
        for call in &self.tool_calls.0 {
            draft.call_by_name(given(call.id.as_ref()), call.name(), call.arguments().json);
        }
        draft.answers(given(self.tool_call_id.as_ref()));
        draft
    }

    fn text(&self) -> &str {
        given(self.content.as_ref()).unwrap_or_default()
    }
}

/// A text with images.
pub(super) fn content(text: &str, images: &Images<'_>) -> canonical::Content {
    let mut content = canonical::Content::whole(text);
    for Text(image) in &images.0 {
        content.other(Json::text(image));
    }
    content
}

impl ToolCall<'_> {
    pub(super) fn name(&self) -> &str {
        given(self.function.name.as_ref()).unwrap_or_default()
    }

    pub(super) fn arguments(&self) -> Cow<'_, Arguments> {
        self.function.arguments.as_ref().map_or_else(Cow::default, Cow::Borrowed)
    }

    pub(super) fn sample_into<const N: usize, const COUNTED: bool>(
        &self,
        sample: &mut Sample<N, COUNTED>,
    ) {
        sample.push(self.name());
        sample.pass(self.function.arguments.as_ref().map_or(0, |it| it.bytes));
    }
}

/// The messages, each reduced as soon as it is parsed, so that only one is in memory.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) messages: Vec<call::Message>,
    pub(super) wished: Wished,
    pub(super) too_many: bool,
    pub(super) system_bytes: u64,
    pub(super) message_bytes: u64,
    pub(super) other_parts: u64,
    pub(super) sample: Asking,
}

impl<'de> Gather<'de> for History {
    type Item = Message<'de>;

    fn is_full(&self) -> bool {
        self.messages.len() >= limits::MESSAGES_PER_PROMPT
    }

    fn push(&mut self, message: Message<'de>) {
        let draft = message.draft();
        let before = self.sample.bytes();
        self.sample.push(message.text());
        message.tool_calls.0.iter().for_each(|call| call.sample_into(&mut self.sample));
        let bytes = match draft.role() {
            Role::System => &mut self.system_bytes,
            _ => &mut self.message_bytes,
        };
        *bytes += self.sample.bytes() - before;
        self.other_parts += message.images.0.len() as u64;
        if draft.role() == Role::User {
            self.wished.hear([message.text()].into_iter());
        }
        self.messages.push(draft.finish());
    }

    fn overflow(&mut self) {
        self.too_many = true;
    }
}
