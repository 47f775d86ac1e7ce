//! `br` (RFC 7932).

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{Broken, Step};

/// Its window grows as far as it is used, up to the format's 16 MiB: large windows, an extension
/// that nobody may send unasked, are not read.
pub(super) enum Brotli {
    Data(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Ended,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let memory = StandardAlloc::default;
        Self::Data(Box::new(BrotliState::new_strict(memory(), memory(), memory())))
    }

    pub(super) fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Step, Broken> {
        let stream = match self {
            Self::Data(stream) => stream,
            Self::Ended if bytes.is_empty() => return Ok(Step::default()),
            Self::Ended => return Err(Broken),
        };
        let (mut left, mut room, mut total) = (bytes.len(), out.len(), 0);
        let Step { mut taken, mut made } = Step::default();
        let result = BrotliDecompressStream(
            &mut left, &mut taken, bytes, &mut room, &mut made, out, &mut total, stream,
        );
        match result {
            BrotliResult::ResultSuccess => *self = Self::Ended,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Err(Broken),
        }
        Ok(Step { taken, made })
    }

    pub(super) const fn is_whole(&self) -> bool {
        matches!(self, Self::Ended)
    }
}
