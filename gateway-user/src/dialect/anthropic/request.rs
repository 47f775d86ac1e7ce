//! The request: a conversation, the model that is to go on with it, and tools; or the question how
//! many tokens all that has.

use serde::Deserialize;

use super::super::{
    Asking, NotUnderstood,
    blocks::{self, Blocks, Messages},
    canonical::Json,
    cursor::{self, Cursor, Once},
    json::{Count, Maybe, Text, given},
    tools::{Nature, Toolbox, Tools},
};
use super::{attribution, message::Block};
use crate::{
    call::{Anchor, Dialect, Name, Operation, Prompt, Segments, Signal, Terms, Unmetered},
    limits,
};

/// What the body asks.
pub(in crate::dialect) fn parse(
    body: &[u8],
    operation: Operation,
    sample: &mut Asking,
) -> Result<Prompt, NotUnderstood> {
    let mut fields = Fields::default();
    cursor::read(body, |name, cursor| fields.read(name, cursor))?;
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
    messages: Once<Messages<Block<'a>>>,
    model: Once<Option<Text<'a>>>,
    max_tokens: Once<Option<Count>>,
    stream: Once<Option<bool>>,
    system: Once<Blocks<Block<'a>>>,
    tools: Once<Tools<Ours>>,
    tool_bytes: u64,
    service_tier: Once<Option<Text<'a>>>,
    speed: Once<Option<Text<'a>>>,
    metadata: Once<Option<Maybe<Metadata<'a>>>>,
    thread: Once<Option<Maybe<Thread<'a>>>>,
    /// MCP servers that the provider asks itself.
    servers: Once<Option<Json>>,
    /// Where the provider runs code, which may be one that it has run some in before.
    container: Once<Option<Json>>,
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

struct Ours;

impl Toolbox for Ours {
    fn is_clients(tool: &Nature<'_>) -> bool {
        /// Types, each without the date of its version.
        const CLIENTS: &[&str] =
            &["bash_", "text_editor_", "computer_", "browser_toolset_", "memory_"];
        let kind = &*tool.kind;
        matches!(kind, "" | "custom") || CLIENTS.iter().any(|known| kind.starts_with(known))
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
                ((), self.tool_bytes) = cursor.sized(|cursor| cursor.once(&mut self.tools))?;
                Ok(())
            }
            "mcp_servers" => cursor.once(&mut self.servers),
            "container" => cursor.once(&mut self.container),
            _ => cursor.skip(),
        }
    }

    /// What `system` says, the client's attribution apart.
    fn instructions(&mut self, signals: &mut Vec<Signal>) -> Vec<blocks::Block<'a>> {
        let mut blocks = std::mem::take(&mut self.system.value).known();
        for block in &mut blocks {
            if let blocks::Block::Text(text) = block {
                let rest = attribution::strip(text, signals);
                if rest.len() < text.len() {
                    *block = match rest {
                        "" => blocks::Block::Unsaid,
                        rest => blocks::Block::Text(rest.to_owned().into()),
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
        let asks_servers = self.servers.value.is_some_and(|list| !list.is_empty_array());
        let hosted = self.tools.value.unmetered();
        let hosted = hosted.or(asks_servers.then_some(Unmetered::HostedTools));
        let unmetered = hosted.or(self.container.value.map(|_| Unmetered::StoredContext));
        let thread = self.thread.value.and_then(Maybe::known);
        let previous = thread.as_ref().and_then(|it| given(it.previous_message_id.as_ref()));
        Prompt {
            dialect: Dialect::AnthropicMessages,
            operation,
            model: name(&self.model.value),
            stream: self.stream.value.unwrap_or(false),
            messages: Vec::new(),
            tools_hash: self.tools.value.hash().map(Json::get),
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
                unmetered,
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
