//! A message's head, parsed once into what the proxy needs of it.

use std::{mem::MaybeUninit, sync::Arc};

use httparse::{Header, ParserConfig, Status};

use super::{Fault, scan::diagnose};
use crate::{
    call::Signal,
    dialect::{self, signals},
    limits,
    proxy::countermand::Retained,
};

/// The head of a request. Names that are not listed here are not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "what is asked or not, each for itself")]
pub struct RequestHead {
    pub method: Method,
    /// As written: a path and query, an absolute URI, an authority (CONNECT) or `*`.
    pub target: String,
    pub version: Version,
    /// The Host field. An absolute URI in `target` overrides it (RFC 9112, section 3.2.2).
    pub host: Option<String>,
    pub content_type: Option<String>,
    /// The codings as listed, several fields joined by a comma.
    pub content_encoding: Option<String>,
    /// `x-stainless-retry-count`: how often the client says that it has sent this before.
    pub retry_count: Option<u32>,
    /// Fields that say to which session or task it belongs.
    pub signals: Vec<Signal>,
    /// Whether the client asks to switch protocols (RFC 9110, section 7.8).
    pub upgrade: bool,
    /// Whether WebSocket is among those it asks for.
    pub websocket: bool,
    /// Whether the connection is to end after this exchange (RFC 9112, section 9.3).
    pub close: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub expect_continue: bool,
    pub framing: Framing,
    /// Fields that a request of the gateway's own would say again, if one may follow.
    pub(in crate::proxy) retained: Option<Arc<Retained>>,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// From 100 to 999.
    pub status: u16,
    pub version: Version,
    pub content_type: Option<String>,
    /// The codings as listed, several fields joined by a comma.
    pub content_encoding: Option<String>,
    /// `Location` of a redirection.
    pub location: Option<String>,
    /// Fields that say to which session it belongs.
    pub signals: Vec<Signal>,
    /// Whether it says that it switches to WebSocket.
    pub websocket: bool,
    /// `Sec-WebSocket-Extensions` as listed, several fields joined by a comma.
    pub websocket_extensions: Option<String>,
    /// Whether the connection is to end after this exchange (RFC 9112, section 9.3).
    pub close: bool,
    /// As it applies: [`Framing::None`] for an answer to HEAD, whatever its fields say.
    pub framing: Framing,
}

/// How a message's body is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    /// In bytes.
    Length(u64),
    Chunked,
    /// Of a response only.
    UntilClose,
}

impl Framing {
    /// Whether the fields say that there is a body: one of no bytes is none.
    pub(super) const fn has_content(self) -> bool {
        matches!(self, Self::Length(1..) | Self::Chunked)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    Http10,
    Http11,
}

/// A request's method. Case matters (RFC 9110, section 9.1): `get` is an [`Other`](Self::Other).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Connect,
    Other(Box<str>),
}

impl Method {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Method {
    fn from(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "CONNECT" => Self::Connect,
            other => Self::Other(other.into()),
        }
    }
}

impl Version {
    fn parse(minor: Option<u8>) -> Result<Self, Fault> {
        match minor {
            Some(0) => Ok(Self::Http10),
            Some(1) => Ok(Self::Http11),
            _ => Err(Fault::Version),
        }
    }
}

impl RequestHead {
    /// Parses a whole head, its empty line included.
    pub(super) fn parse(section: &[u8]) -> Result<Self, Fault> {
        let mut headers = [const { MaybeUninit::uninit() }; limits::HEAD_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(section, &mut headers) {
            Ok(Status::Complete(end)) if end == section.len() => {}
            Ok(_) => return Err(Fault::RequestLine),
            Err(error) => return Err(diagnose(section, error)),
        }
        let version = Version::parse(request.version)?;
        let fields = Fields::read(request.headers)?;
        let framing = fields.framing(version)?.unwrap_or(Framing::None);
        let method: Method = request.method.ok_or(Fault::RequestLine)?.into();
        // Some read it as the first bytes of the tunnel (RFC 9110, section 9.3.6).
        if method == Method::Connect && framing.has_content() {
            return Err(Fault::Content);
        }
        // A server must ignore the Upgrade of an HTTP/1.0 request (RFC 9110, section 7.8).
        let upgrade = fields.upgrade && fields.upgrade_option && version == Version::Http11;
        let target = request.path.ok_or(Fault::RequestLine)?;
        let may = dialect::may_follow(method.as_str(), target, fields.content_type.as_deref());
        let all = request.headers.iter().map(|field| (field.name, field.value));
        Ok(Self {
            method,
            target: target.to_owned(),
            retained: may.then(|| Retained::of(all)).flatten(),
            version,
            upgrade,
            websocket: upgrade && fields.websocket,
            close: fields.close(version),
            expect_continue: fields.expect_continue,
            framing,
            host: fields.host,
            content_type: fields.content_type,
            content_encoding: fields.content_encoding,
            retry_count: fields.retry_count,
            signals: fields.signals,
        })
    }
}

impl ResponseHead {
    /// Parses a whole head, its empty line included, of a response that may have a body: the
    /// request decides too ([`ResponseHead::without_body`]).
    pub(super) fn parse(section: &[u8]) -> Result<Self, Fault> {
        let mut headers = [const { MaybeUninit::uninit() }; limits::HEAD_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            section,
            &mut headers,
        );
        match parsed {
            Ok(Status::Complete(end)) if end == section.len() => {}
            Ok(_) => return Err(Fault::StatusLine),
            Err(error) => return Err(diagnose(section, error)),
        }
        let version = Version::parse(response.version)?;
        let status = response.code.filter(|&code| code >= 100).ok_or(Fault::StatusLine)?;
        let fields = Fields::read(response.headers)?;
        let framing = match (fields.framing(version)?, status) {
            // Rule 1 of RFC 9112, section 6.3: these have no body, whatever their fields say. Only
            // of a 304 may they say something (RFC 9110, section 8.6); of others, some believe it.
            (Some(framing), 100..200 | 204) if framing.has_content() => return Err(Fault::Content),
            (_, 100..200 | 204 | 304) => Framing::None,
            (Some(framing), _) => framing,
            (None, _) => Framing::UntilClose,
        };
        Ok(Self {
            status,
            version,
            close: fields.close(version),
            framing,
            content_type: fields.content_type,
            content_encoding: fields.content_encoding,
            location: fields.location.filter(|_| (300..400).contains(&status)),
            signals: fields.signals,
            websocket: fields.upgrade_option && fields.websocket,
            websocket_extensions: fields.websocket_extensions,
        })
    }

    pub(super) fn without_body(self) -> Self {
        Self { framing: Framing::None, ..self }
    }
}

/// What the fields of a head say.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "what is said or not, each for itself")]
struct Fields {
    host: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    content_length: Option<u64>,
    location: Option<String>,
    chunked: bool,
    connection_close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade: bool,
    websocket: bool,
    websocket_extensions: Option<String>,
    expect_continue: bool,
    retry_count: Option<u32>,
    signals: Vec<Signal>,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for header in headers {
            fields.add(header)?;
        }
        Ok(fields)
    }

    fn add(&mut self, &Header { name, value }: &Header<'_>) -> Result<(), Fault> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // The length tells most fields apart without reading them.
        match name.len() {
            4 if is("host") => self.host(value)?,
            6 if is("expect") => {
                self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if is("upgrade") => self.upgrade(value),
            8 if is("location") => self.location = text(value),
            10 if is("connection") => self.connection(value)?,
            12 if is("content-type") => self.content_type = text(value),
            14 if is("content-length") => self.content_length(value)?,
            14 | 17 if name.contains('_') && frames(&name.replace('_', "-")) => {
                return Err(Fault::Lookalike);
            }
            16 if is("content-encoding") => append(&mut self.content_encoding, value),
            17 if is("transfer-encoding") => self.transfer_encoding(value)?,
            23 if is("x-stainless-retry-count") => {
                self.retry_count = decimal(value).and_then(|count| count.try_into().ok());
            }
            24 if is("sec-websocket-extensions") => append(&mut self.websocket_extensions, value),
            _ => signals::note(&mut self.signals, name.as_bytes(), value),
        }
        Ok(())
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        let is_host = value.iter().all(u8::is_ascii_graphic) && !value.contains(&b',');
        if self.host.is_some() || !is_host {
            return Err(Fault::Host);
        }
        self.host = text(value);
        Ok(())
    }

    fn upgrade(&mut self, value: &[u8]) {
        self.upgrade = true;
        let mut protocols = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        self.websocket |= protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    }

    /// A field that is named here is taken out before the message is passed on (RFC 9110, section
    /// 7.6.1): for the next but one the message would be another, so those that matter can't be.
    fn connection(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if std::str::from_utf8(option).is_ok_and(frames) {
                return Err(Fault::ConnectionOption);
            }
            self.connection_close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_option |= option.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }

    /// RFC 9112, section 6.3 lets a recipient accept equal values that are repeated; peers differ
    /// in whether they do, so they are refused here.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.content_length.is_some() {
            return Err(Fault::RepeatedContentLength);
        }
        let length = decimal(value).filter(|length| *length <= u64::MAX >> 1);
        // To some, a number that begins with 0 is octal.
        if length.is_none() || (value.len() > 1 && value.starts_with(b"0")) {
            return Err(Fault::ContentLength);
        }
        self.content_length = length;
        Ok(())
    }

    /// RFC 9112, section 6.1 allows other codings before `chunked`. No client or server in use
    /// sends them, and those that look only for the word frame them differently.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::TransferCoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Option<Framing>, Fault> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(Fault::LengthAndCoding),
            (true, None) if version == Version::Http10 => Err(Fault::CodingInHttp10),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, length) => Ok(length.map(Framing::Length)),
        }
    }

    fn close(&self, version: Version) -> bool {
        self.connection_close || (version == Version::Http10 && !self.keep_alive)
    }
}

/// A whole head without the fields of a name; all else is as it was.
#[must_use]
pub fn without_field(head: &[u8], name: &str) -> Vec<u8> {
    let is_it = |line: &[u8]| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            && line.get(name.len()) == Some(&b':')
    };
    let lines = head.split_inclusive(|&b| b == b'\n').filter(|line| !is_it(line));
    lines.flatten().copied().collect()
}

/// A whole head with one more field, which is its last; all else is as it was. What could be read as the
/// end of a line is none in it.
#[must_use]
pub fn with_field(head: &[u8], name: &str, value: &str) -> Vec<u8> {
    let Some(lines) = head.strip_suffix(b"\r\n") else { return head.to_vec() };
    let field = format!("{name}: {}\r\n\r\n", printable(value));
    [lines, field.as_bytes()].concat()
}

/// A text as a field may have it (RFC 9110, section 5.5).
#[must_use]
pub fn printable(value: &str) -> String {
    value.chars().map(|one| if matches!(one, ' '..='~') { one } else { '?' }).collect()
}

/// A whole head with another number in its Content-Length, if it has one; all else is as it was.
#[must_use]
pub fn with_length(head: &[u8], length: usize) -> Vec<u8> {
    let mut whole = Vec::with_capacity(head.len() + 8);
    for line in head.split_inclusive(|&b| b == b'\n') {
        let colon = line.iter().position(|&b| b == b':');
        let (name, value) = line.split_at(colon.map_or(0, |colon| colon + 1));
        let digits = value.iter().position(u8::is_ascii_digit);
        match digits {
            Some(at) if name.eq_ignore_ascii_case(b"content-length:") => {
                let (before, rest) = value.split_at(at);
                let end = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
                whole.extend_from_slice(name);
                whole.extend_from_slice(before);
                whole.extend_from_slice(length.to_string().as_bytes());
                whole.extend_from_slice(rest.get(end..).unwrap_or_default());
            }
            _ => whole.extend_from_slice(line),
        }
    }
    whole
}

/// Whether a field of this name decides where a message ends, or for whom it is.
pub(super) fn frames(name: &str) -> bool {
    ["content-length", "transfer-encoding", "host"]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
}

/// Joins the values of a list that stands in several fields (RFC 9110, section 5.3).
fn append(list: &mut Option<String>, value: &[u8]) {
    match (list, text(value)) {
        (Some(list), Some(more)) => {
            list.push_str(", ");
            list.push_str(&more);
        }
        (none, value) => *none = value,
    }
}

/// `1*DIGIT`, and nothing else: no sign, no list, no space.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A value that is not UTF-8 means nothing to the proxy.
fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}
