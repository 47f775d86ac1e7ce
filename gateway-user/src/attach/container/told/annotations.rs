//! The annotations under which runtimes write down what a container is.

use std::collections::BTreeMap;

use super::Told;

/// What they tell. Keys: containerd `pkg/cri/annotations`, CRI-O `pkg/annotations`, the kubelet's
/// `pkg/kubelet/types/labels.go`, nerdctl `pkg/labels`.
pub(super) fn told(annotations: BTreeMap<String, String>) -> Told {
    let first = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| annotations.get(*key));
        found.filter(|value| !value.is_empty()).cloned()
    };
    let kind = first(&KIND);
    let of_crio = annotations.get(CRIO_LABELS);
    let labels = of_crio.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    Told {
        name: first(&NAME),
        image: first(&IMAGE),
        pod: first(&POD),
        namespace: first(&NAMESPACE),
        all_labels: of_crio.is_some(),
        is_sandbox: kind.is_some_and(|kind| ["sandbox", "podsandbox"].contains(&kind.as_str())),
        labels: with(annotations, labels),
    }
}

/// The container that holds its pod's namespaces, under which CRI-O keeps the pod's labels.
pub(super) fn sandbox_id(annotations: &BTreeMap<String, String>) -> Option<&str> {
    annotations.get("io.kubernetes.cri-o.SandboxID").map(String::as_str)
}

/// Labels go before annotations.
fn with(
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    annotations.into_iter().chain(labels).collect()
}

const NAME: [&str; 3] =
    ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"];
const IMAGE: [&str; 2] = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"];
const POD: [&str; 3] =
    ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"];
const NAMESPACE: [&str; 3] = [
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.cri-o.Namespace",
];
const KIND: [&str; 3] = [
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.docker.type",
];
const CRIO_LABELS: &str = "io.kubernetes.cri-o.Labels";
