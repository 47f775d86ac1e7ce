//! The BPF programs and their maps: the only user of aya.

mod answers;
mod handles;
mod layout;
mod processes;
mod shape;

pub use self::{
    answers::{Answer, Answers},
    layout::LayoutError,
    processes::{Arrivals, Processes, Seen},
    shape::version,
};

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError},
    pin::PinError,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSock, CgroupSockAddr, Program, ProgramError, SockOps,
        links::{FdLink, LinkError, PinnedLink},
    },
};
use gateway_common::{
    AgentEntry, AgentId, Counter, Counters, DirectTable, Heartbeat, Listener, Origin, PeerKey,
    Redirected,
};

use self::{
    handles::{purge, remove, ring, second_array, second_handle, view, view_mut},
    shape::{HOOKS, MAPS, Shape},
};
use super::direct::DirectRules;

/// The object that `cargo xtask bpf` builds.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BPF_OBJECT"));

/// The programs, loaded, and their maps.
pub struct Hooks {
    /// Held for attaching and for the control maps; never by a connection or the heartbeat.
    ebpf: Mutex<Ebpf>,
    handoffs: Mutex<HashMap<MapData, PeerKey, Origin>>,
    origins: Mutex<HashMap<MapData, u64, Redirected>>,
    counters: HashMap<MapData, AgentId, Counters>,
    /// Of its own lock: a kill waits for nobody that attaches.
    killed: Mutex<HashMap<MapData, AgentId, u64>>,
    /// Of its own lock, so that nothing that takes long keeps the gateway from showing life.
    heartbeat: Mutex<Array<MapData, Heartbeat>>,
    /// Why processes can't be told of, if they can't.
    blind: Option<LayoutError>,
    /// Where maps and links are pinned, when they are.
    pins: PathBuf,
}

/// aya's arrays can't be shown.
impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").field("pins", &self.pins).finish_non_exhaustive()
    }
}

/// One agent's links: dropping them detaches the programs, unless they are pinned.
#[derive(Debug)]
#[must_use = "dropping the links detaches the programs"]
pub struct Links {
    links: Vec<Held>,
}

#[derive(Debug)]
enum Held {
    Free(&'static str, FdLink),
    Pinned(&'static str, PinnedLink),
}

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum EbpfFailure {
    #[error("the kernel refused turnpike's BPF object: {}; see `turnpike doctor`", chain(.0))]
    Load(#[from] EbpfError),
    #[error("the kernel refused a BPF program: {}; see `turnpike doctor`", chain(.0))]
    Program(#[from] ProgramError),
    #[error("a BPF map could not be used: {}", chain(.0))]
    Map(#[from] MapError),
    #[error("a BPF link could not be used: {}", chain(.0))]
    Link(#[from] LinkError),
    #[error("a BPF object could not be pinned: {}", chain(.0))]
    Pin(#[from] PinError),
    #[error("can't use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("what processes do can't be told: {0}")]
    Layout(#[from] LayoutError),
    #[error("the BPF object has no {0}; rebuild it: cargo xtask bpf")]
    Missing(&'static str),
    #[error(
        "{} was pinned by another turnpike and has another shape; detach what is pinned (see \
         `turnpike agents`) with: turnpike detach NAME --force", .0.display()
    )]
    Shape(PathBuf),
}

/// aya's errors name their cause only as a source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(cause_text.lines().next().unwrap_or_default());
        }
        source = cause.source();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

impl Hooks {
    /// Loads the object. Where `pins` holds the maps of an earlier gateway they are taken over, and
    /// with them the agents whose links are pinned there.
    pub fn load(object: &[u8], pins: &Path, log: bool) -> Result<Self, EbpfFailure> {
        let maps = pins.join("maps");
        let mut loader = EbpfLoader::new();
        let log = u8::from(log);
        loader.override_global("LOG_ENABLED", &log, true);
        let layout = layout::of_kernel();
        let task = layout.unwrap_or_default();
        loader.override_global("TASK", &task, true);
        let pinned = MAPS.map(|shape| (shape.name, maps.join(shape.name)));
        if maps.exists() {
            check_pinned(&maps)?;
            for (name, path) in &pinned {
                loader.map_pin_path(name, path.as_path());
            }
        }
        let mut ebpf = loader.load(object)?;
        for (_, program) in ebpf.programs_mut() {
            match program {
                Program::CgroupSockAddr(program) => program.load()?,
                Program::CgroupSock(program) => program.load()?,
                Program::SockOps(program) => program.load()?,
                Program::CgroupSkb(program) => program.load()?,
                // What a gateway can do without is loaded when it is asked for.
                Program::RawTracePoint(_) => {}
                _ => return Err(EbpfFailure::Missing("known program type")),
            }
        }
        Ok(Self {
            handoffs: Mutex::new(second_handle(&ebpf, "HANDOFFS")?),
            origins: Mutex::new(second_handle(&ebpf, "ORIGINS")?),
            counters: second_handle(&ebpf, "COUNTERS")?,
            killed: Mutex::new(second_handle(&ebpf, "KILLED")?),
            heartbeat: Mutex::new(second_array(&ebpf, "HEARTBEAT")?),
            ebpf: Mutex::new(ebpf),
            blind: layout.err(),
            pins: pins.into(),
        })
    }

    /// The loaded programs, for the logger that reads their messages.
    pub fn with_ebpf<T>(&self, body: impl FnOnce(&mut Ebpf) -> T) -> T {
        body(&mut lock(&self.ebpf))
    }

    /// Attaches every hook to a cgroup. The agent's entry must be there before.
    pub fn attach(&self, cgroup: impl AsFd) -> Result<Links, EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        let mut links = Links { links: Vec::with_capacity(HOOKS.len()) };
        for name in HOOKS {
            let program = ebpf.program_mut(name).ok_or(EbpfFailure::Missing("program"))?;
            links.links.push(Held::Free(name, attach_one(program, &cgroup)?));
        }
        Ok(links)
    }

    /// Pins an agent's links, and the maps they need, so that they outlive this process. What can be
    /// foreseen to fail does so before any link is touched: one that fails to be pinned is let go.
    pub fn pin(&self, agent: AgentId, links: &mut Links) -> Result<(), EbpfFailure> {
        self.pin_maps()?;
        let directory = agent_pins(&self.pins, agent);
        if links.links.iter().all(|held| matches!(held, Held::Free(..))) {
            // Whatever another gateway has left there is no link of these.
            remove_agent_pins(&self.pins, agent)?;
        }
        make_directory(&directory)?;
        links.change(|held| match held {
            Held::Free(name, link) => Ok(Held::Pinned(name, link.pin(directory.join(name))?)),
            pinned @ Held::Pinned(..) => Ok(pinned),
        })
    }

    fn pin_maps(&self) -> Result<(), EbpfFailure> {
        let maps = self.pins.join("maps");
        make_directory(&maps)?;
        let ebpf = lock(&self.ebpf);
        for Shape { name, .. } in MAPS {
            let path = maps.join(name);
            if !path.exists() {
                ebpf.map(name).ok_or(EbpfFailure::Missing(name))?.pin(path)?;
            }
        }
        Ok(())
    }

    /// Takes over the links that an earlier gateway pinned for an agent; `None` if there are none,
    /// or not all: then what is there is removed.
    pub fn adopt(&self, agent: AgentId) -> Result<Option<Links>, EbpfFailure> {
        let directory = agent_pins(&self.pins, agent);
        if !directory.exists() {
            return Ok(None);
        }
        let mut links = Links { links: Vec::with_capacity(HOOKS.len()) };
        for name in HOOKS {
            let path = directory.join(name);
            if !path.exists() {
                remove_agent_pins(&self.pins, agent)?;
                return Ok(None);
            }
            links.links.push(Held::Pinned(name, PinnedLink::from_pin(path)?));
        }
        Ok(Some(links))
    }

    /// Enters an agent, or changes its mode.
    pub fn set_agent(&self, agent: AgentId, mode: u32) -> Result<(), EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        let mut counters: HashMap<_, AgentId, Counters> = view_mut(&mut ebpf, "COUNTERS")?;
        if counters.get(&agent, 0).is_err() {
            counters.insert(agent, [0; Counter::COUNT], 0)?;
        }
        let mut held: HashMap<_, AgentId, u64> = view_mut(&mut ebpf, "HELD")?;
        if held.get(&agent, 0).is_err() {
            held.insert(agent, 0, 0)?;
        }
        let mut agents: HashMap<_, AgentId, AgentEntry> = view_mut(&mut ebpf, "AGENTS")?;
        Ok(agents.insert(agent, AgentEntry { mode, reserved: 0 }, 0)?)
    }

    /// Forgets an agent, and every socket of it. Its programs must be detached before.
    pub fn remove_agent(&self, agent: AgentId) -> Result<(), EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        remove(&mut view_mut::<AgentId, AgentEntry>(&mut ebpf, "AGENTS")?, &agent)?;
        remove(&mut view_mut::<AgentId, Counters>(&mut ebpf, "COUNTERS")?, &agent)?;
        remove(&mut view_mut::<AgentId, DirectTable>(&mut ebpf, "DIRECT")?, &agent)?;
        remove(&mut view_mut::<AgentId, u64>(&mut ebpf, "HELD")?, &agent)?;
        drop(ebpf);
        self.set_killed(agent, || false)?;
        purge(&mut lock(&self.origins), |redirected| redirected.origin.agent == agent)?;
        purge(&mut lock(&self.handoffs), |origin| origin.agent == agent)
    }

    /// Forgets origins that were handed over before that time (`CLOCK_MONOTONIC`): their
    /// connections were reset before they were accepted, or went to an earlier gateway.
    pub fn forget_handoffs(&self, before: Duration) -> Result<(), EbpfFailure> {
        let before = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
        purge(&mut lock(&self.handoffs), |origin| origin.at_ns < before)
    }

    /// Says what of an agent may pass by the gateway, instead of what was said before.
    pub fn set_direct(&self, agent: AgentId, rules: &DirectRules) -> Result<(), EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        let mut map: HashMap<_, AgentId, DirectTable> = view_mut(&mut ebpf, "DIRECT")?;
        if rules.is_empty() {
            return remove(&mut map, &agent);
        }
        Ok(map.insert(agent, DirectTable::from(rules), 0)?)
    }

    /// The DNS answers that agents get from now on. To be called in a tokio runtime, and once: two
    /// readers would take from each other.
    pub fn answers(&self) -> Result<Answers, EbpfFailure> {
        let ring = ring(&lock(&self.ebpf), "DNS")?;
        Answers::new(ring).map_err(|source| EbpfFailure::Io { path: "DNS".into(), source })
    }

    /// What agents' processes do from now on. To be called once: two readers would take from each other.
    pub fn processes(&self) -> Result<Processes, EbpfFailure> {
        if let Some(error) = self.blind {
            return Err(error.into());
        }
        let mut ebpf = lock(&self.ebpf);
        let links = processes::attach(&mut ebpf)?;
        Ok(Processes::new(ring(&ebpf, "PROCESSES")?, links))
    }

    /// Every agent that is entered.
    pub fn agents(&self) -> Result<Vec<(AgentId, u32)>, EbpfFailure> {
        let ebpf = lock(&self.ebpf);
        let agents: HashMap<_, AgentId, AgentEntry> = view(&ebpf, "AGENTS")?;
        agents.iter().map(|entry| Ok(entry.map(|(id, entry)| (id, entry.mode))?)).collect()
    }

    /// Denies an agent every `connect` and all that it sends past the loopback, or lets it again: as it
    /// says when nobody else can say otherwise.
    pub fn set_killed(
        &self,
        agent: AgentId,
        is_killed: impl FnOnce() -> bool,
    ) -> Result<(), EbpfFailure> {
        let mut killed = lock(&self.killed);
        mark(&mut killed, agent, is_killed())
    }

    /// Says where the gateway listens in a network namespace.
    pub fn set_listener(&self, netns: u64, listener: Listener) -> Result<(), EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        Ok(view_mut::<u64, Listener>(&mut ebpf, "LISTENERS")?.insert(netns, listener, 0)?)
    }

    /// Says that the gateway no longer listens there.
    pub fn remove_listener(&self, netns: u64) -> Result<(), EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        remove(&mut view_mut::<u64, Listener>(&mut ebpf, "LISTENERS")?, &netns)
    }

    /// Forgets every listener: an earlier gateway's.
    pub fn forget_listeners(&self) -> Result<(), EbpfFailure> {
        let mut ebpf = lock(&self.ebpf);
        let mut listeners: HashMap<_, u64, Listener> = view_mut(&mut ebpf, "LISTENERS")?;
        let found: Vec<u64> = listeners.keys().flatten().collect();
        found.iter().try_for_each(|netns| remove(&mut listeners, netns))
    }

    /// Says that the gateway lives, and for how long that may be believed.
    pub fn beat(&self, now: Duration, max_age: Duration) -> Result<(), EbpfFailure> {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let beat = Heartbeat { at_ns: nanos(now), max_age_ns: nanos(max_age) };
        Ok(lock(&self.heartbeat).set(0, beat, 0)?)
    }

    /// What was handed over under this key. It stays there.
    #[must_use]
    pub fn handoff(&self, key: &PeerKey) -> Option<Origin> {
        lock(&self.handoffs).get(key, 0).ok()
    }

    /// Takes the entry away: the connection is accepted, and its key free for another.
    pub fn take_handoff(&self, key: &PeerKey) -> Result<(), EbpfFailure> {
        remove(&mut lock(&self.handoffs), key)
    }

    /// Where the socket with this cookie was going, if it was redirected and still lives.
    #[must_use]
    pub fn origin(&self, cookie: u64) -> Option<Origin> {
        lock(&self.origins).get(&cookie, 0).ok().map(|redirected| redirected.origin)
    }

    /// What the hooks counted for an agent.
    #[must_use]
    pub fn counters(&self, agent: AgentId) -> Option<Counters> {
        self.counters.get(&agent, 0).ok()
    }
}

/// As [`Hooks::set_killed`], of an agent whose gateway is dead: by what is pinned.
pub fn set_pinned_killed(pins: &Path, agent: AgentId, killed: bool) -> Result<(), EbpfFailure> {
    let maps = pins.join("maps");
    check_pinned(&maps)?;
    let data = MapData::from_pin(maps.join("KILLED"))?;
    let mut map: HashMap<_, AgentId, u64> = Map::HashMap(data).try_into()?;
    mark(&mut map, agent, killed)
}

fn mark(
    map: &mut HashMap<MapData, AgentId, u64>,
    agent: AgentId,
    killed: bool,
) -> Result<(), EbpfFailure> {
    if killed { Ok(map.insert(agent, 1, 0)?) } else { remove(map, &agent) }
}

impl Links {
    /// From now on they do not outlive this process any more.
    pub fn unpin(&mut self) -> Result<(), EbpfFailure> {
        self.change(|held| match held {
            Held::Pinned(name, link) => link
                .unpin()
                .map(|link| Held::Free(name, link))
                .map_err(|source| EbpfFailure::Io { path: name.into(), source }),
            free @ Held::Free(..) => Ok(free),
        })
    }

    /// Changes each of them, until one fails: that one is let go, the rest stay as they are.
    fn change(
        &mut self,
        mut with: impl FnMut(Held) -> Result<Held, EbpfFailure>,
    ) -> Result<(), EbpfFailure> {
        let mut left = std::mem::take(&mut self.links).into_iter();
        let changed = left.by_ref().try_for_each(|held| {
            self.links.push(with(held)?);
            Ok(())
        });
        self.links.extend(left);
        changed
    }

    /// Detaches the programs, connect first: from then on nothing more is redirected.
    pub fn detach(mut self) -> Result<(), EbpfFailure> {
        while let Some(held) = self.links.pop() {
            match held {
                Held::Free(_, link) => drop(link),
                Held::Pinned(name, link) => {
                    match link.unpin() {
                        // Somebody was quicker.
                        Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                        Err(source) => return Err(EbpfFailure::Io { path: name.into(), source }),
                        Ok(_) => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where an agent's links are pinned.
#[must_use]
pub fn agent_pins(pins: &Path, agent: AgentId) -> PathBuf {
    pins.join("agents").join(agent.to_string())
}

/// Removes an agent's pinned links, connect first, which detaches its programs if nobody else
/// holds them.
pub fn remove_agent_pins(pins: &Path, agent: AgentId) -> Result<(), EbpfFailure> {
    let directory = agent_pins(pins, agent);
    let gone = |path: &Path, result: io::Result<()>| match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(EbpfFailure::Io { path: path.into(), source })
        }
        _ => Ok(()),
    };
    for name in HOOKS.iter().rev() {
        let path = directory.join(name);
        gone(&path, fs::remove_file(&path))?;
    }
    gone(&directory, fs::remove_dir(&directory))
}

/// Refuses maps that are not what this turnpike would make: aya takes whatever is pinned, and reads
/// and writes values of its own size there.
fn check_pinned(maps: &Path) -> Result<(), EbpfFailure> {
    for shape in MAPS {
        let path = maps.join(shape.name);
        if path.exists() && !shape.fits(&MapData::from_pin(&path)?.info()?)? {
            return Err(EbpfFailure::Shape(path));
        }
    }
    Ok(())
}

fn attach_one(program: &mut Program, cgroup: impl AsFd) -> Result<FdLink, EbpfFailure> {
    // `AllowMultiple` is what the kernel does for links anyway, and refuses to be told.
    let mode = CgroupAttachMode::Single;
    Ok(match program {
        Program::CgroupSockAddr(program) => {
            let program: &mut CgroupSockAddr = program;
            let link = program.attach(cgroup, mode)?;
            program.take_link(link)?.try_into()?
        }
        Program::CgroupSock(program) => {
            let program: &mut CgroupSock = program;
            let link = program.attach(cgroup, mode)?;
            program.take_link(link)?.try_into()?
        }
        Program::SockOps(program) => {
            let program: &mut SockOps = program;
            let link = program.attach(cgroup, mode)?;
            program.take_link(link)?.try_into()?
        }
        Program::CgroupSkb(program) => {
            let program: &mut CgroupSkb = program;
            let side = *program.expected_attach_type();
            let side = side.ok_or(EbpfFailure::Missing("side of the packet programs"))?;
            let link = program.attach(cgroup, side, mode)?;
            program.take_link(link)?.try_into()?
        }
        _ => return Err(EbpfFailure::Missing("known program type")),
    })
}

fn make_directory(path: &Path) -> Result<(), EbpfFailure> {
    fs::create_dir_all(path).map_err(|source| EbpfFailure::Io { path: path.into(), source })
}

/// A panic while a map was held leaves the map itself whole: the kernel keeps it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
