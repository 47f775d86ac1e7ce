//! Money, which is counted and never rounded on the way.

use std::{fmt, ops::AddAssign, str::FromStr};

use serde::{Deserialize, Serialize};

/// Billionths of a US dollar, up to 18 thousand million dollars. Written in dollars, as a decimal
/// string without needless zeros: `"0.0125"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

/// The text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyParseError {
    #[error("money is written in dollars, such as \"0.25\"")]
    NotMoney,
    #[error("money has at most nine digits after the point")]
    TooFine,
    #[error("money is less than {} dollars here", u64::MAX / NANOS)]
    TooMuch,
}

impl NanoUsd {
    /// The sum, or the most there is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other);
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, nanos) = (self.0 / NANOS, self.0 % NANOS);
        if nanos == 0 {
            return write!(f, "{dollars}");
        }
        write!(f, "{dollars}.{}", format!("{nanos:09}").trim_end_matches('0'))
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyParseError;

    fn from_str(text: &str) -> Result<Self, MoneyParseError> {
        let (dollars, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !digits(dollars) || !digits(fraction) {
            return Err(MoneyParseError::NotMoney);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 9 {
            return Err(MoneyParseError::TooFine);
        }
        let nanos = format!("{fraction:0<9}").parse::<u64>();
        let sum = dollars
            .parse::<u64>()
            .ok()
            .zip(nanos.ok())
            .and_then(|(dollars, nanos)| dollars.checked_mul(NANOS)?.checked_add(nanos));
        sum.map(Self).ok_or(MoneyParseError::TooMuch)
    }
}

impl Serialize for NanoUsd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_is_read_exactly_or_not_at_all() {
        for (text, nanos) in [
            ("0", 0),
            ("2", 2_000_000_000),
            ("0.000000001", 1),
            ("0.10", 100_000_000),
            ("007.50", 7_500_000_000),
            ("1.0000000000000", 1_000_000_000),
            ("18446744073.709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(NanoUsd(nanos)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "$1", "1,5", " 1", "1.2.3", "٣"] {
            assert_eq!(text.parse::<NanoUsd>(), Err(MoneyParseError::NotMoney), "{text}");
        }
        assert_eq!("0.0000000001".parse::<NanoUsd>(), Err(MoneyParseError::TooFine));
        for text in ["18446744073.709551616", "99999999999999999999999"] {
            assert_eq!(text.parse::<NanoUsd>(), Err(MoneyParseError::TooMuch), "{text}");
        }
    }

    proptest! {
        #[test]
        fn money_reads_back_as_it_was_written(nanos: u64) {
            let text = NanoUsd(nanos).to_string();
            prop_assert_eq!(text.parse(), Ok(NanoUsd(nanos)));
            prop_assert!(!text.contains('.') || !text.ends_with('0'), "{}", text);
            let json = serde_json::to_string(&NanoUsd(nanos)).expect("a string");
            prop_assert_eq!(serde_json::from_str::<NanoUsd>(&json).expect("reads back"), NanoUsd(nanos));
        }

        #[test]
        fn any_text_is_money_or_refused(text in ".*") {
            let _ = text.parse::<NanoUsd>();
        }

        #[test]
        fn sums_saturate(a: u64, b: u64) {
            let mut sum = NanoUsd(a);
            sum += NanoUsd(b);
            prop_assert_eq!(sum.0, a.saturating_add(b));
        }
    }
}
