//! Where bundles are: the systems' own, those that processes name, and those of Python libraries.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{attach::root::Root, limits};

/// What a bundle is to those who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Named by the environment of the first process, for OpenSSL.
    Named,
    /// The distribution's: what OpenSSL and what uses it read.
    System,
    /// A library's own: what programs that use it read.
    Library,
}

/// The bundles of distributions, as Go's `crypto/x509` (`root_linux.go`), curl's configure script and
/// OpenSSL's packages have them. Most are links to one another.
const SYSTEM: [&str; 12] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
    "etc/pki/tls/cacert.pem",
    "etc/pki/tls/cert.pem",
    "etc/ssl/certs/ca-bundle.crt",
    "etc/ca-certificates/extracted/tls-ca-bundle.pem",
    "var/lib/ca-certificates/ca-bundle.pem",
    "usr/lib/ssl/cert.pem",
    "usr/local/ssl/cert.pem",
];

/// What names a bundle in a process's environment, and who reads it. The first is what OpenSSL reads.
pub const VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "DENO_CERT",
    "NIX_SSL_CERT_FILE",
];

/// Bundles of Python libraries, below a directory of packages.
const LIBRARIES: [&str; 3] =
    ["certifi/cacert.pem", "botocore/cacert.pem", "grpc/_cython/_credentials/roots.pem"];

/// Below which packages are looked for, whoever uses them: what starts a moment from now has no time
/// to be looked at first.
const WALKED: [&str; 9] =
    ["usr/lib", "usr/local/lib", "usr/lib64", "opt", "app", "srv", "root", "home", "venv"];

/// Those of systems, below a root, in the order in which one is taken for the system's own.
pub fn of_system() -> impl Iterator<Item = PathBuf> {
    SYSTEM.into_iter().map(PathBuf::from)
}

/// Those of libraries anywhere below the usual directories. Bounded by
/// [`limits::TRUST_DIRECTORIES`]: what is deeper or later is found by who uses it.
pub(super) fn walked(root: &Root) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left: VecDeque<(PathBuf, usize)> =
        WALKED.into_iter().map(|directory| (PathBuf::from(directory), 0)).collect();
    for _ in 0..limits::TRUST_DIRECTORIES {
        let Some((directory, depth)) = left.pop_front() else { break };
        // It may be gone, or not be a directory.
        let entries = root.entries(&directory, limits::TRUST_NAMES).unwrap_or_default();
        let holds = |library: &str| {
            let package = library.split('/').next();
            entries.iter().any(|entry| entry.name.to_str() == package)
        };
        found.extend(
            LIBRARIES
                .into_iter()
                .filter(|library| holds(library))
                .map(|library| directory.join(library)),
        );
        if depth == WALK_DEPTH
            || ["site-packages", "dist-packages"].iter().any(|end| directory.ends_with(end))
        {
            continue;
        }
        let below = entries.into_iter().filter(|entry| entry.is_directory);
        let below = below.filter(|entry| !PASSED_OVER.iter().any(|name| entry.name == *name));
        left.extend(below.map(|entry| (directory.join(entry.name), depth + 1)));
    }
    found
}

/// As deep as `root/.local/share/uv/tools/NAME/lib/python3.13` reaches, and one for the packages.
const WALK_DEPTH: usize = 8;

/// What holds many directories and no Python packages.
const PASSED_OVER: [&str; 5] =
    ["node_modules", ".git", "__pycache__", "x86_64-linux-gnu", "aarch64-linux-gnu"];

/// What a process uses, or may come to use.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Bundles that its environment names.
    pub(super) named: Vec<(&'static str, PathBuf)>,
    pub(super) libraries: BTreeSet<PathBuf>,
}

/// Reads a process's environment, command line and mappings. `None` for one that has ended, or is
/// only about to become its program.
pub(super) fn used_by(pid: u32, root: &Root) -> Option<Used> {
    let read = |name: &str| -> Vec<u8> {
        let mut bytes = Vec::new();
        // It may end at any time: then there is nothing to find.
        if let Ok(file) = fs::File::open(format!("/proc/{pid}/{name}")) {
            let _ = file.take(limits::TRUST_PROCESS_BYTES).read_to_end(&mut bytes);
        }
        bytes
    };
    let command = read("cmdline");
    if command.is_empty() {
        return None;
    }
    let environment = read("environ");
    let variables: BTreeMap<&[u8], &[u8]> = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let at = entry.iter().position(|byte| *byte == b'=')?;
            Some((&entry[..at], &entry[at + 1..]))
        })
        .collect();
    let variable = |name: &str| variables.get(name.as_bytes()).copied().unwrap_or_default();
    let named = VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, below_root(variable(name))?)))
        .collect();

    let mut packages = BTreeSet::new();
    packages.extend(paths(variable("PYTHONPATH")));
    let mut prefixes: BTreeSet<PathBuf> = below_root(variable("VIRTUAL_ENV")).into_iter().collect();
    prefixes.extend(below_root(variable("CONDA_PREFIX")));
    prefixes.extend(below_root(variable("HOME")).map(|home| home.join(".local")));
    let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let programs = program.iter().map(|path| path.as_os_str().as_bytes()).chain([first]);
    // `PREFIX/bin/python`; the first word is a link into a virtual environment more often than not.
    prefixes.extend(programs.filter_map(below_root).filter_map(|path| above(&path, 2)));
    prefixes.extend(paths(variable("PATH")).filter_map(|directory| above(&directory, 1)));
    for prefix in &prefixes {
        packages.extend(packages_of(root, prefix));
    }
    packages.extend(mapped(&read("maps")));
    let libraries = packages.iter().flat_map(|directory| LIBRARIES.map(|l| directory.join(l)));
    let mut libraries: BTreeSet<PathBuf> = libraries.collect();
    // Where conda keeps the one of its OpenSSL.
    libraries.extend(prefixes.iter().map(|prefix| prefix.join("ssl/cacert.pem")));
    Some(Used { named, libraries })
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
        let path = Path::new(std::ffi::OsStr::from_bytes(&line[at..]));
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
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

fn above(path: &Path, levels: usize) -> Option<PathBuf> {
    path.ancestors().nth(levels).filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, "x").expect("written");
        }
        root
    }

    #[test]
    fn packages_are_found_wherever_they_were_put() {
        let files = [
            "usr/lib/python3/dist-packages/certifi/cacert.pem",
            "opt/agent/certifi/cacert.pem",
            "app/.venv/lib/python3.12/site-packages/certifi/cacert.pem",
            "root/.local/share/uv/tools/x/lib/python3.13/site-packages/botocore/cacert.pem",
            "opt/node_modules/certifi/cacert.pem",
        ];
        let directory = root(&files);
        let found = walked(&Root::at(directory.path()).expect("a root"));
        for file in &files[..4] {
            assert!(found.contains(Path::new(file)), "{file} in {found:?}");
        }
        assert!(!found.contains(Path::new(files[4])));
    }

    #[test]
    fn a_walk_ends() {
        let directory = root(&["opt/a/b/c/d/e/f/g/h/i/j/certifi/cacert.pem"]);
        std::os::unix::fs::symlink("..", directory.path().join("opt/a/loop")).expect("made");
        assert!(walked(&Root::at(directory.path()).expect("a root")).len() < 100);
    }

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
        let directory = root(&["venv/lib/python3.11/site-packages/certifi/cacert.pem"]);
        let root = Root::at(directory.path()).expect("a root");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("SSL_CERT_FILE", "/etc/own.pem")
            .env("REQUESTS_CA_BUNDLE", "relative.pem")
            .env("VIRTUAL_ENV", "/venv")
            .spawn()
            .expect("it runs");
        let used = std::iter::repeat_with(|| used_by(child.id(), &root)).flatten().next();
        let used = used.expect("it becomes its program");
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert_eq!(used.named, [("SSL_CERT_FILE", PathBuf::from("etc/own.pem"))]);
        let certifi = "venv/lib/python3.11/site-packages/certifi/cacert.pem";
        assert!(used.libraries.contains(Path::new(certifi)), "{used:?}");
        assert!(used_by(u32::MAX, &root).is_none());
    }
}
