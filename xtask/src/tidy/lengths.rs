//! How long a file and a function may be.

use std::ffi::OsStr;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};

use super::Finding;
use super::sources::Source;

/// Lines of a file without its test module.
const FILE_LINES: usize = 500;
/// Lines from `fn` to the closing brace.
const FUNCTION_LINES: usize = 70;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.lines - source.syntax.items.iter().map(test_lines).sum::<usize>();
    let is_test = source.path.file_stem() == Some(OsStr::new("tests"));
    if lines > FILE_LINES && !is_test {
        let text = format!("{lines} lines without tests: split it ({FILE_LINES} at most)");
        findings.push(Finding::new(&source.path, 1, text));
    }
    let mut functions = Functions { source, findings };
    functions.visit_file(&source.syntax);
    functions.findings
}

struct Functions<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line + 1 - first;
        if lines > FUNCTION_LINES {
            let name = &signature.ident;
            let text = format!("`{name}` has {lines} lines: split it ({FUNCTION_LINES} at most)");
            self.findings.push(Finding::new(&self.source.path, first, text));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Lines of an item that is only there for tests.
fn test_lines(item: &Item) -> usize {
    match item {
        Item::Mod(module) if module.attrs.iter().any(is_cfg_test) => {
            let span = item.span();
            span.end().line + 1 - span.start().line
        }
        _ => 0,
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        check(&Source::parse("a.rs", text).expect("parses"))
    }

    #[test]
    fn a_function_may_have_70_lines_and_no_more() {
        let function =
            |lines: usize| format!("// before\nfn f() {{\n{}}}\n", "f();\n".repeat(lines - 2));
        assert!(findings(&function(70)).is_empty());
        let found = findings(&function(71));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }

    #[test]
    fn methods_and_default_methods_count() {
        let body = "f();\n".repeat(70);
        assert_eq!(findings(&format!("impl A {{ fn f() {{\n{body}}} }}")).len(), 1);
        assert_eq!(findings(&format!("trait A {{ fn f() {{\n{body}}} }}")).len(), 1);
    }

    #[test]
    fn a_file_may_have_500_lines_without_tests() {
        let lines = "// line\n".repeat(499);
        assert!(findings(&format!("{lines}fn f() {{}}\n")).is_empty());
        assert_eq!(findings(&format!("{lines}\nfn f() {{}}\n")).len(), 1);
        let tests = "#[cfg(test)]\nmod tests {\n\n\n}\n";
        assert!(findings(&format!("{lines}fn f() {{}}\n{tests}")).is_empty());
    }
}
