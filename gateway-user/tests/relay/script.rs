//! A conversation in lock-step: each side sends only after the other has received, byte for byte,
//! what was sent before. So a proxy that holds anything back fails.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use super::bed::Bed;

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Client(Vec<u8>),
    Server(Vec<u8>),
    ClientEnds,
    ServerEnds,
}

pub(crate) fn client(bytes: impl AsRef<[u8]>) -> Turn {
    Turn::Client(bytes.as_ref().into())
}

pub(crate) fn server(bytes: impl AsRef<[u8]>) -> Turn {
    Turn::Server(bytes.as_ref().into())
}

/// Plays a conversation, written in pieces of at most so many bytes.
pub(crate) fn play(bed: &Bed, turns: &[Turn], piece: usize) {
    let (mut client, mut server) = bed.pair();
    for turn in turns {
        match turn {
            Turn::Client(bytes) => pass(&mut client, &mut server, bytes, piece),
            Turn::Server(bytes) => pass(&mut server, &mut client, bytes, piece),
            Turn::ClientEnds => end(&client, &mut server),
            Turn::ServerEnds => end(&server, &mut client),
        }
    }
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8], piece: usize) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in bytes.chunks(piece) {
                from.write_all(piece).expect("it is sent");
            }
        });
        let mut received = vec![0; bytes.len()];
        to.read_exact(&mut received).expect("it arrives");
        assert!(
            received == bytes,
            "{:?} became {:?}",
            String::from_utf8_lossy(bytes),
            String::from_utf8_lossy(&received),
        );
    });
}

fn end(from: &TcpStream, to: &mut TcpStream) {
    from.shutdown(Shutdown::Write).expect("it is open");
    let mut rest = Vec::new();
    to.read_to_end(&mut rest).expect("an orderly end");
    assert!(rest.is_empty(), "more than was sent: {rest:?}");
}
