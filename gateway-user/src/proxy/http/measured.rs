//! Answers of which not all goes on, or not yet (enforce).

use super::Http;
use crate::{
    call::Reason,
    proxy::{
        exchange::{Connection, Ended},
        h1::{Eof, LAST_CHUNK, ResponsePiece, Sent, chunk},
        refusal::written,
        way::Way,
    },
};

/// What became of a piece of an answer of which not all may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// It goes on as others do.
    On,
    /// It has been dealt with.
    Done,
    /// The answer has ended before it was whole.
    Unfinished,
}

impl Http {
    /// What becomes of the piece if it is of an answer of which not all may go on.
    pub(super) fn measure(
        &mut self,
        connection: &Connection,
        piece: &ResponsePiece<'_>,
        (chunked, before): (bool, Sent),
        way: &mut Way<'_>,
    ) -> Measured {
        let Some(exchange) = self.exchanges.front_mut() else { return Measured::On };
        match piece {
            _ if exchange.is_gathered() => return self.gather(connection, piece, way),
            _ if exchange.is_filtered() => self.filter(connection, piece, chunked, way),
            ResponsePiece::Body(body) if exchange.is_sifted() => {
                self.sift(connection, body, before, way);
            }
            ResponsePiece::End => {
                exchange.body_ended(connection);
                self.gone = None;
                return Measured::On;
            }
            _ => return Measured::On,
        }
        Measured::Done
    }

    /// A piece of an answer of which some may have to wait, or be too much.
    fn sift(&mut self, connection: &Connection, body: &[u8], before: Sent, way: &mut Way<'_>) {
        let Some(exchange) = self.exchanges.front_mut() else { return };
        let gone = exchange.response_body(connection, body);
        let rest = body.len().saturating_sub(gone);
        if gone > 0 {
            way.pass_all_but(rest);
        }
        self.gone = match gone {
            _ if !exchange.is_waiting() => None,
            0 => Some(before),
            _ => Some(self.responses.gone_but(rest)),
        };
    }

    /// Why the answer that is under way is to end, if it has become too long.
    pub(super) fn take_excess(&mut self) -> Option<Reason> {
        self.exchanges.front_mut()?.take_excess()
    }

    /// A piece of an answer of which not all goes on. What does is in chunks of our own where it was
    /// in chunks; trailers are left out.
    fn filter(
        &mut self,
        connection: &Connection,
        piece: &ResponsePiece<'_>,
        chunked: bool,
        way: &mut Way<'_>,
    ) {
        let Some(exchange) = self.exchanges.front_mut() else { return };
        let framed = |bytes: Vec<u8>| if chunked { chunk(&bytes) } else { bytes };
        if let ResponsePiece::Body(body) = piece {
            let gone = exchange.response_body(connection, body);
            let body = if exchange.is_exceeded() { body.get(..gone) } else { Some(*body) };
            way.replace(&framed(exchange.filter(body.or(Some(b"")))));
        } else {
            exchange.body_ended(connection);
            if exchange.is_exceeded() {
                return way.replace(b"");
            }
            let mut last = framed(exchange.filter(None));
            last.extend_from_slice(LAST_CHUNK);
            way.replace(&last);
            exchange.finish(connection, Ended::Whole);
            self.forget_finished();
        }
    }

    /// What is left of an answer that ends with its connection.
    pub(in crate::proxy) fn filtered_rest(&mut self, connection: &Connection) -> Vec<u8> {
        let ends_so = self.responses.eof() == Eof::Complete;
        let Some(exchange) = self.exchanges.front_mut().filter(|_| ends_so) else {
            return Vec::new();
        };
        if !exchange.is_gathered() {
            return exchange.filter(None);
        }
        let whole = self.gathered(connection);
        whole.unwrap_or_else(|| self.take_reply().as_ref().map(written).unwrap_or_default())
    }
}
