//! `deflate`: zlib's format (RFC 1950), or bare DEFLATE data (RFC 1951), which some send in its
//! place (RFC 9110, section 8.4.1.2).

use flate2::{Decompress, FlushDecompress, Status};

use super::{Broken, Step};

#[derive(Default)]
pub(super) enum Deflate {
    /// Nothing has come.
    #[default]
    Awaited,
    Data(Box<Decompress>),
    Ended,
}

impl Deflate {
    pub(super) fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Step, Broken> {
        let stream = match self {
            Self::Awaited => {
                let Some(&first) = bytes.first() else { return Ok(Step::default()) };
                *self = Self::Data(Box::new(Decompress::new(is_zlib(first))));
                return self.step(bytes, out);
            }
            Self::Data(stream) => stream,
            Self::Ended if bytes.is_empty() => return Ok(Step::default()),
            Self::Ended => return Err(Broken),
        };
        let (step, ended) = inflate(stream, bytes, out)?;
        if ended {
            *self = Self::Ended;
        }
        Ok(step)
    }

    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self, Self::Data(_))
    }
}

/// Whether zlib's format begins with this byte, which says that DEFLATE follows. Bare data that begins
/// so would be a stored block with a bit set in its padding, which no encoder writes.
const fn is_zlib(first: u8) -> bool {
    first & 0x0f == 8
}

/// One step, and whether the stream has ended with it.
pub(super) fn inflate(
    stream: &mut Decompress,
    bytes: &[u8],
    out: &mut [u8],
) -> Result<(Step, bool), Broken> {
    let before = (stream.total_in(), stream.total_out());
    let status = stream.decompress(bytes, out, FlushDecompress::Sync).map_err(|_| Broken)?;
    let taken = usize::try_from(stream.total_in() - before.0).unwrap_or(usize::MAX);
    let made = usize::try_from(stream.total_out() - before.1).unwrap_or(usize::MAX);
    Ok((Step { taken, made }, status == Status::StreamEnd))
}
