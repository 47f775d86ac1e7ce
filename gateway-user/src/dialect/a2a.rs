//! A2A over JSON-RPC: another agent is given a message, and answers with a message of its own, or
//! with a task, at once or in events. The names of methods of version 1.0 (those of its gRPC
//! service), of 0.3 and of what was before. Where both call a method the same, it is MCP's: they
//! carry no calls there.
//!
//! Sources: the specification's sections on the JSON-RPC binding, and the Python SDK 1.3 with its
//! compatibility layer for 0.3.

use serde::Deserialize;
use serde_json::from_slice;

use super::{
    NotUnderstood,
    json::{Label, Maybe, Text, UpTo, given},
    rpc::{Id, Purpose},
};
use crate::{
    call::{Answer, Dialect, Invocation, Name, Operation, Signal},
    limits,
};

/// What a method of the protocol is for.
pub(super) fn purpose(method: &str) -> Option<Purpose> {
    match method {
        "message/send"
        | "message/stream"
        | "SendMessage"
        | "SendStreamingMessage"
        | "tasks/send"
        | "tasks/sendSubscribe" => Some(Purpose::Agent),
        _ => METHODS.iter().find(|known| **known == method).map(|known| Purpose::Protocol(known)),
    }
}

/// The protocol's other methods.
const METHODS: &[&str] = &[
    "tasks/resubscribe",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "tasks/pushNotification/set",
    "tasks/pushNotification/get",
    "agent/getAuthenticatedExtendedCard",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
    "GetExtendedAgentCard",
];

/// What a message to another agent asks.
pub(super) fn invocation(params: &[u8], id: &Id) -> Result<Invocation, NotUnderstood> {
    let params: Params<'_> = from_slice(params)?;
    let message = params.message.known().ok_or(NotUnderstood::NotThisShape)?;
    let named = [
        ("body.params.message.contextId", message.context_id),
        ("body.params.message.taskId", message.task_id),
        ("body.params.message.messageId", message.message_id),
    ];
    let named = named.into_iter().filter_map(|(name, label)| Some((name, label?)));
    let references = message.reference_task_ids.0.into_iter();
    let references = references.map(|label| ("body.params.message.referenceTaskIds", label));
    let signals: Vec<Signal> =
        named.chain(references).filter_map(|(name, label)| label.signal(name)).collect();
    Ok(Invocation {
        dialect: Dialect::A2a,
        operation: Operation::InvokeAgent,
        tool: None,
        arguments: None,
        rpc_id: id.text.clone(),
        signals,
    })
}

/// What a result, or one of a stream of them, adds to the answer: the task, or the message, and where
/// the task stands.
pub(super) fn add(answer: &mut Answer, result: &[u8]) -> Result<(), NotUnderstood> {
    let wrapped: Wrapped<'_> = from_slice(result)?;
    let inner = [wrapped.task, wrapped.status_update, wrapped.artifact_update, wrapped.message];
    let inner = inner.into_iter().flatten().find_map(Maybe::known);
    let Bare { id, task_id, message_id, status } = match inner {
        Some(inner) => inner,
        // As up to 0.3.
        None => from_slice(result)?,
    };
    let is_message = message_id.is_some();
    let named = [task_id, id, message_id].into_iter().flatten().find_map(|label| label.text());
    let named = named.filter(|id| id.len() <= limits::SIGNAL_BYTES);
    answer.response_id = answer.response_id.take().or(named);
    let status = status.and_then(Maybe::known);
    let state = status.as_ref().and_then(|status| given(status.state.as_ref()));
    // A task goes through states: the last one holds.
    if let Some(state) = state.or(is_message.then_some("message")) {
        answer.finish_reasons = vec![Name::shared(state)];
        let failed =
            ["failed", "FAILED", "rejected", "REJECTED"].iter().any(|end| state.ends_with(end));
        answer.error = failed.then(|| Name::shared(state));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    message: Maybe<Message<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
struct Message<'a> {
    #[serde(borrow)]
    context_id: Option<Label<'a>>,
    #[serde(borrow)]
    task_id: Option<Label<'a>>,
    #[serde(borrow)]
    message_id: Option<Label<'a>>,
    #[serde(borrow, default)]
    reference_task_ids: UpTo<{ limits::SIGNALS_PER_CALL }, Label<'a>>,
}

/// A result, as version 1.0 writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped<'a> {
    #[serde(borrow)]
    task: Option<Maybe<Bare<'a>>>,
    #[serde(borrow)]
    message: Option<Maybe<Bare<'a>>>,
    #[serde(borrow)]
    status_update: Option<Maybe<Bare<'a>>>,
    #[serde(borrow)]
    artifact_update: Option<Maybe<Bare<'a>>>,
}

/// A task, a message, or what has become new of a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bare<'a> {
    #[serde(borrow)]
    id: Option<Label<'a>>,
    #[serde(borrow)]
    task_id: Option<Label<'a>>,
    #[serde(borrow)]
    message_id: Option<Label<'a>>,
    #[serde(borrow)]
    status: Option<Maybe<Status<'a>>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    state: Option<Text<'a>>,
}
