//! What upstream has to be asked, where it does not stop because nobody listens any more.
//!
//! MCP up to its revision 2025-11-25 wants a notification: a connection that is lost "should not" be
//! taken for the client's cancelling. From 2026-07-28 on it must be, and nothing more is expected. What
//! a provider makes in the background (`OpenAI`'s Responses) goes on until it is told not to.
//!
//! Sources: the chapters on cancellation and on transports of these revisions of MCP, and `OpenAI`'s API
//! reference.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    detect::{is_model, makes_in_background},
    rpc,
};
use crate::{
    call::{Dialect, Invocation, Reason, Signal},
    limits,
};

/// What has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Countermand {
    /// That the request with this id, as it is written, be cancelled.
    Notify(Box<str>),
    /// That the response be cancelled whose id the answer says.
    Cancel,
}

/// How it is asked: by a POST to where the call's request went, or below that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording<'a> {
    /// As a request line has it.
    pub target: Cow<'a, str>,
    /// In JSON; empty, there is none.
    pub body: Vec<u8>,
}

/// The first revision of MCP in which a stream that is closed is a call that is cancelled.
const CLOSING_CANCELS: &str = "2026-07-28";

/// Whether a call of such a request may need one, as far as its head tells.
pub(crate) fn may_follow(method: &str, target: &str, content_type: Option<&str>) -> bool {
    method == "POST"
        && (makes_in_background(target) || rpc::is_json(content_type) && !is_model(method, target))
}

/// Whether the field of a call's request is one of a request that follows it: not if it is about the
/// body, this one connection, or this one call. Whatever else there is may be what lets it in.
pub(crate) fn carries(field: &str) -> bool {
    const NOT: &[&str] = &[
        "accept-encoding",
        "connection",
        "digest",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "proxy-connection",
        "range",
        "repr-digest",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-stainless-retry-count",
    ];
    let begins = |start: &str| {
        field.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    !(NOT.iter().any(|not| field.eq_ignore_ascii_case(not)) || begins("content-") || begins("if-"))
}

/// What the tool call needs that was asked so, if it needs anything. A task is another thing: MCP wants
/// it cancelled by its own id, which only the answer says.
pub(super) fn of_tool(
    invocation: &Invocation,
    as_task: bool,
    head: &[Signal],
) -> Option<Countermand> {
    let mut said = head.iter().filter(|signal| signal.name == "mcp-protocol-version");
    let closing_cancels =
        said.any(|said| is_revision(&said.value) && *said.value >= *CLOSING_CANCELS);
    if invocation.dialect != Dialect::Mcp || as_task || closing_cancels {
        return None;
    }
    invocation.rpc_id.as_deref().map(|id| Countermand::Notify(id.into()))
}

/// Whether it is a date, as the names of all revisions are.
fn is_revision(said: &str) -> bool {
    let parts = said.len() == CLOSING_CANCELS.len();
    parts
        && said
            .bytes()
            .zip(CLOSING_CANCELS.bytes())
            .all(|(one, like)| if like == b'-' { one == like } else { one.is_ascii_digit() })
}

impl Countermand {
    /// In words, to whom `target` was asked, of a response with that id. `None` while that is not known,
    /// or is no part of a path.
    #[must_use]
    pub fn wording<'a>(
        &self,
        target: &'a str,
        response: Option<&str>,
        reason: &Reason,
    ) -> Option<Wording<'a>> {
        match self {
            Self::Notify(id) => {
                let id = serde_json::from_str(id).ok()?;
                let reason = reason.to_string();
                let params = Params { request_id: id, reason: &reason };
                let method = "notifications/cancelled";
                let body = serde_json::to_vec(&Notification { jsonrpc: "2.0", method, params });
                Some(Wording { target: target.into(), body: body.ok()? })
            }
            Self::Cancel => {
                let id = response.filter(|id| is_segment(id))?;
                let (path, query) = match target.split_once('?') {
                    Some((path, query)) => (path, Some(query)),
                    None => (target, None),
                };
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                let path = path.strip_suffix('/').unwrap_or(path);
                let target = format!("{path}/{id}/cancel{query}").into();
                Some(Wording { target, body: Vec::new() })
            }
        }
    }
}

/// Whether the id can stand in a path as it is (RFC 3986, section 2.3).
fn is_segment(id: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let dots = id.bytes().all(|byte| byte == b'.');
    !dots && !id.is_empty() && id.len() <= limits::RESPONSE_ID_BYTES && id.bytes().all(plain)
}

#[derive(Serialize)]
struct Notification<'a> {
    jsonrpc: &'a str,
    method: &'a str,
    params: Params<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    request_id: &'a RawValue,
    reason: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Cause, Operation};

    fn call(id: &str) -> Invocation {
        Invocation {
            dialect: Dialect::Mcp,
            operation: Operation::ExecuteTool,
            tool: None,
            arguments: None,
            rpc_id: Some(id.into()),
            signals: Vec::new(),
        }
    }

    fn revision(value: &str) -> Vec<Signal> {
        vec![Signal { name: "mcp-protocol-version", value: value.into() }]
    }

    #[test]
    fn a_tool_call_needs_one_up_to_the_revision_in_which_closing_is_enough() {
        let needs = |head: &[Signal]| of_tool(&call("1"), false, head).is_some();
        assert!(needs(&[]), "who says nothing speaks an old one");
        for old in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "DRAFT-2026-v1", "x"] {
            assert!(needs(&revision(old)), "{old}");
        }
        for new in ["2026-07-28", "2027-01-01"] {
            assert!(!needs(&revision(new)), "{new}");
        }
        assert!(of_tool(&call("1"), true, &[]).is_none(), "a task is cancelled otherwise");
        let message = Invocation { dialect: Dialect::A2a, ..call("1") };
        assert!(of_tool(&message, false, &[]).is_none());
    }

    #[test]
    fn ids_are_said_as_they_were_written() {
        let reason = Reason::new(Cause::Cancelled, "no \"more\"");
        for id in ["7", "\"7\"", "9007199254740993123456789", "\"a\\u0062\"", "1.0"] {
            let countermand = Countermand::Notify(id.into());
            let wording = countermand.wording("/mcp?a", None, &reason).expect("words");
            assert_eq!(wording.target, "/mcp?a");
            assert_eq!(
                String::from_utf8(wording.body).expect("text"),
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"turnpike: no \"more\""}}}}"#
                )
            );
        }
    }

    #[test]
    fn a_response_is_cancelled_below_where_it_was_made() {
        let reason = Reason::new(Cause::Cancelled, "no");
        let at = |target, id| {
            let wording = Countermand::Cancel.wording(target, id, &reason)?;
            assert!(wording.body.is_empty());
            Some(wording.target.into_owned())
        };
        let cancelled = |target| at(target, Some("resp_1")).expect("words");
        assert_eq!(cancelled("/v1/responses"), "/v1/responses/resp_1/cancel");
        assert_eq!(cancelled("/v1/responses/"), "/v1/responses/resp_1/cancel");
        let azure = "/openai/responses?api-version=2025-04-01";
        assert_eq!(cancelled(azure), "/openai/responses/resp_1/cancel?api-version=2025-04-01");
        for id in [None, Some(""), Some(".."), Some("a/b"), Some("a?b"), Some("a b"), Some("a\r\n")]
        {
            assert_eq!(at("/v1/responses", id), None, "{id:?}");
        }
    }

    #[test]
    fn heads_are_kept_of_what_may_need_one() {
        let json = Some("application/json");
        let may = |method, target, kind| may_follow(method, target, kind);
        assert!(may("POST", "/mcp", json) && may("POST", "/messages/?session_id=1", json));
        assert!(may("POST", "/v1/responses", json) && may("POST", "/v1/responses?a", None));
        assert!(!may("POST", "/v1/chat/completions", json) && !may("POST", "/v1/messages", json));
        assert!(!may("POST", "/form", Some("text/plain")) && !may("GET", "/v1/responses/a", None));
    }

    #[test]
    fn what_is_about_the_call_itself_is_not_said_again() {
        for field in
            ["Authorization", "x-api-key", "Mcp-Session-Id", "mcp-protocol-version", "Cookie"]
        {
            assert!(carries(field), "{field}");
        }
        for field in ["Content-Length", "HOST", "Idempotency-Key", "If-Match", "mcp-method", "TE"] {
            assert!(!carries(field), "{field}");
        }
    }
}
