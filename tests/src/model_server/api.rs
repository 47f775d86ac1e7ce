//! The APIs that the server speaks, and what they say in places of their own.

use http::{Method, Uri};
use serde_json::{Value, json};

/// What a POST asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Messages,
    CountTokens,
    /// Its path says what others' bodies say.
    Gemini {
        model: String,
        stream: bool,
        events: bool,
        counts: bool,
    },
    OllamaChat,
    OllamaGenerate,
}

impl Api {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        Some(match uri.path() {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/embeddings" => Self::Embeddings,
            RESPONSES => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/api/chat" => Self::OllamaChat,
            "/api/generate" => Self::OllamaGenerate,
            path => {
                let (_, rest) = path.split_once("/models/")?;
                let (model, verb) = rest.split_once(':')?;
                let stream = verb == "streamGenerateContent";
                let counts = verb == "countTokens";
                if !(stream || counts || verb == "generateContent") {
                    return None;
                }
                let query = uri.query().unwrap_or_default();
                let events = query.split('&').any(|parameter| parameter == "alt=sse");
                Self::Gemini { model: model.to_owned(), stream, events, counts }
            }
        })
    }

    /// The model that is asked for.
    pub(super) fn model<'a>(&'a self, request: &'a Value) -> &'a str {
        match self {
            Self::Gemini { model, .. } => model,
            _ => request["model"].as_str().unwrap_or("scripted-1"),
        }
    }

    /// Whether the answer is to come as a stream.
    pub(crate) fn streams(&self, request: &Value) -> bool {
        match self {
            Self::Gemini { stream, .. } => *stream,
            Self::OllamaChat | Self::OllamaGenerate => request["stream"] != false,
            _ => request["stream"] == true,
        }
    }

    /// The most tokens of an answer, as the request has it.
    pub(super) fn max_output(&self, request: &Value) -> Option<u64> {
        let fields = match self {
            Self::Gemini { .. } => ["/generationConfig/maxOutputTokens"].as_slice(),
            Self::OllamaChat | Self::OllamaGenerate => &["/options/num_predict"],
            Self::Responses => &["/max_output_tokens"],
            _ => &["/max_completion_tokens", "/max_tokens"],
        };
        fields.iter().find_map(|field| request.pointer(field)?.as_u64())
    }

    /// Whether an answer has an id.
    pub(super) fn has_ids(&self) -> bool {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => true,
            Self::Gemini { counts, .. } => !counts,
            Self::Embeddings | Self::CountTokens | Self::OllamaChat | Self::OllamaGenerate => false,
        }
    }

    /// How the id of an answer begins.
    pub(super) fn id_prefix(&self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl-",
            Self::Completions => "cmpl-",
            Self::Responses => "resp_",
            Self::Messages => "msg_",
            _ => "",
        }
    }

    /// How the id of a tool call begins.
    pub(crate) fn call_prefix(&self) -> &'static str {
        match self {
            Self::Messages => "toolu_",
            _ => "call_",
        }
    }

    /// What an error looks like.
    pub(crate) fn error(&self, status: u16, message: &str) -> Value {
        match self {
            Self::Messages | Self::CountTokens => {
                let kind = match status {
                    429 => "rate_limit_error",
                    529 => "overloaded_error",
                    500.. => "api_error",
                    _ => "invalid_request_error",
                };
                json!({"type": "error", "error": {"type": kind, "message": message},
                       "request_id": "req_scripted"})
            }
            Self::Gemini { .. } => {
                let name = match status {
                    429 => "RESOURCE_EXHAUSTED",
                    500.. => "UNAVAILABLE",
                    _ => "INVALID_ARGUMENT",
                };
                json!({"error": {"code": status, "message": message, "status": name}})
            }
            Self::OllamaChat | Self::OllamaGenerate => json!({"error": message}),
            _ => openai_error(status, message),
        }
    }
}

/// In the form that the API's reference gives under "Error codes".
pub(super) fn openai_error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        429 => ("requests", "rate_limit_exceeded".into()),
        500.. => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

pub(super) const RESPONSES: &str = "/v1/responses";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_says_in_its_own_words_how_long_an_answer_may_be() {
        let gemini =
            Api::of(&Method::POST, &"/v1/models/m:generateContent".parse().expect("a path"));
        for (api, request) in [
            (Api::Chat, json!({"max_tokens": 7})),
            (Api::Chat, json!({"max_tokens": 9, "max_completion_tokens": 7})),
            (Api::Messages, json!({"max_tokens": 7})),
            (Api::Responses, json!({"max_output_tokens": 7})),
            (Api::OllamaChat, json!({"options": {"num_predict": 7}})),
            (gemini.expect("it is known"), json!({"generationConfig": {"maxOutputTokens": 7}})),
        ] {
            assert_eq!(api.max_output(&request), Some(7), "{api:?}");
            assert_eq!(api.max_output(&json!({"max": 7})), None, "{api:?}");
        }
    }

    #[test]
    fn googles_paths_say_the_model_and_how_it_is_to_answer() {
        let of = |path: &str| Api::of(&Method::POST, &path.parse().expect("a path"));
        let gemini = |stream, events, counts| {
            Some(Api::Gemini { model: "m".into(), stream, events, counts })
        };
        assert_eq!(of("/v1/models/m:generateContent"), gemini(false, false, false));
        assert_eq!(of("/v1beta/models/m:streamGenerateContent"), gemini(true, false, false));
        let events = of("/v1beta/models/m:streamGenerateContent?key=k&alt=sse");
        assert_eq!(events, gemini(true, true, false));
        assert_eq!(of("/v1beta/models/m:countTokens"), gemini(false, false, true));
        assert_eq!(of("/v1beta/models/m:batchGenerateContent"), None);
        assert_eq!(Api::of(&Method::GET, &"/v1/chat/completions".parse().expect("a path")), None);
    }
}
