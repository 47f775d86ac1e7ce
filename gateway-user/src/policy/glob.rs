//! Patterns of names: `*` is any number of characters, `?` any one.

use std::{fmt, net::IpAddr, str::FromStr};

/// A pattern of names, matched as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

/// A pattern of host names, in any case: `*.example.com` is every name below that one, at any
/// depth, and not that one itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostGlob(Glob);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("a pattern is 1 to {MAX_LENGTH} characters without blanks; `*` alone matches anything")]
    Text,
    #[error(
        "a host is a name or a pattern of names: github.com or *.github.com, without scheme, port \
         and path"
    )]
    Host,
    #[error("a host is a name; write an address as cidr = \"192.0.2.7\"")]
    Address,
}

/// RFC 1035, section 2.3.4 allows a name no more.
const MAX_LENGTH: usize = 253;

impl Glob {
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes())
    }
}

impl HostGlob {
    /// Whether a name fits; a dot at its end does not count.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.0.matches(&name.to_ascii_lowercase())
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let blank = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > MAX_LENGTH || text.contains(blank) {
            return Err(GlobError::Text);
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for HostGlob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(GlobError::Address);
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.*?".contains(&b);
        if !name.bytes().all(legal) || name.contains("..") || name.starts_with('.') {
            return Err(GlobError::Host);
        }
        name.to_ascii_lowercase().parse().map(Self)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Goes back to the last `*` only, so it takes at most as many steps as the lengths multiplied.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[seen] => {
                at += 1;
                // A character, however many bytes it has.
                seen += if *wanted == b'?' { character(&text[seen..]) } else { 1 };
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                (at, seen) = (place + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|left| *left == b'*')
}

/// Bytes of the UTF-8 character that the text begins with.
fn character(text: &[u8]) -> usize {
    1 + text[1..].iter().take_while(|byte| **byte & 0xc0 == 0x80).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        text.parse().expect("a pattern")
    }

    #[test]
    fn stars_and_question_marks_stand_for_what_they_should() {
        for (pattern, text, fits) in [
            ("research", "research", true),
            ("research", "research-1", false),
            ("research-*", "research-1", true),
            ("research-*", "research-", true),
            ("*-1", "a-1-1", true),
            ("*a*b", "xaxxbxb", true),
            ("*a*b", "xaxxbx", false),
            ("a?c", "abc", true),
            ("a?c", "aäc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(glob(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_host_is_a_name_in_any_case_and_nothing_else() {
        let hosts: HostGlob = "*.GitHub.com.".parse().expect("a pattern");
        assert_eq!(hosts.to_string(), "*.github.com");
        for (name, fits) in [
            ("api.github.com", true),
            ("API.GitHub.COM.", true),
            ("a.b.github.com", true),
            ("github.com", false),
            ("github.com.evil.example", false),
        ] {
            assert_eq!(hosts.matches(name), fits, "{name}");
        }
        for (text, error) in [
            ("", GlobError::Text),
            ("https://github.com", GlobError::Host),
            ("github.com:443", GlobError::Host),
            ("a..b", GlobError::Host),
            ("192.0.2.7", GlobError::Address),
            ("[::1]", GlobError::Address),
            ("::1", GlobError::Address),
        ] {
            assert_eq!(text.parse::<HostGlob>(), Err(error), "{text}");
        }
        assert_eq!("a b".parse::<Glob>(), Err(GlobError::Text));
    }

    /// The definition.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) if naive(rest, text) => true,
            (Some((b'*', _)), Some((_, text))) => naive(pattern, text),
            (Some((b'?', rest)), Some((_, text))) => naive(rest, text),
            (Some((wanted, rest)), Some((found, text))) => wanted == found && naive(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_its_definition_says(pattern in "[ab?*]{1,8}", text in "[ab]{0,10}") {
            let wanted = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(&pattern).matches(&text), wanted, "{} {}", pattern, text);
        }

        #[test]
        fn no_text_makes_it_panic(pattern in "[a?*ä]{1,8}", text in any::<String>()) {
            let _ = glob(&pattern).matches(&text);
        }
    }
}
