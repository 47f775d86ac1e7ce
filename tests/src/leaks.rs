//! What a gateway holds in the kernel, and whether it is gone afterwards.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use serde_json::Value;

use crate::{machine, wait};

/// The ids of BPF objects. Ids, unlike names, tell one gateway's objects from another's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub programs: BTreeSet<u64>,
    pub maps: BTreeSet<u64>,
    pub links: BTreeSet<u64>,
}

impl Held {
    /// What a process has open now (proc(5), `/proc/PID/fdinfo`).
    pub fn by(pid: u32) -> Self {
        let mut held = Self::default();
        let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
        for entry in entries {
            // A descriptor may be closed since it was listed.
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let value = |key| {
                let lines = text.lines().filter_map(|line| line.split_once(':'));
                lines
                    .filter(|(name, _)| *name == key)
                    .find_map(|(_, id)| id.trim().parse::<u64>().ok())
            };
            held.links.extend(value("link_id"));
            held.programs.extend(value("prog_id"));
            held.maps.extend(value("map_id"));
        }
        held
    }

    /// The links alone that are not among those of before: an agent's own, if it was attached since.
    #[must_use]
    pub fn links_since(&self, before: &Self) -> Self {
        Self { links: &self.links - &before.links, ..Self::default() }
    }

    /// Those of them that the kernel still has.
    #[must_use]
    pub fn left(&self) -> Self {
        let left = |held: &BTreeSet<u64>, kind| held & &listed(kind);
        Self {
            programs: left(&self.programs, "prog"),
            maps: left(&self.maps, "map"),
            links: left(&self.links, "link"),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Panics unless all are gone within some seconds: the kernel frees them a moment after the
    /// last reference is gone.
    #[track_caller]
    pub fn assert_gone(&self) {
        wait::until_true(Duration::from_secs(5), "BPF objects to be freed", || {
            self.left().is_empty()
        });
    }
}

fn listed(kind: &str) -> BTreeSet<u64> {
    let json = machine::run(Command::new("bpftool").args(["--json", kind, "list"]));
    let list: Vec<Value> = serde_json::from_str(&json).expect("bpftool prints a list");
    list.iter().filter_map(|object| object["id"].as_u64()).collect()
}
