//! Which names an entry of the table is for.

use std::collections::HashMap;

/// Patterns for a whole name in lower case, all of which must fit, with spaces between them: `*`
/// stands for any characters, `#` for a digit, everything else for itself; `!` in front turns a
/// pattern round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    text: Box<str>,
    turned: bool,
}

/// Places under the patterns of their names.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Names that are for one place.
    names: HashMap<Box<str>, usize>,
    /// In the order of their places.
    patterns: Vec<(Pattern, usize)>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let part = |text: &str| match text.strip_prefix('!') {
            Some(text) => Part { text: text.into(), turned: true },
            None => Part { text: text.into(), turned: false },
        };
        Self(text.split(' ').map(part).collect())
    }

    /// The one name that it fits, if it is for one.
    fn one(&self) -> Option<&str> {
        match &*self.0 {
            [Part { text, turned: false }] if !text.contains(['*', '#']) => Some(text),
            _ => None,
        }
    }

    /// Takes time in proportion to the product of both lengths at worst.
    pub(super) fn fits(&self, name: &str) -> bool {
        let fits = |part: &Part| fits(part.text.as_bytes(), name.as_bytes()) != part.turned;
        self.0.iter().all(fits)
    }
}

impl Index {
    /// Adds a pattern. Those of earlier places come first.
    pub(super) fn add(&mut self, pattern: Pattern, at: usize) {
        match pattern.one() {
            Some(name) => drop(self.names.entry(name.into()).or_insert(at)),
            None => self.patterns.push((pattern, at)),
        }
    }

    /// The first place that the name fits.
    pub(super) fn first(&self, name: &str) -> Option<usize> {
        let named = self.names.get(name).copied();
        let earlier = self.patterns.iter().take_while(|(_, at)| named.is_none_or(|it| *at < it));
        let fits = earlier.into_iter().find(|(pattern, _)| pattern.fits(name));
        fits.map(|(_, at)| *at).or(named)
    }
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut rest) = (0, 0);
    // Where the last `*` let go of the name: what it stands for grows from there.
    let mut star = None;
    loop {
        let fit = match (pattern.get(at), name.get(rest)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((at + 1, rest));
                at += 1;
                continue;
            }
            (Some(b'#'), Some(found)) => found.is_ascii_digit(),
            (Some(wanted), Some(found)) => wanted == found,
            (Some(_), None) => return false,
            (None, Some(_)) => false,
        };
        if fit {
            (at, rest) = (at + 1, rest + 1);
            continue;
        }
        let Some((after, from)) = &mut star else { return false };
        *from += 1;
        (at, rest) = (*after, *from);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        for (pattern, name, wanted) in [
            ("gpt-6", "gpt-6", true),
            ("gpt-6", "gpt-6-mini", false),
            ("gpt-6*", "gpt-6-mini", true),
            ("*claude*", "us.anthropic.claude-x", true),
            ("gpt-6-####-##-##", "gpt-6-2026-10-01", true),
            ("gpt-6-####-##-##", "gpt-6-2026-10-0x", false),
            ("gemini-3* !*-tts !*-tts-*", "gemini-3-flash", true),
            ("gemini-3* !*-tts !*-tts-*", "gemini-3-flash-tts", false),
            ("gemini-3* !*-tts !*-tts-*", "gemini-3-tts-preview", false),
            ("*a*b", "xaxbxab", true),
            ("*", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).fits(name), wanted, "{pattern} {name}");
        }
        assert_eq!(Pattern::new("gpt-6").one(), Some("gpt-6"));
        assert_eq!(Pattern::new("gpt-6*").one(), None);
        assert!(!Pattern::new(&"*a".repeat(200)).fits(&"a".repeat(199)));
    }

    #[test]
    fn of_the_places_that_a_name_fits_the_first_counts() {
        let mut index = Index::default();
        for (at, pattern) in ["gpt-6", "gpt-* !*-tts", "gpt-6-mini", "gpt-6"].iter().enumerate() {
            index.add(Pattern::new(pattern), at);
        }
        for (name, place) in
            [("gpt-6", Some(0)), ("gpt-6-mini", Some(1)), ("gpt-7", Some(1)), ("gpt-tts", None)]
        {
            assert_eq!(index.first(name), place, "{name}");
        }
    }

    /// The definition, as slow as it is plain.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|n| plainly(rest, &name[n..])),
            [wanted, rest @ ..] => name.first().is_some_and(|found| {
                (*wanted == b'#' && found.is_ascii_digit() || wanted == found)
                    && plainly(rest, &name[1..])
            }),
        }
    }

    proptest! {
        #[test]
        fn it_fits_as_it_is_defined(pattern in "[a1*#]{1,8}", name in "[a1]{0,8}") {
            let expected = plainly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).fits(&name), expected);
        }
    }
}
