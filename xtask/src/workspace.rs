//! Where things are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root directory. Asked of cargo when it runs us, since one target directory may
/// serve two checkouts.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

/// The integration tests of the package in that directory, by name.
pub(crate) fn tests_of(package: &str) -> Result<Vec<String>> {
    let directory = root().join(package).join("tests");
    let shown = || directory.display().to_string();
    let files = fs::read_dir(&directory).with_context(shown)?;
    let paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    let sources = paths.iter().filter(|path| path.extension().is_some_and(|it| it == "rs"));
    let names = sources.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned));
    Ok(names.collect())
}

/// Where cargo builds the workspace.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root().join(target),
        None => root().join("target"),
    }
}

/// Where set-up keeps what it makes: `$XDG_CACHE_HOME/turnpike` or `~/.cache/turnpike`.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute()) {
        Some(cache) => PathBuf::from(cache),
        None => home()?.join(".cache"),
    };
    Ok(base.join("turnpike"))
}

/// Cargo's own directory, where the sources of dependencies are.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(home()?.join(".cargo")),
    }
}

fn home() -> Result<PathBuf> {
    env::home_dir().context("no home directory: set HOME")
}
