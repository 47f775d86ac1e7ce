//! An answer that comes as a stream, of which the client gets what it comes to (enforce).

use std::mem::take;

use super::{Http, measured::Measured};
use crate::proxy::{
    exchange::Connection,
    h1::{ResponsePiece, with_field, without_field},
    way::Way,
};

impl Http {
    /// A piece of such an answer behind its head. Nothing goes on before it is whole: then all of it does,
    /// or there is a reply in its place.
    pub(super) fn gather(
        &mut self,
        connection: &Connection,
        piece: &ResponsePiece<'_>,
        way: &mut Way<'_>,
    ) -> Measured {
        let Some(exchange) = self.exchanges.front_mut() else { return Measured::On };
        match piece {
            ResponsePiece::Body(body) => {
                exchange.response_body(connection, body);
                exchange.gather(body);
                way.replace(b"");
            }
            ResponsePiece::End => {
                exchange.body_ended(connection);
                if exchange.is_exceeded() {
                    way.replace(b"");
                    return Measured::Done;
                }
                let whole = self.gathered(connection);
                way.replace(whole.as_deref().unwrap_or_default());
                if whole.is_none() {
                    return Measured::Unfinished;
                }
            }
            ResponsePiece::Interim(_) | ResponsePiece::Head(_) | ResponsePiece::Tunnel => {}
        }
        Measured::Done
    }

    /// The whole answer, as it would have come without a stream; `None` if there is a reply in its place.
    pub(super) fn gathered(&mut self, connection: &Connection) -> Option<Vec<u8>> {
        let exchange = self.exchanges.front_mut()?;
        let gathered = exchange.take_gathered(connection)?;
        let head = take(&mut self.gathered_head);
        match gathered {
            Ok(document) => {
                self.forget_finished();
                Some([as_document(&head, document.len()), document].concat())
            }
            Err(reply) => {
                self.reply = Some(reply);
                None
            }
        }
    }
}

/// The head of a stream as it is of a document of so many bytes.
fn as_document(head: &[u8], length: usize) -> Vec<u8> {
    let fields =
        ["transfer-encoding", "trailer", "content-length", "content-type", "content-encoding"];
    let rest = fields.iter().fold(head.to_vec(), |head, name| without_field(&head, name));
    let typed = with_field(&rest, "content-type", "application/json");
    with_field(&typed, "content-length", &length.to_string())
}
