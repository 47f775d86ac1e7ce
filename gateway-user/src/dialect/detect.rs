//! Which API an exchange speaks, by its method, path and shape, and never by its host alone: agents
//! are pointed at any server that speaks it, under any prefix.

use super::{
    Observer, RequestInfo, Socket, gemini,
    model::{Api, ModelExchange},
    ollama, rpc,
};
use crate::call::{Name, Operation};

/// Reads the exchange, if it speaks an API that is known, or may do so: its
/// [`traffic`](Observer::traffic) tells that later. `None`: other traffic.
#[must_use]
pub fn detect(request: &RequestInfo<'_>) -> Option<Observer> {
    if let Some(found) = path(request.target).and_then(|path| model(request.method, path)) {
        let (api, model) = found;
        return Some(Observer::Model(Box::new(ModelExchange::new(api, model, request))));
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

/// Reads the messages of the WebSocket that the request asks for, if they speak an API that is known.
#[must_use]
pub fn socket(request: &RequestInfo<'_>) -> Option<Socket> {
    let path = path(request.target)?;
    let is_known = request.method == "GET" && path.ends_with("/responses");
    is_known.then(|| Socket::new(request))
}

/// Whether the API of a model is asked under this target.
pub(super) fn is_model(method: &str, target: &str) -> bool {
    path(target).is_some_and(|path| model(method, path).is_some())
}

/// Whether an answer that is asked for under this target may be made in the background.
pub(super) fn makes_in_background(target: &str) -> bool {
    path(target).is_some_and(|path| path.ends_with("/responses"))
}

/// The API of a model that is asked under this path, and the model if the path names it.
fn model(method: &str, path: &str) -> Option<(Api, Option<Name>)> {
    // Ollama's paths end like some of `OpenAI`'s.
    let unnamed =
        ollama(method, path).or_else(|| openai(method, path)).or_else(|| anthropic(method, path));
    match unnamed {
        Some(api) => Some((api, None)),
        None if method == "POST" => vertex(path).or_else(|| bedrock(path)).or_else(|| gemini(path)),
        None => None,
    }
}

fn anthropic(method: &str, path: &str) -> Option<Api> {
    let ends = |end: &str| path.ends_with(end);
    match method {
        // Not `/messages` alone: many who speak other APIs have that.
        "POST" if ends("/v1/messages") => Some(Api::AnthropicMessages),
        "POST" if ends("/v1/messages/count_tokens") => Some(Api::AnthropicCountTokens),
        _ => None,
    }
}

/// Anthropic's API as Vertex AI has it: `…/publishers/anthropic/models/MODEL:rawPredict`.
fn vertex(path: &str) -> Option<(Api, Option<Name>)> {
    let (path, verb) = path.rsplit_once(':')?;
    let (_, model) = path.rsplit_once("/publishers/anthropic/models/")?;
    match (verb, model) {
        ("rawPredict", "count-tokens") => Some((Api::AnthropicCountTokens, None)),
        ("rawPredict" | "streamRawPredict", model) => {
            Some((Api::AnthropicMessages, decoded(model)))
        }
        _ => None,
    }
}

/// Bedrock's APIs: `/model/MODEL/converse`, or `invoke`, whose body is the model's own.
fn bedrock(path: &str) -> Option<(Api, Option<Name>)> {
    let (path, verb) = path.rsplit_once('/')?;
    let (_, model) = path.rsplit_once("/model/")?;
    let model = decoded(model)?;
    let api = match verb {
        "converse" => Api::BedrockConverse { stream: false },
        "converse-stream" => Api::BedrockConverse { stream: true },
        "invoke" if model.contains("anthropic.claude") => Api::AnthropicInBedrock { stream: false },
        "invoke-with-response-stream" if model.contains("anthropic.claude") => {
            Api::AnthropicInBedrock { stream: true }
        }
        _ => return None,
    };
    Some((api, Some(model)))
}

fn gemini(path: &str) -> Option<(Api, Option<Name>)> {
    let (method, resource) = gemini::Method::of(path)?;
    Some((Api::Gemini(method), gemini::model(resource).map(Name::shared)))
}

fn ollama(method: &str, path: &str) -> Option<Api> {
    let ends = |end: &str| path.ends_with(end);
    let method = match method {
        "POST" if ends("/api/chat") => ollama::Method::Chat,
        "POST" if ends("/api/generate") => ollama::Method::Generate,
        "POST" if ends("/api/embed") || ends("/api/embeddings") => ollama::Method::Embed,
        _ => return None,
    };
    Some(Api::Ollama(method))
}

/// A part of a path without its percent-encoding (RFC 3986, section 2.1), if that is a name.
fn decoded(part: &str) -> Option<Name> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.first_chunk::<2>().filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    str::from_utf8(&bytes).ok().filter(|name| !name.is_empty()).map(Name::shared)
}

fn openai(method: &str, path: &str) -> Option<Api> {
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
        path(target).and_then(|path| model(method, path)).map(|(api, _)| api)
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
            host: None,
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

    #[test]
    fn anthropic_messages_are_told_wherever_they_are_spoken() {
        let read = |target| {
            let (api, model) = path(target).and_then(|path| model("POST", path))?;
            Some((api, model.as_deref().unwrap_or_default().to_owned()))
        };
        let found = |api, model: &str| Some((api, model.to_owned()));
        let vertex = "/v1/projects/p/locations/r/publishers/anthropic/models";
        for (target, expected) in [
            ("/v1/messages?beta=true", found(Api::AnthropicMessages, "")),
            ("http://gateway/anthropic/v1/messages", found(Api::AnthropicMessages, "")),
            ("/v1/messages/count_tokens", found(Api::AnthropicCountTokens, "")),
            (
                &*format!("{vertex}/claude-x@20250514:streamRawPredict"),
                found(Api::AnthropicMessages, "claude-x@20250514"),
            ),
            (&*format!("{vertex}/count-tokens:rawPredict"), found(Api::AnthropicCountTokens, "")),
            (
                "/model/us.anthropic.claude-x-v2%3A0/invoke",
                found(Api::AnthropicInBedrock { stream: false }, "us.anthropic.claude-x-v2:0"),
            ),
            ("/model/meta.llama3/invoke", None),
            ("/v1/messages/batches", None),
            ("/v1/messages/batches/id/results", None),
            ("/messages/?session_id=1", None),
            ("/v1/threads/thread_1/messages", None),
            (&*format!("{vertex}/claude-x:predict"), None),
        ] {
            assert_eq!(read(target), expected, "{target}");
        }
    }

    #[test]
    fn bedrock_names_its_model_in_the_path() {
        let read = |target| path(target).and_then(|path| model("POST", path));
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova";
        let bare = format!("/model/{arn}/converse");
        for (target, stream, model) in [
            ("/model/us.amazon.nova-lite-v1%3A0/converse", false, "us.amazon.nova-lite-v1:0"),
            ("/model/amazon.nova:0/converse-stream/", true, "amazon.nova:0"),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.amazon.nova/converse",
                false,
                arn,
            ),
            (&bare, false, arn),
            ("/model/100%/converse", false, "100%"),
        ] {
            let expected = (Api::BedrockConverse { stream }, Some(model.into()));
            assert_eq!(read(target), Some(expected), "{target}");
        }
        for target in
            ["/converse", "/model//converse", "/model/%ff/converse", "/model/m/count-tokens"]
        {
            assert_eq!(read(target), None, "{target}");
        }
        assert_eq!(model("GET", "/model/m/converse"), None);
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
