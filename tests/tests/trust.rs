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

mod trust {
    mod authority;
    mod intercepted;
}

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
        Self::with(&leaf(&state(gateway.place()).join("ca.pem")))
    }

    /// With a certificate and key of its own.
    fn with(leaf: &(String, String)) -> Self {
        let container = Container::start();
        container.exec(&["sh", "-c", &format!("echo 127.0.0.1 {HOST} >> /etc/hosts")]);
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

/// A certificate for the host, and its key, by the authority whose key and certificate a file has.
fn leaf(ca: &Path) -> (String, String) {
    let directory = tempfile::tempdir().expect("room");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("extensions"), format!("subjectAltName=DNS:{HOST}\n")).expect("written");
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
        let mut gateway = Gateway::start_open(Mode::Audit);
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

/// An agent can't make the gateway keep any number of files, or any large one.
#[test]
fn only_so_many_files_of_so_many_bytes_are_covered() {
    let gateway = Gateway::start(Mode::Audit);
    let container = Container::start();
    let make = "for i in $(seq 80); do mkdir -p /opt/many/$i/certifi && \
                cp /opt/agent/certifi/cacert.pem /opt/many/$i/certifi/; done; \
                mkdir -p /opt/large/certifi && cat /opt/many/*/certifi/cacert.pem \
                > /opt/large/certifi/cacert.pem";
    container.exec(&["sh", "-c", make]);
    let agent = gateway.attach_container(&container, &ON);
    assert_eq!(covers(&container.mounts()).len(), 64);
    let said = agent["undecrypted"].to_string();
    assert!(said.contains("too many of them"), "{said}");
    assert!(
        said.contains("/opt/large/certifi/cacert.pem") && said.contains("larger than"),
        "{said}"
    );
    gateway.detach(container.name());
    assert!(covers(&container.mounts()).is_empty());
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

/// A gateway that is killed while it attaches leaves nothing that the next one does not find.
#[test]
fn a_kill_at_any_time_of_an_attach_leaves_nothing() {
    let mut gateway = Gateway::start(Mode::Audit);
    let container = Container::start();
    let before = container.mounts();
    for delay in [0, 2, 5, 10, 15, 20, 30, 50] {
        let words = ["attach", "--decrypt", "on", "--container", container.name()];
        let mut attach = Background::spawn("attach", &mut gateway.place().command(&words));
        std::thread::sleep(Duration::from_millis(delay));
        gateway.kill9();
        attach.wait(SOON);
        gateway.restart();
        if gateway.agent_json(container.name()).is_some() {
            gateway.detach(container.name());
        }
        assert_eq!(container.mounts(), before, "killed after {delay} ms");
    }
}
