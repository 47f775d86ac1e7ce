//! Which API an exchange speaks, by its method, path and shape, and never by its host alone: agents
//! are pointed at any server that speaks it, under any prefix.

use super::{
    Observer, RequestInfo, Socket,
    model::{Api, ModelExchange},
};
use crate::call::Operation;

/// Reads the exchange, if it speaks an API that is known. `None`: other traffic.
#[must_use]
pub fn detect(request: &RequestInfo<'_>) -> Option<Observer> {
    let path = path(request.target)?;
    let api = model(request.method, path)?;
    Some(Observer::Model(Box::new(ModelExchange::new(api, request))))
}

/// Reads the messages of the WebSocket that the request asks for, if they speak an API that is known.
#[must_use]
pub fn socket(request: &RequestInfo<'_>) -> Option<Socket> {
    let path = path(request.target)?;
    let is_known = request.method == "GET" && path.ends_with("/responses");
    is_known.then(|| Socket::new(request))
}

/// The API of a model that is asked under this path.
fn model(method: &str, path: &str) -> Option<Api> {
    let ends = |end: &str| path.ends_with(end);
    match method {
        "POST" if ends("/chat/completions") => Some(Api::OpenaiChat),
        "POST" if ends("/completions") => Some(Api::OpenaiCompletions),
        "POST" if ends("/embeddings") => Some(Api::OpenaiEmbeddings),
        "POST" if ends("/responses") => Some(Api::OpenaiResponses(Operation::Chat)),
        // A conversation is made shorter, by a model.
        "POST" if ends("/responses/compact") => Some(Api::OpenaiResponses(Operation::Chat)),
        "POST" if ends("/responses/input_tokens") => {
            Some(Api::OpenaiResponses(Operation::CountTokens))
        }
        "POST" => is_response(path.strip_suffix("/cancel")?).then_some(Api::OpenaiResponse),
        "GET" => is_response(path).then_some(Api::OpenaiResponse),
        _ => None,
    }
}

/// Whether the path is that of one response.
fn is_response(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(list, id)| !id.is_empty() && list.ends_with("/responses"))
}

/// The target's path, without a query and a slash at its end.
fn path(target: &str) -> Option<&str> {
    let path = target.split(['?', '#']).next()?;
    Some(path.strip_suffix('/').unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(method: &str, target: &str) -> Option<Api> {
        path(target).and_then(|path| model(method, path))
    }

    #[test]
    fn chat_completions_are_told_by_method_and_path() {
        for target in [
            "/v1/chat/completions",
            "/openai/deployments/gpt-x/chat/completions?api-version=2024-10-21",
            "/chat/completions/",
            "http://127.0.0.1:8000/v1/chat/completions",
        ] {
            assert_eq!(api("POST", target), Some(Api::OpenaiChat), "{target}");
        }
        assert_eq!(api("GET", "/v1/chat/completions"), None);
        assert_eq!(api("POST", "/v1/chat/completions/chatcmpl-1"), None);
        assert_eq!(api("POST", "/v1/models?path=/chat/completions"), None);
    }

    #[test]
    fn the_other_apis_of_openai_are_told_by_method_and_path() {
        let responses = Some(Api::OpenaiResponses(Operation::Chat));
        for (method, target, expected) in [
            ("POST", "/v1/responses", responses),
            ("POST", "/openai/responses?api-version=preview", responses),
            ("POST", "/backend-api/codex/responses", responses),
            ("POST", "/v1/responses/compact", responses),
            (
                "POST",
                "/v1/responses/input_tokens",
                Some(Api::OpenaiResponses(Operation::CountTokens)),
            ),
            ("POST", "/v1/responses/resp_1/cancel", Some(Api::OpenaiResponse)),
            ("GET", "/v1/responses/resp_1?stream=true", Some(Api::OpenaiResponse)),
            ("GET", "/v1/responses/resp_1/input_items", None),
            ("DELETE", "/v1/responses/resp_1", None),
            ("GET", "/v1/responses/", None),
            ("POST", "/v1/responses/resp_1", None),
            ("POST", "/cancel", None),
            ("POST", "/v1/completions", Some(Api::OpenaiCompletions)),
            ("POST", "/openai/deployments/x/completions?a=b", Some(Api::OpenaiCompletions)),
            ("POST", "/v1/embeddings", Some(Api::OpenaiEmbeddings)),
            ("GET", "/v1/embeddings", None),
        ] {
            assert_eq!(api(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_websocket_for_responses_is_told_by_its_request() {
        let request = |method, target| RequestInfo {
            method,
            target,
            content_type: None,
            content_encoding: None,
            content_length: None,
            client_retry: None,
            signals: &[],
        };
        assert!(socket(&request("GET", "/v1/responses?x=1")).is_some());
        for other in
            [("POST", "/v1/responses"), ("GET", "/v1/realtime"), ("GET", "/v1/responses/1")]
        {
            assert!(socket(&request(other.0, other.1)).is_none(), "{other:?}");
        }
    }
}
