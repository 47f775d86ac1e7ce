//! `zstd` (RFC 8878): frames, one after the other.

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Broken, Step};
use crate::limits;

pub(super) struct Zstd {
    stream: DCtx<'static>,
    /// A frame has ended and no other has begun.
    whole: bool,
}

impl Zstd {
    /// Fails only for want of memory.
    pub(super) fn new() -> Result<Self, Broken> {
        let mut stream = DCtx::try_create().ok_or(Broken)?;
        let window = DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG);
        stream.set_parameter(window).map_err(|_| Broken)?;
        Ok(Self { stream, whole: false })
    }

    pub(super) fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Step, Broken> {
        if self.whole && bytes.is_empty() {
            return Ok(Step::default());
        }
        let (mut bytes, mut out) = (InBuffer::around(bytes), OutBuffer::around(out));
        let hint = self.stream.decompress_stream(&mut out, &mut bytes).map_err(|_| Broken)?;
        self.whole = hint == 0;
        Ok(Step { taken: bytes.pos(), made: out.pos() })
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }
}
