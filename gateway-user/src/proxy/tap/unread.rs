//! What a connection begins as, and whether it may go on if it is not read.

use super::{Course, Reading, Tap};
use crate::proxy::{
    coverage::{OpaqueReason, add},
    egress::{Allowance, Denied},
    exchange::{Connection, Ended},
    http::Http,
    sniff::Protocol,
    way::Kept,
};

impl Tap {
    /// On a connection that is not to be read, and may stay so.
    pub(in crate::proxy) fn unread(
        connection: Connection,
        reason: OpaqueReason,
        allowance: Allowance,
    ) -> Self {
        connection.agent.coverage.opaque(reason);
        let mut tap = Self::new(connection);
        tap.reading = Reading::Opaque(allowance);
        tap
    }

    /// How many bytes are to be read at once.
    pub(in crate::proxy) fn at_most(&self, wanted: usize) -> usize {
        match &self.reading {
            Reading::Opaque(allowance) => allowance.at_most(wanted),
            _ => wanted,
        }
    }

    pub(super) fn told(&mut self, protocol: Protocol, seen: usize) {
        match protocol {
            Protocol::Http1 => self.begin_http(seen),
            _ if self.connection.server.is_some() => self.give_up(OpaqueReason::InsideTls),
            Protocol::Tls { server_name } => {
                tracing::debug!(connection = %self.connection.id, ?server_name, "TLS");
                self.leave_unread(OpaqueReason::Tls, server_name);
            }
            Protocol::Http2 => self.give_up(OpaqueReason::Http2),
            Protocol::Unknown => self.give_up(OpaqueReason::Unknown),
        }
    }

    fn begin_http(&mut self, seen: usize) {
        let Connection { agent, whither, server, .. } = &self.connection;
        let host = server.as_ref().map(|server| &*server.name);
        if let Err(denied) = agent.may_be_read(whither, host) {
            return self.deny(&denied);
        }
        add(&agent.coverage.connections_observed, 1);
        add(&agent.coverage.bytes_observed, seen as u64);
        let head_bytes = self.connection.agent.bounds.limits().head_bytes;
        self.reading = Reading::Http(Box::new(Http::within(head_bytes)));
    }

    /// The server speaks before the client, or answers bytes that don't tell their protocol yet.
    pub(super) fn server_first(&mut self) {
        let Reading::Sniffing(sniffer) = &self.reading else { return };
        let first = sniffer.is_empty();
        self.not_told(if first { OpaqueReason::ServerFirst } else { OpaqueReason::Unknown });
    }

    /// The client's first bytes will not tell.
    pub(super) fn not_told(&mut self, reason: OpaqueReason) {
        let Reading::Sniffing(sniffer) = &mut self.reading else { return };
        let seen = sniffer.take();
        let gone = !self.asks();
        self.give_up(reason);
        if gone {
            self.passed_unseen(seen.len());
        } else {
            self.of_client = Kept::unread(seen);
        }
    }

    pub(super) fn give_up(&mut self, reason: OpaqueReason) {
        let name = self.connection.server.as_ref().map(|server| server.name.clone());
        self.leave_unread(reason, name);
    }

    /// The one place that decides whether what began here goes on unread. `name` is the host by the
    /// client's word.
    fn leave_unread(&mut self, reason: OpaqueReason, name: Option<Box<str>>) {
        let Connection { agent, whither, .. } = &self.connection;
        match agent.may_stay_unread(whither, name.as_deref(), false) {
            Ok(allowance) => {
                agent.coverage.opaque(reason);
                if reason == OpaqueReason::Tls {
                    agent.coverage.tls_name(name);
                }
                self.reading = Reading::Opaque(allowance);
            }
            Err(denied) => self.deny(&denied),
        }
    }

    fn deny(&mut self, denied: &Denied) {
        tracing::debug!(connection = %self.connection.id, %denied, "cut");
        self.cut(Ended::Cut);
        self.of_client = Kept::default();
        self.of_server = Kept::default();
        self.reading = Reading::Opaque(Allowance::default());
        self.course = Course::Cut;
    }

    /// So many bytes of an opaque connection went by.
    pub(in crate::proxy) fn passed_unseen(&mut self, count: usize) {
        self.moved = true;
        add(&self.connection.agent.coverage.bytes_opaque, count as u64);
        self.spend(count);
    }

    pub(super) fn spend(&mut self, count: usize) {
        let agent = &self.connection.agent;
        if let Reading::Opaque(allowance) = &mut self.reading
            && !agent.spend(allowance, count as u64)
        {
            add(&agent.coverage.connections_reset, 1);
            self.course = Course::Cut;
        }
    }
}
