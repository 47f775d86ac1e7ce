//! Answers that are read on although their clients have left, and those that are given in upstream's place
//! for it, to clients that ask the same again (enforce).

use std::{
    mem::take,
    task::{Context, Poll, ready},
};

use super::{Http, neutral};
use crate::{
    limits::{self, Bound},
    proxy::{
        cut::Cut,
        exchange::{Abandoned, Connection, Ended, Exchange},
        h1::{Eof, Framing, ResponseFramer, ResponseHead, ResponsePiece, Sent, with_field},
        refusal::written,
    },
};

/// The answer to one exchange, until it is whole.
#[derive(Debug)]
pub(in crate::proxy) struct ReadingOn {
    abandoned: Abandoned,
    framer: ResponseFramer,
    /// The answer as it will be sent again. Absent if it can't be.
    heard: Option<Vec<u8>>,
}

/// How far such an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::proxy) enum Progress {
    More,
    Over(Ended),
}

impl Http {
    /// Whether a try that asks the same may get the answer that the client waits for, if it leaves now.
    pub(in crate::proxy) fn can_be_abandoned(&self) -> bool {
        let nothing_else = self.held.is_none() && self.replay.is_none() && self.again.is_none();
        let alone = self.exchanges.len() == 1 && nothing_else;
        let due = self.exchanges.front().is_some_and(Exchange::can_be_abandoned);
        due && alone && self.responses.is_before_head(Sent::All)
    }

    /// The client has left: what is to be read on for such a try, if something is.
    pub(in crate::proxy) fn abandon(&mut self, connection: &Connection) -> Option<ReadingOn> {
        let abandoned = self.exchanges.front_mut()?.abandon(connection)?;
        let framer = take(&mut self.responses);
        Some(ReadingOn { abandoned, framer, heard: Some(Vec::new()) })
    }

    /// Whether the client gets an answer that has not come, and nothing of upstream's before it.
    pub(in crate::proxy) const fn awaits_replay(&self) -> bool {
        self.replay.is_some()
    }

    /// That answer, or what is said in its place; else the task is woken when it is there.
    pub(in crate::proxy) fn poll_replay(
        &mut self,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Vec<u8>> {
        let Some(replay) = &mut self.replay else { return Poll::Pending };
        let answer = ready!(replay.poll(cx));
        self.replay = None;
        let none = |exchange: &Exchange| written(&exchange.without_replay(connection));
        Poll::Ready(match answer {
            Some(answer) => answer.bytes.clone(),
            None => self.exchanges.front().map(none).unwrap_or_default(),
        })
    }
}

impl ReadingOn {
    /// By which the call can still be ended.
    pub(in crate::proxy) const fn take_cut(&mut self) -> Option<Cut> {
        self.abandoned.take_cut()
    }

    /// More of it has come.
    pub(in crate::proxy) fn read(&mut self, bytes: &[u8]) -> Progress {
        let mut rest = bytes;
        loop {
            let Ok((taken, piece)) = self.framer.next(rest) else {
                return Progress::Over(Ended::ClientGone);
            };
            let (read, unread) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            keep(&self.abandoned, &mut self.heard, read);
            rest = unread;
            match piece {
                None => return Progress::More,
                Some(ResponsePiece::Interim(_)) => self.heard.iter_mut().for_each(Vec::clear),
                Some(ResponsePiece::Head(head)) => self.head(&head),
                Some(ResponsePiece::Body(body)) => self.abandoned.response_body(body),
                Some(ResponsePiece::End) => return Progress::Over(Ended::Whole),
                Some(ResponsePiece::Tunnel) => return Progress::Over(Ended::ClientGone),
            }
        }
    }

    fn head(&mut self, head: &ResponseHead) {
        self.abandoned.response_head(&neutral(head));
        // To a client whose connection goes on it would have no end.
        let (name, value) = self.abandoned.note();
        let kept = self.heard.take().filter(|_| head.framing != Framing::UntilClose);
        self.heard = kept.map(|kept| with_field(&kept, name, &value));
    }

    /// No more of it comes.
    pub(in crate::proxy) fn closed(&self) -> Ended {
        if self.framer.eof() == Eof::Complete { Ended::Whole } else { Ended::ClientGone }
    }

    /// It is over: whoever waits for it is told.
    pub(in crate::proxy) fn end(self, ended: Ended) {
        self.abandoned.end(ended, self.heard);
    }
}

/// Keeps what has been read, as long as there is room for all.
fn keep(abandoned: &Abandoned, heard: &mut Option<Vec<u8>>, read: &[u8]) {
    let Some(kept) = heard else { return };
    if kept.len() + read.len() > limits::REPLAY_BYTES {
        abandoned.agent().bounds.hit(Bound::ReplayBytes);
        *heard = None;
    } else {
        kept.extend_from_slice(read);
    }
}
