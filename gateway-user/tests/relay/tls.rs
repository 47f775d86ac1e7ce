//! TLS with real clients and real servers.

mod clients;
mod countermand;
mod ends;
mod h2;
mod opening;
mod pki;
mod shown;
mod unread;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};
use serde_json::json;
use turnpike::{
    config::Mode,
    limits::{Bounds, Limits},
    proxy::{Agent, Rules},
};

use self::pki::{BOTH, Pki};
use super::{
    bed::{Bed, Server, eventually, everywhere},
    fetch::{Model, is_fetch},
};

type Client = StreamOwned<ClientConnection, TcpStream>;
type Upstream = StreamOwned<ServerConnection, TcpStream>;

/// A host that is decrypted.
const NAME: &str = "api.example.com";

/// A proxy that decrypts what goes to [`NAME`], and everybody's certificates.
struct Rig {
    bed: Bed,
    pki: Pki,
    listener: Server,
}

impl Rig {
    fn new(mode: Mode) -> Self {
        Self::listing(mode, &[NAME, "127.0.0.1"])
    }

    fn listing(mode: Mode, hosts: &[&str]) -> Self {
        Self::ruled(mode, hosts, everywhere())
    }

    fn ruled(mode: Mode, hosts: &[&str], rules: Arc<Rules>) -> Self {
        Self::of(hosts, |agent| agent.in_mode(mode).under(rules))
    }

    fn within(limits: Limits) -> Self {
        Self::of(&[NAME], |agent| agent.within(Arc::new(Bounds::new(limits))))
    }

    fn of(hosts: &[&str], prepare: impl FnOnce(Agent) -> Agent) -> Self {
        let pki = Pki::new();
        let decryption = pki.decryption(hosts);
        let bed = Bed::with(|agent| prepare(agent.decrypting(decryption)));
        Self { bed, pki, listener: Server::new() }
    }

    /// A client and a server that meet through the proxy, each as far as it gets.
    fn meet(
        &self,
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> (io::Result<Client>, io::Result<Upstream>) {
        self.meet_as(NAME, client, server)
    }

    fn meet_as(
        &self,
        name: &str,
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> (io::Result<Client>, io::Result<Upstream>) {
        let stream = self.bed.connect(self.listener.address);
        std::thread::scope(|scope| {
            let accepting = scope.spawn(|| accept(self.listener.accept(), server));
            let called = call(stream, client, name);
            (called, accepting.join().expect("it does not panic"))
        })
    }

    /// The same, where both must get on.
    fn met(&self, client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Client, Upstream) {
        let (client, upstream) = self.meet(client, server);
        (client.expect("the client is content"), upstream.expect("so is the server"))
    }
}

/// The handshake of a client.
fn call(mut stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
    connection.complete_io(&mut stream)?;
    Ok(StreamOwned::new(connection, stream))
}

/// The handshake of a server.
fn accept(mut stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Upstream> {
    let mut connection = ServerConnection::new(Arc::clone(config)).expect("a configuration");
    connection.complete_io(&mut stream)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Sends from one side and receives it on the other.
fn pass(from: &mut impl Write, to: &mut impl Read, bytes: &[u8]) {
    from.write_all(bytes).expect("it is open");
    from.flush().expect("it is open");
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).expect("it comes");
    assert!(received == bytes, "something else comes");
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One exchange.
fn talk(client: &mut Client, upstream: &mut Upstream) {
    pass(client, upstream, REQUEST);
    pass(upstream, client, ANSWER);
}

/// Both say that they end.
fn part(mut client: Client, mut upstream: Upstream) {
    client.conn.send_close_notify();
    client.flush().expect("it is open");
    assert_eq!(upstream.read(&mut [0; 1]).expect("the client says that it ends"), 0);
    upstream.conn.send_close_notify();
    upstream.flush().expect("it is open");
    upstream.sock.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(client.read(&mut [0; 1]).expect("the server says that it ends"), 0);
}

#[test]
fn a_url_that_a_tool_call_names_may_be_fetched_in_tls() {
    let rig = Rig::new(Mode::Audit);
    let own = rig.pki.server(&[NAME]);
    let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &own);
    Model::new(&rig.bed).plans("fetch", &json!({ "url": format!("http://{NAME}/") }));
    rig.bed.steps.finished(1);
    talk(&mut client, &mut upstream);
    eventually("it is another URL", || rig.bed.counted("exchanges_other") == 1);
    Model::new(&rig.bed).plans("fetch", &json!({ "url": format!("https://{NAME}") }));
    let planned = rig.bed.steps.finished(2).remove(1);
    talk(&mut client, &mut upstream);
    is_fetch(&rig.bed.steps.finished(3)[2], &planned);
}

#[test]
fn a_host_that_is_not_listed_is_left_alone() {
    let rig = Rig::new(Mode::Enforce);
    let name = "elsewhere.example";
    let (own, only) = (rig.pki.server(&[name]), rig.pki.trusting_upstreams_ca());
    let (client, upstream) = rig.meet_as(name, &only, &own);
    let mut client = client.expect("it sees upstream's own certificate");
    let mut upstream = upstream.expect("it is content");
    pass(&mut client, &mut upstream, &vec![7; 300_000]);
    pass(&mut upstream, &mut client, &vec![8; 300_000]);
    part(client, upstream);
    let coverage = rig.bed.coverage();
    assert_eq!(coverage.reasons.get("opaque_tls"), Some(&1), "{:?}", coverage.reasons);
    assert_eq!(coverage.tls_names.get(name), Some(&1));
    assert_eq!(coverage.bytes_observed, 0);
    assert!(coverage.bytes_opaque > 600_000);
}
