//! Short texts that many steps have in common.

use std::{cell::RefCell, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits;

/// A name: of a model, a host, an agent, a reason. Copies share their text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name that shares its text with the last equal one that was made so on this thread, if that
    /// was lately: there are few names, and many steps that have them.
    #[must_use]
    pub fn shared(text: &str) -> Self {
        thread_local! {
            static LATELY: RefCell<[Option<Name>; limits::SHARED_NAMES]> =
                const { RefCell::new([const { None }; limits::SHARED_NAMES]) };
        }
        if text.len() > limits::SHARED_NAME_BYTES {
            return text.into();
        }
        LATELY.with_borrow_mut(|names| {
            #[allow(clippy::cast_possible_truncation, reason = "it is brought into range")]
            let at = xxh3_64(text.as_bytes()) as usize % names.len();
            match &mut names[at] {
                Some(name) if **name == *text => name.clone(),
                other => other.insert(text.into()).clone(),
            }
        })
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, text: &&str) -> bool {
        **self == **text
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_share_their_text_and_others_do_not() {
        let (one, same) = (Name::shared("gpt-x"), Name::shared("gpt-x"));
        assert!(Arc::ptr_eq(&one.0, &same.0));
        let others: Vec<Name> = (0..1000).map(|number| Name::shared(&number.to_string())).collect();
        assert!((0..1000).zip(&others).all(|(number, name)| **name == *number.to_string()));
        let long = "x".repeat(limits::SHARED_NAME_BYTES + 1);
        assert!(!Arc::ptr_eq(&Name::shared(&long).0, &Name::shared(&long).0));
        assert_eq!(serde_json::to_string(&one).expect("a string"), "\"gpt-x\"");
    }
}
