//! Which API an exchange speaks, by its method, path and shape, and never by its host alone: agents
//! are pointed at any server that speaks it, under any prefix.

use super::{
    Observer, RequestInfo, gemini,
    model::{Api, ModelExchange},
    ollama,
};
use crate::call::Name;

/// Reads the exchange, if it speaks an API that is known. `None`: other traffic.
#[must_use]
pub fn detect(request: &RequestInfo<'_>) -> Option<Observer> {
    let path = path(request.target)?;
    let (api, model) = model(request.method, path)?;
    Some(Observer::Model(Box::new(ModelExchange::new(api, model, request))))
}

/// The API of a model that is asked under this path, and the model, if the path names it.
fn model(method: &str, path: &str) -> Option<(Api, Option<Name>)> {
    if method != "POST" {
        return None;
    }
    if let Some((method, resource)) = gemini::Method::of(path) {
        return Some((Api::Gemini(method), gemini::model(resource).map(Name::shared)));
    }
    let ends = |end: &str| path.ends_with(end);
    let api = match () {
        () if ends("/chat/completions") => Api::OpenaiChat,
        () if ends("/api/chat") => Api::Ollama(ollama::Method::Chat),
        () if ends("/api/generate") => Api::Ollama(ollama::Method::Generate),
        () if ends("/api/embed") || ends("/api/embeddings") => Api::Ollama(ollama::Method::Embed),
        () => return None,
    };
    Some((api, None))
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
            path(target).and_then(|path| model(method, path)) == Some((Api::OpenaiChat, None))
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
    #[test]
    fn gemini_is_told_by_its_method_and_names_its_model() {
        use gemini::Method::{CountTokens, Embed, Generate, StreamGenerate};
        for (target, method, name) in [
            ("/v1beta/models/gemini-2.5-pro:generateContent", Generate, Some("gemini-2.5-pro")),
            ("/v1beta/models/m:streamGenerateContent?alt=sse", StreamGenerate, Some("m")),
            ("/v1beta/models/m%3AgenerateContent", Generate, Some("m")),
            (
                "/v1/projects/p/locations/global/publishers/google/models/m:streamGenerateContent",
                StreamGenerate,
                Some("m"),
            ),
            ("/proxy/v1/models/m:countTokens", CountTokens, Some("m")),
            ("/v1beta/models/m:embedContent", Embed, Some("m")),
            ("/v1beta/models/m:batchEmbedContents", Embed, Some("m")),
            ("/v1internal:streamGenerateContent?alt=sse", StreamGenerate, None),
        ] {
            let read = path(target).and_then(|path| model("POST", path));
            assert_eq!(read, Some((Api::Gemini(method), name.map(Name::from))), "{target}");
        }
        for target in [
            "/v1beta/models/m:batchGenerateContent",
            "/v1/projects/p/publishers/anthropic/models/m:streamRawPredict",
            "/v1internal:loadCodeAssist",
            "/generateContent",
        ] {
            assert_eq!(path(target).and_then(|path| model("POST", path)), None, "{target}");
        }
        assert_eq!(model("GET", "/v1beta/models/m:generateContent"), None);
    }

    #[test]
    fn ollama_is_told_by_its_paths() {
        use ollama::Method::{Chat, Embed, Generate};
        for (target, method) in [
            ("/api/chat", Chat),
            ("/ollama/api/generate", Generate),
            ("/api/embed/", Embed),
            ("/api/embeddings", Embed),
        ] {
            let read = path(target).and_then(|path| model("POST", path));
            assert_eq!(read, Some((Api::Ollama(method), None)), "{target}");
        }
        assert_eq!(model("POST", "/api/chats"), None);
        assert_eq!(model("POST", "/chat"), None);
    }
}
