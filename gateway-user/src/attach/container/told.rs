//! What runtimes tell of a container, in files of their own: no runtime has to be asked, and most
//! of it is there before the container's first process runs.

mod annotations;
mod places;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read as _,
    path::Path,
};

use serde::{Deserialize, de::DeserializeOwned};

pub use self::places::Places;
use crate::limits;

/// What is told of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub name: Option<String>,
    pub image: Option<String>,
    /// The name of the pod that it is part of, and the pod's namespace.
    pub pod: Option<String>,
    pub namespace: Option<String>,
    /// Its labels and annotations, and its pod's.
    pub labels: BTreeMap<String, String>,
    /// Whether those are all: some runtimes keep labels where only they find them.
    pub all_labels: bool,
    /// It only holds a pod's namespaces open, and runs nothing of its owner's.
    pub is_sandbox: bool,
}

impl Told {
    /// What is told of a container; `None` if no runtime's files know it, or not yet.
    #[must_use]
    pub fn of(places: &Places, id: &str) -> Option<Self> {
        // It becomes part of paths.
        if id.contains('/') || matches!(id, "" | "." | "..") {
            return None;
        }
        docker(places, id)
            .or_else(|| containerd(places, id))
            .or_else(|| storage(places, id))
            .or_else(|| plain(places, id))
    }
}

/// Docker's `containers/ID/config.v2.json`, written when the container is made and when it is
/// renamed (moby, `container/container.go`, `toDisk`).
fn docker(places: &Places, id: &str) -> Option<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        name: String,
        config: Config,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        image: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }

    let file = places.docker.join("containers").join(id).join("config.v2.json");
    let Container { name, config } = read(&file)?;
    let told = annotations::told(config.labels.unwrap_or_default());
    Some(Told {
        // The kubelet's name for it, where it has one.
        name: told.name.or_else(|| Some(name.trim_start_matches('/').to_owned())),
        image: config.image.or(told.image),
        all_labels: true,
        ..told
    })
}

/// The bundle that containerd's shim runs, in whichever namespace it is: `config.json` (OCI runtime
/// specification, "Annotations"). Labels are in containerd's database.
fn containerd(places: &Places, id: &str) -> Option<Told> {
    places.bundles().into_iter().find_map(|bundles| of_bundle(&bundles.join(id)))
}

/// The storage that podman and CRI-O share: names are in an index, the rest in the bundle.
fn storage(places: &Places, id: &str) -> Option<Told> {
    let containers = places.storages();
    let indexed = containers.iter().find_map(|containers| indexed(containers, id));
    let bundle = |id: &str| {
        containers.iter().find_map(|containers| of_bundle(&containers.join(id).join("userdata")))
    };
    if indexed.is_none() && !containers.iter().any(|containers| containers.join(id).is_dir()) {
        return None;
    }
    let mut told = bundle(id).unwrap_or_default();
    // The name of a pod's container is another than that of its storage.
    if told.pod.is_none()
        && let Some((name, image)) = indexed
    {
        (told.name, told.image) = (name.or(told.name), image.or(told.image));
    }
    if let Some(pod) = annotations::sandbox_id(&told.labels).and_then(bundle) {
        for (key, value) in pod.labels {
            told.labels.entry(key).or_insert(value);
        }
    }
    (told != Told::default()).then_some(told)
}

/// A container in the storage's index. Podman keeps its name up to date.
#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    /// What podman and CRI-O know of it, as JSON in JSON.
    #[serde(default)]
    metadata: String,
}

/// A container's name and image, as the index has them.
fn indexed(containers: &Path, id: &str) -> Option<(Option<String>, Option<String>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Metadata {
        image_name: Option<String>,
    }

    let entry = entries(containers).into_iter().find(|entry| entry.id == id)?;
    let metadata = serde_json::from_str::<Metadata>(&entry.metadata).ok();
    let image = metadata.and_then(|metadata| metadata.image_name);
    let name = entry.names.and_then(|names| names.into_iter().next());
    Some((name, image.filter(|image| !image.is_empty())))
}

/// Those of `containers.json` (containers/storage, `containers.go`) and of the file for containers
/// that don't outlive a reboot.
fn entries(containers: &Path) -> Vec<Entry> {
    let files = ["containers.json", "volatile-containers.json"];
    let found = files.iter().filter_map(|file| read::<Vec<Entry>>(&containers.join(file)));
    found.flatten().collect()
}

/// Plain runc's `ID/state.json`, and the copy of the bundle's `config.json` that crun keeps: the name
/// is the id, and there is no image. What runc calls labels are annotations (runc,
/// `libcontainer/specconv`).
fn plain(places: &Places, id: &str) -> Option<Told> {
    #[derive(Deserialize)]
    struct State {
        config: Config,
    }

    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        labels: Option<Vec<String>>,
    }

    let of_runc = |state: State| {
        let labels = state.config.labels.unwrap_or_default();
        let pair = |label: String| label.split_once('=').map(|(k, v)| (k.into(), v.into()));
        annotations::told(labels.into_iter().filter_map(pair).collect())
    };
    let state = read(&places.run.join("runc").join(id).join("state.json"));
    let told = state.map(of_runc).or_else(|| of_bundle(&places.run.join("crun").join(id)))?;
    Some(Told { name: told.name.or_else(|| Some(id.to_owned())), all_labels: true, ..told })
}

fn of_bundle(bundle: &Path) -> Option<Told> {
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }

    let spec: Spec = read(&bundle.join("config.json"))?;
    Some(annotations::told(spec.annotations))
}

/// A file that is not there, or not whole yet, says nothing.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(limits::RUNTIME_ANSWER_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The names that containers have now, as far as their runtimes let them be renamed.
#[derive(Debug)]
pub struct Names<'a> {
    places: &'a Places,
    stored: HashMap<String, String>,
}

impl<'a> Names<'a> {
    #[must_use]
    pub fn read(places: &'a Places) -> Self {
        let entries = places.storages().into_iter().flat_map(|containers| entries(&containers));
        let named = |entry: Entry| Some((entry.id, entry.names?.into_iter().next()?));
        Self { places, stored: entries.filter_map(named).collect() }
    }

    #[must_use]
    pub fn of(&self, id: &str) -> Option<String> {
        let stored = self.stored.get(id).cloned();
        stored.or_else(|| docker(self.places, id).and_then(|told| told.name))
    }
}

#[cfg(test)]
mod tests;
