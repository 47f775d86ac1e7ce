//! Where `unsafe` may be: the compiler's lint can be allowed anywhere, this can't.

use proc_macro2::{TokenStream, TokenTree};

use super::Finding;
use super::sources::Source;

/// BPF programs, the types they share with userspace, and the wrappers of system calls.
const ALLOWED: &[&str] =
    &["gateway-ebpf", "gateway-common", "gateway-user/src/sys.rs", "gateway-user/src/sys"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if ALLOWED.iter().any(|allowed| source.path.starts_with(allowed)) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    collect(source.tokens.clone(), &mut lines);
    lines
        .into_iter()
        .map(|line| {
            let text = "`unsafe` belongs in gateway-user/src/sys.rs, behind a safe function";
            Finding::new(&source.path, line, text.to_owned())
        })
        .collect()
}

fn collect(tokens: TokenStream, lines: &mut Vec<usize>) {
    for tree in tokens {
        match tree {
            TokenTree::Ident(word) if word == "unsafe" => lines.push(word.span().start().line),
            TokenTree::Group(group) => collect(group.stream(), lines),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::parse(path, text).expect("parses")).iter().map(|found| found.line).collect()
    }

    #[test]
    fn unsafe_is_found_wherever_it_hides() {
        let text = "fn f() {\n unsafe { g() }\n}\nunsafe impl A for B {}\nm!(\n unsafe {});";
        assert_eq!(lines("gateway-user/src/attach.rs", text), [2, 4, 6]);
        assert!(
            lines("gateway-user/src/attach.rs", "// unsafe\nconst A: &str = \"unsafe\";")
                .is_empty()
        );
    }

    #[test]
    fn unsafe_may_be_where_it_must() {
        for path in
            ["gateway-ebpf/src/main.rs", "gateway-common/src/lib.rs", "gateway-user/src/sys.rs"]
        {
            assert!(lines(path, "unsafe impl A for B {}").is_empty(), "{path}");
        }
        assert_eq!(lines("gateway-user/src/system.rs", "unsafe impl A for B {}"), [1]);
    }
}
