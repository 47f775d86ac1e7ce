//! The messages that are measured: chat calls as the `OpenAI` SDK makes them, the same bytes to a
//! path of no known API, and a binary protocol of the same sizes that no gateway can know.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What client and server speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Protocol {
    /// Chat calls over HTTP with keep-alive.
    Chat,
    /// The same messages to a path that no API has: framed, and not understood.
    Archive,
    /// Length-prefixed messages: the length of what follows (u32, big-endian), and in requests the
    /// length of the answer that is wanted (the same).
    Binary,
}

/// What a request asks the server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// An answer with a body of so many bytes.
    Answer(usize),
    /// A stream of events.
    Stream(Rhythm),
}

/// When the events of a stream come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rhythm {
    /// None: the stream stays open, silent, until the client closes it.
    pub(super) events: u32,
    pub(super) period_ms: u32,
    /// Before the first.
    pub(super) offset_ms: u32,
}

impl Protocol {
    /// Where its requests go; none where that is not HTTP.
    pub(super) const fn path(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("/v1/chat/completions"),
            Self::Archive => Some("/v1/archive/documents"),
            Self::Binary => None,
        }
    }
}

/// A request that can be sent again and again, each time as a task of its own.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Where its body begins.
    body_at: usize,
    /// Where its text differs from the others'.
    nonce_at: Option<usize>,
}

impl Request {
    /// One with a body of `size` bytes.
    pub(super) fn new(protocol: Protocol, size: usize, wanted: Wanted) -> Result<Self> {
        let Some(path) = protocol.path() else { return Self::binary(size, wanted) };
        let stream = matches!(wanted, Wanted::Stream(_));
        let body = padded(size, words, |text| {
            let user = format!("Task {NONCE}. Please summarise this: {text}");
            json!({"model": "gpt-4o-mini", "temperature": 0.2, "stream": stream, "messages": [
                {"role": "system", "content": "You are a careful assistant. Answer in one line."},
                {"role": "user", "content": user},
            ]})
        })?;
        Ok(Self::http(path, &wanted.to_string(), &[&body]))
    }

    /// One over HTTP, whose body is these pieces together.
    pub(super) fn http(path: &str, wanted: &str, body: &[&[u8]]) -> Self {
        let length: usize = body.iter().map(|piece| piece.len()).sum();
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\n\
             Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\n\
             User-Agent: OpenAI/Python 1.99.0\r\nX-Stainless-Lang: python\r\n\
             X-Stainless-Package-Version: 1.99.0\r\nX-Stainless-OS: Linux\r\n\
             X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n\
             X-Stainless-Runtime-Version: 3.11.2\r\nX-Stainless-Async: false\r\n\
             x-stainless-retry-count: 0\r\nAuthorization: Bearer sk-bench-000000000000\r\n\
             {WANTED}: {wanted}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        let body_at = bytes.len();
        bytes.reserve_exact(length);
        for piece in body {
            bytes.extend_from_slice(piece);
        }
        // It comes early: a body may be too large to be looked through each time.
        let beginning = bytes.get(..body_at + NONCE_WITHIN).unwrap_or(&bytes);
        let nonce_at = find(beginning, NONCE.as_bytes());
        Self { bytes, body_at, nonce_at }
    }

    fn binary(size: usize, wanted: Wanted) -> Result<Self> {
        let Wanted::Answer(answer) = wanted else { bail!("the binary protocol has no streams") };
        let mut bytes = u32::try_from(size)?.to_be_bytes().to_vec();
        bytes.resize(LENGTH + size, b'q');
        let answer = u32::try_from(answer)?.to_be_bytes();
        bytes.get_mut(LENGTH..2 * LENGTH).context("too small a request")?.copy_from_slice(&answer);
        Ok(Self { bytes, body_at: LENGTH, nonce_at: None })
    }

    /// Gives it a text that no other request has: each opens a workflow of its own.
    pub(super) fn set_nonce(&mut self, nonce: u64) {
        if let Some(field) = self.nonce_at.and_then(|at| self.bytes.get_mut(at..at + NONCE.len())) {
            field.copy_from_slice(format!("{nonce:016x}").as_bytes());
        }
    }

    /// Its bytes, with a text that no other request has.
    pub(super) fn with_nonce(&mut self, nonce: u64) -> &[u8] {
        self.set_nonce(nonce);
        &self.bytes
    }

    /// Its head and its body, as they are sent over HTTP/1.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.body_at..).unwrap_or_default()
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(size) => write!(f, "answer {size}"),
            Self::Stream(Rhythm { events, period_ms, offset_ms }) => {
                write!(f, "stream {events} {period_ms} {offset_ms}")
            }
        }
    }
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        Ok(match words.as_slice() {
            ["answer", size] => Self::Answer(size.parse()?),
            ["stream", events, period, offset] => Self::Stream(Rhythm {
                events: events.parse()?,
                period_ms: period.parse()?,
                offset_ms: offset.parse()?,
            }),
            _ => bail!("asks for {text}"),
        })
    }
}

/// The body of the server's answer.
pub(super) fn answer_body(protocol: Protocol, size: usize) -> Result<Vec<u8>> {
    if protocol == Protocol::Binary {
        return Ok(vec![b'a'; size]);
    }
    padded(size, answer_words, |text| {
        json!({"id": "chatcmpl-0123456789abcdef", "object": "chat.completion",
            "created": 1_760_000_000, "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                "message": {"role": "assistant", "content": text, "refusal": null}}],
            "usage": {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0}}})
    })
}

/// The server's whole answer with a body of `size` bytes.
pub(super) fn answer(protocol: Protocol, size: usize) -> Result<Vec<u8>> {
    let mut bytes = match protocol {
        Protocol::Chat | Protocol::Archive => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\
             openai-processing-ms: 312\r\nopenai-version: 2020-10-01\r\n\
             x-ratelimit-remaining-requests: 9999\r\nx-request-id: req_0123456789abcdef\r\n\r\n"
        )
        .into_bytes(),
        Protocol::Binary => u32::try_from(size)?.to_be_bytes().to_vec(),
    };
    bytes.extend(answer_body(protocol, size)?);
    Ok(bytes)
}

/// What comes before the events of a stream.
pub(super) const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
      Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\nx-request-id: req_0123456789abcdef\r\n\r\n";
/// What a stream ends in.
pub(super) const STREAM_END: &[u8] = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
/// Comes before the time at which an event was sent, and nowhere else.
pub(super) const STAMP: u8 = b'@';
/// Digits of that time: nanoseconds of `CLOCK_MONOTONIC`.
pub(super) const STAMP_DIGITS: usize = 20;

/// One event of a stream, in a chunk of its own, which says when it was sent.
pub(super) fn event(sent_ns: u64) -> String {
    let event = format!(
        "data: {{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
         \"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\"@{sent_ns:020}\"}},\"logprobs\":null,\
         \"finish_reason\":null}}]}}\n\n"
    );
    let mut chunk = String::with_capacity(event.len() + 8);
    // Writing to a string does not fail.
    let _ = write!(chunk, "{:x}\r\n{event}\r\n", event.len());
    chunk
}

/// Nanoseconds of the clock that all processes of the machine share.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// How long a message is, once enough of its beginning is there to tell.
pub(super) fn message_length(protocol: Protocol, beginning: &[u8]) -> Result<Option<usize>> {
    match protocol {
        Protocol::Binary => {
            let Some(length) = beginning.first_chunk::<LENGTH>() else { return Ok(None) };
            Ok(Some(LENGTH + usize::try_from(u32::from_be_bytes(*length))?))
        }
        Protocol::Chat | Protocol::Archive => {
            let Some(head) = head(beginning)? else { return Ok(None) };
            let length = field(head, "content-length").context("a message without its length")?;
            let length: usize = length.parse().context("its length")?;
            Ok(Some(head.len() + END_OF_HEAD.len() + length))
        }
    }
}

/// What the request asks for, by its beginning.
pub(super) fn wanted(protocol: Protocol, beginning: &[u8]) -> Result<Wanted> {
    if protocol == Protocol::Binary {
        let size = beginning.get(LENGTH..).and_then(|rest| rest.first_chunk::<LENGTH>());
        let size = u32::from_be_bytes(*size.context("a request that asks for nothing")?);
        return Ok(Wanted::Answer(usize::try_from(size)?));
    }
    let head = head(beginning)?.context("half a head")?;
    field(head, WANTED).context("a request that asks for nothing")?.parse()
}

/// Errors unless the answer that begins so is a success.
pub(super) fn check_status(protocol: Protocol, beginning: &[u8]) -> Result<()> {
    let good = protocol == Protocol::Binary || beginning.starts_with(b"HTTP/1.1 200 ");
    let line = beginning.split(|byte| *byte == b'\r').next().unwrap_or_default();
    ensure!(good, "the answer is {:?}", String::from_utf8_lossy(line));
    Ok(())
}

/// The bytes before the empty line, once it is there.
pub(super) fn head(beginning: &[u8]) -> Result<Option<&str>> {
    if let Some(end) = find(beginning, END_OF_HEAD) {
        return Ok(beginning.get(..end).map(str::from_utf8).transpose()?);
    }
    ensure!(beginning.len() < MOST_OF_HEAD, "a head without an end");
    Ok(None)
}

/// The value of a field, whatever the case of its name: proxies may change it.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (start, value) = line.split_once(": ")?;
        start.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A JSON document of exactly `size` bytes, filled up where `document` puts the text.
fn padded(
    size: usize,
    words: impl Fn(usize) -> String,
    document: impl Fn(&str) -> serde_json::Value,
) -> Result<Vec<u8>> {
    let bare = document("").to_string().len();
    let room = size.checked_sub(bare).with_context(|| format!("{size} bytes are too few"))?;
    Ok(document(&words(room)).to_string().into_bytes())
}

/// Text of `length` bytes that needs no escapes.
pub(super) fn words(length: usize) -> String {
    repeated("the quick brown fox jumps over the lazy dog and goes on its way ", length)
}

/// The same for an answer. They are other words: who asks with an answer's goes on from it.
fn answer_words(length: usize) -> String {
    repeated("what is asked for is told here, in short, by a model that knows it. ", length)
}

fn repeated(words: &str, length: usize) -> String {
    words.chars().cycle().take(length).collect()
}

/// The field that says what a request asks for.
pub(super) const WANTED: &str = "x-bench-want";
/// Whom requests are for.
pub(super) const HOST: &str = "api.example.test";
/// Stands where the nonce goes.
pub(super) const NONCE: &str = "nonce-comes-here";
/// Bytes of a body that the nonce is in.
const NONCE_WITHIN: usize = 512;
/// Bytes of a length in the binary protocol.
const LENGTH: usize = 4;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const MOST_OF_HEAD: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_size_asked_for_and_say_so() {
        for protocol in [Protocol::Chat, Protocol::Archive, Protocol::Binary] {
            let wanted_size = Wanted::Answer(3000);
            let mut request = Request::new(protocol, 2000, wanted_size).expect("a request");
            let bytes = request.with_nonce(7);
            assert_eq!(message_length(protocol, bytes).expect("a length"), Some(bytes.len()));
            assert_eq!(wanted(protocol, bytes).expect("what it wants"), wanted_size);
            let answer = answer(protocol, 3000).expect("an answer");
            assert_eq!(message_length(protocol, &answer).expect("a length"), Some(answer.len()));
            assert!(check_status(protocol, &answer).is_ok());
        }
    }

    #[test]
    fn each_request_has_a_text_of_its_own() {
        let mut request =
            Request::new(Protocol::Chat, 2000, Wanted::Answer(2000)).expect("a request");
        assert_eq!(request.body().len(), 2000);
        let one = request.with_nonce(1).to_vec();
        assert_ne!(one, request.with_nonce(2));
        assert!(find(&one, b"Task 0000000000000001.").is_some());
    }

    #[test]
    fn an_event_is_a_chunk_with_the_time_in_it() {
        let chunk = event(42);
        let (size, rest) = chunk.split_once("\r\n").expect("a chunk");
        assert_eq!(usize::from_str_radix(size, 16).expect("hex") + 2, rest.len());
        let at = chunk.bytes().position(|byte| byte == STAMP).expect("a stamp");
        assert_eq!(chunk[at + 1..][..STAMP_DIGITS].parse(), Ok(42));
    }

    #[test]
    fn half_a_head_tells_no_length_yet() {
        let half = b"HTTP/1.1 200 OK\r\nContent-Le";
        assert_eq!(message_length(Protocol::Chat, half).expect("fine so far"), None);
    }
}
