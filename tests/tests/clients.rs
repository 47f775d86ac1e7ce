//! Real clients, unchanged, over TLS: what they see, what the servers see, and what the gateway says.

use std::collections::BTreeMap;

use turnpike_tests::{
    authority::Authority,
    clients::{Client, Look, Made, Running, Seen},
    container::Container,
    model_server::Logged,
    site::Site,
};

/// A client in the container, which waits to be told.
fn start(container: &Container, client: Client, when: &str, made: Made) -> Running {
    let tag = format!("{when}-{}", client.name());
    let mut command = container.interactive("env");
    command.arg(format!("NODE_EXTRA_CA_CERTS={}", Site::SYSTEM_BUNDLE));
    client.start(command.args(client.words(&tag, made)), &tag)
}

/// The answer that a client's one call got, as the server has it.
fn answered(site: &Site, tag: &str) -> Logged {
    let mut all = site.server.logged_of(tag);
    assert_eq!(all.len(), 1, "{tag} was answered so often: {all:?}");
    all.remove(0)
}

/// What the client saw must be what the server answered, to the byte.
fn assert_whole(site: &Site, client: Client, tag: &str, seen: &Seen) -> Look {
    if client == Client::Git {
        assert!(seen.text.contains(site.head()), "{tag}: {seen:?}");
        let fetched = site.server.logged().into_iter().filter(|l| l.path.ends_with(".pack"));
        return Look::of(&fetched.last().expect("git fetched a pack"));
    }
    let logged = answered(site, tag);
    if client == Client::Codex {
        assert!(seen.text.contains("Answer 0: the archive holds nothing unusual"), "{seen:?}");
        return Look::of(&logged);
    }
    assert_eq!((seen.status, logged.status), (Some(200), 200), "{tag}: {seen:?}");
    assert_eq!(seen.response_id, logged.response_id, "{tag}: {seen:?}");
    assert_eq!(seen.response_sha256, logged.response_sha256, "{tag}: {seen:?}");
    // curl sends what it is given.
    let sent = seen.request_sha256.as_ref().unwrap_or(&logged.request_sha256);
    assert_eq!(*sent, logged.request_sha256, "{tag}: {seen:?}");
    Look::of(&logged)
}

/// How each client looks to the server when nothing is between them.
fn direct(container: &Container, site: &Site) -> BTreeMap<Client, Look> {
    let running = Client::ALL.map(|client| start(container, client, "direct", Made::After));
    let running = running.map(Running::ready).map(Running::go);
    let mut looks = BTreeMap::new();
    for running in running {
        let (client, tag) = (running.client, running.tag.clone());
        let seen = running.seen();
        let look = assert_whole(site, client, &tag, &seen);
        assert_eq!(look.version, client.version(), "{tag}");
        assert!(seen.errors.is_empty(), "{tag}: {seen:?}");
        if let Some(issuer) = &seen.issuer {
            assert_eq!(issuer, Authority::NAME, "{tag}");
        }
        looks.insert(client, look);
    }
    looks
}

#[test]
fn clients_in_an_attached_container() {
    let container = Container::start();
    let site = Site::beside(&container);
    let looks = direct(&container, &site);
    println!("{looks:#?}");
}
