//! `docs/dialects.md` is the table of what is shown of each dialect: every cell names its test, by the
//! path of its function, and every test that is named is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item};

use super::Finding;
use super::sources::Source;

const TABLE: &str = "docs/dialects.md";
/// What a cell holds where an API lacks it.
const LACKING: &str = "–";

pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<Finding>> {
    let path = root.join(TABLE);
    if !path.is_file() {
        return Ok(vec![Finding::new(Path::new(TABLE), 1, "missing: write the table".to_owned())]);
    }
    let tests: BTreeSet<String> = sources.iter().flat_map(tests).collect();
    Ok(compare(&fs::read_to_string(path)?, &tests))
}

fn compare(table: &str, tests: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let finding = |line, text| Finding::new(Path::new(TABLE), line, text);
    for (line, row) in table.lines().enumerate().filter(|(_, line)| is_row(line)) {
        let line = line + 1;
        for cell in row.trim_matches('|').split('|').skip(1).map(str::trim) {
            let mut named = cell.split('`').skip(1).step_by(2).peekable();
            if named.peek().is_none() && cell != LACKING {
                findings.push(finding(line, format!("\"{cell}\" names no test")));
            }
            let gone = named.filter(|name| !tests.contains(*name));
            findings.extend(
                gone.map(|name| {
                    finding(line, format!("names the test {name}, which is not there"))
                }),
            );
        }
    }
    findings
}

/// Of a table, beside its head, which is in bold.
fn is_row(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| **") && !line.starts_with("| ---")
}

/// The tests of a file by their paths: from the crate on, or from the file of an integration test.
fn tests(source: &Source) -> Vec<String> {
    let file = source.path.with_extension("");
    let modules: Vec<&str> = file.iter().skip(2).filter_map(|part| part.to_str()).collect();
    let mut found = Vec::new();
    collect(&source.syntax.items, &modules.join("::"), &mut found);
    found
}

fn collect(items: &[Item], module: &str, found: &mut Vec<String>) {
    for item in items {
        match item {
            Item::Fn(function) if function.attrs.iter().any(is_test) => {
                found.push(format!("{module}::{}", function.sig.ident));
            }
            Item::Mod(inner) => {
                if let Some((_, items)) = &inner.content {
                    collect(items, &format!("{module}::{}", inner.ident), found);
                }
            }
            Item::Macro(call) if call.mac.path.is_ident("proptest") => {
                let names = functions(call.mac.tokens.clone());
                found.extend(names.map(|name| format!("{module}::{name}")));
            }
            _ => {}
        }
    }
}

/// `#[test]`, `#[tokio::test]`.
fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "test")
}

/// The names of the functions in what a macro is given.
fn functions(tokens: TokenStream) -> impl Iterator<Item = String> {
    let mut after_fn = false;
    tokens.into_iter().filter_map(move |token| {
        let TokenTree::Ident(word) = token else {
            after_fn = false;
            return None;
        };
        let named = after_fn.then(|| word.to_string());
        after_fn = word == "fn";
        named
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(table: &str) -> Vec<String> {
        let text = "#[test] fn a() {} mod tests { #[tokio::test] async fn b() {} fn c() {} }
            proptest! { #[test] fn d(x in 0..3) { e(x) } }";
        let source = Source::parse("gateway-user/src/dialect/edit.rs", text).expect("Rust");
        let tests = tests(&source).into_iter().collect();
        compare(table, &tests).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn every_test_that_is_named_must_be_there() {
        let good =
            "| **x** | **y** |\n| --- | --- |\n| z | `dialect::edit::a`, `dialect::edit::d` |
| z | `dialect::edit::tests::b` |\n| z | – |\nNot `a::row`.";
        assert_eq!(texts(good), Vec::<String>::new());
        let gone = "| z | `dialect::edit::tests::c` |";
        assert_eq!(texts(gone), ["names the test dialect::edit::tests::c, which is not there"]);
    }

    #[test]
    fn every_cell_must_name_one() {
        assert_eq!(texts("| z | soon |"), ["\"soon\" names no test"]);
    }
}
