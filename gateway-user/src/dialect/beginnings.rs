//! Beginnings of bodies that were read lately: a conversation is sent whole with each turn, and all
//! of it but the last turn needs not be read again.

use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher as _, RandomState},
};

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::call::{Digest, SpreadMap};

/// What was read of some bodies up to some byte, found by those bytes. Taking what is found takes
/// it out: who goes on from it puts back more. The oldest makes room.
///
/// Bodies are cut into blocks, and the blocks' hashes chained, so that equal beginnings have equal
/// chains. A beginning is kept under the chain of its whole blocks, with a hash of the rest: each
/// block of a body leads to one that ends in the block after it, if there is one. The hash is XXH3,
/// 128 bits, under a secret of the gateway's own: nobody can choose bytes that are taken for others.
pub(super) struct Beginnings<S> {
    secret: [u8; SECRET],
    kept: SpreadMap<u128, Beginning<S>>,
    /// The keys of what is kept, oldest first, each with its beginning's number: what was replaced
    /// or taken stays here until its turn.
    order: VecDeque<(u128, u64)>,
    /// Of the next one.
    number: u64,
    /// What all of them weigh together.
    weight: usize,
    bounds: Bounds,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of a block; shorter beginnings are not kept.
    pub(super) block: usize,
    pub(super) count: usize,
    pub(super) weight: usize,
}

struct Beginning<S> {
    number: u64,
    length: usize,
    rest: u128,
    sha256: Sha256,
    weight: usize,
    state: S,
}

/// A body, with the chains of its blocks and as much of its digest as is known.
pub(super) struct Hashed<'a> {
    body: &'a [u8],
    /// At the end of each whole block.
    chains: Vec<u128>,
    sha256: Sha256,
    digested: usize,
}

/// The place in a body up to which it may be kept.
pub(super) struct Mark {
    key: u128,
    length: usize,
    rest: u128,
    sha256: Sha256,
}

impl<S> Beginnings<S> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let random = RandomState::new();
        let mut secret = [0; SECRET];
        for (at, bytes) in secret.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *bytes = random.hash_one(at).to_le_bytes();
        }
        Self {
            secret,
            kept: SpreadMap::default(),
            order: VecDeque::new(),
            number: 0,
            weight: 0,
            bounds,
        }
    }

    /// A body that nothing is known of yet.
    pub(super) fn hash<'a>(&self, body: &'a [u8]) -> Hashed<'a> {
        let mut chain = 0;
        let blocks = body.chunks_exact(self.bounds.block);
        let chains = blocks.map(|block| {
            chain = self.pair(chain, xxh3_128_with_secret(block, &self.secret));
            chain
        });
        Hashed { body, chains: chains.collect(), sha256: Sha256::new(), digested: 0 }
    }

    /// Takes the longest known beginning of the body: its length, and what was read of it.
    pub(super) fn take(&mut self, hashed: &mut Hashed<'_>) -> Option<(usize, S)> {
        let mut known = None;
        for (at, key) in hashed.chains.iter().enumerate().rev() {
            let start = (at + 1) * self.bounds.block;
            let Some(found) = self.kept.get(key) else { continue };
            let rest = hashed.body.get(start..found.length);
            if rest.is_some_and(|rest| xxh3_128_with_secret(rest, &self.secret) == found.rest) {
                known = Some(*key);
                break;
            }
        }
        let found = self.kept.remove(&known?)?;
        self.weight -= found.weight;
        hashed.sha256 = found.sha256;
        hashed.digested = found.length;
        Some((found.length, found.state))
    }

    /// Marks a place in the body behind the beginning that is known; none, if that is not worth it.
    pub(super) fn mark(&self, hashed: &mut Hashed<'_>, length: usize) -> Option<Mark> {
        let blocks = length / self.bounds.block;
        let key = *hashed.chains.get(blocks.checked_sub(1)?)?;
        let rest = hashed.body.get(blocks * self.bounds.block..length)?;
        let rest = xxh3_128_with_secret(rest, &self.secret);
        hashed.digest_to(length);
        Some(Mark { key, length, rest, sha256: hashed.sha256.clone() })
    }

    /// Keeps what was read up to the mark.
    pub(super) fn keep(&mut self, mark: Mark, weight: usize, state: S) {
        let Mark { key, length, rest, sha256 } = mark;
        let number = self.number;
        self.number += 1;
        let kept = Beginning { number, length, rest, sha256, weight, state };
        if let Some(replaced) = self.kept.insert(key, kept) {
            self.weight -= replaced.weight;
        }
        self.weight += weight;
        self.order.push_back((key, number));
        self.make_room();
    }

    fn make_room(&mut self) {
        let is_kept = |kept: &SpreadMap<u128, Beginning<S>>, (key, number)| {
            kept.get(&key).is_some_and(|kept| kept.number == number)
        };
        while self.kept.len() > self.bounds.count || self.weight > self.bounds.weight {
            let Some(oldest) = self.order.pop_front() else { return };
            if is_kept(&self.kept, oldest)
                && let Some(oldest) = self.kept.remove(&oldest.0)
            {
                self.weight -= oldest.weight;
            }
        }
        if self.order.len() > STALE_FACTOR * self.bounds.count {
            let kept = &self.kept;
            self.order.retain(|&place| is_kept(kept, place));
        }
    }

    fn pair(&self, a: u128, b: u128) -> u128 {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&a.to_le_bytes());
        bytes[16..].copy_from_slice(&b.to_le_bytes());
        xxh3_128_with_secret(&bytes, &self.secret)
    }
}

impl Hashed<'_> {
    pub(super) fn body(&self) -> &[u8] {
        self.body
    }

    /// Of the whole body.
    pub(super) fn digest(mut self) -> Digest {
        self.digest_to(self.body.len());
        Digest(self.sha256.finalize().into())
    }

    fn digest_to(&mut self, length: usize) {
        self.sha256.update(self.body.get(self.digested..length).unwrap_or_default());
        self.digested = self.digested.max(length);
    }
}

/// How much is kept only: what was read is private.
impl<S> fmt::Debug for Beginnings<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beginnings")
            .field("kept", &self.kept.len())
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

/// Places in the order of age, for each beginning that may be kept, at which the stale ones are swept
/// out.
const STALE_FACTOR: usize = 4;
/// XXH3 takes secrets from 136 bytes on; its own has so many.
const SECRET: usize = 192;
