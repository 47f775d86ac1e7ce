use std::io::Write as _;

use ::brotli::{CompressorWriter, enc::BrotliEncoderParams};
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::*;

const CODINGS: [&str; 5] = ["gzip", "deflate", "raw deflate", "br", "zstd"];

/// The pieces in one body, each flushed by itself.
fn encode(coding: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    macro_rules! flushed {
        ($encoder:expr, $encoded:ident => $inner:expr) => {{
            let mut $encoded = $encoder;
            let mut ends = vec![0];
            for piece in pieces {
                $encoded.write_all(piece).expect("memory");
                $encoded.flush().expect("memory");
                ends.push($inner.len());
            }
            (ends, $encoded)
        }};
    }
    let level = Compression::default();
    let (ends, body) = match coding {
        "gzip" | "x-gzip" => {
            let (ends, it) = flushed!(GzEncoder::new(vec![], level), it => it.get_ref());
            (ends, it.finish().expect("memory"))
        }
        "deflate" => {
            let (ends, it) = flushed!(ZlibEncoder::new(vec![], level), it => it.get_ref());
            (ends, it.finish().expect("memory"))
        }
        "raw deflate" => {
            let (ends, it) = flushed!(DeflateEncoder::new(vec![], level), it => it.get_ref());
            (ends, it.finish().expect("memory"))
        }
        "br" => {
            let quick = BrotliEncoderParams { quality: 5, ..<_>::default() };
            let encoder = CompressorWriter::with_params(vec![], 4096, &quick);
            let (ends, it) = flushed!(encoder, it => it.get_ref());
            (ends, it.into_inner())
        }
        "zstd" => zstd(pieces, 20),
        other => panic!("no such coding: {other}"),
    };
    let mut parts: Vec<_> = ends.windows(2).map(|end| body[end[0]..end[1]].to_vec()).collect();
    parts.push(body[ends[ends.len() - 1]..].to_vec());
    parts
}

fn zstd(pieces: &[&[u8]], window_log: u32) -> (Vec<usize>, Vec<u8>) {
    let mut compressor = CCtx::create();
    compressor.set_parameter(CParameter::WindowLog(window_log)).expect("a window");
    let (mut body, mut ends) = (Vec::new(), vec![0]);
    let mut stream = |bytes: &[u8], directive| {
        let mut input = InBuffer::around(bytes);
        loop {
            let mut out = [0; 4096];
            let mut made = OutBuffer::around(&mut out[..]);
            let left =
                compressor.compress_stream2(&mut made, &mut input, directive).expect("memory");
            body.extend_from_slice(made.as_slice());
            if left == 0 && input.pos() == bytes.len() {
                return body.len();
            }
        }
    };
    for piece in pieces {
        ends.push(stream(piece, ZSTD_EndDirective::ZSTD_e_flush));
    }
    stream(b"", ZSTD_EndDirective::ZSTD_e_end);
    (ends, body)
}

fn whole(coding: &str, text: &[u8]) -> Vec<u8> {
    encode(coding, &[text]).concat()
}

/// As `Content-Encoding` names it.
fn named(coding: &str) -> &str {
    coding.strip_prefix("raw ").unwrap_or(coding)
}

/// What comes out of the pieces, and whether that is all.
fn decode<'a>(
    content_encoding: &str,
    allowance: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, bool), NotUnderstood> {
    let mut decoder = Decoder::new(Some(content_encoding), allowance)?;
    let mut text = Vec::new();
    for piece in pieces {
        decoder.push(piece, |bytes| text.extend_from_slice(bytes))?;
    }
    Ok((text, decoder.is_whole()))
}

#[test]
fn what_was_flushed_comes_out_at_once() {
    let events = ["data: {\"a\":1}\n\n", "data: {\"a\":12}\n\n", "", "data: [DONE]\n\n"];
    for coding in CODINGS {
        let pieces = encode(coding, &events.map(str::as_bytes));
        let mut decoder = Decoder::new(Some(named(coding)), 100).expect("a coding");
        for (event, piece) in events.iter().zip(&pieces) {
            let mut text = Vec::new();
            decoder.push(piece, |bytes| text.extend_from_slice(bytes)).expect(coding);
            assert_eq!(String::from_utf8_lossy(&text), **event, "{coding}");
            assert!(!decoder.is_whole(), "{coding}");
        }
        decoder.push(&pieces[events.len()], |_| {}).expect(coding);
        assert!(decoder.is_whole(), "{coding}");
    }
}

#[test]
fn other_encoders_bodies_are_read() {
    // Python's brotli and zstandard, gzip(1), each of "turnpike turnpike".
    let bodies: [(&str, &[u8]); 4] = [
        ("br", BROTLI),
        ("zstd", ZSTANDARD),
        ("gzip", GZIP),
        // A member with all that a head can have.
        ("gzip", GZIP_WITH_ALL),
    ];
    for (coding, body) in bodies {
        let text = b"turnpike turnpike".to_vec();
        assert_eq!(decode(coding, 0, [body]), Ok((text.clone(), true)), "{coding}");
        assert_eq!(decode(coding, 0, body.chunks(1)), Ok((text, true)), "{coding}");
    }
}

#[test]
fn codings_are_undone_in_the_order_that_is_listed() {
    let body = whole("br", &whole("gzip", b"text"));
    assert_eq!(decode("gzip, br", 100, [&body[..]]), Ok((b"text".to_vec(), true)));
    assert_eq!(decode(" GZIP ,identity,, Br", 100, [&body[..]]), Ok((b"text".to_vec(), true)));
    assert_eq!(decode("br, gzip", 100, [&body[..]]), Err(NotUnderstood::BrokenCoding));
    let thrice = whole("zstd", &whole("zstd", &whole("x-gzip", b"text")));
    assert_eq!(decode("x-gzip, zstd, zstd", 100, [&thrice[..]]), Ok((b"text".to_vec(), true)));
    for unknown in ["compress", "gzip, x", "aws-chunked,gzip", "br,br,br,br", "zstd;q=1"] {
        assert_eq!(decode(unknown, 100, []), Err(NotUnderstood::Encoded), "{unknown}");
    }
    for plain in ["", "identity", " , "] {
        assert!(Decoder::new(Some(plain), 0).expect("plain").is_plain(), "{plain:?}");
    }
    assert_eq!(decode("", 0, [&b"text"[..]]), Ok((b"text".to_vec(), true)));
}

#[test]
fn members_and_frames_follow_one_another() {
    for coding in ["gzip", "zstd"] {
        let body = [whole(coding, b"a"), whole(coding, b""), whole(coding, b"b")].concat();
        assert_eq!(decode(coding, 100, body.chunks(3)), Ok((b"ab".to_vec(), true)), "{coding}");
    }
    // A skippable frame.
    let body = [&b"\x50\x2a\x4d\x18\x02\x00\x00\x00xx"[..], &whole("zstd", b"a")].concat();
    assert_eq!(decode("zstd", 100, [&body[..]]), Ok((b"a".to_vec(), true)));
}

#[test]
fn what_is_cut_is_not_whole_and_what_is_broken_is_said() {
    for coding in CODINGS {
        let (name, text) = (named(coding), b"a text that is long enough, long enough");
        let body = whole(coding, text);
        assert_eq!(decode(name, 0, []), Ok((vec![], true)));
        for end in 1..body.len() {
            let cut = decode(name, 100, [&body[..end]]).expect(coding);
            assert!(!cut.1 && text.starts_with(&cut.0), "{coding}, {end}");
        }
        let more = [&body[..], b"x\0\0\0\0\0\0"].concat();
        assert_eq!(decode(name, 100, [&more[..]]), Err(NotUnderstood::BrokenCoding), "{coding}");
        let other = decode(name, 100, [&b"{\"messages\":[]} and what else there is"[..]]);
        assert!(other.is_err() || !other.clone().expect("no error").1, "{coding}: {other:?}");
    }
    let mut sum = whole("gzip", b"text");
    let at = sum.len() - 8;
    sum[at] ^= 1;
    assert_eq!(decode("gzip", 100, [&sum[..]]), Err(NotUnderstood::BrokenCoding));
}

#[test]
fn what_grows_too_much_ends_at_the_same_place_wherever_it_is_cut() {
    let zeros = vec![0; 8 * 1024 * 1024];
    for coding in CODINGS {
        let body = whole(coding, &zeros);
        assert!(body.len() < 16 * 1024, "{coding}: {}", body.len());
        let most = usize::try_from(limits::DECODED_RATIO).expect("small") * 16 * 1024;
        let enough = zeros.len() - most;
        for stride in [1, 1000, body.len()] {
            let decode = |allowance| decode(named(coding), allowance, body.chunks(stride));
            assert_eq!(decode(enough).map(|it| it.0.len()), Ok(zeros.len()), "{coding}");
            assert_eq!(decode(enough - 1), Err(NotUnderstood::TooLarge), "{coding}");
        }
    }
    // It counts for each coding: what is inside may be empty.
    let bomb = whole("gzip", &zeros);
    assert_eq!(decode("gzip,gzip", 0, [&whole("gzip", &bomb)[..]]), Err(NotUnderstood::TooLarge));
}

#[test]
fn windows_are_bounded() {
    let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let (_, fits) = zstd(&[&text], limits::ZSTD_WINDOW_LOG);
    assert_eq!(decode("zstd", text.len(), [&fits[..]]), Ok((text.clone(), true)));
    let (_, large) = zstd(&[&text], limits::ZSTD_WINDOW_LOG + 1);
    assert_eq!(decode("zstd", text.len(), [&large[..]]), Err(NotUnderstood::BrokenCoding));

    let large = BrotliEncoderParams { large_window: true, lgwin: 28, quality: 2, ..<_>::default() };
    let mut encoder = CompressorWriter::with_params(vec![], 4096, &large);
    encoder.write_all(&text).expect("memory");
    let large = encoder.into_inner();
    assert_eq!(decode("br", text.len(), [&large[..]]), Err(NotUnderstood::BrokenCoding));
}

/// Texts as bodies have them, which repeat themselves, and some that are long.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(any::<u8>(), 0..300);
    (short, 1_usize..100).prop_map(|(text, times)| text.repeat(times))
}

proptest! {
    #[test]
    fn where_a_body_is_cut_does_not_matter(
        text in text(),
        coding in prop::sample::select(&CODINGS[..]),
        stride in 1_usize..5000,
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut body = whole(coding, &text);
        if let Some((at, byte)) = damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let one = decode(named(coding), text.len(), [&body[..]]);
        prop_assert_eq!(&decode(named(coding), text.len(), body.chunks(stride)), &one);
        prop_assert_eq!(&decode(named(coding), text.len(), body.chunks(1)), &one);
        if damage.is_none() {
            prop_assert_eq!(one, Ok((text, true)));
        }
    }

    #[test]
    fn garbage_is_bounded(
        garbage in prop::collection::vec(any::<u8>(), 0..2000),
        coding in prop::sample::select(&["gzip", "deflate", "br", "zstd", "gzip,br"][..]),
    ) {
        let most = usize::try_from(limits::DECODED_RATIO).expect("small") * 16 * 1024 + 10;
        if let Ok((decoded, _)) = decode(coding, 10, [&garbage[..]]) {
            prop_assert!(decoded.len() <= most);
        }
    }
}

/// `brotli.compress(text)`.
const BROTLI: &[u8] = &[
    0x0b, 8, 0x80, 0x74, 0x75, 0x72, 0x6e, 0x70, 0x69, 0x6b, 0x65, 0x20, 0x74, 0x75, 0x72, 0x6e,
    0x70, 0x69, 0x6b, 0x65, 3,
];

/// `ZstdCompressor(write_checksum=True).compress(text)`.
const ZSTANDARD: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x11, 0x89, 0, 0, 0x74, 0x75, 0x72, 0x6e, 0x70, 0x69, 0x6b, 0x65,
    0x20, 0x74, 0x75, 0x72, 0x6e, 0x70, 0x69, 0x6b, 0x65, 0xce, 0x11, 0xa6, 0xcb,
];

/// `gzip -n`.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x2b, 0x29, 0x2d, 0xca, 0x2b, 0xc8, 0xcc, 0x4e, 0x55, 0x28,
    0x81, 0x32, 0, 0xe4, 0xc3, 0x7f, 0x3a, 0x11, 0, 0, 0,
];

/// The same, with text flag, time, extra field, name, comment and checksum in the head.
const GZIP_WITH_ALL: &[u8] = &[
    0x1f, 0x8b, 8, 0x1f, 1, 2, 3, 4, 0, 3, 3, 0, 0x61, 0x62, 0x63, 0x6e, 0x61, 0x6d, 0x65, 0, 0x63,
    0x6f, 0x6d, 0x6d, 0x65, 0x6e, 0x74, 0, 0x42, 0xfe, 0x2b, 0x29, 0x2d, 0xca, 0x2b, 0xc8, 0xcc,
    0x4e, 0x55, 0x28, 0x81, 0x32, 0, 0xe4, 0xc3, 0x7f, 0x3a, 0x11, 0, 0, 0,
];
