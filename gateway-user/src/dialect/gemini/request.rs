//! The request: a conversation, the model that is to go on with it, and tools.

use serde::Deserialize;

use super::super::{
    Asking, NotUnderstood,
    canonical::Json,
    cursor::{self, Cursor},
    json::{Count, Gathered, Maybe, Text, given},
    tools::{Toolbox, Tools},
};
use super::{
    Method,
    content::{Content, History, Piece, Turn},
};
use crate::{
    call::{self, Dialect, Name, Prompt, Segments, Signal, Terms, Unmetered},
    limits,
};

/// What the body asks of this method.
pub(in crate::dialect) fn parse(
    method: Method,
    body: &[u8],
    sample: &mut Asking,
) -> Result<Prompt, NotUnderstood> {
    let mut request = Request::default();
    cursor::read(body, |name, cursor| request.read(name, cursor, Place::Outer))?;
    let asked = if method == Method::Embed { Field::Input } else { Field::Contents };
    if !request.seen.contains(&asked) {
        return Err(NotUnderstood::NotThisShape);
    }
    if request.history.too_many {
        return Err(NotUnderstood::TooLarge);
    }
    *sample = std::mem::take(&mut request.sample);
    sample.append(&request.history.sample);
    Ok(request.prompt(method))
}

/// What the fields say.
#[derive(Default)]
struct Request {
    /// Each once: one that comes again could be read either way.
    seen: Vec<Field>,
    model: Option<Name>,
    history: History,
    instructions: Option<call::Message>,
    tools: Tools<Ours>,
    unmetered: Option<Unmetered>,
    generation: Generation,
    service_tier: Option<Name>,
    signals: Vec<Signal>,
    segments: Segments,
    /// Of what is no message.
    sample: Asking,
}

/// Where a field stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outer,
    /// In what wraps the request: `request` (Code Assist), `generateContentRequest` (countTokens).
    Wrapped,
}

/// A field that is read. The API takes both spellings of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Model,
    Contents,
    /// What is to be embedded.
    Input,
    Instructions,
    Tools,
    Generation,
    ServiceTier,
    CachedContent,
    PromptId,
    SessionId,
    Request,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "model" => Self::Model,
            "contents" => Self::Contents,
            "content" | "requests" => Self::Input,
            "systemInstruction" | "system_instruction" => Self::Instructions,
            "tools" => Self::Tools,
            "generationConfig" | "generation_config" => Self::Generation,
            "serviceTier" | "service_tier" => Self::ServiceTier,
            "cachedContent" | "cached_content" => Self::CachedContent,
            "user_prompt_id" => Self::PromptId,
            "session_id" => Self::SessionId,
            "request" | "generateContentRequest" | "generate_content_request" => Self::Request,
            _ => return None,
        })
    }
}

struct Ours;

impl Toolbox for Ours {
    fn is_clients_with(field: &str) -> bool {
        matches!(
            field,
            "functionDeclarations" | "function_declarations" | "computerUse" | "computer_use"
        )
    }
}

#[derive(Default, Deserialize)]
struct Generation {
    #[serde(rename = "maxOutputTokens", alias = "max_output_tokens")]
    max_output: Option<Count>,
    #[serde(rename = "candidateCount", alias = "candidate_count")]
    candidates: Option<Count>,
}

impl Request {
    fn read(
        &mut self,
        name: &str,
        cursor: &mut Cursor<'_>,
        place: Place,
    ) -> Result<(), NotUnderstood> {
        let Some(field) = Field::of(name) else { return cursor.skip() };
        // What is wrapped may name the model once more.
        if self.seen.contains(&field) && (field, place) != (Field::Model, Place::Wrapped) {
            return Err(NotUnderstood::DuplicateKey);
        }
        self.seen.push(field);
        cursor.peek();
        let start = cursor.at();
        match field {
            Field::Model => {
                let model = cursor.value::<Option<Text<'_>>>()?;
                let model = given(model.as_ref()).map(last_segment).map(Name::shared);
                self.model = self.model.take().or(model);
            }
            Field::Contents => {
                Gathered(self.history) = cursor.value()?;
                let bytes = (cursor.at() - start) as u64;
                self.segments.messages += bytes.saturating_sub(self.history.media_bytes);
            }
            Field::Input => {
                self.sample.push_bytes(cursor.raw()?);
                self.segments.messages += (cursor.at() - start) as u64;
            }
            Field::Instructions => {
                let content: Option<Content<'_>> = cursor.value()?;
                self.segments.system = (cursor.at() - start) as u64;
                self.instructions = content.map(|content| self.instruct(&content));
            }
            Field::Tools => {
                self.tools = cursor.value()?;
                self.segments.tools = (cursor.at() - start) as u64;
                self.unmetered = self.unmetered.or(self.tools.unmetered());
            }
            Field::Generation => {
                let generation: Option<Maybe<Generation>> = cursor.value()?;
                self.generation = generation.and_then(Maybe::known).unwrap_or_default();
            }
            Field::ServiceTier => {
                let tier: Option<Text<'_>> = cursor.value()?;
                self.service_tier = given(tier.as_ref()).map(Name::shared);
            }
            Field::CachedContent => {
                let cached: Option<Text<'_>> = cursor.value()?;
                let stored = given(cached.as_ref()).map(|_| Unmetered::StoredContext);
                self.unmetered = self.unmetered.or(stored);
            }
            Field::PromptId => self.signal(cursor, "body.user_prompt_id")?,
            Field::SessionId => self.signal(cursor, "body.request.session_id")?,
            Field::Request if place == Place::Wrapped => return Err(NotUnderstood::NotThisShape),
            Field::Request => {
                cursor.object(|name, cursor| self.read(name, cursor, Place::Wrapped))?;
            }
        }
        Ok(())
    }

    /// What the instructions come to.
    fn instruct(&mut self, content: &Content<'_>) -> call::Message {
        self.unmetered = self.unmetered.or(content.attached().unmetered());
        let mut turn = Turn::of("system");
        for piece in content.pieces() {
            if let Piece::Text(text) = piece {
                self.sample.push(text);
            }
            turn.add(piece);
        }
        turn.finish()
    }

    fn signal(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), NotUnderstood> {
        let value: Option<Text<'_>> = cursor.value()?;
        let value = given(value.as_ref()).filter(|value| value.len() <= limits::SIGNAL_BYTES);
        self.signals.extend(value.map(|value| Signal { name, value: value.to_owned() }));
        Ok(())
    }

    fn prompt(mut self, method: Method) -> Prompt {
        let wished = std::mem::take(&mut self.history.wished);
        let attached = self.history.attached;
        let count = |count: Option<Count>| count.and_then(Count::get);
        Prompt {
            dialect: Dialect::Gemini,
            operation: method.operation(),
            model: self.model,
            stream: method == Method::StreamGenerate,
            messages: self.history.messages(self.instructions),
            tools_hash: self.tools.hash().map(Json::get),
            wish: wished.first,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: count(self.generation.max_output),
                choices: count(self.generation.candidates),
                service_tier: self.service_tier,
                reports_usage: true,
                latest: wished.latest,
                signals: self.signals,
                segments: self.segments,
                other_parts: attached.count,
                unmetered: self.unmetered.or(attached.unmetered()),
                ..Terms::default()
            }),
        }
    }
}

/// A model's name without the collection that it is in.
fn last_segment(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}
