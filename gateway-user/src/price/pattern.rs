//! Which names an entry of the table is for.

/// Patterns for a whole name in lower case, all of which must fit, with spaces between them: `*`
/// stands for any characters, `#` for a digit, everything else for itself; `!` in front turns a
/// pattern round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<str>);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The one name that it fits, if it is for one.
    pub(super) fn one(&self) -> Option<&str> {
        (!self.0.contains(['*', '#', '!', ' '])).then_some(&*self.0)
    }

    /// Takes time in proportion to the product of both lengths at worst.
    pub(super) fn fits(&self, name: &str) -> bool {
        self.0.split(' ').all(|pattern| match pattern.strip_prefix('!') {
            Some(pattern) => !fits(pattern.as_bytes(), name.as_bytes()),
            None => fits(pattern.as_bytes(), name.as_bytes()),
        })
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
