//! APIs of model providers that cost, and whose cost is not read: by method and path, as data.
//!
//! Agents also talk to servers that have nothing to do with models, and a path such as `/files` is
//! anybody's. So there are two kinds of entries. Paths that nobody else has (`/fine_tuning/jobs`,
//! `:batchGenerateContent`) count on any host. Paths that others may have as well count only if
//! the request is one to a model provider: its host is one, or its client is one of the SDKs that
//! were generated for them, which say how often they have tried (`x-stainless-retry-count`).
//!
//! Paths are compared by their end, with any one segment for `*`, since self-hosted servers put
//! them under any prefix. Reading (GET, HEAD) and deleting cost nothing, unless it opens a
//! WebSocket to a realtime model.

use super::RequestInfo;
use crate::call::Unmetered;

/// Why it can't be told what the exchange costs, if it is of an API of that kind. An exchange that
/// [`detect`](super::detect) knows as a model's is not asked about.
#[must_use]
pub fn unmetered(request: &RequestInfo<'_>) -> Option<Unmetered> {
    let path = request.target.split(['?', '#']).next().unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    let writes = matches!(request.method, "POST" | "PUT" | "PATCH");
    let found = APIS.iter().find(|api| {
        (if api.is_read { request.method == "GET" } else { writes })
            && (!api.is_shared || is_of_provider(request))
            && ends_with(path, api.path)
    });
    found.map(|api| api.reason)
}

struct Api {
    path: &'static str,
    reason: Unmetered,
    /// Others have such paths as well.
    is_shared: bool,
    /// It is begun by GET.
    is_read: bool,
}

const fn own(path: &'static str, reason: Unmetered) -> Api {
    Api { path, reason, is_shared: false, is_read: false }
}

const fn shared(path: &'static str, reason: Unmetered) -> Api {
    Api { is_shared: true, ..own(path, reason) }
}

/// Paths begin at a slash or, in Google's style, at a colon in the last segment.
const APIS: &[Api] = &[
    // Batches: OpenAI, Anthropic, Google.
    own("/messages/batches", Unmetered::Batch),
    own("/messages/batches/*/cancel", Unmetered::Batch),
    own(":batchGenerateContent", Unmetered::Batch),
    own(":asyncBatchEmbedContent", Unmetered::Batch),
    own("/batchPredictionJobs", Unmetered::Batch),
    own("/model-invocation-job", Unmetered::Batch),
    shared("/batches", Unmetered::Batch),
    // What was handed over can be named in a later call, which then has more in it than it shows.
    own("/upload/v1beta/files", Unmetered::Files),
    own("/upload/v1/files", Unmetered::Files),
    own("/vector_stores", Unmetered::Files),
    own("/vector_stores/*/files", Unmetered::Files),
    own("/vector_stores/*/file_batches", Unmetered::Files),
    own("/vector_stores/*/search", Unmetered::OtherApi),
    own("/fileSearchStores", Unmetered::Files),
    own(":uploadToFileSearchStore", Unmetered::Files),
    own("/cachedContents", Unmetered::Files),
    shared("/files", Unmetered::Files),
    shared("/uploads", Unmetered::Files),
    shared("/uploads/*/parts", Unmetered::Files),
    shared("/uploads/*/complete", Unmetered::Files),
    // Audio, images, video.
    own("/audio/speech", Unmetered::OtherApi),
    own("/audio/transcriptions", Unmetered::OtherApi),
    own("/audio/translations", Unmetered::OtherApi),
    own("/images/generations", Unmetered::OtherApi),
    own("/images/edits", Unmetered::OtherApi),
    own("/images/variations", Unmetered::OtherApi),
    own(":predictLongRunning", Unmetered::OtherApi),
    shared(":predict", Unmetered::OtherApi),
    shared("/videos", Unmetered::OtherApi),
    shared("/videos/*/remix", Unmetered::OtherApi),
    // Realtime.
    own("/realtime/sessions", Unmetered::OtherApi),
    own("/realtime/client_secrets", Unmetered::OtherApi),
    own("/realtime/transcription_sessions", Unmetered::OtherApi),
    own("/realtime/calls", Unmetered::OtherApi),
    Api { is_read: true, ..shared("/realtime", Unmetered::OtherApi) },
    Api { is_read: true, ..own(".GenerativeService.BidiGenerateContent", Unmetered::OtherApi) },
    // Fine-tuning.
    own("/fine_tuning/jobs", Unmetered::OtherApi),
    own("/fine_tuning/jobs/*/resume", Unmetered::OtherApi),
    own("/fine_tuning/alpha/graders/run", Unmetered::OtherApi),
    shared("/fine-tunes", Unmetered::OtherApi),
    shared("/tunedModels", Unmetered::OtherApi),
    own("/model-customization-jobs", Unmetered::OtherApi),
    // Assistants: what a run costs is told only when it is over, in answers to other requests.
    own("/threads/*/runs", Unmetered::OtherApi),
    own("/threads/runs", Unmetered::OtherApi),
    own("/threads/*/runs/*/submit_tool_outputs", Unmetered::OtherApi),
    shared("/threads", Unmetered::OtherApi),
    shared("/threads/*/messages", Unmetered::OtherApi),
    shared("/assistants", Unmetered::OtherApi),
    // Containers and evaluations, which run for minutes and more.
    shared("/containers", Unmetered::OtherApi),
    shared("/containers/*/files", Unmetered::Files),
    shared("/evals/*/runs", Unmetered::OtherApi),
    shared("/moderations", Unmetered::OtherApi),
];

/// Hosts of model providers, each with all below it.
const PROVIDERS: &[&str] = &[
    "api.openai.com",
    "openai.azure.com",
    "services.ai.azure.com",
    "cognitiveservices.azure.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "api.mistral.ai",
    "api.groq.com",
    "api.together.xyz",
    "api.together.ai",
    "api.fireworks.ai",
    "api.deepseek.com",
    "api.x.ai",
    "api.cohere.com",
    "api.cohere.ai",
    "api.perplexity.ai",
    "api.cerebras.ai",
    "openrouter.ai",
    "integrate.api.nvidia.com",
    "router.huggingface.co",
];

fn is_of_provider(request: &RequestInfo<'_>) -> bool {
    request.client_retry.is_some() || request.host.is_some_and(is_provider)
}

fn is_provider(host: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    PROVIDERS.iter().any(|provider| {
        let start = host.len().checked_sub(provider.len());
        let (before, end) = start.and_then(|at| host.split_at_checked(at)).unwrap_or_default();
        end.eq_ignore_ascii_case(provider) && (before.is_empty() || before.ends_with('.'))
    })
}

/// Whether the path ends in the pattern.
fn ends_with(path: &str, pattern: &str) -> bool {
    let Some(segments) = pattern.strip_prefix('/') else { return path.ends_with(pattern) };
    let mut rest = path.rsplit('/');
    let mut wanted = segments.rsplit('/');
    let fits = wanted.all(|wanted| {
        rest.next().is_some_and(|segment| wanted == segment || wanted == "*" && !segment.is_empty())
    });
    // What comes before begins with the slash of the pattern.
    fits && rest.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(method: &str, host: Option<&str>, target: &str) -> Option<Unmetered> {
        unmetered(&RequestInfo {
            method,
            target,
            host,
            content_type: Some("application/json"),
            content_encoding: None,
            content_length: None,
            client_retry: None,
            signals: &[],
        })
    }

    #[test]
    fn paths_that_only_providers_have_count_everywhere() {
        for (target, expected) in [
            ("/v1/messages/batches", Unmetered::Batch),
            ("/v1/messages/batches/?beta=true", Unmetered::Batch),
            ("/v1beta/models/gemini-2.5-flash:batchGenerateContent", Unmetered::Batch),
            ("/upload/v1beta/files?uploadType=resumable", Unmetered::Files),
            ("/v1/vector_stores/vs_1/files", Unmetered::Files),
            ("/proxy/openai/v1/audio/speech", Unmetered::OtherApi),
            ("/v1/images/generations", Unmetered::OtherApi),
            ("/v1/threads/thread_1/runs", Unmetered::OtherApi),
            ("/openai/fine_tuning/jobs?api-version=1", Unmetered::OtherApi),
        ] {
            assert_eq!(reason("POST", Some("llm.internal"), target), Some(expected), "{target}");
            assert_eq!(reason("GET", Some("llm.internal"), target), None, "{target}");
        }
    }

    #[test]
    fn paths_that_others_have_too_count_with_providers_only() {
        for (target, expected) in [
            ("/v1/files", Unmetered::Files),
            ("/v1/uploads/upload_1/parts", Unmetered::Files),
            ("/v1/batches", Unmetered::Batch),
            ("/v1/threads", Unmetered::OtherApi),
        ] {
            for host in ["api.openai.com", "API.OpenAI.com:443", "x.openai.azure.com"] {
                assert_eq!(reason("POST", Some(host), target), Some(expected), "{host} {target}");
            }
            for host in ["files.example.com", "api.openai.com.evil.test", "notapi.openai.com", ""] {
                assert_eq!(reason("POST", Some(host), target), None, "{host} {target}");
            }
            assert_eq!(reason("POST", None, target), None, "{target}");
            assert_eq!(reason("DELETE", Some("api.openai.com"), target), None, "{target}");
        }
        let of_sdk = RequestInfo {
            method: "POST",
            target: "/v1/files",
            host: Some("llm.internal"),
            content_type: None,
            content_encoding: None,
            content_length: None,
            client_retry: Some(0),
            signals: &[],
        };
        assert_eq!(unmetered(&of_sdk), Some(Unmetered::Files));
    }

    #[test]
    fn realtime_is_begun_by_a_websocket() {
        let openai = Some("api.openai.com");
        let expected = Some(Unmetered::OtherApi);
        assert_eq!(reason("GET", openai, "/v1/realtime?model=gpt-realtime"), expected);
        assert_eq!(reason("GET", Some("a.test"), "/v1/realtime"), None);
    }

    #[test]
    fn a_path_ends_in_whole_segments() {
        for target in ["/v1/myfiles", "/files/1", "/v1/files/content", "files", "/v1//runs", ""] {
            assert_eq!(reason("POST", Some("api.openai.com"), target), None, "{target}");
        }
    }
}
