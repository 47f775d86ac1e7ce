//! A POST: what is asked in it, and what of that its response answers.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        Answered, Asked, CallKey, Known, NotUnderstood, Reading, ResponseInfo, What, a2a,
        body::Body, coding::Decoder, countermand, frames::Event, json::Text, mcp, sse,
    },
    Left, Purpose, RequestInfo, Session, Traffic, Withdrawn, is_json, is_told,
    message::{self, Content, Message},
    named_session,
};
use crate::{
    call::{Answer, Dialect, Digest, Invocation, Signal},
    limits::{self, RPC_ID_BYTES},
};

/// Reads a POST that may be JSON-RPC.
#[derive(Debug)]
pub struct Asking {
    /// Whether its head says that it is.
    is_told: bool,
    session: Session,
    signals: Vec<Signal>,
    request: Request,
    traffic: Traffic,
    status: u16,
    response: Response,
    calls: Calls,
    /// Calls of other exchanges that it cancels.
    withdrawn: Vec<CallKey>,
    /// Who asked, of a request that was not understood.
    asker: Option<Asker>,
}

/// How the request is read.
#[derive(Debug)]
enum Request {
    Body {
        body: Box<Body>,
        /// Nothing but blanks has come.
        is_blank: bool,
    },
    /// It is over, or no JSON-RPC.
    Over,
}

/// How the response is read.
#[derive(Debug)]
enum Response {
    /// Its head has not come.
    Awaited,
    /// Not at all: it answers nothing.
    NoAnswer,
    Whole(Body),
    Stream(Box<(Decoder, sse::Parser)>),
    Lost(NotUnderstood),
}

/// Who is to be told if a request does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The request's id, as it is written.
    pub rpc_id: String,
    pub dialect: Dialect,
    /// Whether a tool is called.
    pub calls_tool: bool,
}

/// The calls of the exchange.
#[derive(Debug, Default)]
struct Calls {
    open: Vec<Open>,
    /// Those that were answered lately.
    ready: Vec<Answered>,
    /// A stream that broke can be taken up again, in another exchange.
    can_resume: bool,
    not_understood: Option<NotUnderstood>,
}

/// A call without its whole answer.
#[derive(Debug)]
struct Open {
    key: CallKey,
    dialect: Dialect,
    id: u128,
    /// What has come of an answer in parts.
    partial: Option<Answer>,
}

impl Asking {
    pub(in crate::dialect) fn new(request: &RequestInfo<'_>) -> Self {
        let body = Body::new(request.content_encoding, limits::RPC_REQUEST_BYTES)
            .expecting(request.content_length)
            .digested();
        Self {
            is_told: is_told(request),
            session: named_session(request).unwrap_or_else(|| Session::at(request.target)),
            signals: request.signals.to_vec(),
            request: Request::Body { body: Box::new(body), is_blank: true },
            traffic: Traffic::Other,
            status: 0,
            response: Response::Awaited,
            calls: Calls::default(),
            withdrawn: Vec::new(),
            asker: None,
        }
    }

    /// The calls of other exchanges that it has cancelled and that these go on with.
    pub(in crate::dialect) fn take_withdrawn(&mut self) -> Vec<CallKey> {
        std::mem::take(&mut self.withdrawn)
    }

    /// Who asks, if the request was not understood but for that.
    pub(in crate::dialect) const fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    pub(in crate::dialect) const fn session(&self) -> Session {
        self.session
    }

    pub(in crate::dialect) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(in crate::dialect) const fn is_told(&self) -> bool {
        self.is_told
    }

    pub(in crate::dialect) fn request_body(&mut self, bytes: &[u8]) {
        let Request::Body { body, is_blank } = &mut self.request else { return };
        let first = bytes.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        if *is_blank && let Some(first) = first {
            *is_blank = false;
            // Of what is JSON, strings, numbers and the like are told by their first byte.
            let is_scalar = matches!(first, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
            if is_scalar && !self.is_told && !body.is_encoded() {
                self.request = Request::Over;
                return;
            }
        }
        body.push(bytes);
    }

    pub(in crate::dialect) fn request_end(
        &mut self,
        known: &mut Known,
    ) -> Result<Vec<Asked>, NotUnderstood> {
        let request = std::mem::replace(&mut self.request, Request::Over);
        let Request::Body { mut body, is_blank } = request else { return Ok(Vec::new()) };
        if is_blank && !self.is_told {
            return Ok(Vec::new());
        }
        let whole = body.take();
        let sent = body.digest();
        let body = match whole {
            Ok(body) => body,
            Err(reason) if self.is_told => return Err(reason),
            Err(reason) => {
                self.traffic = Traffic::Unread(reason);
                return Ok(Vec::new());
            }
        };
        match self.read(&body, sent, known) {
            Err(NotUnderstood::NotThisShape) if !self.is_told => Ok(Vec::new()),
            Err(NotUnderstood::DuplicateKey) => {
                self.asker = Asker::of(&body);
                Err(NotUnderstood::DuplicateKey)
            }
            // It says that it is JSON, and something may read it as such.
            Err(reason) if !self.is_told => {
                self.traffic = Traffic::Unread(reason);
                Ok(Vec::new())
            }
            read => read,
        }
    }

    /// What the body asks. All of it is read before a call begins to wait for its answer.
    fn read(
        &mut self,
        body: &[u8],
        sent: Option<Digest>,
        known: &mut Known,
    ) -> Result<Vec<Asked>, NotUnderstood> {
        let opens = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        if !self.is_told && opens && !message::may_be_in(body) {
            return Err(NotUnderstood::NotThisShape);
        }
        let messages = message::read(body)?;
        let mut protocol = None;
        let mut invoked = Vec::new();
        let mut cancelled = Vec::new();
        for message in &messages {
            let Content::Request { method: Text(method), params } = &message.content else {
                protocol = protocol.or(Some("response"));
                continue;
            };
            let purpose = mcp::purpose(method).or_else(|| a2a::purpose(method));
            let other = self.is_told.then_some(Purpose::Protocol("other"));
            match (purpose.or(other), &message.id) {
                (Some(Purpose::Tool), Some(id)) => {
                    let (invocation, as_task) = mcp::invocation(params, id)?;
                    let countermand = countermand::of_tool(&invocation, as_task, &self.signals);
                    invoked.push((id.hash, invocation, countermand));
                }
                (Some(Purpose::Agent), Some(id)) => {
                    invoked.push((id.hash, a2a::invocation(params, id)?, None));
                }
                // Without an id it asks for nothing.
                (Some(Purpose::Tool | Purpose::Agent), None) => {
                    protocol = protocol.or(Some("other"));
                }
                (Some(Purpose::Cancel), _) => {
                    protocol = protocol.or(Some("notifications/cancelled"));
                    cancelled.extend(mcp::cancelled(params)?);
                }
                (Some(Purpose::Protocol(name)), _) => protocol = protocol.or(Some(name)),
                (None, _) => {}
            }
        }
        self.traffic = match protocol {
            _ if !invoked.is_empty() => Traffic::Calls,
            Some(name) => Traffic::Protocol(name),
            None => return Err(NotUnderstood::NotThisShape),
        };
        for id in cancelled {
            match known.rpc.cancel(self.session, id.hash) {
                Some(Withdrawn::Ended(key)) => self.calls.ready.push(Answered::cancelled(key)),
                Some(Withdrawn::GoesOn(key)) => self.withdrawn.push(key),
                None => {}
            }
        }
        let sha256 = sent.unwrap_or_else(|| Digest(Sha256::digest(body).into()));
        let asked = invoked.into_iter().map(|(id, call, countermand)| Asked {
            countermand,
            ..self.ask(id, call, sha256, known)
        });
        Ok(asked.collect())
    }

    fn ask(
        &mut self,
        id: u128,
        mut invocation: Invocation,
        sha256: Digest,
        known: &mut Known,
    ) -> Asked {
        let key = known.key();
        known.rpc.open(self.session, id, key);
        let dialect = invocation.dialect;
        self.calls.open.push(Open { key, dialect, id, partial: None });
        invocation.signals.extend(self.signals.iter().cloned());
        let what = What::Tool(invocation);
        Asked {
            key,
            what,
            sha256,
            unmetered: None,
            sample: super::super::Asking::default(),
            countermand: None,
            end: None,
        }
    }

    pub(in crate::dialect) fn response_head(&mut self, response: &ResponseInfo<'_>) {
        self.status = response.status;
        let (coding, limit) = (response.content_encoding, limits::OBSERVED_RESPONSE_BYTES);
        let is_asked = matches!(self.request, Request::Over);
        let is_fine = (200..300).contains(&response.status);
        self.response = match () {
            () if is_asked && self.calls.open.is_empty() => Response::NoAnswer,
            () if matches!(response.status, 202 | 204) => Response::NoAnswer,
            () if sse::is(response.content_type) => match Decoder::new(coding, limit) {
                Ok(decoder) => Response::Stream(Box::new((decoder, sse::Parser::naming(limit)))),
                Err(reason) => Response::Lost(reason),
            },
            // An error may say in JSON-RPC what it is.
            () if is_fine || is_json(response.content_type) => {
                Response::Whole(Body::new(coding, limit))
            }
            () => Response::NoAnswer,
        };
    }

    pub(in crate::dialect) fn response_body(&mut self, bytes: &[u8]) {
        match &mut self.response {
            Response::Whole(body) => body.push(bytes),
            Response::Stream(parts) => {
                let (decoder, parser) = &mut **parts;
                let calls = &mut self.calls;
                let pushed = decoder.push(bytes, |bytes| {
                    parser.feed(bytes, |event| calls.event(&event));
                });
                if let Err(reason) = pushed {
                    self.response = Response::Lost(reason);
                }
            }
            Response::Awaited | Response::NoAnswer | Response::Lost(_) => {}
        }
    }

    pub(in crate::dialect) const fn has_answered(&self) -> bool {
        !self.calls.ready.is_empty()
    }

    pub(in crate::dialect) fn answered(&mut self, known: &mut Known) -> Vec<Answered> {
        for answered in &self.calls.ready {
            known.rpc.close(answered.key);
        }
        std::mem::take(&mut self.calls.ready)
    }

    pub(in crate::dialect) fn response_end(
        mut self,
        whole: bool,
        known: &mut Known,
    ) -> Vec<Answered> {
        let is_fine = (200..300).contains(&self.status);
        let mut may_come = self.status == 202;
        // What becomes of a call without an answer.
        let mut rest = Reading::default();
        match std::mem::replace(&mut self.response, Response::NoAnswer) {
            Response::Awaited => {}
            Response::NoAnswer => rest.answer.complete = whole && !is_fine,
            Response::Whole(mut body) => {
                match body.take().and_then(|body| self.calls.document(&body)) {
                    _ if !is_fine => rest.answer.complete = whole,
                    Err(NotUnderstood::NotJson | NotUnderstood::BrokenCoding) if !whole => {}
                    Err(reason) => rest = Reading::lost(reason),
                    Ok(()) if whole => rest = Reading::lost(NotUnderstood::NotThisShape),
                    Ok(()) => {}
                }
            }
            Response::Stream(_) => {
                may_come |= self.calls.can_resume;
                rest.not_understood = self.calls.not_understood;
            }
            Response::Lost(reason) => rest = Reading::lost(reason),
        }
        let mut answered = self.answered(known);
        for call in std::mem::take(&mut self.calls.open) {
            let Open { key, partial, .. } = call;
            if let Some(answer) = partial {
                known.rpc.close(key);
                let answer = Answer { complete: whole, ..answer };
                let reading = Reading { answer, not_understood: self.calls.not_understood };
                answered.push(Answered::new(key, reading));
            } else if let Left::Ended { cancelled } = known.rpc.leave(key, may_come) {
                answered.push(Answered { cancelled, ..Answered::new(key, rest.clone()) });
            }
        }
        answered
    }
}

impl Asker {
    /// Of a request that can be read either way: its id is what most readers take for it, the last.
    fn of(body: &[u8]) -> Option<Self> {
        let request: Value = serde_json::from_slice(body).ok()?;
        let id = request.get("id").filter(|id| id.is_string() || id.is_number())?.to_string();
        let method = request.get("method")?.as_str()?;
        let (dialect, calls_tool) = match mcp::purpose(method) {
            Some(purpose) => (Dialect::Mcp, matches!(purpose, Purpose::Tool)),
            None => a2a::purpose(method).map(|_| (Dialect::A2a, false))?,
        };
        Some(Self { rpc_id: id, dialect, calls_tool }).filter(|it| it.rpc_id.len() <= RPC_ID_BYTES)
    }
}

impl Calls {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Named(name, data) => {
                self.can_resume |= name.has_id;
                // The first event of a stream that can be resumed is empty.
                if !data.is_empty()
                    && let Err(reason) = self.document(data)
                {
                    self.not_understood.get_or_insert(reason);
                }
            }
            Event::Data(_) | Event::Message(_) | Event::Broken => {}
            Event::TooLarge => {
                self.not_understood.get_or_insert(NotUnderstood::TooLarge);
            }
        }
    }

    /// Messages of the server's, some of which may be answers.
    fn document(&mut self, document: &[u8]) -> Result<(), NotUnderstood> {
        for message in message::read(document)? {
            self.message(&message);
        }
        Ok(())
    }

    fn message(&mut self, message: &Message<'_>) {
        if let Content::Request { .. } = message.content {
            return;
        }
        let at = match &message.id {
            Some(id) => self.open.iter().position(|call| call.id == id.hash),
            // The server did not read as far as to the id.
            None => (self.open.len() == 1).then_some(0),
        };
        let Some(call) = at.and_then(|at| self.open.get_mut(at)) else { return };
        let reading = match (&message.content, call.dialect) {
            (Content::Error(error), _) => message::error_reading(error),
            (Content::Result(result), Dialect::A2a) => {
                match a2a::add(call.partial.get_or_insert_default(), result) {
                    Ok(()) => return,
                    Err(reason) => Reading::lost(reason),
                }
            }
            (Content::Result(result), _) => Reading::of(mcp::answer(result)),
            (Content::Request { .. }, _) => return,
        };
        let key = call.key;
        self.open.retain(|call| call.key != key);
        self.ready.push(Answered::new(key, reading));
    }
}
