//! Which API an exchange speaks, by its method, path and shape, and never by its host alone: agents
//! are pointed at any server that speaks it, under any prefix.

use super::{
    Observer, RequestInfo,
    model::{Api, ModelExchange},
    rpc,
};

/// Reads the exchange, if it speaks an API that is known, or may do so: its
/// [`traffic`](Observer::traffic) tells that later. `None`: other traffic.
#[must_use]
pub fn detect(request: &RequestInfo<'_>) -> Option<Observer> {
    if let Some(api) = path(request.target).and_then(|path| model(request.method, path)) {
        return Some(Observer::Model(Box::new(ModelExchange::new(api, request))));
    }
    match request.method {
        "POST" if rpc::is_json(request.content_type) || rpc::is_told(request) => {
            Some(Observer::Asking(Box::new(rpc::Asking::new(request))))
        }
        "DELETE" if rpc::is_told(request) => {
            Some(Observer::Listening(Box::new(rpc::Listening::new(request))))
        }
        "GET" => Some(Observer::Listening(Box::new(rpc::Listening::new(request)))),
        _ => None,
    }
}

/// The API of a model that is asked under this path.
fn model(method: &str, path: &str) -> Option<Api> {
    if method != "POST" {
        return None;
    }
    let ends = |end: &str| path.ends_with(end);
    match () {
        () if ends("/chat/completions") => Some(Api::OpenaiChat),
        () => None,
    }
}

/// The target's path, without a query and a slash at its end.
fn path(target: &str) -> Option<&str> {
    let path = target.split(['?', '#']).next()?;
    Some(path.strip_suffix('/').unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_completions_are_told_by_method_and_path() {
        let is_chat = |method, target| {
            path(target).and_then(|path| model(method, path)) == Some(Api::OpenaiChat)
        };
        for target in [
            "/v1/chat/completions",
            "/openai/deployments/gpt-x/chat/completions?api-version=2024-10-21",
            "/chat/completions/",
            "http://127.0.0.1:8000/v1/chat/completions",
        ] {
            assert!(is_chat("POST", target), "{target}");
        }
        assert!(!is_chat("GET", "/v1/chat/completions"));
        assert!(!is_chat("POST", "/v1/chat/completions/chatcmpl-1"));
        assert!(!is_chat("POST", "/v1/models?path=/chat/completions"));
    }
}
