//! Who may import whom in `gateway-user`, tests included, and what pure modules must not know.
//!
//! Pure modules are given the time and do no I/O, so that every decision of theirs can be
//! replayed from a log; nothing in a lower layer knows one above it.

use std::path::{Component, Path};

use super::Finding;
use super::paths::{self, Mention};
use super::sources::Source;

/// Layer 1: the vocabulary.
const VOCABULARY: &[&str] = &["call", "limits", "drain"];
/// Layer 2: decisions. They never import each other; `proxy` puts them in sequence.
const PURE: &[&str] = &[
    "dialect", "lineage", "names", "policy", "price", "tokens", "ledger", "cache", "routing",
    "cancel",
];
/// What holds each module's part of the file, so it may name the vocabulary and the pure modules.
const CONFIG: &[&str] = &["config"];
/// Safe wrappers of system calls: the one place with `unsafe`.
const SYSTEM: &[&str] = &["sys"];
/// Layer 3: effects. They never import each other.
const EFFECTS: &[&str] = &["attach", "authority", "telemetry", "state", "store", "gpu", "cluster"];

/// The modules of each row may import the modules of its lists, and each module itself.
const RULES: &[(&[&str], &[&[&str]])] = &[
    (VOCABULARY, &[VOCABULARY]),
    (PURE, &[VOCABULARY]),
    (SYSTEM, &[VOCABULARY]),
    (CONFIG, &[VOCABULARY, PURE]),
    (EFFECTS, &[VOCABULARY, PURE, CONFIG, SYSTEM]),
    (&["proxy"], &[VOCABULARY, PURE, CONFIG, SYSTEM]),
    (&["control"], &[VOCABULARY, PURE, CONFIG, SYSTEM, EFFECTS]),
];

/// These build everything, so they import everything.
const FREE: &[&str] = &["app", "main", "lib"];

/// Paths that pure modules must not mention: clocks, sockets, files and aya.
const IMPURE: &[&[&str]] = &[
    &["aya"],
    &["rustix"],
    &["socket2"],
    &["std", "fs"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "UdpSocket"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["tokio", "fs"],
    &["tokio", "net"],
    &["tokio", "time"],
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Some(file) = Place::of(&source.path) else { return Vec::new() };
    if FREE.contains(&file.module.as_str()) {
        return Vec::new();
    }
    let finding = |line, text| Finding::new(&source.path, line, text);
    let Some(allowed) = allowed(&file.module) else {
        let text = format!("module `{}` has no layer: give it one in {}", file.module, file!());
        return vec![finding(1, text)];
    };
    let mut findings = Vec::new();
    for mention in paths::mentioned(&source.tokens) {
        if let Some(target) = in_this_crate(&mention, file.depth)
            && target != file.module
            && !allowed.contains(&target)
        {
            let text = format!("`{}` may not import `crate::{target}`", file.module);
            findings.push(finding(mention.line, text));
        }
        if PURE.contains(&file.module.as_str()) && is_impure(&mention) {
            let text = format!("`{}` is pure: no `{}`", file.module, mention.segments.join("::"));
            findings.push(finding(mention.line, text));
        }
    }
    findings
}

/// The module that a file of `gateway-user` belongs to, and how deep in it the file is:
/// `src/call/ids.rs` is `crate::call::ids`, two deep.
struct Place {
    module: String,
    depth: usize,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let inside = path.strip_prefix("gateway-user/src").ok()?.with_extension("");
        let names: Vec<&str> = inside
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        Some(Self { module: (*names.first()?).to_owned(), depth: names.len() })
    }
}

fn allowed(module: &str) -> Option<Vec<&'static str>> {
    let (_, lists) = RULES.iter().find(|(modules, _)| modules.contains(&module))?;
    Some(lists.iter().flat_map(|list| list.iter().copied()).collect())
}

/// The top-level module of this crate that a path leads to, if it starts at the crate's root:
/// as `crate::…`, or as `super::…` from as deep as it takes.
fn in_this_crate(mention: &Mention, file_depth: usize) -> Option<&str> {
    let segments = mention.segments.strip_prefix(&["self".to_owned()][..]);
    let segments = segments.unwrap_or(&mention.segments);
    let root = if segments.first()? == "crate" {
        1
    } else {
        let up = segments.iter().take_while(|segment| *segment == "super").count();
        (up > 0 && up == file_depth + mention.depth).then_some(up)?
    };
    segments.get(root).map(String::as_str)
}

fn is_impure(mention: &Mention) -> bool {
    IMPURE.iter().any(|impure| {
        mention.segments.len() >= impure.len()
            && mention.segments.iter().zip(*impure).all(|(segment, name)| segment == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).expect("parses");
        check(&source).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn pure_modules_import_the_vocabulary_and_never_each_other() {
        let allowed = "use crate::{call::Call, limits, lineage::Step}; use super::prefix;";
        assert!(findings("gateway-user/src/lineage/place.rs", allowed).is_empty());
        assert_eq!(
            findings("gateway-user/src/lineage.rs", "fn f() { crate::dialect::detect() }"),
            ["`lineage` may not import `crate::dialect`"]
        );
    }

    #[test]
    fn the_root_is_not_reached_through_super_either() {
        let broken = ["`lineage` may not import `crate::store`"];
        assert_eq!(findings("gateway-user/src/lineage.rs", "use super::store::Store;"), broken);
        assert_eq!(findings("gateway-user/src/lineage/a.rs", "use super::super::store;"), broken);
        let test = "#[cfg(test)] mod tests { use super::super::store; use super::*; }";
        assert_eq!(findings("gateway-user/src/lineage.rs", test), broken);
        assert!(findings("gateway-user/src/lineage/a.rs", "use super::store;").is_empty());
    }

    #[test]
    fn a_glob_of_the_root_is_no_way_around() {
        assert_eq!(findings("gateway-user/src/call.rs", "use crate::*;").len(), 1);
    }

    #[test]
    fn effects_proxy_and_control_keep_their_sides() {
        let proxy = "gateway-user/src/proxy/h1.rs";
        assert!(findings(proxy, "use crate::{lineage, dialect, sys, config, drain};").is_empty());
        assert_eq!(findings(proxy, "use crate::{attach, store, control, app};").len(), 4);
        assert_eq!(findings("gateway-user/src/store.rs", "use crate::attach;").len(), 1);
        assert!(findings("gateway-user/src/store.rs", "use crate::{lineage, sys};").is_empty());
        assert_eq!(findings("gateway-user/src/control/api.rs", "use crate::proxy;").len(), 1);
        assert!(findings("gateway-user/src/app.rs", "use crate::{proxy, control};").is_empty());
    }

    #[test]
    fn a_module_without_a_layer_is_reported() {
        assert_eq!(findings("gateway-user/src/extra.rs", "").len(), 1);
    }

    #[test]
    fn pure_modules_know_no_clock_and_no_socket() {
        let ledger = "gateway-user/src/ledger.rs";
        assert_eq!(findings(ledger, "use std::time::{Duration, Instant};").len(), 1);
        assert_eq!(findings(ledger, "use tokio::net::TcpStream;").len(), 1);
        assert!(findings(ledger, "use std::{net::IpAddr, time::Duration};").is_empty());
        assert!(findings("gateway-user/src/proxy.rs", "use std::time::Instant;").is_empty());
    }

    #[test]
    fn other_packages_are_not_concerned() {
        assert!(findings("xtask/src/tidy.rs", "use crate::report;").is_empty());
    }
}
