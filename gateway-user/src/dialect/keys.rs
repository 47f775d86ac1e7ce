//! The names of an object's fields, each of which may come once.
//!
//! Parsers differ in which field they take of two that have one name, so what a server makes of such
//! an object can't be told. Serde finds them in the types that it derives for; this finds them in the
//! objects that are read by hand, in what is only hashed of them as well.

use std::collections::BTreeSet;

use serde::de::{Error, MapAccess};
use xxhash_rust::xxh3::xxh3_64;

use super::json::Text;

/// How many names are kept in place: more than most objects have.
const FEW: usize = 12;

/// The names that have come, by their hashes. Who forges a collision is only not understood.
#[derive(Default)]
pub(super) struct Keys {
    few: [u64; FEW],
    count: usize,
    /// Hardly any object has so many.
    more: Option<BTreeSet<u64>>,
}

impl Keys {
    /// The name of the next field, which must be another one than those before it.
    #[inline]
    pub(super) fn next_of<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Option<Text<'de>>, A::Error> {
        let name: Option<Text<'de>> = map.next_key()?;
        if let Some(Text(name)) = &name {
            self.once(name)?;
        }
        Ok(name)
    }

    /// Notes a name, which must not have come.
    pub(super) fn once<E: Error>(&mut self, name: &str) -> Result<(), E> {
        if self.is_other(name) { Ok(()) } else { Err(twice()) }
    }

    /// Whether the name has not come; it has, afterwards.
    #[inline]
    pub(super) fn is_other(&mut self, name: &str) -> bool {
        let key = xxh3_64(name.as_bytes());
        let (few, rest) = self.few.split_at_mut(self.count);
        if few.contains(&key) {
            return false;
        }
        match rest.first_mut() {
            Some(free) => {
                *free = key;
                self.count += 1;
                true
            }
            None => self.more.get_or_insert_default().insert(key),
        }
    }
}

/// There is a field twice: the words by which [`super::NotUnderstood`] knows it.
pub(super) fn twice<E: Error>() -> E {
    E::duplicate_field("that is read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_once_however_many_there_are() {
        let mut keys = Keys::default();
        let names: Vec<_> = (0..3 * FEW).map(|n| format!("field {n}")).collect();
        for name in &names {
            assert!(keys.is_other(name), "{name}");
        }
        for name in &names {
            assert!(!keys.is_other(name), "{name}");
        }
    }
}
