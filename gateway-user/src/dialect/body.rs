//! A body that is kept to be read whole.

use std::fmt;

use super::{Coding, NotUnderstood};
use crate::limits;

/// Collects up to a number of bytes. A body that is encoded or grows beyond that is let go.
pub(super) struct Body {
    bytes: Vec<u8>,
    limit: usize,
    /// Bytes to make room for at once.
    expected: usize,
    lost: Option<NotUnderstood>,
}

impl Body {
    /// An empty body that may grow to `limit` bytes.
    pub(super) fn new(content_encoding: Option<&str>, limit: usize) -> Self {
        let lost = Coding::of(content_encoding).map(NotUnderstood::Encoded);
        Self { bytes: Vec::new(), limit, expected: 0, lost }
    }

    /// The same, if it is told to have so many bytes: room is made for them at once, up to
    /// [`limits::RESERVED_BYTES`].
    pub(super) fn expecting(self, bytes: Option<u64>) -> Self {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        Self { expected: bytes.min(limits::RESERVED_BYTES), ..self }
    }

    /// Why the body is not kept, if it isn't.
    pub(super) fn lost(&self) -> Option<NotUnderstood> {
        self.lost
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        if bytes.len() > self.limit - self.bytes.len() {
            self.bytes = Vec::new();
            self.lost = Some(NotUnderstood::TooLarge);
        } else {
            if self.bytes.is_empty() {
                self.bytes.reserve_exact(self.expected.min(self.limit));
            }
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// What is kept so far.
    pub(super) fn kept(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole body; what was kept of it is gone afterwards.
    pub(super) fn take(&mut self) -> Result<Vec<u8>, NotUnderstood> {
        match self.lost {
            Some(reason) => Err(reason),
            None => Ok(std::mem::take(&mut self.bytes)),
        }
    }
}

/// Its size only: bodies are private.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("bytes", &self.bytes.len())
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

    #[test]
    fn an_encoded_body_is_not_kept() {
        let mut body = Body::new(Some(" GZIP "), 4);
        body.push(b"abcdef");
        assert_eq!(body.take(), Err(NotUnderstood::Encoded(Coding::Gzip)));
    }
}
