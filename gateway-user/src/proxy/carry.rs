//! One connection, from its acceptance to its end.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
};

use http::uri::Scheme;
use rustls::AlertDescription;
use tokio::{io::Interest, net::TcpStream, task::yield_now, time::sleep};

use super::{
    admit::{ConnectAdmission, Refused},
    agent::Agent,
    connect::{dial, end_on_drop, reset_on_drop},
    countermand::Errands,
    coverage::{OpaqueReason, add},
    egress::Allowance,
    exchange::Connection,
    h2::{Terms, bridge},
    latch::Killed,
    leg::Leg,
    opening::{Opening, Rewound, hear},
    origin::{self, Origins},
    recording::Recording,
    relay::{Joined, Outcome, Relay},
    tap::Tap,
    tls::refuse,
    worker::Context,
};
use crate::{
    call::Reason,
    config::Mode,
    drain::{Phase, Watch},
    limits,
    names::Directory,
};

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) client: SocketAddr,
    pub(super) listener: SocketAddr,
    pub(super) netns: u64,
    /// For what has to be done about it on this thread.
    pub(super) errands: Errands,
}

/// Carries a connection until it ends, or until told to cut it.
pub(super) async fn carry<O: Origins>(
    context: Arc<Context<O>>,
    arrival: Arrival,
    mut phase: Watch,
) {
    let Arrival { stream: client, client: from, listener, netns, errands } = arrival;
    reset_on_drop(&client);
    let first_word = sleep(limits::FIRST_WORD);
    let Some(origin) = origin::find(&context.origins, netns, &client, from, listener) else {
        tracing::debug!(client = %from, "a connection of unknown origin is reset");
        return context.agents.count_unknown_origin();
    };
    if context.selftests.answers(&origin, netns, &client).await {
        return;
    }
    let admission =
        match ConnectAdmission::decide(&context.agents, origin, (from, listener), &errands) {
            Ok(admission) => admission,
            Err(refused) => {
                tracing::debug!(client = %from, %refused, "a connection is reset");
                if refused == Refused::NoAgent {
                    context.agents.count_unknown_origin();
                }
                return;
            }
        };
    let (recording, names) = (Arc::clone(&context.recording), Arc::clone(&context.names));
    drop((context, errands));
    let cutting = phase.clone();
    let mut until = Until::new(phase.clone(), admission.agent());
    let mut ending = pin!(async {
        tokio::select! {
            () = async { phase.reached(Phase::Draining).await; first_word.await } => {}
            _ = until.told() => {}
        }
    });
    let upstream = tokio::select! {
        // First, for the order of things: who resets a connection may have used it before.
        biased;
        dialled = reach(&admission) => match dialled {
            Ok(upstream) => upstream,
            Err(_) => return,
        },
        _ = client.ready(Interest::ERROR) => return,
        () = &mut ending => return,
    };
    // Failing that, small writes wait a little longer.
    let _ = client.set_nodelay(true);
    let (of_client, of_upstream) = (Vec::new(), Vec::new());
    let mut next = Some(Joined { admission, client, upstream, of_client, of_upstream });
    // A tunnel through a proxy carries another connection.
    while let Some(Joined { admission, client, upstream, of_client, of_upstream }) = next {
        let (recording, names) = (Arc::clone(&recording), Arc::clone(&names));
        let (ending, phase) = (ending.as_mut(), cutting.clone());
        let path = Path { admission, client, recording, names, ending, phase };
        next = path.carry(upstream, of_client, of_upstream).await;
    }
}

/// When a connection is to end, whatever is under way: with the gateway, or with its agent.
#[derive(Debug)]
pub(super) struct Until {
    phase: Watch,
    killed: Killed,
}

impl Until {
    pub(super) fn new(phase: Watch, agent: &Agent) -> Self {
        Self { phase, killed: agent.killed() }
    }

    /// Resolves then, with why.
    pub(super) async fn told(&mut self) -> Reason {
        tokio::select! {
            () = self.phase.reached(Phase::Cut) => Reason::ending(),
            reason = self.killed.told() => reason,
        }
    }
}

/// Dials what was admitted. Counted if it can't be.
async fn reach(admission: &ConnectAdmission) -> io::Result<TcpStream> {
    let dialled = match admission.through() {
        None => dial(admission.admitted()).await,
        Some(_) => Err(io::Error::other("its tunnel is used up")),
    };
    dialled.inspect_err(|error| {
        tracing::debug!(destination = %admission.destination(), %error, "can't dial");
        admission.agent().coverage.refused();
    })
}

/// An admitted connection, and what it takes to carry it.
pub(super) struct Path<'a, E> {
    pub(super) admission: ConnectAdmission,
    pub(super) client: TcpStream,
    pub(super) recording: Arc<Recording>,
    pub(super) names: Arc<Directory>,
    /// Ready when the connection is to end as soon as it can.
    pub(super) ending: Pin<&'a mut E>,
    /// Tells when it is to end, whatever is under way.
    pub(super) phase: Watch,
}

/// Why a connection can't be read.
pub(super) struct Unread {
    pub(super) reason: OpaqueReason,
    /// The host, by the client's word.
    pub(super) name: Option<Box<str>>,
    /// What the client is told if it may not go on so.
    pub(super) alert: AlertDescription,
}

impl<E: Future<Output = ()>> Path<'_, E> {
    /// Until it ends, or a tunnel begins.
    async fn carry(
        mut self,
        mut upstream: TcpStream,
        of_client: Vec<u8>,
        of_upstream: Vec<u8>,
    ) -> Option<Joined<TcpStream, TcpStream>> {
        if !of_upstream.is_empty() {
            return self.relay(upstream, (of_client, of_upstream), None).await;
        }
        match self.opening(&mut upstream, of_client).await {
            Opening::Plain(held) => return self.relay(upstream, (held, Vec::new()), None).await,
            // In boxes of their own: most connections need neither.
            Opening::Http2(held) => Box::pin(self.bridge(upstream, held)).await,
            Opening::Tls(hello, held) => Box::pin(self.tls(upstream, hello, held)).await,
            Opening::Unreadable(held) => {
                let no = Unread {
                    reason: OpaqueReason::TlsHello,
                    name: None,
                    alert: AlertDescription::DecodeError,
                };
                Box::pin(self.unread(Some(upstream), held, no)).await;
            }
            Opening::Gone => {}
            Opening::Unsaid => {
                end_on_drop(&self.client);
                end_on_drop(&upstream);
            }
        }
        None
    }

    async fn opening(&mut self, upstream: &mut TcpStream, held: Vec<u8>) -> Opening {
        let agent = self.admission.agent();
        let into_tls = agent.decryption.is_some();
        let ending = self.ending.as_mut();
        hear(&mut self.client, upstream, held, into_tls, &agent.bounds, ending).await
    }

    /// As it is; from the beginning unread, if there is a reason. What it goes on with if a tunnel
    /// begins.
    pub(super) async fn relay(
        self,
        upstream: TcpStream,
        (of_client, of_upstream): (Vec<u8>, Vec<u8>),
        unread: Option<(OpaqueReason, Allowance)>,
    ) -> Option<Joined<TcpStream, TcpStream>> {
        let local = upstream.local_addr().ok();
        let connection = connection(self.admission, local, self.recording);
        let tap = match unread {
            Some((reason, allowance)) => Tap::unread(connection, reason, allowance),
            None => Tap::new(connection),
        };
        let mut relay = Relay::new(self.client, of_client, upstream, tap).after(of_upstream);
        match run(&mut relay, self.ending, &self.phase).await {
            Outcome::Over => None,
            Outcome::Parting => {
                Box::pin(relay.part()).await;
                None
            }
            Outcome::Abandoned => {
                Box::pin(read_on(relay, self.phase)).await;
                None
            }
            Outcome::Refused(refusal) => {
                Box::pin(relay.refuse(refusal)).await;
                None
            }
            Outcome::Tunnel => relay.into_tunnel(),
        }
    }

    /// HTTP/2 without TLS.
    async fn bridge(self, mut upstream: TcpStream, held: Vec<u8>) {
        if let Err(denied) = self.admission.agent().may_be_read(&self.admission.whither(), None) {
            return tracing::debug!(%denied, "refused");
        }
        let mut client = Rewound::new(held, self.client);
        let strict = self.admission.agent().mode == Mode::Enforce;
        let local = upstream.local_addr().ok();
        let connection = connection(self.admission, local, self.recording);
        let terms = Terms { scheme: Scheme::HTTP, strict };
        let ends = (self.ending, self.phase);
        match bridge(&mut client, &mut upstream, &connection, terms, ends).await {
            Ok(()) => {
                end_on_drop(&client.stream);
                end_on_drop(&upstream);
            }
            Err(error) => tracing::debug!(connection = %connection.id, %error, "HTTP/2"),
        }
    }

    /// TLS that can't be read: the one place that decides whether it goes on so. Without a
    /// connection to upstream, because it is used up, another is made.
    pub(super) async fn unread(self, upstream: Option<TcpStream>, held: Vec<u8>, no: Unread) {
        let agent = self.admission.agent();
        let Unread { reason, name, alert } = no;
        tracing::debug!(?reason, ?name, agent = %agent.reference().name, "TLS that is not read");
        let meant = reason != OpaqueReason::Tls;
        let whither = self.admission.whither();
        let allowance = match agent.may_stay_unread(&whither, name.as_deref(), meant) {
            Ok(allowance) => allowance,
            Err(denied) => {
                tracing::debug!(?reason, %denied, "refused");
                add(&agent.coverage.refused_unread, 1);
                return refuse(&self.client, alert);
            }
        };
        agent.coverage.tls_name(name);
        let upstream = if let Some(upstream) = upstream {
            Ok(upstream)
        } else {
            tokio::select! {
                biased;
                dialled = reach(&self.admission) => dialled,
                _ = self.client.ready(Interest::ERROR) => return,
            }
        };
        if let Ok(upstream) = upstream {
            self.relay(upstream, (held, Vec::new()), Some((reason, allowance))).await;
        }
    }
}

/// Relays until the end; from when it is to end on, only what is under way; and that no longer than
/// until it is cut.
pub(super) async fn run<C: Leg, U: Leg>(
    relay: &mut Relay<C, U>,
    ending: Pin<&mut impl Future<Output = ()>>,
    phase: &Watch,
) -> Outcome {
    tokio::select! {
        biased;
        outcome = &mut *relay => return outcome,
        () = ending => {}
    }
    // In a box of its own: most connections end before.
    Box::pin(drain(relay, phase.clone())).await
}

async fn drain<C: Leg, U: Leg>(relay: &mut Relay<C, U>, phase: Watch) -> Outcome {
    // Others that end with it let go of upstream first, where that is enough.
    yield_now().await;
    let mut until = Until::new(phase, relay.agent());
    relay.drain();
    let outcome = tokio::select! {
        biased;
        outcome = &mut *relay => outcome,
        reason = until.told() => {
            relay.cut(&reason);
            relay.await
        }
    };
    match outcome {
        // Nothing is under way in it yet.
        Outcome::Tunnel => Outcome::Over,
        outcome => outcome,
    }
}

/// Has the answer of a client that has left heard out, unless everything is to end.
pub(super) async fn read_on<C: Leg, U: Leg>(relay: Relay<C, U>, phase: Watch) {
    let mut until = Until::new(phase, relay.agent());
    relay.read_on(until.told()).await;
}

pub(super) fn connection(
    admission: ConnectAdmission,
    upstream_local: Option<SocketAddr>,
    recording: Arc<Recording>,
) -> Connection {
    let (depth, whither) = (admission.depth(), admission.whither());
    let (agent, origin, destination, place) = admission.into_parts();
    Connection::new(agent, &origin, destination, upstream_local, place, recording)
        .in_tunnels(depth, whither)
}

#[cfg(test)]
mod tests {
    use std::{future::pending, net::TcpListener};

    use rustls::{RootCertStore, pki_types::ServerName, sign::CertifiedKey};

    use super::*;
    use crate::{
        call::{AgentRef, Settlement, Spent, Step, StepId, Timestamp, WorkflowId},
        lineage::{Completion, Placement},
        policy::hosts::HostList,
        price::Prices,
        proxy::{
            Agent, Certificates, Clock, Decryption, NoLeaf, Recorder, Roots,
            admit::tests::admission_of,
            tls::{ClientHello, TlsLeg, Versions},
        },
    };

    struct Nowhere;

    impl Recorder for Nowhere {
        fn placed(&self, _: &AgentRef, _: &Placement, _: Step, _: Option<String>) {}
        fn finished(
            &self,
            _: &AgentRef,
            _: WorkflowId,
            _: Settlement,
            _: &Completion,
            _: Timestamp,
        ) {
        }
        fn spent(&self, _: &AgentRef, _: WorkflowId, _: StepId, _: Spent) {}
    }

    /// Has none.
    struct Bare;

    impl Certificates for Bare {
        fn leaf(&self, _: &ServerName<'_>, _: bool) -> Result<Arc<CertifiedKey>, NoLeaf> {
            Err(NoLeaf("none".into()))
        }
    }

    /// An agent whose TLS with `a.example` is decrypted.
    fn decrypting(agent: Agent) -> Agent {
        let hosts = HostList::parse(["a.example"]).expect("a host");
        let roots = Arc::new(RootCertStore::empty());
        let roots = Roots { agent: Arc::clone(&roots), node: roots };
        agent.decrypting(Decryption::new(Arc::new(hosts), roots, Arc::new(Bare)))
    }

    /// A connection's path with its upstream, and what is at their other ends.
    async fn path<E>(ending: Pin<&mut E>) -> (Path<'_, E>, TcpStream, [std::net::TcpStream; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("it listens");
        let upstream = TcpStream::connect(address).await.expect("it listens");
        let ends = [(); 2].map(|()| listener.accept().expect("one came").0);
        let recorder = Arc::new(Nowhere);
        let recording =
            Arc::new(Recording::new(Clock::start(), [0; 32], recorder, Prices::default()));
        let admission = admission_of(decrypting, address);
        let (names, phase) = (Arc::default(), crate::drain::channel().1);
        let path = Path { admission, client, recording, names, ending, phase };
        (path, upstream, ends)
    }

    fn hello() -> ClientHello {
        ClientHello {
            server_name: Some("a.example".into()),
            versions: Versions { tls12: true, tls13: true },
            ..ClientHello::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_does_not_answer_in_tls_has_so_much_time() {
        let mut ending = pin!(pending());
        let (path, upstream, _ends) = path(ending.as_mut()).await;
        let agent = Arc::clone(path.admission.agent());
        let begun = tokio::time::Instant::now();
        path.tls(upstream, hello(), vec![22, 3]).await;
        assert_eq!(begun.elapsed().as_secs(), limits::TLS_HANDSHAKE_TIME.as_secs());
        let coverage = agent.coverage.snapshot();
        assert_eq!(coverage.reasons.get("tls_late"), Some(&1));
        assert_eq!(agent.bounds.hits(limits::Bound::HandshakeTime), 1);
        assert_eq!(coverage.connections_reset, 1);
    }

    /// What is kept for a connection that waits, beside its sockets: the future of a plain one, in
    /// its task; of a decrypted one in a box of its own, with the state of TLS in it.
    #[tokio::test]
    async fn a_connection_costs_little_more_than_its_relay() {
        let mut ending = pin!(pending());
        let (way, upstream, _ends) = path(ending.as_mut()).await;
        let plain = size_of_val(&way.relay(upstream, (Vec::new(), Vec::new()), None));
        let relay = size_of::<Relay<TcpStream, TcpStream>>();
        let mut ending = pin!(pending());
        let (way, upstream, _ends) = path(ending.as_mut()).await;
        let decrypted = size_of_val(&way.tls(upstream, hello(), Vec::new()));
        let legs = size_of::<Relay<TlsLeg, TlsLeg>>();
        println!("plain {plain}, of it the relay {relay}; decrypted {decrypted}, of it {legs}");
        assert!(plain < 3 * 512, "plain: {plain}");
        assert!(decrypted < 4 * 1024, "decrypted: {decrypted}");
    }
}
