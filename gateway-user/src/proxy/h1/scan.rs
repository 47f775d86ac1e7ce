//! The lines of a head or of trailers: found, bounded, and their ends held to CRLF.

use memchr::{memchr_iter, memchr2_iter};

use super::Fault;
/// A run of lines up to and including an empty one: a head, or the trailers of a chunked body.
/// Keeps what came before if it arrives in several pieces, up to a bound.
#[derive(Debug)]
pub(super) struct Section {
    kept: Vec<u8>,
    /// How many bytes at the end of `kept` belong to a line that is not complete.
    open_line: usize,
    /// Bytes of a whole section.
    limit: usize,
}

impl Section {
    pub(super) const fn within(limit: usize) -> Self {
        Self { kept: Vec::new(), open_line: 0, limit }
    }

    /// Takes the next bytes: how many, and the whole section once it is complete. Without a
    /// section, all of `input` was taken. Call [`clear`](Self::clear) when done with the section.
    pub(super) fn take<'s>(
        &'s mut self,
        input: &'s [u8],
    ) -> Result<(usize, Option<&'s [u8]>), Fault> {
        let room = self.limit.saturating_sub(self.kept.len());
        let window = input.get(..room).unwrap_or(input);
        match self.end(window)? {
            Some(end) => {
                let (last, _) = window.split_at(end);
                if self.kept.is_empty() {
                    return Ok((end, Some(last)));
                }
                self.kept.extend_from_slice(last);
                Ok((end, Some(&self.kept)))
            }
            None if window.len() < input.len() => Err(Fault::HeadTooLarge),
            None => {
                self.kept.extend_from_slice(input);
                Ok((input.len(), None))
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::within(self.limit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many bytes have come of a section that is not complete.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Where the empty line ends, if it is here. A bare LF or CR must be refused as it is met:
    /// where two of them in a row end the head for the peer, nothing more may ever come.
    fn end(&mut self, window: &[u8]) -> Result<Option<usize>, Fault> {
        let mut line = 0;
        let after_cr = self.kept.last() == Some(&b'\r');
        if after_cr && window.first().is_some_and(|&byte| byte != b'\n') {
            return Err(Fault::BareCr);
        }
        for at in memchr2_iter(b'\r', b'\n', window) {
            let follows = if at == 0 { after_cr } else { window.get(at - 1) == Some(&b'\r') };
            match (window.get(at), follows) {
                (Some(b'\n'), false) => return Err(Fault::BareLf),
                (Some(b'\n'), true) => {
                    if self.open_line + at - line == 1 {
                        return Ok(Some(at + 1));
                    }
                    self.open_line = 0;
                    line = at + 1;
                }
                _ if !matches!(window.get(at + 1), Some(b'\n') | None) => {
                    return Err(Fault::BareCr);
                }
                _ => {}
            }
        }
        self.open_line += window.len() - line;
        Ok(None)
    }
}

/// Names the fault in a section that `httparse` refused.
#[cold]
pub(super) fn diagnose(section: &[u8], error: httparse::Error) -> Fault {
    use httparse::Error;

    let bare_cr =
        memchr_iter(b'\r', section).any(|at| section.get(at + 1).is_some_and(|&b| b != b'\n'));
    if bare_cr {
        return Fault::BareCr;
    }
    match error {
        Error::TooManyHeaders => Fault::TooManyFields,
        Error::HeaderName => diagnose_name(section),
        Error::HeaderValue => Fault::FieldValue,
        Error::Status => Fault::StatusLine,
        // With bare CRs ruled out, a bad line end is that of the request line.
        Error::Token | Error::Version | Error::NewLine => {
            let line = lines(section).next().unwrap_or_default();
            let spaces = memchr_iter(b' ', line).count();
            if spaces > 2 || line.contains(&b'\t') {
                Fault::TargetWhitespace
            } else if error == Error::Version {
                Fault::Version
            } else {
                Fault::RequestLine
            }
        }
    }
}

fn diagnose_name(section: &[u8]) -> Fault {
    let is_space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    for line in lines(section).skip(1) {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        if is_space(line.first()) {
            return Fault::ObsoleteFold;
        }
        if is_space(name.last()) {
            return Fault::SpaceBeforeColon;
        }
    }
    Fault::FieldName
}

fn lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}
