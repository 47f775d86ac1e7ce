//! `ARCHITECTURE.md` is the map of the code: it names every module, and nothing that is gone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Finding;
use super::sources::Source;

const MAP: &str = "ARCHITECTURE.md";
/// Directories whose every file is on the map.
const MAPPED: &[&str] = &["gateway-user/src", "gateway-ebpf/src"];

pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<Finding>> {
    let path = root.join(MAP);
    if !path.is_file() {
        return Ok(vec![Finding::new(Path::new(MAP), 1, "missing: write the map".to_owned())]);
    }
    let files: Vec<PathBuf> = sources.iter().map(|source| source.path.clone()).collect();
    Ok(compare(&fs::read_to_string(path)?, &files))
}

fn compare(map: &str, files: &[PathBuf]) -> Vec<Finding> {
    let named: Vec<(usize, &str)> = map
        .lines()
        .enumerate()
        .flat_map(|(index, line)| named_files(line).map(move |name| (index + 1, name)))
        .collect();
    let finding = |line, text| Finding::new(Path::new(MAP), line, text);
    let absent = files
        .iter()
        .filter(|file| MAPPED.iter().any(|directory| file.parent() == Some(Path::new(directory))))
        .filter(|file| !named.iter().any(|(_, name)| file.ends_with(name)))
        .map(|file| finding(1, format!("does not name {}", file.display())));
    let gone = named
        .iter()
        .filter(|(_, name)| !files.iter().any(|file| file.ends_with(name)))
        .map(|(line, name)| finding(*line, format!("names {name}, which is not there")));
    absent.chain(gone).collect()
}

/// The words of a line that name a Rust file: `attach.rs`, `call/ids.rs`.
fn named_files(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| {
        !(character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '/' | '.'))
    })
    .map(|word| word.trim_end_matches('.'))
    .filter(|word| word.len() > 3 && Path::new(word).extension().is_some_and(|end| end == "rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(map: &str) -> Vec<String> {
        let files =
            ["gateway-user/src/call.rs", "gateway-user/src/call/ids.rs", "xtask/src/bpf.rs"];
        let files = files.map(PathBuf::from);
        compare(map, &files).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn every_top_level_module_is_named() {
        assert!(texts("`call.rs` is the vocabulary.").is_empty());
        assert!(texts("See gateway-user/src/call.rs.").is_empty());
        assert_eq!(texts("a recall.rs-like word")[0], "does not name gateway-user/src/call.rs");
    }

    #[test]
    fn what_is_gone_is_not_named() {
        assert!(texts("call.rs, call/ids.rs, xtask/src/bpf.rs").is_empty());
        assert_eq!(texts("call.rs and gone.rs"), ["names gone.rs, which is not there"]);
    }
}
