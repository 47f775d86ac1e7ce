//! Whatever the order of writes and ends, the same bytes come out.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use proptest::prelude::*;

use super::bed::Bed;

#[derive(Clone, Debug)]
enum Act {
    Write { client: bool, bytes: Vec<u8> },
    End { client: bool },
}

fn act() -> impl Strategy<Value = Act> {
    let bytes =
        (any::<u8>(), prop_oneof![1_usize..10, 1_usize..100_000]).prop_map(|(first, len)| {
            (0..251).map(|n| first.wrapping_add(n)).cycle().take(len).collect()
        });
    prop_oneof![
        8 => (any::<bool>(), bytes).prop_map(|(client, bytes)| Act::Write { client, bytes }),
        1 => any::<bool>().prop_map(|client| Act::End { client }),
    ]
}

fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("an orderly end");
    received
}

#[test]
fn the_same_bytes_come_out_whatever_the_order() {
    let bed = Bed::start();
    let acts = prop::collection::vec(act(), 0..30);
    proptest!(ProptestConfig { cases: 64, ..ProptestConfig::default() }, |(acts in acts)| {
        let (client, server) = bed.pair();
        let mut sides = [(client, Vec::new(), false), (server, Vec::new(), false)];
        let received = std::thread::scope(|scope| {
            let readers = [1, 0].map(|side: usize| {
                let stream = sides[side].0.try_clone().expect("a copy");
                scope.spawn(move || read_all(stream))
            });
            for act in &acts {
                let (Act::Write { client, .. } | Act::End { client }) = act;
                let (stream, sent, ended) = &mut sides[usize::from(!client)];
                match act {
                    _ if *ended => {}
                    Act::Write { bytes, .. } => {
                        stream.write_all(bytes).expect("it is open");
                        sent.extend_from_slice(bytes);
                    }
                    Act::End { .. } => {
                        stream.shutdown(Shutdown::Write).expect("it is open");
                        *ended = true;
                    }
                }
            }
            for (stream, _, ended) in &sides {
                if !ended {
                    stream.shutdown(Shutdown::Write).expect("it is open");
                }
            }
            readers.map(|reader| reader.join().expect("it read all"))
        });
        let [from_client, from_server] = received;
        prop_assert!(from_client == sides[0].1, "what the client sent");
        prop_assert!(from_server == sides[1].1, "what the server sent");
    });
}
