//! The note beside the object: what it is, and what made it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CARGO, RUSTC, objcopy_path};
use crate::{process, setup};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sidecar {
    pub(super) object_sha256: String,
    pub(super) sources_sha256: String,
    pub(super) target: String,
    pub(super) flags: Vec<String>,
    pub(super) tools: Tools,
}

/// Each tool's own words about its version.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tools {
    rustc: String,
    cargo: String,
    bpf_linker: String,
    llvm: String,
}

impl Sidecar {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!("{} is not readable: `cargo xtask bpf` makes it", path.display())
        })?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{HEADER}{}", toml::to_string_pretty(self)?);
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}

impl Tools {
    pub(super) fn installed() -> Result<Self> {
        let version = |program: &Path| {
            process::output(Command::new(program).arg("--version"))
                .with_context(|| format!("{}: run `cargo xtask setup`", program.display()))
        };
        let llvm = version(&objcopy_path())?;
        Ok(Self {
            rustc: version(Path::new(RUSTC))?,
            cargo: version(Path::new(CARGO))?,
            bpf_linker: version(&setup::bpf_linker()?.path())?,
            llvm: llvm
                .lines()
                .map(str::trim)
                .find(|line| line.contains("version"))
                .unwrap_or(&llvm)
                .to_owned(),
        })
    }

    /// One line for each tool that is another one in `other`.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        [
            (&self.rustc, &other.rustc),
            (&self.cargo, &other.cargo),
            (&self.bpf_linker, &other.bpf_linker),
            (&self.llvm, &other.llvm),
        ]
        .into_iter()
        .filter(|(this, that)| this != that)
        .map(|(this, that)| format!("committed with {this}, here {that}"))
        .collect()
    }
}

/// A hash over the names and contents of all that the object is made from.
pub(super) fn sources_sha256(root: &Path) -> Result<String> {
    let mut files =
        vec![PathBuf::from("gateway-ebpf/Cargo.toml"), "gateway-ebpf/Cargo.lock".into()];
    for directory in ["gateway-ebpf/src", "gateway-common/src"] {
        collect(root, Path::new(directory), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let bytes = fs::read(root.join(&file)).with_context(|| file.display().to_string())?;
        hash.update(format!("{} {}\n", file.display(), bytes.len()));
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(root.join(directory)).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

const HEADER: &str = "\
# What turnpike.bpf.o is and what made it. Written by `cargo xtask bpf`; `cargo xtask bpf --check`
# rebuilds with the same tools and compares every byte.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(rustc: &str) -> Tools {
        let same = "1".to_owned();
        Tools { rustc: rustc.to_owned(), cargo: same.clone(), bpf_linker: same.clone(), llvm: same }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let note = Sidecar {
            object_sha256: sha256(b"object"),
            sources_sha256: sha256(b"sources"),
            target: "t".to_owned(),
            flags: vec!["--cfg=a=\"b\"".to_owned()],
            tools: tools("rustc 1"),
        };
        let path = std::env::temp_dir().join(format!("turnpike-sidecar-{}", std::process::id()));
        note.write(&path).expect("written");
        let read = Sidecar::read(&path).expect("read");
        fs::remove_file(&path).expect("removed");
        assert_eq!(read.tools, note.tools);
        assert_eq!(read.flags, note.flags);
        assert_eq!(read.object_sha256, note.object_sha256);
    }

    #[test]
    fn only_the_tool_that_differs_is_named() {
        assert_eq!(tools("a").differences(&tools("a")), Vec::<String>::new());
        assert_eq!(tools("a").differences(&tools("b")), ["committed with a, here b"]);
    }
}
