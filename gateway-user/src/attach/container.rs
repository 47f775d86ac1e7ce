//! Containers: from an id, a prefix of one, or a name to a cgroup, and back.

mod inquiry;
mod made;
mod plain;
mod runtimes;
mod told;

use std::path::Path;

pub use self::{
    inquiry::Inquiry,
    made::{Stage, is_making, running_for},
    told::{Names, Places, Told},
};
use super::cgroup::{self, Cgroup, CgroupError};

/// What a cgroup's path tells of the container in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef {
    /// The runtime's own id; for plain runc the name that it was given.
    pub id: String,
    /// The uid of the Kubernetes pod that it belongs to.
    pub pod: Option<String>,
}

/// A running container.
type Container = (Cgroup, ContainerRef);

/// Why a container can't be found. The caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error(
        "no running container has the name or id {0:?}; see `podman ps`, `docker ps` or `runc \
         list`, or give the id that `crictl ps` shows"
    )]
    Unknown(String),
    #[error("{count} running containers match {text:?}: {matches}; give the whole id")]
    Ambiguous { text: String, count: usize, matches: String },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// Finds a running container by id, by name, or by prefix of an id: the first that there is.
///
/// Ids are read off the cgroup tree, for every runtime alike. Names are known to the runtimes
/// alone, so those that are installed are asked: podman, docker, nerdctl and runc.
pub fn resolve(text: &str) -> Result<(Cgroup, ContainerRef), ContainerError> {
    let running = running()?;
    choose(&running, text, || runtimes::named(text, &running))
}

/// The container that a cgroup belongs to, if its path names one.
#[must_use]
pub fn of_cgroup(path: &str) -> Option<ContainerRef> {
    let mut found = None;
    let mut pod = None;
    for (parent, part) in parts(path) {
        pod = pod_uid(part).or(pod);
        if let Some(id) = container_id(parent, part) {
            // The outermost: a runtime may make cgroups below its container's own.
            found.get_or_insert_with(|| id.to_owned());
        }
    }
    found.map(|id| ContainerRef { id, pod })
}

fn running() -> Result<Vec<Container>, CgroupError> {
    let mount = cgroup::mount_point()?;
    let mut found: Vec<Container> = Vec::new();
    let mut directories = cgroup::walk()?;
    directories.sort();
    for directory in directories {
        let Some(path) = directory.strip_prefix(&mount).ok().and_then(Path::to_str) else {
            continue;
        };
        let Some(container) = of_cgroup(path) else { continue };
        // In sorted order a container's own cgroup comes before those below it.
        let is_known = found.iter().any(|(_, known)| known.id == container.id);
        if !is_known && let Ok(cgroup) = Cgroup::open(&directory) {
            found.push((cgroup, container));
        }
    }
    Ok(found)
}

fn choose(
    running: &[Container],
    text: &str,
    named: impl FnOnce() -> Vec<Container>,
) -> Result<Container, ContainerError> {
    if let Some(exact) = running.iter().find(|(_, container)| container.id == text) {
        return Ok(exact.clone());
    }
    if let Some(named) = only(&named(), text)? {
        return Ok(named);
    }
    let is_prefix = |id: &str| text.len() >= MIN_PREFIX && id.starts_with(text);
    let begin: Vec<_> = running.iter().filter(|(_, c)| is_prefix(&c.id)).cloned().collect();
    only(&begin, text)?.ok_or_else(|| ContainerError::Unknown(text.into()))
}

/// The only one of them, if there is any.
fn only(found: &[Container], text: &str) -> Result<Option<Container>, ContainerError> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        many => {
            let ids: Vec<&str> = many.iter().map(|(_, c)| c.id.as_str()).collect();
            Err(ContainerError::Ambiguous {
                text: text.into(),
                count: many.len(),
                matches: ids.join(", "),
            })
        }
    }
}

/// Shorter prefixes would sooner hit a wrong container than a wanted one.
const MIN_PREFIX: usize = 4;

/// Each part of a path, with the part before it.
fn parts(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let all = || path.split('/').filter(|part| !part.is_empty());
    std::iter::once("").chain(all()).zip(all())
}

/// The forms in use, by who makes them:
///
/// | | systemd driver | cgroupfs driver |
/// | --- | --- | --- |
/// | podman | `libpod-ID.scope` | `libpod-ID` (below `libpod_parent` or what is asked for) |
/// | docker | `docker-ID.scope` | `docker/ID` |
/// | containerd, CRI | `cri-containerd-ID.scope` | `kubepods/…/podUID/ID` |
/// | CRI-O | `crio-ID.scope` | `kubepods/…/podUID/crio-ID` |
/// | nerdctl | `nerdctl-ID.scope` | `NAMESPACE/ID` |
/// | runc | `runc-ID.scope` (any id) | wherever it is told to |
fn container_id<'a>(parent: &str, part: &'a str) -> Option<&'a str> {
    let scope = part.strip_suffix(".scope");
    let name = scope.unwrap_or(part);
    for prefix in ["libpod-", "docker-", "cri-containerd-", "crio-", "nerdctl-"] {
        if let Some(id) = name.strip_prefix(prefix) {
            // `crio-conmon-ID` and `libpod-conmon-ID` hold the monitor, not the container.
            return is_full_id(id).then_some(id);
        }
    }
    if scope.is_some() {
        return name.strip_prefix("runc-").filter(|id| !id.is_empty());
    }
    let known_parent = ["docker", "default", "k8s.io", "moby"].contains(&parent);
    (is_full_id(name) && (known_parent || pod_uid(parent).is_some())).then_some(name)
}

fn is_full_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `podUID` with the cgroupfs driver, `kubepods-…-podUID.slice` with the systemd driver, where
/// dashes of the uid are written as underscores.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.strip_prefix("kubepods") {
        Some(rest) => rest.rsplit_once("-pod")?.1,
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f";

    fn found(path: &str) -> Option<(String, Option<String>)> {
        of_cgroup(&path.replace("ID", ID).replace("POD", UID)).map(|c| (c.id, c.pod))
    }

    /// Cgroups are told apart by nothing here, so any will do.
    fn container(id: &str) -> Container {
        let cgroup = Cgroup::of_process(std::process::id()).expect("our own cgroup");
        (cgroup, ContainerRef { id: id.into(), pod: None })
    }

    fn chosen(text: &str, named: &[&str]) -> Result<String, ContainerError> {
        let running = ["abcd", "abcdef", "abcdff", "f00d-is-here"].map(container);
        let named = || named.iter().map(|id| container(id)).collect();
        choose(&running, text, named).map(|(_, container)| container.id)
    }

    #[test]
    fn an_exact_id_comes_before_a_name_and_a_name_before_a_prefix() {
        assert_eq!(chosen("abcd", &["f00d-is-here"]).expect("by id"), "abcd");
        assert_eq!(chosen("abcde", &["f00d-is-here"]).expect("by name"), "f00d-is-here");
        assert_eq!(chosen("abcde", &[]).expect("by prefix"), "abcdef");
    }

    #[test]
    fn a_text_that_several_containers_match_is_ambiguous() {
        let error = chosen("web", &["abcd", "abcdef"]).expect_err("two runtimes know it");
        assert!(matches!(error, ContainerError::Ambiguous { count: 2, .. }), "{error}");
        let error = chosen("f00", &[]).expect_err("too short a prefix");
        assert!(matches!(error, ContainerError::Unknown(_)), "{error}");
    }

    #[test]
    fn every_runtime_s_path_is_understood() {
        let plain = Some((ID.to_owned(), None));
        for path in [
            "/machine.slice/libpod-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
            "/gwtest/libpod-ID",
            "/system.slice/docker-ID.scope",
            "/docker/ID",
            "/docker/ID/init",
            "/default/ID",
            "/system.slice/nerdctl-ID.scope",
        ] {
            assert_eq!(found(path), plain, "{path}");
        }
        assert_eq!(found("/system.slice/runc-web.scope"), Some(("web".into(), None)));
    }

    #[test]
    fn a_pod_s_uid_is_read_in_either_form() {
        let in_pod = Some((ID.to_owned(), Some(UID.to_owned())));
        let escaped = UID.replace('-', "_");
        for path in [
            "/kubepods/burstable/podPOD/ID".to_owned(),
            "/kubepods/podPOD/crio-ID".to_owned(),
            format!("/kubepods.slice/kubepods-pod{escaped}.slice/cri-containerd-ID.scope"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{escaped}.slice/\
                 crio-ID.scope/container"
            ),
        ] {
            assert_eq!(found(&path), in_pod, "{path}");
        }
    }

    #[test]
    fn what_is_no_container_is_not_taken_for_one() {
        for path in [
            "/",
            "/user.slice/user-0.slice/session-1.scope",
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/crio-conmon-ID.scope",
            "/system.slice/ssh.service",
            "/libpod-0123",
            "/elsewhere/ID",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
