//! A connection whose TLS ends here, on both sides.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Instant};

use http::uri::Scheme;
use rustls::{AlertDescription, pki_types::ServerName};
use tokio::{io::Interest, net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    agent::Agent,
    carry::{Path, Unread, connection, read_on, run},
    connect::end_on_drop,
    coverage::{OpaqueReason, add},
    exchange::{Connection, Server},
    h2::{Terms, bridge},
    leg::Leg as _,
    opening::Rewound,
    recording::Recording,
    relay::{Joined, Outcome, Relay},
    tap::Tap,
    tls::{
        Binary, ClientHello, Decryption, Greeted, Inside, NoGuise, Said, TlsLeg, Unmet, Wanted,
        Why, refuse,
    },
};
use crate::{call::Timestamp, config::Mode, drain::Watch, limits};

/// A client that is to be decrypted.
struct Case<'a> {
    agent: &'a Agent,
    decryption: &'a Decryption,
    name: ServerName<'static>,
    /// What runs in the client's process.
    binary: Option<Binary>,
    pid: u32,
}

impl<E: Future<Output = ()>> Path<'_, E> {
    /// A client that has said hello, which is held. What is over when the connection is carried is in
    /// boxes of its own, so that it is given back then.
    pub(super) async fn tls(self, upstream: TcpStream, hello: ClientHello, held: Vec<u8>) {
        let agent = Arc::clone(self.admission.agent());
        let Some(decryption) = &agent.decryption else {
            self.relay(upstream, (held, Vec::new()), None).await;
            return;
        };
        let now = self.recording.clock.now();
        let (address, port) = self.admission.leads_to();
        let called = || match self.admission.through() {
            Some(to) => vec![to.host().into()],
            None => self.names.of(agent.id, address, now),
        };
        let no = |reason, alert| Unread { reason, name: hello.server_name.clone(), alert };
        let name = match decryption.wants(&hello, address, called) {
            Wanted::Decrypted(name) => name,
            Wanted::Unread(reason) => {
                let no = no(reason, AlertDescription::AccessDenied);
                return Box::pin(self.unread(Some(upstream), held, no)).await;
            }
        };
        let asked = hello.server_name.as_deref();
        if let Err(denied) = agent.may_be_read(&self.admission.whither(), asked) {
            tracing::debug!(%denied, "refused");
            return refuse(&self.client, AlertDescription::AccessDenied);
        }
        let host = decryption.host(&name, port);
        let pid = self.admission.origin().tgid;
        let case = Case { agent: &agent, decryption, name, binary: Binary::of(pid), pid };
        let spared = || agent.is_spared(&self.admission.whither(), asked);
        if let Some(unmet) = host.unmet(agent.mode, now).or_else(|| case.distrusts(now, spared)) {
            let no = no(unmet.reason, unmet.alert);
            return Box::pin(self.unread(Some(upstream), held, no)).await;
        }
        let local = upstream.local_addr().ok();
        let handshake_time = agent.bounds.limits().handshake_time;
        let greeting = decryption.greet(&host, &hello, Rewound::new(Vec::new(), upstream), now);
        let greeted = tokio::select! {
            biased;
            greeted = timeout(handshake_time, Box::pin(greeting)) => greeted,
            _ = self.client.ready(Interest::ERROR) => return,
        };
        let Ok(greeted) = greeted else { return agent.tls_late() };
        let met = greeted.and_then(|greeted| {
            let guise = case.decryption.guise(&case.name, &greeted);
            Ok((greeted, guise.map_err(|error| unable(&error))?))
        });
        match met {
            Ok((greeted, guise)) => self.decrypt(case, (greeted, local), guise, held).await,
            Err(unmet) => {
                Box::pin(self.unread(None, held, no(unmet.reason, unmet.alert))).await;
            }
        }
    }

    /// Upstream is there; now the client is met in its guise.
    async fn decrypt(
        self,
        case: Case<'_>,
        (greeted, local): (Greeted, Option<SocketAddr>),
        guise: TlsAcceptor,
        held: Vec<u8>,
    ) {
        let Self { admission, client, recording, mut ending, phase, .. } = self;
        let Greeted { leg: upstream, verified, inside, .. } = greeted;
        let clock = recording.clock;
        let handshake_time = case.agent.bounds.limits().handshake_time;
        let accepting = guise.accept(Rewound::new(held, client)).into_fallible();
        let accepting = async { accepting.await.map(TlsLeg::new) };
        let client = match timeout(handshake_time, Box::pin(accepting)).await {
            Ok(Ok(client)) => client,
            Ok(Err((error, client))) => {
                if verified.for_agent {
                    case.note(Why::of(&error), clock.now());
                }
                end_on_drop(&client.stream);
                return end_on_drop(upstream.socket());
            }
            Err(_) => return case.agent.tls_late(),
        };
        case.agent.coverage.tls_decrypted(verified.for_agent);
        let since = Instant::now();
        let server = Server {
            name: case.name.to_str().into(),
            verified: verified.for_node,
            vouched_for: verified.for_agent,
        };
        let connection = connection(admission, local, Arc::clone(&recording)).with(server);
        let legs = (client, upstream);
        let said = match inside {
            Some(Inside::Http2) => Box::pin(both(legs, &connection, (ending, phase))).await,
            Some(Inside::Http1) | None => {
                let mut relay = Relay::new(legs.0, Vec::new(), legs.1, Tap::new(connection));
                let outcome = run(&mut relay, ending.as_mut(), &phase).await;
                let said = (relay.client().said(), relay.upstream().said());
                if outcome != Outcome::Over {
                    Box::pin(go_on(relay, outcome, &recording, (ending, phase))).await;
                }
                said
            }
        };
        if let Some(why) = left_silently(said, since)
            && verified.for_agent
        {
            case.note(why, clock.now());
        }
    }
}

/// What comes after HTTP/1 inside TLS: a tunnel through an HTTPS proxy carries a connection of its
/// own, which is relayed as it is.
async fn go_on(
    mut relay: Relay<TlsLeg, TlsLeg>,
    mut outcome: Outcome,
    recording: &Arc<Recording>,
    (mut ending, phase): (Pin<&mut impl Future<Output = ()>>, Watch),
) {
    loop {
        match outcome {
            Outcome::Over => return,
            Outcome::Refused(refusal) => return relay.refuse(refusal).await,
            Outcome::Parting => return relay.part().await,
            Outcome::Abandoned => return read_on(relay, phase).await,
            Outcome::Tunnel => {}
        }
        let Some(joined) = relay.into_tunnel() else { return };
        let Joined { admission, client, upstream, of_client, of_upstream } = joined;
        let local = upstream.socket().local_addr().ok();
        let tap = Tap::new(connection(admission, local, Arc::clone(recording)));
        relay = Relay::new(client, of_client, upstream, tap).after(of_upstream);
        outcome = run(&mut relay, ending.as_mut(), &phase).await;
    }
}

/// HTTP/2 on both sides. What was said on each.
async fn both(
    (mut client, mut upstream): (TlsLeg, TlsLeg),
    connection: &Connection,
    ends: (impl Future<Output = ()>, Watch),
) -> (Said, Said) {
    let strict = connection.agent.mode == Mode::Enforce;
    let terms = Terms { scheme: Scheme::HTTPS, strict };
    match bridge(&mut client, &mut upstream, connection, terms, ends).await {
        Ok(()) => {
            end_on_drop(client.socket());
            end_on_drop(upstream.socket());
        }
        Err(error) => tracing::debug!(connection = %connection.id, %error, "HTTP/2"),
    }
    (client.said(), upstream.said())
}

impl Case<'_> {
    /// Whether the client's program did not trust us before. In enforce, unless it is `spared`, it is
    /// met all the same: it may trust us by now, and says nothing to upstream if it does not.
    fn distrusts(&self, now: Timestamp, spared: impl FnOnce() -> bool) -> Option<Unmet> {
        let (binary, host) = (self.binary.as_ref(), self.name.to_str());
        let known = self.decryption.distrusted().expects(binary, &host, now)
            && (self.agent.mode == Mode::Audit || spared());
        known.then_some(Unmet {
            reason: OpaqueReason::Distrust,
            alert: AlertDescription::AccessDenied,
        })
    }

    /// The client did not trust us.
    fn note(&self, why: Why, now: Timestamp) {
        let host = self.name.to_str();
        let (agent, binary) = (self.agent.reference(), &self.binary);
        tracing::info!(agent = agent.name, %host, pid = self.pid, ?binary, %why, "a client does not trust us");
        add(&self.agent.coverage.tls_distrusted, 1);
        self.decryption.distrusted().note((binary.clone(), self.pid), &host, why, now);
    }
}

fn unable(error: &NoGuise) -> Unmet {
    tracing::warn!(%error, "TLS can't be decrypted");
    Unmet { reason: OpaqueReason::NoCertificate, alert: AlertDescription::InternalError }
}

/// How a client has left that said nothing after its handshake, and did so first, and so soon that it
/// must have been for what it saw in it.
fn left_silently((client, upstream): (Said, Said), since: Instant) -> Option<Why> {
    let Said::Left(at, why) = client else { return None };
    let second = matches!(upstream, Said::Left(before, _) if before < at);
    (!second && at.duration_since(since) < limits::SILENT_LEAVE).then_some(why)
}
