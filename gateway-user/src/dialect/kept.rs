//! What a reader of a stream keeps of it from one slice to the next.

/// Bytes kept up to a limit; all are let go when it is passed.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) overflowed: bool,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.overflowed
    }

    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        if self.overflowed || bytes.len() > limit - self.bytes.len() {
            self.overflow();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
        self.bytes = Vec::new();
    }

    /// Empties the buffer, and gives back what one long event made it grow to: a stream may go on
    /// for long.
    pub(super) fn reset(&mut self) {
        const RETAINED_BYTES: usize = 8 * 1024;
        self.overflowed = false;
        self.bytes.clear();
        if self.bytes.capacity() > RETAINED_BYTES {
            self.bytes = Vec::new();
        }
    }
}
