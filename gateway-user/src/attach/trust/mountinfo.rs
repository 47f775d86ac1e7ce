//! What is mounted, as `/proc/PID/mountinfo` has it (proc(5)).

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) point: PathBuf,
    /// What is mounted on it is mounted wherever its peers are, too.
    pub(super) shared: bool,
    pub(super) source: OsString,
}

/// Every mount; lines that can't be read are passed over.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:2 - ext3 /dev/root rw`: any number of optional
/// fields ends with a dash.
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let point = unescape(fields.nth(3)?).into();
    let _options = fields.next()?;
    let mut shared = false;
    loop {
        match fields.next()? {
            b"-" => break,
            field => shared |= field.starts_with(b"shared:"),
        }
    }
    let source = unescape(fields.nth(1)?);
    Some(Mount { id, point, shared, source })
}

/// Blanks, line ends and backslashes are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal =
            after.first_chunk().filter(|_| *first == b'\\').and_then(|digits| octal(*digits));
        text.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(text)
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    digits.into_iter().try_fold(0_u8, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        number.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_read_with_any_number_of_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw,errors=continue\n\
            37 36 0:20 / /a\\040b rw shared:7 master:1 propagate_from:2 unbindable - tmpfs turnpike rw\n\
            38 36 0:21 / / rw master:1 - overlay overlay rw\nnonsense\n39 36 0:21 / / rw";
        let found = parse(text);
        let short: Vec<_> = found
            .iter()
            .map(|m| {
                (m.id, m.point.to_str().expect("text"), m.shared, m.source.to_str().expect("text"))
            })
            .collect();
        assert_eq!(
            short,
            [
                (36, "/mnt2", false, "/dev/root"),
                (37, "/a b", true, "turnpike"),
                (38, "/", false, "overlay")
            ]
        );
    }

    #[test]
    fn only_whole_escapes_are_undone() {
        for (escaped, plain) in [
            ("a\\134b", "a\\b"),
            ("\\04", "\\04"),
            ("\\089", "\\089"),
            ("\\777", "\\777"),
            ("\\", "\\"),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), plain, "{escaped}");
        }
    }

    #[test]
    fn our_own_mounts_are_read() {
        let text = std::fs::read("/proc/self/mountinfo").expect("procfs is there");
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(parse(&text).len(), lines);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text: Vec<u8>) {
            parse(&text);
        }
    }
}
