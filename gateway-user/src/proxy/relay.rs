//! A relayed connection: both directions, and what ends it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::net::TcpStream;

use super::{
    connect::end_on_drop,
    lane::{Failure, Lane, Watcher},
    tap::Tap,
};

/// Carries a connection until it ends. Either direction may end before the other; an error on
/// either side becomes a reset of both, as it would have been one for the two without us. What the
/// failed side had sent before is passed on first, as far as the other takes it at once: a server
/// may answer and close while the client still sends.
///
/// Both streams come to it as ones that are reset when they are dropped, and stay so until the
/// connection has ended in good order.
#[derive(Debug)]
pub(super) struct Relay {
    client: TcpStream,
    upstream: TcpStream,
    up: Lane,
    down: Lane,
    tap: Tap,
    draining: bool,
}

/// One of the two that a connection joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

impl Relay {
    pub(super) fn new(client: TcpStream, upstream: TcpStream, tap: Tap) -> Self {
        Self { client, upstream, up: Lane::default(), down: Lane::default(), tap, draining: false }
    }

    /// From now on the connection ends as soon as no exchange is under way on it.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Ready when both directions have ended, or with the side that failed.
    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Side>> {
        let Self { client, upstream, tap, .. } = self;
        let up = self.up.poll(cx, client, upstream, &mut FromClient(tap));
        let up = match up {
            Poll::Ready(Err(failure)) => {
                tracing::debug!(%failure, "client to upstream");
                return Poll::Ready(Err(match failure {
                    Failure::Source(_) => Side::Client,
                    Failure::Sink(_) => {
                        self.down.carry_rest(upstream, client, &mut FromServer(tap));
                        Side::Upstream
                    }
                }));
            }
            up => up.is_ready(),
        };
        let down = self.down.poll(cx, upstream, client, &mut FromServer(tap));
        match down {
            Poll::Ready(Err(failure)) => {
                tracing::debug!(%failure, "upstream to client");
                Poll::Ready(Err(match failure {
                    Failure::Source(_) => Side::Upstream,
                    Failure::Sink(_) => {
                        self.up.carry_rest(client, upstream, &mut FromClient(tap));
                        Side::Client
                    }
                }))
            }
            Poll::Ready(Ok(())) if up => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Whether nothing would be lost if it ended now.
    fn is_idle(&self) -> bool {
        self.tap.is_idle() && self.up.is_flushed() && self.down.is_flushed()
    }
}

/// The tap on what the client sends.
struct FromClient<'a>(&'a mut Tap);

/// The tap on what the server sends.
struct FromServer<'a>(&'a mut Tap);

impl Watcher for FromClient<'_> {
    fn wants_bytes(&self) -> bool {
        !self.0.is_opaque()
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.0.client_sent(bytes);
    }

    fn missed(&mut self, count: usize) {
        self.0.passed_unseen(count);
    }
}

impl Watcher for FromServer<'_> {
    fn wants_bytes(&self) -> bool {
        !self.0.is_opaque()
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.0.server_sent(bytes);
    }

    fn missed(&mut self, count: usize) {
        self.0.passed_unseen(count);
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let lanes = this.poll_lanes(cx);
        if this.up.is_closed() {
            this.tap.client_ended();
        }
        if this.down.is_closed() {
            this.tap.server_ended();
        }
        match lanes {
            Poll::Ready(Err(side)) => this.tap.broken(side),
            Poll::Pending if !(this.draining && this.is_idle()) => return Poll::Pending,
            Poll::Ready(Ok(())) | Poll::Pending => {
                end_on_drop(&this.client);
                end_on_drop(&this.upstream);
            }
        }
        Poll::Ready(())
    }
}
