//! However a stream is cut, both framers must read it alike; and what they accept as framing must
//! hold no bare CR or LF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::proxy::h1::{
    Awaited, Eof, FramingError, Method, RequestFramer, RequestPiece, ResponseFramer, ResponsePiece,
};

// The first byte says where to cut, the second which requests the responses answer.
fuzz_target!(|data: &[u8]| {
    let [cut, awaited, stream @ ..] = data else { return };
    let slice = usize::from(*cut) + 1;

    let whole = requests([stream]);
    assert_eq!(whole, requests(stream.chunks(slice)));
    assert_eq!(whole, requests(stream.chunks(1)));
    check_line_ends(&whole);

    let awaited: Vec<Awaited> = (0..4).map(|at| request(awaited >> (2 * at))).collect();
    let whole = responses(&awaited, [stream]);
    assert_eq!(whole, responses(&awaited, stream.chunks(slice)));
    assert_eq!(whole, responses(&awaited, stream.chunks(1)));
    check_line_ends(&whole);
});

/// What one framer read off a stream.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    /// Each piece but the bodies, written out.
    pieces: Vec<String>,
    /// The bytes of all bodies.
    body: Vec<u8>,
    /// The bytes of whole messages that belong to no body.
    framing: Vec<u8>,
    outcome: Option<Result<Eof, FramingError>>,
}

impl Reading {
    /// Notes a piece that took all of `taken`, and of it `body`.
    fn note(&mut self, taken: &[u8], body: Option<&[u8]>, piece: Option<String>) {
        let (framing, data) = taken.split_at(taken.len() - body.map_or(0, <[u8]>::len));
        assert_eq!(data, body.unwrap_or_default(), "a body piece is what was taken last");
        self.framing.extend_from_slice(framing);
        self.body.extend_from_slice(data);
        if let Some(piece) = piece {
            // Where the body's bytes lie between the pieces is part of what was read.
            self.pieces.push(format!("{piece} after {}", self.body.len()));
        }
    }
}

fn requests<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    let mut framer = RequestFramer::new();
    let mut reading = Reading::default();
    for mut input in slices {
        loop {
            let (taken, piece) = match framer.next(input) {
                Ok(next) => next,
                Err(error) => return failed(reading, error),
            };
            let (bytes, rest) = input.split_at(taken);
            input = rest;
            match piece {
                Some(RequestPiece::Body(data)) => reading.note(bytes, Some(data), None),
                Some(piece) => reading.note(bytes, None, Some(format!("{piece:?}"))),
                None => {
                    reading.note(bytes, None, None);
                    break;
                }
            }
        }
        assert!(input.is_empty(), "without a piece, all is taken");
    }
    reading.outcome = Some(Ok(framer.eof()));
    reading
}

fn responses<'a>(awaited: &[Awaited], slices: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    let mut framer = ResponseFramer::new();
    for &request in awaited {
        framer.push(request).expect("not too many");
    }
    let mut reading = Reading::default();
    let mut tunnel = false;
    for mut input in slices {
        loop {
            let (taken, piece) = match framer.next(input) {
                Ok(next) => next,
                Err(error) => return failed(reading, error),
            };
            let (bytes, rest) = input.split_at(taken);
            input = rest;
            tunnel |= matches!(piece, Some(ResponsePiece::Tunnel));
            match piece {
                Some(ResponsePiece::Body(data)) => reading.note(bytes, Some(data), None),
                Some(piece) => reading.note(bytes, None, Some(format!("{piece:?}"))),
                None => {
                    reading.note(bytes, tunnel.then_some(bytes), None);
                    break;
                }
            }
        }
        assert!(input.is_empty(), "without a piece, all is taken");
    }
    reading.outcome = Some(Ok(framer.eof()));
    reading
}

/// A fault may come in the middle of a slice whose first bytes would have been taken before it:
/// those do not compare.
fn failed(reading: Reading, error: FramingError) -> Reading {
    Reading { framing: Vec::new(), outcome: Some(Err(error)), ..reading }
}

fn check_line_ends(reading: &Reading) {
    let bytes = &reading.framing;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(at.checked_sub(1).map(|cr| bytes[cr]), Some(b'\r'), "bare LF"),
            b'\r' => assert!(
                reading.outcome == Some(Ok(Eof::Truncated))
                    || bytes.get(at + 1).is_none_or(|&lf| lf == b'\n'),
                "bare CR"
            ),
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => assert_eq!(reading.outcome, Some(Ok(Eof::Truncated)), "control character"),
        }
    }
}

fn request(bits: u8) -> Awaited {
    match bits & 3 {
        0 => Awaited::new(&Method::Get, false),
        1 => Awaited::new(&Method::Head, false),
        2 => Awaited::new(&Method::Get, true),
        _ => Awaited::new(&Method::Connect, false),
    }
}
