//! What is wrong with a configuration file: all of it, each with its place.

use std::fmt;

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer, Error},
};

use super::Config;

/// One mistake. Displayed as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Both counted from one; characters, not bytes.
    pub line: usize,
    pub column: usize,
    pub text: String,
}

/// Each problem of a file, at most one for each setting and for each rule.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        // What follows the first one that breaks the syntax is guesswork.
        return vec![Problem::of(text, error)];
    }
    let span = document.span();
    let check = |part| Config::deserialize(Deserializer::from(Spanned::new(span.clone(), part)));
    let parts = parts(document.into_inner()).into_iter();
    parts.filter_map(|part| check(part).err()).map(|error| Problem::of(text, &error)).collect()
}

/// Documents with one setting or one rule each: a mistake in one does not hide the others.
fn parts(document: DeTable<'_>) -> Vec<DeTable<'_>> {
    let mut parts = Vec::new();
    for (key, value) in document {
        let span = value.span();
        let mut part = |value| {
            parts.push(DeTable::from_iter([(key.clone(), Spanned::new(span.clone(), value))]));
        };
        match value.into_inner() {
            DeValue::Table(table) if !table.is_empty() => {
                for setting in table {
                    part(DeValue::Table(DeTable::from_iter([setting])));
                }
            }
            DeValue::Array(rules) => {
                for rule in rules {
                    part(DeValue::Array([rule].into_iter().collect()));
                }
            }
            value => part(value),
        }
    }
    parts
}

impl Problem {
    pub(super) fn of(text: &str, error: &Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            text: error.message().replace('\n', " "),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, text } = self;
        write!(f, "line {line}, column {column}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_mistake_is_found_at_its_place() {
        let text = "[defaults]\nmode = \"strict\"\n\n[daemon]\ndrain = \"10\"\nstate = \"/ä\"\n\n\
                    [[egress]]\nmatch = {}\ndecision = \"no\"\n\n\
                    [[egress]]\nmatch = { cidr = \"x\" }\ndecision = \"allow\"\n\n[other]\n";
        let found = problems(text);
        let lines: Vec<usize> = found.iter().map(|problem| problem.line).collect();
        assert_eq!(lines.len(), 6, "{found:#?}");
        for line in [2, 5, 6, 10, 13, 16] {
            assert!(lines.contains(&line), "{line}: {found:#?}");
        }
        assert_eq!(problems("\n[defaults").len(), 1);
        assert_eq!(problems("\n[defaults")[0].line, 2);
    }

    proptest! {
        #[test]
        fn there_are_problems_exactly_if_it_can_t_be_used(
            lines in prop::collection::vec(prop::sample::select(vec![
                "[defaults]", "mode = \"audit\"", "mode = \"x\"", "[daemon]", "drain = \"1s\"",
                "drain = 1", "[[egress]]", "match = {}", "decision = \"deny\"", "[", "ä = 1",
            ]), 0..8),
        ) {
            let text = lines.join("\n");
            let usable = toml::from_str::<Config>(&text).is_ok();
            let found = problems(&text);
            prop_assert_eq!(found.is_empty(), usable, "{} {:?}", text, found);
        }
    }
}
