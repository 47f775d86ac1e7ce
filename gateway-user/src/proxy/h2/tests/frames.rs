//! A peer that can break every rule.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::within;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const HAS_PRIORITY: u8 = 0x20;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The code of a `RST_STREAM` or a GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    pub(super) fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag == flag
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("not that long").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields, each literal and not indexed (RFC 7541, section 6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            string(&mut block, text.as_bytes());
        }
    }
    block
}

/// A string without Huffman coding (RFC 7541, section 5.2).
pub(super) fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(u8::try_from(rest).expect("short"));
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128 + 128).expect("a byte"));
            rest /= 128;
        }
        block.push(u8::try_from(rest).expect("a byte"));
    }
    block.extend(text);
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in values {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// An end of a connection, and what has come on it.
#[derive(Debug)]
pub(super) struct Raw {
    io: DuplexStream,
    received: Vec<u8>,
}

impl Raw {
    pub(super) fn new(io: DuplexStream) -> Self {
        Self { io, received: Vec::new() }
    }

    /// A client that has said its first words.
    pub(super) async fn client(io: DuplexStream) -> Self {
        let mut raw = Self::new(io);
        raw.send(PREFACE).await;
        raw.send(&settings(&[])).await;
        raw
    }

    /// A server that has said its first words, and heard the client's.
    pub(super) async fn server(io: DuplexStream, values: &[(u16, u32)]) -> Self {
        let mut raw = Self::new(io);
        raw.send(&settings(values)).await;
        raw.hear_preface().await;
        raw
    }

    pub(super) async fn hear_preface(&mut self) {
        while self.received.len() < PREFACE.len() {
            assert!(self.more().await, "a preface");
        }
        assert_eq!(self.received.drain(..PREFACE.len()).collect::<Vec<u8>>(), PREFACE);
    }

    /// Sends what the other side still takes.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = within(self.io.write_all(bytes)).await;
    }

    /// The next frame; none at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [l0, l1, l2, kind, flags, s0, s1, s2, s3, rest @ ..] = self.received.as_slice() {
                let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
                    let payload = payload.to_vec();
                    let frame = Frame { kind: *kind, flags: *flags, stream, payload };
                    self.received.drain(..9 + length);
                    return Some(frame);
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next frame for which it holds; none if the connection ends before. Settings are
    /// acknowledged on the way.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.send(&super::frames::frame(SETTINGS, ACK, 0, &[])).await;
            }
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match within(self.io.read(&mut buffer)).await {
            Ok(read @ 1..) => {
                self.received.extend_from_slice(&buffer[..read]);
                true
            }
            _ => false,
        }
    }
}
