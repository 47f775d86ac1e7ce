//! The request: what is new in a conversation, the model that is to go on with it, and tools.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::super::{
    Asking, NotUnderstood,
    canonical::Json,
    content::{Content, Piece},
    cursor::{self, Cursor},
    json::{Count, Maybe, Text, given},
    tools::Tools,
};
use super::{
    history::History,
    item::Ours,
    metadata::{self, Metadata},
};
use crate::call::{Anchor, Dialect, Name, Operation, Prompt, Segments, Signal, Terms, Unmetered};

/// Reads a body, or a message over WebSocket.
pub(super) fn parse(body: &[u8], sample: &mut Asking) -> Result<Prompt, NotUnderstood> {
    let mut fields = Fields::default();
    cursor::read(body, |name, cursor| fields.read(name, cursor))?;
    fields.prompt(sample)
}

/// What the fields say.
#[derive(Default)]
struct Fields {
    /// Each once: one that comes again could be read either way.
    seen: Vec<Field>,
    model: Option<Name>,
    instructions: Option<History>,
    input: Option<History>,
    stream: bool,
    tools: Option<Json>,
    tool_bytes: u64,
    unmetered: Option<Unmetered>,
    max_output: Option<u64>,
    previous: Option<String>,
    conversation: Option<String>,
    background: bool,
    generate: Option<bool>,
    prewarm: bool,
    service_tier: Option<Name>,
    signals: Vec<Signal>,
}

/// A field that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Instructions,
    Input,
    Prompt,
    Stream,
    Tools,
    MaxOutputTokens,
    PreviousResponseId,
    Conversation,
    Background,
    Generate,
    PromptCacheOptions,
    ServiceTier,
    PromptCacheKey,
    Metadata,
    ClientMetadata,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "model" => Self::Model,
            "instructions" => Self::Instructions,
            "input" => Self::Input,
            "prompt" => Self::Prompt,
            "stream" => Self::Stream,
            "tools" => Self::Tools,
            "max_output_tokens" => Self::MaxOutputTokens,
            "previous_response_id" => Self::PreviousResponseId,
            "conversation" => Self::Conversation,
            "background" => Self::Background,
            "generate" => Self::Generate,
            "prompt_cache_options" => Self::PromptCacheOptions,
            "service_tier" => Self::ServiceTier,
            "prompt_cache_key" => Self::PromptCacheKey,
            "metadata" => Self::Metadata,
            "client_metadata" => Self::ClientMetadata,
            _ => return None,
        })
    }

    /// Whether a request that has it may go without the others of this kind.
    const fn asks(self) -> bool {
        matches!(self, Self::Input | Self::Prompt | Self::PreviousResponseId | Self::Conversation)
    }
}

impl Fields {
    fn read(&mut self, name: &str, cursor: &mut Cursor<'_>) -> Result<(), NotUnderstood> {
        let Some(field) = Field::of(name) else { return cursor.skip() };
        if self.seen.contains(&field) {
            return Err(NotUnderstood::DuplicateKey);
        }
        self.seen.push(field);
        match field {
            Field::Model => self.model = name_of(cursor)?,
            Field::Instructions => {
                let Instructions(said) = cursor.value()?;
                self.instructions = said;
            }
            Field::Input => self.input = cursor.value()?,
            Field::Prompt => {
                let stored: Option<IgnoredAny> = cursor.value()?;
                self.mark(stored.map(|_| Unmetered::StoredContext));
            }
            Field::Stream => self.stream = flag(cursor)?.unwrap_or(false),
            Field::Tools => {
                let (tools, bytes): (Tools<Ours>, u64) = cursor.sized(Cursor::value)?;
                self.tools = tools.hash();
                self.tool_bytes = bytes;
                self.mark(tools.unmetered());
            }
            Field::MaxOutputTokens => {
                self.max_output = cursor.value::<Option<Count>>()?.and_then(Count::get);
            }
            Field::PreviousResponseId => self.previous = text(cursor)?,
            Field::Conversation => {
                let conversation: Option<Conversation<'_>> = cursor.value()?;
                self.conversation = conversation.and_then(Conversation::id);
            }
            Field::Background => self.background = flag(cursor)?.unwrap_or(false),
            Field::Generate => self.generate = flag(cursor)?,
            Field::PromptCacheOptions => {
                let options: Option<Maybe<CacheOptions>> = cursor.value()?;
                let options = options.and_then(Maybe::known);
                self.prewarm = options.and_then(|it| it.prewarm).unwrap_or(false);
            }
            Field::ServiceTier => self.service_tier = name_of(cursor)?,
            Field::PromptCacheKey => {
                let key: Option<Text<'_>> = cursor.value()?;
                if let Some(key) = given(key.as_ref()) {
                    metadata::note(&mut self.signals, "body.prompt_cache_key", key);
                }
            }
            Field::Metadata => {
                let metadata: Option<Maybe<Metadata<'_>>> = cursor.value()?;
                if let Some(metadata) = metadata.and_then(Maybe::known) {
                    metadata.note(&mut self.signals);
                }
            }
            Field::ClientMetadata => {
                let metadata: Option<Maybe<Metadata<'_>>> = cursor.value()?;
                if let Some(metadata) = metadata.and_then(Maybe::known) {
                    metadata.note_client(&mut self.signals);
                }
            }
        }
        Ok(())
    }

    /// Notes why it is not metered, if it isn't.
    fn mark(&mut self, why: Option<Unmetered>) {
        self.unmetered = self.unmetered.or(why);
    }

    fn prompt(self, sample: &mut Asking) -> Result<Prompt, NotUnderstood> {
        if !self.seen.iter().any(|field| field.asks()) {
            return Err(NotUnderstood::NotThisShape);
        }
        let mut history = self.instructions.unwrap_or_default();
        if let Some(input) = self.input {
            history.append(input);
        }
        if history.is_over() {
            return Err(NotUnderstood::TooLarge);
        }
        let prewarms = self.prewarm || self.generate == Some(false);
        let unmetered = self.unmetered.or_else(|| history.unmetered());
        // What generates nothing calls no tools.
        let unmetered = unmetered.filter(|why| !prewarms || *why != Unmetered::HostedTools);
        *sample = history.sample;
        let previous = self.previous.map(Anchor::Response);
        let goes_on_from = previous.or_else(|| self.conversation.map(Anchor::Conversation));
        let segments = Segments {
            tools: self.tool_bytes,
            system: history.system_bytes,
            messages: history.message_bytes,
        };
        Ok(Prompt {
            dialect: Dialect::OpenaiResponses,
            operation: Operation::Chat,
            model: self.model,
            stream: self.stream,
            messages: history.messages,
            tools_hash: self.tools.map(Json::get),
            wish: history.wished.first,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: self.max_output,
                service_tier: self.service_tier,
                // Its last event always does.
                reports_usage: true,
                latest: history.wished.latest,
                goes_on_from,
                background: self.background,
                prewarms,
                signals: self.signals,
                segments,
                other_parts: history.attached.count,
                unmetered,
                ..Terms::default()
            }),
        })
    }
}

fn text(cursor: &mut Cursor<'_>) -> Result<Option<String>, NotUnderstood> {
    let text: Option<Text<'_>> = cursor.value()?;
    Ok(given(text.as_ref()).map(str::to_owned))
}

fn name_of(cursor: &mut Cursor<'_>) -> Result<Option<Name>, NotUnderstood> {
    let text: Option<Text<'_>> = cursor.value()?;
    Ok(given(text.as_ref()).map(Name::shared))
}

fn flag(cursor: &mut Cursor<'_>) -> Result<Option<bool>, NotUnderstood> {
    cursor.value()
}

#[derive(Deserialize)]
struct CacheOptions {
    /// Counts more than `generate`.
    prewarm: Option<bool>,
}

/// The instructions, as the conversation's first message; some servers take items.
struct Instructions(Option<History>);

impl<'de> Deserialize<'de> for Instructions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InstructionsVisitor;

        impl<'de> Visitor<'de> for InstructionsVisitor {
            type Value = Instructions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of items or null")
            }

            fn visit_unit<E>(self) -> Result<Instructions, E> {
                Ok(Instructions(None))
            }

            fn visit_str<E>(self, text: &str) -> Result<Instructions, E> {
                let content = Content::One(Piece::Text(text.into()));
                let history = (!text.is_empty()).then(|| History::of("system", content));
                Ok(Instructions(history))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Instructions, A::Error> {
                History::of_items(seq).map(|history| Instructions(Some(history)))
            }
        }

        deserializer.deserialize_any(InstructionsVisitor)
    }
}

/// A conversation that the server keeps: its id, or an object that has it.
struct Conversation<'a>(Option<Text<'a>>);

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
}

impl Conversation<'_> {
    fn id(self) -> Option<String> {
        given(self.0.as_ref()).map(str::to_owned)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Conversation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConversationVisitor;

        impl<'de> Visitor<'de> for ConversationVisitor {
            type Value = Conversation<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id or an object that has one")
            }

            fn visit_str<E>(self, id: &str) -> Result<Conversation<'de>, E> {
                Ok(Conversation(Some(Text(id.to_owned().into()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Conversation<'de>, A::Error> {
                let identified = Identified::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Conversation(identified.id))
            }
        }

        deserializer.deserialize_any(ConversationVisitor)
    }
}
