//! The first bytes of a connection, before they are passed on.

use std::{
    future::{Future, poll_fn},
    io,
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{
    lane::BUFFER,
    sniff::HTTP2_PREFACE,
    tls::{ClientHello, HelloReader, can_begin},
};
use crate::limits;

/// How a connection begins. What was read of the client is told with it, and has not been passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing that has to be known before it is passed on, or the server speaks first.
    Plain(Vec<u8>),
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2(Vec<u8>),
    Tls(ClientHello, Vec<u8>),
    /// It seemed to be TLS, but is none that can be read, or did not come in time.
    Unreadable(Vec<u8>),
    /// The client is gone.
    Gone,
    /// The gateway ends, and nothing was said yet.
    Unsaid,
}

/// Reads the first bytes of a client: until they tell how the connection begins, until they take too
/// long, or until the server speaks. A byte is held back only as long as it may belong to what has to
/// be known first: TLS, if TLS is looked into, and HTTP/2. Some may have been `held` before.
pub(super) async fn hear(
    client: &mut TcpStream,
    upstream: &TcpStream,
    mut held: Vec<u8>,
    into_tls: bool,
    ending: impl Future<Output = ()>,
) -> Opening {
    if held.is_empty() {
        let first = tokio::select! {
            biased;
            read = read_more(client, &mut held) => read,
            _ = upstream.readable() => return Opening::Plain(held),
            () = ending => return Opening::Unsaid,
        };
        if first.is_err() {
            return Opening::Gone;
        }
    }
    // In its own box: most connections are told by their first bytes.
    let mut hello = HelloReader::default();
    match told(&mut held, &mut hello, into_tls) {
        Some(opening) => opening,
        None => Box::pin(hear_more(client, upstream, held, hello)).await,
    }
}

/// The beginning may be one that has to be known: reads on.
async fn hear_more(
    client: &mut TcpStream,
    upstream: &TcpStream,
    mut held: Vec<u8>,
    mut hello: HelloReader,
) -> Opening {
    let more = async {
        loop {
            let read = tokio::select! {
                biased;
                read = read_more(client, &mut held) => read,
                _ = upstream.readable() => return Opening::Plain(take(&mut held)),
            };
            match read {
                Ok(0) => return Opening::Plain(take(&mut held)),
                Ok(_) => {}
                Err(_) => return Opening::Gone,
            }
            if let Some(opening) = told(&mut held, &mut hello, true) {
                return opening;
            }
        }
    };
    match timeout(limits::HELLO_TIME, more).await {
        Ok(opening) => opening,
        Err(_) if can_begin(&held) => Opening::Unreadable(held),
        Err(_) => Opening::Plain(held),
    }
}

/// What the first bytes tell, if they tell enough. Then they are taken.
fn told(held: &mut Vec<u8>, hello: &mut HelloReader, into_tls: bool) -> Option<Opening> {
    if held.is_empty() {
        return Some(Opening::Plain(Vec::new()));
    }
    if into_tls && can_begin(held) {
        return match hello.look(held) {
            Ok(Some(hello)) => Some(Opening::Tls(hello, take(held))),
            Ok(None) if held.len() < limits::HELLO_BYTES => None,
            Ok(None) | Err(_) => Some(Opening::Unreadable(take(held))),
        };
    }
    let preface = held.len().min(HTTP2_PREFACE.len());
    if held[..preface] != HTTP2_PREFACE[..preface] {
        return Some(Opening::Plain(take(held)));
    }
    (preface == HTTP2_PREFACE.len()).then(|| Opening::Http2(take(held)))
}

/// Reads what there is. 0 at the end.
async fn read_more(client: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *client).poll_read(cx, &mut read))?;
            held.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    })
    .await
}

/// A stream that begins with what was read from it already.
#[derive(Debug)]
pub(super) struct Rewound {
    held: Vec<u8>,
    /// How much of it has been read again.
    read: usize,
    pub(super) stream: TcpStream,
}

impl Rewound {
    pub(super) const fn new(held: Vec<u8>, stream: TcpStream) -> Self {
        Self { held, read: 0, stream }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = this.held.get(this.read..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let again = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..again]);
        this.read += again;
        if this.read == this.held.len() {
            this.held = Vec::new();
            this.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
