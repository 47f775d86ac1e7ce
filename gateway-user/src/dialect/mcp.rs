//! Model Context Protocol over HTTP: Streamable HTTP at revisions 2025-03-26, 2025-06-18,
//! 2025-11-25 and 2026-07-28, and the transport before it, HTTP with server-sent events
//! (2024-11-05). How its messages travel is the business of [`rpc`](super::rpc).
//!
//! Sources: the schemas and the transports' chapters of these revisions, and the Python SDK 2.3.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::from_slice;

use super::{
    NotUnderstood,
    canonical::Json,
    json::{Label, Maybe, Text, given},
    rpc::{Id, Purpose},
};
use crate::{
    call::{Answer, Dialect, Invocation, Name, Operation, Signal},
    limits,
};

/// What a method of the protocol is for, in any revision and from either side.
pub(super) fn purpose(method: &str) -> Option<Purpose> {
    match method {
        "tools/call" => Some(Purpose::Tool),
        "notifications/cancelled" => Some(Purpose::Cancel),
        _ => METHODS.iter().find(|known| **known == method).map(|known| Purpose::Protocol(known)),
    }
}

/// The protocol's other methods.
const METHODS: &[&str] = &[
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "roots/list",
    "sampling/createMessage",
    "elicitation/create",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/update",
    "tasks/cancel",
    "notifications/initialized",
    "notifications/progress",
    "notifications/message",
    "notifications/roots/list_changed",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
];

/// What a `tools/call` asks, and whether it is to be done as a task.
pub(super) fn invocation(params: &[u8], id: &Id) -> Result<(Invocation, bool), NotUnderstood> {
    let params: CallParams<'_> = from_slice(params)?;
    let name = given(Some(&params.name)).ok_or(NotUnderstood::NotThisShape)?;
    if name.len() > limits::SIGNAL_BYTES {
        return Err(NotUnderstood::TooLarge);
    }
    let meta = params.meta.and_then(Maybe::known).unwrap_or_default();
    let signals = [
        ("body.params._meta.traceparent", meta.traceparent),
        ("body.params._meta.progressToken", meta.progress_token),
    ];
    let signals = signals.into_iter().filter_map(|(name, label)| label?.signal(name)).collect();
    let invocation = Invocation {
        dialect: Dialect::Mcp,
        operation: Operation::ExecuteTool,
        tool: Some(Name::shared(name)),
        // No arguments are none, as models write them.
        arguments: Some(params.arguments.unwrap_or_else(|| Json::in_text("")).get()),
        rpc_id: id.text.clone(),
        signals,
    };
    Ok((invocation, params.task.is_some()))
}

/// The request that a `notifications/cancelled` is about.
pub(super) fn cancelled(params: &[u8]) -> Result<Option<Id>, NotUnderstood> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        request_id: Option<Json>,
    }
    let params: Params = from_slice(params)?;
    Ok(params.request_id.map(|id| Id { hash: id.get(), text: None }))
}

/// What the result of a `tools/call` says: that it is done; that the server wants more of the client
/// first (`input_required`); or that a task does it.
pub(super) fn answer(result: &[u8]) -> Result<Answer, NotUnderstood> {
    let result: CallResult<'_> = from_slice(result)?;
    let task = result.task.and_then(Maybe::known);
    let default = if task.is_some() { "task" } else { "complete" };
    let finish = given(result.result_type.as_ref()).unwrap_or(default);
    let failed = result.is_error.unwrap_or(false);
    Ok(Answer {
        finish_reasons: vec![Name::shared(finish)],
        // As the OpenTelemetry conventions call it (`error.type`).
        error: failed.then(|| Name::shared("tool_error")),
        response_id: task.and_then(|task| given(task.task_id.as_ref()).map(str::to_owned)),
        complete: true,
        ..Answer::default()
    })
}

#[derive(Deserialize)]
struct CallParams<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    arguments: Option<Json>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Maybe<Meta<'a>>>,
    task: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    traceparent: Option<Label<'a>>,
    #[serde(borrow)]
    progress_token: Option<Label<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallResult<'a> {
    is_error: Option<bool>,
    #[serde(borrow)]
    result_type: Option<Text<'a>>,
    #[serde(borrow)]
    task: Option<Maybe<Task<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    #[serde(borrow)]
    task_id: Option<Text<'a>>,
}

impl Label<'_> {
    /// What it says, under this name, unless it is too long or nothing.
    pub(super) fn signal(&self, name: &'static str) -> Option<Signal> {
        let value = self.text()?;
        (value.len() <= limits::SIGNAL_BYTES).then_some(Signal { name, value })
    }
}
