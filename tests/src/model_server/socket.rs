//! The WebSocket protocol (RFC 6455) on the server's side, with permessage-deflate (RFC 7692) where
//! it is offered.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use hyper::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY},
};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// An open socket: messages come and go.
pub(super) struct Socket<S> {
    stream: S,
    deflate: Option<(Compress, Decompress)>,
}

/// What the server says to an upgrade.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) key: HeaderValue,
    /// Both sides keep their compression's window from one message to the next.
    pub(super) deflate: bool,
}

impl Accepted {
    /// None: the request is no WebSocket's.
    pub(super) fn answer(headers: &HeaderMap) -> Option<Self> {
        let mut hash = Sha1::new();
        hash.update(headers.get(SEC_WEBSOCKET_KEY)?);
        hash.update(GUID);
        let key = HeaderValue::try_from(BASE64.encode(hash.finalize())).ok()?;
        let offers = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        let deflate = offers.filter_map(|o| o.to_str().ok()).any(|offer| offer.contains(DEFLATE));
        Some(Self { key, deflate })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(stream: S, deflate: bool) -> Self {
        let both = || (Compress::new(Compression::fast(), false), Decompress::new(false));
        Self { stream, deflate: deflate.then(both) }
    }

    /// The next message; none once the client has closed the socket.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut deflated = false;
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).await?;
            let payload = self.payload(head[1]).await?;
            match head[0] & 0x0f {
                0x8 => {
                    self.frame(0x88, &payload).await?;
                    return Ok(None);
                }
                0x9 => {
                    self.frame(0x8a, &payload).await?;
                    continue;
                }
                0xa => continue,
                0x0 => {}
                _ => deflated = head[0] & 0x40 != 0,
            }
            message.extend(payload);
            if head[0] & 0x80 != 0 {
                return if deflated { self.inflate(message).map(Some) } else { Ok(Some(message)) };
            }
        }
    }

    /// Sends a text message.
    pub(super) async fn send(&mut self, text: &[u8]) -> io::Result<()> {
        let Some((compress, _)) = &mut self.deflate else { return self.frame(0x81, text).await };
        let mut out = Vec::with_capacity(text.len() + 64);
        let before = compress.total_in();
        while compress.total_in() - before < text.len() as u64 || out.len() == out.capacity() {
            out.reserve(text.len() + 64);
            let done = usize::try_from(compress.total_in() - before).unwrap_or(text.len());
            compress.compress_vec(&text[done..], &mut out, FlushCompress::Sync)?;
        }
        let end = out.len().saturating_sub(TAIL.len());
        self.frame(0xc1, &out[..end]).await
    }

    async fn payload(&mut self, second: u8) -> io::Result<Vec<u8>> {
        let length = match second & 0x7f {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            length => u64::from(length),
        };
        if second & 0x80 == 0 || length > MAX_MESSAGE {
            return Err(io::Error::other("a frame without a mask, or a very large one"));
        }
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(payload)
    }

    fn inflate(&mut self, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
        let (_, decompress) =
            self.deflate.as_mut().ok_or_else(|| io::Error::other("deflated unasked"))?;
        message.extend(TAIL);
        let mut out = Vec::with_capacity(message.len() * 4);
        let before = decompress.total_in();
        while decompress.total_in() - before < message.len() as u64 || out.len() == out.capacity() {
            out.reserve(message.len() * 4);
            let done = usize::try_from(decompress.total_in() - before).unwrap_or(message.len());
            let flush = FlushDecompress::Sync;
            if decompress.decompress_vec(&message[done..], &mut out, flush)? == Status::StreamEnd {
                return Err(io::Error::other("a deflated message that ends the stream"));
            }
        }
        Ok(out)
    }

    async fn frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ 0..=125), _) => frame.push(length),
            (_, Ok(length)) => {
                frame.push(126);
                frame.extend(length.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }
}

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
pub(super) const DEFLATE: &str = "permessage-deflate";
/// What a compressed message leaves out (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const MAX_MESSAGE: u64 = 64 << 20;
