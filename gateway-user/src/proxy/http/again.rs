//! A request that is sent again without what was added to it, because upstream does not take that
//! (enforce).

use super::Http;
use crate::proxy::{
    gate::Room,
    h1::{Awaited, Framing, ResponseHead},
    way::Way,
};

/// The request as the client sent it, until it is known whether upstream takes the other one.
#[derive(Debug)]
pub(super) struct Again {
    request: Vec<u8>,
    awaited: Awaited,
    stage: Stage,
    /// For the bytes above.
    _room: Room,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Kept,
    /// The answer is that upstream does not take it: it is not passed on.
    Refused,
    /// That answer has ended.
    Due,
}

impl Again {
    pub(super) const fn new(request: Vec<u8>, awaited: Awaited, room: Room) -> Self {
        Self { request, awaited, stage: Stage::Kept, _room: room }
    }
}

impl Http {
    /// Whether the answer with this head is not passed on, since its request is to be sent again:
    /// a server that says 400 or 422 has done nothing else. Only if nothing else is under way, and
    /// the connection goes on.
    pub(super) fn is_refused_once(&mut self, head: &ResponseHead, way: &Way<'_>) -> bool {
        let alone = self.exchanges.len() == 1 && self.held.is_none();
        let goes_on = !head.close && head.framing != Framing::UntilClose;
        let refused = matches!(head.status, 400 | 422) && way.is_asked();
        match &mut self.again {
            Some(again) if refused && alone && goes_on && self.requests.is_at_start() => {
                again.stage = Stage::Refused;
                true
            }
            _ => {
                self.again = None;
                false
            }
        }
    }

    /// Whether what comes from upstream is of such an answer.
    pub(super) fn is_refused(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.stage == Stage::Refused)
    }

    /// Such an answer has ended.
    pub(super) fn refusal_ended(&mut self) {
        let Some(again) = &mut self.again else { return };
        again.stage = Stage::Due;
        // There was room for it before.
        if self.responses.push(again.awaited).is_ok()
            && let Some(exchange) = self.exchanges.front_mut()
        {
            exchange.asked_again();
        }
    }

    /// Whether a request is to go upstream again before anything that comes from the client.
    pub(in crate::proxy) fn asks_again(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.stage != Stage::Kept)
    }

    /// Whether it can go now.
    pub(in crate::proxy) fn is_due_again(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.stage == Stage::Due)
    }

    /// The request, once it is to go.
    pub(in crate::proxy) fn take_again(&mut self) -> Option<Vec<u8>> {
        self.again.take_if(|again| again.stage == Stage::Due).map(|again| again.request)
    }

    /// Nothing more can be sent upstream.
    pub(in crate::proxy) fn never_again(&mut self) {
        self.again.take_if(|again| again.stage == Stage::Kept);
    }
}
