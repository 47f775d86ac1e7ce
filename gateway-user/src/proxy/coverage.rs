//! How much of an agent's traffic was understood.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::limits;

/// Why a connection's bytes were forwarded without being understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpaqueReason {
    /// The client began a TLS handshake with a host that is not decrypted.
    Tls,
    /// The first bytes of TLS to an agent that is decrypted can't be read, or came too late.
    TlsHello,
    /// The client offers nothing in TLS that is known here.
    TlsOffer,
    /// The client goes to an address that is called a host that is decrypted, and names none, or one
    /// that the address is not called, or may name another, encrypted.
    HiddenName,
    /// Upstream wants a certificate of the client's.
    ClientCertificate,
    /// Upstream did not take our handshake.
    UpstreamTls,
    /// No certificate can be minted here.
    NoCertificate,
    /// The client's program did not trust our certificate before.
    Distrust,
    /// What was inside TLS is of no protocol that is known here.
    InsideTls,
    /// The client began HTTP/2, where it could not be taken up.
    Http2,
    /// The server spoke first.
    ServerFirst,
    /// The client's first bytes are of no protocol that is known here.
    Unknown,
    /// Messages that two implementations could read differently, or too large to follow.
    Framing,
    /// The server switched to another protocol: an upgrade, or CONNECT.
    Switched,
    /// WebSocket frames that break the protocol, or an extension that is not known.
    WebSocket,
}

impl OpaqueReason {
    const ALL: [Self; 15] = [
        Self::Tls,
        Self::TlsHello,
        Self::TlsOffer,
        Self::HiddenName,
        Self::ClientCertificate,
        Self::UpstreamTls,
        Self::NoCertificate,
        Self::Distrust,
        Self::InsideTls,
        Self::Http2,
        Self::ServerFirst,
        Self::Unknown,
        Self::Framing,
        Self::Switched,
        Self::WebSocket,
    ];

    /// In the form that `turnpike agents` shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "opaque_tls",
            Self::TlsHello => "opaque_tls_hello",
            Self::TlsOffer => "opaque_tls_offer",
            Self::HiddenName => "opaque_hidden_name",
            Self::ClientCertificate => "opaque_client_certificate",
            Self::UpstreamTls => "opaque_upstream_tls",
            Self::NoCertificate => "opaque_no_certificate",
            Self::Distrust => "opaque_distrust",
            Self::InsideTls => "opaque_inside_tls",
            Self::Http2 => "opaque_http2",
            Self::ServerFirst => "opaque_server_first",
            Self::Unknown => "opaque_unknown",
            Self::Framing => "opaque_framing",
            Self::Switched => "opaque_switched",
            Self::WebSocket => "opaque_websocket",
        }
    }
}

/// How much of an agent's traffic was understood. Grows only.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Connections read as HTTP from their first byte.
    pub connections_observed: AtomicU64,
    /// Connections that were, or became, opaque.
    pub connections_opaque: AtomicU64,
    /// Connections that were reset: no origin, over a bound, or refused by their destination.
    pub connections_reset: AtomicU64,
    pub bytes_observed: AtomicU64,
    pub bytes_opaque: AtomicU64,
    /// Exchanges whose meaning was understood.
    pub calls: AtomicU64,
    /// Exchanges of a known API whose meaning was not understood.
    pub calls_not_understood: AtomicU64,
    /// Calls whose cost can't be told.
    pub calls_unmetered: AtomicU64,
    /// Calls whose usage nobody reported.
    pub calls_estimated: AtomicU64,
    /// Calls of models whose price is not known.
    pub calls_unpriced: AtomicU64,
    /// Calls that were refused (enforce), and that were ended before their answers had.
    pub(super) calls_refused: AtomicU64,
    pub(super) calls_cut: AtomicU64,
    /// Requests of our own that upstream end a call, and those of them that it did not take, or that did
    /// not reach it.
    pub(super) countermands: AtomicU64,
    pub(super) countermands_failed: AtomicU64,
    /// HTTP exchanges with no known API.
    pub exchanges_other: AtomicU64,
    opaque: [AtomicU64; OpaqueReason::ALL.len()],
    /// Opaque TLS connections, by the name that the client asked for.
    tls_names: Mutex<BTreeMap<Box<str>, u64>>,
    /// Those for whose name there was no room, or that named none.
    tls_unnamed: AtomicU64,
    /// TLS connections that were decrypted.
    tls_decrypted: AtomicU64,
    /// Those whose upstream the agent's roots don't vouch for.
    tls_unverified: AtomicU64,
    /// Those whose client did not take our certificate.
    pub(super) tls_distrusted: AtomicU64,
    /// Those with a handshake that took too long.
    pub(super) tls_late: AtomicU64,
    /// Requests inside TLS for another host than the client had asked for.
    pub(super) tls_host_differs: AtomicU64,
    /// TLS connections that were refused because they could not be read.
    pub(super) refused_unread: AtomicU64,
    over_bound: AtomicU64,
    refused: AtomicU64,
    egress_denied: AtomicU64,
    /// Connections that an egress rule would have denied (audit).
    pub(super) egress_would_deny: AtomicU64,
    /// Connections whose client asked for a host that no DNS answer gave to their address.
    pub(super) sni_unconfirmed: AtomicU64,
    /// Connections that carried as much as their egress rule allows.
    pub(super) opaque_bytes_exceeded: AtomicU64,
    /// Connections that were ended because they were silent.
    pub(super) idle: AtomicU64,
    /// HTTP/1 requests whose target and Host name different hosts.
    pub(super) h1_hosts_differ: AtomicU64,
    /// HTTP/1 requests whose heads took too long.
    pub(super) h1_slow_heads: AtomicU64,
    /// HTTP/1 requests that were refused: ambiguous, misaddressed or slow.
    pub(super) h1_refused: AtomicU64,
    /// HTTP/1 responses that were not let through.
    pub(super) h1_answers_refused: AtomicU64,
    /// Tunnels through HTTP proxies that were looked into.
    pub(super) tunnels: AtomicU64,
    /// Connections that switched to WebSocket.
    pub(super) websockets: AtomicU64,
    /// Their messages, and the bytes of these, uncompressed.
    pub(super) ws_messages: AtomicU64,
    pub(super) ws_bytes: AtomicU64,
    /// Messages that were too large to be read.
    pub(super) ws_too_large: AtomicU64,
    /// Connections of that kind that were cut because their frames broke the protocol.
    pub(super) ws_refused: AtomicU64,
    /// HTTP/2 streams that were never requests: over a bound, or malformed.
    pub(super) h2_refused: AtomicU64,
    /// HTTP/2 connections that were ended because a peer flooded them.
    pub(super) h2_floods: AtomicU64,
    /// HTTP/2 requests whose `:authority` and Host differ.
    pub(super) h2_hosts_differ: AtomicU64,
    /// HTTP/2 streams that carried something else than HTTP: CONNECT and what is built on it.
    pub(super) h2_tunnels: AtomicU64,
}

/// [`Coverage`] at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverageSnapshot {
    pub connections_observed: u64,
    pub connections_opaque: u64,
    pub connections_reset: u64,
    pub bytes_observed: u64,
    pub bytes_opaque: u64,
    pub calls: u64,
    pub calls_not_understood: u64,
    /// Calls whose cost can't be told.
    pub calls_unmetered: u64,
    /// Calls whose usage nobody reported.
    pub calls_estimated: u64,
    /// Calls of models whose price is not known.
    pub calls_unpriced: u64,
    /// By reason; zeros left out.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Opaque TLS connections, by the name that the client asked for.
    pub tls_names: BTreeMap<String, u64>,
}

impl Coverage {
    pub(super) fn opaque(&self, reason: OpaqueReason) {
        add(&self.connections_opaque, 1);
        add(&self.opaque[reason as usize], 1);
    }

    /// An opaque TLS connection, and the name that its client asked for.
    pub(super) fn tls_name(&self, name: Option<Box<str>>) {
        let mut names = self.tls_names.lock().unwrap_or_else(PoisonError::into_inner);
        let room = names.len() < limits::TLS_NAMES_PER_AGENT;
        match name {
            Some(name) if room || names.contains_key(&name) => *names.entry(name).or_default() += 1,
            _ => add(&self.tls_unnamed, 1),
        }
    }

    pub(super) fn over_bound(&self) {
        add(&self.connections_reset, 1);
        add(&self.over_bound, 1);
    }

    pub(super) fn refused(&self) {
        add(&self.connections_reset, 1);
        add(&self.refused, 1);
    }

    /// A connection that was reset for want of an egress rule, or by one.
    pub(super) fn egress_denied(&self) {
        add(&self.connections_reset, 1);
        add(&self.egress_denied, 1);
    }

    /// A TLS connection that is decrypted, and whether the agent's roots vouch for its upstream.
    pub(super) fn tls_decrypted(&self, verified: bool) {
        add(&self.tls_decrypted, 1);
        add(&self.tls_unverified, u64::from(!verified));
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> CoverageSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut reasons: BTreeMap<&'static str, u64> = OpaqueReason::ALL
            .iter()
            .map(|reason| (reason.name(), get(&self.opaque[*reason as usize])))
            .collect();
        reasons.insert("exchanges_other", get(&self.exchanges_other));
        reasons.insert("calls_refused", get(&self.calls_refused));
        reasons.insert("calls_cut", get(&self.calls_cut));
        reasons.insert("countermands", get(&self.countermands));
        reasons.insert("countermands_failed", get(&self.countermands_failed));
        reasons.insert("reset_over_bound", get(&self.over_bound));
        reasons.insert("tls_unnamed", get(&self.tls_unnamed));
        reasons.insert("reset_refused", get(&self.refused));
        reasons.insert("refused_unread", get(&self.refused_unread));
        reasons.insert("egress_denied", get(&self.egress_denied));
        reasons.insert("egress_would_deny", get(&self.egress_would_deny));
        reasons.insert("sni_unconfirmed", get(&self.sni_unconfirmed));
        reasons.insert("opaque_bytes_exceeded", get(&self.opaque_bytes_exceeded));
        reasons.insert("ended_idle", get(&self.idle));
        reasons.insert("h1_hosts_differ", get(&self.h1_hosts_differ));
        reasons.insert("h1_slow_heads", get(&self.h1_slow_heads));
        reasons.insert("h1_requests_refused", get(&self.h1_refused));
        reasons.insert("h1_responses_refused", get(&self.h1_answers_refused));
        reasons.insert("tunnels", get(&self.tunnels));
        reasons.insert("websockets", get(&self.websockets));
        reasons.insert("websocket_messages", get(&self.ws_messages));
        reasons.insert("websocket_bytes", get(&self.ws_bytes));
        reasons.insert("websocket_too_large", get(&self.ws_too_large));
        reasons.insert("websocket_refused", get(&self.ws_refused));
        reasons.insert("tls_decrypted", get(&self.tls_decrypted));
        reasons.insert("tls_unverified", get(&self.tls_unverified));
        reasons.insert("tls_distrusted", get(&self.tls_distrusted));
        reasons.insert("tls_late", get(&self.tls_late));
        reasons.insert("tls_host_differs", get(&self.tls_host_differs));
        reasons.insert("h2_streams_refused", get(&self.h2_refused));
        reasons.insert("h2_floods", get(&self.h2_floods));
        reasons.insert("h2_hosts_differ", get(&self.h2_hosts_differ));
        reasons.insert("h2_tunnels", get(&self.h2_tunnels));
        reasons.retain(|_, count| *count != 0);
        let names = self.tls_names.lock().unwrap_or_else(PoisonError::into_inner);
        CoverageSnapshot {
            connections_observed: get(&self.connections_observed),
            connections_opaque: get(&self.connections_opaque),
            connections_reset: get(&self.connections_reset),
            bytes_observed: get(&self.bytes_observed),
            bytes_opaque: get(&self.bytes_opaque),
            calls: get(&self.calls),
            calls_not_understood: get(&self.calls_not_understood),
            calls_unmetered: get(&self.calls_unmetered),
            calls_estimated: get(&self.calls_estimated),
            calls_unpriced: get(&self.calls_unpriced),
            reasons,
            tls_names: names.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
