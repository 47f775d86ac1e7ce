//! Containers that were made by runc or crun without an engine above them: their ids and cgroups are
//! as their users like them.

use std::{fs, path::Path};

use serde::Deserialize;

use super::{
    ContainerRef, is_full_id,
    told::{Places, read},
};
use crate::attach::cgroup::{self, Cgroup};

/// Whether a cgroup is such a container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Yes(ContainerRef),
    No,
    /// A container is being made, and does not say yet in which cgroup.
    NotYet,
}

/// Looks for the container of a cgroup in the state that both runtimes keep, in a directory for each
/// container that is there before its cgroup.
pub(super) fn find(places: &Places, cgroup: &Cgroup) -> Plain {
    let own_name = cgroup.path().as_str().rsplit('/').next().unwrap_or_default();
    let mut answer = Plain::No;
    for (runtime, file) in [("runc", "state.json"), ("crun", "status")] {
        let root = places.run.join(runtime);
        for id in names(&root) {
            let found = match first_process(&root.join(&id).join(file)) {
                Some(pid) => cgroup::path_of_process(pid).is_ok_and(|p| cgroup.path().holds(&p)),
                // What they call a cgroup unless they are told otherwise.
                None if id == own_name => true,
                None => {
                    answer = Plain::NotYet;
                    continue;
                }
            };
            if found {
                return Plain::Yes(ContainerRef { id, pod: None });
            }
        }
    }
    answer
}

/// The containers that are not an engine's, by whose ids their cgroups are known.
fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !is_full_id(name)).collect()
}

/// runc `libcontainer/container_linux.go`, `State`; crun `libcrun/status.c`. Both are whole once
/// they are there.
fn first_process(state: &Path) -> Option<u32> {
    #[derive(Deserialize)]
    struct State {
        #[serde(alias = "init_process_pid")]
        pid: u32,
    }

    read::<State>(state).map(|state| state.pid)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> (TempDir, Places) {
        let root = TempDir::new().expect("room");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("not the root")).expect("room");
            fs::write(path, text).expect("room");
        }
        let places = Places::below(root.path());
        (root, places)
    }

    #[test]
    fn a_container_is_found_by_where_its_first_process_sits() {
        let own = Cgroup::of_process(std::process::id()).expect("our own cgroup");
        let pid = std::process::id();
        for (file, state) in [
            ("run/runc/web/state.json", format!("{{\"init_process_pid\":{pid},\"id\":\"web\"}}")),
            ("run/crun/web/status", format!("{{\"pid\":{pid},\"cgroup-path\":\"/x\"}}")),
        ] {
            let (_root, places) = machine(&[(file, &state)]);
            let found = ContainerRef { id: "web".into(), pod: None };
            assert_eq!(find(&places, &own), Plain::Yes(found), "{file}");
        }
        let elsewhere = "{\"init_process_pid\":4294967295}";
        let (_root, places) = machine(&[("run/runc/web/state.json", elsewhere)]);
        assert_eq!(find(&places, &own), Plain::No);
    }

    #[test]
    fn one_that_is_being_made_may_be_the_cgroup_s_unless_it_is_an_engine_s() {
        let own = Cgroup::of_process(std::process::id()).expect("our own cgroup");
        let (_root, places) = machine(&[("run/runc/web/exec.fifo", "")]);
        assert_eq!(find(&places, &own), Plain::NotYet);
        let of_engine = format!("run/runc/{}/exec.fifo", "0".repeat(64));
        let (_root, places) = machine(&[(&of_engine, "")]);
        assert_eq!(find(&places, &own), Plain::No);
        let (_root, places) = machine(&[]);
        assert_eq!(find(&places, &own), Plain::No);
    }
}
