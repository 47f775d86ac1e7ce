//! `agents/routes.py`, seen from the tests: an agent with a way out, what it tries, and a sink that
//! sees whatever leaves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    container::Container,
    gateway::Gateway,
    machine,
    network::{Cable, Netns},
    process::Background,
    sandbox::Sandbox,
    wait,
};

/// An agent, a cable from its network namespace to another, and a sink at its other end.
#[derive(Debug)]
pub struct Routes {
    home: Home,
    cable: Cable,
    sink: Background,
    outside: Netns,
    /// What the routes that start or pass things share, as we see it.
    place: PathBuf,
    /// The same, as the agent sees it.
    place_inside: String,
    _directory: Option<TempDir>,
}

/// Where the agent lives.
#[derive(Debug)]
enum Home {
    Sandbox { sandbox: Sandbox, resident: Background },
    Container(Container),
}

impl Routes {
    /// From a cgroup and a network namespace.
    #[track_caller]
    pub fn new() -> Self {
        let sandbox = Sandbox::isolated();
        let resident = sandbox.spawn(sandbox.command("sleep").arg("600"));
        wait::until_true(SOON, "the agent to move in", || {
            let cgroup = fs::read_to_string(sandbox.cgroup().join("cgroup.procs"));
            cgroup.is_ok_and(|processes| !processes.is_empty())
        });
        let directory = TempDir::with_prefix("tp-routes-").expect("room for temporary files");
        let place = directory.path().to_owned();
        let inside = place.display().to_string();
        Self::from_home(Home::Sandbox { sandbox, resident }, place, inside, Some(directory))
    }

    /// From a container whose root may make raw sockets and do any system call.
    #[track_caller]
    pub fn from_container() -> Self {
        let container = Container::start_powerful();
        let inside = "/tmp/routes".to_owned();
        let place = PathBuf::from(format!("/proc/{}/root{inside}", container.pid()));
        fs::create_dir(&place).expect("the container has a /tmp");
        Self::from_home(Home::Container(container), place, inside, None)
    }

    #[track_caller]
    fn from_home(
        home: Home,
        place: PathBuf,
        place_inside: String,
        directory: Option<TempDir>,
    ) -> Self {
        let outside = Netns::new();
        let cable = outside.connect(home.pid());
        // Who may make ICMP sockets without being root.
        machine::run(home.beside("sysctl").args(["-qw", "net.ipv4.ping_group_range=0 2147483647"]));
        let sink = sink(&outside);
        Self { home, cable, sink, outside, place, place_inside, _directory: directory }
    }

    /// The agent's cgroup.
    pub fn cgroup(&self) -> PathBuf {
        match &self.home {
            Home::Sandbox { sandbox, .. } => sandbox.cgroup().to_owned(),
            Home::Container(container) => container.cgroup(),
        }
    }

    /// A command in the agent.
    pub fn command(&self, program: &str) -> Command {
        match &self.home {
            Home::Sandbox { sandbox, .. } => sandbox.command(program),
            Home::Container(container) => container.command(program),
        }
    }

    /// A command with the agent's network that is not part of it.
    pub fn beside(&self, program: &str) -> Command {
        self.home.beside(program)
    }

    /// The addresses of the cable: `here` is the sink, `there` the agent.
    pub const fn cable(&self) -> &Cable {
        &self.cable
    }

    /// The namespace that the sink is in.
    pub const fn outside(&self) -> &Netns {
        &self.outside
    }

    /// Starts a route in the agent.
    pub fn spawn(&self, route: &str) -> Background {
        let script = match &self.home {
            Home::Sandbox { .. } => script(),
            Home::Container(_) => "/agents/routes.py".into(),
        };
        let mut command = self.command("python3");
        let command = command.arg(script).arg(route).args(self.sinks()).arg(&self.place_inside);
        Background::spawn("the agent", command)
    }

    /// Tries a route in the agent to its end: what became of it.
    #[track_caller]
    pub fn attempt(&self, route: &str) -> String {
        finish(self.spawn(route))
    }

    /// Tries a route with the agent's network but outside of the agent, where nothing stops it.
    #[track_caller]
    pub fn attempt_beside(&self, route: &str) -> String {
        let mut command = self.beside("python3");
        let command = command.arg(script()).arg(route).args(self.sinks()).arg(&self.place);
        finish(Background::spawn("a process outside", command))
    }

    /// Starts the process outside that passes descriptors, with the agent's network.
    pub fn helper(&self) -> Background {
        let mut command = self.beside("python3");
        command.arg(script()).arg("hand").arg(&self.place).arg(&self.sinks()[0]);
        Background::spawn("the process outside", &mut command)
    }

    /// Waits until a route that was started before says that it stands ready.
    #[track_caller]
    pub fn wait_ready(&self) {
        wait::until_true(SOON, "the route to stand ready", || self.place.join("ready").exists());
    }

    /// Tells it to go on.
    pub fn go(&self) {
        fs::write(self.place.join("go"), "").expect("our own directory");
    }

    /// Calls a server in the agent from outside, and takes what it says.
    pub fn call_in(&self, port: u16) -> Background {
        let line = format!(
            "import socket; s = socket.create_connection(('{}', {port}), timeout=5); \
             print(len(s.recv(1000)))",
            self.cable.there
        );
        let mut command = self.outside.command("python3");
        Background::spawn("the client outside", command.args(["-c", &line]))
    }

    /// How many packets of a route the sink has seen. Nothing that was sent before is missed.
    #[track_caller]
    pub fn arrived(&self, route: &str) -> usize {
        let marks = self.seen("mark");
        let mut command = self.beside("python3");
        machine::run(command.arg(script()).arg("mark").arg(&self.sinks()[0]));
        wait::until_true(SOON, "the mark to arrive", || self.seen("mark") > marks);
        self.seen(route)
    }

    fn seen(&self, route: &str) -> usize {
        self.sink.stdout().lines().filter(|line| *line == route).count()
    }

    fn sinks(&self) -> [String; 2] {
        [self.cable.here.to_string(), self.cable.here6.to_string()]
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    fn pid(&self) -> u32 {
        match self {
            Self::Sandbox { resident, .. } => resident.pid(),
            Self::Container(container) => container.pid(),
        }
    }

    fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.pid())).args(["--net", "--", program]);
        command
    }
}

/// Starts a sink behind the near end of a namespace's first cable.
#[track_caller]
fn sink(outside: &Netns) -> Background {
    let mut command = outside.command("python3");
    let sink = Background::spawn("the sink", command.arg(script()).args(["sink", "veth0"]));
    wait::until_true(SOON, "the sink to listen", || sink.stdout().starts_with("ready"));
    sink
}

/// The end of a route: what it says became of it.
#[track_caller]
pub fn finish(mut route: Background) -> String {
    let status = route.wait(SOON);
    assert!(status.success(), "{status}: {}", route.stderr());
    route.stdout().trim().to_owned()
}

/// What an agent's kernel counters say, by name; 0 for what is left out.
#[track_caller]
pub fn counted(gateway: &Gateway, agent: &str, reason: &str) -> u64 {
    let agent = gateway.agent_json(agent).expect("it is attached");
    agent["coverage"]["reasons"].get(reason).and_then(Value::as_u64).unwrap_or(0)
}

/// Where the script is.
pub fn script() -> PathBuf {
    machine::sources().join(Path::new("agents/routes.py"))
}

const SOON: Duration = Duration::from_secs(20);
