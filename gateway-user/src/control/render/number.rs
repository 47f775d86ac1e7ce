//! Numbers that are read at a glance: three figures and a unit.

use crate::call::{Micros, NanoUsd};

/// A count: `999`, `1.2k`, `35k`, `1.2M`.
pub(super) fn count(count: u64) -> String {
    scaled(count, ["", "k", "M", "G", "T", "P", "E"])
}

/// Bytes: `999 B`, `1.2 kB`, `35 MB`.
pub(super) fn bytes(count: u64) -> String {
    scaled(count, [" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

/// Money: `$0`, `$0.00012`, `$0.25`, `$12.50`.
pub(super) fn usd(money: NanoUsd) -> String {
    const CENT: u64 = 10_000_000;
    // Two figures below a dollar, cents from there.
    let unit = if money.0 < 100 * CENT { two_figures(money.0) } else { CENT };
    let rounded = NanoUsd(money.0.saturating_add(unit / 2) / unit * unit);
    if rounded.0 < 100 * CENT {
        return format!("${rounded}");
    }
    format!("${}.{:02}", rounded.0 / (100 * CENT), rounded.0 / CENT % 100)
}

/// The place of a number's second figure.
const fn two_figures(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    unit
}

/// A duration: `0.3 ms`, `340 ms`, `2.1 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(span: Micros) -> String {
    match span.0 {
        micros @ ..9_950 => {
            let tenths = (micros + 50) / 100;
            format!("{}.{} ms", tenths / 10, tenths % 10)
        }
        micros @ ..999_500 => format!("{} ms", (micros + 500) / 1_000),
        micros @ ..59_950_000 => {
            let tenths = (micros + 50_000) / 100_000;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        micros => long((micros + 500_000) / 1_000_000),
    }
}

/// A time gone by, in whole seconds at the least: `0 s`, `12 s`, `3 min`, `2 h`, `5 d`.
pub(super) fn age(span: Micros) -> String {
    match span.0 / 1_000_000 {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ ..3_600 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `1 call`, `2 calls`.
pub(super) fn of(number: u64, singular: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {singular}{plural}", count(number))
}

fn scaled(count: u64, units: [&str; 7]) -> String {
    let mut unit = 1;
    let mut scale: u64 = 1_000;
    if count < scale {
        return format!("{count}{}", units[0]);
    }
    // 999,500 is `1.0M`: it would be rounded to four figures.
    while unit + 1 < units.len() && count >= scale * 1_000 - scale / 2 {
        scale *= 1_000;
        unit += 1;
    }
    let (count, scale) = (u128::from(count), u128::from(scale));
    let tenths = (count * 10 + scale / 2) / scale;
    if tenths < 100 {
        format!("{}.{}{}", tenths / 10, tenths % 10, units[unit])
    } else {
        format!("{}{}", (count + scale / 2) / scale, units[unit])
    }
}

fn long(seconds: u64) -> String {
    if seconds < 3_600 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_two_or_three_figures() {
        let shown = [0, 999, 1_000, 1_234, 9_999, 10_000, 35_400, 999_499, 999_500, u64::MAX]
            .map(count)
            .join(" ");
        assert_eq!(shown, "0 999 1.0k 1.2k 10k 10k 35k 999k 1.0M 18E");
    }

    #[test]
    fn money_keeps_two_figures_or_cents() {
        let shown = [0, 1, 120_456, 9_999_999, 250_000_000, 999_999_999, 12_499_999_999, u64::MAX]
            .map(|nanos| usd(NanoUsd(nanos)))
            .join(" ");
        let wanted = "$0 $0.000000001 $0.00012 $0.01 $0.25 $1.00 $12.50 $18446744073.70";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn durations_choose_their_unit() {
        let shown = [0, 340, 9_960, 340_000, 999_600, 2_100_000, 59_960_000, 200_000_000]
            .map(|micros| duration(Micros(micros)))
            .join(", ");
        assert_eq!(shown, "0.0 ms, 0.3 ms, 10 ms, 340 ms, 1.0 s, 2.1 s, 1 min 0 s, 3 min 20 s");
        assert_eq!(duration(Micros(7_500_000_000)), "2 h 5 min");
    }
}
