//! What a client is told whose exchange is not carried, in enforce.

use std::io;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    connect::end_on_drop,
    h1::{FramingError, Misaddressed},
    leg::Leg,
};
use crate::{
    dialect::refusal::Reply,
    limits::{self, Bound},
};

/// Why an exchange is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("it can't be said for whom the request is: {0}")]
    Misaddressed(#[from] Misaddressed),
    #[error("the request is for another host than the one whose certificate was verified")]
    Misdirected,
    #[error("the server accepted a WebSocket extension that it was not offered")]
    Extension,
    #[error("the request's head took too long")]
    SlowHead,
    /// Of a call, for a reason of its own. What its client is told is kept beside it.
    #[error("a call is refused")]
    Call,
    /// A call's server has not finished its answer, of which nothing has gone on. What its client is told
    /// is kept beside it.
    #[error("the server has not finished its answer")]
    Answer,
}

impl Refusal {
    /// Whether it is the client who is refused, and not its server.
    pub(super) const fn blames_client(self) -> bool {
        !matches!(self, Self::Framing(FramingError::Server(_)) | Self::Extension | Self::Answer)
    }

    /// The bound that was hit, if it was one.
    pub(super) const fn bound(self) -> Option<Bound> {
        match self {
            Self::Framing(error) => error.bound(),
            _ => None,
        }
    }

    /// The answer, after which the connection ends. Clients that ask whether to try again are told
    /// not to.
    pub(super) fn answer(self) -> Vec<u8> {
        let (status, code) = self.status();
        // None of the reasons holds anything that the two sides have sent, or that JSON escapes.
        let body = format!(
            "{{\"error\":{{\"message\":\"turnpike: {self}\",\"type\":\"turnpike_refused\",\"code\":\"{code}\"}}}}\n"
        );
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\nx-should-retry: false\r\n\r\n{body}"
        )
        .into_bytes()
    }

    const fn status(self) -> (&'static str, &'static str) {
        match self {
            Self::Framing(FramingError::Client(_)) => ("400 Bad Request", "ambiguous_request"),
            Self::Framing(FramingError::Server(_)) => ("502 Bad Gateway", "ambiguous_response"),
            Self::Misaddressed(_) => ("400 Bad Request", "misaddressed_request"),
            // RFC 9110, section 15.5.20.
            Self::Misdirected => ("421 Misdirected Request", "misdirected_request"),
            Self::Extension => ("502 Bad Gateway", "unknown_extension"),
            Self::Answer => ("502 Bad Gateway", "unfinished_answer"),
            Self::SlowHead => ("408 Request Timeout", "slow_request"),
            Self::Call => ("403 Forbidden", "refused_call"),
        }
    }
}

/// A call's refusal as it is written to its client, after which the connection ends.
pub(super) fn written(reply: &Reply) -> Vec<u8> {
    let status = StatusCode::from_u16(reply.status).ok();
    let words = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
    let fields = reply.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!(
        "HTTP/1.1 {} {words}\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        fields.collect::<String>(),
        reply.body.len(),
    );
    [head.as_bytes(), &reply.body].concat()
}

/// Answers a client, and ends the connection so that the answer is not lost: what the client still
/// sends is read, as the kernel would reset the connection otherwise (RFC 9112, section 9.6). If
/// that takes too long it is reset all the same.
pub(super) async fn farewell(client: &mut impl Leg, answer: &[u8]) {
    let words = async {
        client.write_all(answer).await?;
        client.shutdown().await?;
        let mut left = limits::FAREWELL_BYTES;
        let mut buffer = [0; 4096];
        while left > 0 {
            match client.read(&mut buffer).await? {
                0 => return Ok::<_, io::Error>(()),
                read => left = left.saturating_sub(read),
            }
        }
        Err(io::Error::other("it sends too much"))
    };
    match timeout(limits::FAREWELL_TIME, words).await {
        Ok(Ok(())) => end_on_drop(client.socket()),
        Ok(Err(error)) => tracing::debug!(%error, "a refused client does not listen"),
        Err(_) => tracing::debug!("a refused client does not end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::h1::{Awaited, Fault, Method, ResponseFramer, ResponsePiece};

    #[test]
    fn an_answer_is_whole_and_tells_the_reason() {
        for refusal in [
            Refusal::Framing(FramingError::Client(Fault::LengthAndCoding)),
            Refusal::Framing(FramingError::Client(Fault::Lookalike)),
            Refusal::Framing(FramingError::Server(Fault::TransferCoding)),
            Refusal::Misaddressed(Misaddressed::HostsDiffer),
            Refusal::Misdirected,
            Refusal::Extension,
            Refusal::SlowHead,
        ] {
            let answer = refusal.answer();
            let mut framer = ResponseFramer::new();
            framer.push(Awaited::new(&Method::Get, false)).expect("it is the only one");
            let (head, piece) = framer.next(&answer).expect("it can be framed");
            let Some(ResponsePiece::Head(seen)) = piece else { panic!("no head: {piece:?}") };
            assert!(seen.close && (400..600).contains(&seen.status));
            let (body, piece) = framer.next(&answer[head..]).expect("it can be framed");
            assert_eq!(head + body, answer.len());
            let Some(ResponsePiece::Body(body)) = piece else { panic!("no body: {piece:?}") };
            let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(body["error"]["message"], format!("turnpike: {refusal}"));
        }
    }
}
