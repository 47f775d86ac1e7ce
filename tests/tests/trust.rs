//! Trust: what the containers' own clients take for certificates while they are attached, and that
//! nothing of it is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use turnpike_tests::{
    container::Container,
    gateway::{Gateway, Mode, Place},
    machine,
    process::Background,
    sandbox::Sandbox,
    wait,
};

const SOON: Duration = Duration::from_secs(20);
const ON: [&str; 2] = ["--decrypt", "on"];
/// Debian's bundle, and the one that OpenSSL's own path leads to.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
const HOST: &str = "server.test";

/// A container with a TLS server inside, whose certificate is the gateway's: it stands for what an
/// intercepted client is shown.
struct Site {
    container: Container,
    _server: Background,
}

impl Site {
    fn new(gateway: &Gateway) -> Self {
        let container = Container::start();
        container.exec(&["sh", "-c", &format!("echo 127.0.0.1 {HOST} >> /etc/hosts")]);
        let leaf = leaf(gateway.place());
        for (name, text) in [("leaf.pem", &leaf.0), ("leaf.key", &leaf.1)] {
            fs::write(root(&container).join("tmp").join(name), text).expect("the container's /tmp");
        }
        let mut serve = container.command("python3");
        serve.args(["/agents/tls.py", "serve", "/tmp/leaf.pem", "/tmp/leaf.key"]);
        let server = container.spawn(&mut serve);
        wait::until_true(SOON, "the server", || server.stdout().starts_with("ready"));
        Self { container, _server: server }
    }

    fn attach(&self, gateway: &Gateway) -> serde_json::Value {
        gateway.attach_container(&self.container, &ON)
    }

    fn get(&self, more: &[&str]) -> String {
        let words = ["python3", "/agents/tls.py", "get", HOST];
        self.container.exec(&[&words[..], more].concat()).trim().to_owned()
    }

    fn curl(&self) -> Output {
        let mut command = self.container.command("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            &format!("https://{HOST}:8443/"),
        ]);
        command.output().expect("it runs")
    }

    /// Whether the container's clients trust the gateway now.
    fn trusts(&self) -> bool {
        let (python, curl) = (self.get(&[]), self.curl());
        assert_eq!(python == "hello", curl.status.success(), "{python} and {curl:?}");
        python == "hello"
    }

    fn covers(&self) -> Vec<String> {
        covers(&self.container.mounts())
    }
}

/// A certificate for the host, and its key, by the gateway's own authority.
fn leaf(place: &Place) -> (String, String) {
    let directory = tempfile::tempdir().expect("room");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("extensions"), format!("subjectAltName=DNS:{HOST}\n")).expect("written");
    let ca = state(place).join("ca.pem");
    let openssl =
        |words: &[&str]| machine::run(Command::new("openssl").args(words).current_dir(&directory));
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=server.test",
        "-keyout",
        "leaf.key",
        "-out",
        "leaf.csr",
    ]);
    let ca = ca.to_str().expect("our own path");
    openssl(&[
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        ca,
        "-CAkey",
        ca,
        "-set_serial",
        "7",
        "-days",
        "2",
        "-extfile",
        "extensions",
        "-out",
        "leaf.pem",
    ]);
    let read = |name| fs::read_to_string(path(name)).expect("it was made");
    (read("leaf.pem"), read("leaf.key"))
}

fn state(place: &Place) -> PathBuf {
    place.config().with_file_name("state")
}

/// A container's root as the host sees it.
fn root(container: &Container) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", container.pid()))
}

fn covers(mounts: &[String]) -> Vec<String> {
    mounts.iter().filter(|line| line.contains("turnpike-trust-")).cloned().collect()
}

fn on_this_machine() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    covers(&text.lines().map(str::to_owned).collect::<Vec<_>>())
}

fn bundle(container: &Container) -> Vec<u8> {
    fs::read(root(container).join(&SYSTEM[1..])).expect("it is there")
}

#[test]
fn a_running_container_s_clients_trust_the_gateway_for_as_long_as_they_are_attached() {
    let gateway = Gateway::start(Mode::Audit);
    let site = Site::new(&gateway);
    let before = (bundle(&site.container), site.container.mounts());
    let stat = || fs::metadata(root(&site.container).join(&SYSTEM[1..])).expect("it is there");
    let (mode, modified) = (stat().permissions(), stat().modified().expect("it has a time"));
    assert!(!site.trusts());

    let agent = site.attach(&gateway);
    assert_eq!(agent["decrypt"], "on");
    let covered = agent["covered"].to_string();
    assert!(covered.contains(SYSTEM), "{agent}");
    assert!(covered.contains("/opt/agent/certifi/cacert.pem"), "{agent}");
    assert!(site.trusts());
    assert_eq!(site.get(&["strict"]), "hello", "leaves by openssl lack identifiers");
    let certifi = "import certifi; print(open(certifi.where()).read())";
    assert!(site.container.exec(&["python3", "-c", certifi]).contains("Added by turnpike"));
    // What was there is there still, and only in the container.
    assert!(bundle(&site.container).starts_with(&before.0));
    assert_eq!((stat().permissions(), stat().modified().expect("it has a time")), (mode, modified));
    assert!(on_this_machine().is_empty(), "{:?}", on_this_machine());
    let image = fs::read(machine::root_file_system().join(&SYSTEM[1..])).expect("it is there");
    assert_eq!(image, before.0);
    // Nobody writes to it, and nobody puts something else in its place.
    let append = format!("echo x >> {SYSTEM} || mv /etc/hostname {SYSTEM}");
    assert!(
        !site
            .container
            .command("sh")
            .args(["-c", &append])
            .output()
            .expect("runs")
            .status
            .success()
    );

    gateway.detach(site.container.name());
    assert_eq!((bundle(&site.container), site.container.mounts()), before);
    assert!(!site.trusts());
}

#[test]
fn nothing_is_touched_where_nothing_is_decrypted() {
    let gateway = Gateway::start(Mode::Audit);
    let container = Container::start();
    let before = (bundle(&container), container.mounts());
    for more in [&[][..], &["--decrypt", "off"], &["--mode", "enforce", "--decrypt", "off"]] {
        let agent = gateway.attach_container(&container, more);
        assert_eq!((agent["decrypt"].as_str(), agent["covered"].as_array()), (Some("off"), None));
        assert_eq!((bundle(&container), container.mounts()), before);
        gateway.detach(container.name());
    }
    let agent = gateway.attach_container(&container, &["--mode", "enforce"]);
    assert_eq!(agent["decrypt"], "on", "in enforce mode it is on unless it is said otherwise");
    assert_ne!(container.mounts(), before.1);
}

#[test]
fn what_a_killed_gateway_covered_is_bare_again_when_it_is_detached() {
    let mut gateway = Gateway::start(Mode::Audit);
    let site = Site::new(&gateway);
    let before = site.container.mounts();
    site.attach(&gateway);
    gateway.kill9();
    assert!(!site.covers().is_empty());
    gateway.succeed(&["detach", site.container.name(), "--force"]);
    assert_eq!(site.container.mounts(), before);
}

#[test]
fn the_next_gateway_goes_on_with_what_a_killed_one_covered() {
    for mode in ["audit", "enforce"] {
        let mut gateway = Gateway::start(Mode::Audit);
        let site = Site::new(&gateway);
        let before = site.container.mounts();
        gateway.attach_container(&site.container, &["--mode", mode, "--decrypt", "on"]);
        let covered = site.covers();
        gateway.kill9();
        gateway.restart();
        assert_eq!(site.covers(), covered, "the same mounts");
        assert!(site.trusts(), "{mode}");
        // Told to end, it leaves nothing; the one after it covers again.
        gateway.terminate();
        assert_eq!(site.container.mounts(), before, "{mode}");
        gateway.restart();
        assert_eq!(site.covers().len(), covered.len(), "{mode}");
        gateway.detach(site.container.name());
        assert_eq!(site.container.mounts(), before, "{mode}");
    }
}

/// The bundle was taken over by `restart` above; here the container's own programs are gone.
#[test]
fn what_covers_the_files_of_an_agent_that_is_gone_is_taken_away() {
    let mut gateway = Gateway::start(Mode::Audit);
    let container = Container::start();
    let before = container.mounts();
    // An agent in a cgroup of its own, in the mount namespace of a container that outlives it.
    let sandbox = Sandbox::new();
    let pid = container.pid().to_string();
    let mut enter = sandbox.command("nsenter");
    let mut agent = sandbox.spawn(enter.args(["--target", &pid, "--mount", "sleep", "60"]));
    wait::until_true(SOON, "the agent to enter", || {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        namespace(&agent.pid().to_string()) == namespace(&pid)
    });
    gateway.attach_cgroup(sandbox.cgroup(), "guest", &ON);
    assert!(!covers(&container.mounts()).is_empty());
    gateway.kill9();
    agent.kill();
    drop((agent, sandbox));
    gateway.restart();
    assert_eq!(container.mounts(), before);
}

#[test]
fn what_would_show_outside_is_refused_and_said() {
    let gateway = Gateway::start(Mode::Audit);
    let container = Container::start();
    let share = format!("nsenter --target {} --mount mount --make-shared /", container.pid());
    machine::sh(&share);
    let before = container.mounts();
    let agent = gateway.attach_container(&container, &ON);
    assert_eq!(container.mounts(), before);
    let said = agent["undecrypted"].to_string();
    assert!(said.contains(SYSTEM) && said.contains("shared propagation"), "{said}");
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).expect("text");
    assert!(doctor.contains("shared propagation"), "{doctor}");
}

#[test]
fn what_starts_later_is_covered_too() {
    let gateway = Gateway::start(Mode::Audit);
    let site = Site::new(&gateway);
    site.attach(&gateway);
    let before = site.covers().len();
    // A bundle where nobody looks for one, until a process names it.
    let own = machine::root_file_system().join("opt/agent/certifi/cacert.pem");
    fs::copy(own, root(&site.container).join("var/own.pem")).expect("the container's /var");
    let mut late = site.container.command("env");
    let late = site.container.spawn(late.args(["SSL_CERT_FILE=/var/own.pem", "sleep", "60"]));
    wait::until_true(SOON, "its bundle to be covered", || site.covers().len() > before);
    assert!(site.covers().iter().any(|line| line.contains(" /var/own.pem ")));
    drop(late);
    gateway.detach(site.container.name());
    assert!(site.covers().is_empty());
}

#[test]
fn a_context_that_was_made_before_goes_on_refusing() {
    let gateway = Gateway::start(Mode::Audit);
    let site = Site::new(&gateway);
    let mut command = site.container.command("python3");
    command.args(["/agents/tls.py", "hold", HOST, "/tmp/ready", "/tmp/go"]);
    let mut holder = site.container.spawn(&mut command);
    wait::until_true(SOON, "its context", || root(&site.container).join("tmp/ready").exists());
    site.attach(&gateway);
    site.container.exec(&["touch", "/tmp/go"]);
    assert!(holder.wait(SOON).success());
    assert_eq!(holder.stdout().trim(), "refused");
}

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
