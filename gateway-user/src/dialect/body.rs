//! A body that is kept to be read whole.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{NotUnderstood, coding::Decoder};
use crate::{call::Digest, limits};

/// Collects up to a number of bytes, without their content coding. A body that grows beyond that, or
/// can't be decoded, is let go.
pub(super) struct Body {
    decoder: Decoder,
    kept: Kept,
    /// Of the bytes as they were sent, where those are others than are kept and it is asked for. In a
    /// box, as it is rare.
    sent: Option<Box<Sha256>>,
    lost: Option<NotUnderstood>,
}

struct Kept {
    bytes: Vec<u8>,
    limit: usize,
    /// Bytes to make room for at once.
    expected: usize,
    overflowed: bool,
}

impl Body {
    /// An empty body that may grow to `limit` bytes.
    pub(super) fn new(content_encoding: Option<&str>, limit: usize) -> Self {
        let kept = Kept { bytes: Vec::new(), limit, expected: 0, overflowed: false };
        match Decoder::new(content_encoding, limit) {
            Ok(decoder) => Self { decoder, kept, sent: None, lost: None },
            Err(reason) => {
                Self { decoder: Decoder::default(), kept, sent: None, lost: Some(reason) }
            }
        }
    }

    /// The same, if it is told to have so many bytes: room is made for them at once, up to
    /// [`limits::RESERVED_BYTES`].
    pub(super) fn expecting(mut self, bytes: Option<u64>) -> Self {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        self.kept.expected = bytes.min(limits::RESERVED_BYTES);
        self
    }

    /// The same, with a digest of what is sent, if it is encoded.
    pub(super) fn digested(mut self) -> Self {
        self.sent = (!self.decoder.is_plain()).then(Box::default);
        self
    }

    /// Whether its bytes are not those of what it says.
    pub(super) const fn is_encoded(&self) -> bool {
        !self.decoder.is_plain() || matches!(self.lost, Some(NotUnderstood::Encoded))
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        if let Some(sent) = &mut self.sent {
            sent.update(bytes);
        }
        let pushed = self.decoder.push(bytes, |bytes| self.kept.push(bytes));
        let lost = if self.kept.overflowed { Err(NotUnderstood::TooLarge) } else { pushed };
        if let Err(reason) = lost {
            self.lost = Some(reason);
            self.decoder = Decoder::default();
            self.kept.bytes = Vec::new();
        }
    }

    /// The whole body; what was kept of it is gone afterwards.
    pub(super) fn take(&mut self) -> Result<Vec<u8>, NotUnderstood> {
        match self.lost {
            Some(reason) => Err(reason),
            None if !self.decoder.is_whole() => Err(NotUnderstood::BrokenCoding),
            None => Ok(std::mem::take(&mut self.kept.bytes)),
        }
    }

    /// The digest of what was sent, once, if it was encoded and is [`digested`](Self::digested).
    pub(super) fn digest(&mut self) -> Option<Digest> {
        self.sent.take().map(|sent| Digest((*sent).finalize().into()))
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        if self.overflowed || bytes.len() > self.limit - self.bytes.len() {
            self.overflowed = true;
            self.bytes = Vec::new();
        } else {
            if self.bytes.is_empty() {
                self.bytes.reserve_exact(self.expected.min(self.limit));
            }
            self.bytes.extend_from_slice(bytes);
        }
    }
}

/// Its size only: bodies are private.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("bytes", &self.kept.bytes.len())
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_its_limit_and_not_beyond() {
        let mut body = Body::new(Some("identity"), 4);
        body.push(b"ab");
        body.push(b"cd");
        body.push(b"");
        assert_eq!(body.take(), Ok(b"abcd".to_vec()));

        let mut body = Body::new(None, 4);
        body.push(b"abc");
        body.push(b"de");
        body.push(b"f");
        assert_eq!(body.take(), Err(NotUnderstood::TooLarge));
    }

    /// `printf abcd | gzip -n`.
    const GZIPPED: [u8; 24] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0x4c, 0x4a, 0x4e, 1, 0, 0x11, 0xcd, 0x82, 0xed,
        4, 0, 0, 0,
    ];

    #[test]
    fn an_encoded_body_is_kept_decoded_and_digested_as_it_was_sent() {
        for limit in [4, 5] {
            let mut body = Body::new(Some(" GZIP "), limit).digested();
            for byte in GZIPPED {
                body.push(&[byte]);
            }
            assert_eq!(body.take(), Ok(b"abcd".to_vec()));
            assert_eq!(body.digest(), Some(Digest(Sha256::digest(GZIPPED).into())));
        }
        let mut plain = Body::new(None, 4).digested();
        plain.push(b"abcd");
        assert_eq!(plain.digest(), None);
    }

    #[test]
    fn a_body_that_can_not_be_decoded_is_not_kept() {
        let take = |coding, limit, bytes: &[u8]| {
            let mut body = Body::new(Some(coding), limit);
            body.push(bytes);
            body.push(b"");
            body.take()
        };
        assert_eq!(take("gzip", 3, &GZIPPED), Err(NotUnderstood::TooLarge));
        assert_eq!(take("gzip", 4, &GZIPPED[..20]), Err(NotUnderstood::BrokenCoding));
        assert_eq!(take("gzip", 4, b"abcd"), Err(NotUnderstood::BrokenCoding));
        assert_eq!(take("gzip, compress", 4, &GZIPPED), Err(NotUnderstood::Encoded));
        assert_eq!(take("gzip", 4, b""), Ok(Vec::new()));
    }
}
