//! The paths (`a::b::c`) that a file mentions, one for each leaf of a `use`, those inside macro
//! calls included, which is why tokens are read and not syntax.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// How many inline modules (`mod tests { … }`) it is in.
    pub(super) depth: usize,
}

/// Every path of two segments or more.
pub(super) fn mentioned(tokens: &TokenStream) -> Vec<Mention> {
    let mut mentions = Vec::new();
    walk(tokens.clone(), 0, &mut mentions);
    mentions
}

fn walk(tokens: TokenStream, depth: usize, mentions: &mut Vec<Mention>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < trees.len() {
        if let Some(body) = module_body(&trees, at) {
            walk(body, depth + 1, mentions);
            at += 3;
            continue;
        }
        match &trees[at] {
            TokenTree::Ident(_) => at = path(&trees, at, &[], depth, mentions),
            TokenTree::Group(group) => {
                walk(group.stream(), depth, mentions);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads one path, or all paths of a `{a, b::c}` group, and gives the index after it.
fn path(
    trees: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    depth: usize,
    mentions: &mut Vec<Mention>,
) -> usize {
    let line = trees.get(at).map_or(0, |tree| tree.span().start().line);
    let mut segments = prefix.to_vec();
    loop {
        match trees.get(at) {
            Some(TokenTree::Ident(name)) => segments.push(name.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' && !segments.is_empty() => {
                segments.push("*".to_owned());
            }
            Some(TokenTree::Group(group))
                if group.delimiter() == Delimiter::Brace && !segments.is_empty() =>
            {
                let items: Vec<TokenTree> = group.stream().into_iter().collect();
                for item in items.split(|tree| is_punct(Some(tree), ',')) {
                    path(item, 0, &segments, depth, mentions);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        if !is_separator(trees, at) {
            break;
        }
        at += 2;
    }
    if segments.len() > 1 && segments.len() > prefix.len() {
        mentions.push(Mention { segments, line, depth });
    }
    at
}

/// The body of `mod name { … }`.
fn module_body(trees: &[TokenTree], at: usize) -> Option<TokenStream> {
    match trees.get(at..at + 3)? {
        [TokenTree::Ident(keyword), TokenTree::Ident(_), TokenTree::Group(body)]
            if keyword == "mod" && body.delimiter() == Delimiter::Brace =>
        {
            Some(body.stream())
        }
        _ => None,
    }
}

fn is_separator(trees: &[TokenTree], at: usize) -> bool {
    matches!(trees.get(at), Some(TokenTree::Punct(colon))
        if colon.as_char() == ':' && colon.spacing() == Spacing::Joint)
        && is_punct(trees.get(at + 1), ':')
}

fn is_punct(tree: Option<&TokenTree>, character: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

#[cfg(test)]
mod tests {
    use super::mentioned;

    fn paths(text: &str) -> Vec<String> {
        let tokens = text.parse().expect("tokens");
        mentioned(&tokens).iter().map(|mention| mention.segments.join("::")).collect()
    }

    #[test]
    fn a_use_tree_gives_its_leaves() {
        assert_eq!(
            paths("use crate::{call::{Call, ids::*}, limits as bounds, sys::self};"),
            ["crate::call::Call", "crate::call::ids::*", "crate::limits", "crate::sys::self"]
        );
    }

    #[test]
    fn paths_in_expressions_types_and_macros_count() {
        assert_eq!(
            paths("fn f(a: crate::a::A) -> b::B { g(c::d()) }"),
            ["crate::a::A", "b::B", "c::d"]
        );
        assert_eq!(paths("m!{ x => crate::a::A { y: 1 } }"), ["crate::a::A"]);
    }

    #[test]
    fn what_is_no_path_is_left_out() {
        assert_eq!(paths("pub(crate) struct A { b: u8 } // crate::c"), Vec::<String>::new());
        assert_eq!(paths("\"crate::a::b\""), Vec::<String>::new());
    }

    #[test]
    fn lines_and_inline_modules_are_counted() {
        let tokens = "\nmod tests {\n use super::*;\n}".parse().expect("tokens");
        let found = mentioned(&tokens);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].depth), (3, 1));
    }
}
