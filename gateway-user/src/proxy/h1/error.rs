//! Why bytes can't be framed.

use crate::limits::{self, Bound};

/// The connection can't be framed any further, and whose bytes are to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("the client's request can't be framed: {0}")]
    Client(Fault),
    #[error("the server's response can't be framed: {0}")]
    Server(Fault),
}

impl FramingError {
    /// The bound that was hit, if it was one.
    #[must_use]
    pub const fn bound(&self) -> Option<Bound> {
        let (Self::Client(fault) | Self::Server(fault)) = self;
        match fault {
            Fault::EmptyLines => Some(Bound::EmptyLines),
            Fault::HeadTooLarge => Some(Bound::HeadBytes),
            Fault::TooManyFields => Some(Bound::HeadFields),
            Fault::ChunkLineTooLong => Some(Bound::ChunkLineBytes),
            Fault::TooManyRequests => Some(Bound::PipelinedRequests),
            _ => None,
        }
    }
}

/// What makes the framing ambiguous, malformed or too large. The sections are those of RFC 9112
/// unless they name another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    #[error("a line ends in LF without CR (section 2.2)")]
    BareLf,
    #[error("a CR is not followed by LF (section 2.2)")]
    BareCr,
    #[error("more than {} empty lines before the request line (section 2.2)", limits::EMPTY_LINES)]
    EmptyLines,
    #[error("the request line is malformed (section 3)")]
    RequestLine,
    #[error("the request target holds whitespace (section 3.2)")]
    TargetWhitespace,
    #[error("the status line is malformed (section 4)")]
    StatusLine,
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1 (section 2.3)")]
    Version,
    #[error("the head or the trailers are too large (head_bytes in [limits])")]
    HeadTooLarge,
    #[error("the head or the trailers have more than {} fields", limits::HEAD_FIELDS)]
    TooManyFields,
    #[error("a field name is malformed (section 5)")]
    FieldName,
    #[error("whitespace before the colon of a field (section 5.1)")]
    SpaceBeforeColon,
    #[error("a field is folded over several lines (section 5.2)")]
    ObsoleteFold,
    #[error("a field value holds a control character (RFC 9110, section 5.5)")]
    FieldValue,
    #[error("several Host fields, or a Host that is not a host (section 3.2)")]
    Host,
    #[error("the Content-Length is not a plain decimal number below 2^63 (section 6.3)")]
    ContentLength,
    #[error("several Content-Length fields (section 6.3)")]
    RepeatedContentLength,
    #[error("both Content-Length and Transfer-Encoding (section 6.3)")]
    LengthAndCoding,
    #[error("the Transfer-Encoding is not `chunked`, once (section 6.1)")]
    TransferCoding,
    #[error("Transfer-Encoding in an HTTP/1.0 message (section 6.1)")]
    CodingInHttp10,
    #[error("a field that some read as one that frames the message: `_` for `-` (section 6)")]
    Lookalike,
    #[error("the Connection names a field that frames or addresses the message (section 9)")]
    ConnectionOption,
    #[error("a CONNECT has content, or an answer that can't have any (section 6.3)")]
    Content,
    #[error("a chunk size is not a hexadecimal number (section 7.1)")]
    ChunkSize,
    #[error("a chunk size has more than 16 digits (section 7.1)")]
    ChunkSizeTooLong,
    #[error("a chunk is larger than {} bytes", limits::CHUNK_BYTES)]
    ChunkTooLarge,
    #[error("a chunk extension holds a control character or half a string (section 7.1.1)")]
    ChunkExtension,
    #[error("the line of a chunk size exceeds {} bytes", limits::CHUNK_LINE_BYTES)]
    ChunkLineTooLong,
    #[error("a chunk's data is not followed by CRLF (section 7.1)")]
    ChunkEnd,
    #[error("a trailer that frames or addresses the message (RFC 9110, section 6.5.1)")]
    Trailer,
    #[error("a response without a request (section 9.2)")]
    Unsolicited,
    #[error("the server switches protocols without being asked to (RFC 9110, section 15.2.2)")]
    UnaskedUpgrade,
    #[error(
        "what follows a request to switch protocols came before its answer (RFC 9110, section 7.8)"
    )]
    EarlySwitch,
    #[error("more than {} requests wait for their response", limits::PIPELINED_REQUESTS)]
    TooManyRequests,
}
