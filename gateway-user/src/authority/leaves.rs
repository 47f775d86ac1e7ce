//! The leaves that were signed already.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use rustls::{pki_types::ServerName, sign::CertifiedKey};

use super::issuer::days;
use crate::{
    call::{Micros, Timestamp},
    limits,
};

/// Bounded by [`limits::LEAVES`]; the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    by_name: HashMap<Wanted, Leaf>,
    /// Each name once, in the order in which they came.
    order: VecDeque<Wanted>,
    forgotten: u64,
}

/// What a leaf is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) name: ServerName<'static>,
    pub(super) trusted: bool,
}

#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) expires: Timestamp,
}

/// A leaf that expires sooner is not handed out any more: a client may look at it again later.
const SPARE: Micros = days(2);

impl Leaves {
    pub(super) fn get(&self, wanted: &Wanted, now: Timestamp) -> Option<Arc<CertifiedKey>> {
        let leaf = self.by_name.get(wanted)?;
        (now.after(SPARE) < leaf.expires).then(|| Arc::clone(&leaf.key))
    }

    pub(super) fn insert(&mut self, wanted: Wanted, leaf: Leaf) {
        if self.by_name.insert(wanted.clone(), leaf).is_some() {
            return;
        }
        self.order.push_back(wanted);
        if self.order.len() > limits::LEAVES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
            self.forgotten += 1;
        }
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
