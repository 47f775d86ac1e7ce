//! What would have a program trust this node's CA that does not.

use std::path::{Path, PathBuf};

use crate::proxy::{Distrust, Why};

/// One sentence: which process, what it refused, and what would help. `covered` are the files that
/// hold the CA already, as the process sees them.
pub(super) fn note(distrust: &Distrust, covered: &[PathBuf]) -> String {
    let Distrust { binary, host, pid, count, why, .. } = distrust;
    let path = binary.as_ref().map(|binary| binary.path.as_path());
    let program = path.map_or_else(|| "a process".into(), |path| path.display().to_string());
    let times = if *count == 1 { String::new() } else { format!(", {count} times") };
    let help = match why {
        Why::Incompatible => "its connections there can't be decrypted".into(),
        _ => help(path, covered),
    };
    let minutes = why.age().as_secs() / 60;
    format!(
        "{program} (pid {pid}) refused to be decrypted for {host}{times}: {why}; {help} (it is asked \
         again {minutes} minutes after it last refused, or when the agent is attached anew)"
    )
}

/// As its kind of program reads certificates: most do once, when they start or make a context.
fn help(binary: Option<&Path>, covered: &[PathBuf]) -> String {
    let name = binary.and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let file = match covered.first() {
        Some(path) => path.display().to_string(),
        None => {
            "FILE, where FILE holds its certificates and what `turnpike ca export` prints".into()
        }
    };
    match name {
        "node" | "nodejs" | "electron" => {
            format!("it reads its own list: restart it with NODE_EXTRA_CA_CERTS={file}")
        }
        "java" => "it reads a keystore: import what `turnpike ca export` prints with keytool \
                   -importcert -cacerts, and restart it"
            .into(),
        "deno" => format!("restart it with DENO_CERT={file}"),
        "git" | "git-remote-https" => format!("restart it with GIT_SSL_CAINFO={file}"),
        _ if name.starts_with("python") || name.starts_with("pypy") => format!(
            "a TLS context that it made before it was attached trusts what it did then: restart it, \
             and if it still refuses, with SSL_CERT_FILE={file} and REQUESTS_CA_BUNDLE={file}"
        ),
        _ => format!("restart it with SSL_CERT_FILE={file}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::Timestamp, proxy::Binary};

    fn noted(path: &str, why: Why, covered: &[&str]) -> String {
        let binary = Binary { path: path.into(), device: 1, inode: 2 };
        let distrust = Distrust {
            binary: Some(binary),
            host: "api.openai.com".into(),
            pid: 7,
            count: 3,
            why,
            last: Timestamp(1),
        };
        note(&distrust, &covered.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn each_kind_of_program_is_told_what_it_reads() {
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let text = noted("/usr/bin/node", Why::Alert(48), &[bundle]);
        assert!(text.contains("/usr/bin/node (pid 7)") && text.contains("api.openai.com, 3 times"));
        assert!(text.contains("unknown_ca"), "{text}");
        assert!(text.contains(&format!("NODE_EXTRA_CA_CERTS={bundle} (")), "{text}");
        assert!(text.contains("again 60 minutes after"), "{text}");
        let text = noted("/usr/bin/python3.11", Why::Left, &[bundle]);
        assert!(text.contains("restart it") && text.contains("REQUESTS_CA_BUNDLE"), "{text}");
        let text = noted("/opt/codex", Why::Alert(48), &[]);
        assert!(
            text.contains("SSL_CERT_FILE=FILE") && text.contains("turnpike ca export"),
            "{text}"
        );
        let text = noted("/opt/old", Why::Incompatible, &[bundle]);
        assert!(!text.contains("SSL_CERT_FILE"), "{text}");
    }
}
