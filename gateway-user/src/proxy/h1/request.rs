//! What the client sends.

use super::{
    Eof, Fault, FramingError, RequestHead,
    body::{Body, Step},
    scan::Section,
};
use crate::limits;

/// Frames the requests of one connection.
///
/// ```text
/// Start ─first byte─► Head ─RequestPiece::Head─► Body ─RequestPiece::End─► Start
///   └─empty lines─┘
/// ```
///
/// From each of them: to `Tunnel` when told, to `Failed` on a fault. Both are final.
#[derive(Debug)]
pub struct RequestFramer {
    state: State,
    section: Section,
}

/// A part of a request, in order: one head, any number of body pieces, one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestPiece<'a> {
    Head(RequestHead),
    /// Bytes of the body, without chunk framing. Never empty.
    Body(&'a [u8]),
    End,
}

#[derive(Debug)]
enum State {
    /// Between requests.
    Start {
        empty_lines: usize,
        after_cr: bool,
    },
    Head,
    Body(Body),
    Tunnel,
    Failed(FramingError),
}

impl RequestFramer {
    /// For heads of up to [`limits::HEAD_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::within(limits::HEAD_BYTES)
    }

    /// For heads and trailers of up to so many bytes.
    #[must_use]
    pub fn within(head_bytes: usize) -> Self {
        Self { state: State::START, section: Section::within(head_bytes) }
    }

    /// Reads the next piece off `input`: how many bytes were taken for it, and the piece. Call it
    /// until there is no piece: then all of `input` was taken, and more is needed.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<RequestPiece<'a>>), FramingError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        self.step(input).map_err(|fault| {
            let error = FramingError::Client(fault);
            self.state = State::Failed(error);
            error
        })
    }

    /// How many of the last bytes belong to a head, or to a line between chunks, that is not
    /// complete: what they are is not known yet.
    #[must_use]
    pub fn undecided(&self) -> usize {
        match &self.state {
            State::Start { after_cr, .. } => usize::from(*after_cr),
            State::Head => self.section.len(),
            State::Body(body) => body.undecided() + self.section.len(),
            State::Tunnel | State::Failed(_) => 0,
        }
    }

    /// Whether nothing has come since the last request, not even an empty line.
    #[must_use]
    pub const fn is_at_start(&self) -> bool {
        matches!(self.state, State::Start { empty_lines: 0, after_cr: false })
    }

    /// Whether a head has begun that is not complete.
    #[must_use]
    pub const fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// What it means that the client sends no more.
    #[must_use]
    pub fn eof(&self) -> Eof {
        match self.state {
            State::Start { after_cr: false, .. } | State::Tunnel => Eof::Clean,
            _ => Eof::Truncated,
        }
    }

    /// The server has switched protocols: what the client sends from now on is not HTTP, and is
    /// taken without a piece.
    pub fn tunnel(&mut self) {
        self.state = State::Tunnel;
        self.section.clear();
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<RequestPiece<'a>>), Fault> {
        match &mut self.state {
            State::Start { empty_lines, after_cr } => {
                let skipped = skip_empty_lines(input, empty_lines, after_cr)?;
                match input.get(skipped..) {
                    None | Some([]) => Ok((skipped, None)),
                    Some(rest) => {
                        self.state = State::Head;
                        self.head(rest).map(|(taken, piece)| (skipped + taken, piece))
                    }
                }
            }
            State::Head => self.head(input),
            State::Body(body) => match body.next(&mut self.section, input)? {
                (taken, Step::Data(data)) => Ok((taken, Some(RequestPiece::Body(data)))),
                (taken, Step::More) => Ok((taken, None)),
                (taken, Step::End) => {
                    self.state = State::START;
                    Ok((taken, Some(RequestPiece::End)))
                }
            },
            State::Tunnel | State::Failed(_) => Ok((input.len(), None)),
        }
    }

    fn head<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<RequestPiece<'a>>), Fault> {
        let (taken, Some(section)) = self.section.take(input)? else {
            return Ok((input.len(), None));
        };
        let head = RequestHead::parse(section)?;
        self.section.clear();
        self.state = State::Body(head.framing.into());
        Ok((taken, Some(RequestPiece::Head(head))))
    }
}

impl Default for RequestFramer {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    const START: Self = Self::Start { empty_lines: 0, after_cr: false };
}

/// How many bytes of empty lines there are. Some clients send one after a body, and RFC 9112,
/// section 2.2 wants at least one to be ignored.
fn skip_empty_lines(
    input: &[u8],
    empty_lines: &mut usize,
    after_cr: &mut bool,
) -> Result<usize, Fault> {
    for (at, &byte) in input.iter().enumerate() {
        match (byte, *after_cr) {
            (b'\r', false) => *after_cr = true,
            (b'\n', true) => {
                *after_cr = false;
                *empty_lines += 1;
                if *empty_lines > limits::EMPTY_LINES {
                    return Err(Fault::EmptyLines);
                }
            }
            (b'\n', false) => return Err(Fault::BareLf),
            (_, true) => return Err(Fault::BareCr),
            (_, false) => return Ok(at),
        }
    }
    Ok(input.len())
}
