//! The bounds that are counted each time that they are hit, and those that an operator may change.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use super as limits;

/// The bounds that an operator may change, as they hold. What each is for is said at its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// [`limits::CONNECTIONS_PER_AGENT`].
    pub connections_per_agent: usize,
    /// [`limits::CONNECTIONS`].
    pub connections: usize,
    /// [`limits::TLS_HANDSHAKE_TIME`].
    pub handshake_time: Duration,
    /// [`limits::HELLO_TIME`].
    pub hello_time: Duration,
    /// [`limits::HEAD_TIME`].
    pub head_time: Duration,
    /// [`limits::HEAD_BYTES`].
    pub head_bytes: usize,
    /// `None`: connections may be silent for as long as they like.
    pub idle_time: Option<Duration>,
    /// [`limits::H2_STREAMS`].
    pub h2_streams: u32,
    /// [`limits::H2_FRAME_BYTES`].
    pub h2_frame_bytes: u32,
    /// [`limits::H2_HEAD_BYTES`].
    pub h2_head_bytes: u32,
    /// [`limits::H2_STREAM_WINDOW`].
    pub h2_stream_window: u32,
    /// [`limits::H2_CONNECTION_WINDOW`].
    pub h2_connection_window: u32,
    /// [`limits::AGENTS_BY_RULE`].
    pub agents_by_rule: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_agent: limits::CONNECTIONS_PER_AGENT,
            connections: limits::CONNECTIONS,
            handshake_time: limits::TLS_HANDSHAKE_TIME,
            hello_time: limits::HELLO_TIME,
            head_time: limits::HEAD_TIME,
            head_bytes: limits::HEAD_BYTES,
            idle_time: None,
            h2_streams: limits::H2_STREAMS,
            h2_frame_bytes: limits::H2_FRAME_BYTES,
            h2_head_bytes: limits::H2_HEAD_BYTES,
            h2_stream_window: limits::H2_STREAM_WINDOW,
            h2_connection_window: limits::H2_CONNECTION_WINDOW,
            agents_by_rule: limits::AGENTS_BY_RULE,
        }
    }
}

/// A bound of the data path that is counted when it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    ConnectionsPerAgent,
    Connections,
    HandshakeTime,
    HelloTime,
    HeadTime,
    IdleTime,
    H2Floods,
    HeadBytes,
    HeadFields,
    EmptyLines,
    ChunkLineBytes,
    PipelinedRequests,
    EgressRefusals,
    AgentsByRule,
    RpcRequestBytes,
    WaitingCalls,
    OtherLines,
    Estimates,
    RequestBytes,
    HeldBytes,
    CallsUnderWay,
    ListeningStreams,
    RefusalsPerStream,
    CountermandsKept,
    Replays,
    ReplayBytes,
}

/// What a bound's limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Milliseconds,
}

impl Bound {
    pub const ALL: [Self; 26] = [
        Self::ConnectionsPerAgent,
        Self::Connections,
        Self::HandshakeTime,
        Self::HelloTime,
        Self::HeadTime,
        Self::IdleTime,
        Self::H2Floods,
        Self::HeadBytes,
        Self::HeadFields,
        Self::EmptyLines,
        Self::ChunkLineBytes,
        Self::PipelinedRequests,
        Self::EgressRefusals,
        Self::AgentsByRule,
        Self::RpcRequestBytes,
        Self::WaitingCalls,
        Self::OtherLines,
        Self::Estimates,
        Self::RequestBytes,
        Self::HeldBytes,
        Self::CallsUnderWay,
        Self::ListeningStreams,
        Self::RefusalsPerStream,
        Self::CountermandsKept,
        Self::Replays,
        Self::ReplayBytes,
    ];

    /// As the configuration calls it where it can be changed, else as [`limits`] does.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectionsPerAgent => "connections_per_agent",
            Self::Connections => "connections",
            Self::HandshakeTime => "handshake_time",
            Self::HelloTime => "hello_time",
            Self::HeadTime => "head_time",
            Self::IdleTime => "idle_time",
            Self::H2Floods => "h2_early_resets",
            Self::HeadBytes => "head_bytes",
            Self::HeadFields => "head_fields",
            Self::EmptyLines => "empty_lines",
            Self::ChunkLineBytes => "chunk_line_bytes",
            Self::PipelinedRequests => "pipelined_requests",
            Self::EgressRefusals => "egress_refusals_per_agent",
            Self::AgentsByRule => "agents_by_rule",
            Self::RpcRequestBytes => "rpc_request_bytes",
            Self::WaitingCalls => "waiting_calls_per_agent",
            Self::OtherLines => "other_lines_per_agent",
            Self::Estimates => "estimates",
            Self::RequestBytes => "observed_request_bytes",
            Self::HeldBytes => "held_bytes",
            Self::CallsUnderWay => "calls_under_way_per_agent",
            Self::ListeningStreams => "listening_streams_per_agent",
            Self::RefusalsPerStream => "refusals_per_stream",
            Self::CountermandsKept => "countermands_kept_per_agent",
            Self::Replays => "replays_per_agent",
            Self::ReplayBytes => "replay_bytes",
        }
    }

    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::HandshakeTime | Self::HelloTime | Self::HeadTime | Self::IdleTime => {
                Unit::Milliseconds
            }
            Self::HeadBytes
            | Self::ChunkLineBytes
            | Self::RpcRequestBytes
            | Self::RequestBytes
            | Self::HeldBytes
            | Self::ReplayBytes => Unit::Bytes,
            _ => Unit::Count,
        }
    }
}

/// The bounds of one gateway: what they are, and how often each was hit.
#[derive(Debug, Default)]
pub struct Bounds {
    limits: Limits,
    hits: [AtomicU64; Bound::ALL.len()],
    connections: AtomicUsize,
    held: AtomicUsize,
}

impl Bounds {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn hit(&self, bound: Bound) {
        self.hits[bound as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn hits(&self, bound: Bound) -> u64 {
        self.hits[bound as usize].load(Ordering::Relaxed)
    }

    /// Connections of all agents.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts one more connection of an agent that has `own` already, unless a bound is hit: then
    /// it says which, and has counted that.
    ///
    /// No agent may have more than are left for all. So a greedy one leaves as many as it has, two
    /// leave a third each and the last third, and whoever comes finds room, however many are greedy.
    pub fn enter(&self, own: usize) -> Result<(), Bound> {
        let all = self.connections.fetch_add(1, Ordering::Relaxed);
        let bound = if own >= self.limits.connections_per_agent {
            Bound::ConnectionsPerAgent
        } else if own >= self.limits.connections.saturating_sub(all) {
            Bound::Connections
        } else {
            return Ok(());
        };
        self.leave();
        self.hit(bound);
        Err(bound)
    }

    /// Takes back one that was counted by [`Bounds::enter`].
    pub fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts so many more bytes of requests that are held, of an agent that holds `own` already,
    /// unless a bound is hit: then it says which, and has counted that. As with connections, no agent
    /// may hold more than is left for all.
    pub fn hold(&self, own: usize, more: usize) -> Result<(), Bound> {
        let all = self.held.fetch_add(more, Ordering::Relaxed);
        if own.saturating_add(more) <= limits::HELD_BYTES.saturating_sub(all) {
            return Ok(());
        }
        self.release(more);
        self.hit(Bound::HeldBytes);
        Err(Bound::HeldBytes)
    }

    /// Takes back what was counted by [`Bounds::hold`].
    pub fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of requests that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// What a bound is; `None` where it is switched off.
    #[must_use]
    pub fn limit(&self, bound: Bound) -> Option<u64> {
        let limits = &self.limits;
        let count = match bound {
            Bound::ConnectionsPerAgent => limits.connections_per_agent,
            Bound::Connections => limits.connections,
            Bound::HandshakeTime => return Some(milliseconds(limits.handshake_time)),
            Bound::HelloTime => return Some(milliseconds(limits.hello_time)),
            Bound::HeadTime => return Some(milliseconds(limits.head_time)),
            Bound::H2Floods => limits::H2_EARLY_RESETS,
            Bound::IdleTime => return limits.idle_time.map(milliseconds),
            Bound::HeadBytes => limits.head_bytes,
            Bound::HeadFields => limits::HEAD_FIELDS,
            Bound::EmptyLines => limits::EMPTY_LINES,
            Bound::ChunkLineBytes => limits::CHUNK_LINE_BYTES,
            Bound::PipelinedRequests => limits::PIPELINED_REQUESTS,
            Bound::EgressRefusals => limits::EGRESS_REFUSALS_PER_AGENT,
            Bound::AgentsByRule => limits.agents_by_rule,
            Bound::RpcRequestBytes => limits::RPC_REQUEST_BYTES,
            Bound::WaitingCalls => limits::WAITING_CALLS_PER_AGENT,
            Bound::OtherLines => limits::OTHER_LINES_PER_AGENT,
            Bound::Estimates => limits::ESTIMATES,
            Bound::RequestBytes => limits::OBSERVED_REQUEST_BYTES,
            Bound::HeldBytes => limits::HELD_BYTES,
            Bound::CallsUnderWay => limits::CALLS_UNDER_WAY_PER_AGENT,
            Bound::ListeningStreams => limits::LISTENING_STREAMS_PER_AGENT,
            Bound::RefusalsPerStream => limits::REFUSALS_PER_STREAM,
            Bound::CountermandsKept => limits::COUNTERMANDS_KEPT_PER_AGENT,
            Bound::Replays => limits::REPLAYS_PER_AGENT,
            Bound::ReplayBytes => limits::REPLAY_BYTES,
        };
        Some(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_listed_in_their_order() {
        for (place, bound) in Bound::ALL.into_iter().enumerate() {
            assert_eq!(bound as usize, place, "{}", bound.name());
        }
    }

    #[test]
    fn greedy_agents_leave_room_for_the_next() {
        let limits = Limits { connections_per_agent: 100, connections: 90, ..Limits::default() };
        let bounds = Bounds::new(limits);
        let mut agents = vec![0_usize; 3];
        for agent in &mut agents {
            while bounds.enter(*agent).is_ok() {
                *agent += 1;
            }
        }
        assert_eq!(agents, [45, 23, 11]);
        assert_eq!((bounds.connections(), bounds.hits(Bound::Connections)), (79, 3));
        assert!(bounds.enter(0).is_ok(), "another agent");
        // Who has more than there is left waits until there is more.
        assert_eq!(bounds.enter(agents[0]), Err(Bound::Connections));
        for _ in 0..40 {
            bounds.leave();
        }
        assert!(bounds.enter(agents[0] - 40).is_ok());
    }

    #[test]
    fn an_agent_that_holds_much_leaves_room_for_the_next() {
        let bounds = Bounds::default();
        let part = limits::HELD_BYTES / 8;
        let held = (0..8).take_while(|parts| bounds.hold(parts * part, part).is_ok()).count();
        assert_eq!((held, bounds.held()), (4, 4 * part));
        assert!(bounds.hold(0, part).is_ok(), "another agent");
        assert_eq!(bounds.hits(Bound::HeldBytes), 1);
        bounds.release(5 * part);
        assert_eq!(bounds.held(), 0);
    }

    #[test]
    fn one_agent_has_a_bound_of_its_own() {
        let limits = Limits { connections_per_agent: 2, ..Limits::default() };
        let bounds = Bounds::new(limits);
        assert!(bounds.enter(0).is_ok() && bounds.enter(1).is_ok());
        assert_eq!(bounds.enter(2), Err(Bound::ConnectionsPerAgent));
        assert_eq!((bounds.connections(), bounds.hits(Bound::ConnectionsPerAgent)), (2, 1));
    }
}
