//! A record without what its client says of session, task and place. What servers issue and clients
//! only echo stays: ids of tool calls and responses, and MCP's session.

use serde_json::Value;
use turnpike::dialect::signals;

use super::record::{Bytes, Record};

/// Takes every id out of the request that its client made up. Counters of retries stay: they are no
/// ids.
pub fn strip(record: &mut Record) {
    record.request.headers.retain(|(name, _)| !is_own(name));
    let Ok(mut body) = serde_json::from_slice::<Value>(&record.request.body.0) else { return };
    let mut stripped = false;
    for place in BODY_PLACES {
        stripped |= remove(&mut body, place);
    }
    stripped |= body.get_mut("system").is_some_and(unattribute);
    // A body that has nothing to hide stays as it was, byte for byte.
    if stripped {
        record.request.body = Bytes(body.to_string().into_bytes());
    }
}

/// Whether clients make up the field's value.
fn is_own(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    signals::fields().contains(&&*name) && !FROM_SERVERS.contains(&&*name)
}

/// Whether there was something in that place.
fn remove(value: &mut Value, place: &[&str]) -> bool {
    match (place, value) {
        ([last], Value::Object(fields)) => fields.remove(*last).is_some(),
        ([first, rest @ ..], Value::Object(fields)) => {
            fields.get_mut(*first).is_some_and(|inner| remove(inner, rest))
        }
        _ => false,
    }
}

/// Takes the ids out of what Claude Code writes at the beginning of its instructions. Whether there
/// were any.
fn unattribute(system: &mut Value) -> bool {
    match system {
        Value::Array(blocks) => {
            let texts = blocks.iter_mut().filter_map(|block| block.get_mut("text"));
            texts.fold(false, |stripped, text| unattribute(text) | stripped)
        }
        Value::String(text) if text.starts_with(ATTRIBUTION) => {
            let (line, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
            let is_own = |pair: &&str| ATTRIBUTED.iter().any(|id| pair.trim().starts_with(id));
            let kept: Vec<&str> = line.split(';').filter(|pair| !is_own(pair)).collect();
            let less = kept.join(";") + rest;
            let stripped = less.len() < text.len();
            *text = less;
            stripped
        }
        _ => false,
    }
}

/// Fields that a server issues, or that name no session at all.
const FROM_SERVERS: &[&str] =
    &["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "a2a-version"];

/// Where bodies have such ids. The conversation of Responses, and context and task of A2A, are ids that
/// servers issue, like those of responses.
const BODY_PLACES: &[&[&str]] = &[
    &["metadata"],
    &["client_metadata"],
    &["prompt_cache_key"],
    &["user"],
    &["safety_identifier"],
    &["user_prompt_id"],
    &["request", "session_id"],
    &["params", "_meta", "traceparent"],
    &["params", "_meta", "tracestate"],
    &["params", "_meta", "baggage"],
];

const ATTRIBUTION: &str = "x-anthropic-billing-header:";
/// The id of the request before it, `cc_prev_req`, is the server's.
const ATTRIBUTED: &[&str] = &["cc_is_subagent=", "cc_prompt_id="];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::record::Request, *};
    use crate::eval::record::Ended;

    #[test]
    fn what_clients_make_up_goes_and_what_servers_issue_stays() {
        let headers = ["X-Session-Id", "mcp-session-id", "x-stainless-retry-count"];
        let system = "x-anthropic-billing-header: cc_version=2; cc_is_subagent=true;\nBe terse.";
        let body = json!({
            "metadata": {"user_id": "u"},
            "previous_response_id": "resp_1",
            "system": [{"type": "text", "text": system}],
        });
        let mut record = Record {
            exchange: 0,
            agent: String::new(),
            client: String::new(),
            pid: 0,
            connection: 0,
            start_us: 0,
            end_us: 0,
            request: Request {
                method: String::new(),
                target: String::new(),
                headers: headers.map(|name| (name.to_owned(), "1".to_owned())).to_vec(),
                body: Bytes(body.to_string().into_bytes()),
            },
            response: None,
            ended: Ended::Whole,
            lost: false,
            truth: None,
        };
        strip(&mut record);
        let left: Vec<&str> = record.request.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(left, ["mcp-session-id", "x-stainless-retry-count"]);
        let body: Value = serde_json::from_slice(&record.request.body.0).expect("JSON");
        let system = "x-anthropic-billing-header: cc_version=2;\nBe terse.";
        let left = json!({
            "previous_response_id": "resp_1",
            "system": [{"type": "text", "text": system}],
        });
        assert_eq!(body, left);
    }
}
