//! Content codings (RFC 9110, section 8.4.1), undone on a copy of what passes, as its bytes come,
//! cut anywhere.

mod brotli;
mod deflate;
mod gzip;
mod zstd;

use std::fmt;

use super::NotUnderstood;
use crate::limits;
use brotli::Brotli;
use deflate::Deflate;
use gzip::Gzip;
use zstd::Zstd;

/// Undoes the codings of one body: what can be told of it so far comes out at once, since the events
/// of a stream must not wait for one another.
///
/// Each coding may make [`limits::DECODED_RATIO`] times of what was sent, and an allowance on top
/// of it: a few bytes can ask for a thousand times as much work. Decoders are there from the first
/// byte to the last.
#[derive(Default)]
pub(super) struct Decoder {
    /// What was coded last comes first. None: the body is as it is.
    layers: Vec<Layer>,
    /// Bytes that were sent.
    sent: u64,
    allowance: u64,
}

/// A content coding that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// One coding that is being undone.
struct Layer {
    coding: Coding,
    /// Absent before the first byte.
    stage: Option<Stage>,
    /// Bytes that came out.
    made: u64,
}

enum Stage {
    Gzip(Gzip),
    Deflate(Deflate),
    Brotli(Brotli),
    Zstd(Zstd),
}

/// How far a stage has come: the bytes that it took, and those that it made of them. It made all
/// that it could if there was room for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    taken: usize,
    made: usize,
}

/// The bytes are not what their coding says.
#[derive(Clone, Copy, Debug)]
struct Broken;

impl Decoder {
    /// For a body with this `Content-Encoding`, of which each coding may make `allowance` bytes
    /// however few were sent.
    pub(super) fn new(
        content_encoding: Option<&str>,
        allowance: usize,
    ) -> Result<Self, NotUnderstood> {
        let mut layers = Vec::new();
        for name in content_encoding.unwrap_or_default().split(',').rev() {
            let Some(coding) = Coding::of(name.trim())? else { continue };
            if layers.len() == limits::CONTENT_CODINGS {
                return Err(NotUnderstood::Encoded);
            }
            layers.push(Layer { coding, stage: None, made: 0 });
        }
        Ok(Self { layers, sent: 0, allowance: allowance as u64 })
    }

    /// Whether the body is as it is.
    pub(super) const fn is_plain(&self) -> bool {
        self.layers.is_empty()
    }

    /// More of the body: `take` is given what came out of it. Once it has failed nothing more is to be
    /// pushed, and how much was given before depends on where the body was cut.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), NotUnderstood> {
        /// Bytes after which it is looked at again how much may come out: at the same places
        /// wherever the body is cut.
        const STRIDE: u64 = 16 * 1024;

        if self.is_plain() {
            take(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let left = STRIDE - self.sent % STRIDE;
            let next = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (piece, rest) = bytes.split_at(next);
            let end = (self.sent / STRIDE + 1) * STRIDE;
            let most = end.saturating_mul(limits::DECODED_RATIO).saturating_add(self.allowance);
            pass(&mut self.layers, most, piece, &mut take)?;
            self.sent += piece.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Whether the codings have come to their ends. A body without a byte has none.
    pub(super) fn is_whole(&self) -> bool {
        self.layers.iter().all(|layer| layer.stage.as_ref().is_none_or(Stage::is_whole))
    }
}

/// Its codings only: bodies are private.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layers.iter().map(|layer| layer.coding)).finish()
    }
}

impl Coding {
    /// The coding of this name; `None` if it leaves a body as it is.
    fn of(name: &str) -> Result<Option<Self>, NotUnderstood> {
        let is = |coding: &str| name.eq_ignore_ascii_case(coding);
        match () {
            () if name.is_empty() || is("identity") => Ok(None),
            () if is("gzip") || is("x-gzip") => Ok(Some(Self::Gzip)),
            () if is("deflate") => Ok(Some(Self::Deflate)),
            () if is("br") => Ok(Some(Self::Brotli)),
            () if is("zstd") => Ok(Some(Self::Zstd)),
            () => Err(NotUnderstood::Encoded),
        }
    }
}

/// Takes the bytes through all layers.
fn pass(
    layers: &mut [Layer],
    most: u64,
    mut bytes: &[u8],
    take: &mut impl FnMut(&[u8]),
) -> Result<(), NotUnderstood> {
    let Some((layer, inner)) = layers.split_first_mut() else {
        take(bytes);
        return Ok(());
    };
    let mut out = [0; 8192];
    loop {
        let Step { taken, made } = layer.step(bytes, &mut out)?;
        bytes = bytes.get(taken..).unwrap_or_default();
        layer.made += made as u64;
        if layer.made > most {
            return Err(NotUnderstood::TooLarge);
        }
        if made > 0 {
            pass(inner, most, out.get(..made).unwrap_or_default(), take)?;
        }
        match (taken, made) {
            _ if bytes.is_empty() && made < out.len() => return Ok(()),
            (0, 0) => return Err(NotUnderstood::BrokenCoding),
            _ => {}
        }
    }
}

impl Layer {
    fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Step, Broken> {
        let stage = match &mut self.stage {
            Some(stage) => stage,
            none => none.insert(Stage::new(self.coding)?),
        };
        match stage {
            Stage::Gzip(gzip) => gzip.step(bytes, out),
            Stage::Deflate(deflate) => deflate.step(bytes, out),
            Stage::Brotli(brotli) => brotli.step(bytes, out),
            Stage::Zstd(zstd) => zstd.step(bytes, out),
        }
    }
}

impl Stage {
    fn new(coding: Coding) -> Result<Self, Broken> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Gzip::default()),
            Coding::Deflate => Self::Deflate(Deflate::default()),
            Coding::Brotli => Self::Brotli(Brotli::new()),
            Coding::Zstd => Self::Zstd(Zstd::new()?),
        })
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_whole(),
            Self::Deflate(deflate) => deflate.is_whole(),
            Self::Brotli(brotli) => brotli.is_whole(),
            Self::Zstd(zstd) => zstd.is_whole(),
        }
    }
}

impl From<Broken> for NotUnderstood {
    fn from(Broken: Broken) -> Self {
        Self::BrokenCoding
    }
}

#[cfg(test)]
mod tests;
