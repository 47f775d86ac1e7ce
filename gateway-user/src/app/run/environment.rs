//! What makes a command trust the gateway that decrypts its connections: files, and the variables
//! that name them. Nothing is mounted: the command sees this machine's own files.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    app::gateway::node_bundle,
    attach::trust::{self, VARIABLES},
};

/// The files. They are removed when it is dropped, so it must outlive the command.
#[derive(Debug)]
pub(super) struct Environment {
    directory: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

impl Environment {
    /// Writes the files, with `anchors` (PEM) added to what the variables name already, as `variable`
    /// tells, and to this machine's certificates where they name nothing.
    pub(super) fn make(
        directory: PathBuf,
        anchors: &str,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> io::Result<Self> {
        let mut environment = Self { directory, variables: Vec::new() };
        // Of a process of the same pid that was killed.
        environment.clear()?;
        let certificates = environment.directory.join("certs");
        fs::create_dir_all(&certificates)?;
        for directory in [&environment.directory, &certificates] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        }
        let named = |name: &str| variable(name).filter(|value| !value.is_empty());
        let own = match named(OPENSSL) {
            Some(path) => read(path.as_ref())?,
            None => node_bundle()?,
        };
        write(&environment.own_bundle(), &own)?;
        write(&certificates.join("turnpike.pem"), anchors.as_bytes())?;
        for name in VARIABLES {
            let before = match (name, named(name)) {
                (OPENSSL, _) => own.clone(),
                (_, Some(path)) => read(path.as_ref())?,
                // Node has certificates of its own, to which it adds these.
                (NODE, None) => Vec::new(),
                (REQUESTS, None) => own.clone(),
                // Who does not set it does without it.
                (_, None) => continue,
            };
            let path = environment.directory.join(format!("{name}.pem"));
            write(&path, &trust::merged(&before, anchors).unwrap_or(before))?;
            environment.variables.push((name, path.into()));
        }
        let mut directories = certificates.into_os_string();
        directories.push(":");
        directories.push(named(DIRECTORY).unwrap_or_else(|| system_directory().into()));
        environment.variables.push((DIRECTORY, directories));
        Ok(environment)
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_os_str()))
    }

    /// What the command trusts by itself.
    pub(super) fn own_bundle(&self) -> PathBuf {
        self.directory.join("own.pem")
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("turnpike: {} could not be removed: {error}", self.directory.display());
        }
    }
}

/// What OpenSSL reads, and with it most programs.
const OPENSSL: &str = VARIABLES[0];
const REQUESTS: &str = VARIABLES[1];
const NODE: &str = VARIABLES[3];
/// What OpenSSL, Go and rustls look into besides.
const DIRECTORY: &str = "SSL_CERT_DIR";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fs::read(path).map_err(named)
}

/// Readable by whoever the command runs as.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Where this machine has its certificates one by one.
fn system_directory() -> &'static str {
    let known = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
    known.into_iter().find(|path| Path::new(path).is_dir()).unwrap_or(known[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
        made.expect("a certificate").cert.pem()
    }

    #[test]
    fn what_the_user_set_is_kept_and_ours_is_added() {
        let place = tempfile::tempdir().expect("a directory");
        let (theirs, anchors) = (certificate(), certificate());
        let path = place.path().join("theirs.pem");
        fs::write(&path, &theirs).expect("written");
        let directory = place.path().join("run-1.trust");
        let set = |name: &str| match name {
            "SSL_CERT_FILE" | "CURL_CA_BUNDLE" => Some(path.clone().into()),
            "SSL_CERT_DIR" => Some("/their/certs".into()),
            _ => None,
        };
        let environment = Environment::make(directory.clone(), &anchors, set).expect("made");
        let variable = |name| environment.variables().find(|v| v.0 == name).map(|v| v.1.to_owned());
        let count = |name| {
            let path = variable(name).expect("set");
            trust::certificates(&fs::read(path).expect("readable")).len()
        };
        assert_eq!(count("SSL_CERT_FILE"), 2);
        assert_eq!(count("CURL_CA_BUNDLE"), 2);
        assert_eq!(count("REQUESTS_CA_BUNDLE"), 2);
        assert_eq!(count("NODE_EXTRA_CA_CERTS"), 1);
        assert_eq!(variable("AWS_CA_BUNDLE"), None);
        let expected = format!("{}:/their/certs", directory.join("certs").display());
        assert_eq!(variable("SSL_CERT_DIR"), Some(expected.into()));
        assert_eq!(fs::read_to_string(environment.own_bundle()).expect("readable"), theirs);
        drop(environment);
        assert!(!directory.exists());
    }

    #[test]
    fn this_machine_s_certificates_are_kept_where_nothing_is_set() {
        let place = tempfile::tempdir().expect("a directory");
        let anchors = certificate();
        let environment =
            Environment::make(place.path().join("x"), &anchors, |_| None).expect("made");
        let (_, path) = environment.variables().next().expect("one");
        let found = trust::certificates(&fs::read(path).expect("readable")).len();
        let own = trust::certificates(&node_bundle().expect("this machine has some")).len();
        assert_eq!(found, own + 1);
    }
}
