//! HTTP/1 on a connection: which exchanges are under way, and which bytes belong to which.

use std::collections::VecDeque;

use super::{
    exchange::{Connection, Ended, Exchange, Request, Response},
    h1::{
        Awaited, Eof, FramingError, RequestFramer, RequestHead, RequestPiece, ResponseFramer,
        ResponseHead, ResponsePiece,
    },
};

/// The exchanges of one connection, oldest first: answers come in the order of the requests
/// (RFC 9112, section 9.3.2).
#[derive(Debug)]
pub(super) struct Http {
    requests: RequestFramer,
    responses: ResponseFramer,
    /// Every one but the last has its whole request; every one but the first waits for its answer.
    exchanges: VecDeque<Exchange>,
    next_seq: u64,
}

/// Whether HTTP goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outlook {
    Http,
    /// The server has switched to another protocol.
    Switched,
    /// Where messages begin and end can't be said any more.
    Unframed(FramingError),
}

impl Http {
    pub(super) fn new() -> Self {
        Self {
            requests: RequestFramer::new(),
            responses: ResponseFramer::new(),
            exchanges: VecDeque::new(),
            next_seq: 0,
        }
    }

    pub(super) fn client_sent(&mut self, connection: &Connection, bytes: &[u8]) -> Outlook {
        let mut rest = bytes;
        loop {
            let (taken, piece) = match self.requests.next(rest) {
                Ok(read) => read,
                Err(error) => return Outlook::Unframed(error),
            };
            rest = &rest[taken..];
            match piece {
                None => return Outlook::Http,
                Some(RequestPiece::Head(head)) => {
                    if let Err(error) = self.responses.push(Awaited::from(&head)) {
                        return Outlook::Unframed(error);
                    }
                    self.exchanges.push_back(begin(connection, self.next_seq, head));
                    self.next_seq += 1;
                }
                Some(RequestPiece::Body(body)) => {
                    if let Some(exchange) = self.exchanges.back_mut() {
                        exchange.request_body(body);
                    }
                }
                Some(RequestPiece::End) => {
                    if let Some(exchange) = self.exchanges.back_mut() {
                        exchange.request_ended(connection);
                    }
                    self.forget_finished();
                }
            }
        }
    }

    pub(super) fn server_sent(&mut self, connection: &Connection, bytes: &[u8]) -> Outlook {
        let mut rest = bytes;
        loop {
            let (taken, piece) = match self.responses.next(rest) {
                Ok(read) => read,
                Err(error) => return Outlook::Unframed(error),
            };
            rest = &rest[taken..];
            let Some(exchange) = self.exchanges.front_mut() else {
                return match piece {
                    None => Outlook::Http,
                    // The framer gives no pieces without a request; were it wrong, nothing is lost.
                    Some(_) => Outlook::Switched,
                };
            };
            match piece {
                None => return Outlook::Http,
                Some(ResponsePiece::Interim(_)) => {}
                Some(ResponsePiece::Head(head)) => exchange.response_head(&neutral(&head)),
                Some(ResponsePiece::Body(body)) => exchange.response_body(connection, body),
                Some(ResponsePiece::End) => {
                    exchange.finish(connection, Ended::Whole);
                    self.forget_finished();
                }
                Some(ResponsePiece::Tunnel) => {
                    self.requests.tunnel();
                    exchange.finish(connection, Ended::Whole);
                    return Outlook::Switched;
                }
            }
        }
    }

    /// The server sends no more: that may be the end of an answer, or its loss, which ended so.
    pub(super) fn server_ended(&mut self, connection: &Connection, lost: Ended) {
        if self.responses.eof() == Eof::Complete
            && let Some(exchange) = self.exchanges.front_mut()
        {
            exchange.finish(connection, Ended::Whole);
        }
        self.cut(connection, lost);
    }

    /// None of the exchanges that are under way will be seen to its end.
    pub(super) fn cut(&mut self, connection: &Connection, how: Ended) {
        for mut exchange in self.exchanges.drain(..) {
            exchange.finish(connection, how);
        }
    }

    /// Whether no exchange is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && self.requests.eof() == Eof::Clean
    }

    /// An answer may end before its request does; the exchange stays until both have.
    fn forget_finished(&mut self) {
        while self.exchanges.front().is_some_and(Exchange::is_over) {
            self.exchanges.pop_front();
        }
    }
}

fn begin(connection: &Connection, seq: u64, head: RequestHead) -> Exchange {
    let request = Request {
        method: head.method.as_str(),
        target: &head.target,
        host: head.host,
        content_encoding: head.content_encoding.as_deref(),
        retry_count: head.retry_count,
        stream_id: None,
    };
    Exchange::begin(connection, seq, request)
}

fn neutral(head: &ResponseHead) -> Response<'_> {
    Response {
        status: head.status,
        content_type: head.content_type.as_deref(),
        content_encoding: head.content_encoding.as_deref(),
    }
}
