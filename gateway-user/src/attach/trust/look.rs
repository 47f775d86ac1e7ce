//! Looking for the bundles of an agent's processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use gateway_common::AgentId;

use super::{
    Bundle, Place, Refused, bundle, cover, mark,
    mountinfo::{self, Mount},
    places::{self, Kind},
    process::Process,
};
use crate::{
    attach::{
        mntns::{Mntns, MntnsId},
        root::{Found, Root},
    },
    limits,
};

/// Everything that was found of an agent.
#[derive(Debug, Default)]
pub struct Look {
    /// In the order of the processes that led there.
    pub(super) places: Vec<Place>,
    /// Whether some of its processes live in the machine's own mount namespace, where nothing is ever
    /// mounted.
    pub on_host: bool,
    /// Processes that were passed over for their number, or that of their namespaces.
    pub passed_over: usize,
}

/// What was looked at already, so that looking again costs little.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By what they run, since a process may become another program.
    processes: BTreeSet<(u32, u64)>,
    /// Where packages were looked for that nobody uses yet.
    walked: BTreeSet<(MntnsId, (u64, u64))>,
}

impl Seen {
    /// Looks at every process again: it may have loaded something since.
    pub fn forget_processes(&mut self) {
        self.processes.clear();
    }
}

impl Look {
    /// Looks for what these processes read, and may come to read, where that was not looked for
    /// before.
    ///
    /// It opens files of the container's, which can make it wait for ever: see [`Root`].
    #[must_use]
    pub fn at(processes: &[u32], agent: AgentId, seen: &mut Seen) -> Self {
        let mut look = Self::default();
        let hosts = MntnsId::of_host();
        let mut finders: Vec<Finder> = Vec::new();
        let mut fresh = 0;
        for &pid in processes {
            // It may have ended, here as below.
            let Ok(id) = MntnsId::of_process(pid) else { continue };
            if hosts.contains(&id) {
                look.on_host = true;
                continue;
            }
            let Some(process) = Process::of(pid) else { continue };
            if seen.processes.contains(&process.identity()) {
                continue;
            }
            let known = finders.iter().position(|finder| finder.place.namespace.id() == id);
            let is_full = known.is_none() && finders.len() == limits::MOUNT_NAMESPACES_PER_AGENT;
            if fresh == limits::TRUST_PROCESSES || is_full {
                look.passed_over += 1;
                continue;
            }
            fresh += 1;
            let place = known.unwrap_or(finders.len());
            if known.is_none() {
                let Ok(finder) = Finder::of(pid, agent) else { continue };
                finders.push(finder);
            }
            if finders[place].look(pid, &process, seen).is_ok() {
                seen.processes.insert(process.identity());
            }
        }
        seen.processes.retain(|(pid, _)| processes.contains(pid));
        look.places = finders.into_iter().map(|finder| finder.place).collect();
        look
    }

    /// The bytes of the bundle by which the first of the processes tells whom to trust: the one that
    /// its environment names, else its system's, else a library's. Without what we added.
    #[must_use]
    pub fn own_bundle(&self) -> Option<&[u8]> {
        let first = self.places.iter().find(|place| !place.bundles.is_empty())?;
        first.bundles.iter().min_by_key(|bundle| bundle.kind).map(Bundle::own)
    }
}

/// A bundle as it was found.
struct Examined {
    found: Found,
    bytes: Vec<u8>,
    label: Option<Vec<u8>>,
    is_covered: bool,
}

/// Looks at the processes of one namespace.
struct Finder {
    place: Place,
    mark: String,
    mounts: Vec<Mount>,
    /// By the mount that they are on, and their inodes: most paths are links to a few files.
    files: BTreeSet<(u64, u64)>,
    roots: BTreeMap<(u64, u64), Arc<Root>>,
}

impl Finder {
    fn of(pid: u32, agent: AgentId) -> io::Result<Self> {
        let namespace = Mntns::of_process(pid)?;
        let mounts = mountinfo::parse(&fs::read(format!("/proc/{pid}/mountinfo"))?);
        let place = Place { namespace, bundles: Vec::new(), refused: BTreeSet::new() };
        let (files, roots) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { place, mark: mark(agent), mounts, files, roots })
    }

    fn look(&mut self, pid: u32, process: &Process, seen: &mut Seen) -> io::Result<()> {
        let root = Root::of_process(pid)?;
        let identity = root.identity()?;
        let is_first = self.roots.is_empty();
        let is_new = !self.roots.contains_key(&identity);
        let root = Arc::clone(self.roots.entry(identity).or_insert_with(|| Arc::new(root)));
        let (named, libraries) = process.bundles(&root);
        for (variable, path) in named {
            let decides = is_first && variable == places::VARIABLES[0];
            self.add(&root, path, if decides { Kind::Named } else { Kind::Library });
        }
        if is_new {
            for path in places::of_system() {
                self.add(&root, path, Kind::System);
            }
        }
        for path in libraries {
            self.add(&root, path, Kind::Library);
        }
        if is_new && seen.walked.insert((self.place.namespace.id(), identity)) {
            for path in places::walked(&root) {
                self.add(&root, path, Kind::Library);
            }
        }
        Ok(())
    }

    /// Adds a bundle, if there is one at this path.
    fn add(&mut self, root: &Arc<Root>, path: PathBuf, kind: Kind) {
        let shown = Path::new("/").join(&path);
        let why = match self.examine(root, &path) {
            Ok(None) => return,
            Ok(Some(_)) if self.place.bundles.len() == limits::BUNDLES_PER_NAMESPACE => {
                "there are too many of them".to_owned()
            }
            Ok(Some(examined)) => {
                let Examined { found, bytes, label, is_covered } = examined;
                let root = Arc::clone(root);
                self.place.bundles.push(Bundle {
                    kind,
                    root,
                    path,
                    found,
                    bytes,
                    label,
                    is_covered,
                });
                return;
            }
            Err(why) => why,
        };
        self.place.refused.insert(Refused { path: shown, why });
    }

    /// What is at a path, if it is a bundle that was not found yet. Fails with why it can't be covered.
    fn examine(&mut self, root: &Root, path: &Path) -> Result<Option<Examined>, String> {
        let system = |error: io::Error| format!("it can't be read: {error}");
        let Some(found) = root.find(path).map_err(system)? else { return Ok(None) };
        if !found.is_file() {
            return Ok(None);
        }
        let (mount, stat) = (found.mount().map_err(system)?, found.stat().map_err(system)?);
        if !self.files.insert((mount, stat.st_ino)) {
            return Ok(None);
        }
        let file = found.open().map_err(system)?;
        let label = cover::label(&file).map_err(system)?;
        let mut bytes = Vec::new();
        file.take(limits::BUNDLE_BYTES + 1).read_to_end(&mut bytes).map_err(system)?;
        if bytes.len() as u64 > limits::BUNDLE_BYTES {
            return Err(format!("it is larger than {} bytes", limits::BUNDLE_BYTES));
        }
        if !bundle::is_bundle(&bytes) {
            return Ok(None);
        }
        match super::mount(&self.mounts, mount) {
            None => Err("its mount is not to be seen from outside".into()),
            Some(mount) if mount.source == *self.mark => {
                Ok(Some(Examined { found, bytes, label, is_covered: true }))
            }
            Some(mount) if mount.shared => Err(format!(
                "what is mounted on {} would show outside of the container: it is mounted with shared \
                 propagation",
                mount.point.display()
            )),
            Some(_) => Ok(Some(Examined { found, bytes, label, is_covered: false })),
        }
    }
}
