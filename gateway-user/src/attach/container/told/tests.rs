//! Samples as the runtimes write them, with what is of no use here left out.

use std::fs;

use tempfile::TempDir;

use super::*;

const ID: &str = "3001503ef348233422e5f239cfff63c71c7047574e5fd1472668115b43b9c1ab";
const POD: &str = "446c65ab43d490ab8d7f693a46050db88f66a2bf657eda0c3de8bc8bab516be4";

/// A machine with these files, in which `ID` and `POD` stand for ids.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().expect("room");
    for (path, text) in files {
        let ids = |text: &str| text.replace("POD", POD).replace("ID", ID);
        let path = root.path().join(ids(path));
        fs::create_dir_all(path.parent().expect("not the root")).expect("room");
        fs::write(path, text.replace("@POD", POD).replace("@ID", ID)).expect("room");
    }
    root
}

fn told(files: &[(&str, &str)]) -> Option<Told> {
    Told::of(&Places::below(machine(files).path()), ID)
}

/// Name, image, pod and namespace.
fn names(told: &Told) -> [Option<&str>; 4] {
    [&told.name, &told.image, &told.pod, &told.namespace].map(Option::as_deref)
}

fn label<'a>(told: &'a Told, key: &str) -> Option<&'a str> {
    told.labels.get(key).map(String::as_str)
}

/// podman 4.3, after `podman rename`: the metadata keeps the first name.
const PODMAN_INDEX: &str = r#"[{"id":"@POD","names":["other"],"image":"","layer":"7622",
    "metadata":"{\"image-name\":\"\",\"image-id\":\"\",\"name\":\"other\",\"created-at\":1795868713}",
    "created":"2026-11-28T12:25:13.91588535Z","flags":{"MountLabel":"","ProcessLabel":""}},
    {"id":"@ID","names":["renamed"],"image":"a52f7ffe5f83","layer":"5b4f300f99ab",
    "metadata":"{\"image-name\":\"localhost/agent:1\",\"image-id\":\"a52f7ffe5f83\",\"name\":\"first\",\"created-at\":1795868714}",
    "created":"2026-11-28T12:25:14.865594653Z","flags":{"MountLabel":"","ProcessLabel":""}}]"#;

const PODMAN_SPEC: &str = r#"{"ociVersion":"1.0.2-dev","process":{"terminal":false,"args":["sleep"]},
    "hostname":"3001503ef348","annotations":{"team":"research","io.container.manager":"libpod",
    "io.kubernetes.cri-o.Created":"2026-11-28T12:23:46.814793574Z","io.kubernetes.cri-o.TTY":"false",
    "io.podman.annotations.autoremove":"FALSE","org.opencontainers.image.stopSignal":"15"},
    "linux":{"cgroupsPath":"/agents/libpod-@ID"}}"#;

#[test]
fn podman_tells_the_name_after_a_rename_the_image_and_annotations_but_no_labels() {
    let containers = "var/lib/containers/storage/overlay-containers";
    let index = format!("{containers}/containers.json");
    let spec = format!("{containers}/ID/userdata/config.json");
    let found = told(&[(&index, PODMAN_INDEX), (&spec, PODMAN_SPEC)]).expect("told");
    assert_eq!(names(&found), [Some("renamed"), Some("localhost/agent:1"), None, None]);
    assert_eq!(label(&found, "team"), Some("research"));
    assert!(!found.all_labels && !found.is_sandbox);
    // The index comes first.
    let early = told(&[(&index, PODMAN_INDEX)]).expect("told");
    assert_eq!(names(&early), names(&found));
}

#[test]
fn podman_s_storage_is_looked_for_where_it_is_configured() {
    let conf = "[storage]\ndriver = \"vfs\"\ngraphroot = \"/srv/storage\"\n";
    let index = "srv/storage/vfs-containers/volatile-containers.json";
    let found = told(&[("etc/containers/storage.conf", conf), (index, PODMAN_INDEX)]);
    assert_eq!(found.and_then(|told| told.name).as_deref(), Some("renamed"));
}

#[test]
fn docker_tells_name_image_and_labels() {
    let container = r#"{"StreamConfig":{},"State":{"Running":true,"Pid":12680},"ID":"@ID",
        "Created":"2026-03-07T03:59:11.534433546Z","Managed":false,"Path":"npm","Args":["run"],
        "Config":{"Hostname":"3001503ef348","Env":["PATH=/bin"],"Cmd":["npm"],
        "Image":"node:20-alpine","OnBuild":null,"Labels":{"com.docker.compose.project":"agents"}},
        "Image":"sha256:90801a91","Name":"/agents-web-1","Driver":"overlay2","RestartCount":0}"#;
    let found = told(&[("var/lib/docker/containers/ID/config.v2.json", container)]).expect("told");
    assert_eq!(names(&found), [Some("agents-web-1"), Some("node:20-alpine"), None, None]);
    assert_eq!(label(&found, "com.docker.compose.project"), Some("agents"));
    assert!(found.all_labels);

    let bare = r#"{"Config":{"Image":"a","Labels":null},"Name":"/web"}"#;
    let elsewhere = [
        ("etc/docker/daemon.json", r#"{"data-root":"/mnt/docker","log-driver":"journald"}"#),
        ("mnt/docker/containers/ID/config.v2.json", bare),
    ];
    assert_eq!(told(&elsewhere).and_then(|told| told.name).as_deref(), Some("web"));
}

#[test]
fn containerd_tells_what_kubernetes_calls_it_but_not_the_pod_s_labels() {
    let spec = r#"{"ociVersion":"1.1.0","process":{},"annotations":{
        "io.kubernetes.cri.container-name":"hostname","io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.image-name":"docker.io/library/agent:latest",
        "io.kubernetes.cri.sandbox-id":"@POD","io.kubernetes.cri.sandbox-name":"planner-64df67bd8b-xmzhv",
        "io.kubernetes.cri.sandbox-namespace":"agents",
        "io.kubernetes.cri.sandbox-uid":"005f082b-5fd9-4650-8ef4-473e63bc2d13"}}"#;
    let tasks = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
    let found = told(&[(&format!("{tasks}/ID/config.json"), spec)]).expect("told");
    let image = Some("docker.io/library/agent:latest");
    let (pod, namespace) = (Some("planner-64df67bd8b-xmzhv"), Some("agents"));
    assert_eq!(names(&found), [Some("hostname"), image, pod, namespace]);
    assert!(!found.all_labels && !found.is_sandbox);

    let pause = spec.replace("\"container\"", "\"sandbox\"");
    assert!(told(&[(&format!("{tasks}/ID/config.json"), &pause)]).expect("told").is_sandbox);
}

#[test]
fn nerdctl_tells_the_name() {
    let spec = r#"{"annotations":{"nerdctl/name":"web","nerdctl/namespace":"default",
        "nerdctl/hostname":"3001503ef348"}}"#;
    let bundle = "run/containerd/io.containerd.runtime.v2.task/default/ID/config.json";
    assert_eq!(names(&told(&[(bundle, spec)]).expect("told")), [Some("web"), None, None, None]);
}

#[test]
fn crio_tells_labels_and_those_of_the_pod() {
    let container = r#"{"annotations":{"io.container.manager":"cri-o",
        "io.kubernetes.container.name":"main","io.kubernetes.cri-o.ContainerType":"container",
        "io.kubernetes.cri-o.ImageName":"quay.io/agents/main:2","io.kubernetes.cri-o.SandboxID":"@POD",
        "io.kubernetes.cri-o.KubeName":"planner-1","io.kubernetes.cri-o.Namespace":"agents",
        "io.kubernetes.pod.name":"planner-1","io.kubernetes.pod.namespace":"agents",
        "io.kubernetes.cri-o.Labels":"{\"io.kubernetes.container.name\":\"main\"}"}}"#;
    let pod = r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox",
        "io.kubernetes.cri-o.Labels":"{\"app\":\"planner\",\"io.kubernetes.container.name\":\"POD\"}"}}"#;
    let containers = "run/containers/storage/overlay-containers";
    let storage = "[{\"id\":\"@ID\",\"names\":[\"k8s_main_planner-1_agents_uid_0\"]}]";
    let found = told(&[
        (&format!("{containers}/ID/userdata/config.json"), container),
        (&format!("{containers}/POD/userdata/config.json"), pod),
        ("var/lib/containers/storage/overlay-containers/containers.json", storage),
    ])
    .expect("told");
    let image = Some("quay.io/agents/main:2");
    assert_eq!(names(&found), [Some("main"), image, Some("planner-1"), Some("agents")]);
    assert_eq!(label(&found, "app"), Some("planner"));
    assert_eq!(label(&found, "io.kubernetes.container.name"), Some("main"));
    assert!(found.all_labels && !found.is_sandbox);
}

#[test]
fn runc_tells_its_annotations() {
    let state = r#"{"id":"@ID","init_process_pid":29706,"init_process_start":117126,
        "created":"2026-11-28T12:23:47.934971261Z","config":{"rootfs":"/srv/root",
        "labels":["app=research","bundle=/srv/agent"]},"rootless":false,
        "cgroup_paths":{"":"/sys/fs/cgroup/unified/agents/plain1"},
        "namespace_paths":{"NEWNET":"/proc/29706/ns/net"}}"#;
    let found = told(&[("run/runc/ID/state.json", state)]).expect("told");
    assert_eq!(names(&found), [Some(ID), None, None, None]);
    assert_eq!(label(&found, "app"), Some("research"));
    assert!(found.all_labels);
}

#[test]
fn what_is_not_there_or_not_whole_or_no_id_tells_nothing() {
    assert_eq!(told(&[]), None);
    assert_eq!(told(&[("run/runc/ID/state.json", "{\"config\":{\"lab")]), None);
    let root = machine(&[("run/state.json", "{\"config\":{}}"), ("run/runc/state.json", "{}")]);
    for id in ["", ".", "..", "../runc"] {
        assert_eq!(Told::of(&Places::below(root.path()), id), None, "{id}");
    }
}

#[test]
fn names_are_read_again_at_once_for_all() {
    let docker = r#"{"Config":{"Image":"a"},"Name":"/web"}"#;
    let index = "var/lib/containers/storage/overlay-containers/containers.json";
    let stored = PODMAN_INDEX.replace("@ID", "1234");
    let root =
        machine(&[(index, &stored), ("var/lib/docker/containers/ID/config.v2.json", docker)]);
    let places = Places::below(root.path());
    let names = Names::read(&places);
    assert_eq!(names.of("1234").as_deref(), Some("renamed"));
    assert_eq!(names.of(POD).as_deref(), Some("other"));
    assert_eq!(names.of(ID).as_deref(), Some("web"));
    assert_eq!(names.of("5678"), None);
}
