//! Patterns that rules match names with.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A pattern for a whole text: `*` stands for any characters, none and slashes included, `?` for
/// any one, everything else for itself. Case counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(String);

/// The pattern is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an empty pattern matches nothing; write \"*\" for anything, or leave it out")]
pub struct GlobParseError;

impl Glob {
    /// Takes time in proportion to the product of both lengths at worst.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), text.chars());
        // Where the last `*` let go of the text: what it stands for grows from there.
        let mut star = None;
        loop {
            let (mut next, mut left) = (pattern.clone(), rest.clone());
            let matched = match (next.next(), left.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    star = Some((next.clone(), rest.clone()));
                    pattern = next;
                    continue;
                }
                (Some(wanted), Some(found)) => wanted == '?' || wanted == found,
                (_, None) => return false,
                (None, Some(_)) => false,
            };
            if matched {
                (pattern, rest) = (next, left);
                continue;
            }
            let Some((after, from)) = &mut star else { return false };
            from.next();
            (pattern, rest) = (after.clone(), from.clone());
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Glob {
    type Err = GlobParseError;

    fn from_str(text: &str) -> Result<Self, GlobParseError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Glob {
    type Error = GlobParseError;

    fn try_from(text: String) -> Result<Self, GlobParseError> {
        if text.is_empty() { Err(GlobParseError) } else { Ok(Self(text)) }
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.0
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Glob>().expect("not empty").matches(text)
    }

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        for (pattern, text) in [
            ("web", "web"),
            ("*", ""),
            ("*", "a/b"),
            ("research-*", "research-"),
            ("research-*", "research-1"),
            ("*/library/*:1", "docker.io/library/python:1"),
            ("a?c", "aßc"),
            ("*a*b", "xaxbxab"),
            ("**", "anything"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("web", "web2"),
            ("web", "Web"),
            ("we?", "we"),
            ("research-*", "my-research-1"),
            ("*a*b", "xaxbxa"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        assert_eq!("".parse::<Glob>(), Err(GlobParseError));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }

    /// The definition, as slow as it is plain.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|n| plainly(rest, &text[n..])),
            [wanted, rest @ ..] => {
                text.first().is_some_and(|c| *wanted == '?' || wanted == c)
                    && plainly(rest, &text[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_it_is_defined(pattern in "[ab*?]{1,8}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = plainly(&chars(&pattern), &chars(&text));
            prop_assert_eq!(matches(&pattern, &text), expected);
        }
    }
}
