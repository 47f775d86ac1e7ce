//! Ids, each a type of its own so that one can't be taken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident($int:ty), $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                if text.len() != $digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(IdParseError { digits: $digits });
                }
                <$int>::from_str_radix(text, 16)
                    .map(Self)
                    .map_err(|_| IdParseError { digits: $digits })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id! {
    /// One task, from its wish to its final answer. 16 hex digits.
    WorkflowId(u64), 16
}
hex_id! {
    /// One conversation, which may hold several workflows. 16 hex digits.
    SessionId(u64), 16
}
hex_id! {
    /// One call's place in its workflow; also its span id. 16 hex digits.
    StepId(u64), 16
}
hex_id! {
    /// A workflow's trace id (W3C Trace Context, section 3.2.2.3). 32 hex digits.
    TraceId(u128), 32
}
hex_id! {
    /// One TCP connection of an agent: its socket's cookie. 16 hex digits.
    ConnectionId(u64), 16
}

/// The text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has {digits} hexadecimal digits")]
pub struct IdParseError {
    digits: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = WorkflowId(0x0f00_0000_0000_00aa);
        assert_eq!(id.to_string(), "0f000000000000aa");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "0f", "+f000000000000aa", "0f000000000000aag", "zf000000000000aa"] {
            assert_eq!(text.parse::<WorkflowId>(), Err(IdParseError { digits: 16 }), "{text}");
        }
    }
}
