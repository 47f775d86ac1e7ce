//! What the control API says and hears, as JSON.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use gateway_common::{Counter, Counters};
use serde::{Deserialize, Serialize};

use super::text;
use crate::{
    authority::Certificate,
    call::{State, Timestamp, Unmetered},
    config::{Asked, Decrypt, Mode},
};

pub use crate::config::Existing;

/// The gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    /// Names this run of the gateway, in hex.
    pub boot_id: String,
    /// Whether agents can be attached.
    pub ready: bool,
    /// Whether this is the gateway inside a `turnpike run`, not the daemon.
    pub embedded: bool,
    pub version: String,
    pub started_at: Timestamp,
    /// How many agents there are.
    pub agents: usize,
    /// What the gateway could not keep or place, by name; zeros left out.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Every bound that is counted when it is hit.
    #[serde(default)]
    pub bounds: Vec<Bound>,
    /// The egress rules in their order, and how often each decided.
    #[serde(default)]
    pub egress: Vec<EgressRule>,
    /// How good the estimates are of what calls spent that did not say it.
    #[serde(default)]
    pub estimates: Estimates,
    /// Running containers that no rule matches, by name: the first so many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unattached: Vec<String>,
    /// Where what is spent of budgets is kept. Absent: it ends with the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Kept>,
}

/// Where what is spent is kept, and whether it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub directory: PathBuf,
    /// Bytes of the journal that is written.
    pub journal_bytes: u64,
    /// Records that could not be written when they should have been.
    pub unwritten: u64,
    /// What is wrong, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Calls whose usage nobody reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimates {
    /// How many were estimated.
    pub calls: u64,
    /// Of these, by their size alone.
    pub by_size: u64,
    /// The models with whose reports estimates were compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<EstimatedModel>,
}

/// How good the estimates of a model's usage are, as calls show that did report it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimatedModel {
    /// As clients ask for it.
    pub model: String,
    pub input: Accuracy,
    pub output: Accuracy,
}

/// What a comparison of estimates with reports came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Calls that were compared, each before it was learned from.
    pub samples: u64,
    /// The mean of by how much estimates were off, up or down, in thousandths of what was reported.
    pub error_permille: u64,
}

/// A bound, and how often it was hit since the gateway started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// As `[limits]` of the configuration has it, where it can be changed there.
    pub name: String,
    /// Absent: it is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    pub unit: Unit,
    /// How much of it is used now; of a bound per agent, by the agent that uses most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<u64>,
    pub hits: u64,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Count,
    Bytes,
    Ms,
}

/// An egress rule, and the connections on which it decided since the gateway started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressRule {
    /// In short.
    pub rule: String,
    /// It let them stay unread.
    pub allowed: u64,
    /// It refused them (enforce).
    pub denied: u64,
    /// It would have refused them (audit).
    pub would_deny: u64,
    /// They carried as many bytes as it allows: reset in enforce mode.
    pub exceeded: u64,
}

/// What an agent was refused for want of an egress rule, or by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressRefused {
    /// The rule that would allow it, as it is written in `[[egress]]`.
    pub allow: String,
    pub connections: u64,
}

/// Exchanges of an agent that make no calls that are known, of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherTraffic {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub method: String,
    /// With `{id}` for segments that look like ids.
    pub path: String,
    /// The method of MCP or A2A that they are, if they are; `stream`: a server's own; `response`: a
    /// client's answer to it; `end`: of a session; `other`: a method that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_method: Option<String>,
    /// Why it can't be told what they cost, if they cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmetered: Option<Unmetered>,
    pub exchanges: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// The last one's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// One agent, and how much of what it does is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    pub name: String,
    pub mode: Mode,
    /// Whether its TLS connections to listed hosts are opened.
    #[serde(default)]
    pub decrypt: Decrypt,
    /// The path below the cgroup2 mount, from `/`.
    pub cgroup: String,
    /// The inode number of the cgroup's directory.
    pub cgroup_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What its container was called when that was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `command`, or the number of a rule in the configuration: `rule 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_by: Option<String>,
    /// How long its processes had been running, at most, when a rule attached it: what they did
    /// before was not seen. Absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
    pub state: AgentState,
    /// The gateway that holds the agent; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_at: Option<Timestamp>,
    /// Whether a connect of the gateway's own, made in the agent's place, reached the gateway;
    /// absent before one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    #[serde(default)]
    pub coverage: Coverage,
    /// What of its traffic makes no calls that are known, with most exchanges first: the first kinds,
    /// and in one line, with `*` for its path, all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<OtherTraffic>,
    /// What it was refused (enforce): the first destinations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress_refused: Vec<EgressRefused>,
    /// Files of certificates to which this node's CA is added for it, as its containers have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<PathBuf>,
    /// What of it is not decrypted that should be, why, and what would help, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecrypted: Vec<String>,
    /// What opens ways out of it that can't be closed from here, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// A live gateway sees its connections.
    Attached,
    /// Its gateway is dead; what that one pinned in the kernel remains.
    Pinned,
    /// It may not connect anywhere.
    Killed,
}

/// What a self-test found out about an agent's redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Redirect {
    /// It works in every network namespace in which it was tested.
    Ok,
    /// It does not, in one of them.
    Failed { why: String },
}

/// What of an agent's traffic was understood, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    /// Connections whose exchanges were read.
    pub connections_observed: u64,
    /// Connections that were forwarded without being understood.
    pub connections_opaque: u64,
    /// Connections that the gateway had to reset.
    pub connections_reset: u64,
    pub bytes_observed: u64,
    pub bytes_opaque: u64,
    /// Model and tool calls.
    pub calls: u64,
    /// Exchanges that look like calls but could not be read.
    pub calls_not_understood: u64,
    /// Calls whose cost can't be told.
    pub calls_unmetered: u64,
    /// Calls whose usage nobody reported: it is estimated.
    pub calls_estimated: u64,
    /// Calls of models whose price is not known.
    pub calls_unpriced: u64,
    /// Connects that the kernel handed to the gateway.
    pub redirected: u64,
    /// Connects that the kernel let pass by the gateway (audit).
    pub left_direct: u64,
    /// Connects that the kernel refused.
    pub denied: u64,
    /// Sockets of other protocols than TCP and UDP that were made (audit).
    pub other_sockets: u64,
    /// Packets that left past the gateway, unread: audit, or by a direct rule.
    pub packets_left: u64,
    /// Packets that the kernel dropped.
    pub packets_dropped: u64,
    /// Payload bytes that left past the gateway, unread.
    pub bytes_left: u64,
    /// Payload bytes that the kernel dropped.
    pub bytes_dropped: u64,
    /// DNS answers that were not looked at.
    pub dns_lost: u64,
    /// What processes did that was not taken note of.
    pub processes_lost: u64,
    /// Redirected connections whose destination had to be recovered or was lost.
    pub lost: u64,
    /// Sockets that were connected before the agent was attached, and still are: never seen. Absent if
    /// they can't be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing_sockets: Option<u64>,
    /// Sockets that were destroyed when the agent was attached.
    pub existing_reset: u64,
    /// The figures above taken apart by cause, where there is more than one.
    pub reasons: BTreeMap<String, u64>,
    /// TLS connections, by the name that the client asked for (SNI).
    pub tls_names: BTreeMap<String, u64>,
}

impl Coverage {
    /// Adds what the kernel counted.
    pub fn add_kernel(&mut self, counters: &Counters) {
        for (counter, name) in KERNEL_COUNTERS {
            let count = counters[counter as usize];
            let total = self.total(counter);
            *total = total.saturating_add(count);
            if count > 0 && counter != Counter::Redirected {
                let reason = self.reasons.entry(name.to_owned()).or_default();
                *reason = reason.saturating_add(count);
            }
        }
    }

    /// The figure that a counter of the kernel is part of.
    const fn total(&mut self, counter: Counter) -> &mut u64 {
        match counter {
            Counter::Redirected => &mut self.redirected,
            Counter::LeftDead | Counter::LeftNoListener | Counter::LeftFull | Counter::LeftTied => {
                &mut self.left_direct
            }
            Counter::DeniedDead
            | Counter::DeniedNoListener
            | Counter::DeniedFull
            | Counter::DeniedTied
            | Counter::DeniedKilled
            | Counter::DeniedLoop
            | Counter::DeniedRaw
            | Counter::DeniedSctp
            | Counter::DeniedMptcp
            | Counter::DeniedProtocol => &mut self.denied,
            Counter::LeftRaw | Counter::LeftSctp | Counter::LeftMptcp | Counter::LeftProtocol => {
                &mut self.other_sockets
            }
            Counter::LeftTcpPackets
            | Counter::LeftUdpPackets
            | Counter::LeftQuicPackets
            | Counter::LeftOtherPackets
            | Counter::DirectPackets => &mut self.packets_left,
            Counter::LeftBytes | Counter::DirectBytes => &mut self.bytes_left,
            Counter::DroppedTcpPackets
            | Counter::DroppedUdpPackets
            | Counter::DroppedQuicPackets
            | Counter::DroppedOtherPackets => &mut self.packets_dropped,
            Counter::DroppedBytes => &mut self.bytes_dropped,
            Counter::HandoffFailed => &mut self.lost,
            Counter::DnsLost => &mut self.dns_lost,
            Counter::ProcessesLost => &mut self.processes_lost,
        }
    }

    /// Connects that the gateway never saw.
    #[must_use]
    pub fn missed(&self) -> u64 {
        let missed = self.left_direct.saturating_add(self.lost);
        missed.saturating_add(self.existing_sockets.unwrap_or(0))
    }
}

const KERNEL_COUNTERS: [(Counter, &str); Counter::COUNT] = [
    (Counter::Redirected, "redirected"),
    (Counter::LeftDead, "left_dead"),
    (Counter::LeftNoListener, "left_no_listener"),
    (Counter::LeftFull, "left_full"),
    (Counter::LeftTied, "left_tied_to_interface"),
    (Counter::DeniedDead, "denied_dead"),
    (Counter::DeniedNoListener, "denied_no_listener"),
    (Counter::DeniedFull, "denied_full"),
    (Counter::DeniedTied, "denied_tied_to_interface"),
    (Counter::DeniedKilled, "denied_killed"),
    (Counter::DeniedLoop, "denied_loop"),
    (Counter::HandoffFailed, "handoff_failed"),
    (Counter::LeftRaw, "left_raw"),
    (Counter::LeftSctp, "left_sctp"),
    (Counter::LeftMptcp, "left_mptcp"),
    (Counter::LeftProtocol, "left_other_protocol"),
    (Counter::DeniedRaw, "denied_raw"),
    (Counter::DeniedSctp, "denied_sctp"),
    (Counter::DeniedMptcp, "denied_mptcp"),
    (Counter::DeniedProtocol, "denied_other_protocol"),
    (Counter::LeftTcpPackets, "left_tcp_packets"),
    (Counter::LeftUdpPackets, "left_udp_packets"),
    (Counter::LeftQuicPackets, "left_quic_packets"),
    (Counter::LeftOtherPackets, "left_other_packets"),
    (Counter::LeftBytes, "left_bytes"),
    (Counter::DroppedTcpPackets, "dropped_tcp_packets"),
    (Counter::DroppedUdpPackets, "dropped_udp_packets"),
    (Counter::DroppedQuicPackets, "dropped_quic_packets"),
    (Counter::DroppedOtherPackets, "dropped_other_packets"),
    (Counter::DroppedBytes, "dropped_bytes"),
    (Counter::DirectPackets, "direct_packets"),
    (Counter::DirectBytes, "direct_bytes"),
    (Counter::DnsLost, "dns_lost"),
    (Counter::ProcessesLost, "processes_lost"),
];

/// The node's certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaInfo {
    #[serde(flatten)]
    pub certificate: Certificate,
    /// Its certificate, and those that it had until lately, in PEM: what clients have to trust.
    pub anchors: String,
}

/// What to attach, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    pub target: Target,
    /// Absent: the container's name if the target has it, else the first 12 digits of its id, else
    /// the last part of the cgroup's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Absent: what the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Existing>,
    /// Absent: what the configuration says, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decrypt: Option<Decrypt>,
    /// A file of certificates by which the agent tells whom to trust. Absent: the one of its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
    /// Budgets for it alone, as `turnpike run --budget` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Asked>,
}

/// What names the cgroup to attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The directory itself.
    Cgroup(PathBuf),
    /// The cgroup of a process.
    Pid(u32),
    /// The cgroup of a container: its name, its id, or the beginning of its id.
    Container(String),
}

/// Who attached an agent, as it is written.
#[must_use]
pub fn attached_by(rule: Option<usize>) -> String {
    rule.map_or_else(|| "command".to_owned(), |number| format!("rule {number}"))
}

/// A workflow's state as it is written.
pub(super) const fn state_name(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Done => "done",
        State::Cancelled => "cancelled",
        State::Failed => "failed",
    }
}

/// Why something was not done and what to do about it. Displayed as one line: "error; fix".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refusal {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Refusal {
    /// A refusal that says what went wrong, for want of anything to do about it.
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), fix: None }
    }

    /// The same refusal, with what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::escape(&self.error))?;
        match &self.fix {
            Some(fix) => write!(f, "; {}", text::escape(fix)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_whatever_it_quotes() {
        let refusal = Refusal::new("no container \"a\nb\"").fix("see `podman ps`");
        assert_eq!(refusal.to_string(), "no container \"a\\nb\"; see `podman ps`");
    }

    #[test]
    fn every_kernel_counter_ends_up_in_one_total() {
        let mut counters: Counters = [0; Counter::COUNT];
        for (place, count) in counters.iter_mut().enumerate() {
            *count = 1 << place;
        }
        let mut coverage = Coverage::default();
        coverage.add_kernel(&counters);
        let totals = coverage.redirected
            + coverage.left_direct
            + coverage.denied
            + coverage.other_sockets
            + coverage.packets_left
            + coverage.packets_dropped
            + coverage.bytes_left
            + coverage.bytes_dropped
            + coverage.dns_lost
            + coverage.processes_lost
            + coverage.lost;
        assert_eq!(totals, (1 << Counter::COUNT) - 1);
        assert_eq!(coverage.reasons["left_full"], 1 << (Counter::LeftFull as usize));
        assert_eq!(coverage.reasons.len(), Counter::COUNT - 1);
    }

    #[test]
    fn kernel_counters_are_named_in_their_order() {
        for (place, (counter, name)) in KERNEL_COUNTERS.into_iter().enumerate() {
            assert_eq!(counter as usize, place, "{name}");
        }
    }

    #[test]
    fn a_request_to_attach_reads_as_it_is_documented() {
        let request: AttachRequest =
            serde_json::from_str(r#"{"target":{"container":"research-1"},"mode":"enforce"}"#)
                .expect("valid");
        assert_eq!(request.target, Target::Container("research-1".to_owned()));
        assert_eq!(request.mode, Some(Mode::Enforce));
        let json = serde_json::to_string(&request).expect("plain data");
        assert_eq!(json, r#"{"target":{"container":"research-1"},"mode":"enforce"}"#);
    }
}
