//! What is read, what breaks the protocol, and that no cut of the bytes changes either.

use flate2::{Compress, Compression, FlushCompress};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::limits;

/// What came out of a connection.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen(Vec<(Peer, Kind, Vec<u8>)>, Vec<u64>);

impl Messages for Seen {
    fn message(&mut self, message: Message<'_>) {
        match message.content {
            Content::Whole(bytes) => self.0.push((message.by, message.kind, bytes.to_vec())),
            Content::TooLarge(size) => self.1.push(size),
        }
    }
}

const BOTH: Deflate = Deflate { client_takeover: true, server_takeover: true };

/// What one side sends, in slices.
fn read<'a>(
    by: Peer,
    deflate: Option<Deflate>,
    slices: impl IntoIterator<Item = &'a [u8]>,
) -> (Seen, Result<(), Fault>) {
    let (mut socket, mut seen) = (WebSocket::new(deflate), Seen::default());
    for slice in slices {
        if let Err(breach) = socket.sent(by, slice, &mut seen) {
            assert_eq!(breach.by, by);
            let again = socket.sent(Peer::Client, b"", &mut seen);
            assert_eq!(again, Err(breach), "it stays failed");
            return (seen, Err(breach.fault));
        }
    }
    (seen, Ok(()))
}

fn server(frames: &[u8]) -> (Seen, Result<(), Fault>) {
    let whole = read(Peer::Server, Some(BOTH), [frames]);
    assert_eq!(whole, read(Peer::Server, Some(BOTH), frames.chunks(1)), "{frames:02x?}");
    whole
}

/// A frame with the first byte and the shortest length, masked with the key if there is one.
fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(masked | u8::try_from(len).expect("it is small")),
        len @ ..0x1_0000 => {
            frame.push(masked | 0x7e);
            frame.extend(u16::try_from(len).expect("it is small").to_be_bytes());
        }
        len => {
            frame.push(masked | 0x7f);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key.iter().flatten());
    let key = key.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// One side's compression, as RFC 7692, section 7.2.1 has it.
struct Deflater(Compress);

impl Deflater {
    fn new() -> Self {
        Self(Compress::new(Compression::fast(), false))
    }

    fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 1024);
        self.0.compress_vec(message, &mut out, FlushCompress::Sync).expect("it has room");
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]), "it has been flushed");
        out.truncate(out.len() - 4);
        out
    }
}

fn text(by: Peer, content: &[u8]) -> Seen {
    Seen(vec![(by, Kind::Text, content.to_vec())], Vec::new())
}

#[test]
fn the_examples_of_rfc_6455_are_read() {
    // Section 5.7.
    let hello = text(Peer::Server, b"Hello");
    assert_eq!(server(b"\x81\x05Hello"), (hello.clone(), Ok(())));
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(read(Peer::Client, None, [&masked[..]]), (text(Peer::Client, b"Hello"), Ok(())));
    assert_eq!(server(b"\x01\x03Hel\x80\x02lo"), (hello.clone(), Ok(())));
    assert_eq!(server(b"\x01\x03Hel\x89\x05Hello\x80\x02lo\x8a\0"), (hello, Ok(())));
    let binary = [&b"\x82\x7e\x01\0"[..], &[7; 256]].concat();
    let seen = Seen(vec![(Peer::Server, Kind::Binary, vec![7; 256])], Vec::new());
    assert_eq!(server(&binary), (seen, Ok(())));
}

#[test]
fn the_examples_of_rfc_7692_are_read() {
    // Section 7.2.3.
    let hello = (text(Peer::Server, b"Hello"), Ok(()));
    for frames in [
        &b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0"[..],
        b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\0",
        b"\xc1\x0b\0\x05\0\xfa\xffHello\0",
        b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\0\0",
        b"\xc1\x0d\xf2\x48\x05\0\0\0\xff\xff\xca\xc9\xc9\x07\0",
        b"\x81\x05Hello",
    ] {
        assert_eq!(server(frames), hello, "{frames:02x?}");
    }
    let twice = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0\xc1\x05\xf2\0\x11\0\0";
    assert_eq!(server(twice).0.0.len(), 2, "the second refers to the first");
    let alone = Deflate { server_takeover: false, ..BOTH };
    let (seen, _) = read(Peer::Server, Some(alone), [&twice[..]]);
    assert_ne!(seen.0.last(), text(Peer::Server, b"Hello").0.last(), "there is none to refer to");
}

#[test]
fn what_breaks_the_protocol_is_told() {
    let cases: &[(&[u8], Fault)] = &[
        (b"\xa1\0", Fault::ReservedBit),
        (b"\x91\0", Fault::ReservedBit),
        (b"\xc9\0", Fault::ReservedBit),
        (b"\x01\0\xc0\0", Fault::ReservedBit),
        (b"\x83\0", Fault::Opcode),
        (b"\x8b\0", Fault::Opcode),
        (b"\x81\x80\0\0\0\0", Fault::Mask),
        (b"\x81\x7e\0\x7d", Fault::Length),
        (b"\x81\x7f\0\0\0\0\0\0\xff\xff", Fault::Length),
        (b"\x81\x7f\x80\0\0\0\0\0\0\0", Fault::Length),
        (b"\x09\0", Fault::Control),
        (b"\x89\x7e\0\x7e", Fault::Control),
        (b"\x80\0", Fault::Sequence),
        (b"\x01\0\x81\0", Fault::Sequence),
        (b"\x81\0\x80\0", Fault::Sequence),
        (b"\x88\0\x81\0", Fault::AfterClose),
        (b"\x88\x02\x03\xe8\x89\0", Fault::AfterClose),
        (b"\xc1\x01\x07", Fault::Deflate),
    ];
    for (frames, fault) in cases {
        assert_eq!(server(frames).1, Err(*fault), "{frames:02x?}");
    }
    assert_eq!(read(Peer::Client, None, [&b"\x81\0"[..]]).1, Err(Fault::Mask));
    assert_eq!(read(Peer::Server, None, [&b"\xc1\0"[..]]).1, Err(Fault::ReservedBit));
}

#[test]
fn a_message_up_to_the_bound_is_kept_and_a_larger_one_is_told_by_its_size() {
    let most = frame(0x82, &vec![1; limits::WS_MESSAGE_BYTES], None);
    let (seen, end) = read(Peer::Server, None, [&most[..]]);
    assert_eq!((seen.0[0].2.len(), end), (limits::WS_MESSAGE_BYTES, Ok(())));
    let larger = frame(0x82, &vec![1; limits::WS_MESSAGE_BYTES + 1], None);
    let and_one = [&larger[..], b"\x81\x02ok"].concat();
    let (seen, end) = read(Peer::Server, None, and_one.chunks(60_000));
    assert_eq!((seen.1, end), (vec![limits::WS_MESSAGE_BYTES as u64 + 1], Ok(())));
    assert_eq!(seen.0, text(Peer::Server, b"ok").0, "the next one is read");
}

#[test]
fn compressed_messages_may_grow_only_so_much() {
    let mut deflater = Deflater::new();
    let zeros = vec![0; limits::WS_MESSAGE_BYTES + 1];
    let bomb = deflater.deflate(&zeros);
    let ratio = usize::try_from(limits::WS_INFLATE_RATIO).expect("it is small");
    assert!(bomb.len() * 2 * ratio < zeros.len(), "it grows a lot");
    let once = frame(0xc2, &bomb, None);
    assert_eq!(read(Peer::Server, Some(BOTH), [&once[..]]).1, Ok(()), "once may be by chance");
    let (seen, end) = read(Peer::Server, Some(BOTH), [&once[..], &once[..]]);
    assert_eq!((seen.1.len(), end), (1, Err(Fault::Bomb)));

    // One that is large and grows no more than text does is read past.
    let mut deflater = Deflater::new();
    let line: Vec<u8> =
        (0..600_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let large = line.repeat(limits::WS_MESSAGE_BYTES / line.len() + 1);
    let frames =
        [frame(0xc2, &deflater.deflate(&large), None), frame(0xc1, &deflater.deflate(b"ok"), None)];
    let (seen, end) = read(Peer::Server, Some(BOTH), frames.iter().map(Vec::as_slice));
    assert_eq!((seen.1, end), (vec![large.len() as u64], Ok(())));
    assert_eq!(seen.0, text(Peer::Server, b"ok").0, "and so is what refers to it");
}

/// Holds messages of so many bytes, and lets each go on, or others in the place of some.
#[derive(Default)]
struct Holding {
    seen: Seen,
    most: usize,
    instead: Option<Vec<u8>>,
    dropped: Option<Kind>,
    between: Vec<u8>,
}

impl Messages for Holding {
    fn message(&mut self, message: Message<'_>) {
        self.seen.message(message);
    }

    fn holds(&mut self, _: Peer, bytes: usize) -> bool {
        bytes <= self.most
    }

    fn decide(&mut self, message: Message<'_>) -> Fate {
        self.message(message);
        match &self.instead {
            _ if self.dropped == Some(message.kind) => Fate::Drop,
            None => Fate::Pass,
            Some(instead) => Fate::Instead(instead.clone()),
        }
    }

    fn interject(&mut self, _: Peer) -> Vec<u8> {
        std::mem::take(&mut self.between)
    }
}

impl Holding {
    fn all() -> Self {
        Self { most: usize::MAX, ..Self::default() }
    }

    /// What goes on.
    fn passed<'a>(&mut self, by: Peer, slices: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut socket, mut out) = (WebSocket::new(None), Vec::new());
        for slice in slices {
            socket.pass(by, slice, self, &mut out).expect("it is WebSocket");
        }
        out
    }
}

#[test]
fn what_is_held_goes_on_whole_or_not_at_all() {
    let [begin, end] = [frame(0x01, b"he", Some([1, 2, 3, 4])), frame(0x80, b"llo", Some([5; 4]))];
    let ping = frame(0x89, b"p", Some([6; 4]));
    let binary = frame(0x82, b"x", Some([7; 4]));
    let all = [&*begin, &*ping, &*end, &*binary].concat();
    for piece in [1, 3, 100] {
        let passed = |mut holding: Holding| holding.passed(Peer::Client, all.chunks(piece));
        assert_eq!(passed(Holding::all()), [&*ping, &*begin, &*end, &*binary].concat());
        let dropped = Holding { dropped: Some(Kind::Text), ..Holding::all() };
        assert_eq!(passed(dropped), [&*ping, &*binary].concat());
        for length in [1, 125, 126, 65_535, 65_536] {
            let content = vec![b'y'; length];
            let [text, other] = [(0x81, [1, 2, 3, 4]), (0x82, [7; 4])]
                .map(|(first, key)| frame(first, &content, Some(key)));
            let changed = Holding { instead: Some(content), ..Holding::all() };
            assert_eq!(passed(changed), [&*ping, &*text, &*other].concat());
        }
    }
    let partial = &all[..all.len() - 1];
    assert_eq!(Holding::all().passed(Peer::Client, [partial]), [&*ping, &*begin, &*end].concat());
}

#[test]
fn what_is_too_large_to_be_held_is_decided_on_before_its_end() {
    let large = [frame(0x02, &[1; 20], None), frame(0x80, &[2; 20], None)].concat();
    let all = [&*large, b"\x81\x02ok"].concat();
    for piece in [1, 7, 100] {
        let mut holding = Holding { most: 10, ..Holding::default() };
        assert_eq!(holding.passed(Peer::Server, all.chunks(piece)), all);
        assert_eq!(holding.seen.0, text(Peer::Server, b"ok").0);
        assert_eq!(holding.seen.1.len(), 1, "it is told once");
        let mut holding = Holding { most: 10, dropped: Some(Kind::Binary), ..Holding::default() };
        assert_eq!(holding.passed(Peer::Server, all.chunks(piece)), b"\x81\x02ok");
    }
}

#[test]
fn what_was_held_does_not_go_on_within_a_ping() {
    let ping = b"\x89\x04ping";
    let all = [&b"\x01\0"[..], ping, b"\0\0", ping, b"\x80\0", ping].concat();
    let cut_within_a_ping = all.split_at(5);
    let mut holding = Holding::default();
    let passed = holding.passed(Peer::Server, <[_; 2]>::from(cut_within_a_ping));
    assert_eq!(passed, all);
    assert_eq!(holding.seen, Seen(Vec::new(), vec![0]));
}

#[test]
fn frames_without_payload_fill_the_room_too() {
    let endless = [&b"\x01\0"[..], &[0; 20]].concat();
    for piece in [1, 7, 100] {
        let mut holding = Holding { most: 10, ..Holding::default() };
        assert_eq!(holding.passed(Peer::Server, endless.chunks(piece)), endless);
        assert_eq!(holding.seen, Seen(Vec::new(), vec![0]), "it is told once");
    }
}

#[test]
fn words_of_our_own_come_between_messages() {
    let ours = super::text("no");
    assert_eq!(ours, b"\x81\x02no");
    let frames = b"\x01\x01a\x89\0\x80\x01b\x81\x01c";
    for piece in [1, 100] {
        let mut holding = Holding { between: ours.clone(), ..Holding::default() };
        let passed = holding.passed(Peer::Server, frames.chunks(piece));
        assert_eq!(passed, b"\x01\x01a\x89\0\x80\x01b\x81\x02no\x81\x01c");
    }
    let mut socket = WebSocket::new(None);
    let mut may = |bytes: &[u8]| {
        socket.sent(Peer::Server, bytes, &mut Seen::default()).expect("it is WebSocket");
        (socket.may_tell_client(true), socket.may_tell_client(false))
    };
    assert_eq!(may(b""), (true, true));
    assert_eq!(may(b"\x01"), (false, true));
    assert_eq!(may(b"\x01a"), (false, false));
    assert_eq!(may(b"\x89\0"), (false, false), "in the middle of a message");
    assert_eq!(may(b"\x80\0"), (true, true));
    assert_eq!(may(b"\x88\0"), (false, false), "nothing follows that");
}

#[test]
fn a_closing_frame_has_a_status_and_as_much_of_the_reason_as_fits() {
    assert_eq!(close(1008, "no"), b"\x88\x04\x03\xf0no");
    let (long, _) = server(&close(1008, &"ü".repeat(100)));
    assert_eq!(long, Seen::default(), "it can be read");
    assert_eq!(close(1008, &"ü".repeat(100)).len(), 2 + 2 + 122);
}

/// What one side says.
#[derive(Clone, Debug)]
struct Said {
    kind: Kind,
    content: Vec<u8>,
    compress: bool,
    /// Where its fragments end.
    cuts: Vec<prop::sample::Index>,
    /// Pings between its fragments.
    pings: bool,
    key: [u8; 4],
}

fn said() -> impl Strategy<Value = Said> {
    let content = prop_oneof![
        4 => vec(any::<u8>(), 0..300),
        2 => (vec(any::<u8>(), 1..40), 1_usize..4000).prop_map(|(part, times)| part.repeat(times)),
    ];
    let kind = select(&[Kind::Text, Kind::Binary][..]);
    (
        kind,
        content,
        any::<bool>(),
        vec(any::<prop::sample::Index>(), 0..4),
        any::<bool>(),
        any::<[u8; 4]>(),
    )
        .prop_map(|(kind, content, compress, cuts, pings, key)| Said {
            kind,
            content,
            compress,
            cuts,
            pings,
            key,
        })
}

/// The bytes of what a side says, ended by a closing frame.
fn written(said: &[Said], by: Peer, deflate: Option<Deflate>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut deflater = Deflater::new();
    for said in said {
        let key = (by == Peer::Client).then_some(said.key);
        let takeover = deflate.is_some_and(|deflate| match by {
            Peer::Client => deflate.client_takeover,
            Peer::Server => deflate.server_takeover,
        });
        let compress = deflate.is_some() && said.compress;
        if !takeover {
            deflater = Deflater::new();
        }
        let payload = if compress { deflater.deflate(&said.content) } else { said.content.clone() };
        let fragments = slices(&payload, &said.cuts);
        let last = fragments.len() - 1;
        for (at, fragment) in fragments.into_iter().enumerate() {
            let opcode = match (at, said.kind) {
                (0, Kind::Text) => 1,
                (0, Kind::Binary) => 2,
                _ => 0,
            };
            let fin = if at == last { 0x80 } else { 0 };
            let rsv1 = if at == 0 && compress { 0x40 } else { 0 };
            bytes.extend(frame(fin | rsv1 | opcode, fragment, key));
            if said.pings {
                bytes.extend(frame(0x89, b"ping", key));
            }
        }
    }
    bytes.extend(frame(0x88, b"\x03\xe8bye", (by == Peer::Client).then_some([1, 2, 3, 4])));
    bytes
}

/// The bytes in slices that end at the cuts, in whatever order these are.
fn slices<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut(
        said in vec(said(), 0..8),
        by in select(&[Peer::Client, Peer::Server][..]),
        deflate in prop_oneof![
            Just(None),
            (any::<bool>(), any::<bool>()).prop_map(|(client_takeover, server_takeover)| {
                Some(Deflate { client_takeover, server_takeover })
            }),
        ],
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = written(&said, by, deflate);
        let messages = said.into_iter().map(|said| (by, said.kind, said.content)).collect();
        let expected = (Seen(messages, Vec::new()), Ok(()));
        prop_assert_eq!(&read(by, deflate, [&bytes[..]]), &expected);
        prop_assert_eq!(&read(by, deflate, slices(&bytes, &cuts)), &expected);
        prop_assert_eq!(&read(by, deflate, bytes.chunks(1)), &expected);
    }

    #[test]
    fn what_goes_on_says_the_same_however_it_is_cut(
        said in vec(said(), 0..8),
        by in select(&[Peer::Client, Peer::Server][..]),
        most in select(&[0_usize, 20, usize::MAX][..]),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = written(&said, by, None);
        let passed = Holding { most, ..Holding::default() }.passed(by, slices(&bytes, &cuts));
        prop_assert_eq!(passed.len(), bytes.len());
        prop_assert_eq!(read(by, None, [&passed[..]]), read(by, None, [&bytes[..]]));
    }

    #[test]
    fn any_bytes_are_read_alike_however_they_are_cut_and_without_panic(
        noise in vec(
            prop_oneof![any::<u8>(), select(&[0x81_u8, 0x01, 0x80, 0xc1, 0x02, 0x7e, 0x85][..])],
            0..200,
        ),
        by in select(&[Peer::Client, Peer::Server][..]),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = read(by, Some(BOTH), [&noise[..]]);
        prop_assert_eq!(&read(by, Some(BOTH), slices(&noise, &cuts)), &whole);
        prop_assert_eq!(&read(by, Some(BOTH), noise.chunks(1)), &whole);
    }
}
