//! Where bundles are: the systems' own, those that processes name, and those of Python libraries.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
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
pub(super) const LIBRARIES: [&str; 3] =
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

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
}
