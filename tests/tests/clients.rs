//! Real clients, unchanged, over TLS: what they see, what the servers see, and what the gateway says.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use serde_json::Value;
use turnpike_tests::{
    authority::Authority,
    clients::{self, Client, Look, Made, Running, Seen},
    container::Container,
    gateway::{Gateway, Mode, Place},
    host::Host,
    model_server::{Logged, ModelServer},
    process::Background,
    site::Site,
    trace::{Step, Workflow},
    wait,
};

/// What is decrypted for agents whose TLS is. Codex asks `chatgpt.com`, too, and git its own host.
const DECRYPTED: &str = "[[intercept]]\nhosts = [\"api.openai.com\", \"api.anthropic.com\", \
                         \"*.held.example.org\"]\n";

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

/// How each client looks to the server when nothing is between them. It looks the same in every
/// test: it is tried once.
fn looks() -> &'static BTreeMap<Client, Look> {
    static LOOKS: OnceLock<BTreeMap<Client, Look>> = OnceLock::new();
    LOOKS.get_or_init(direct)
}

fn direct() -> BTreeMap<Client, Look> {
    let container = Container::start();
    let site = Site::beside(&container);
    let start = |client| start(&container, client, "direct", Made::After);
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

/// The gateway must have seen these calls as the server did.
fn assert_traced(
    traces: impl Fn() -> Vec<Workflow>,
    server: &ModelServer,
    calls: &[(Client, String, Seen)],
) {
    for (_, tag, _) in calls.iter().filter(|(client, ..)| client.chats()) {
        let logged = answered(server, tag);
        let is_it = |step: &&Step| step.response_id == logged.response_id;
        // It is recorded when its last byte has gone, which is when the client has it.
        let step = wait::until(SOON, tag, || {
            traces().iter().flat_map(Workflow::model_steps).find(is_it).cloned()
        });
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
    let (trust, mounts) = (trusted(&container), container.mounts());
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&container, &["--name", "clients"]);
    let start = |client| start(&container, client, "opaque", Made::After);
    for call in &finish(Client::ALL.map(start).map(Running::ready).into()) {
        assert_eq!(assert_whole(&site.server, site.head(), call), looks()[&call.0], "{}", call.1);
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
    let (server, head) = (&site.server, site.head());

    let late = LATE.map(|client| start(&container, client, "late", Made::After));
    let early = EARLY.map(|client| start(&container, client, "early", Made::Before));
    let (late, early) = (late.map(Running::ready), early.map(Running::ready));

    let gateway = Gateway::start_with(Mode::Audit, DECRYPTED);
    let trust = trusted(&container);
    gateway.attach_container(&container, &["--name", "clients", "--decrypt", "on"]);
    let mut calls = finish(late.into());
    let fresh = [Client::Aiohttp, Client::Node];
    let fresh = fresh.map(|client| start(&container, client, "fresh", Made::After).ready());
    calls.extend(finish(fresh.into()));
    for call in &calls {
        assert_eq!(assert_whole(server, head, call), looks()[&call.0], "{}", call.1);
        assert_intercepted(call);
    }
    assert_traced(|| gateway.traces(), server, &calls);
    let coverage = coverage(&gateway);
    // Codex has one connection for each of its sockets, and opens one or two; the others have one for
    // each call, but for git.
    let reasons = &coverage["reasons"];
    let sockets = reasons["websockets"].as_u64().expect("Codex speaks WebSocket");
    assert!((1..=2).contains(&sockets), "{coverage}");
    assert_eq!(coverage["reasons"]["tls_decrypted"], 12 + sockets, "{coverage}");
    assert_eq!(coverage["connections_observed"], 12 + sockets, "{coverage}");
    assert_eq!(reasons["opaque_switched"], Value::Null);
    assert!(reasons["websocket_messages"].as_u64() >= Some(CODEX_MESSAGES), "{coverage}");
    assert_eq!(names(&coverage), ["chatgpt.com", "git.example.org"], "{coverage}");
    assert!(coverage["bytes_opaque"].as_u64() >= Some(Site::REPOSITORY_BYTES as u64), "{coverage}");

    for call in &finish(early.into()) {
        let mut look = looks()[&call.0].clone();
        look.tls.as_mut().expect("it speaks TLS").sni = Some(call.0.own_host());
        assert_eq!(assert_whole(server, head, call), look, "{}", call.1);
        assert_let_through(call);
    }
    let agent = gateway.agent_json("clients").expect("it is attached");
    for client in EARLY {
        assert_told(&agent, client);
    }
    assert_eq!(agent["coverage"]["reasons"]["tls_distrusted"], EARLY.len(), "{agent}");

    gateway.detach("clients");
    assert_eq!(trusted(&container), trust);
    let again = [Client::OpenAi, Client::Requests, Client::Curl2];
    let again = again.map(|client| start(&container, client, "again", Made::After).ready());
    for call in &finish(again.into()) {
        assert_eq!(assert_whole(server, head, call), looks()[&call.0], "{}", call.1);
        assert_eq!(call.2.issuer.as_deref(), Some(Authority::NAME), "{}", call.1);
    }
}

/// What trusts nothing before it connects.
const LATE: [Client; 12] = [
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
/// What has its trust from when it was started, or can have.
const EARLY: [Client; 5] =
    [Client::OpenAi, Client::Anthropic, Client::Httpx, Client::Aiohttp, Client::Node];

/// The agent's list must name the program, whom it called, and what would help.
fn assert_told(agent: &Value, client: Client) {
    let lines = agent["undecrypted"].as_array().into_iter().flatten();
    let mut lines = lines.filter_map(|line| line.as_str());
    let host = client.own_host();
    let line = lines.find(|line| line.contains(&format!(" for {host}")));
    let line = line.unwrap_or_else(|| panic!("{host} is not in {agent}"));
    let (program, variable) = match client {
        Client::Node => ("/bin/node (pid ", "NODE_EXTRA_CA_CERTS="),
        _ => ("/usr/bin/python3.11 (pid ", "SSL_CERT_FILE="),
    };
    assert!(line.contains(program), "{line}");
    assert!(line.contains(&format!("{variable}{}", Site::SYSTEM_BUNDLE)), "{line}");
}

/// Of hosts whose connections were not opened.
fn names(coverage: &Value) -> Vec<&str> {
    coverage["tls_names"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn coverage(gateway: &Gateway) -> Value {
    gateway.agent_json("clients").expect("it is attached")["coverage"].clone()
}

#[test]
fn clients_in_an_enforced_container() {
    let container = Container::start();
    let site = Site::beside(&container);
    let gateway = Gateway::start_with(Mode::Enforce, DECRYPTED);
    let untrusting = start(&container, Client::Node, "untrusting", Made::Before).ready();
    gateway.attach_container(&container, &["--name", "clients"]);
    let allowed = Client::ALL.into_iter().filter(|client| *client != Client::Git);
    let start = |client| start(&container, client, "enforced", Made::After);
    let allowed: Vec<Running> = allowed.map(start).map(Running::ready).collect();
    let calls = finish(allowed);
    for call in &calls {
        let mut look = looks()[&call.0].clone();
        if call.0 == Client::Codex {
            // Messages are read one by one, so none may be compressed with what came before it.
            look.headers.retain(|name| name != "sec-websocket-extensions");
        }
        assert_eq!(assert_whole(&site.server, site.head(), call), look, "{}", call.1);
        assert_intercepted(call);
    }
    assert_traced(|| gateway.traces(), &site.server, &calls);

    let before = site.server.logged().len();
    let (_, seen) = untrusting.go().end();
    assert!(seen.response_id.is_none() && !seen.errors.is_empty(), "{seen:?}");
    let (status, seen) = start(Client::Git).ready().go().end();
    assert!(!status.success(), "{seen:?}");
    assert_eq!(site.server.logged().len(), before, "what can't be read is kept in");
    assert_told(&gateway.agent_json("clients").expect("it is attached"), Client::Node);
}

#[test]
fn codex_is_refused_what_it_does_not_bound() {
    let container = Container::start();
    let site = Site::beside(&container);
    let gateway = Gateway::start_with(Mode::Enforce, DECRYPTED);
    gateway.attach_container(&container, &["--name", "clients"]);
    let tag = "searching-codex";
    let mut command = container.interactive("env");
    let running = Client::Codex.start(command.args(clients::searching(tag)), tag);
    let (status, seen) = running.ready().go().end();
    assert!(!status.success(), "{}", seen.text);
    assert!(seen.text.contains("turnpike: it can't be said what this call costs"), "{}", seen.text);
    assert!(site.server.logged_of(tag).is_empty(), "nothing of it goes upstream");
    let coverage = coverage(&gateway);
    assert_eq!(coverage["reasons"]["calls_refused"], 1, "one attempt: {coverage}");
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
    let place = Place::configured(Mode::Audit, DECRYPTED);
    let out = place.config().with_file_name("trace.jsonl");
    let options = ["--trace-out", out.to_str().expect("our own path")];
    let calls = side_by_side(&host, "run", &mut host.run(&place, &options));
    for call in &calls {
        assert_eq!(assert_whole(server, head, call), looks()[&call.0], "{}", call.1);
        assert_intercepted(call);
    }
    let written = std::fs::read_to_string(&out).expect("--trace-out was written");
    let parse = |line| serde_json::from_str::<Workflow>(line).expect("a workflow");
    let traces: Vec<Workflow> = written.lines().map(parse).collect();
    assert_traced(|| traces.clone(), server, &calls);
}

/// Two of its own, and the least of what an answer with text comes in.
const CODEX_MESSAGES: u64 = 10;
const SOON: Duration = Duration::from_secs(10);
