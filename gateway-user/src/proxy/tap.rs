//! What looks on while a connection is relayed.

use std::time::Duration;

use super::{
    agent::{OpaqueReason, add},
    egress::Allowance,
    exchange::{Connection, Ended},
    http::{Http, Outlook},
    relay::Side,
    sniff::{Protocol, Sniffer},
};
use crate::limits::Bound;

/// Is shown every byte of a connection after it went on its way, and understands what it can.
/// Nothing that it finds or fails to find changes what is forwarded.
///
/// ```text
///               HTTP/1                ambiguous framing, upgrade, CONNECT
///   Sniffing ────────────► Http ─────────────────────┐
///      │                                             ▼
///      └──────────────────────────────────────────► Opaque
///          TLS, HTTP/2, the server speaks first, anything else
/// ```
///
/// What becomes opaque must be allowed to stay unread, and within how many bytes: else the
/// connection is refused, and is to be reset.
#[derive(Debug)]
pub(super) struct Tap {
    connection: Connection,
    reading: Reading,
    /// The client sends no more: if the answers are not whole in the end, it most likely left.
    client_ended: bool,
    /// Bytes went by since that was last asked.
    moved: bool,
}

#[derive(Debug)]
enum Reading {
    Sniffing(Sniffer),
    Http(Box<Http>),
    Opaque(Allowance),
    Refused,
}

impl Tap {
    pub(super) fn new(connection: Connection) -> Self {
        let reading = Reading::Sniffing(Sniffer::default());
        Self { connection, reading, client_ended: false, moved: false }
    }

    /// How long the connection may be silent.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        self.connection.agent.bounds.limits().idle_time
    }

    /// Whether bytes went by since it was last asked.
    pub(super) const fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// The connection was silent for too long, and is ended.
    pub(super) fn count_silent(&mut self) {
        add(&self.connection.agent.coverage.idle, 1);
        self.connection.agent.bounds.hit(Bound::IdleTime);
        self.cut(Ended::Cut);
    }

    pub(super) fn client_sent(&mut self, bytes: &[u8]) {
        self.moved = true;
        match &mut self.reading {
            Reading::Sniffing(sniffer) => {
                if let Some((protocol, seen)) = sniffer.look(bytes) {
                    self.told(protocol, &seen);
                }
            }
            Reading::Http(http) => {
                add(&self.connection.agent.coverage.bytes_observed, len(bytes));
                let outlook = http.client_sent(&self.connection, bytes);
                self.follow(outlook);
            }
            Reading::Opaque(_) | Reading::Refused => self.passed_unseen(bytes.len()),
        }
    }

    pub(super) fn server_sent(&mut self, bytes: &[u8]) {
        self.moved = true;
        match &mut self.reading {
            Reading::Sniffing(sniffer) => {
                // Else it answers bytes that don't tell their protocol yet.
                let first = sniffer.is_empty();
                self.give_up(if first { OpaqueReason::ServerFirst } else { OpaqueReason::Unknown });
                self.passed_unseen(bytes.len());
            }
            Reading::Http(http) => {
                add(&self.connection.agent.coverage.bytes_observed, len(bytes));
                let outlook = http.server_sent(&self.connection, bytes);
                self.follow(outlook);
            }
            Reading::Opaque(_) | Reading::Refused => self.passed_unseen(bytes.len()),
        }
    }

    /// So many bytes of an opaque connection went by.
    pub(super) fn passed_unseen(&mut self, count: usize) {
        self.moved = true;
        let (agent, count) = (&self.connection.agent, u64::try_from(count).unwrap_or(u64::MAX));
        add(&agent.coverage.bytes_opaque, count);
        if let Reading::Opaque(allowance) = &mut self.reading
            && !agent.spend(allowance, count)
        {
            add(&agent.coverage.connections_reset, 1);
            self.reading = Reading::Refused;
        }
    }

    /// Whether the bytes need not be shown any more.
    pub(super) const fn is_opaque(&self) -> bool {
        matches!(self.reading, Reading::Opaque(_) | Reading::Refused)
    }

    /// Whether the connection may not go on: it is to be reset, both ways.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.reading, Reading::Refused)
    }

    /// How many bytes may be passed on at once.
    pub(super) fn at_most(&self, wanted: usize) -> usize {
        match &self.reading {
            Reading::Opaque(allowance) => allowance.at_most(wanted),
            Reading::Refused => 0,
            _ => wanted,
        }
    }

    /// The client sends no more.
    pub(super) fn client_ended(&mut self) {
        self.client_ended = true;
        if let Reading::Sniffing(sniffer) = &self.reading {
            // A connection that carried nothing is no blind spot.
            if !sniffer.is_empty() {
                self.give_up(OpaqueReason::Unknown);
            }
        }
    }

    /// The server sends no more.
    pub(super) fn server_ended(&mut self) {
        if let Reading::Http(http) = &mut self.reading {
            let how = if self.client_ended { Ended::ClientGone } else { Ended::Cut };
            http.server_ended(&self.connection, how);
        }
    }

    /// The connection broke, on that side.
    pub(super) fn broken(&mut self, side: Side) {
        self.cut(match side {
            Side::Client => Ended::ClientGone,
            Side::Upstream => Ended::Cut,
        });
    }

    fn cut(&mut self, how: Ended) {
        if let Reading::Http(http) = &mut self.reading {
            http.cut(&self.connection, how);
        }
    }

    /// Whether no exchange is under way, as far as can be told: an opaque connection never is.
    pub(super) fn is_idle(&self) -> bool {
        match &self.reading {
            Reading::Sniffing(sniffer) => sniffer.is_empty(),
            Reading::Http(http) => http.is_idle(),
            Reading::Opaque(_) | Reading::Refused => false,
        }
    }

    fn told(&mut self, protocol: Protocol, seen: &[u8]) {
        match protocol {
            Protocol::Http1 => return self.read(seen),
            Protocol::Tls { server_name } => {
                tracing::debug!(connection = %self.connection.id, ?server_name, "TLS");
                self.leave_unread(OpaqueReason::Tls, server_name);
            }
            Protocol::Http2 => self.give_up(OpaqueReason::Http2),
            Protocol::Unknown => self.give_up(OpaqueReason::Unknown),
        }
        self.passed_unseen(seen.len());
    }

    fn read(&mut self, seen: &[u8]) {
        let Connection { agent, destination, .. } = &self.connection;
        if let Err(denied) = agent.may_be_read(*destination, None) {
            tracing::debug!(connection = %self.connection.id, %denied, "refused");
            self.reading = Reading::Refused;
            return;
        }
        add(&agent.coverage.connections_observed, 1);
        add(&agent.coverage.bytes_observed, len(seen));
        let mut http = Box::new(Http::new());
        let outlook = http.client_sent(&self.connection, seen);
        self.reading = Reading::Http(http);
        self.follow(outlook);
    }

    fn follow(&mut self, outlook: Outlook) {
        match outlook {
            Outlook::Http => {}
            Outlook::Switched => self.give_up(OpaqueReason::Switched),
            Outlook::Unframed(error) => {
                tracing::debug!(connection = %self.connection.id, %error, "not HTTP/1 any more");
                if let Some(bound) = error.bound() {
                    self.connection.agent.bounds.hit(bound);
                }
                if let Reading::Http(http) = &mut self.reading {
                    http.cut(&self.connection, Ended::Unseen);
                }
                self.give_up(OpaqueReason::Framing);
            }
        }
    }

    fn give_up(&mut self, reason: OpaqueReason) {
        self.leave_unread(reason, None);
    }

    /// `name` is the one that a TLS client asks for.
    fn leave_unread(&mut self, reason: OpaqueReason, name: Option<String>) {
        let Connection { agent, destination, .. } = &self.connection;
        self.reading = match agent.may_stay_unread(*destination, name.as_deref()) {
            Ok(allowance) => {
                match reason {
                    OpaqueReason::Tls => agent.coverage.tls(name),
                    reason => agent.coverage.opaque(reason),
                }
                Reading::Opaque(allowance)
            }
            Err(denied) => {
                tracing::debug!(connection = %self.connection.id, %denied, "refused");
                Reading::Refused
            }
        };
    }
}

/// A relay may be dropped in the middle: at a deadline, or with the whole process.
impl Drop for Tap {
    fn drop(&mut self) {
        self.cut(Ended::Cut);
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
