//! What ends a stream in its middle, in the words of its API: an event that makes every client raise
//! an error with our reason. The mere end of the bytes makes most of them believe that the answer
//! is whole. And what is said in one that goes on.

use serde_json::{Value, json};

use super::{
    coding::Decoder,
    refusal::{self, Caller, error},
};
use crate::call::{Cause, Dialect, Reason};

/// How a stream is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Server-sent events.
    Events,
    /// A JSON document in each line.
    Lines,
    /// Amazon's event stream: frames with their length and checksums.
    Frames,
}

/// How far a stream has come, so that it can be ended there.
#[derive(Clone, Debug)]
pub struct Place {
    form: Form,
    /// The last bytes that have passed, as many as decide on whether an event has ended.
    tail: [u8; TAIL],
    /// Of the frame that has begun.
    frame: Frame,
}

/// Why a stream can't be ended in its own words: only a reset tells its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWords;

impl Place {
    /// At the beginning of a response. `None` if it is no stream whose events are known, or a
    /// compressed one.
    #[must_use]
    pub fn new(content_type: Option<&str>, content_encoding: Option<&str>) -> Option<Self> {
        let decoder = Decoder::new(content_encoding, 0).ok()?;
        if !decoder.is_plain() {
            return None;
        }
        let essence = content_type.and_then(|value| value.split(';').next())?.trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        let form = match () {
            () if is("text/event-stream") => Form::Events,
            () if is("application/x-ndjson") || is("application/jsonl") => Form::Lines,
            () if is("application/vnd.amazon.eventstream") => Form::Frames,
            () => return None,
        };
        Some(Self { form, tail: [b'\n'; TAIL], frame: Frame::default() })
    }

    /// Whether it consists of server-sent events.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.form == Form::Events
    }

    /// These bytes went by.
    pub fn passed(&mut self, bytes: &[u8]) {
        if self.form == Form::Frames {
            return self.frame.passed(bytes);
        }
        if let Some(last) = bytes.last_chunk() {
            self.tail = *last;
        } else {
            self.tail.rotate_left(bytes.len());
            let at = TAIL - bytes.len();
            self.tail.iter_mut().skip(at).zip(bytes).for_each(|(to, byte)| *to = *byte);
        }
    }

    /// Where the first event of these bytes ends, which are the next ones, if one does in them.
    #[must_use]
    pub fn event_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.form {
            Form::Events => self.blank_line(bytes),
            Form::Lines => memchr::memchr(b'\n', bytes).map(|end| end + 1),
            Form::Frames => self.frame.end(bytes),
        }
    }

    /// Behind the end of a line that has nothing in it.
    fn blank_line(&self, bytes: &[u8]) -> Option<usize> {
        let before = |at: usize, back: usize| match at.checked_sub(back) {
            Some(at) => bytes.get(at).copied(),
            None => (TAIL + at).checked_sub(back).and_then(|at| self.tail.get(at)).copied(),
        };
        memchr::memchr2_iter(b'\n', b'\r', bytes).find_map(|at| {
            let (last, one, two) = (bytes.get(at), before(at, 1), before(at, 2));
            let ends = match (last, one) {
                (Some(b'\n'), Some(b'\n')) | (Some(b'\r'), Some(b'\r')) => true,
                (Some(b'\n'), Some(b'\r')) => two == Some(b'\n'),
                // Most likely it is half a line end.
                (Some(b'\r'), Some(b'\n')) => bytes.get(at + 1).is_some_and(|next| *next != b'\n'),
                _ => false,
            };
            ends.then_some(at + 1)
        })
    }

    /// Whether an event of ours may go on here, between two of the server's.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        let blank = matches!(
            self.tail,
            [.., b'\n', b'\n'] | [.., b'\r', b'\r'] | [b'\r', b'\n', b'\r', b'\n']
        );
        self.has_events() && blank
    }

    /// What comes first, so that what follows is an event of its own.
    fn ending(&self) -> Result<&'static [u8], NoWords> {
        match (self.form, self.tail) {
            (Form::Frames, _) if self.frame.is_at_start() => Ok(b""),
            // The rest of it has a checksum.
            (Form::Frames, _) => Err(NoWords),
            (Form::Lines, [.., b'\n'])
            | (Form::Events, [.., b'\n', b'\n'] | [b'\r', b'\n', b'\r', b'\n']) => Ok(b""),
            (Form::Lines, _) => Ok(b"\n"),
            // Another LF would be the second half of that line's end.
            (Form::Events, [.., b'\r']) => Ok(b"\n\n\n"),
            (Form::Events, _) => Ok(b"\n\n"),
        }
    }

    /// What may follow the last words, where there has to be something.
    #[must_use]
    pub const fn filler(&self) -> Option<u8> {
        match self.form {
            Form::Events | Form::Lines => Some(b'\n'),
            Form::Frames => None,
        }
    }

    /// The bytes that end the stream here.
    pub fn last_words(&self, caller: &Caller, reason: &Reason) -> Result<Vec<u8>, NoWords> {
        let mut words = self.ending()?.to_vec();
        let dialect = caller.dialect.ok_or(NoWords)?;
        match (self.form, dialect) {
            (Form::Events, Dialect::OpenaiResponses) => responses(&mut words, reason),
            (Form::Events, Dialect::AnthropicMessages) => {
                event(&mut words, Some("error"), &error(caller, reason));
            }
            (Form::Events, Dialect::Mcp) => words.extend(message(caller, reason)),
            (Form::Events, _) => event(&mut words, None, &error(caller, reason)),
            (Form::Lines, _) => {
                words.extend_from_slice(error(caller, reason).to_string().as_bytes());
                words.push(b'\n');
            }
            (Form::Frames, _) => words.extend(exception(caller, reason)),
        }
        Ok(words)
    }
}

/// The event that tells a caller of its refusal in the stream in which it waits for answers (MCP).
#[must_use]
pub fn message(caller: &Caller, reason: &Reason) -> Vec<u8> {
    let mut words = Vec::new();
    event(&mut words, Some("message"), &error(caller, reason));
    words
}

/// An event boundary is two line ends, of at most two bytes each.
const TAIL: usize = 4;

/// Codex gives up on `response.failed` with this code, and tries again after any other; the SDKs
/// raise nothing at that event, but at an `error` with the error in an object of its own; other
/// clients want it flat.
fn responses(words: &mut Vec<u8>, reason: &Reason) {
    let message = reason.to_string();
    let fatal = if reason.cause == Cause::Ending { "server_error" } else { "insufficient_quota" };
    let failed = json!({
        "type": "response.failed",
        "response": {
            "object": "response",
            "status": "failed",
            "error": { "code": fatal, "message": message },
            "output": [],
        },
    });
    event(words, Some("response.failed"), &failed);
    event(words, Some("error"), &refusal::event(reason));
}

fn event(words: &mut Vec<u8>, name: Option<&str>, data: &Value) {
    if let Some(name) = name {
        words.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    words.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

/// A frame that says that the stream has failed: total length, length of the headers, checksum of
/// these, headers, payload, checksum of all.
fn exception(caller: &Caller, reason: &Reason) -> Vec<u8> {
    const CHECKSUMS: usize = 8;
    let payload = error(caller, reason).to_string();
    let mut headers = Vec::new();
    let mut kind = refusal::bedrock_type(reason.cause).to_owned();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    for (name, value) in [
        (":message-type", "exception"),
        (":exception-type", &kind),
        (":content-type", "application/json"),
    ] {
        headers.push(short(name.len()));
        headers.extend_from_slice(name.as_bytes());
        headers.extend_from_slice(&[STRING, 0, short(value.len())]);
        headers.extend_from_slice(value.as_bytes());
    }
    let total = 2 * size_of::<u32>() + CHECKSUMS + headers.len() + payload.len();
    let mut frame = Vec::with_capacity(total);
    frame.extend(length(total));
    frame.extend(length(headers.len()));
    frame.extend(crc32(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend(crc32(&frame).to_be_bytes());
    frame
}

/// The type of a header whose value is text.
const STRING: u8 = 7;

/// Names and values of our own headers, which are short.
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// As in Ethernet and gzip (RFC 1952, section 8). Of a few bytes, so without a table.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let step = |crc: u32, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Where a frame of Amazon's event stream ends.
#[derive(Clone, Debug, Default)]
struct Frame {
    /// The bytes of its length that have come.
    length: Vec<u8>,
    /// How many are still to come, once that is known.
    left: usize,
}

impl Frame {
    fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            self.length.push(first);
            bytes = rest;
            if let Ok(length) = <[u8; 4]>::try_from(self.length.as_slice()) {
                let total = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.left = total.saturating_sub(length.len());
                self.length.clear();
            }
        }
    }

    /// Where it ends in these bytes.
    fn end(&self, bytes: &[u8]) -> Option<usize> {
        let mut frame = self.clone();
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if frame.left > 0 {
                return rest.get(frame.left..).map(|after| bytes.len() - after.len());
            }
            frame.passed(std::slice::from_ref(first));
            rest = after;
        }
        None
    }

    fn is_at_start(&self) -> bool {
        self.left == 0 && self.length.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::Unmetered;
    use crate::dialect::{frames::Event, sse::Parser};

    fn caller(dialect: Dialect) -> Caller {
        Caller { dialect: Some(dialect), request_id: "r".into(), ..Caller::default() }
    }

    fn reason() -> Reason {
        Reason::new(Cause::Budget, "no more")
    }

    fn place(content_type: &str, passed: &[u8]) -> Place {
        let mut place = Place::new(Some(content_type), None).expect("a stream");
        place.passed(passed);
        place
    }

    /// The data of the events of a stream that ends in our words.
    fn cut(dialect: Dialect, passed: &[u8]) -> Vec<String> {
        let place = place("text/event-stream", passed);
        let words = place.last_words(&caller(dialect), &reason()).expect("words");
        let mut events = Vec::new();
        Parser::new(10_000).feed(&[passed, &words].concat(), |event| {
            if let Event::Data(data) = event {
                events.push(String::from_utf8_lossy(data).into_owned());
            }
        });
        events
    }

    #[test]
    fn a_chat_ends_with_an_error_and_without_its_mark() {
        let events = cut(Dialect::OpenaiChat, b"data: {}\n\n");
        assert_eq!(events.len(), 2);
        let error: Value = serde_json::from_str(&events[1]).expect("JSON");
        assert_eq!(error["error"]["message"], "turnpike: no more");
        assert_eq!(error["error"]["code"], "turnpike_budget_exceeded");
    }

    #[test]
    fn a_response_fails_and_then_has_an_error_both_flat_and_nested() {
        let events = cut(Dialect::OpenaiResponses, b"");
        let [failed, error] = events.try_into().expect("two events");
        let failed: Value = serde_json::from_str(&failed).expect("JSON");
        assert_eq!(failed["response"]["error"]["code"], "insufficient_quota");
        let error: Value = serde_json::from_str(&error).expect("JSON");
        assert_eq!(
            (&error["type"], &error["message"]),
            (&"error".into(), &error["error"]["message"])
        );
        assert_eq!(error["code"], error["error"]["code"]);
    }

    #[test]
    fn every_event_has_the_name_that_its_clients_wait_for() {
        let words = |dialect| {
            let place = place("text/event-stream; charset=utf-8", b"");
            let words = place.last_words(&caller(dialect), &reason()).expect("words");
            String::from_utf8(words).expect("text")
        };
        assert!(words(Dialect::AnthropicMessages).starts_with("event: error\ndata: {"));
        assert!(words(Dialect::Mcp).starts_with("event: message\ndata: {"));
        assert!(words(Dialect::Gemini).starts_with("data: {\"error\":{\"code\":400,"));
        assert!(words(Dialect::A2a).contains("\"jsonrpc\":\"2.0\""));
        assert!(words(Dialect::OpenaiResponses).contains("\n\nevent: error\ndata: {"));
    }

    #[test]
    fn lines_end_with_a_line() {
        let words = |passed: &[u8]| {
            let place = place("application/x-ndjson", passed);
            let words = place.last_words(&caller(Dialect::Ollama), &reason()).expect("words");
            String::from_utf8(words).expect("text")
        };
        assert_eq!(words(b"{}\n"), "{\"error\":\"turnpike: no more\"}\n");
        assert_eq!(words(b"{\"a"), "\n{\"error\":\"turnpike: no more\"}\n");
    }

    #[test]
    fn frames_are_ended_between_them_only() {
        let frame = exception(&caller(Dialect::Bedrock), &reason());
        let stream = "application/vnd.amazon.eventstream";
        let whole = place(stream, &frame).last_words(&caller(Dialect::Bedrock), &reason());
        assert_eq!(whole, Ok(frame.clone()));
        for cut in 1..frame.len() {
            let mut place = place(stream, &frame[..cut]);
            assert_eq!(place.last_words(&caller(Dialect::Bedrock), &reason()), Err(NoWords));
            place.passed(&frame[cut..]);
            assert!(place.last_words(&caller(Dialect::Bedrock), &reason()).is_ok());
        }
        assert_eq!(frame.len(), u32::from_be_bytes(frame[..4].try_into().expect("4")) as usize);
        let text = String::from_utf8_lossy(&frame);
        assert!(text.contains(":exception-type\u{7}\0\u{13}validationException"), "{text}");
        assert!(text.contains("{\"message\":\"turnpike: no more\"}"), "{text}");
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// The pieces into which the ends of events cut what passes, and what is left.
    fn events_of<'a>(place: &mut Place, mut bytes: &'a [u8]) -> (Vec<&'a [u8]>, &'a [u8]) {
        let mut events = Vec::new();
        while let Some(end) = place.event_end(bytes) {
            let (event, after) = bytes.split_at(end);
            place.passed(event);
            events.push(event);
            bytes = after;
        }
        place.passed(bytes);
        (events, bytes)
    }

    #[test]
    fn lines_and_frames_are_events_of_their_own() {
        let mut lines = place("application/x-ndjson", b"");
        assert_eq!(events_of(&mut lines, b"{}\n{}\n{"), (vec![&b"{}\n"[..]; 2], &b"{"[..]));
        assert_eq!(events_of(&mut lines, b"}\n"), (vec![&b"}\n"[..]], &b""[..]));
        let frame = exception(&caller(Dialect::Bedrock), &reason());
        let stream = [&*frame, &frame, b"\0\0"].concat();
        for cut in 0..stream.len() {
            let mut frames = place("application/vnd.amazon.eventstream", b"");
            let (mut events, rest) = events_of(&mut frames, &stream[..cut]);
            let (more, left) = events_of(&mut frames, &stream[cut..]);
            let ends = [rest, more.first().unwrap_or(&&b""[..])].concat();
            events.extend(more.iter().skip(1));
            assert!(ends == frame || ends.is_empty() || events.len() == 2, "{cut}");
            assert!(events.iter().all(|event| *event == frame));
            assert!(left == b"\0\0" || cut > 2 * frame.len(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_stream_is_not_ended_in_words() {
        for content_type in [None, Some("application/json"), Some("text/plain")] {
            assert!(Place::new(content_type, None).is_none());
        }
        assert!(Place::new(Some("text/event-stream"), Some("gzip")).is_none());
    }

    proptest! {
        #[test]
        fn an_event_between_two_changes_neither(
            events in "((data: a|event: b|: c|d)(\n|\r\n|\r)|\n|\r\n|\r){0,12}",
            at: prop::sample::Index,
        ) {
            let (before, after) = events.as_bytes().split_at(at.index(events.len() + 1));
            let place = place("text/event-stream", before);
            if !place.is_between_events() {
                return Ok(());
            }
            let words = message(&caller(Dialect::Mcp), &reason());
            let [apart, joined] = [b"".as_slice(), &words].map(|words| {
                let mut told = Vec::new();
                Parser::naming(10_000).feed(&[before, words, after].concat(), |event| {
                    if let Event::Named(name, data) = event {
                        told.push((name.kind.to_vec(), data.to_vec()));
                    }
                });
                told
            });
            let ours = joined.iter().position(|(_, data)| data.starts_with(b"{"));
            let mut others = joined.clone();
            others.remove(ours.expect("our event"));
            prop_assert_eq!(others, apart);
        }

        #[test]
        fn no_event_ends_within_a_piece(
            lines in prop::collection::vec("(data: a|event: b|: c|d|)", 0..12),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            at: prop::sample::Index,
        ) {
            let stream = lines.join(end) + end;
            let (before, after) = stream.as_bytes().split_at(at.index(stream.len() + 1));
            let (mut place, mut parser) = (place("text/event-stream", b""), Parser::new(10_000));
            let mut ended = |bytes: &[u8]| {
                let mut events = 0;
                parser.feed(bytes, |_| events += 1);
                events
            };
            for part in [before, after] {
                let (events, rest) = events_of(&mut place, part);
                for event in events {
                    let (but_last, last) = event.split_at(event.len() - 1);
                    // Half of the line end is enough for it.
                    let early = ended(but_last);
                    prop_assert!(early == 0 || last == b"\n" && but_last.ends_with(b"\r"));
                    prop_assert!(early + ended(last) <= 1);
                }
                let half = rest.ends_with(b"\r") && end == "\r\n";
                prop_assert!(ended(rest) == 0 || half);
            }
        }

        #[test]
        fn our_event_stands_for_itself_wherever_the_stream_was(
            passed in "(data: a|event: b|: c|\r|\n|\r\n|d){0,12}",
            at: prop::sample::Index,
        ) {
            let (before, after) = passed.as_bytes().split_at(at.index(passed.len() + 1));
            let mut place = place("text/event-stream", before);
            place.passed(after);
            let words = place.last_words(&caller(Dialect::OpenaiChat), &Unmetered::Batch.into());
            let whole = [passed.as_bytes(), &words.expect("words")].concat();
            let mut last = None;
            Parser::new(10_000).feed(&whole, |event| {
                if let Event::Data(data) = event {
                    last = Some(data.to_vec());
                }
            });
            let last: Value = serde_json::from_slice(&last.expect("an event")).expect("ours alone");
            prop_assert_eq!(&last["error"]["code"], "turnpike_unmetered");
        }
    }
}
