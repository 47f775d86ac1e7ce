//! The answer to a call that is refused, in the words of its API: one that its clients take for
//! final, and whose text they show.
//!
//! Clients try again after 408, 409, 429 and 5xx, and some whatever a header says; so what is
//! refused is answered with 400, or with 402 and 403 where the API has them. Only a gateway that
//! ends, whose successor may let the call through, answers with 503.

use serde_json::{Value, json, value::RawValue};

use super::gather::Incomplete;
use crate::call::{Cause, Dialect, Reason};

/// Whom a refusal is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Absent: it speaks no API that is known.
    pub dialect: Option<Dialect>,
    /// Absent where nothing of the request was understood, and for a notification.
    pub rpc_id: Option<String>,
    /// Whether it calls a tool (MCP).
    pub calls_tool: bool,
    /// What the refusal can be found by afterwards.
    pub request_id: String,
}

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Header fields beside those that frame the body, in lower case.
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What a caller is told.
#[must_use]
pub fn reply(caller: &Caller, reason: &Reason) -> Reply {
    let mut fields = vec![("content-type", "application/json".to_owned())];
    let ending = reason.cause == Cause::Ending;
    let status = match (caller.dialect, reason.cause) {
        // JSON-RPC has errors of its own; only what belongs to no request has none.
        (Some(Dialect::Mcp | Dialect::A2a), _) if caller.rpc_id.is_some() => 200,
        (_, Cause::Ending) => 503,
        (Some(Dialect::AnthropicMessages), cause) if cause.is_budget() => 402,
        (Some(Dialect::AnthropicMessages), _) => 403,
        _ => 400,
    };
    match caller.dialect {
        Some(Dialect::Mcp | Dialect::A2a | Dialect::Gemini | Dialect::Ollama) => {}
        Some(Dialect::Bedrock) => {
            fields.push(("x-amzn-errortype", bedrock_type(reason.cause).to_owned()));
            fields.push(("x-amzn-requestid", caller.request_id.clone()));
        }
        dialect => {
            if dialect == Some(Dialect::AnthropicMessages) {
                fields.push(("request-id", caller.request_id.clone()));
            }
            fields.push(("x-should-retry", ending.to_string()));
        }
    }
    Reply { status, fields, body: line(&error(caller, reason)) }
}

/// What is answered to a request of whose refusal its caller is told elsewhere: the same that the
/// servers say to one that they take.
#[must_use]
pub fn accepted() -> Reply {
    let fields = vec![("content-type", "text/plain".to_owned())];
    Reply { status: 202, fields, body: b"Accepted".to_vec() }
}

/// What a caller is told whose answer its server has not brought to an end: that it may try again, as it
/// would have been without the gateway. In the server's own words, if it had some.
#[must_use]
pub fn broken(caller: &Caller, why: &Incomplete) -> Reply {
    match why {
        Incomplete::Reported(words) => bad_gateway(words.clone()),
        _ => failed(caller, &format!("the server has not finished its answer: {why}")),
    }
}

/// What a caller is told that was to get the answer to an earlier try of its call, when there is none.
#[must_use]
pub fn unanswered(caller: &Caller) -> Reply {
    failed(caller, "the try of this call whose answer it was to get has come to none; ask again")
}

/// What a caller is told whose server has failed, which may be better when it tries again.
fn failed(caller: &Caller, what: &str) -> Reply {
    let message = format!("turnpike: {what}");
    bad_gateway(match caller.dialect {
        Some(Dialect::AnthropicMessages) => {
            let error = json!({ "type": "api_error", "message": message });
            line(&json!({ "type": "error", "error": error, "request_id": caller.request_id }))
        }
        Some(Dialect::Ollama) => line(&json!({ "error": message })),
        _ => line(&openai(&message, "turnpike_upstream_failed")),
    })
}

fn bad_gateway(body: Vec<u8>) -> Reply {
    Reply { status: 502, fields: vec![("content-type", "application/json".to_owned())], body }
}

/// The body that says it.
pub(super) fn error(caller: &Caller, reason: &Reason) -> Value {
    let (message, code) = (reason.to_string(), reason.cause.code());
    match caller.dialect {
        Some(Dialect::AnthropicMessages) => anthropic(caller, reason),
        Some(Dialect::Gemini) => gemini(reason),
        Some(Dialect::Ollama) => json!({ "error": message }),
        Some(Dialect::Bedrock) => json!({ "message": message }),
        Some(Dialect::Mcp | Dialect::A2a) => json_rpc(caller, reason),
        Some(
            Dialect::OpenaiChat
            | Dialect::OpenaiCompletions
            | Dialect::OpenaiEmbeddings
            | Dialect::OpenaiResponses,
        ) => openai(&message, code),
        None => json!({ "error": { "message": message, "type": TYPE, "code": code } }),
    }
}

pub(super) fn openai(message: &str, code: &str) -> Value {
    json!({ "error": { "message": message, "type": TYPE, "param": null, "code": code } })
}

/// The same with the error's fields beside it too, where some clients look for them.
pub(super) fn event(reason: &Reason) -> Value {
    let (message, code) = (reason.to_string(), reason.cause.code());
    let mut event = openai(&message, code);
    if let Some(fields) = event.as_object_mut() {
        fields.insert("type".into(), "error".into());
        fields.insert("code".into(), code.into());
        fields.insert("message".into(), message.into());
        fields.insert("param".into(), Value::Null);
    }
    event
}

fn anthropic(caller: &Caller, reason: &Reason) -> Value {
    let kind = match reason.cause {
        cause if cause.is_budget() => "billing_error",
        Cause::Ending => "api_error",
        _ => "permission_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": reason.to_string() },
        "request_id": caller.request_id,
    })
}

/// `google.rpc.Status` with an `ErrorInfo`, whose reasons are in upper case.
fn gemini(reason: &Reason) -> Value {
    let (code, status) = match reason.cause {
        Cause::Ending => (503, "UNAVAILABLE"),
        _ => (400, "FAILED_PRECONDITION"),
    };
    json!({ "error": {
        "code": code,
        "message": reason.to_string(),
        "status": status,
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason.cause.code().to_ascii_uppercase(),
            "domain": "turnpike",
        }],
    } })
}

/// A tool's failure is a result, which MCP clients show to the model; other errors they raise, and
/// a model does not learn of them. `resultType` is required since the revision 2026-07-28, and
/// nothing to those before.
fn json_rpc(caller: &Caller, reason: &Reason) -> Value {
    let id = caller.rpc_id.as_deref().map_or(Value::Null, id);
    let message = reason.to_string();
    if caller.calls_tool && !id.is_null() {
        return json!({ "jsonrpc": "2.0", "id": id, "result": {
            "resultType": "complete",
            "content": [{ "type": "text", "text": message }],
            "isError": true,
        } });
    }
    let data = json!({ "reason": reason.cause.code() });
    json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": { "code": REFUSED, "message": message, "data": data },
    })
}

/// The id as it was written: a number may be larger than ours are.
fn id(written: &str) -> Value {
    let raw: Result<&RawValue, _> = serde_json::from_str(written);
    raw.ok().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null)
}

/// The name of the exception that clients of Bedrock raise.
pub(super) const fn bedrock_type(cause: Cause) -> &'static str {
    match cause {
        Cause::Ending => "ServiceUnavailableException",
        _ => "ValidationException",
    }
}

fn line(document: &Value) -> Vec<u8> {
    let mut text = document.to_string();
    text.push('\n');
    text.into_bytes()
}

const TYPE: &str = "turnpike_refused";

/// A JSON-RPC code that is left to servers, and that neither MCP (-32020 and below, -32001, -32002)
/// nor A2A (-32001 to -32009) has given a meaning.
const REFUSED: i32 = -32010;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Unmetered;

    fn caller(dialect: Option<Dialect>) -> Caller {
        Caller { dialect, request_id: "req_turnpike_1_0".into(), ..Caller::default() }
    }

    fn told(caller: &Caller, reason: &Reason) -> (u16, Value, Reply) {
        let reply = reply(caller, reason);
        let body = serde_json::from_slice(&reply.body).expect("JSON");
        (reply.status, body, reply)
    }

    fn field<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value)
    }

    fn budget() -> Reason {
        Reason::new(Cause::Budget, "the workflow has spent what it may; raise its budget")
    }

    #[test]
    fn the_openai_family_is_told_not_to_try_again() {
        for dialect in [
            Some(Dialect::OpenaiChat),
            Some(Dialect::OpenaiCompletions),
            Some(Dialect::OpenaiEmbeddings),
            Some(Dialect::OpenaiResponses),
            None,
        ] {
            let reason = Reason::from(Unmetered::Files);
            let (status, body, reply) = told(&caller(dialect), &reason);
            assert_eq!((status, field(&reply, "x-should-retry")), (400, Some("false")));
            assert_eq!(field(&reply, "retry-after"), None);
            assert_eq!(body["error"]["message"], reason.to_string());
            assert_eq!(body["error"]["type"], "turnpike_refused");
            assert_eq!(body["error"]["code"], "turnpike_unmetered");
        }
    }

    #[test]
    fn anthropic_has_a_status_for_budgets_and_one_for_the_rest() {
        let caller = caller(Some(Dialect::AnthropicMessages));
        let (status, body, reply) = told(&caller, &budget());
        assert_eq!((status, &body["error"]["type"]), (402, &"billing_error".into()));
        assert_eq!(field(&reply, "request-id"), Some("req_turnpike_1_0"));
        assert_eq!(
            (&body["type"], &body["request_id"]),
            (&"error".into(), &"req_turnpike_1_0".into())
        );
        let (status, body, _) = told(&caller, &Unmetered::Batch.into());
        assert_eq!((status, &body["error"]["type"]), (403, &"permission_error".into()));
    }

    #[test]
    fn google_ollama_and_bedrock_have_their_own_shapes() {
        let (status, body, _) = told(&caller(Some(Dialect::Gemini)), &budget());
        assert_eq!((status, &body["error"]["code"]), (400, &400.into()));
        assert_eq!(body["error"]["status"], "FAILED_PRECONDITION");
        assert_eq!(body["error"]["details"][0]["reason"], "TURNPIKE_BUDGET_EXCEEDED");
        let (status, body, _) = told(&caller(Some(Dialect::Ollama)), &budget());
        assert_eq!((status, body), (400, json!({ "error": budget().to_string() })));
        let (status, body, reply) = told(&caller(Some(Dialect::Bedrock)), &budget());
        assert_eq!((status, body), (400, json!({ "message": budget().to_string() })));
        assert_eq!(field(&reply, "x-amzn-errortype"), Some("ValidationException"));
    }

    #[test]
    fn json_rpc_answers_the_request_by_its_id() {
        for written in ["7", "\"a\\\"b\"", "9007199254740993"] {
            let with = |dialect, calls_tool| {
                let caller =
                    Caller { rpc_id: Some(written.into()), calls_tool, ..caller(Some(dialect)) };
                told(&caller, &budget())
            };
            let id: Value = serde_json::from_str(written).expect("JSON");
            let (status, body, _) = with(Dialect::Mcp, true);
            assert_eq!((status, &body["id"]), (200, &id));
            assert_eq!(body["result"]["isError"], true);
            assert_eq!(body["result"]["content"][0]["text"], budget().to_string());
            for dialect in [Dialect::Mcp, Dialect::A2a] {
                let (status, body, _) = with(dialect, false);
                assert_eq!((status, &body["id"]), (200, &id));
                assert_eq!(body["error"]["message"], budget().to_string());
                assert_eq!(body["error"]["code"], -32010);
            }
        }
        let (status, body, _) = told(&caller(Some(Dialect::Mcp)), &budget());
        assert_eq!((status, &body["id"]), (400, &Value::Null));
    }

    #[test]
    fn only_a_gateway_that_ends_may_be_asked_again() {
        let (status, _, reply) = told(&caller(Some(Dialect::OpenaiChat)), &Reason::ending());
        assert_eq!((status, field(&reply, "x-should-retry")), (503, Some("true")));
        for dialect in [Dialect::AnthropicMessages, Dialect::Gemini, Dialect::Ollama] {
            assert_eq!(told(&caller(Some(dialect)), &Reason::ending()).0, 503);
        }
    }
}
