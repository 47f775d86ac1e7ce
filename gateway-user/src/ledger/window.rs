//! Spans of time that a budget is for.

use std::{collections::VecDeque, num::NonZeroU64};

use jiff::{civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    Amounts,
    record::{is_default, micros},
};
use crate::{
    call::{Micros, Timestamp},
    limits,
};

/// For how long a budget counts what was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// For its holder's whole life.
    #[default]
    Life,
    /// For so long: what was spent longer ago counts no more, give or take a part in
    /// [`limits::WINDOW_PARTS`], which it counts longer.
    Rolling(#[serde(with = "span")] Micros),
    /// Until the period of the calendar ends, in UTC.
    Calendar(Period),
}

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
}

/// What was spent, of amounts and of tools' calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) amounts: Amounts,
    /// For each of a budget's limits on tools.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) tools: Box<[u64]>,
}

/// What was spent within a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    sums: Sums,
    since: Since,
}

/// What a window counts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Since {
    Ever,
    /// The parts in which something was spent, by their number since the epoch, oldest first.
    Parts {
        length: NonZeroU64,
        parts: VecDeque<(u64, Sums)>,
    },
    Until {
        period: Period,
        #[serde(with = "micros")]
        end: Timestamp,
    },
}

impl Sums {
    pub(super) fn new(tools: usize) -> Self {
        Self { amounts: Amounts::ZERO, tools: vec![0; tools].into() }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.amounts = self.amounts.plus(&other.amounts);
        for (sum, more) in self.tools.iter_mut().zip(&other.tools) {
            *sum = sum.saturating_add(*more);
        }
    }

    pub(super) fn remove(&mut self, other: &Self) {
        self.amounts = self.amounts.minus(&other.amounts);
        for (sum, less) in self.tools.iter_mut().zip(&other.tools) {
            *sum = sum.saturating_sub(*less);
        }
    }
}

impl Spent {
    /// Nothing yet.
    pub(super) fn new(window: Window, now: Timestamp, tools: usize) -> Self {
        let since = match window {
            Window::Life => Since::Ever,
            Window::Rolling(length) => Since::Parts {
                length: NonZeroU64::new(length.0.div_ceil(limits::WINDOW_PARTS))
                    .unwrap_or(NonZeroU64::MIN),
                parts: VecDeque::new(),
            },
            Window::Calendar(period) => Since::Until { period, end: period.end(now) },
        };
        Self { sums: Sums::new(tools), since }
    }

    pub(super) const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Forgets what counts no more. Whether there was something.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        match &mut self.since {
            Since::Ever => false,
            Since::Parts { length, parts } => {
                // A part counts until all of it is older than the window.
                let first = (now.0 / *length).saturating_sub(limits::WINDOW_PARTS);
                let mut changed = false;
                while let Some((_, gone)) = parts.pop_front_if(|(part, _)| *part < first) {
                    self.sums.remove(&gone);
                    changed = true;
                }
                changed
            }
            Since::Until { period, end } => {
                let over = now >= *end;
                if over {
                    *end = period.end(now);
                    self.sums = Sums::new(self.sums.tools.len());
                }
                over
            }
        }
    }

    pub(super) fn add(&mut self, now: Timestamp, sums: &Sums) {
        self.sums.add(sums);
        if let Since::Parts { length, parts } = &mut self.since {
            let part = now.0 / *length;
            match parts.back_mut().filter(|(last, _)| *last >= part) {
                Some((_, last)) => last.add(sums),
                None => parts.push_back((part, sums.clone())),
            }
        }
    }

    /// It is not as late as it was taken to be: what was spent later than now was spent now, so that it
    /// counts for as long as anything else.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        match &mut self.since {
            Since::Ever => {}
            Since::Parts { length, parts } => {
                let present = now.0 / *length;
                let mut later = Sums::new(self.sums.tools.len());
                let mut any = false;
                while let Some((_, sums)) = parts.pop_back_if(|(part, _)| *part > present) {
                    later.add(&sums);
                    any = true;
                }
                match parts.back_mut().filter(|(last, _)| *last == present) {
                    Some((_, last)) => last.add(&later),
                    None if any => parts.push_back((present, later)),
                    None => {}
                }
            }
            Since::Until { period, end } => *end = period.end(now).min(*end),
        }
    }

    /// What is counted of tools was counted at those places before, if it was.
    pub(super) fn sort_tools(&mut self, before: &[Option<usize>]) {
        let sort = |sums: &mut Sums| {
            let of = |place: &Option<usize>| place.and_then(|at| sums.tools.get(at)).copied();
            sums.tools = before.iter().map(|place| of(place).unwrap_or(0)).collect();
        };
        sort(&mut self.sums);
        if let Since::Parts { parts, .. } = &mut self.since {
            for (_, sums) in parts {
                sort(sums);
            }
        }
    }

    /// Takes back what was counted by mistake, the newest first.
    pub(super) fn remove(&mut self, sums: &Sums) {
        self.sums.remove(sums);
        let Since::Parts { parts, .. } = &mut self.since else { return };
        let mut left = sums.clone();
        for (_, part) in parts.iter_mut().rev() {
            let before = part.clone();
            part.remove(&left);
            left.remove(&before);
        }
    }
}

/// A span as it is, and not for people.
mod span {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::call::Micros;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(span: &Micros, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(span.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Micros, D::Error> {
        u64::deserialize(from).map(Micros)
    }
}

impl Window {
    /// Whether what was spent counts for ever.
    #[must_use]
    pub const fn is_life(self) -> bool {
        matches!(self, Self::Life)
    }
}

impl Period {
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// As the configuration calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// When the period that holds `now` ends.
    fn end(self, now: Timestamp) -> Timestamp {
        self.try_end(now).unwrap_or(Timestamp(u64::MAX))
    }

    /// `None` beyond the calendar.
    fn try_end(self, now: Timestamp) -> Option<Timestamp> {
        let micros = i64::try_from(now.0).ok()?;
        let now = jiff::Timestamp::from_microsecond(micros).ok()?;
        let civil = now.to_zoned(TimeZone::UTC).datetime();
        let midnight: DateTime = civil.date().into();
        let span = jiff::Span::new();
        let end = match self {
            Self::Hour => {
                let span = span.hours(i64::from(civil.hour()) + 1);
                midnight.checked_add(span).ok()?
            }
            Self::Day => midnight.checked_add(span.days(1)).ok()?,
            Self::Week => {
                let days = 7 - i64::from(civil.weekday().to_monday_zero_offset());
                midnight.checked_add(span.days(days)).ok()?
            }
            Self::Month => midnight.first_of_month().checked_add(span.months(1)).ok()?,
        };
        let end = end.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
        u64::try_from(end).ok().map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Dimension;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().expect("a time");
        Timestamp(u64::try_from(time.as_microsecond()).expect("after the epoch"))
    }

    fn calls(count: u64) -> Sums {
        Sums {
            amounts: Amounts::ZERO.with(Dimension::ModelCalls, count),
            tools: vec![count].into(),
        }
    }

    fn spent(spent: &Spent) -> (u64, u64) {
        (spent.sums().amounts[Dimension::ModelCalls], spent.sums().tools[0])
    }

    #[test]
    fn periods_end_where_the_calendar_says() {
        for (period, now, end) in [
            (Period::Hour, "2026-02-28T23:59:59.9Z", "2026-03-01T00:00:00Z"),
            (Period::Day, "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"),
            // A Saturday, a Sunday and a Monday.
            (Period::Week, "2026-02-28T12:00:00Z", "2026-03-02T00:00:00Z"),
            (Period::Week, "2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z"),
            (Period::Week, "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"),
            (Period::Month, "2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(period.end(at(now)), at(end), "{period:?} {now}");
        }
        assert_eq!(Period::Month.end(Timestamp(u64::MAX)), Timestamp(u64::MAX));
    }

    #[test]
    fn a_period_begins_anew() {
        let now = at("2026-02-28T12:00:00Z");
        let mut day = Spent::new(Window::Calendar(Period::Day), now, 1);
        day.add(now, &calls(5));
        assert!(!day.advance(at("2026-02-28T23:59:59Z")));
        assert_eq!(spent(&day), (5, 5));
        assert!(day.advance(at("2026-03-01T00:00:00Z")));
        assert_eq!(spent(&day), (0, 0));
    }

    #[test]
    fn what_a_rolling_window_counts_it_counts_for_its_length_at_least() {
        let window = Window::Rolling(Micros(limits::WINDOW_PARTS * 10));
        let mut rolling = Spent::new(window, Timestamp(0), 1);
        rolling.add(Timestamp(19), &calls(1));
        rolling.add(Timestamp(20), &calls(2));
        rolling.advance(Timestamp(19 + limits::WINDOW_PARTS * 10));
        assert_eq!(spent(&rolling), (3, 3));
        rolling.advance(Timestamp(20 + limits::WINDOW_PARTS * 10));
        assert_eq!(spent(&rolling), (2, 2));
        rolling.remove(&calls(1));
        assert_eq!(spent(&rolling), (1, 1));
        rolling.advance(Timestamp(u64::MAX));
        assert_eq!(spent(&rolling), (0, 0));
    }

    proptest! {
        #[test]
        fn a_rolling_window_never_counts_less_than_it_should(
            spendings in prop::collection::vec((0_u64..2000, 1_u64..5), 1..40),
            length in 1_u64..900,
        ) {
            let mut rolling = Spent::new(Window::Rolling(Micros(length)), Timestamp(0), 1);
            let mut now = 0;
            let mut all = Vec::new();
            for (gap, count) in spendings {
                now += gap / 10;
                rolling.advance(Timestamp(now));
                rolling.add(Timestamp(now), &calls(count));
                all.push((now, count));
                let within = all.iter().filter(|(at, _)| at + length > now);
                let least: u64 = within.map(|(_, count)| count).sum();
                prop_assert!(spent(&rolling).0 >= least);
            }
        }
    }
}
