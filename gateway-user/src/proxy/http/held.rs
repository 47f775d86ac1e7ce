//! A call that is held until its request has ended and it is decided on (enforce).

use std::{ops::Range, sync::Arc};

use super::{Http, Switch, again::Again};
use crate::{
    call::Reason,
    dialect::refusal::Reply,
    proxy::{
        exchange::{Connection, Exchange},
        gate::{CallAdmission, Room, seals},
        h1::{self, Awaited, Framing, RequestHead},
        refusal::Refusal,
        replay::identity,
        way::Way,
    },
};

/// The call, and where its parts are among the bytes that are held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) exchange: Exchange,
    awaited: Awaited,
    switch: Option<Switch>,
    framing: Framing,
    /// Bytes of the head, and of empty lines before it.
    head: usize,
    /// The pieces of the body, without its framing.
    pieces: Vec<Range<usize>>,
    /// The client waits to be told to go on with the body.
    awaits_continue: bool,
    room: Room,
}

/// What goes upstream in the place of what the client sent.
struct Instead {
    request: Vec<u8>,
    /// That, if it may have to go after all.
    before: Option<Vec<u8>>,
}

impl Held {
    /// Of which the head was read.
    pub(super) fn new(
        connection: &Connection,
        exchange: Exchange,
        head: &RequestHead,
        way: &Way<'_>,
    ) -> Self {
        Self {
            exchange,
            awaited: Awaited::from(head),
            switch: Switch::asked(head),
            framing: head.framing,
            head: way.held(),
            pieces: Vec::new(),
            // RFC 9110, section 10.1.1: not in HTTP/1.0.
            awaits_continue: head.expect_continue && head.version == h1::Version::Http11,
            room: Room::new(Arc::clone(&connection.agent)),
        }
    }

    /// Its last bytes are of the body.
    pub(super) fn body(&mut self, way: &Way<'_>, bytes: &[u8]) {
        self.awaits_continue = false;
        self.exchange.request_body(bytes);
        let end = way.held();
        let begin = end.saturating_sub(bytes.len());
        match self.pieces.last_mut() {
            Some(last) if last.end == begin => last.end = end,
            _ => self.pieces.push(begin..end),
        }
    }

    /// Whether there is room for all that is held.
    pub(super) fn fits(&mut self, way: &Way<'_>) -> bool {
        self.room.grow(way.held().saturating_sub(self.head)).is_ok()
    }

    /// Has other tries of the call known by its head.
    fn identify(&mut self, way: &Way<'_>) {
        let whole = way.copy_held();
        self.exchange.identify(identity(whole.get(..self.head).unwrap_or(&whole)));
    }

    /// The request as it goes on, if that is not as it is. Fails if it must not go on.
    fn edited(
        &mut self,
        admission: &CallAdmission,
        way: &Way<'_>,
    ) -> Result<Option<Instead>, Reason> {
        let Some(dialect) = self.exchange.dialect().filter(|_| admission.changes()) else {
            return Ok(None);
        };
        let whole = way.copy_held();
        let (head, framed) = whole.split_at(self.head.min(whole.len()));
        let piece = |range: &Range<usize>| whole.get(range.clone()).unwrap_or_default();
        let body: Vec<u8> = self.pieces.iter().flat_map(piece).copied().collect();
        let Some(edited) = admission.edit(dialect, &body, is_sealed(head))? else {
            return Ok(None);
        };
        if let Some(change) = edited.change {
            self.exchange.changed(change);
        }
        let request = match self.framing {
            Framing::Chunked => {
                // Behind the last chunk's data, and the line end that follows it.
                let end = self.pieces.last().map(|last| last.end + b"\r\n".len());
                let rest = end.map_or(framed, |end| whole.get(end..).unwrap_or_default());
                [head, &h1::chunk(&edited.body), rest].concat()
            }
            _ => [h1::with_length(head, edited.body.len()), edited.body].concat(),
        };
        Ok(Some(Instead { request, before: edited.optional.then_some(whole) }))
    }
}

fn is_sealed(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n').any(|line| {
        let colon = line.iter().position(|&byte| byte == b':');
        let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at)) else {
            return false;
        };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        std::str::from_utf8(name).is_ok_and(|name| seals(name, value))
    })
}

impl Http {
    /// The request that is held, if one is, has ended, or can't be held any longer.
    pub(super) fn decide(
        &mut self,
        connection: &Connection,
        way: &mut Way<'_>,
        ended: bool,
    ) -> Result<(), Refusal> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        if ended && self.exchanges.is_empty() && connection.agent.policing.replays.is_some() {
            held.identify(way);
        }
        let decided = if ended {
            held.exchange.request_ended(connection)
        } else {
            held.exchange.request_too_large(connection)
        };
        let decided = decided.and_then(|admission| {
            let instead = if ended { held.edited(&admission, way)? } else { None };
            Ok((admission, instead))
        });
        match decided {
            Ok((admission, instead)) => {
                self.responses.push(held.awaited)?;
                self.asked = held.switch;
                let bytes = instead.as_ref().map(|instead| &*instead.request);
                way.admit(&admission, self.requests.undecided(), bytes);
                self.replay = admission.into_replay();
                let Held { exchange, awaited, room, .. } = *held;
                self.exchanges.push_back(exchange);
                let before = instead.and_then(|instead| instead.before);
                self.again = before.map(|request| Box::new(Again::new(request, awaited, room)));
                Ok(())
            }
            Err(reason) => {
                tracing::debug!(connection = %connection.id, %reason, "a call is refused");
                self.reply = Some(held.exchange.turn_away(connection, &reason));
                Err(Refusal::Call)
            }
        }
    }

    /// What the client is to be told before it goes on, if it waits for that, and is told of all
    /// that came before.
    pub(in crate::proxy) fn take_continue(&mut self) -> Option<&'static [u8]> {
        let held = self.held.as_mut().filter(|held| held.awaits_continue)?;
        if !self.exchanges.is_empty() {
            return None;
        }
        held.awaits_continue = false;
        Some(b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// What the gateway says in the answer that is under way, framed as that is, if it may be said
    /// behind what has gone on.
    pub(in crate::proxy) fn take_said(&mut self) -> Option<Vec<u8>> {
        let exchange = self.exchanges.front()?;
        if !self.responses.can_add() {
            return None;
        }
        let said = exchange.take_said()?;
        Some(if self.responses.is_chunked() { h1::chunk(&said) } else { said })
    }

    /// The answer to a call that was refused.
    pub(in crate::proxy) fn take_reply(&mut self) -> Option<Reply> {
        self.reply.take()
    }
}
