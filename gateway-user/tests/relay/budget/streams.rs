//! Streamed answers that come to more than is held for their calls, since their servers do not keep to
//! the limit that they were given.

use std::{io::Write as _, net::TcpStream, sync::Arc, thread, time::Duration};

use serde_json::{Value, json};
use turnpike::{
    call::{Decision, Ruling, Step, Usage},
    config::Mode,
    ledger::{Budget, Dimension, OnExceed},
    policy::upstreams::Upstreams,
    proxy::Purse,
};

use super::{
    super::{
        bed::{Bed, PATIENCE, eventually, everywhere},
        gate::{dechunked, expect, no, rest, send},
    },
    chat, heard, of, spent,
};

/// How the answer is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// A chunk for each event, all events in one chunk, one event in several chunks.
    Chunks(usize),
    UntilClose,
}

/// An answer whose events each have one word, and its pieces as they are sent.
fn answer(dialect: Dialect, words: usize, framing: Framing) -> (String, Vec<Vec<u8>>) {
    let events = dialect.begin() + &dialect.word().repeat(words) + &dialect.end(words);
    let framed = match framing {
        Framing::Chunks(_) => "Transfer-Encoding: chunked\r\n",
        Framing::UntilClose => "",
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{framed}\r\n", dialect.kind());
    let pieces = match framing {
        Framing::UntilClose => vec![events.clone().into_bytes()],
        Framing::Chunks(size) => {
            let chunks = events.as_bytes().chunks(size);
            let framed = chunks.map(|chunk| {
                [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
            });
            framed.chain([b"0\r\n\r\n".to_vec()]).collect()
        }
    };
    (head, pieces)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Whose client wants to know its usage, or does not.
    Chat {
        usage: bool,
    },
    Completions,
    Responses,
    Messages,
    Gemini,
    Ollama,
}

impl Dialect {
    const fn kind(self) -> &'static str {
        match self {
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }

    fn request(self) -> String {
        let (path, body) = match self {
            Self::Chat { usage: true } => {
                return chat("hi", r#","stream":true,"stream_options":{"include_usage":true}"#);
            }
            Self::Chat { usage: false } => return chat("hi", r#","stream":true"#),
            Self::Messages => (
                "/v1/messages",
                r#"{"model":"m","max_tokens":4000,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
            ),
            Self::Completions => {
                ("/v1/completions", r#"{"model":"m","prompt":"hi","stream":true}"#)
            }
            Self::Responses => ("/v1/responses", r#"{"model":"m","input":"hi","stream":true}"#),
            Self::Gemini => (
                "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse",
                r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
            ),
            Self::Ollama => {
                ("/api/chat", r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#)
            }
        };
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    fn begin(self) -> String {
        match self {
            Self::Messages => {
                let start = json!({ "type": "message_start", "message": { "id": "msg_1",
                    "type": "message", "role": "assistant", "model": "m", "content": [],
                    "usage": { "input_tokens": 5, "output_tokens": 1 } } });
                let block = json!({ "type": "content_block_start", "index": 0,
                    "content_block": { "type": "text", "text": "" } });
                format!(
                    "event: message_start\ndata: {start}\n\nevent: content_block_start\ndata: {block}\n\n"
                )
            }
            Self::Responses => {
                let created = json!({ "type": "response.created",
                    "response": { "id": "resp_1", "model": "m", "status": "in_progress" } });
                format!("event: response.created\ndata: {created}\n\n")
            }
            _ => String::new(),
        }
    }

    fn word(self) -> String {
        match self {
            Self::Chat { .. } => {
                let chunk = json!({ "id": "chatcmpl-1", "model": "gpt-4o", "choices": [
                    { "index": 0, "delta": { "content": "archive " }, "finish_reason": null }] });
                format!("data: {chunk}\n\n")
            }
            Self::Completions => {
                let chunk = json!({ "id": "cmpl-1", "model": "m", "choices": [
                    { "index": 0, "text": "archive ", "finish_reason": null }] });
                format!("data: {chunk}\n\n")
            }
            Self::Responses => {
                let delta = json!({ "type": "response.output_text.delta", "item_id": "i",
                    "output_index": 0, "content_index": 0, "delta": "archive " });
                format!("event: response.output_text.delta\ndata: {delta}\n\n")
            }
            Self::Gemini => {
                let content = json!({ "role": "model", "parts": [{ "text": "archive " }] });
                let chunk = json!({ "candidates": [{ "index": 0, "content": content }] });
                format!("data: {chunk}\r\n\r\n")
            }
            Self::Messages => {
                let delta = json!({ "type": "content_block_delta", "index": 0,
                    "delta": { "type": "text_delta", "text": "archive " } });
                format!("event: content_block_delta\ndata: {delta}\n\n")
            }
            Self::Ollama => {
                let message = json!({ "role": "assistant", "content": "archive " });
                format!("{}\n", json!({ "model": "m", "message": message, "done": false }))
            }
        }
    }

    fn end(self, words: usize) -> String {
        match self {
            Self::Chat { .. } => {
                let stop = json!({ "id": "chatcmpl-1", "model": "gpt-4o", "choices": [
                    { "index": 0, "delta": {}, "finish_reason": "stop" }] });
                format!("data: {stop}\n\ndata: [DONE]\n\n")
            }
            Self::Completions => {
                let stop = json!({ "id": "cmpl-1", "model": "m", "choices": [
                    { "index": 0, "text": "", "finish_reason": "stop" }] });
                format!("data: {stop}\n\ndata: [DONE]\n\n")
            }
            Self::Responses => {
                let end = json!({ "type": "response.completed", "response": { "id": "resp_1",
                    "model": "m", "status": "completed", "output": [],
                    "usage": { "input_tokens": 5, "output_tokens": words } } });
                format!("event: response.completed\ndata: {end}\n\n")
            }
            Self::Gemini => {
                let end = json!({ "candidates": [{ "index": 0, "finishReason": "STOP" }],
                    "usageMetadata": { "promptTokenCount": 5, "candidatesTokenCount": words } });
                format!("data: {end}\r\n\r\n")
            }
            Self::Messages => {
                let delta = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
                    "usage": { "output_tokens": words } });
                format!(
                    "event: message_delta\ndata: {delta}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
                )
            }
            Self::Ollama => {
                let end = json!({ "model": "m", "done": true, "done_reason": "stop",
                    "prompt_eval_count": 5, "eval_count": words });
                format!("{end}\n")
            }
        }
    }

    /// What its client is told.
    fn message(self, last: &str) -> String {
        let last = last.trim_end().rsplit('\n').next().expect("a line");
        let last: Value =
            serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).expect("JSON");
        let text = if self == Self::Ollama { &last["error"] } else { &last["error"]["message"] };
        text.as_str().expect("a text").to_owned()
    }
}

const DIALECTS: [Dialect; 7] = [
    Dialect::Chat { usage: true },
    Dialect::Chat { usage: false },
    Dialect::Completions,
    Dialect::Responses,
    Dialect::Messages,
    Dialect::Gemini,
    Dialect::Ollama,
];

/// An agent that may have a hundred tokens, and its call.
fn asked(mode: Mode, dialect: Dialect) -> (Bed, Purse, TcpStream, TcpStream) {
    asked_with(mode, dialect, of(Dimension::OutputTokens, 100))
}

fn asked_with(mode: Mode, dialect: Dialect, budget: Budget) -> (Bed, Purse, TcpStream, TcpStream) {
    let (bed, purse) = Bed::paying(mode, vec![budget]);
    let (mut client, mut server) = bed.pair();
    send(&mut client, dialect.request());
    assert!(heard(&mut server).starts_with("POST "));
    (bed, purse, client, server)
}

/// The content of a body.
fn content_of(body: &str, framing: Framing) -> String {
    match framing {
        Framing::Chunks(_) => dechunked(body, 0),
        Framing::UntilClose => body.to_owned(),
    }
}

fn last_step(bed: &Bed) -> Step {
    bed.steps.settled(1).remove(0).step
}

const REASON: &str = "turnpike: budget agent holds 100 output_tokens for this call, and its answer goes on \
     beyond them; ask for a shorter one, or have an operator raise the budget";

#[test]
fn not_a_token_is_delivered_beyond_what_is_held_and_what_came_is_told() {
    for dialect in DIALECTS {
        for framing in [
            Framing::Chunks(7),
            Framing::Chunks(dialect.word().len()),
            Framing::Chunks(100_000),
            Framing::UntilClose,
        ] {
            let (bed, purse, mut client, mut server) = asked(Mode::Enforce, dialect);
            let (head, pieces) = answer(dialect, 130, framing);
            send(&mut server, [head.as_bytes(), &pieces.concat()].concat());
            let got = rest(&mut client);
            let body = got.strip_prefix(&*head).expect("the head as it is");
            let content = content_of(body, framing);
            assert_eq!(content.matches("archive").count(), 100, "{dialect:?} {framing:?}");
            let expected = dialect.begin() + &dialect.word().repeat(100);
            let last = content.strip_prefix(&*expected).expect("what fits, as it is");
            assert_eq!(dialect.message(last), REASON, "{dialect:?} {framing:?}");

            let step = last_step(&bed);
            let cut = Ruling::new("agent".into(), Decision::Cut);
            assert_eq!(step.policy.last(), Some(&cut), "{dialect:?}");
            let withheld = step.withheld_tokens.expect("it is told");
            assert!((1..=30).contains(&withheld), "{withheld}");
            // What had come by then is what it spent, whoever says so.
            let Usage { output, .. } = step.usage.expect("it is known");
            assert!(output > 100, "{output}");
            eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (output, 0));
            assert_eq!(bed.counted("calls_cut"), 1);
        }
    }
}

#[test]
fn so_is_a_stream_that_its_client_did_not_ask_for_and_nothing_of_it_is_delivered() {
    let (bed, purse) = Bed::paying_as(vec![of(Dimension::OutputTokens, 100)], |agent| {
        let agent = agent.in_mode(Mode::Enforce).under(everywhere());
        agent.asking(Arc::new(Upstreams::default()))
    });
    let (mut client, mut server) = bed.pair();
    send(&mut client, chat("hi", ""));
    let request = heard(&mut server);
    assert!(request.contains(r#""max_completion_tokens":100,"#), "{request}");
    assert!(request.contains(r#""stream":true,"#), "{request}");
    let (head, pieces) = answer(Dialect::Chat { usage: false }, 130, Framing::Chunks(100));
    send(&mut server, [head.as_bytes(), &pieces.concat()].concat());
    let got = rest(&mut client);
    assert!(got.starts_with("HTTP/1.1 400 "), "{got}");
    assert_eq!(Dialect::Chat { usage: false }.message(&got), REASON);
    let step = last_step(&bed);
    assert_eq!(step.policy.last(), Some(&Ruling::new("agent".into(), Decision::Cut)));
    let Usage { output, .. } = step.usage.expect("it is known");
    let withheld = step.withheld_tokens.expect("it is told");
    assert!(output > 100 && (101..=130).contains(&withheld), "{withheld} of {output}");
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (output, 0));
}

#[test]
fn wherever_the_pieces_are_cut_an_event_goes_on_whole_or_not_at_all() {
    let dialect = Dialect::Chat { usage: true };
    let event = dialect.word().len();
    for (size, step) in [(event + 3, 1), (event * 2, 11), (5, 2)] {
        let (bed, _purse, mut client, mut server) = asked(Mode::Enforce, dialect);
        let framing = Framing::Chunks(size);
        let (head, pieces) = answer(dialect, 103, framing);
        let stream = pieces.concat();
        send(&mut server, &head);
        let mut cuts: Vec<_> = stream.chunks(event / 2 + step).collect();
        let last = cuts.split_off(cuts.len() - 2);
        for piece in cuts {
            send(&mut server, piece);
        }
        send(&mut server, last.concat());
        let got = rest(&mut client);
        let content = content_of(got.strip_prefix(&*head).expect("the head"), framing);
        let expected = dialect.word().repeat(100);
        let last = content.strip_prefix(&*expected).expect("what fits, as it is");
        assert_eq!(dialect.message(last), REASON);
        assert_eq!(bed.counted("calls_cut"), 1);
    }
}

#[test]
fn an_answer_at_exactly_its_limit_is_whole() {
    for dialect in DIALECTS {
        let framing = Framing::Chunks(50);
        let (bed, purse, mut client, mut server) = asked(Mode::Enforce, dialect);
        let (head, pieces) = answer(dialect, 100, framing);
        let stream = String::from_utf8(pieces.concat()).expect("text");
        send(&mut server, [&*head, &stream].concat());
        if matches!(dialect, Dialect::Chat { usage: false } | Dialect::Completions) {
            // It is in chunks of our own, since it may be filtered.
            expect(&mut client, &head);
            drop(server);
            let content = content_of(&rest(&mut client), framing);
            assert_eq!(content, content_of(&stream, framing));
        } else {
            expect(&mut client, &[&*head, &stream].concat());
        }
        let step = last_step(&bed);
        assert!(step.policy.iter().all(|ruling| ruling.decision == Decision::Clamp));
        assert_eq!(step.withheld_tokens, None);
        eventually("it is settled", || spent(&purse, Dimension::OutputTokens).1 == 0);
    }
}

#[test]
fn audit_and_warnings_cut_nothing_and_say_what_would_have_been() {
    let dialect = Dialect::Chat { usage: true };
    let budget = of(Dimension::OutputTokens, 100);
    let warns = Budget { on_exceed: OnExceed::Warn, ..budget.clone() };
    for (mode, budget) in [(Mode::Audit, budget), (Mode::Enforce, warns)] {
        let (bed, _purse, mut client, mut server) = asked_with(mode, dialect, budget);
        let (head, pieces) = answer(dialect, 130, Framing::Chunks(1000));
        let whole = head + &String::from_utf8(pieces.concat()).expect("text");
        send(&mut server, &whole);
        expect(&mut client, &whole);
        let step = last_step(&bed);
        assert_eq!(step.policy, [Ruling::new("agent".into(), Decision::WouldCut)]);
        assert_eq!(step.withheld_tokens, None);
    }
}

#[test]
fn a_stream_that_has_no_words_is_reset_before_it_says_too_much() {
    let messages = Dialect::Messages;
    let events = messages.begin() + &messages.word().repeat(130) + &messages.end(130);
    let chunk = r#"{"candidates":[{"content":{"parts":[{"text":"archive "}]}}]},"#;
    for (dialect, kind, body) in [
        (messages, "text/event-stream", events),
        (Dialect::Gemini, "application/json", format!("[{}", chunk.repeat(130))),
    ] {
        let (bed, _purse, mut client, mut server) = asked(Mode::Enforce, dialect);
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        send(&mut server, [&*head, &body].concat());
        let mut received = Vec::new();
        let end = std::io::Read::read_to_end(&mut client, &mut received);
        assert!(end.is_err(), "a reset");
        let received = String::from_utf8(received).expect("text");
        assert!(received.matches("archive").count() <= 100);
        assert_eq!(last_step(&bed).policy.last().map(|it| it.decision), Some(Decision::Cut));
    }
}

/// What waits for its end is not sent any more when the call is ended.
#[test]
fn a_call_that_is_ended_while_an_event_waits_is_whole_to_its_client() {
    let dialect = Dialect::Chat { usage: true };
    let word = dialect.word();
    // In a chunk of its own; in one with what went on; over two.
    for pieces in [
        vec![word.clone(), word[..9].to_owned()],
        vec![[&*word, &word[..9]].concat()],
        vec![[&*word, &word[..9]].concat(), word[9..20].to_owned()],
    ] {
        let (bed, _purse, mut client, mut server) = asked(Mode::Enforce, dialect);
        let (head, _) = answer(dialect, 0, Framing::Chunks(1));
        send(&mut server, &head);
        for piece in &pieces {
            send(&mut server, format!("{:x}\r\n{piece}\r\n", piece.len()));
        }
        let sent = head.len() + pieces.iter().map(|piece| piece.len() + 5).sum::<usize>();
        let all = u64::try_from(dialect.request().len() + sent).expect("few");
        eventually("all is read", || bed.agent.coverage.snapshot().bytes_observed >= all);
        eventually("it is ended", || bed.agent.cut(&no(), |_, _| true) == 1);
        let got = rest(&mut client);
        let content = content_of(got.strip_prefix(&*head).expect("the head"), Framing::Chunks(1));
        let last = content.trim_end().rsplit("\n\n").next().expect("an event");
        assert_eq!(dialect.message(last), no().to_string());
        let first = content.strip_suffix(&format!("{last}\n\n")).expect("it is the last");
        assert_eq!(first, word);
    }
}

/// What a server says of its usage meanwhile counts.
#[test]
fn a_report_midway_is_believed() {
    let chunk = |text: &str, used: u64| {
        let chunk = json!({ "id": "c", "model": "m",
            "choices": [{ "index": 0, "delta": { "content": text } }],
            "usage": { "prompt_tokens": 5, "completion_tokens": used } });
        format!("data: {chunk}\n\n")
    };
    let dialect = Dialect::Chat { usage: true };
    let (bed, _purse, mut client, mut server) = asked(Mode::Enforce, dialect);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    let fits = chunk("a", 50) + &chunk("b", 100);
    send(&mut server, format!("{head}{fits}{}", chunk("c", 101)));
    let got = rest(&mut client);
    let last = got.strip_prefix(&*format!("{head}{fits}")).expect("what fits");
    assert_eq!(dialect.message(last), REASON);
    let usage = last_step(&bed).usage.expect("it is known");
    assert!(usage.output >= 101, "{usage:?}");
}

/// A stream that is held up until each event has been counted is held up by its client, too: what is on the
/// way stays within what the system and the gateway hold, and nothing of it is lost.
#[test]
fn a_client_that_does_not_read_holds_up_a_counted_stream() {
    let (bed, _purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 1_000_000)]);
    let (mut client, mut server) = bed.pair();
    let asked =
        chat("hi", r#","stream":true,"stream_options":{"include_usage":true},"max_tokens":900000"#);
    send(&mut client, &asked);
    expect(&mut server, &asked);
    let dialect = Dialect::Chat { usage: true };
    let framing = Framing::Chunks(dialect.word().len());
    let (head, one) = answer(dialect, 1, framing);
    send(&mut server, &head);
    let (chunk, end) = one.split_first().expect("a word");
    let flood = chunk.repeat(1000);
    server.set_write_timeout(Some(Duration::from_millis(300))).expect("an option");
    let mut sent = 0;
    while let Ok(count) = server.write(&flood[sent % flood.len()..]) {
        sent += count;
        assert!(sent < 64 << 20, "nobody reads, and all of it is taken");
    }
    let reader = thread::spawn(move || rest(&mut client));
    server.set_write_timeout(Some(PATIENCE)).expect("an option");
    let words = sent.div_ceil(chunk.len());
    send(&mut server, &flood[sent % flood.len()..][..words * chunk.len() - sent]);
    send(&mut server, end.concat());
    drop(server);
    let got = reader.join().expect("an orderly end");
    let content = content_of(got.strip_prefix(&*head).expect("the head as it is"), framing);
    assert_eq!(content.matches("archive").count(), words);
    assert_eq!(last_step(&bed).withheld_tokens, None);
}
