//! The authority itself, and what a command under `turnpike run` trusts.

use std::{fs, path::Path, process::Command};

use turnpike_tests::{
    gateway::{Gateway, Mode, Place},
    machine,
};

use crate::{Site, bundle, on_this_machine, state};

#[test]
fn a_replaced_authority_is_trusted_beside_the_new_one() {
    let gateway = Gateway::start(Mode::Audit);
    let site = Site::new(&gateway);
    site.attach(&gateway);
    let config = gateway.place().config();
    let config = config.to_str().expect("our own path");
    let before = gateway.succeed(&["ca", "export", "--config", config]);
    gateway.succeed(&["ca", "rotate", "--config", config]);
    let after = gateway.succeed(&["ca", "export", "--config", config]);
    assert_ne!(before, after);
    let held = String::from_utf8(bundle(&site.container)).expect("PEM");
    assert!(held.contains(&before) && held.contains(&after));
    assert!(site.trusts(), "the leaf is still the old one's");
    assert_eq!(
        site.covers().len(),
        site.covers().iter().collect::<std::collections::BTreeSet<_>>().len()
    );
    gateway.detach(site.container.name());
    assert!(site.covers().is_empty());
}

#[test]
fn the_authority_is_shown_exported_and_replaced_without_a_gateway() {
    let place = Place::new(Mode::Audit);
    let config = place.config();
    let config = config.to_str().expect("our own path");
    let ca = |what: &[&str]| {
        machine::run(&mut place.command(&[&["ca"], what, &["--config", config]].concat()))
    };
    let shown: serde_json::Value = serde_json::from_str(&ca(&["show", "--json"])).expect("JSON");
    let path = state(&place).join("ca.pem");
    assert_eq!(shown["path"], path.to_str().expect("our own path"));
    let file = place.config().with_file_name("exported.pem");
    ca(&["export", "--out", file.to_str().expect("our own path")]);
    let exported = fs::read_to_string(&file).expect("it was written");
    assert_eq!(exported, ca(&["export"]));
    assert!(!exported.contains("PRIVATE"));
    let fingerprint = machine::run(
        Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&file),
    );
    let sha256 = shown["sha256"].as_str().expect("text");
    assert!(fingerprint.trim().ends_with(sha256), "{fingerprint} and {sha256}");
    assert!(ca(&["show"]).contains(sha256));
    assert!(!ca(&["rotate"]).contains(sha256));
    machine::sh(&format!("chmod 644 {}", path.display()));
    let refused = place.command(&["ca", "show", "--config", config]).output().expect("it runs");
    let line = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), line.trim_end().lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("chmod 600"), "{line}");
}

#[test]
fn a_command_that_is_run_trusts_the_gateway_and_what_it_trusted_before() {
    let place = Place::new(Mode::Audit);
    let names = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR"];
    let script = "import os, ssl, json; names = ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', \
                  'NODE_EXTRA_CA_CERTS', 'SSL_CERT_DIR']; own = ssl.create_default_context(); \
                  print(json.dumps({'count': len(own.get_ca_certs()), 'uid': os.getuid(), \
                  **{name: os.environ.get(name) for name in names}, \
                  'files': {name: open(os.environ[name]).read() for name in names[:3] if name in os.environ}}))";
    let run = |arguments: &[&str]| -> serde_json::Value {
        let mut command = place.run(arguments);
        for name in names {
            command.env_remove(name);
        }
        let output = command.args(["python3", "-c", script]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let before = on_this_machine();
    let without = run(&["--user", "nobody", "--decrypt", "off"]);
    assert!(without["SSL_CERT_FILE"].is_null() && without["NODE_EXTRA_CA_CERTS"].is_null());
    let with = run(&["--user", "nobody"]);
    assert_ne!(with["uid"], 0);
    let count = |found: &serde_json::Value| found["count"].as_u64().expect("a figure");
    assert_eq!(count(&with), count(&without) + 1);
    let config = place.config();
    let ca = machine::run(&mut place.command(&[
        "ca",
        "export",
        "--config",
        config.to_str().expect("text"),
    ]));
    for name in &names[..3] {
        assert!(with["files"][name].as_str().expect("a file").contains(&ca), "{name}");
    }
    assert!(with["SSL_CERT_DIR"].as_str().expect("set").ends_with(":/etc/ssl/certs"));
    assert!(!Path::new(with["SSL_CERT_FILE"].as_str().expect("set")).exists(), "they are removed");
    assert_eq!(on_this_machine(), before);
}
