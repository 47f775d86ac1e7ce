//! JSON-RPC 2.0 over HTTP, as tool servers (MCP) and agents (A2A) are asked: told by the shape of the
//! body and by header fields, never by host or path.
//!
//! ```text
//! POST  request ───▶ one document, a batch, or events: the answer among others of the server's
//!       request ───▶ 202, and the answer in another exchange
//! GET   ───────────▶ events: answers to requests of other exchanges, and requests of the server's
//! ```
//!
//! Ids begin anew in each session: so a call is told by its session and its id. The session is what
//! the server named in `mcp-session-id`; in the transport before there was that, it is the target
//! that the server gave for requests in its first event, `endpoint`. Where there is no session each
//! answer comes in the exchange that asked for it.

mod asking;
mod listening;
mod message;
mod pending;

use super::{RequestInfo, Traffic};

pub use asking::Asker;
pub(super) use asking::Asking;
pub(super) use listening::Listening;
pub(super) use message::Id;
pub(super) use pending::Pending;
pub use pending::Session;

use pending::{Left, Withdrawn};

/// What a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A tool is called.
    Tool,
    /// Another agent is given a message.
    Agent,
    /// The client does not want an answer any more.
    Cancel,
    /// Something between client and server that does no work: its name.
    Protocol(&'static str),
}

/// Whether a request with this content type may be JSON-RPC.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is_suffix = |suffix: &str| {
        let start = essence.len().saturating_sub(suffix.len());
        essence.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    is("application/json") || is("application/json-rpc") || is_suffix("+json")
}

/// Whether the request's head says that it is MCP or A2A.
pub(super) fn is_told(request: &RequestInfo<'_>) -> bool {
    let is_field = |name: &str| name.starts_with("mcp-") || name == "a2a-version";
    request.signals.iter().any(|signal| is_field(signal.name))
}

/// The session that the request's head names.
fn named_session(request: &RequestInfo<'_>) -> Option<Session> {
    let mut signals = request.signals.iter();
    signals.find(|signal| signal.name == "mcp-session-id").map(|it| Session::named(&it.value))
}

#[cfg(test)]
mod tests;
