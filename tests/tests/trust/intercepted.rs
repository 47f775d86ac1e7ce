//! The whole way, from a client in a container to a server that it trusts or does not.

use std::{fs, process::Command};

use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine, wait,
};

use crate::{HOST, SOON, SYSTEM, Site, leaf, root};

/// The whole way: the server's certificate is verified by what the container trusts, and the client is
/// shown one that it trusts in turn, by the rules of Python 3.13.
#[test]
fn an_intercepted_server_is_trusted_if_the_container_trusts_it() {
    let (authority, leaf) = foreign();
    let gateway = intercepting();
    let site = Site::with(&leaf);
    assert_eq!(site.get(&[]), "refused", "nobody trusts it yet");
    site.attach(&gateway);
    assert_eq!(site.get(&[]), "refused", "nor does the gateway, for it");
    gateway.detach(site.container.name());
    let own = root(&site.container).join(&SYSTEM[1..]);
    let before = fs::read_to_string(&own).expect("it is there");
    fs::write(&own, format!("{before}{authority}")).expect("it is the container's");
    assert_eq!(site.get(&[]), "hello");

    let observed = || {
        let agent = gateway.agent_json(site.container.name()).expect("it is attached");
        agent["coverage"]["connections_observed"].as_u64().expect("a figure")
    };
    site.attach(&gateway);
    assert_eq!(site.get(&["strict"]), "hello");
    assert!(site.curl().status.success());
    wait::until_true(SOON, "both to be observed", || observed() == 2);
    // The next authority's leaves are trusted by those who trust this one, and the other way round.
    let config = gateway.place().config();
    gateway.succeed(&["ca", "rotate", "--config", config.to_str().expect("our own path")]);
    assert_eq!(site.get(&["strict"]), "hello");
    wait::until_true(SOON, "it to be observed", || observed() == 3);
}

/// What can't be made to trust us is named, with what would help.
#[test]
fn a_client_that_refuses_is_named_and_left_alone_from_then_on() {
    let (authority, leaf) = foreign();
    let gateway = intercepting();
    let site = Site::with(&leaf);
    let own = root(&site.container).join(&SYSTEM[1..]);
    let before = fs::read_to_string(&own).expect("it is there");
    fs::write(&own, format!("{before}{authority}")).expect("it is the container's");
    site.attach(&gateway);
    // It trusts what it is told to, and nothing else.
    fs::write(root(&site.container).join("tmp/only.pem"), authority).expect("the container's /tmp");
    let url = format!("https://{HOST}:8443/");
    let curl = ["curl", "--silent", "--cacert", "/tmp/only.pem", "--max-time", "20", url.as_str()];
    let call = || site.container.command(curl[0]).args(&curl[1..]).output().expect("it runs");
    assert!(!call().status.success());
    let said = wait::until(SOON, "it to be noticed", || {
        let agent = gateway.agent_json(site.container.name())?;
        agent["undecrypted"].as_array().and_then(|said| said.first()?.as_str().map(str::to_owned))
    });
    assert!(said.contains("/usr/bin/curl") && said.contains(HOST), "{said}");
    assert!(said.contains(&format!("SSL_CERT_FILE={SYSTEM}")), "{said}");
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).expect("text");
    assert!(doctor.contains(&said), "{doctor}");
    assert!(call().status.success(), "it is left alone");
}

/// A gateway that decrypts what goes to the host.
fn intercepting() -> Gateway {
    let mut gateway = Gateway::start(Mode::Audit);
    let path = gateway.place().config();
    let config = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, format!("{config}\n[[intercept]]\nhosts = [\"{HOST}\"]\n")).expect("written");
    gateway.restart();
    gateway
}

/// Another authority's certificate and key, and a leaf for the host signed by it.
fn foreign() -> (String, (String, String)) {
    let directory = tempfile::tempdir().expect("room");
    let mut command = Command::new("openssl");
    let words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=Another CA",
        "-days",
        "2",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ];
    machine::run(command.args(words).current_dir(&directory));
    let read = |name| fs::read_to_string(directory.path().join(name)).expect("it was made");
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, read("ca.key") + &read("ca.crt")).expect("written");
    (read("ca.crt"), leaf(&ca))
}
