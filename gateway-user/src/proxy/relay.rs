//! A relayed connection: both directions, and what ends it.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::net::TcpStream;

use super::{
    connect::reset_on_drop,
    lane::{Failure, Lane},
    tap::Tap,
};

/// Carries a connection until it ends. Either direction may end before the other; an error on
/// either side becomes a reset of both, as it would have been one for the two without us.
#[derive(Debug)]
pub(super) struct Relay {
    client: TcpStream,
    upstream: TcpStream,
    up: Lane,
    down: Lane,
    /// The first failed write: that direction is over, but the other may still have bytes for us,
    /// such as an answer that a server gave before it closed.
    broken: Option<Broken>,
    tap: Tap,
    draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Up,
    Down,
}

impl Relay {
    pub(super) fn new(client: TcpStream, upstream: TcpStream, tap: Tap) -> Self {
        Self {
            client,
            upstream,
            up: Lane::default(),
            down: Lane::default(),
            broken: None,
            tap,
            draining: false,
        }
    }

    /// From now on the connection ends as soon as no exchange is under way on it.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { client, upstream, tap, .. } = self;
        let up = match self.broken {
            Some(Broken::Up) => Poll::Ready(Ok(())),
            _ => self.up.poll(cx, client, upstream, |bytes| tap.client_sent(bytes)),
        };
        let down = match self.broken {
            Some(Broken::Down) => Poll::Ready(Ok(())),
            _ => self.down.poll(cx, upstream, client, |bytes| tap.server_sent(bytes)),
        };
        let up = self.settle(up, Broken::Up);
        let down = self.settle(down, Broken::Down);
        match (up, down) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => match self.broken {
                None => Poll::Ready(Ok(())),
                Some(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            _ => Poll::Pending,
        }
    }

    /// A side that can't be read from is gone. One that can't be written to may still speak.
    fn settle(&mut self, lane: Poll<Result<(), Failure>>, which: Broken) -> Poll<io::Result<()>> {
        match lane {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(Failure::Source(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(Failure::Sink(error))) => match self.broken {
                None => {
                    self.broken = Some(which);
                    Poll::Ready(Ok(()))
                }
                Some(_) => Poll::Ready(Err(error)),
            },
        }
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let ended = this.poll_lanes(cx);
        if this.up.is_closed() {
            this.tap.client_ended();
        }
        if this.down.is_closed() {
            this.tap.server_ended();
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                reset_on_drop(&this.client);
                reset_on_drop(&this.upstream);
                this.tap.broken();
                Poll::Ready(())
            }
            Poll::Pending if this.draining && this.tap.is_idle() => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}
