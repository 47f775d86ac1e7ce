//! Spans of time and sizes, as they are written: a whole number with a unit; and money.

use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

use crate::call::{MoneyParseError, NanoUsd};

/// A span of time, written as a whole number with a unit: `500ms`, `10s`, `5m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(into = "String")]
pub struct Span(pub Duration);

/// A number of bytes, written as a whole number with a unit: `512B`, `64KiB`, `100MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(into = "String")]
pub struct Size(pub u64);

/// Money, written in dollars as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub(super) struct Dollars(pub(super) NanoUsd);

/// The text is not a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("a span of time is a whole number and a unit: 500ms, 10s, 5m or 2h")]
pub struct SpanParseError;

/// The text is not a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("a size is a whole number and a unit: 512B, 64KiB, 100MiB or 2GiB")]
pub struct SizeParseError;

impl TryFrom<String> for Dollars {
    type Error = MoneyParseError;

    fn try_from(text: String) -> Result<Self, MoneyParseError> {
        text.parse().map(Self)
    }
}

impl From<Dollars> for String {
    fn from(dollars: Dollars) -> Self {
        dollars.0.to_string()
    }
}

const SPANS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The number in the smallest of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that fits.
fn write(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| number != 0 && number.is_multiple_of(*factor);
    let smallest = units.last().copied().unwrap_or(("", 1));
    let (unit, factor) = units.iter().find(fits).copied().unwrap_or(smallest);
    write!(f, "{}{unit}", number / factor)
}

impl FromStr for Span {
    type Err = SpanParseError;

    fn from_str(text: &str) -> Result<Self, SpanParseError> {
        let ms = parse(text, &SPANS).ok_or(SpanParseError)?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl FromStr for Size {
    type Err = SizeParseError;

    fn from_str(text: &str) -> Result<Self, SizeParseError> {
        parse(text, &SIZES).map(Self).ok_or(SizeParseError)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AsWritten(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AsWritten(PhantomData))
    }
}

/// Says what is wanted to who writes a bare number too.
struct AsWritten<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display + Default>> Visitor<'_> for AsWritten<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&T::Err::default(), f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: 500ms, 10s, 5m or 2h",
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h)$",
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: 512B, 64KiB, 100MiB or 2GiB",
            "type": "string",
            "pattern": "^[0-9]+(B|KiB|MiB|GiB)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_unit_and_are_shown_in_the_largest_that_fits() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("60m", 3_600_000, "1h"),
            ("0h", 0, "0ms"),
        ] {
            let span: Span = text.parse().expect("a span");
            assert_eq!((span.0.as_millis(), span.to_string().as_str()), (ms, shown));
        }
        for (text, bytes, shown) in
            [("512B", 512, "512B"), ("1024KiB", 1 << 20, "1MiB"), ("3GiB", 3 << 30, "3GiB")]
        {
            let size: Size = text.parse().expect("a size");
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn what_has_no_unit_or_does_not_fit_is_refused() {
        for text in ["", "10", "s", "1.5s", "-1s", "1 s", "10d", "99999999999999999999ms"] {
            assert_eq!(text.parse::<Span>(), Err(SpanParseError), "{text}");
        }
        for text in ["", "10", "1MB", "1k", "B", "99999999999GiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeParseError), "{text}");
        }
    }
}
