//! That a call was ended before its answer was, as `turnpike trace --json` shows it.

use serde::{Deserialize, Serialize};

use super::{Micros, Timestamp};

/// How a call was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub cause: CancelCause,
    /// As its client was told; absent where the client left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub requested_at: Timestamp,
    /// From then until upstream was told: its connection closed, or its stream reset. Absent where its answer
    /// was read on, for a try that asks the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_closed_ms: Option<Micros>,
    /// Bytes of its answer that were read in between.
    pub bytes_after_cancel: u64,
    /// Whether the model may have gone on for all that: what answers in one piece need not notice that
    /// its client has left. Absent where no model was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_may_continue: Option<bool>,
    /// How upstream was told. Absent in records of gateways that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_told: Option<UpstreamTold>,
    /// From then until it was over here: its connection let go, and what it held settled. Absent where its
    /// answer was read on, and in records of gateways that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup_ms: Option<Micros>,
    /// What came of the gateway's own request that it be ended; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_request: Option<CancelRequest>,
}

/// How upstream was told that nobody wants its answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamTold {
    /// Not at all: nobody waited for it at the time.
    None,
    /// Its connection was closed.
    Closed,
    /// Its stream on the connection was reset.
    Reset,
    /// By a request of the gateway's own, whatever else was done.
    CancelRequest,
}

/// What came of a request of the gateway's own that a call be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    pub outcome: CancelOutcome,
    /// Of its answer, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From when the call was told to end until this was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<Micros>,
}

/// How such a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelOutcome {
    /// It is under way.
    Pending,
    /// The server took it (2xx).
    Acknowledged,
    /// The server knows no such call any more (404, 410).
    Unknown,
    /// The server did not take it.
    Refused,
    /// There was no answer, or nobody to ask.
    Failed,
}

impl CancelRequest {
    pub const PENDING: Self =
        Self { outcome: CancelOutcome::Pending, status: None, after_ms: None };
}

impl CancelOutcome {
    /// By the status of the answer.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            200..300 => Self::Acknowledged,
            404 | 410 => Self::Unknown,
            _ => Self::Refused,
        }
    }
}

impl Cancel {
    /// That is what came of the gateway's own request.
    pub fn requested(&mut self, request: CancelRequest) {
        self.cancel_request = Some(request);
        if request.outcome == CancelOutcome::Acknowledged && self.generation_may_continue.is_some()
        {
            self.generation_may_continue = Some(false);
        }
    }
}

/// Who, or what, ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// Somebody killed it, or what it is a part of.
    Kill,
    /// What it is a part of has spent what it may.
    Budget,
    /// It has lasted as long as it may.
    Deadline,
    /// It was made over and over again.
    Loop,
    /// A rule.
    Policy,
    /// Its client left: the process, or the connection.
    ClientGone,
    /// The tool call that it was made for was cancelled before its answer.
    ParentCancelled,
    /// Its agent had exited: nobody was left to wait for it.
    AgentExited,
    /// The gateway ended.
    GatewayEnding,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cancel() -> Cancel {
        let before = r#"{"cause":"kill","requested_at":"2023-11-14T22:13:20Z","upstream_closed_ms":1.0,"bytes_after_cancel":0,"generation_may_continue":true}"#;
        serde_json::from_str(before).expect("as gateways wrote it before they asked")
    }

    #[test]
    fn only_a_server_that_agrees_stops() {
        for (status, outcome, goes_on) in [
            (200, CancelOutcome::Acknowledged, false),
            (202, CancelOutcome::Acknowledged, false),
            (404, CancelOutcome::Unknown, true),
            (400, CancelOutcome::Refused, true),
            (503, CancelOutcome::Refused, true),
        ] {
            let mut cancel = cancel();
            assert_eq!((cancel.upstream_told, cancel.cancel_request), (None, None));
            assert_eq!(CancelOutcome::of(status), outcome);
            let request = CancelRequest { outcome, status: Some(status), after_ms: None };
            cancel.requested(request);
            assert_eq!(cancel.generation_may_continue, Some(goes_on), "{status}");
            assert_eq!(cancel.cancel_request, Some(request));
        }
        let mut of_tool = Cancel { generation_may_continue: None, ..cancel() };
        let outcome = CancelOutcome::Acknowledged;
        of_tool.requested(CancelRequest { outcome, status: Some(202), after_ms: None });
        assert_eq!(of_tool.generation_may_continue, None);
    }
}
