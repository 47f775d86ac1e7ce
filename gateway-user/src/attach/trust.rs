//! Trust without touching an image: what the programs of a container take for the certificates of
//! authorities, with ours added.
//!
//! Each bundle that they read is covered by a file of the same bytes and ours after them, which is
//! mounted over it in the container's mount namespace: nothing on a disk changes, and nothing shows
//! outside. What is mounted carries a mark with its agent's number, so that it is found again by
//! whoever comes after a crash, without a record.

mod bundle;
mod cover;
mod look;
mod mountinfo;
mod places;
mod process;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gateway_common::AgentId;

pub use self::{
    bundle::{certificates, merged},
    look::{Look, Seen},
    places::{VARIABLES, of_system},
};
use self::{cover::Cover, mountinfo::Mount};
use super::{
    mntns::{Mntns, MntnsId},
    root::{Found, Root},
};

/// A mount namespace of an agent, and the bundles that were found there.
#[derive(Debug)]
struct Place {
    namespace: Mntns,
    bundles: Vec<Bundle>,
    refused: BTreeSet<Refused>,
}

/// A file of certificates that can be covered.
#[derive(Debug)]
struct Bundle {
    kind: places::Kind,
    root: Arc<Root>,
    /// Below the root, without a slash at its front.
    path: PathBuf,
    found: Found,
    bytes: Vec<u8>,
    label: Option<Vec<u8>>,
    is_covered: bool,
}

/// A bundle that can't be covered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// As the container has it.
    pub path: PathBuf,
    pub why: String,
}

/// What came of covering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// As the containers have them.
    pub paths: BTreeSet<PathBuf>,
    pub refused: BTreeSet<Refused>,
}

impl Look {
    /// Covers what was found with `anchors` (PEM) added, for an agent; or leaves it alone where it holds
    /// them already.
    #[must_use]
    pub fn cover(&self, agent: AgentId, anchors: &str) -> Covered {
        let mut covered = Covered::default();
        for place in &self.places {
            covered.refused.extend(place.refused.iter().cloned());
            let (mut held, mut wanted) = (Vec::new(), Vec::new());
            for bundle in &place.bundles {
                match bundle.with(anchors) {
                    Some(bytes) => wanted.push((bundle, bytes)),
                    None => held.push(bundle),
                }
            }
            covered.paths.extend(held.into_iter().map(Bundle::shown));
            if !wanted.is_empty() {
                place.cover(&mark(agent), wanted, &mut covered);
            }
        }
        covered
    }
}

impl Place {
    fn cover(&self, mark: &str, wanted: Vec<(&Bundle, Vec<u8>)>, covered: &mut Covered) {
        let paths: Vec<PathBuf> = wanted.iter().map(|(bundle, _)| bundle.shown()).collect();
        let covers: Vec<Cover<'_>> = wanted
            .into_iter()
            .map(|(bundle, bytes)| Cover {
                root: &bundle.root,
                path: &bundle.path,
                target: &bundle.found,
                is_covered: bundle.is_covered,
                bytes,
                label: bundle.label.as_deref(),
            })
            .collect();
        let placed = cover::place(&self.namespace, mark, &covers);
        let placed = placed.unwrap_or_else(|error| {
            let all = |_| Err(io::Error::new(error.kind(), error.to_string()));
            paths.iter().map(all).collect()
        });
        for (path, placed) in paths.into_iter().zip(placed) {
            match placed {
                Ok(()) => {
                    covered.paths.insert(path);
                }
                Err(error) => {
                    let why = format!("the system refused to cover it: {error}");
                    covered.refused.insert(Refused { path, why });
                }
            }
        }
    }
}

impl Bundle {
    /// What the container has there.
    fn own(&self) -> &[u8] {
        if self.is_covered { bundle::original(&self.bytes) } else { &self.bytes }
    }

    /// With `anchors` added; `None` if it is as it should be.
    fn with(&self, anchors: &str) -> Option<Vec<u8>> {
        if self.is_covered && self.bytes.ends_with(anchors.as_bytes()) {
            return None;
        }
        merged(self.own(), anchors)
    }

    fn shown(&self) -> PathBuf {
        Path::new("/").join(&self.path)
    }
}

/// Takes away all that covers an agent's files, wherever it is: in the namespaces of all processes of
/// the machine, since the agent may be gone by now. How many mounts there were.
///
/// It opens directories of the container's, which can make it wait for ever: see [`Root`].
pub fn uncover(agent: AgentId) -> io::Result<usize> {
    let mark = mark(agent);
    let hosts = MntnsId::of_host();
    let mut looked_at = BTreeSet::new();
    let mut removed = 0;
    let mut failed = None;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended, here as below.
        let Ok(id) = MntnsId::of_process(pid) else { continue };
        if hosts.contains(&id) || !looked_at.insert(id) {
            continue;
        }
        let Ok(text) = fs::read(format!("/proc/{pid}/mountinfo")) else { continue };
        // A process may see less than there is in its namespace; most see all.
        if memchr::memmem::find(&text, mark.as_bytes()).is_none() {
            continue;
        }
        let Ok(namespace) = Mntns::of_process(pid) else { continue };
        match cover::remove(&namespace, &mark) {
            Ok(count) => removed += count,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// The source of what is mounted for an agent. Its number is that of its cgroup, which no other has
/// until the machine starts again.
fn mark(agent: AgentId) -> String {
    format!("{MARK}{agent}")
}

const MARK: &str = "turnpike-trust-";

/// The mount of a number.
fn mount(mounts: &[Mount], id: u64) -> Option<&Mount> {
    mounts.iter().find(|mount| mount.id == id)
}
