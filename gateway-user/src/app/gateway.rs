//! The gateway: its agents, and what it takes to attach and detach them.

mod api;
mod bounds;
mod budgets;
mod dismissal;
mod distrust;
mod ending;
mod everywhere;
mod fleet;
mod health;
mod heartbeat;
mod hints;
mod housing;
mod kill;
mod older;
mod processes;
mod selftest;
mod succession;
mod trust;
mod upkeep;
mod watch;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Mutex};

pub(super) use self::trust::node_bundle;
use self::{fleet::Fleet, health::Shown, heartbeat::Heartbeat, trust::Decrypting, watch::Watched};
use super::{
    agents::Unfit,
    kernel::{KernelOrigins, KernelSockets, ToStore, monotonic},
    kills::{Kills, KillsError},
    netns::Threads,
    node,
    remains::{RemainsError, Remembrance},
};
use crate::{
    attach::{
        cgroup::CgroupError,
        direct::DirectError,
        ebpf::{EbpfFailure, Hooks, OBJECT},
        pins::{HeldAgent, Instance, PinsError, StateFile},
        preflight::{self, Unmet},
        sockets::SocketsError,
    },
    authority::AuthorityError,
    call::Timestamp,
    config::Config,
    control::model::Refusal,
    limits::Bounds,
    names::Directory,
    policy::upstreams::Upstreams,
    proxy::{self, Agents, Clock, Latch, Purse, Recording, Rules, SelfTests},
    state::{State, StateError},
    store::Workflows,
};

/// A running gateway. Clones are the same gateway.
#[derive(Clone, Debug)]
pub(super) struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    instance: Instance,
    /// Where what the control socket asks for is done if it takes its time.
    runtime: Handle,
    embedded: bool,
    boot: [u8; 8],
    started_at: Timestamp,
    hooks: Arc<Hooks>,
    context: Arc<proxy::Context<KernelOrigins>>,
    workflows: Arc<Workflows>,
    /// Names of the agents' addresses, as their DNS answers had them.
    names: Arc<Directory>,
    /// What may leave unread.
    rules: Arc<Rules>,
    /// How calls go to which server.
    upstreams: Arc<Upstreams>,
    bounds: Arc<Bounds>,
    /// What may be spent, and what was.
    purse: Purse,
    /// Where that is kept. Absent in a `run`: its budgets end with it.
    state: Option<State>,
    /// Who is killed, and where that is kept.
    latch: Latch,
    kills: Kills,
    /// What remains of workflows and sessions that are killed or stopped, and what lineage hashes under.
    remembrance: std::sync::Mutex<Remembrance>,
    salt: u128,
    decrypting: Arc<Decrypting>,
    /// Held while an agent is attached or detached: one at a time.
    fleet: Mutex<Fleet>,
    /// What `turnpike agents` shows, so that it need not wait for the fleet.
    shown: RwLock<Vec<Shown>>,
    heartbeat: Heartbeat,
    /// Why what processes do is not known, if it isn't.
    blind: Option<String>,
    /// Held while redirects are tested in turn.
    testing: Arc<Mutex<()>>,
    /// What rules were asked about.
    watched: Watched,
}

/// Why the gateway could not start, or not attach or detach an agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    #[error(transparent)]
    Unmet(#[from] Unmet),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Ebpf(#[from] EbpfFailure),
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    #[error(transparent)]
    Direct(#[from] DirectError),
    #[error(
        "an agent in enforce mode can't keep connections that are older than its attachment: they \
         would go on unseen; use --existing reset, or --mode audit"
    )]
    KeepInEnforce,
    #[error(transparent)]
    Key(#[from] node::KeyError),
    #[error(transparent)]
    Kills(#[from] KillsError),
    #[error(transparent)]
    Remains(#[from] RemainsError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(
        "agent {0} is killed, and detaching would let it go; have it go on first: `turnpike revive` \
         (see `turnpike kills`)"
    )]
    Killed(String),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("a turnpike daemon runs already (pid {0}); stop it first, or use it")]
    Running(u32),
    #[error("the gateway is ending; ask the next one")]
    Ending,
    #[error("no agent is called {0:?}; see `turnpike agents`")]
    NoAgent(String),
    #[error(
        "{0} agents are attached by rule, and no more can be (agents_by_rule in [limits]); detach \
         some, make the rules narrower, or allow more"
    )]
    NoRoom(usize),
    #[error(
        "{0} is to be enforced, and budgets hold its workflows or sessions but not the agent as a whole: \
         what is not recognised as one of them would begin anew; add a [[budget]] with scope = \
         \"agent\" for it, or to --budget a limit without a scope"
    )]
    NoAgentBudget(String),
    #[error("can't listen in the agent's network namespace: {0}")]
    Listen(#[source] io::Error),
    #[error("the system refused {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl From<GatewayError> for Refusal {
    fn from(error: GatewayError) -> Self {
        Self::new(error.to_string())
    }
}

impl Gateway {
    /// Loads the programs, and takes over what an earlier gateway of the same instance held.
    pub(super) async fn start(
        config: Config,
        instance: Instance,
        embedded: bool,
        verbose: bool,
    ) -> Result<Self, GatewayError> {
        preflight::require()?;
        let earlier = instance.read()?;
        if let Some(state) = earlier.as_ref().filter(|state| state.is_alive()) {
            return Err(GatewayError::Running(state.pid));
        }
        let system = |what| move |source| GatewayError::System { what, source };
        std::fs::create_dir_all(&config.daemon.runtime_dir)
            .map_err(system("the runtime directory"))?;
        upkeep::sweep(&config.daemon.runtime_dir, &instance)?;
        let key = node::key(&config.daemon.state_dir)?;
        let (kills, latch, remembrance) = killed(&config, embedded)?;
        let boot = node::random().map_err(system("random bytes"))?;

        let (clock, agents) = (Clock::start(), Agents::default());
        let (purse, state) = budgets::open(&config, embedded, clock, agents.clone())?;
        let hooks = hooks(&instance, verbose)?;
        let workflows = Arc::new(Workflows::new());
        let recorder = Arc::new(ToStore(Arc::clone(&workflows)));
        let names = Arc::new(Directory::default());
        let rules = Arc::new(Rules::new(config.egress(), Arc::clone(&names), clock));
        budgets::keep_time(purse.clone(), clock);
        let recording = Recording::new(clock, key, recorder, config.prices());
        let recording = recording.knowing(Box::new(KernelSockets(Arc::clone(&hooks))));
        let (recording, blind) = processes::watch(&hooks, recording, agents.clone());
        let context = Arc::new(proxy::Context {
            origins: KernelOrigins(Arc::clone(&hooks)),
            agents,
            selftests: SelfTests::default(),
            names: Arc::clone(&names),
            recording,
        });
        hints::listen(&hooks, Arc::clone(&names), clock)?;
        let gateway = Self(Arc::new(Inner {
            names,
            rules,
            upstreams: config.upstreams.upstreams(),
            bounds: Arc::new(Bounds::new((&config.limits).into())),
            purse,
            state,
            latch,
            kills,
            remembrance,
            salt: node::lineage_salt(&key),
            decrypting: Arc::new(Decrypting::open(&config, clock)?),
            runtime: Handle::current(),
            embedded,
            boot,
            started_at: clock.now(),
            fleet: Mutex::new(Fleet::new(Threads::new(Arc::clone(&context)))),
            shown: RwLock::default(),
            heartbeat: Heartbeat::new(Arc::clone(&hooks)),
            blind,
            testing: Arc::default(),
            watched: Watched::default(),
            config,
            instance,
            hooks,
            context,
            workflows,
        }));
        gateway.pick_up(earlier).await?;
        gateway.tidy_budgets();
        Ok(gateway)
    }

    /// The workflows, once what their calls spent is known.
    pub(super) async fn settled(&self) -> &Workflows {
        let recording = Arc::clone(&self.0.context.recording);
        // It does not panic, and there is nothing to do about it if it did.
        let _ = tokio::task::spawn_blocking(move || recording.settle()).await;
        self.workflows()
    }

    pub(super) fn workflows(&self) -> &Workflows {
        &self.0.workflows
    }

    /// How long connections may go on when the gateway ends.
    pub(super) fn drain(&self) -> Duration {
        self.0.config.daemon.drain.0
    }

    /// The agents as they are shown.
    fn shown(&self) -> Vec<Shown> {
        self.0.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn runtime_dir(&self) -> &PathBuf {
        &self.0.config.daemon.runtime_dir
    }

    /// Writes down what is held, for the next gateway and for commands without one; and shows it.
    fn publish(&self, fleet: &Fleet) -> Result<(), PinsError> {
        let agents = fleet.held();
        self.show(fleet);
        self.0.instance.write(&self.state_file(agents))
    }

    fn show(&self, fleet: &Fleet) {
        *self.0.shown.write().unwrap_or_else(PoisonError::into_inner) = fleet.shown();
    }

    fn state_file(&self, agents: Vec<HeldAgent>) -> StateFile {
        let state_dir = Some(self.0.config.daemon.state_dir.clone());
        StateFile { state_dir, agents, ..StateFile::own() }
    }
}

/// Who is killed, and how what goes on with them is recognised.
fn killed(
    config: &Config,
    embedded: bool,
) -> Result<(Kills, Latch, std::sync::Mutex<Remembrance>), GatewayError> {
    let state = &config.daemon.state_dir;
    let kills = Kills::within(state);
    let latch = Latch::new(kills.read()?);
    let remembrance = Remembrance::open((!embedded).then_some(state))?;
    Ok((kills, latch, remembrance.into()))
}

/// The programs, loaded, with what an earlier gateway of the same instance has pinned of their maps.
fn hooks(instance: &Instance, verbose: bool) -> Result<Arc<Hooks>, EbpfFailure> {
    let hooks = Arc::new(Hooks::load(OBJECT, &instance.pins(), verbose)?);
    if verbose {
        heartbeat::log_messages(&hooks);
    }
    // What its maps still say of its listeners leads nowhere now.
    hooks.forget_listeners()?;
    hooks.forget_handoffs(monotonic())?;
    Ok(hooks)
}
