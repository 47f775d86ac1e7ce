//! What a client may and may not send, by section of RFC 9113 and RFC 7541: what the client is told,
//! and that upstream receives nothing that is malformed, and nothing that was not understood.

mod frames;
mod heads;
mod settings;
mod streams;

use super::{
    CHAT, QUESTION, Rig, echo,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
        RST_STREAM, Raw, WINDOW_UPDATE, block, frame, settings, string,
    },
    within,
};

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The stream is answered to its end, and the connection lives.
    Answer(u32),
    /// The stream is reset with this code, and the connection lives.
    Reset(u32, u32),
    /// The connection ends with this code.
    GoAway(u32),
    /// The connection lives, and nothing is said about it.
    Nothing,
    /// The connection ends.
    End,
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Any of these is right: the RFC, or `h2`, leaves a choice.
    told: Vec<Told>,
    /// How many requests upstream gets to see whole; at most, where none has to be answered.
    whole: usize,
}

/// A case in which the bytes follow the client's first words.
fn case(name: &'static str, pieces: &[Vec<u8>], told: &[Told], whole: usize) -> Case {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings(&[]));
    bytes.extend(pieces.concat());
    Case { name, bytes, told: told.to_vec(), whole }
}

/// A case with bytes of its own from the first on.
fn first(name: &'static str, pieces: &[Vec<u8>], told: &[Told], whole: usize) -> Case {
    Case { name, bytes: pieces.concat(), told: told.to_vec(), whole }
}

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", CHAT)];

fn with(base: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]) -> Vec<u8> {
    block(&[base, more].concat())
}

/// A whole request without a body.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(GET))
}

/// A request's head, its body to follow.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(POST))
}

/// A request with these fields and no body.
fn asks(fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, fields)
}

fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, bytes)
}

fn last(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, bytes)
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// A body of a whole question, cut.
fn cut_question() -> Vec<Vec<u8>> {
    let (start, end) = QUESTION.split_at(10);
    vec![post(1), data(1, start), last(1, end)]
}

fn compression() -> Vec<Case> {
    use Told::{Answer, GoAway};
    let broken = &[GoAway(COMPRESSION_ERROR), GoAway(PROTOCOL_ERROR)];
    // One entry of 4000 bytes, then 5000 references to it: 20 MB of head.
    let mut bomb = block(GET);
    bomb.push(0x40);
    string(&mut bomb, b"x");
    string(&mut bomb, &vec![b'a'; 4000]);
    bomb.extend(vec![0xbe; 5000]);
    // A flood of frames that never end the head.
    let mut flood = frame(HEADERS, END_STREAM, 1, &block(GET));
    for _ in 0..2000 {
        flood.extend(frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
    }
    let cut = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(GET)[..7]);
    vec![
        case("RFC 7541 2.3.3 an index beyond the table", &[asks(&[0xff, 0x80, 1])], broken, 0),
        case("RFC 7541 6.1 the index of nothing", &[asks(&[0x80])], broken, 0),
        case(
            "RFC 7541 5.1 a number that overflows",
            &[asks(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
            broken,
            0,
        ),
        case(
            "RFC 7541 5.2 Huffman padding that is too long",
            &[asks(&[&block(GET)[..], &[0, 0x81, 0x1f, 0x82, 0xff, 0xff]].concat())],
            broken,
            0,
        ),
        case(
            "RFC 7541 6.3 a table larger than agreed",
            &[asks(&[&[0x3f, 0xe1, 0xff, 3][..], &block(GET)].concat())],
            broken,
            0,
        ),
        case(
            "RFC 7541 6.3 a table made smaller",
            &[asks(&[&[0x20][..], &block(GET)].concat())],
            &[Answer(1)],
            1,
        ),
        case("4.3 a head that ends inside a field", &[cut], broken, 0),
        case("10.5.1 a decompression bomb", &[asks(&bomb)], &[GoAway(ENHANCE_YOUR_CALM)], 0),
        case("10.5.1 continuations without end", &[flood], &[GoAway(ENHANCE_YOUR_CALM)], 0),
    ]
}

#[tokio::test]
async fn a_client_is_held_to_the_protocol_and_upstream_sees_no_breach() {
    let groups =
        [settings::cases(), frames::cases(), streams::cases(), heads::cases(), compression()];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let outcome = tokio::time::timeout(STUCK, run(&case)).await;
        if let Err(what) = outcome.unwrap_or_else(|_| Err("stuck".to_owned())) {
            wrong.push(format!("{}: {what}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// No case takes this long.
const STUCK: std::time::Duration = std::time::Duration::from_secs(5);

/// Plays a case.
async fn run(case: &Case) -> Result<(), String> {
    let (rig, client, server) = Rig::sized(1024 * 1024);
    let (log, serving) = echo(server);
    let mut client = Raw::new(client);
    client.send(&case.bytes).await;
    let half_said = case.bytes.len() < PREFACE.len();
    if !half_said {
        client.send(&frame(PING, 0, 0, b"alive?!!")).await;
    }
    let told = if half_said { Told::End } else { listen(&mut client, case).await };
    drop(client);
    within(rig.task).await.map_err(|panic| format!("{panic}"))?.ok();
    if let Err(error) = within(serving).await.map_err(|panic| format!("{panic}"))?
        && !error.is_io()
    {
        return Err(format!("upstream received something malformed: {error}"));
    }
    let seen = log.seen();
    let whole = seen.iter().filter(|seen| seen.whole).count();
    let answered = case.told.iter().any(|told| matches!(told, Told::Answer(_)));
    // What comes before a breach may be given up with it.
    if whole > case.whole || (answered && whole != case.whole) {
        return Err(format!("upstream saw {whole} whole requests: {seen:?}"));
    }
    let calls = seen.iter().filter(|seen| seen.whole && seen.path == CHAT && seen.body == QUESTION);
    let placed = rig.heard.placed.lock().expect("not poisoned").len();
    if calls.count() != placed {
        return Err(format!("{placed} calls were understood, of {seen:?}"));
    }
    if case.told.contains(&told) { Ok(()) } else { Err(format!("{told:?}, not {:?}", case.told)) }
}

/// What the client is told, up to the answer to its ping and the end of the stream in question.
async fn listen(client: &mut Raw, case: &Case) -> Told {
    let answered = case.told.iter().find_map(|told| match told {
        Told::Answer(stream) => Some(*stream),
        _ => None,
    });
    let resets = case.told.iter().any(|told| matches!(told, Told::Reset(..)));
    let (mut alive, mut told) = (false, None);
    loop {
        let frame = client.until(|_| true).await;
        let Some(frame) = frame else { return Told::End };
        match frame.kind {
            GOAWAY if frame.code() != 0 => return Told::GoAway(frame.code()),
            RST_STREAM => told = Some(Told::Reset(frame.stream, frame.code())),
            DATA | HEADERS
                if frame.is(frame.kind, END_STREAM) && Some(frame.stream) == answered =>
            {
                told = Some(Told::Answer(frame.stream));
            }
            PING if frame.is(PING, ACK) && frame.payload == b"alive?!!" => alive = true,
            _ => {}
        }
        match told {
            Some(told) if alive => return told,
            None if alive && answered.is_none() && !resets => return Told::Nothing,
            _ => {}
        }
    }
}
