//! `turnpike run`: a command as an agent, from its start to its trace.

mod environment;

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{signal::unix::SignalKind, sync::oneshot, task::JoinHandle};

pub(super) use self::environment::Environment;
use super::{
    agents::{AgentName, Candidate, Terms},
    daemon::Ending,
    gateway::Gateway,
};
use crate::{
    attach::{
        cgroup::{Cgroup, RUN_PREFIX},
        netns::Netns,
        pins::Instance,
        preflight,
    },
    call::Workflow,
    config::{Config, Decrypt, Defaults, Mode},
    control::{
        cli::{Global, RunArgs},
        client::Client,
        model::{AttachRequest, Existing, Target},
        render::{self, Screen},
        server,
        socket::ControlSocket,
    },
    proxy::Clock,
    store::Filter,
    sys::{self, User},
};

/// Runs the command. The value is its exit status, as a shell would report it.
pub(super) async fn run(args: RunArgs, global: &Global) -> anyhow::Result<u8> {
    let config = Config::load(args.config.as_deref())?;
    preflight::require()?;
    let user = user(args.user.as_deref())?;
    let mode = args.mode.unwrap_or(config.defaults.mode);
    let decrypt = args.decrypt.or(config.defaults.decrypt).unwrap_or(Decrypt::On);
    let pid = std::process::id();
    let name = match &args.name {
        Some(name) => AgentName::parse(name)?.as_str().to_owned(),
        None => default_name(&args.command, pid),
    };
    if args.budget.is_some() && mode == Mode::Audit {
        eprintln!(
            "turnpike: in audit mode the budget is told of and not held to; add --mode enforce"
        );
    }
    let mut trace_out = args
        .trace_out
        .as_deref()
        .map(|path| {
            fs::File::create(path).with_context(|| format!("can't write {}", path.display()))
        })
        .transpose()?;

    // From here on signals are the command's: it decides whether to end, and we follow.
    let ending = Ending::new()?;
    let room = Room::make(pid)?;
    let trust = Environment::place(&config.daemon.runtime_dir, pid);
    let Defaults { on_unmetered, on_retry, replay_aborted, .. } = config.defaults;
    let keeper = Keeper::find(config, global).await?;
    // Kept until the command has ended.
    let environment = match decrypt {
        Decrypt::On => keeper.environment(trust).await,
        Decrypt::Off => Ok(None),
    };
    let status = match environment {
        Ok(environment) => {
            let bundle = environment.as_ref().map(Environment::own_bundle);
            // Its cgroup is new: nothing in it is older.
            let terms = Terms::asked(mode, Existing::Keep, decrypt, on_unmetered, bundle);
            let terms = Terms { budget: args.budget.clone(), on_retry, replay_aborted, ..terms };
            match keeper.attach(&room.0, &name, terms).await {
                Ok(()) => {
                    let variables = environment.as_ref();
                    supervise(&args.command, &room.0, user, variables, ending).await
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    room.clear();
    let workflows = keeper.leave(&name).await;
    drop(room);

    // The command ran, so its own status is the answer, whatever else there is to say.
    let status = status?;
    let told = workflows.and_then(|workflows| tell(&workflows, trace_out.as_mut(), global));
    if let Err(error) = told {
        eprintln!("turnpike: {error:#}");
    }
    Ok(shell_status(status))
}

/// Shows the workflows, and writes them to the file if there is one.
fn tell(
    workflows: &[Workflow],
    file: Option<&mut fs::File>,
    global: &Global,
) -> anyhow::Result<()> {
    show(workflows, global)?;
    if let Some(file) = file {
        for workflow in workflows {
            let line = serde_json::to_string(workflow)? + "\n";
            file.write_all(line.as_bytes()).context("can't write the file given by --trace-out")?;
        }
    }
    Ok(())
}

/// The gateway that carries the agent: the daemon where there is one, else one of our own.
#[derive(Debug)]
enum Keeper {
    Daemon(Client),
    Own {
        gateway: Gateway,
        server: JoinHandle<()>,
        upkeep: JoinHandle<()>,
        stop: oneshot::Sender<()>,
    },
}

impl Keeper {
    async fn find(config: Config, global: &Global) -> anyhow::Result<Self> {
        let runtime = config.daemon.runtime_dir.clone();
        let shared = global.control.clone().unwrap_or_else(|| runtime.join("control.sock"));
        let client = Client::new(&shared);
        // One that belongs to another `run` ends with that.
        if client.probe().await.is_ok_and(|status| !status.embedded) {
            return Ok(Self::Daemon(client));
        }
        let pid = std::process::id();
        let own = global.control.clone().unwrap_or_else(|| runtime.join(format!("run-{pid}.sock")));
        sys::allow_many_files();
        let socket = ControlSocket::bind(&own).await?;
        let instance = Instance::run(&runtime, pid);
        let gateway = Gateway::start(config, instance, true, global.verbose).await?;
        let (stop, stopped) = oneshot::channel();
        let behind = std::sync::Arc::new(gateway.clone());
        let server = tokio::spawn(server::serve(socket, behind, async {
            // A sender that is dropped says the same.
            let _ = stopped.await;
        })?);
        let looked_after = gateway.clone();
        let upkeep = tokio::spawn(async move { looked_after.look_after().await });
        Ok(Self::Own { gateway, server, upkeep, stop })
    }

    /// What makes the command trust the gateway.
    async fn environment(&self, directory: PathBuf) -> anyhow::Result<Option<Environment>> {
        let anchors = match self {
            Self::Daemon(client) => client.ca().await?.anchors,
            Self::Own { gateway, .. } => gateway.anchors(),
        };
        let made = Environment::make(directory, &anchors, |name| std::env::var_os(name));
        made.map(Some).context(
            "can't have the command trust this node's CA (to run it without: --decrypt off)",
        )
    }

    async fn attach(&self, cgroup: &Cgroup, name: &str, terms: Terms) -> anyhow::Result<()> {
        match self {
            Self::Daemon(client) => {
                let target = Target::Cgroup(cgroup.directory().into());
                let Terms { mode, decrypt, bundle, budget, .. } = terms;
                let (name, mode, decrypt) = (Some(name.to_owned()), Some(mode), Some(decrypt));
                let existing = None;
                let request =
                    AttachRequest { target, name, mode, existing, decrypt, bundle, budget };
                client.attach(&request).await?;
            }
            Self::Own { gateway, .. } => {
                let candidate = Candidate {
                    name: AgentName::parse(name)?,
                    cgroup: cgroup.clone(),
                    container: None,
                };
                let here = vec![Netns::current().context("can't find the network namespace")?];
                gateway.enlist(std::process::id(), candidate, terms, here).await?;
            }
        }
        Ok(())
    }

    /// Lets the agent go. Its workflows, oldest first.
    async fn leave(self, name: &str) -> anyhow::Result<Vec<Workflow>> {
        let filter = Filter { agent: Some(name.into()), ..Filter::default() };
        let mut workflows = match self {
            Self::Daemon(client) => {
                client.detach(name, false).await?;
                let mut traces = client.traces(&filter).await?;
                let mut found = Vec::new();
                while let Some(workflow) = traces.next().await? {
                    found.push(workflow);
                }
                found
            }
            Self::Own { gateway, server, upkeep, stop } => {
                // The receiver is gone if the server has ended already.
                let _ = stop.send(());
                server.await?;
                gateway.stop(DRAIN).await?;
                upkeep.await?;
                gateway.settled().await.all(&filter)
            }
        };
        workflows.sort_by_key(|workflow| workflow.summary.started_at);
        Ok(workflows)
    }
}

/// The command's connections have ended with it; this is for what the kernel still holds of them.
const DRAIN: Duration = Duration::from_secs(2);

/// The command's own cgroup, removed when it is dropped.
#[derive(Debug)]
struct Room(Cgroup);

impl Room {
    /// Of its own, also beside one that an earlier process of this pid left behind.
    fn make(pid: u32) -> anyhow::Result<Self> {
        const ATTEMPTS: u32 = 8;

        let name = |attempt| match attempt {
            0 => format!("{RUN_PREFIX}{pid}"),
            attempt => format!("{RUN_PREFIX}{pid}-{attempt}"),
        };
        let mut made = Cgroup::create(&name(0));
        for attempt in 1..ATTEMPTS {
            if made.is_ok() {
                break;
            }
            made = Cgroup::create(&name(attempt));
        }
        Ok(Self(made?))
    }

    /// Ends what the command left behind, as the end of a container would.
    fn clear(&self) {
        // A process that is about to end was not left behind, nor is a self-test of the gateway.
        let wait = Duration::from_millis(10);
        let mut left = self.0.processes().len();
        for _ in 0..10 {
            if left == 0 {
                return;
            }
            std::thread::sleep(wait);
            left = self.0.processes().len();
        }
        if left == 0 {
            return;
        }
        eprintln!("turnpike: {left} processes outlived the command and are ended");
        if let Err(error) = fs::write(self.0.directory().join("cgroup.kill"), "1") {
            eprintln!("turnpike: they could not be ended: {error}");
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Processes that were killed leave their cgroup a moment later.
        for _ in 0..100 {
            if self.0.remove().is_ok() || !self.0.is_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("turnpike: the cgroup {} could not be removed", self.0.directory().display());
    }
}

async fn supervise(
    words: &[std::ffi::OsString],
    cgroup: &Cgroup,
    user: Option<User>,
    environment: Option<&Environment>,
    mut ending: Ending,
) -> anyhow::Result<ExitStatus> {
    let (program, arguments) = words.split_first().ok_or_else(|| anyhow!("no command given"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    command.envs(environment.into_iter().flat_map(Environment::variables));
    if let Some(user) = &user {
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        command.env("HOME", text(&user.home)).env("USER", text(&user.name));
        command.env("LOGNAME", text(&user.name));
    }
    sys::confine(&mut command, cgroup.procs_for_joining()?, user);
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .with_context(|| format!("can't run {}", program.to_string_lossy()))?;
    let pid =
        child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            signal = ending.told() => {
                // The terminal sends its interrupts to the command as well.
                if let Some(pid) = pid.filter(|_| signal != SignalKind::interrupt()) {
                    let signal = if signal == SignalKind::hangup() {
                        rustix::process::Signal::HUP
                    } else {
                        rustix::process::Signal::TERM
                    };
                    // It fails only for a command that has just ended.
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
        }
    }
}

/// Who the command runs as: the user given, else the one who called sudo, else unchanged.
fn user(given: Option<&str>) -> anyhow::Result<Option<User>> {
    let text = match (given, std::env::var("SUDO_UID")) {
        (Some(name), _) => name.to_owned(),
        (None, Ok(uid)) => {
            let found = uid.parse().map(sys::user_numbered);
            return match found {
                Ok(Ok(Some(user))) => Ok(Some(user)),
                _ => bail!("SUDO_UID is {uid:?}, which is no user; choose one with --user"),
            };
        }
        (None, Err(_)) => {
            eprintln!("turnpike: the command runs as root; choose another user with --user");
            return Ok(None);
        }
    };
    match sys::find_user(&text).context("can't read the user database")? {
        Some(user) => Ok(Some(user)),
        None => bail!("no user is called {text:?}; see `getent passwd`"),
    }
}

/// The command's name, and our pid to tell it from another of the same name.
fn default_name(words: &[std::ffi::OsString], pid: u32) -> String {
    let program = words.first().map(Path::new).and_then(Path::file_name);
    let text = program.and_then(OsStr::to_str).unwrap_or("run");
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let text: String = text.chars().take(48).map(legal).collect();
    format!("{text}-{pid}")
}

/// To standard error: standard output is the command's.
fn show(workflows: &[Workflow], global: &Global) -> anyhow::Result<()> {
    let screen = Screen::of(&io::stderr(), global.color.forced(), Clock::start().now());
    let mut out = io::stderr().lock();
    for workflow in workflows {
        render::trace(&mut out, &screen, workflow, false)?;
    }
    if workflows.is_empty() {
        writeln!(out, "turnpike: no workflow was seen")?;
    }
    Ok(())
}

/// 128 and the signal's number, for a command that a signal ended.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
