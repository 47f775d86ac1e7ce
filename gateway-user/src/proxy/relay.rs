//! A relayed connection: both directions, and what ends it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::{
    io::AsyncReadExt as _,
    task::yield_now,
    time::{Sleep, sleep, timeout},
};

use super::{
    admit::ConnectAdmission,
    agent::Agent,
    connect::{end_on_drop, reset_now},
    exchange::Ended,
    http::{Progress, ReadingOn},
    lane::{End, Failure, Lane, Watcher},
    leg::Leg,
    refusal::{Refusal, farewell},
    silence::Silence,
    tap::{Ending, Tap},
    way::Verdict,
};
use crate::{call::Reason, limits};

/// Carries a connection until it ends. Either direction may end before the other; an error on
/// either side becomes a reset of both, as it would have been one for the two without us. What the
/// failed side had sent before is passed on first, as far as the other takes it at once: a server
/// may answer and close while the client still sends.
///
/// Both streams come to it as ones that are reset when they are dropped, and stay so until the
/// connection has ended in good order.
#[derive(Debug)]
pub(super) struct Relay<C, U> {
    client: C,
    upstream: U,
    up: Lane,
    down: Lane,
    tap: Tap,
    draining: bool,
    /// Upstream was let go, because what is under way is to end.
    let_go: bool,
    late: Option<Late>,
    /// When it is looked again whether a client that has ended what it says is still there.
    look: Option<Pin<Box<Sleep>>>,
    /// Absent where connections may be silent for as long as they like.
    silence: Option<Silence>,
    /// What is read on when the client has left.
    abandoned: Option<Box<ReadingOn>>,
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    Over,
    /// The client is still to be told: [`Relay::refuse`].
    Refused(Refusal),
    /// The client has still to hear the last words: [`Relay::part`].
    Parting,
    /// The client has left, and its answer is still to be heard: [`Relay::read_on`].
    Abandoned,
    /// The two go on through a tunnel: [`Relay::into_tunnel`].
    Tunnel,
}

/// The two sides of a connection, from which this was read and not passed on.
#[derive(Debug)]
pub(super) struct Joined<C, U> {
    pub(super) admission: ConnectAdmission,
    pub(super) client: C,
    pub(super) upstream: U,
    pub(super) of_client: Vec<u8>,
    pub(super) of_upstream: Vec<u8>,
}

/// When the head of a request counts as late.
#[derive(Debug)]
struct Late {
    head: u64,
    /// Absent once it was.
    at: Option<Pin<Box<Sleep>>>,
}

/// One of the two that a connection joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

impl<C: Leg, U: Leg> Relay<C, U> {
    /// Of a client from which this was read already.
    pub(super) fn new(client: C, held: Vec<u8>, upstream: U, tap: Tap) -> Self {
        let (up, down) = (Lane::beginning_with(held), Lane::default());
        let silence = tap.idle_time().map(Silence::new);
        Self {
            client,
            upstream,
            up,
            down,
            tap,
            draining: false,
            let_go: false,
            late: None,
            look: None,
            silence,
            abandoned: None,
        }
    }

    /// The same, and from upstream too.
    pub(super) fn after(self, of_upstream: Vec<u8>) -> Self {
        Self { down: Lane::beginning_with(of_upstream), ..self }
    }

    pub(super) const fn client(&self) -> &C {
        &self.client
    }

    pub(super) const fn upstream(&self) -> &U {
        &self.upstream
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.tap.connection().agent
    }

    /// From now on the connection ends as soon as no exchange is under way on it.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// From now on the connection ends, whatever is under way on it.
    pub(super) fn cut(&mut self, reason: &Reason) {
        self.tap.part(reason);
    }

    /// Resets upstream, and tells the client why.
    pub(super) async fn refuse(mut self, refusal: Refusal) {
        drop(self.upstream);
        farewell(&mut self.client, &self.tap.answer(refusal)).await;
    }

    /// Resets upstream, and tells the client the last words behind what it has not taken yet.
    pub(super) async fn part(mut self) {
        drop(self.upstream);
        let words = [self.down.take_unsent(), self.tap.take_words()].concat();
        farewell(&mut self.client, &words).await;
    }

    /// Reads the answer that the client has not waited for, until it is whole, or the call is to end, or
    /// everything is.
    pub(super) async fn read_on(self, all_end: impl Future<Output = Reason>) {
        let Self { client, mut upstream, abandoned, .. } = self;
        drop(client);
        let Some(mut answer) = abandoned else { return };
        let cut = answer.take_cut();
        let told = poll_fn(|cx| match cut.as_ref().and_then(|cut| cut.poll(cx)) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        });
        let ended = tokio::select! {
            biased;
            () = told => Ended::ClientGone,
            _ = all_end => Ended::ClientGone,
            ended = timeout(limits::REPLAY_TIME, hear(&mut upstream, &mut answer)) => {
                ended.unwrap_or(Ended::ClientGone)
            }
        };
        if ended == Ended::Whole {
            end_on_drop(upstream.socket());
        }
        drop(upstream);
        if let Some(cut) = &cut {
            cut.let_go();
        }
        answer.end(ended);
    }

    /// What the two go on with. `None` if there is no tunnel.
    pub(super) fn into_tunnel(mut self) -> Option<Joined<C, U>> {
        let (to, [of_client, of_upstream]) = self.tap.take_tunnel()?;
        let connection = self.tap.connection();
        tracing::debug!(connection = %connection.id, %to, "a tunnel");
        let admission = ConnectAdmission::of_tunnel(connection, to);
        let Self { client, upstream, .. } = self;
        Some(Joined { admission, client, upstream, of_client, of_upstream })
    }

    /// The same as a [turn](Self::poll_turn), and again while one direction makes bytes of the
    /// other readable.
    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Side>> {
        loop {
            let turn = self.poll_turn(cx);
            // What upstream does not take now wakes the connection when it does.
            let taken = self.up.is_flushed();
            if turn.is_ready() || !taken || !self.tap.can_pass_kept(Side::Client) {
                return turn;
            }
        }
    }

    /// Ready when both directions have ended, or with the side that failed.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Side>> {
        let Self { client, upstream, tap, .. } = self;
        let up = self.up.poll(cx, client, upstream, &mut FromClient(tap));
        let up = match up {
            Poll::Ready(Err(failure)) => {
                tracing::debug!(%failure, "client to upstream");
                return Poll::Ready(Err(match failure {
                    Failure::Source(_) => Side::Client,
                    Failure::Sink(_) => {
                        self.down.carry_rest(upstream, client, &mut FromServer(tap));
                        Side::Upstream
                    }
                }));
            }
            up => up.is_ready(),
        };
        let waited = tap.waits(Side::Client);
        let down = self.down.poll(cx, upstream, client, &mut FromServer(tap));
        if waited && !tap.waits(Side::Client) {
            // Its next turn is now: nobody else would wake it.
            cx.waker().wake_by_ref();
        }
        match down {
            Poll::Ready(Err(failure)) => {
                tracing::debug!(%failure, "upstream to client");
                Poll::Ready(Err(match failure {
                    Failure::Source(_) => Side::Upstream,
                    Failure::Sink(_) => {
                        self.up.carry_rest(client, upstream, &mut FromClient(tap));
                        Side::Client
                    }
                }))
            }
            Poll::Ready(Ok(())) if up => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Whether nothing would be lost if it ended now.
    fn is_idle(&self) -> bool {
        self.tap.is_idle() && self.up.is_flushed() && self.down.is_flushed()
    }
}

/// Hears an answer out, for nobody who is there.
async fn hear(upstream: &mut impl Leg, answer: &mut ReadingOn) -> Ended {
    let mut piece = vec![0; limits::READ_BYTES];
    loop {
        let Ok(count) = upstream.read(&mut piece).await else { return Ended::ClientGone };
        let heard = piece.get(..count).unwrap_or_default();
        if heard.is_empty() {
            return answer.closed();
        }
        if let Progress::Over(ended) = answer.read(heard) {
            return ended;
        }
    }
}

/// The tap on what the client sends.
struct FromClient<'a>(&'a mut Tap);

/// The tap on what the server sends.
struct FromServer<'a>(&'a mut Tap);

impl Watcher for FromClient<'_> {
    fn wants_bytes(&self) -> bool {
        !self.0.is_opaque()
    }

    fn asks(&self) -> bool {
        self.0.asks()
    }

    fn at_most(&self, bytes: usize) -> usize {
        self.0.at_most(bytes)
    }

    fn holds(&self) -> bool {
        self.0.holds(Side::Client)
    }

    fn waits(&self) -> bool {
        self.0.waits(Side::Client)
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.0.saw(Side::Client, bytes);
    }

    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Verdict {
        self.0.pass(Side::Client, bytes, out)
    }

    fn pass_kept(&mut self, out: &mut Vec<u8>) {
        self.0.pass_kept(Side::Client, out);
    }

    fn pass_last(&mut self, out: &mut Vec<u8>) {
        self.0.pass_last(Side::Client, out);
    }

    fn missed(&mut self, count: usize) {
        self.0.passed_unseen(count);
    }
}

impl Watcher for FromServer<'_> {
    fn wants_bytes(&self) -> bool {
        !self.0.is_opaque()
    }

    fn asks(&self) -> bool {
        self.0.asks()
    }

    fn at_most(&self, bytes: usize) -> usize {
        self.0.at_most(bytes)
    }

    fn holds(&self) -> bool {
        self.0.holds(Side::Upstream)
    }

    fn waits(&self) -> bool {
        self.0.waits(Side::Upstream)
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.0.saw(Side::Upstream, bytes);
    }

    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Verdict {
        self.0.pass(Side::Upstream, bytes, out)
    }

    fn pass_kept(&mut self, out: &mut Vec<u8>) {
        self.0.pass_kept(Side::Upstream, out);
    }

    fn pass_last(&mut self, out: &mut Vec<u8>) {
        self.0.pass_last(Side::Upstream, out);
    }

    fn missed(&mut self, count: usize) {
        self.0.passed_unseen(count);
    }
}

impl<C: Leg, U: Leg> Future for Relay<C, U> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        if this.lets_go(cx) {
            return Poll::Pending;
        }
        this.tap.poll_cut(cx);
        if let Some(outcome @ Outcome::Parting) = this.ending() {
            return Poll::Ready(outcome);
        }
        let lanes = this.poll_lanes(cx);
        this.poll_late(cx);
        if this.up.closed().is_some() {
            this.tap.client_ended();
        }
        if this.has_left(cx) {
            return Poll::Ready(this.left());
        }
        match this.down.closed() {
            Some(End::Whole) => this.tap.server_ended(),
            Some(End::Cut) => this.tap.broken(Side::Upstream),
            None => {}
        }
        if lanes.is_pending() {
            // Of what has begun just now, too.
            this.tap.poll_cut(cx);
            this.tap.poll_replay(cx);
        }
        if let Some(outcome) = this.ending() {
            return Poll::Ready(outcome);
        }
        let (silent, idle) = (this.is_silent(cx), this.is_idle());
        if silent {
            this.tap.count_silent();
        }
        match lanes {
            Poll::Ready(Err(Side::Client)) => return Poll::Ready(this.left()),
            Poll::Ready(Err(side)) => this.tap.broken(side),
            // Who waits for the other to go on must not take it for whole.
            Poll::Pending if silent && !idle => {}
            Poll::Pending if !(silent || this.draining && idle) => return Poll::Pending,
            ended @ (Poll::Ready(Ok(())) | Poll::Pending) => {
                if ended.is_pending() {
                    this.client.say_end();
                    this.upstream.say_end();
                }
                end_on_drop(this.client.socket());
                end_on_drop(this.upstream.socket());
            }
        }
        Poll::Ready(Outcome::Over)
    }
}

impl<C: Leg, U: Leg> Relay<C, U> {
    /// How it ends if the tap wants it to, and what comes before has been written.
    fn ending(&self) -> Option<Outcome> {
        match self.tap.ending()? {
            Ending::Cut => Some(Outcome::Over),
            Ending::Parting => Some(Outcome::Parting),
            Ending::Refused(refusal) => self.down.is_flushed().then_some(Outcome::Refused(refusal)),
            Ending::Tunnel => {
                (self.up.is_flushed() && self.down.is_flushed()).then_some(Outcome::Tunnel)
            }
        }
    }

    /// Whether the client has not only ended what it says, but is gone, and a call of it under way.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let has_said_all = self.up.has_ended() && self.up.is_flushed();
        if !has_said_all || !self.tap.awaits_answer() {
            self.look = None;
            return false;
        }
        // Over TLS a client says that it ends before its socket does. None waits for an answer then.
        if self.client.plain().is_none() && self.tap.may_be_abandoned() {
            return true;
        }
        while self.look.as_mut().is_none_or(|look| look.as_mut().poll(cx).is_ready()) {
            if !self.tap.connection().has_client() {
                return true;
            }
            if self.tap.may_be_abandoned() {
                self.tap.client_stays();
                // Now upstream is told that it says no more.
                cx.waker().wake_by_ref();
            }
            self.look = Some(Box::pin(sleep(limits::CLIENT_LOOK)));
        }
        false
    }

    /// The client has left: how the connection ends for that.
    fn left(&mut self) -> Outcome {
        let passed = self.up.is_flushed() && self.down.is_flushed();
        self.abandoned = if passed { self.tap.abandon().map(Box::new) } else { None };
        if self.abandoned.is_some() {
            return Outcome::Abandoned;
        }
        self.tap.broken(Side::Client);
        Outcome::Over
    }

    /// If what is under way has just been told to end, lets upstream go, and comes back for the rest:
    /// where many end at once, all of them are silent before the first has found its words.
    fn lets_go(&mut self, cx: &mut Context<'_>) -> bool {
        if self.let_go || !self.tap.is_told_to_end(cx) {
            return false;
        }
        self.let_go = true;
        reset_now(self.upstream.socket());
        self.tap.let_go();
        // Its next turn is when all others have had theirs, which just waking it would not do.
        let _ = pin!(yield_now()).poll(cx);
        true
    }

    /// Whether nothing has moved for longer than it may.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let moved = self.tap.has_moved();
        self.silence.as_mut().is_some_and(|silence| silence.poll(cx, moved).is_ready())
    }

    /// Notices a head that takes too long. There is a timer only while one does not come at once.
    fn poll_late(&mut self, cx: &mut Context<'_>) {
        let Some(head) = self.tap.head_under_way() else {
            self.late = None;
            return;
        };
        let late = match self.late.take() {
            Some(late) if late.head == head => late,
            _ => Late { head, at: Some(Box::pin(sleep(self.tap.head_time()))) },
        };
        let late = self.late.insert(late);
        if late.at.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            late.at = None;
            self.tap.head_late();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpListener, TcpStream as StdStream},
        sync::Arc,
        time::Duration,
    };

    use socket2::{SockRef, Socket};
    use tokio::net::TcpStream;

    use super::*;
    use crate::{
        call::{AgentRef, Spent, StepId, Timestamp, WorkflowId},
        config::Mode,
        lineage::{Completion, Placement},
        price::Prices,
        proxy::{
            Agent, Clock, Recorder, Recording,
            admit::tests::admission,
            connect::reset_on_drop,
            exchange::{Connection, Server},
        },
    };

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    type Plain = Relay<TcpStream, TcpStream>;

    /// A relay, and the two ends that it joins. Its socket to the client holds little.
    fn relay() -> (Plain, StdStream, StdStream) {
        relay_in(Mode::Audit, None)
    }

    /// In a mode, and as if it had been decrypted with that server.
    fn relay_in(mode: Mode, server_name: Option<&str>) -> (Plain, StdStream, StdStream) {
        let (client, to_client) = pair(Some(4096));
        let (server, to_server) = pair(None);
        let (agent, origin, destination, place) = admission(to_server.0).into_parts();
        let agent =
            Arc::new(Agent::new(agent.id, AgentRef::clone(&agent.reference()), 1).in_mode(mode));
        let recorder = Arc::new(Nowhere);
        let recording =
            Arc::new(Recording::new(Clock::start(), [0; 32], recorder, Prices::default()));
        let connection = Connection::new(agent, &origin, destination, None, place, recording);
        let connection = match server_name {
            Some(name) => {
                connection.with(Server { name: name.into(), verified: true, vouched_for: true })
            }
            None => connection,
        };
        (Relay::new(to_client.1, Vec::new(), to_server.1, Tap::new(connection)), client, server)
    }

    /// Two ends of a connection, the second with the address of the first's peer. Neither holds
    /// more than the bound.
    fn pair(bound: Option<usize>) -> (StdStream, (SocketAddr, TcpStream)) {
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").expect("loopback"));
        if let Some(bytes) = bound {
            listener.set_send_buffer_size(bytes).expect("an option");
            listener.set_recv_buffer_size(bytes).expect("an option");
        }
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().expect("bound");
        let far = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let far = far.expect("a socket");
        if let Some(bytes) = bound {
            far.set_recv_buffer_size(bytes).expect("an option");
        }
        far.set_read_timeout(Some(PATIENCE)).expect("an option");
        far.connect(&address.into()).expect("it listens");
        let (near, _) = listener.accept().expect("one came");
        near.set_nonblocking(true).expect("an option");
        let near = TcpStream::from_std(near).expect("a runtime");
        reset_on_drop(&near);
        (far.into(), (address, near))
    }

    struct Nowhere;

    impl Recorder for Nowhere {
        fn placed(&self, _: &AgentRef, _: &Placement, _: crate::call::Step, _: Option<String>) {}
        fn finished(
            &self,
            _: &AgentRef,
            _: WorkflowId,
            _: crate::call::Settlement,
            _: &Completion,
            _: Timestamp,
        ) {
        }
        fn spent(&self, _: &AgentRef, _: WorkflowId, _: StepId, _: Spent) {}
    }

    /// Drives the relay, which must go on, until it is so.
    async fn until(relay: &mut Pin<Box<Plain>>, so: impl Fn(&Plain) -> bool) {
        let driven = poll_fn(|cx| {
            assert!(relay.as_mut().poll(cx).is_pending(), "it has ended");
            if so(relay) { Poll::Ready(()) } else { Poll::Pending }
        });
        timeout(PATIENCE, driven).await.expect("it comes so far");
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_draining_connection_stays_for_what_the_client_has_not_taken() {
        const BODY: usize = 60_000;
        let (relay, mut client, mut server) = relay();
        let mut relay = Box::pin(relay);
        client.write_all(REQUEST).expect("it is open");
        until(&mut relay, |relay| !relay.tap.is_idle()).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
        let answer = [head.as_bytes(), &vec![7; BODY]].concat();
        server.write_all(&answer).expect("it is open");
        // The answer is seen to its end, but the client has not taken it.
        until(&mut relay, |relay| relay.tap.is_idle()).await;
        assert!(!relay.down.is_flushed());
        relay.drain();
        until(&mut relay, |_| true).await;
        let reading = tokio::task::spawn_blocking(move || {
            let mut received = Vec::new();
            client.read_to_end(&mut received).map(|_| received)
        });
        assert_eq!(relay.await, Outcome::Over);
        let received = reading.await.expect("it did not panic").expect("an orderly end");
        assert!(received == answer);
    }

    #[tokio::test]
    async fn what_a_server_said_before_its_reset_reaches_a_client_that_still_sends() {
        let (relay, mut client, mut server) = relay();
        server.write_all(b"too large").expect("it is open");
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(server);
        client.write_all(b"much").expect("it is open");
        // Both are there before the first look, which finds out by writing.
        assert_eq!(relay.await, Outcome::Over);
        let mut received = Vec::new();
        let end = client.read_to_end(&mut received);
        assert_eq!(received, b"too large");
        assert_eq!(end.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_a_client_said_before_its_reset_reaches_a_server_that_still_sends() {
        let (relay, mut client, mut server) = relay();
        let mut relay = Box::pin(relay);
        until(&mut relay, |_| true).await;
        client.write_all(b"half a mess").expect("it is open");
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(client);
        server.write_all(b"more").expect("it is open");
        assert_eq!(relay.await, Outcome::Over);
        let mut received = Vec::new();
        let end = server.read_to_end(&mut received);
        assert_eq!(received, b"half a mess");
        assert_eq!(end.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_head_that_takes_too_long_is_answered_with_408_in_enforce() {
        let (relay, mut client, _server) = relay_in(Mode::Enforce, None);
        let mut relay = Box::pin(relay);
        client.write_all(&REQUEST[..REQUEST.len() - 1]).expect("it is open");
        until(&mut relay, |relay| relay.late.is_some()).await;
        tokio::time::pause();
        assert_eq!(relay.as_mut().await, Outcome::Refused(Refusal::SlowHead));
        tokio::time::resume();
        let reading = tokio::task::spawn_blocking(move || {
            let mut received = String::new();
            client.read_to_string(&mut received).map(|_| received)
        });
        Pin::into_inner(relay).refuse(Refusal::SlowHead).await;
        let received = reading.await.expect("it did not panic").expect("an orderly end");
        assert!(received.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{received}");
    }

    #[tokio::test]
    async fn a_head_that_takes_too_long_is_only_counted_in_audit() {
        let (relay, mut client, mut server) = relay();
        let mut relay = Box::pin(relay);
        client.write_all(&REQUEST[..REQUEST.len() - 1]).expect("it is open");
        until(&mut relay, |relay| relay.late.is_some()).await;
        tokio::time::pause();
        tokio::time::advance(limits::HEAD_TIME).await;
        until(&mut relay, |relay| relay.late.as_ref().is_some_and(|late| late.at.is_none())).await;
        tokio::time::resume();
        client.write_all(&REQUEST[REQUEST.len() - 1..]).expect("it is open");
        until(&mut relay, |relay| relay.late.is_none() && !relay.tap.is_idle()).await;
        let mut received = [0; REQUEST.len()];
        server.read_exact(&mut received).expect("it arrives");
        assert_eq!(received, REQUEST);
        let coverage = relay.tap.connection().agent.coverage.snapshot();
        assert_eq!(coverage.reasons.get("h1_slow_heads"), Some(&1));
    }

    #[tokio::test]
    async fn a_request_for_another_host_than_the_verified_one_is_misdirected_in_enforce() {
        const OTHER: &[u8] = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n";
        let (mut relay, mut client, mut server) = relay_in(Mode::Enforce, Some("a"));
        client.write_all(OTHER).expect("it is open");
        assert_eq!((&mut relay).await, Outcome::Refused(Refusal::Misdirected));
        let coverage = relay.tap.connection().agent.coverage.snapshot();
        assert_eq!(coverage.reasons.get("tls_host_differs"), Some(&1));
        drop(relay);
        let mut received = Vec::new();
        assert!(server.read_to_end(&mut received).is_err() && received.is_empty(), "a reset");

        let (relay, mut client, mut server) = relay_in(Mode::Audit, Some("a"));
        let mut relay = Box::pin(relay);
        client.write_all(OTHER).expect("it is open");
        until(&mut relay, |relay| !relay.tap.is_idle()).await;
        let mut received = [0; OTHER.len()];
        server.read_exact(&mut received).expect("it arrives");
        let coverage = relay.tap.connection().agent.coverage.snapshot();
        assert_eq!(coverage.reasons.get("tls_host_differs"), Some(&1));
    }
}
