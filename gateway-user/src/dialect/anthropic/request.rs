//! The request: a conversation, the model that is to go on with it, and tools; or the question how
//! many tokens all that has.

use serde::Deserialize;

use super::super::{
    Asking, NotUnderstood,
    blocks::{Block as Plain, Content, History, Messages, Turn},
    canonical::Json,
    cursor::{Cursor, Once},
    json::{Count, Maybe, Text, given},
};
use super::{
    attribution,
    message::{Block, plain},
};
use crate::{
    call::{Anchor, Dialect, Name, Operation, Prompt, Segments, Signal, Terms},
    limits,
};

/// What the body asks.
pub(in crate::dialect) fn parse(
    body: &[u8],
    operation: Operation,
    sample: &mut Asking,
) -> Result<Prompt, NotUnderstood> {
    let mut fields = Fields::default();
    let mut cursor = Cursor::new(body, 0);
    cursor.object(|name, cursor| fields.read(name, cursor))?;
    if !cursor.is_at_end() {
        return Err(NotUnderstood::NotJson);
    }
    if !fields.messages.seen {
        return Err(NotUnderstood::NotThisShape);
    }
    let mut history = std::mem::take(&mut fields.messages.value.history);
    let mut signals = Vec::new();
    history.instruct(&fields.instructions(&mut signals));
    let mut prompt = fields.prompt(operation, signals);
    history.tell(&mut prompt, sample)?;
    Ok(prompt)
}

/// What the fields say.
#[derive(Default)]
struct Fields<'a> {
    messages: Once<Messages<Message<'a>>>,
    model: Once<Option<Text<'a>>>,
    max_tokens: Once<Option<Count>>,
    stream: Once<Option<bool>>,
    system: Once<Content<Block<'a>>>,
    tools: Once<Option<Json>>,
    tool_bytes: u64,
    service_tier: Once<Option<Text<'a>>>,
    speed: Once<Option<Text<'a>>>,
    metadata: Once<Option<Maybe<Metadata<'a>>>>,
    thread: Once<Option<Maybe<Thread<'a>>>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow, default)]
    content: Content<Block<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
}

/// A conversation that the server keeps: only what is new of it is sent.
#[derive(Deserialize)]
struct Thread<'a> {
    #[serde(borrow)]
    previous_message_id: Option<Text<'a>>,
}

impl Turn for Message<'_> {
    fn tell(self, history: &mut History) {
        history.push(given(self.role.as_ref()).unwrap_or_default(), &plain(self.content));
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self, name: &str, cursor: &mut Cursor<'a>) -> Result<(), NotUnderstood> {
        match name {
            "model" => cursor.once(&mut self.model),
            "max_tokens" => cursor.once(&mut self.max_tokens),
            "stream" => cursor.once(&mut self.stream),
            "system" => cursor.once(&mut self.system),
            "service_tier" => cursor.once(&mut self.service_tier),
            "speed" => cursor.once(&mut self.speed),
            "metadata" => cursor.once(&mut self.metadata),
            "thread" => cursor.once(&mut self.thread),
            "messages" => cursor.once(&mut self.messages),
            "tools" => {
                let start = cursor.at();
                cursor.once(&mut self.tools)?;
                self.tool_bytes = (cursor.at() - start) as u64;
                Ok(())
            }
            _ => cursor.skip(),
        }
    }

    /// What `system` says, the client's attribution apart.
    fn instructions(&mut self, signals: &mut Vec<Signal>) -> Vec<Plain<'a>> {
        let mut blocks = plain(std::mem::take(&mut self.system.value));
        for block in &mut blocks {
            if let Plain::Text(text) = block {
                let rest = attribution::strip(text, signals);
                if rest.len() < text.len() {
                    *block = match rest {
                        "" => Plain::Unsaid,
                        rest => Plain::Text(rest.to_owned().into()),
                    };
                }
            }
        }
        blocks
    }

    fn prompt(self, operation: Operation, mut signals: Vec<Signal>) -> Prompt {
        let name = |text: &Option<Text<'_>>| given(text.as_ref()).map(Name::shared);
        let most = self.max_tokens.value.and_then(Count::get);
        let metadata = self.metadata.value.and_then(Maybe::known);
        user(metadata.as_ref().and_then(|it| given(it.user_id.as_ref())), &mut signals);
        signals.retain(|signal| signal.value.len() <= limits::SIGNAL_BYTES);
        signals.truncate(limits::SIGNALS_PER_CALL);
        let thread = self.thread.value.and_then(Maybe::known);
        let previous = thread.as_ref().and_then(|it| given(it.previous_message_id.as_ref()));
        Prompt {
            dialect: Dialect::AnthropicMessages,
            operation,
            model: name(&self.model.value),
            stream: self.stream.value.unwrap_or(false),
            messages: Vec::new(),
            tools_hash: self.tools.value.filter(|list| !list.is_empty_array()).map(Json::get),
            wish: None,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: most,
                // Fast mode has a price of its own, as a tier has.
                service_tier: name(&self.speed.value)
                    .filter(|speed| *speed == "fast")
                    .or_else(|| name(&self.service_tier.value)),
                reports_usage: true,
                goes_on_from: previous.map(|id| Anchor::Response(id.to_owned())),
                prewarms: operation.calls_model() && most == Some(0),
                signals,
                segments: Segments { tools: self.tool_bytes, ..Segments::default() },
                ..Terms::default()
            }),
        }
    }
}

/// Adds what an application says of its user. Claude Code says there which session it is: in JSON
/// or, in older versions, at the end.
fn user(id: Option<&str>, signals: &mut Vec<Signal>) {
    #[derive(Deserialize)]
    struct Session {
        session_id: Option<String>,
        parent_session_id: Option<String>,
    }

    let Some(id) = id else { return };
    let mut note = |name, value: Option<String>| {
        signals.extend(value.map(|value| Signal { name, value }));
    };
    note("body.metadata.user_id", Some(id.to_owned()));
    let session = serde_json::from_str(id).unwrap_or_else(|_| Session {
        session_id: id.rsplit_once("_session_").map(|(_, session)| session.to_owned()),
        parent_session_id: None,
    });
    note("body.metadata.user_id.session_id", session.session_id);
    note("body.metadata.user_id.parent_session_id", session.parent_session_id);
}
