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
    /// From then until upstream was told: its connection closed, or its stream reset.
    pub upstream_closed_ms: Micros,
    /// Bytes of its answer that were read in between.
    pub bytes_after_cancel: u64,
    /// Whether the model may have gone on for all that: what answers in one piece need not notice that
    /// its client has left. Absent where no model was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_may_continue: Option<bool>,
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
    /// The gateway ended.
    GatewayEnding,
}
