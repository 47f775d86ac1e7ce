//! The request: a conversation, the model that is to go on with it, and tools.
//!
//! It is read field by field. Where the messages end, what was read so far can be kept: a later
//! request that begins with the same bytes is read on from there.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use std::{fmt, mem::take};

use super::super::{
    Asking, NotUnderstood,
    attached::Attachments,
    beginnings::{Beginnings, Hashed, Mark},
    canonical::{Items, Json},
    cursor::Cursor,
    json::{Count, Maybe, Text, given},
    tools::{Nature, Toolbox, Tools},
    wished::Wished,
};
use super::message::Message;
use crate::{
    call::{self, Dialect, Name, Operation, Prompt, Role, Segments, Signal, Terms, Unmetered},
    limits,
};

/// What a body's beginning says, up to the end of its last message.
pub(in crate::dialect) struct Beginning {
    fields: Fields,
    history: History,
}

/// Where the messages of a request end, if what was read up to there can be kept.
pub(in crate::dialect) struct End {
    mark: Mark,
    fields: Fields,
    user_spoke: bool,
    attached: Attachments,
}

/// What the body asks, and where its messages end.
pub(super) fn parse(
    hashed: &mut Hashed<'_>,
    known: &mut Beginnings<Beginning>,
    sample: &mut Asking,
) -> Result<(Prompt, Option<End>), NotUnderstood> {
    let beginning = known.take(hashed);
    let mut reader = Reader::default();
    match beginning {
        Some((length, beginning)) => reader.go_on(Cursor::new(hashed.body(), length), beginning)?,
        None => reader.begin(Cursor::new(hashed.body(), 0))?,
    }
    let Reader { fields, mut history, end } = reader;
    *sample = take(&mut history.sample);
    if !fields.seen.contains(&Field::Messages) {
        return Err(NotUnderstood::NotThisShape);
    }
    if history.too_many {
        return Err(NotUnderstood::TooLarge);
    }
    let end = end.and_then(|(length, fields)| {
        let mark = known.mark(hashed, length)?;
        let user_spoke = history.wished.spoke;
        Some(End { mark, fields, user_spoke, attached: history.attached })
    });
    Ok((fields.prompt(history), end))
}

/// Keeps what was read up to the end of the messages.
pub(in crate::dialect) fn keep(known: &mut Beginnings<Beginning>, end: End, prompt: Prompt) {
    let End { mark, fields, user_spoke, attached } = end;
    let Prompt { messages, wish, terms, .. } = prompt;
    let weight = messages.len();
    let Segments { system: system_bytes, messages: message_bytes, .. } = terms.segments;
    let history = History {
        messages,
        wished: Wished { spoke: user_spoke, first: wish, latest: terms.latest },
        too_many: false,
        system_bytes,
        message_bytes,
        attached,
        sample: Asking::default(),
    };
    known.keep(mark, weight, Beginning { fields, history });
}

/// Reads a body.
#[derive(Default)]
struct Reader {
    fields: Fields,
    history: History,
    /// Where the last message ends, and what the fields before the messages said.
    end: Option<(usize, Fields)>,
}

impl Reader {
    fn begin(&mut self, mut cursor: Cursor<'_>) -> Result<(), NotUnderstood> {
        if !cursor.takes(b'{') {
            cursor.value::<IgnoredAny>()?;
            return Err(NotUnderstood::NotThisShape);
        }
        if !cursor.takes(b'}') {
            self.field(&mut cursor)?;
            return self.rest(cursor);
        }
        end(cursor)
    }

    /// From the end of a message on.
    fn go_on(&mut self, mut cursor: Cursor<'_>, beginning: Beginning) -> Result<(), NotUnderstood> {
        self.fields = beginning.fields;
        self.history = beginning.history;
        let mut last = cursor.at();
        while cursor.goes_on(b']')? {
            if self.history.is_full() {
                cursor.value::<IgnoredAny>()?;
                self.history.too_many = true;
            } else {
                self.history.push(&cursor.value()?);
            }
            last = cursor.at();
        }
        self.end = Some((last, self.fields.clone()));
        self.rest(cursor)
    }

    /// The fields after one.
    fn rest(&mut self, mut cursor: Cursor<'_>) -> Result<(), NotUnderstood> {
        while cursor.goes_on(b'}')? {
            self.field(&mut cursor)?;
        }
        end(cursor)
    }

    fn field(&mut self, cursor: &mut Cursor<'_>) -> Result<(), NotUnderstood> {
        let Text(name) = cursor.name()?;
        let field = match &*name {
            "model" => Field::Model,
            "stream" => Field::Stream,
            "messages" => Field::Messages,
            "tools" => Field::Tools,
            "functions" => Field::Functions,
            "max_tokens" => Field::MaxTokens,
            // Both spellings of the output limit may be given; the lower one holds.
            "max_completion_tokens" => Field::MaxCompletionTokens,
            "n" => Field::Choices,
            "service_tier" => Field::ServiceTier,
            "stream_options" => Field::StreamOptions,
            "web_search_options" => Field::WebSearchOptions,
            "prompt_cache_key" => Field::PromptCacheKey,
            _ => return cursor.value::<IgnoredAny>().map(drop),
        };
        if self.fields.seen.contains(&field) {
            return Err(NotUnderstood::DuplicateKey);
        }
        self.fields.seen.push(field);
        let fields = &mut self.fields;
        match field {
            Field::Model => {
                let model: Option<Text<'_>> = cursor.value()?;
                fields.model = given(model.as_ref()).map(Name::shared);
            }
            Field::Stream => fields.stream = cursor.value::<Option<bool>>()?.unwrap_or(false),
            Field::Tools | Field::Functions => {
                let (list, bytes): (Tools<Ours>, u64) = cursor.sized(Cursor::value)?;
                fields.tool_bytes += bytes;
                fields.hosted = fields.hosted.or(list.unmetered());
                *if field == Field::Tools { &mut fields.tools } else { &mut fields.functions } =
                    list.hash();
            }
            Field::MaxTokens | Field::MaxCompletionTokens => {
                let most = cursor.value::<Option<Count>>()?.and_then(Count::get);
                fields.max_output = fields.max_output.into_iter().chain(most).min();
            }
            Field::Choices => {
                fields.choices = cursor.value::<Option<Count>>()?.and_then(Count::get);
            }
            Field::ServiceTier => {
                let tier: Option<Text<'_>> = cursor.value()?;
                fields.service_tier = given(tier.as_ref()).map(Name::shared);
            }
            Field::StreamOptions => {
                let options: Option<Maybe<StreamOptions>> = cursor.value()?;
                let options = options.and_then(Maybe::known);
                fields.reports_usage = options.and_then(|it| it.include_usage).unwrap_or(false);
            }
            Field::WebSearchOptions => {
                let options: Option<IgnoredAny> = cursor.value()?;
                let hosted = options.map(|_| Unmetered::HostedTools);
                fields.hosted = fields.hosted.or(hosted);
            }
            Field::PromptCacheKey => {
                let key: Option<Text<'_>> = cursor.value()?;
                fields.prompt_cache_key = given(key.as_ref()).map(str::to_owned);
            }
            Field::Messages => {
                self.history = cursor.value()?;
                if !self.history.messages.is_empty() {
                    self.end = Some((cursor.end_of_item(), fields.clone()));
                }
            }
        }
        Ok(())
    }
}

fn end(mut cursor: Cursor<'_>) -> Result<(), NotUnderstood> {
    if cursor.is_at_end() { Ok(()) } else { Err(NotUnderstood::NotJson) }
}

/// What the fields say, the messages apart.
#[derive(Clone, Default)]
struct Fields {
    /// Each once: one that comes again could be read either way.
    seen: Vec<Field>,
    model: Option<Name>,
    stream: bool,
    tools: Option<Json>,
    /// The form before there were `tools`.
    functions: Option<Json>,
    tool_bytes: u64,
    /// The provider runs tools in it, as far as is known.
    hosted: Option<Unmetered>,
    max_output: Option<u64>,
    choices: Option<u64>,
    service_tier: Option<Name>,
    reports_usage: bool,
    prompt_cache_key: Option<String>,
}

/// A field that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    Messages,
    Tools,
    Functions,
    MaxTokens,
    MaxCompletionTokens,
    Choices,
    ServiceTier,
    StreamOptions,
    WebSearchOptions,
    PromptCacheKey,
}

struct Ours;

impl Toolbox for Ours {
    fn is_clients(tool: &Nature<'_>) -> bool {
        matches!(&*tool.kind, "" | "function" | "custom")
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Fields {
    fn prompt(self, history: History) -> Prompt {
        let mut tools = Items::default();
        for list in [self.tools, self.functions].into_iter().flatten() {
            tools.push(list);
        }
        let signals = self.prompt_cache_key.into_iter();
        let signals = signals.map(|value| Signal { name: "body.prompt_cache_key", value });
        Prompt {
            dialect: Dialect::OpenaiChat,
            operation: Operation::Chat,
            model: self.model,
            stream: self.stream,
            messages: history.messages,
            tools_hash: tools.if_any().map(Json::get),
            wish: history.wished.first,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: self.max_output,
                choices: self.choices,
                service_tier: self.service_tier,
                reports_usage: !self.stream || self.reports_usage,
                signals: signals.collect(),
                segments: Segments {
                    tools: self.tool_bytes,
                    system: history.system_bytes,
                    messages: history.message_bytes,
                },
                other_parts: history.attached.count,
                unmetered: self.hosted.or(history.attached.unmetered()),
                latest: history.wished.latest,
                ..Terms::default()
            }),
        }
    }
}

/// The messages, each reduced as soon as it is parsed, so that only one is in memory.
#[derive(Default)]
struct History {
    messages: Vec<call::Message>,
    wished: Wished,
    too_many: bool,
    system_bytes: u64,
    message_bytes: u64,
    attached: Attachments,
    /// Of what was read since the beginning that was known. It is not kept with one.
    sample: Asking,
}

impl History {
    fn is_full(&self) -> bool {
        self.messages.len() >= limits::MESSAGES_PER_PROMPT
    }

    fn push(&mut self, message: &Message<'_>) {
        let draft = message.draft("");
        let bytes = if draft.role() == Role::System {
            &mut self.system_bytes
        } else {
            &mut self.message_bytes
        };
        *bytes += message.size();
        self.attached.append(message.attached());
        for text in message.texts() {
            self.sample.push(text);
        }
        if draft.role() == Role::User {
            self.wished.hear(message.content_texts());
        }
        self.messages.push(draft.finish());
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HistoryVisitor;

        impl<'de> Visitor<'de> for HistoryVisitor {
            type Value = History;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<History, A::Error> {
                let mut history = History::default();
                while !history.is_full() {
                    let Some(message) = seq.next_element()? else { return Ok(history) };
                    history.push(&message);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    history.too_many = true;
                }
                Ok(history)
            }
        }

        deserializer.deserialize_seq(HistoryVisitor)
    }
}
