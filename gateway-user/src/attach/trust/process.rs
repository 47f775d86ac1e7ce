//! What a process uses, or may come to use, as the kernel tells of it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::places::{LIBRARIES, VARIABLES};
use crate::{attach::root::Root, limits};

/// A process that runs a program.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    command: Vec<u8>,
}

impl Process {
    /// `None` for one that has ended, or is only about to become its program.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let command = read(pid, "cmdline");
        (!command.is_empty()).then_some(Self { pid, command })
    }

    /// Itself, and what it runs: it may become another program.
    pub(super) fn identity(&self) -> (u32, u64) {
        let mut hasher = DefaultHasher::new();
        self.command.hash(&mut hasher);
        (self.pid, hasher.finish())
    }

    /// The bundles that its environment names, and those of libraries that it uses or may load.
    pub(super) fn bundles(&self, root: &Root) -> (Vec<(&'static str, PathBuf)>, BTreeSet<PathBuf>) {
        let environment = read(self.pid, "environ");
        let variable = |name: &str| {
            let entries = environment.split(|byte| *byte == 0);
            let values =
                entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            values.last().unwrap_or_default()
        };
        let named =
            VARIABLES.into_iter().filter_map(|name| Some((name, below_root(variable(name))?)));
        let prefixes = self.prefixes(variable);
        let mut packages: BTreeSet<PathBuf> = paths(variable("PYTHONPATH")).collect();
        packages.extend(prefixes.iter().flat_map(|prefix| packages_of(root, prefix)));
        packages.extend(mapped(&read(self.pid, "maps")));
        let libraries = packages.iter().flat_map(|directory| LIBRARIES.map(|l| directory.join(l)));
        // And where conda keeps the one of its OpenSSL.
        let conda = prefixes.iter().map(|prefix| prefix.join("ssl/cacert.pem"));
        (named.collect(), libraries.chain(conda).collect())
    }

    /// Where Python may be installed that it runs, or would run.
    fn prefixes<'e>(&self, variable: impl Fn(&str) -> &'e [u8]) -> BTreeSet<PathBuf> {
        let environments = [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX")];
        let mut prefixes: BTreeSet<PathBuf> =
            environments.into_iter().filter_map(below_root).collect();
        prefixes.extend(below_root(variable("HOME")).map(|home| home.join(".local")));
        let first = self.command.split(|byte| *byte == 0).next().unwrap_or_default();
        let program = fs::read_link(format!("/proc/{}/exe", self.pid)).ok();
        let programs = program.iter().map(|path| path.as_os_str().as_bytes()).chain([first]);
        // `PREFIX/bin/python`; the first word leads into a virtual environment more often than not.
        prefixes.extend(programs.filter_map(below_root).filter_map(|path| above(&path, 2)));
        prefixes.extend(paths(variable("PATH")).filter_map(|directory| above(&directory, 1)));
        prefixes
    }
}

/// A file of the kernel's about a process; empty once the process has ended.
fn read(pid: u32, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/{name}")) {
        // What was read before it ended is of no use either.
        let _ = file.take(limits::TRUST_PROCESS_BYTES).read_to_end(&mut bytes);
    }
    bytes
}

/// `PREFIX/lib/python3.N/site-packages` and what distributions have in its place.
fn packages_of(root: &Root, prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64"] {
        let lib = prefix.join(lib);
        let entries = root.entries(&lib, limits::TRUST_NAMES).unwrap_or_default();
        let names = entries.iter().map(|entry| &entry.name);
        for name in names.filter(|name| name.as_bytes().starts_with(b"python3")) {
            found.extend(["site-packages", "dist-packages"].map(|dir| lib.join(name).join(dir)));
        }
    }
    found
}

/// Every directory above a mapped library: one of them is that of its packages, whatever its name.
fn mapped(maps: &[u8]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'/') else { continue };
        let path = Path::new(OsStr::from_bytes(&line[at..]));
        // Extension modules are `NAME.cpython-….so` or `NAME.abi3.so`; the system's are `….so.N`.
        if path.extension().is_some_and(|end| end == "so") {
            let above = path.ancestors().skip(2).take(PACKAGE_DEPTH);
            found.extend(above.filter_map(|path| below_root(path.as_os_str().as_bytes())));
        }
    }
    found
}

/// As deep as extension modules are in their packages.
const PACKAGE_DEPTH: usize = 4;

fn paths(list: &[u8]) -> impl Iterator<Item = PathBuf> {
    list.split(|byte| *byte == b':').filter_map(below_root)
}

/// An absolute path, as one below a root; relative ones are not followed.
fn below_root(path: &[u8]) -> Option<PathBuf> {
    let path = path.strip_prefix(b"/").filter(|path| !path.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

fn above(path: &Path, levels: usize) -> Option<PathBuf> {
    path.ancestors().nth(levels).filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_module_leads_to_the_directory_of_its_packages() {
        let maps =
            b"7f00-7f01 r-xp 00000000 08:01 1 /opt/agent/pydantic_core/_pydantic_core.abi3.so\n\
                     7f02-7f03 r-xp 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libssl.so.3\n\
                     7f04-7f05 rw-p 00000000 00:00 0 [heap]\n";
        let found = mapped(maps);
        assert!(found.contains(Path::new("opt/agent")), "{found:?}");
        assert!(!found.iter().any(|path| path.starts_with("usr")), "{found:?}");
    }

    #[test]
    fn what_a_process_names_and_where_its_interpreter_is_are_looked_at() {
        let directory = tempfile::tempdir().expect("a directory");
        let packages = directory.path().join("venv/lib/python3.11/site-packages");
        fs::create_dir_all(packages).expect("made");
        let root = Root::at(directory.path()).expect("a root");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("SSL_CERT_FILE", "/etc/own.pem")
            .env("REQUESTS_CA_BUNDLE", "relative.pem")
            .env("VIRTUAL_ENV", "/venv")
            .spawn()
            .expect("it runs");
        let process = std::iter::repeat_with(|| Process::of(child.id())).flatten().next();
        let process = process.expect("it becomes its program");
        let (named, libraries) = process.bundles(&root);
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(named.contains(&("SSL_CERT_FILE", "etc/own.pem".into())), "{named:?}");
        assert!(!named.iter().any(|(name, _)| *name == "REQUESTS_CA_BUNDLE"), "{named:?}");
        let certifi = "venv/lib/python3.11/site-packages/certifi/cacert.pem";
        assert!(libraries.contains(Path::new(certifi)), "{libraries:?}");
        assert!(Process::of(u32::MAX).is_none());
    }
}
