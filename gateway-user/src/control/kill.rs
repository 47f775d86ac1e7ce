//! Kills, as the control API asks for them and tells of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    call::{Holder, Name, SessionId, Timestamp},
    cancel::Kill,
};

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", content = "id", rename_all = "lowercase")]
pub enum Victim {
    /// The workflow whose id begins so.
    Workflow(String),
    Session(SessionId),
    Agent(Name),
    Tenant(Name),
    /// Everything that this gateway holds.
    Node,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    pub victim: Victim,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether its processes are to be ended too.
    #[serde(default)]
    pub signal: bool,
    /// How long to wait for silence.
    pub timeout_ms: u64,
}

impl KillRequest {
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// What a kill came to. A time that is absent is of something that there was not to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillReport {
    pub holder: Holder,
    pub received_at: Timestamp,
    /// When it was on the disk. Absent: a gateway inside a `turnpike run` keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted_at: Option<Timestamp>,
    /// When the kernel refused all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_at: Option<Timestamp>,
    /// When everything under way had been told to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// When the last of what was under way was let go: nothing of upstream's was read after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_upstream_byte_at: Option<Timestamp>,
    /// Whether nothing of it moves any more.
    pub silent: bool,
    /// When that was so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_at: Option<Timestamp>,
    /// Calls that were under way.
    pub streams_cut: u64,
    pub sockets_destroyed: u64,
    /// Processes that were ended.
    pub processes_signalled: u64,
    /// What this does not reach, and why.
    pub not_covered: Vec<String>,
}

impl KillReport {
    /// Of a kill of which nothing has come yet.
    #[must_use]
    pub const fn new(holder: Holder, received_at: Timestamp) -> Self {
        Self {
            holder,
            received_at,
            persisted_at: None,
            denied_at: None,
            cancelled_at: None,
            last_upstream_byte_at: None,
            silent: false,
            silent_at: None,
            streams_cut: 0,
            sockets_destroyed: 0,
            processes_signalled: 0,
            not_covered: Vec::new(),
        }
    }
}

/// Who goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revived {
    pub holder: Holder,
    /// The kill that was in force. Absent: it was a budget that had stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<Kill>,
    /// Whether a budget had stopped it, and does so again only where it still does not fit.
    pub resumed: bool,
}

/// Whose kill is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviveRequest {
    pub victim: Victim,
}
