use proptest::prelude::*;

use super::*;

/// What the parser said, with what is in it.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Event(String, Vec<u8>),
    Fault(String),
    TooLarge,
    Broken,
}

fn read<'p>(limit: usize, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Said> {
    let mut parser = Parser::new(limit);
    let mut said = Vec::new();
    for piece in pieces {
        parser.feed(piece, |event| {
            said.push(match event {
                Event::Message(Message::Event { name, payload }) => {
                    Said::Event(name.to_owned(), payload.to_vec())
                }
                Event::Message(Message::Fault(name)) => Said::Fault(name.to_owned()),
                Event::TooLarge => Said::TooLarge,
                Event::Broken => Said::Broken,
                Event::Data(_) | Event::Named(..) => panic!("no SSE"),
            });
        });
        assert!(parser.kept.len() <= limit.max(PRELUDE));
    }
    said
}

fn message(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).expect("a length").to_be_bytes();
    let length = PRELUDE + headers.len() + payload.len() + CRC;
    let mut bytes = [number(length), number(headers.len())].concat();
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes.extend([headers, payload].concat());
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes
}

fn header(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
    let mut header = vec![u8::try_from(name.len()).expect("a length")];
    header.extend(name.as_bytes());
    header.push(kind);
    header.extend(value);
    header
}

fn text(name: &str, value: &str) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a length").to_be_bytes();
    header(name, 7, &[&length, value.as_bytes()].concat())
}

fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [text(":event-type", name), text(":message-type", "event")].concat();
    message(&headers, payload)
}

/// Messages that botocore's tests have, which read them alike.
#[test]
fn known_messages_are_read() {
    let nameless = |payload: &[u8]| vec![Said::Event(String::new(), payload.to_vec())];
    let empty = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff";
    assert_eq!(read(1024, [&empty[..]]), nameless(b""));
    let header = b"\x00\x00\x00\x17\x00\x00\x00\x07)\x86\x01X\x04byte\x02\xff\xc2\xf8i\xdc";
    assert_eq!(read(1024, [&header[..]]), nameless(b""));
    let payload = b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96";
    assert_eq!(read(1024, [&payload[..]]), nameless(b"{'foo':'bar'}"));
}

#[test]
fn events_are_told_from_faults_among_headers_of_all_types() {
    let others = [
        header("t", 0, b""),
        header("f", 1, b""),
        header("b", 2, &[1]),
        header("s", 3, &[0, 1]),
        header("i", 4, &[0; 4]),
        header("l", 5, &[0; 8]),
        header("d", 6, &[0, 2, 0xff, 0xfe]),
        header("ts", 8, &[0; 8]),
        header("id", 9, &[0; 16]),
        // The name of one that is read, but no string.
        header(":event-type", 4, &[0; 4]),
    ]
    .concat();
    let of = |kind: &str, name: &str, value: &str| {
        let headers = [others.clone(), text(name, value), text(":message-type", kind)].concat();
        read(1024, [&*message(&headers, b"p")])
    };
    assert_eq!(of("event", ":event-type", "chunk"), [Said::Event("chunk".into(), b"p".into())]);
    assert_eq!(
        of("exception", ":exception-type", "throttling"),
        [Said::Fault("throttling".into())]
    );
    assert_eq!(of("error", ":error-code", "InternalError"), [Said::Fault("InternalError".into())]);
}

#[test]
fn after_what_is_broken_nothing_is_read() {
    let good = event("a", b"{}");
    let is_broken = |bytes: &[u8]| {
        let all = [bytes, &good].concat();
        assert_eq!(read(64, [&*all]), [Said::Broken], "{bytes:?}");
        assert_eq!(read(64, all.chunks(1)), [Said::Broken], "{bytes:?}");
    };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        is_broken(&bad);
    }
    let of_lengths = |length: u32, headers: u32| {
        let mut bytes = [length.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend(crc32(&bytes).to_be_bytes());
        bytes
    };
    is_broken(&of_lengths(15, 0));
    is_broken(&of_lengths(16, 1));
    is_broken(&of_lengths(0, u32::MAX));
    for headers in
        [&b"\x05abc"[..], b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00\x05ab", b"\x01a\x07\x00\x01\xff"]
    {
        is_broken(&message(headers, b""));
    }
}

#[test]
fn what_is_too_large_is_passed_over() {
    let large = event("large", &[b'x'; 1000]);
    let all = [event("a", b"1"), large, event("b", b"2")].concat();
    let said = [
        Said::Event("a".into(), b"1".into()),
        Said::TooLarge,
        Said::Event("b".into(), b"2".into()),
    ];
    assert_eq!(read(64, [&*all]), said);
    assert_eq!(read(64, all.chunks(7)), said);
}

/// Streams of messages, some of them damaged.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let message = ("[a-c]{0,3}", prop::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(name, payload)| event(&name, &payload));
    let stream = prop::collection::vec(message, 0..6).prop_map(|messages| messages.concat());
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (stream, damage).prop_map(|(mut stream, damage)| {
        if let Some((at, byte)) = damage
            && !stream.is_empty()
        {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream
    })
}

proptest! {
    #[test]
    fn where_the_stream_is_cut_does_not_matter(
        stream in prop_oneof![stream(), prop::collection::vec(any::<u8>(), 0..80)],
        stride in 1_usize..80,
        limit in 40_usize..120,
    ) {
        let whole = read(limit, [&*stream]);
        prop_assert_eq!(&read(limit, stream.chunks(stride)), &whole);
        prop_assert_eq!(&read(limit, stream.chunks(1)), &whole);
    }
}
