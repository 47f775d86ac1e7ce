//! The Rust files that the rules are about.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use proc_macro2::TokenStream;

/// A parsed file. Its path is relative to the workspace's root.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) lines: usize,
    pub(super) tokens: TokenStream,
    pub(super) syntax: syn::File,
}

impl Source {
    pub(super) fn parse(path: impl Into<PathBuf>, text: &str) -> Result<Self> {
        let path = path.into();
        let tokens: TokenStream =
            text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let syntax =
            syn::parse2(tokens.clone()).with_context(|| format!("{}: not Rust", path.display()))?;
        Ok(Self { path, lines: text.lines().count(), tokens, syntax })
    }
}

pub(super) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for package in PACKAGES {
        if root.join(package).is_dir() {
            collect(root, Path::new(package), &mut paths)?;
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text =
                fs::read_to_string(root.join(&path)).with_context(|| path.display().to_string())?;
            Source::parse(path, &text)
        })
        .collect()
}

fn collect(root: &Path, directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(root.join(directory)).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                collect(root, &path, paths)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            paths.push(path);
        }
    }
    Ok(())
}

const PACKAGES: &[&str] =
    &["gateway-common", "gateway-ebpf", "gateway-user", "xtask", "tests", "fuzz"];
