//! A GET that a server may answer with events: answers to what was asked in other exchanges. And a
//! DELETE, which ends a session: nothing is answered in it any more.

use super::{
    super::{
        Answered, Known, Reading, ResponseInfo,
        coding::Decoder,
        frames::{Event, Name},
        mcp, sse,
    },
    RequestInfo, Session, Traffic, is_told,
    message::{self, Content},
    named_session,
};
use crate::limits;

/// Reads a GET that may be MCP, or a DELETE that is.
#[derive(Debug)]
pub struct Listening {
    /// Whether its head says that it is.
    is_told: bool,
    /// To resolve what the server calls its endpoint; empty when that is known, or not waited for.
    target: Box<str>,
    session: Option<Session>,
    /// Whether the session ends with the exchange: it is told to, or the exchange is its stream, as in
    /// the transport before there were sessions.
    ends_session: bool,
    /// Whether it is told to.
    is_end: bool,
    parser: Option<Box<(Decoder, sse::Parser)>>,
    /// Answers, by the ids of what they answer.
    found: Vec<(u128, Reading)>,
}

impl Listening {
    pub(in crate::dialect) fn new(request: &RequestInfo<'_>) -> Self {
        let is_told = is_told(request);
        Self {
            is_told,
            target: if is_told { "".into() } else { request.target.into() },
            session: named_session(request),
            ends_session: false,
            is_end: request.method == "DELETE",
            parser: None,
            found: Vec::new(),
        }
    }

    /// The session whose requests are answered in this stream alone.
    pub(in crate::dialect) fn session(&self) -> Option<Session> {
        self.session.filter(|_| self.ends_session && !self.is_end)
    }

    pub(in crate::dialect) const fn traffic(&self) -> Traffic {
        if self.is_end {
            Traffic::Protocol("end")
        } else if self.parser.is_some() && (self.is_told || self.session.is_some()) {
            Traffic::Protocol("stream")
        } else {
            Traffic::Other
        }
    }

    pub(in crate::dialect) fn response_head(&mut self, response: &ResponseInfo<'_>) {
        let is_fine = (200..300).contains(&response.status);
        let limit = limits::OBSERVED_RESPONSE_BYTES;
        if self.is_end {
            self.ends_session = is_fine;
        } else if is_fine
            && sse::is(response.content_type)
            && let Ok(decoder) = Decoder::new(response.content_encoding, limit)
        {
            self.parser = Some(Box::new((decoder, sse::Parser::naming(limit))));
        }
    }

    pub(in crate::dialect) fn response_body(&mut self, bytes: &[u8]) {
        let Some(mut parts) = self.parser.take() else { return };
        let (decoder, parser) = &mut *parts;
        let mut is_other = false;
        let pushed = decoder.push(bytes, |bytes| {
            parser.feed(bytes, |event| is_other |= self.event(&event).is_err());
        });
        if !is_other && pushed.is_ok() {
            self.parser = Some(parts);
        }
    }

    pub(in crate::dialect) const fn has_answered(&self) -> bool {
        !self.found.is_empty()
    }

    pub(in crate::dialect) fn answered(&mut self, known: &mut Known) -> Vec<Answered> {
        let Some(session) = self.session else { return Vec::new() };
        let found = self.found.drain(..);
        let answered = found.filter_map(|(id, reading)| {
            let key = known.rpc.take(session, id)?;
            Some(Answered::new(key, reading))
        });
        answered.collect()
    }

    pub(in crate::dialect) fn response_end(mut self, known: &mut Known) -> Vec<Answered> {
        let mut answered = self.answered(known);
        if let (true, Some(session)) = (self.ends_session, self.session) {
            let lost = known.rpc.end(session).into_iter();
            let reading = Reading::default();
            answered.extend(lost.map(|key| Answered::new(key, reading.clone())));
        }
        answered
    }

    /// Fails if it shows that the stream is no MCP.
    fn event(&mut self, event: &Event<'_>) -> Result<(), NotMcp> {
        let Event::Named(Name { kind, .. }, data) = event else { return Ok(()) };
        if self.session.is_none() && !self.target.is_empty() {
            let endpoint = str::from_utf8(data).ok().filter(|_| *kind == b"endpoint");
            self.session = Some(Session::at_reference(&self.target, endpoint.ok_or(NotMcp)?));
            self.target = "".into();
            self.ends_session = true;
            return Ok(());
        }
        // What can't be read answers nothing: its call waits on, and is counted in the end.
        for message in message::read(data).unwrap_or_default() {
            let reading = match (&message.id, &message.content) {
                (Some(_), Content::Result(result)) => Reading::of(mcp::answer(result)),
                (Some(_), Content::Error(error)) => message::error_reading(error),
                _ => continue,
            };
            self.found.extend(message.id.map(|id| (id.hash, reading)));
        }
        Ok(())
    }
}

/// The stream is something else.
struct NotMcp;
