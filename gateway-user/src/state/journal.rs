//! A journal, as bytes: lines, each with a checksum of what follows in it.
//!
//! ```text
//! 5b0d… {"version":1,"generation":7}
//! 93e1… {"held":{…}}
//! 1f7c… {"settled":{…}}
//! ```
//!
//! A line that has no end was being written when its gateway died: nobody was told that it is there, so it
//! is left out. Anything else that is not as it was written is damage.

use std::{io::Write as _, str};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{call::Timestamp, ledger::Record};

/// A journal's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// Of the journals of a state directory, from 1 on.
    pub generation: u64,
    /// If it is a gateway's first one: when that began, in microseconds. The calls that were in flight
    /// have ended with the gateway before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begins: Option<u64>,
    /// Whether it says all anew, so that no journal before it counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_whole: bool,
}

/// What is in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Absent: its gateway died before it was written.
    pub header: Option<Header>,
    pub records: Vec<Record>,
    /// Where a line begins that has no end.
    pub torn: Option<usize>,
}

/// A journal is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is damaged at byte {offset}: {what}")]
    Damaged { offset: usize, what: String },
    #[error(
        "it was written by a newer turnpike (version {0} of its format; this one knows {VERSION})"
    )]
    Newer(u32),
}

/// What every header has, whatever else it says.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Header {
    pub(super) const fn new(generation: u64) -> Self {
        Self { version: VERSION, generation, begins: None, is_whole: false }
    }

    pub(super) const fn beginning(generation: u64, at: Timestamp) -> Self {
        Self { begins: Some(at.0), ..Self::new(generation) }
    }

    pub(super) const fn whole(generation: u64) -> Self {
        Self { is_whole: true, ..Self::new(generation) }
    }

    #[must_use]
    pub fn begins(&self) -> Option<Timestamp> {
        self.begins.map(Timestamp)
    }

    /// Whether a torn line before it is of no account: its writer knew nothing of it.
    pub(super) const fn starts_over(&self) -> bool {
        self.begins.is_some() || self.is_whole
    }
}

/// Appends a line.
pub(super) fn append(to: &mut Vec<u8>, what: &impl Serialize) -> serde_json::Result<()> {
    let start = to.len();
    // Its checksum's place.
    to.extend_from_slice(&[b'0'; CHECKSUM]);
    to.push(b' ');
    if let Err(error) = serde_json::to_writer(&mut *to, what) {
        to.truncate(start);
        return Err(error);
    }
    let line = to.get_mut(start..).unwrap_or_default();
    if let Some((mut place, text)) = line.split_at_mut_checked(CHECKSUM + 1) {
        // It fits: 64 bits are 16 digits.
        let _ = write!(place, "{:016x}", xxh3_64(text));
    }
    to.push(b'\n');
    Ok(())
}

/// Reads a journal.
pub fn read(bytes: &[u8]) -> Result<Contents, Damage> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let (whole, rest) = bytes.split_at(end);
    let torn = (!rest.is_empty()).then_some(end);
    let mut contents = Contents { header: None, records: Vec::new(), torn };
    let mut offset = 0;
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        let damaged = |what: String| Damage::Damaged { offset, what };
        let text = checked(line).ok_or_else(|| damaged("a line's checksum is wrong".to_owned()))?;
        let odd = |error: serde_json::Error| damaged(error.to_string());
        if contents.header.is_none() {
            let Versioned { version } = serde_json::from_str(text).map_err(odd)?;
            if version > VERSION {
                return Err(Damage::Newer(version));
            }
            contents.header = Some(serde_json::from_str(text).map_err(odd)?);
        } else {
            contents.records.push(serde_json::from_str(text).map_err(odd)?);
        }
        offset += line.len();
    }
    Ok(contents)
}

/// What a line says, if its checksum is right.
fn checked(line: &[u8]) -> Option<&str> {
    let (sum, text) = line.strip_suffix(b"\n")?.split_at_checked(CHECKSUM)?;
    let text = text.strip_prefix(b" ")?;
    let sum = u64::from_str_radix(str::from_utf8(sum).ok()?, 16).ok()?;
    (sum == xxh3_64(text)).then_some(())?;
    str::from_utf8(text).ok()
}

const VERSION: u32 = 1;
/// Digits of a checksum.
const CHECKSUM: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header and so many records.
    fn journal(records: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(&mut bytes, &Header::beginning(3, Timestamp(7))).expect("it is written");
        for number in 0..records {
            append(&mut bytes, &Record::Withdrawn { number }).expect("it is written");
        }
        bytes
    }

    #[test]
    fn a_journal_reads_back() {
        let Contents { header, records, torn } = read(&journal(2)).expect("it is whole");
        let header = header.expect("one");
        assert_eq!((header.generation, header.begins()), (3, Some(Timestamp(7))));
        assert!(header.starts_over() && !header.is_whole);
        assert_eq!(records, [0, 1].map(|number| Record::Withdrawn { number }));
        assert_eq!(torn, None);
        assert_eq!(read(b""), Ok(Contents { header: None, records: vec![], torn: None }));
    }

    #[test]
    fn a_newer_journal_is_told_from_a_damaged_one() {
        let mut bytes = Vec::new();
        let newer = serde_json::json!({ "version": 2, "generation": {} });
        append(&mut bytes, &newer).expect("it is written");
        assert_eq!(read(&bytes), Err(Damage::Newer(2)));
        let mut bytes = journal(1);
        append(&mut bytes, &serde_json::json!({ "granted": {} })).expect("it is written");
        let error = read(&bytes).expect_err("it is not known");
        assert!(error.to_string().contains("unknown variant `granted`"), "{error}");
    }

    proptest! {
        #[test]
        fn what_was_cut_off_is_left_out_and_nothing_before_it(cut in 0_usize..400) {
            let bytes = journal(5);
            let cut = cut.min(bytes.len());
            let whole = read(&bytes).expect("it is whole");
            let contents = read(&bytes[..cut]).expect("it is only short");
            prop_assert!(whole.records.starts_with(&contents.records));
            let ends = bytes[..cut].ends_with(b"\n") || cut == 0;
            prop_assert_eq!(contents.torn.is_none(), ends);
        }

        #[test]
        fn any_other_change_is_noticed(at in 0_usize..400, bit in 0_u8..8) {
            let mut bytes = journal(5);
            let at = at % bytes.len();
            let before = read(&bytes);
            bytes[at] ^= 1 << bit;
            match read(&bytes) {
                // The last line's end is gone, and with it the line; or a digit is a capital now.
                Ok(after) => prop_assert!(after.torn.is_some() || Ok(after) == before),
                Err(Damage::Damaged { offset, .. }) => prop_assert!(offset <= at),
                Err(Damage::Newer(_)) => prop_assert!(false),
            }
        }
    }
}
