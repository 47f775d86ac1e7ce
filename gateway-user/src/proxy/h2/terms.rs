//! What a request's head has to fulfil to go on.

use http::{Method, Request, uri::Scheme};

use super::head::{self, Gathered};
use crate::proxy::{
    coverage::add,
    exchange::{Connection, Exchange},
};

/// What is settled about a connection before its first byte.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Terms {
    /// `https` over TLS, else `http`.
    pub(in crate::proxy) scheme: Scheme,
    /// Whether to refuse what can be read in two ways; otherwise it is counted.
    pub(in crate::proxy) strict: bool,
}

impl Terms {
    /// Whether a request's head may go on, which is made ready for that. Counted if it may not.
    pub(super) fn check(
        &self,
        connection: &Connection,
        request: &mut Request<()>,
    ) -> Result<(), NotThis> {
        let coverage = &connection.agent.coverage;
        let hosts_differ = head::prepare(request, &self.scheme)
            .inspect_err(|_| add(&coverage.h2_refused, 1))
            .map_err(|_| NotThis)?;
        if hosts_differ {
            add(&coverage.h2_hosts_differ, 1);
            if self.strict {
                add(&coverage.h2_refused, 1);
                return Err(NotThis);
            }
        }
        Ok(())
    }
}

/// The head of a request can't go on.
#[derive(Debug)]
pub(super) struct NotThis;

/// What a request is, if it is HTTP.
pub(super) fn exchange(
    connection: &Connection,
    seq: u64,
    request: &Request<()>,
    id: u32,
) -> Option<Exchange> {
    let coverage = &connection.agent.coverage;
    let bytes = u64::try_from(head::request_size(request)).unwrap_or(u64::MAX);
    if request.method() == Method::CONNECT {
        add(&coverage.h2_tunnels, 1);
        add(&coverage.bytes_opaque, bytes);
        return None;
    }
    add(&coverage.bytes_observed, bytes);
    let gathered = Gathered::of_request(request);
    let asked = head::begin(request, &gathered, id);
    Some(Exchange::begin(connection, seq, &asked))
}
