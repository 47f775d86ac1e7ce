//! Real clients, unchanged, over TLS: what they see, what the servers see, and what the gateway says.

use std::{collections::BTreeMap, time::Duration};

use turnpike_tests::{
    authority::Authority,
    clients::{self, Client, Look, Made, Running, Seen},
    container::Container,
    gateway::{Gateway, Mode, Place},
    host::Host,
    model_server::{Logged, ModelServer},
    process::Background,
    site::Site,
    trace::Workflow,
    wait,
};

/// What every test here has decrypted. Codex asks `chatgpt.com`, too, and git its own host.
const DECRYPTED: &str = "decrypt = \"on\"\n\n[[intercept]]\nhosts = [\"api.openai.com\", \
                         \"api.anthropic.com\", \"*.held.example.org\"]\n";

/// A client in the container, which waits to be told.
fn start(container: &Container, client: Client, when: &str, made: Made) -> Running {
    let tag = format!("{when}-{}", client.name());
    let mut command = container.interactive("env");
    // Node has a store of its own, which this adds to. Where it is made early, it must know the
    // server without knowing the gateway, as if the server's root were public.
    let roots = if made == Made::Before { Site::ROOT } else { Site::SYSTEM_BUNDLE };
    command.arg(format!("NODE_EXTRA_CA_CERTS={roots}"));
    client.start(command.args(client.words(&tag, made)), &tag)
}

/// Lets clients that wait make their calls, all at the same time.
fn finish(running: Vec<Running>) -> Vec<(Client, String, Seen)> {
    let running: Vec<Running> = running.into_iter().map(Running::go).collect();
    let end = |running: Running| (running.client, running.tag.clone(), running.seen());
    running.into_iter().map(end).collect()
}

/// What the client saw must be what the server answered, to the byte. How it looked to the server.
fn assert_whole(server: &ModelServer, head: &str, call: &(Client, String, Seen)) -> Look {
    let (client, tag, seen) = call;
    if *client == Client::Git {
        assert!(seen.text.contains(head), "{tag}: {seen:?}");
        let packs = |one: &Logged| one.path.starts_with("/archive.git/objects/pack/");
        return Look::of(&server.logged().into_iter().rfind(packs).expect("git fetched a pack"));
    }
    let logged = answered(server, tag);
    let look = Look::of(&logged);
    if *client == Client::Codex {
        assert!(seen.text.contains("Answer 0: the archive holds nothing unusual"), "{seen:?}");
        return look;
    }
    assert_eq!((seen.status, logged.status), (Some(200), 200), "{tag}: {seen:?}");
    assert_eq!(seen.response_id, logged.response_id, "{tag}: {seen:?}");
    assert_eq!(seen.response_sha256, logged.response_sha256, "{tag}: {seen:?}");
    // curl sends what it is given.
    let sent = seen.request_sha256.as_ref().unwrap_or(&logged.request_sha256);
    assert_eq!(*sent, logged.request_sha256, "{tag}: {seen:?}");
    look
}

/// The server's answer to a client that made one call.
fn answered(server: &ModelServer, tag: &str) -> Logged {
    let mut all = server.logged_of(tag);
    assert_eq!(all.len(), 1, "{tag} was answered so often: {all:?}");
    all.remove(0)
}

/// The client must have been shown the gateway's certificate, at its first try.
fn assert_intercepted((client, tag, seen): &(Client, String, Seen)) {
    assert!(seen.errors.is_empty() && seen.tries <= 1, "{tag}: {seen:?}");
    match (client, &seen.issuer) {
        // They don't tell.
        (Client::Codex | Client::Git, issuer) => assert_eq!(*issuer, None),
        (_, Some(issuer)) => assert!(issuer.starts_with("turnpike"), "{tag}: {issuer}"),
        (_, None) => panic!("{tag}: {seen:?}"),
    }
}

/// The client must have refused the gateway's certificate once, and then have been shown the
/// server's.
fn assert_let_through((_, tag, seen): &(Client, String, Seen)) {
    assert!(seen.errors.len() == 1 || seen.tries == 2, "{tag}: {seen:?}");
    assert_eq!(seen.issuer.as_deref(), Some(Authority::NAME), "{tag}: {seen:?}");
}

/// How each client looks to the server when nothing is between them.
fn direct(container: &Container, site: &Site) -> BTreeMap<Client, Look> {
    let start = |client| start(container, client, "direct", Made::After);
    let running = Client::ALL.map(start).map(Running::ready);
    let mut looks = BTreeMap::new();
    for call in finish(running.into()) {
        let look = assert_whole(&site.server, site.head(), &call);
        let (client, tag, seen) = &call;
        assert_eq!(look.version, client.version(), "{tag}");
        assert!(seen.errors.is_empty() && seen.tries <= 1, "{tag}: {seen:?}");
        if let Some(issuer) = &seen.issuer {
            assert_eq!(issuer, Authority::NAME, "{tag}");
        }
        looks.insert(*client, look);
    }
    looks
}

/// The gateway must have seen these calls as the server did, each in its own workflow.
fn assert_traced(traces: &[Workflow], server: &ModelServer, calls: &[(Client, String, Seen)]) {
    let steps: Vec<_> = traces.iter().flat_map(Workflow::model_steps).collect();
    for (client, tag, _) in calls.iter().filter(|(client, ..)| client.chats()) {
        let logged = answered(server, tag);
        let step = steps.iter().find(|step| step.response_id == logged.response_id);
        let step = step.unwrap_or_else(|| panic!("the call of {client:?} is in no trace"));
        assert_eq!(step.request_sha256.as_deref(), Some(logged.request_sha256.as_str()), "{tag}");
        assert_eq!(step.upstream_local, Some(logged.peer), "{tag}");
        assert_eq!(step.original_dst, Some(logged.local), "{tag}");
        assert_eq!(step.status, Some(200), "{tag}");
    }
}

/// What its clients trust, in short.
fn trusted(container: &Container) -> String {
    container.exec(&["sh", "-c", "sha256sum $0 $1", Site::SYSTEM_BUNDLE, Site::CERTIFI_BUNDLE])
}

#[test]
fn clients_that_are_not_decrypted_are_left_alone() {
    let container = Container::start();
    let site = Site::beside(&container);
    let looks = direct(&container, &site);
    let (trust, mounts) = (trusted(&container), container.mounts());
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&container, &["--name", "clients"]);
    let start = |client| start(&container, client, "opaque", Made::After);
    for call in &finish(Client::ALL.map(start).map(Running::ready).into()) {
        assert_eq!(assert_whole(&site.server, site.head(), call), looks[&call.0], "{}", call.1);
        let issuer = call.2.issuer.as_deref();
        assert!(issuer.is_none_or(|issuer| issuer == Authority::NAME), "{}: {issuer:?}", call.1);
    }
    assert_eq!((trusted(&container), container.mounts()), (trust, mounts));
    let coverage = coverage(&gateway);
    assert_eq!(coverage["connections_observed"], 0, "{coverage}");
    let opaque = coverage["reasons"]["opaque_tls"].as_u64();
    assert!(opaque >= Some(Client::ALL.len() as u64), "{coverage}");
    assert_eq!(coverage["tls_names"]["git.example.org"], 1, "{coverage}");
    assert!(coverage["bytes_opaque"].as_u64() >= Some(Site::REPOSITORY_BYTES as u64), "{coverage}");
}

#[test]
fn clients_in_a_container_that_is_attached_while_they_run() {
    let container = Container::start();
    let site = Site::beside(&container);
    let looks = direct(&container, &site);
    let (server, head) = (&site.server, site.head());

    // What trusts nothing before it connects; and what has its trust from when it was started.
    let late = [
        Client::OpenAi,
        Client::OpenAiStreamed,
        Client::Anthropic,
        Client::AnthropicStreamed,
        Client::Httpx,
        Client::HttpxStrict,
        Client::Requests,
        Client::Curl1,
        Client::Curl2,
        Client::Go,
        Client::Codex,
        Client::Git,
    ];
    let early = [Client::OpenAi, Client::Anthropic, Client::Httpx, Client::Aiohttp, Client::Node];
    let late = late.map(|client| start(&container, client, "late", Made::After));
    let early = early.map(|client| start(&container, client, "early", Made::Before));
    let (late, early) = (late.map(Running::ready), early.map(Running::ready));

    let gateway = Gateway::start_at(Place::configured(Mode::Audit, DECRYPTED));
    let trust = trusted(&container);
    gateway.attach_container(&container, &["--name", "clients"]);
    let mut calls = finish(late.into());
    let fresh = [Client::Aiohttp, Client::Node];
    let fresh = fresh.map(|client| start(&container, client, "fresh", Made::After).ready());
    calls.extend(finish(fresh.into()));
    for call in &calls {
        assert_eq!(assert_whole(server, head, call), looks[&call.0], "{}", call.1);
        assert_intercepted(call);
    }
    let traced = || gateway.traces();
    wait::until_true(SOON, "every call to be recorded", || {
        traced().iter().map(|workflow| workflow.model_steps().count()).sum::<usize>() >= 9
    });
    assert_traced(&traced(), server, &calls);
    let coverage = coverage(&gateway);
    assert!(coverage["connections_observed"].as_u64() >= Some(12), "{coverage}");
    assert!(coverage["bytes_opaque"].as_u64() >= Some(Site::REPOSITORY_BYTES as u64), "{coverage}");

    for call in &finish(early.into()) {
        let mut look = looks[&call.0].clone();
        look.tls.as_mut().expect("it speaks TLS").sni = Some(call.0.own_host());
        assert_eq!(assert_whole(server, head, call), look, "{}", call.1);
        assert_let_through(call);
    }

    gateway.detach("clients");
    assert_eq!(trusted(&container), trust);
    let again = [Client::OpenAi, Client::Requests, Client::Curl2];
    let again = again.map(|client| start(&container, client, "again", Made::After).ready());
    for call in &finish(again.into()) {
        assert_eq!(assert_whole(server, head, call), looks[&call.0], "{}", call.1);
        assert_eq!(call.2.issuer.as_deref(), Some(Authority::NAME), "{}", call.1);
    }
}

fn coverage(gateway: &Gateway) -> serde_json::Value {
    gateway.agent_json("clients").expect("it is attached")["coverage"].clone()
}

/// Runs every client on a machine, by a command that the script is appended to.
fn side_by_side(
    host: &Host,
    when: &str,
    command: &mut std::process::Command,
) -> Vec<(Client, String, Seen)> {
    let tag = |client: Client| format!("{when}-{}", client.name());
    let words = |client: Client| (client.name(), client.words(&tag(client), Made::After));
    let script = clients::side_by_side(&Client::ALL.map(words), "/var/tmp");
    let mut all = Background::spawn(when, command.args(["sh", "-c", &script]));
    let status = all.wait(Duration::from_mins(2));
    assert!(status.success(), "{status}: {}", all.stderr());
    let seen = |client: Client| {
        let file = |end| host.read(&format!("/var/tmp/{}.{end}", client.name()));
        (client, tag(client), client.read(&file("out"), &file("err")))
    };
    Client::ALL.map(seen).into()
}

#[test]
fn clients_under_run() {
    let host = Host::new();
    let (server, head) = (&host.site.server, host.site.head());
    let mut command = host.command("env");
    command.arg(format!("NODE_EXTRA_CA_CERTS={}", Site::ROOT));
    let looks: BTreeMap<Client, Look> = side_by_side(&host, "direct", &mut command)
        .iter()
        .map(|call| (call.0, assert_whole(server, head, call)))
        .collect();

    let place = Place::configured(Mode::Audit, DECRYPTED);
    let out = place.config().with_file_name("trace.jsonl");
    let options = ["--trace-out", out.to_str().expect("our own path")];
    let calls = side_by_side(&host, "run", &mut host.run(&place, &options));
    for call in &calls {
        assert_eq!(assert_whole(server, head, call), looks[&call.0], "{}", call.1);
        assert_intercepted(call);
    }
    let written = std::fs::read_to_string(&out).expect("--trace-out was written");
    let parse = |line| serde_json::from_str::<Workflow>(line).expect("a workflow");
    let traces: Vec<Workflow> = written.lines().map(parse).collect();
    assert_traced(&traces, server, &calls);
}

const SOON: Duration = Duration::from_secs(10);
