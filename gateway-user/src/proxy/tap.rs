//! What looks on while a connection is relayed.

use super::{
    agent::{OpaqueReason, add},
    exchange::{Connection, Ended},
    http::{Http, Outlook},
    relay::Side,
    sniff::{Protocol, Sniffer},
};

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
#[derive(Debug)]
pub(super) struct Tap {
    connection: Connection,
    reading: Reading,
    /// The client sends no more: if the answers are not whole in the end, it most likely left.
    client_ended: bool,
}

#[derive(Debug)]
enum Reading {
    Sniffing(Sniffer),
    Http(Box<Http>),
    Opaque,
}

impl Tap {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, reading: Reading::Sniffing(Sniffer::default()), client_ended: false }
    }

    /// On a connection that is not to be read.
    pub(super) fn unread(connection: Connection, reason: OpaqueReason) -> Self {
        connection.agent.coverage.opaque(reason);
        Self { connection, reading: Reading::Opaque, client_ended: false }
    }

    pub(super) fn client_sent(&mut self, bytes: &[u8]) {
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
            Reading::Opaque => add(&self.connection.agent.coverage.bytes_opaque, len(bytes)),
        }
    }

    pub(super) fn server_sent(&mut self, bytes: &[u8]) {
        match &mut self.reading {
            Reading::Sniffing(sniffer) => {
                // Else it answers bytes that don't tell their protocol yet.
                let first = sniffer.is_empty();
                self.give_up(if first { OpaqueReason::ServerFirst } else { OpaqueReason::Unknown });
                add(&self.connection.agent.coverage.bytes_opaque, len(bytes));
            }
            Reading::Http(http) => {
                add(&self.connection.agent.coverage.bytes_observed, len(bytes));
                let outlook = http.server_sent(&self.connection, bytes);
                self.follow(outlook);
            }
            Reading::Opaque => add(&self.connection.agent.coverage.bytes_opaque, len(bytes)),
        }
    }

    /// So many bytes of an opaque connection went by.
    pub(super) fn passed_unseen(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        add(&self.connection.agent.coverage.bytes_opaque, count);
    }

    /// Whether the bytes need not be shown any more.
    pub(super) const fn is_opaque(&self) -> bool {
        matches!(self.reading, Reading::Opaque)
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
            Reading::Opaque => false,
        }
    }

    fn told(&mut self, protocol: Protocol, seen: &[u8]) {
        let decrypted = self.connection.server.is_some();
        match protocol {
            Protocol::Http1 => {
                let coverage = &self.connection.agent.coverage;
                add(&coverage.connections_observed, 1);
                add(&coverage.bytes_observed, len(seen));
                let mut http = Box::new(Http::new());
                let outlook = http.client_sent(&self.connection, seen);
                self.reading = Reading::Http(http);
                self.follow(outlook);
                return;
            }
            _ if decrypted => self.give_up(OpaqueReason::InsideTls),
            Protocol::Tls { server_name } => {
                tracing::debug!(connection = %self.connection.id, ?server_name, "TLS");
                self.connection.agent.coverage.tls_name(server_name);
                self.give_up(OpaqueReason::Tls);
            }
            Protocol::Http2 => self.give_up(OpaqueReason::Http2),
            Protocol::Unknown => self.give_up(OpaqueReason::Unknown),
        }
        add(&self.connection.agent.coverage.bytes_opaque, len(seen));
    }

    fn follow(&mut self, outlook: Outlook) {
        match outlook {
            Outlook::Http => {}
            Outlook::Switched => self.give_up(OpaqueReason::Switched),
            Outlook::Unframed(error) => {
                tracing::debug!(connection = %self.connection.id, %error, "not HTTP/1 any more");
                if let Reading::Http(http) = &mut self.reading {
                    http.cut(&self.connection, Ended::Unseen);
                }
                self.give_up(OpaqueReason::Framing);
            }
        }
    }

    fn give_up(&mut self, reason: OpaqueReason) {
        self.connection.agent.coverage.opaque(reason);
        self.reading = Reading::Opaque;
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
