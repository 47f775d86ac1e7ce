//! Which API an exchange speaks, by its method, path and shape, and never by its host alone: agents
//! are pointed at any server that speaks it, under any prefix.

use super::{
    Observer, RequestInfo,
    model::{Api, ModelExchange},
};
use crate::call::Name;

/// Reads the exchange, if it speaks an API that is known. `None`: other traffic.
#[must_use]
pub fn detect(request: &RequestInfo<'_>) -> Option<Observer> {
    let path = path(request.target)?;
    let (api, model) = model(request.method, path)?;
    Some(Observer::Model(Box::new(ModelExchange::new(api, model, request))))
}

/// The API of a model that is asked under this path, and the model if the path names it.
fn model(method: &str, path: &str) -> Option<(Api, Option<Name>)> {
    if method != "POST" {
        return None;
    }
    let ends = |end: &str| path.ends_with(end);
    match () {
        () if ends("/chat/completions") => Some((Api::OpenaiChat, None)),
        // Not `/messages` alone: many who speak other APIs have that.
        () if ends("/v1/messages") => Some((Api::AnthropicMessages, None)),
        () if ends("/v1/messages/count_tokens") => Some((Api::AnthropicCountTokens, None)),
        () => vertex(path).or_else(|| bedrock(path)),
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
}
