//! What the server sends.

use std::collections::VecDeque;

use super::{
    Eof, Fault, FramingError, Method, RequestHead, ResponseHead,
    body::{Body, Sent, Step},
    scan::Section,
};
use crate::limits;

/// Frames the responses of one connection. It must know of each request before its answer comes:
/// the method decides how the answer is framed.
///
/// ```text
///         ┌─ResponsePiece::Interim─┐
/// Head ◄──┴── status 1xx ◄─────────┤
///   ├──ResponsePiece::Head─► Body ─ResponsePiece::End─► Head
///   └──ResponsePiece::Head─► Switching ─ResponsePiece::Tunnel─► Tunnel
/// ```
///
/// `Switching` follows 101 and a CONNECT's 2xx. From each state to `Failed` on a fault; `Tunnel`
/// and `Failed` are final.
#[derive(Debug)]
pub struct ResponseFramer {
    state: State,
    section: Section,
    awaited: VecDeque<Awaited>,
}

/// A part of a response, in order: any number of interim heads, one head, any number of body
/// pieces, one end. After a [`Tunnel`](Self::Tunnel) there is nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponsePiece<'a> {
    /// A 1xx response. The final one is still to come.
    Interim(ResponseHead),
    Head(ResponseHead),
    /// Bytes of the body, without chunk framing. Never empty.
    Body(&'a [u8]),
    End,
    /// HTTP has ended on this connection. Comes in the place of the end, after the head of a 101
    /// (Switching Protocols) or of a 2xx to CONNECT; tell the [`RequestFramer`] too.
    ///
    /// [`RequestFramer`]: super::RequestFramer::tunnel
    Tunnel,
}

/// What the framing of a response needs of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    kind: Kind,
    upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Head,
    Connect,
    Other,
}

#[derive(Debug)]
enum State {
    /// In a head, or before it.
    Head,
    Body(Body),
    Switching,
    Tunnel,
    Failed(FramingError),
}

impl From<&RequestHead> for Awaited {
    fn from(request: &RequestHead) -> Self {
        Self::new(&request.method, request.upgrade)
    }
}

impl Awaited {
    /// The answer to a request with this method, which asks to switch protocols or not.
    #[must_use]
    pub const fn new(method: &Method, upgrade: bool) -> Self {
        let kind = match method {
            Method::Head => Kind::Head,
            Method::Connect => Kind::Connect,
            _ => Kind::Other,
        };
        Self { kind, upgrade }
    }
}

impl ResponseFramer {
    /// For heads of up to [`limits::HEAD_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::within(limits::HEAD_BYTES)
    }

    /// For heads and trailers of up to so many bytes.
    #[must_use]
    pub fn within(head_bytes: usize) -> Self {
        let section = Section::within(head_bytes);
        Self { state: State::Head, section, awaited: VecDeque::new() }
    }

    /// A request is on its way: call it before the server can see the request. Fails, with the
    /// client to blame, over [`limits::PIPELINED_REQUESTS`].
    pub fn push(&mut self, request: Awaited) -> Result<(), FramingError> {
        if self.awaited.len() >= limits::PIPELINED_REQUESTS {
            let error = FramingError::Client(Fault::TooManyRequests);
            self.state = State::Failed(error);
            return Err(error);
        }
        self.awaited.push_back(request);
        Ok(())
    }

    /// How many requests wait for the head of their final response.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Reads the next piece off `input`: how many bytes were taken for it, and the piece. Call it
    /// until there is no piece: then all of `input` was taken, and more is needed.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<ResponsePiece<'a>>), FramingError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        self.step(input).map_err(|fault| {
            let error = FramingError::Server(fault);
            self.state = State::Failed(error);
            error
        })
    }

    /// Whether the head that was read last is the last of HTTP.
    #[must_use]
    pub const fn is_switching(&self) -> bool {
        matches!(self.state, State::Switching)
    }

    /// How many of the last bytes belong to a head, or to a line between chunks, that is not
    /// complete: what they are is not known yet.
    #[must_use]
    pub fn undecided(&self) -> usize {
        match &self.state {
            State::Head => self.section.len(),
            State::Body(body) => body.undecided() + self.section.len(),
            State::Switching | State::Tunnel | State::Failed(_) => 0,
        }
    }

    /// Whether the body that is under way is in chunks.
    #[must_use]
    pub const fn is_chunked(&self) -> bool {
        matches!(self.state, State::Body(Body::Chunked(_)))
    }

    /// Whether more may go on here of the body that is under way, framed as it is, when all that was
    /// read has.
    #[must_use]
    pub const fn can_add(&self) -> bool {
        matches!(&self.state, State::Body(body) if body.can_add())
    }

    /// What of the body that is under way has gone on if all that was read has, but for what is
    /// undecided and the last so many bytes of content.
    #[must_use]
    pub const fn gone_but(&self, rest: usize) -> Sent {
        match &self.state {
            State::Body(body) => body.gone_but(rest),
            _ => Sent::Decided,
        }
    }

    /// Whether nothing of the next head has gone on.
    #[must_use]
    pub fn is_before_head(&self, sent: Sent) -> bool {
        matches!(self.state, State::Head) && (sent != Sent::All || self.section.is_empty())
    }

    /// What ends the body that is under way with these words, so that it is whole to the client. A
    /// chunk that has begun is filled up with `filler` where the words are too short for it. `None`:
    /// it can't be ended.
    #[must_use]
    pub fn end_with(&self, words: &[u8], filler: Option<u8>, sent: Sent) -> Option<Vec<u8>> {
        match &self.state {
            State::Body(body) => body.end_with(words, filler, sent),
            _ => None,
        }
    }

    /// What it means that the server sends no more. [`Eof::Clean`] says nothing of requests that
    /// were never answered: [`awaited`](Self::awaited) does.
    #[must_use]
    pub fn eof(&self) -> Eof {
        match &self.state {
            State::Head if self.section.is_empty() => Eof::Clean,
            State::Switching | State::Tunnel => Eof::Clean,
            State::Body(Body::UntilClose) => Eof::Complete,
            _ => Eof::Truncated,
        }
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<ResponsePiece<'a>>), Fault> {
        match &mut self.state {
            State::Head if input.is_empty() => Ok((0, None)),
            State::Head => self.head(input),
            State::Body(body) => match body.next(&mut self.section, input)? {
                (taken, Step::Data(data)) => Ok((taken, Some(ResponsePiece::Body(data)))),
                (taken, Step::More) => Ok((taken, None)),
                (taken, Step::End) => {
                    self.state = State::Head;
                    Ok((taken, Some(ResponsePiece::End)))
                }
            },
            State::Switching => {
                self.state = State::Tunnel;
                Ok((0, Some(ResponsePiece::Tunnel)))
            }
            State::Tunnel | State::Failed(_) => Ok((input.len(), None)),
        }
    }

    fn head<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<ResponsePiece<'a>>), Fault> {
        let &request = self.awaited.front().ok_or(Fault::Unsolicited)?;
        let (taken, Some(section)) = self.section.take(input)? else {
            return Ok((input.len(), None));
        };
        let head = ResponseHead::parse(section)?;
        self.section.clear();
        let piece = match (head.status, request.kind) {
            (101, _) if !request.upgrade => return Err(Fault::UnaskedUpgrade),
            // Some read what their fields announce (RFC 9110, section 9.3.6).
            (200..300, Kind::Connect) if head.framing.has_content() => return Err(Fault::Content),
            (101, _) | (200..300, Kind::Connect) => {
                self.awaited.clear();
                self.state = State::Switching;
                ResponsePiece::Head(head.without_body())
            }
            (100..200, _) => ResponsePiece::Interim(head),
            (_, kind) => {
                self.awaited.pop_front();
                let head = if kind == Kind::Head { head.without_body() } else { head };
                self.state = State::Body(head.framing.into());
                ResponsePiece::Head(head)
            }
        };
        Ok((taken, Some(piece)))
    }
}

impl Default for ResponseFramer {
    fn default() -> Self {
        Self::new()
    }
}
