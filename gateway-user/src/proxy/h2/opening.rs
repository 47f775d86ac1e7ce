//! The server's first frame, read in passing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::settings::Announced;

/// Reads the first frame of a connection, cut anywhere: a server begins with a SETTINGS frame that
/// acknowledges nothing (RFC 9113, section 3.4).
#[derive(Debug, Default)]
pub struct FirstFrame {
    /// The frame's head and as much of its payload as makes one setting.
    held: Vec<u8>,
    /// Of the payload, still to come. Known once the head is.
    rest: Option<usize>,
    announced: Announced,
}

/// Why a connection is not HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHttp2 {
    #[error("the first frame is no SETTINGS frame")]
    FirstFrame,
    #[error("the first frame is malformed")]
    Malformed,
}

impl FirstFrame {
    /// More of the beginning. What the frame announced, once all of it was seen; it must not be
    /// called again then.
    pub fn look(&mut self, mut bytes: &[u8]) -> Option<Result<Announced, NotHttp2>> {
        loop {
            let wanted = match self.rest {
                None => HEAD_BYTES,
                Some(0) => return Some(Ok(self.announced)),
                Some(_) => SETTING_BYTES,
            };
            let (taken, left) = bytes.split_at(bytes.len().min(wanted - self.held.len()));
            self.held.extend_from_slice(taken);
            bytes = left;
            if self.held.len() < wanted {
                return None;
            }
            match (self.rest, self.held.as_slice()) {
                (None, head) => match payload_bytes(head) {
                    Ok(length) => self.rest = Some(length),
                    Err(error) => return Some(Err(error)),
                },
                (Some(rest), &[id0, id1, v0, v1, v2, v3]) => {
                    let id = u16::from_be_bytes([id0, id1]);
                    self.announced.take(id, u32::from_be_bytes([v0, v1, v2, v3]));
                    self.rest = Some(rest.saturating_sub(SETTING_BYTES));
                }
                // Never: exactly one setting was collected.
                (Some(_), _) => return Some(Err(NotHttp2::Malformed)),
            }
            self.held.clear();
        }
    }
}

/// The length of a first frame, by its head (RFC 9113, sections 4.1 and 6.5).
fn payload_bytes(head: &[u8]) -> Result<usize, NotHttp2> {
    const SETTINGS: u8 = 4;
    const ACK: u8 = 1;

    let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = head else { return Err(NotHttp2::Malformed) };
    if kind != SETTINGS || flags & ACK != 0 {
        return Err(NotHttp2::FirstFrame);
    }
    let length = u32::from_be_bytes([0, l0, l1, l2]);
    // The highest bit means nothing.
    let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
    let length = usize::try_from(length).map_err(|_| NotHttp2::Malformed)?;
    if stream != 0 || length % SETTING_BYTES != 0 || length > MAX_FRAME_BYTES {
        return Err(NotHttp2::Malformed);
    }
    Ok(length)
}

const HEAD_BYTES: usize = 9;
const SETTING_BYTES: usize = 6;
/// What we announced, which is the default.
const MAX_FRAME_BYTES: usize = 16_384;

/// A stream to one of the two sides. It changes nothing, and tells that something came, and of
/// upstream's what the first frame was, as soon as it was read.
#[derive(Debug)]
pub(super) struct Watched<U> {
    inner: U,
    first: Option<FirstFrame>,
    told: Opening,
    moved: Moved,
}

/// Whether something came of either side.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved(Arc<AtomicBool>);

impl Moved {
    /// Since it was last asked.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the server's first frame was, once it is known.
pub(super) type Opening = Arc<OnceLock<Result<Announced, NotHttp2>>>;

impl<U> Watched<U> {
    /// The client's.
    pub(super) fn client(inner: U, moved: &Moved) -> Self {
        Self { inner, first: None, told: Opening::default(), moved: moved.clone() }
    }

    pub(super) fn upstream(inner: U, moved: &Moved) -> (Self, Opening) {
        let told = Opening::default();
        let first = Some(FirstFrame::default());
        (Self { inner, first, told: Arc::clone(&told), moved: moved.clone() }, told)
    }
}

impl<U: AsyncRead + Unpin> AsyncRead for Watched<U> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        this.moved.set();
        if let Some(first) = &mut this.first {
            let bytes = buffer.filled().get(before..).unwrap_or_default();
            if let Some(opening) = first.look(bytes) {
                this.first = None;
                // It is set only here, once.
                let _ = this.told.set(opening);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<U: AsyncWrite + Unpin> AsyncWrite for Watched<U> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn an_empty_settings_frame_announces_the_defaults() {
        let seen = FirstFrame::default().look(&frame(4, 0, 0, &[]));
        assert_eq!(seen, Some(Ok(Announced::default())));
    }

    #[test]
    fn what_does_not_begin_with_settings_is_not_http2() {
        for (bytes, error) in [
            (frame(4, 1, 0, &[]), NotHttp2::FirstFrame),
            (frame(6, 0, 0, &[0; 8]), NotHttp2::FirstFrame),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), NotHttp2::FirstFrame),
            (frame(4, 0, 1, &[]), NotHttp2::Malformed),
            (frame(4, 0, 0, &[0; 5]), NotHttp2::Malformed),
            (vec![0xff, 0xff, 0xfc, 4, 0, 0, 0, 0, 0], NotHttp2::Malformed),
        ] {
            assert_eq!(FirstFrame::default().look(&bytes), Some(Err(error)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_reads_the_same(
            settings in prop::collection::vec((any::<u16>(), any::<u32>()), 0..20),
            cuts in prop::collection::vec(1_usize..30, 0..40),
            more: Vec<u8>,
        ) {
            let mut expected = Announced::default();
            let mut payload = Vec::new();
            for (id, value) in settings {
                let id = id % 12;
                expected.take(id, value);
                payload.extend(id.to_be_bytes());
                payload.extend(value.to_be_bytes());
            }
            let mut bytes = frame(4, 0, 0x8000_0000, &payload);
            bytes.extend(&more);
            let mut first = FirstFrame::default();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.into_iter();
            let seen = loop {
                let (piece, left) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                rest = left;
                if let Some(seen) = first.look(piece) {
                    break seen;
                }
                prop_assert!(!rest.is_empty());
            };
            prop_assert_eq!(seen, Ok(expected));
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = FirstFrame::default().look(&bytes);
        }
    }
}
