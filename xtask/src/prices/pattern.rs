//! Patterns for names, from the clauses and regular expressions that the data has. Ours know `*` for
//! any characters, `#` for a digit, `!` in front for "not", and a space between what must all fit.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Context, Result, bail, ensure};

use super::source::Clause;

/// The patterns of which one must fit.
pub(super) fn of_clause(clause: &Clause) -> Result<Vec<String>> {
    Ok(match clause {
        Clause::Equals { equals } => vec![plain(equals)?],
        Clause::StartsWith { starts_with } => vec![plain(starts_with)? + "*"],
        Clause::EndsWith { ends_with } => vec!["*".to_owned() + &plain(ends_with)?],
        Clause::Contains { contains } => vec![format!("*{}*", plain(contains)?)],
        Clause::Regex { regex } => of_regex(regex)?,
        Clause::Or { or_ } => {
            let mut all = Vec::new();
            for pattern in or_.iter().map(of_clause).collect::<Result<Vec<_>>>()?.concat() {
                if !all.contains(&pattern) {
                    all.push(pattern);
                }
            }
            all
        }
        Clause::And { and_ } => {
            let mut all = vec![String::new()];
            for clause in and_ {
                let more = of_clause(clause)?;
                all = all.iter().flat_map(|one| more.iter().map(|more| both(one, more))).collect();
            }
            all
        }
    })
}

/// The hosts that a regular expression for URLs fits, and whether it looks at their paths too.
pub(super) fn hosts(regex: &str) -> Result<(Vec<String>, bool)> {
    let rest = regex.strip_prefix("(https?://)?").or_else(|| regex.strip_prefix("https://"));
    let rest = rest.with_context(|| format!("{regex}: it does not begin with a scheme"))?;
    let (mut hosts, mut paths) = (BTreeSet::new(), false);
    for Branch { text, ended } in alternatives(&mut rest.chars().peekable(), regex)? {
        match text.split_once('/') {
            Some((host, path)) => {
                paths |= !path.is_empty();
                hosts.insert(host.to_owned());
            }
            None if !ended && text.ends_with('.') => drop(hosts.insert(text + "*")),
            None => drop(hosts.insert(text)),
        }
    }
    Ok((hosts.into_iter().collect(), paths))
}

fn both(one: &str, other: &str) -> String {
    if one.is_empty() { other.to_owned() } else { format!("{one} {other}") }
}

fn plain(text: &str) -> Result<String> {
    ensure!(!text.contains(['*', '#', '!', ' ']), "{text:?} can't be told from a pattern");
    Ok(text.to_lowercase())
}

/// One way to read a regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Branch {
    text: String,
    /// Whether nothing may follow (`$`).
    ended: bool,
}

impl Branch {
    fn pattern(&self) -> String {
        if self.ended { self.text.clone() } else { format!("{}*", self.text) }
    }

    fn then(&self, next: &Self) -> Self {
        Self { text: format!("{}{}", self.text, next.text), ended: self.ended || next.ended }
    }
}

fn of_regex(regex: &str) -> Result<Vec<String>> {
    let rest = regex.strip_prefix('^').with_context(|| format!("{regex}: it is not anchored"))?;
    let (not, rest) = match rest.strip_prefix("(?!") {
        Some(rest) => {
            let mut chars = rest.chars().peekable();
            let not = alternatives(&mut chars, regex)?;
            ensure!(chars.next() == Some(')'), "{regex}: a group does not end");
            (not, chars.collect::<String>())
        }
        None => (Vec::new(), rest.to_owned()),
    };
    let not: Vec<_> = not.iter().map(|branch| format!("!{}", branch.pattern())).collect();
    let mut chars = rest.chars().peekable();
    let branches = alternatives(&mut chars, regex)?;
    ensure!(chars.next().is_none(), "{regex}: a group ends that did not begin");
    let not = not.join(" ");
    let all: BTreeSet<_> = branches
        .iter()
        .map(|branch| match branch.pattern().as_str() {
            "*" if !not.is_empty() => not.clone(),
            pattern if not.is_empty() => pattern.to_owned(),
            pattern => both(pattern, &not),
        })
        .collect();
    Ok(all.into_iter().collect())
}

/// Up to the end, or to the end of the group.
fn alternatives(chars: &mut Peekable<Chars<'_>>, regex: &str) -> Result<Vec<Branch>> {
    let mut all = Vec::new();
    let mut branches = vec![Branch::default()];
    while let Some(&next) = chars.peek() {
        match next {
            ')' => break,
            '|' => {
                chars.next();
                all.append(&mut branches);
                branches = vec![Branch::default()];
            }
            _ => {
                let piece = piece(chars, regex)?;
                branches = branches
                    .iter()
                    .flat_map(|branch| piece.iter().map(|piece| branch.then(piece)))
                    .collect();
                ensure!(branches.len() <= MOST_BRANCHES, "{regex}: too many ways to read it");
            }
        }
    }
    all.append(&mut branches);
    Ok(all)
}

/// One character, class or group, with what says how often it comes.
fn piece(chars: &mut Peekable<Chars<'_>>, regex: &str) -> Result<Vec<Branch>> {
    let text = |text: String| vec![Branch { text, ended: false }];
    let mut piece = match chars.next().context("a pattern that ends early")? {
        '$' => return Ok(vec![Branch { text: String::new(), ended: true }]),
        '.' => {
            ensure!(chars.next() == Some('*'), "{regex}: a dot that is not `.*`");
            text("*".to_owned())
        }
        '\\' => match chars.next() {
            Some('d') => text("#".repeat(repeats(chars)?)),
            Some(escaped) if !escaped.is_alphanumeric() => text(escaped.to_string()),
            _ => bail!("{regex}: an escape that is not known here"),
        },
        '[' => {
            let class: String = chars.by_ref().take_while(|&character| character != ']').collect();
            if chars.next_if(|next| matches!(next, '+' | '*')).is_some() {
                text("*".to_owned())
            } else {
                ensure!(!class.starts_with('^'), "{regex}: a class of one other character");
                let each: BTreeSet<_> = class.to_lowercase().chars().collect();
                each.into_iter().flat_map(|each| text(each.to_string())).collect()
            }
        }
        '(' => {
            if chars.next_if_eq(&'?').is_some() {
                ensure!(chars.next() == Some(':'), "{regex}: a group that is not known here");
            }
            let inside = alternatives(chars, regex)?;
            ensure!(chars.next() == Some(')'), "{regex}: a group does not end");
            inside
        }
        other => text(plain(&other.to_string())?),
    };
    if chars.next_if_eq(&'?').is_some() {
        piece.push(Branch::default());
    }
    ensure!(!matches!(chars.peek(), Some('*' | '+' | '{')), "{regex}: what may come often");
    Ok(piece)
}

/// `{8}`, or nothing, which is once.
fn repeats(chars: &mut Peekable<Chars<'_>>) -> Result<usize> {
    if chars.next_if_eq(&'{').is_none() {
        return Ok(1);
    }
    let number: String = chars.by_ref().take_while(|&character| character != '}').collect();
    Ok(number.parse()?)
}

/// Ways to read one regular expression.
const MOST_BRANCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_become_patterns() {
        for (regex, patterns) in [
            (
                r"^claude-opus-5[-@]\d{8}$",
                &["claude-opus-5-########", "claude-opus-5@########"][..],
            ),
            (r"^gemini-3\.5-flash-\d", &["gemini-3.5-flash-#*"]),
            (r"^o[134]", &["o1*", "o3*", "o4*"]),
            (r"^(?!.*-[tT][tT][sS](?:$|-))", &["!*-tts !*-tts-*"]),
            (r"^(?![^/]+/)(?:labs-)?mistral", &["labs-mistral* !*/*", "mistral* !*/*"]),
            (r"^(typesafe/)?jev(-\d{2})?$", &["jev", "jev-##", "typesafe/jev", "typesafe/jev-##"]),
        ] {
            assert_eq!(of_regex(regex).expect(regex), patterns);
        }
        for regex in ["gpt", "^a+", "^[^a]", r"^\w", "^(a", "^a)", "^."] {
            assert!(of_regex(regex).is_err(), "{regex}");
        }
    }

    #[test]
    fn urls_become_hosts() {
        for (regex, wanted, paths) in [
            (r"https://api\.openai\.com", &["api.openai.com"][..], false),
            (r"https://api\.moonshot\.", &["api.moonshot.*"], false),
            (r"https://(.*\.)?googleapis\.com", &["*.googleapis.com", "googleapis.com"], false),
            (
                r"https://[^/]+\.modal\.(?:run|direct)(?:/|$)",
                &["*.modal.direct", "*.modal.run"],
                false,
            ),
            (r"https://router\.huggingface\.co/groq", &["router.huggingface.co"], true),
        ] {
            assert_eq!(
                hosts(regex).expect(regex),
                (wanted.iter().map(ToString::to_string).collect(), paths)
            );
        }
    }

    #[test]
    fn clauses_combine() {
        let starts = |text: &str| Clause::StartsWith { starts_with: text.into() };
        let ends = |text: &str| Clause::EndsWith { ends_with: text.into() };
        let clause = Clause::And {
            and_: vec![Clause::Or { or_: vec![starts("A"), starts("b")] }, ends("c")],
        };
        assert_eq!(of_clause(&clause).expect("patterns"), ["a* *c", "b* *c"]);
        assert!(of_clause(&starts("a*")).is_err());
    }
}
