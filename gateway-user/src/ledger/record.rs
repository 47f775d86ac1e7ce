//! What a ledger did, one record for each change of what must outlast it: done again in their order, they
//! lead to the same balances.
//!
//! A record names accounts as people do, by their budget's name and their holder, and says what was added
//! and taken away, not why. So it means the same to a later gateway that has other budgets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Amounts, Dimension, Holder, Image, Limit};
use crate::call::{Name, Timestamp};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// An account is there, and stands as the image says.
    Opened { key: Key, image: Box<Image> },
    /// A call is held against those accounts.
    Held(Held),
    /// It has ended, and came to that.
    Settled {
        #[serde(with = "micros")]
        at: Timestamp,
        number: u64,
        spent: Amounts,
        /// That its answer calls.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tools: Vec<Name>,
    },
    /// It was not made after all.
    Withdrawn { number: u64 },
    /// It is held against those accounts from now on, and against no others.
    Moved {
        #[serde(with = "micros")]
        at: Timestamp,
        number: u64,
        keys: Vec<Key>,
    },
    /// What was spent there was spent here.
    Transferred {
        #[serde(with = "micros")]
        at: Timestamp,
        from: Vec<Key>,
        to: Vec<Key>,
        spent: Amounts,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tools: Vec<Name>,
    },
    /// An account was stopped or let go on, or was told of a threshold.
    Marked {
        #[serde(with = "micros")]
        at: Timestamp,
        key: Key,
        marks: Marks,
    },
    /// A holder was let spend anew.
    Reset(Reset),
    /// An account is not there any more.
    Forgotten { key: Key },
}

/// An account's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Its budget's.
    pub budget: Name,
    pub holder: Holder,
}

/// A call that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    #[serde(with = "micros")]
    pub at: Timestamp,
    pub number: u64,
    pub keys: Vec<Key>,
    /// The most that it can come to.
    pub amounts: Amounts,
    /// That it calls, unless a model's answer counted that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sameness: Option<u64>,
    pub enforced: bool,
}

/// That somebody was let spend anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    #[serde(with = "micros")]
    pub at: Timestamp,
    pub holder: Holder,
    /// The budgets of which it does.
    pub budgets: Vec<Name>,
    #[serde(flatten)]
    pub why: Why,
}

/// Who wanted that, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The user whose process asked for it.
    pub by_uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What follows from what an account has spent, and what was told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<Stop>,
    /// Whether its limits hold, or are only told of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) enforced: bool,
    /// Whether it was told of a limit that nothing follows from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) warned: bool,
    /// The percent of each limit of which it was told.
    #[serde(default, with = "sparse", skip_serializing_if = "is_default")]
    pub(super) told: [u8; Dimension::COUNT],
}

/// That a holder met a limit, and is to spend no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    #[serde(with = "micros")]
    pub(super) at: Timestamp,
    pub(super) limit: Limit,
    pub(super) most: u64,
}

/// As people call it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of budget {}", self.holder, self.budget)
    }
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Times as they are, and not for people: records are written before a call goes on.
pub(super) mod micros {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::call::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(in crate::ledger) fn serialize<S: Serializer>(
        time: &Timestamp,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.0)
    }

    pub(in crate::ledger) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp)
    }
}

/// Something of each dimension, by their names, and only where there is something.
pub(super) mod sparse {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::ledger::Dimension;

    pub(in crate::ledger) fn serialize<S, T>(
        all: &[T; Dimension::COUNT],
        to: S,
    ) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Serialize + Default + PartialEq,
    {
        let all = Dimension::ALL.into_iter().zip(all);
        to.collect_map(all.filter(|(_, one)| **one != T::default()))
    }

    pub(in crate::ledger) fn deserialize<'de, D, T>(
        from: D,
    ) -> Result<[T; Dimension::COUNT], D::Error>
    where
        D: Deserializer<'de>,
        T: Deserialize<'de> + Default + Copy,
    {
        let mut all = [T::default(); Dimension::COUNT];
        for (of, one) in BTreeMap::<Dimension, T>::deserialize(from)? {
            all[of as usize] = one;
        }
        Ok(all)
    }
}
