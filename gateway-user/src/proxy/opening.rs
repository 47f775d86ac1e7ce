//! The first bytes of a connection, before they are passed on.

use std::{
    future::{Future, poll_fn},
    io,
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    lane::BUFFER,
    sniff::HTTP2_PREFACE,
    tls::{ClientHello, HelloReader, can_begin},
};
use crate::limits::{self, Bound, Bounds};

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
    bounds: &Bounds,
    ending: impl Future<Output = ()>,
) -> Opening {
    if held.is_empty() {
        let first = tokio::select! {
            biased;
            read = read_more(client, &mut held) => read,
            () = has_spoken(upstream, bounds) => return Opening::Plain(held),
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
        None => Box::pin(hear_more(client, upstream, held, hello, bounds)).await,
    }
}

/// The beginning may be one that has to be known: reads on.
async fn hear_more(
    client: &mut TcpStream,
    upstream: &TcpStream,
    mut held: Vec<u8>,
    mut hello: HelloReader,
    bounds: &Bounds,
) -> Opening {
    let more = async {
        loop {
            let read = tokio::select! {
                biased;
                read = read_more(client, &mut held) => read,
                () = has_spoken(upstream, bounds) => return Opening::Plain(take(&mut held)),
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
    if let Ok(opening) = timeout(bounds.limits().hello_time, more).await {
        return opening;
    }
    bounds.hit(Bound::HelloTime);
    if can_begin(&held) { Opening::Unreadable(held) } else { Opening::Plain(held) }
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

/// Something has come of it, if only its end. What an HTTP/2 server says of itself does not count, for
/// a while: it need not wait for its client to begin (RFC 9113, section 3.4).
async fn has_spoken(upstream: &TcpStream, bounds: &Bounds) {
    // What an error means is for the relay to find out.
    let _ = poll_fn(|cx| upstream.poll_read_ready(cx)).await;
    let mut first = [0; SETTINGS_HEAD];
    let peeked = recv(upstream, &mut first, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    if peeked.is_ok_and(|(count, _)| count == SETTINGS_HEAD) && begins_settings(first) {
        sleep(bounds.limits().hello_time).await;
        bounds.hit(Bound::HelloTime);
    }
}

/// The head of a SETTINGS frame that is no acknowledgement (RFC 9113, sections 4.1 and 6.5).
fn begins_settings(head: [u8; SETTINGS_HEAD]) -> bool {
    const SETTINGS: u8 = 4;
    const SETTING_BYTES: usize = 6;
    let [high, low @ .., kind, flags, _, _, _, _] = head;
    let length = usize::from(u16::from_be_bytes(low));
    high == 0
        && length.is_multiple_of(SETTING_BYTES)
        && (kind, flags) == (SETTINGS, 0)
        && head[5..] == [0; 4]
}

const SETTINGS_HEAD: usize = 9;

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

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream as StdStream},
        time::Duration,
    };

    use socket2::SockRef;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// A stream and its other end.
    async fn pair() -> (TcpStream, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await;
        (near.expect("it listens"), listener.accept().expect("one came").0)
    }

    /// How a connection begins whose client and server have said so much.
    async fn heard(said: &[u8], answered: &[u8], into_tls: bool) -> Opening {
        let ((mut client, mut client_end), (upstream, mut server_end)) =
            (pair().await, pair().await);
        client_end.write_all(said).expect("it is open");
        if !said.is_empty() {
            client.readable().await.expect("it comes");
        }
        server_end.write_all(answered).expect("it is open");
        let opening =
            hear(&mut client, &upstream, Vec::new(), into_tls, &Bounds::default(), pending()).await;
        client_end.set_nonblocking(true).expect("an option");
        client_end.read(&mut [0; 1]).expect_err("nothing was said to the client");
        opening
    }

    #[tokio::test(start_paused = true)]
    async fn a_hello_has_so_much_time_and_other_protocols_what_they_like() {
        for (said, into_tls, expected) in [
            (&b"\x16\x03\x01"[..], true, Opening::Unreadable(b"\x16\x03\x01".to_vec())),
            (b"\x16", true, Opening::Unreadable(b"\x16".to_vec())),
            (b"PRI * HTTP/2.0\r\n", false, Opening::Plain(b"PRI * HTTP/2.0\r\n".to_vec())),
        ] {
            let begun = tokio::time::Instant::now();
            assert_eq!(heard(said, b"", into_tls).await, expected, "{said:?}");
            assert_eq!(begun.elapsed().as_secs(), limits::HELLO_TIME.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_needs_not_be_known_is_not_held() {
        let begun = tokio::time::Instant::now();
        for (said, into_tls) in [
            (&b"GET /"[..], true),
            (b"POST", true),
            (b"PRI *  ", true),
            (b"\x16\x02", true),
            (b"\x16\x03\x01", false),
            (b"SSH-2.0-client\r\n", true),
        ] {
            assert_eq!(heard(said, b"", into_tls).await, Opening::Plain(said.to_vec()), "{said:?}");
        }
        assert_eq!(heard(HTTP2_PREFACE, b"", false).await, Opening::Http2(HTTP2_PREFACE.to_vec()));
        assert_eq!(heard(b"", b"hello", true).await, Opening::Plain(Vec::new()));
        assert_eq!(heard(b"P", b"hello", true).await, Opening::Plain(b"P".to_vec()));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_server_may_speak_before_its_client() {
        const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let ((mut client, mut client_end), (upstream, mut server_end)) =
            (pair().await, pair().await);
        server_end.write_all(SETTINGS).expect("it is open");
        upstream.readable().await.expect("it comes");
        {
            let bounds = Bounds::default();
            let mut opening =
                std::pin::pin!(hear(&mut client, &upstream, Vec::new(), false, &bounds, pending()));
            let polled = poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "its client has said nothing yet");
            client_end.write_all(HTTP2_PREFACE).expect("it is open");
            assert_eq!(opening.await, Opening::Http2(HTTP2_PREFACE.to_vec()));
        }
        // A client that waits for more than that is not kept for ever.
        let begun = tokio::time::Instant::now();
        assert_eq!(heard(b"", SETTINGS, false).await, Opening::Plain(Vec::new()));
        assert_eq!(begun.elapsed().as_secs(), limits::HELLO_TIME.as_secs());
    }

    #[tokio::test]
    async fn a_client_that_resets_is_gone_and_one_that_ends_is_not() {
        let ((mut client, client_end), (upstream, _server)) = (pair().await, pair().await);
        SockRef::from(&client_end).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(client_end);
        assert_eq!(
            hear(&mut client, &upstream, Vec::new(), true, &Bounds::default(), pending()).await,
            Opening::Gone
        );

        let ((mut client, client_end), (upstream, _server)) = (pair().await, pair().await);
        drop(client_end);
        let opening =
            hear(&mut client, &upstream, Vec::new(), true, &Bounds::default(), pending()).await;
        assert_eq!(opening, Opening::Plain(Vec::new()));
    }

    #[tokio::test]
    async fn what_is_larger_than_a_hello_can_be_is_let_go() {
        let ((mut client, mut client_end), (upstream, _server)) = (pair().await, pair().await);
        // Records of one byte each, of a message that is just small enough.
        let mut records = Vec::new();
        for byte in [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat_n(0, 0xffff)) {
            records.extend([22, 3, 1, 0, 1, byte]);
        }
        let writing =
            std::thread::spawn(move || client_end.write_all(&records).map(|()| client_end));
        let opening =
            hear(&mut client, &upstream, Vec::new(), true, &Bounds::default(), pending()).await;
        let Opening::Unreadable(held) = opening else { panic!("{opening:?}") };
        let most = limits::HELLO_BYTES + limits::READ_BYTES;
        assert!((limits::HELLO_BYTES..=most).contains(&held.len()), "{}", held.len());
        drop(client);
        let _ = writing.join().expect("it does not panic");
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_first() {
        let (stream, mut end) = pair().await;
        end.write_all(b" and the rest").expect("it is open");
        drop(end);
        let mut rewound = Rewound::new(b"the beginning".to_vec(), stream);
        let mut first = [0; 4];
        rewound.read_exact(&mut first).await.expect("it is there");
        let mut whole = first.to_vec();
        rewound.read_to_end(&mut whole).await.expect("an orderly end");
        assert_eq!(whole, b"the beginning and the rest");
        assert_eq!(rewound.held.capacity(), 0, "what was read again is given back");
    }
}
