//! What looks on while a connection is relayed, or is asked first.

mod abandoned;
mod ends;
mod parting;
mod unread;

use std::{mem::replace, time::Duration};

use super::{
    coverage::{OpaqueReason, add},
    dialogue::Dialogue,
    egress::Allowance,
    exchange::{Connection, Ended},
    h1::Authority,
    http::{Chance, Http, Outlook, Switch},
    refusal::Refusal,
    relay::Side,
    sniff::Sniffer,
    way::{Kept, Verdict, Way},
    ws::Peer,
};
use crate::{
    config::Mode,
    limits::{self, Bound},
};

/// Understands what it can of a connection.
///
/// In audit it is shown every byte after that went on its way, and nothing that it finds or fails
/// to find changes what is forwarded. In enforce it is asked first: what it does not understand of
/// a protocol that it follows does not go on.
///
/// ```text
///               HTTP/1                  101
///   Sniffing ────────────► Http ───────────────────► WebSocket
///      │                    │ └─ CONNECT, 2xx ─► Tunnel   │ broken frames
///      │                    │ ambiguous framing,          ▼
///      └────────────────────┴─ another upgrade ────────► Opaque
///          TLS, HTTP/2, the server speaks first, anything else
/// ```
///
/// What is ambiguous or broken makes a connection opaque in audit; in enforce it is refused. What
/// becomes opaque must be allowed to stay unread, and carries no more than is allowed: else the
/// connection is cut.
#[derive(Debug)]
pub(super) struct Tap {
    connection: Connection,
    reading: Reading,
    /// The client sends no more: if the answers are not whole in the end, it most likely left.
    client_ended: bool,
    /// It is there for all that.
    client_stays: bool,
    /// What waits of either side's bytes, in enforce.
    of_client: Kept,
    of_server: Kept,
    course: Course,
    /// Bytes came since that was last asked.
    moved: bool,
}

#[derive(Debug)]
enum Reading {
    Sniffing(Sniffer),
    Http(Box<Http>),
    WebSocket(Box<Dialogue>),
    /// What comes is for whoever carries the tunnel: see [`Tap::ending`].
    Tunnel(Authority),
    Opaque(Allowance),
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    On,
    /// The client is told, once it has the answers that come before.
    Refusing(Refusal),
    /// The client has still to hear the last words.
    Parting,
    Cut,
}

/// How a connection ends, or stops to be this one, before either side has ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With an answer of our own. Upstream is reset.
    Refused(Refusal),
    /// With last words behind what has passed of an answer. Upstream is reset.
    Parting,
    /// Reset, to both.
    Cut,
    /// A tunnel through an HTTP proxy begins.
    Tunnel,
}

impl Tap {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            reading: Reading::Sniffing(Sniffer::default()),
            client_ended: false,
            client_stays: false,
            of_client: Kept::default(),
            of_server: Kept::default(),
            course: Course::On,
            moved: false,
        }
    }

    /// How long the connection may be silent.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        self.connection.agent.bounds.limits().idle_time
    }

    /// How long the head of a request may take.
    pub(super) fn head_time(&self) -> Duration {
        self.connection.agent.bounds.limits().head_time
    }

    /// Whether bytes came since it was last asked.
    pub(super) const fn has_moved(&mut self) -> bool {
        replace(&mut self.moved, false)
    }

    /// The connection was silent for too long, and is ended.
    pub(super) fn count_silent(&mut self) {
        add(&self.connection.agent.coverage.idle, 1);
        self.connection.agent.bounds.hit(Bound::IdleTime);
        self.cut(Ended::Cut);
    }

    /// Whether it is asked about bytes before they go on.
    pub(super) fn asks(&self) -> bool {
        self.connection.agent.mode == Mode::Enforce && !self.is_opaque()
    }

    /// Whether nothing of that side goes on for now.
    pub(super) fn waits(&self, side: Side) -> bool {
        match (self.course, &self.reading) {
            (Course::Cut | Course::Parting, _) | (_, Reading::Tunnel(_)) => true,
            (Course::Refusing(refusal), _) => match side {
                Side::Client => true,
                Side::Upstream => !refusal.blames_client() || self.ending().is_some(),
            },
            (Course::On, Reading::Http(http)) => match side {
                Side::Client if !self.asks() => false,
                Side::Client => {
                    http.awaits_switch() || http.asks_again() || self.may_be_abandoned()
                }
                Side::Upstream => http.awaits_replay(),
            },
            // What it has still to be told is bounded so.
            (Course::On, Reading::WebSocket(dialogue)) => {
                side == Side::Client && dialogue.has_words()
            }
            (Course::On, _) => false,
        }
    }

    /// Whether nothing more is to be read of that side for now. A client that waits for a switch of
    /// protocols is read on, as far as there is room, because it may leave.
    pub(super) fn holds(&self, side: Side) -> bool {
        let is_client = side == Side::Client && self.course == Course::On;
        let reads_on = is_client && matches!(self.reading, Reading::Http(_));
        let room = self.of_client.unread_len() < limits::READ_BYTES;
        self.waits(side) && !(reads_on && room)
    }

    /// How the connection is to end now, if it is.
    pub(super) fn ending(&self) -> Option<Ending> {
        match (self.course, &self.reading) {
            (Course::Cut, _) => Some(Ending::Cut),
            (Course::Parting, _) => Some(Ending::Parting),
            (Course::Refusing(refusal), Reading::Http(http)) => match http.chance_to(refusal) {
                Chance::Later => None,
                Chance::Now => Some(Ending::Refused(refusal)),
                Chance::Never => Some(Ending::Cut),
            },
            (Course::Refusing(refusal), _) => Some(Ending::Refused(refusal)),
            (Course::On, Reading::Tunnel(_)) => Some(Ending::Tunnel),
            (Course::On, _) => None,
        }
    }

    /// These bytes of that side went on their way.
    pub(super) fn saw(&mut self, side: Side, bytes: &[u8]) {
        if self.is_opaque() {
            return self.passed_unseen(bytes.len());
        }
        self.count(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match &mut self.reading {
                Reading::Sniffing(sniffer) => {
                    if side == Side::Upstream {
                        self.server_first();
                        return self.passed_unseen(rest.len());
                    }
                    let Some((protocol, seen)) = sniffer.look(rest) else { return };
                    self.told(protocol, seen.len());
                    if let Reading::Http(_) = self.reading {
                        let mut way = Way::gone(&seen);
                        self.read_http(side, &mut way);
                    } else {
                        self.passed_unseen(seen.len());
                    }
                    return;
                }
                Reading::Http(_) => {
                    let mut way = Way::gone(rest);
                    self.read_http(side, &mut way);
                    way.rest()
                }
                Reading::WebSocket(_) => return self.read_frames(side, rest, None),
                // It came before anybody could have known that it is in a tunnel.
                Reading::Tunnel(_) => {
                    self.give_up(OpaqueReason::Switched);
                    rest
                }
                // What made it so was counted with the rest of its piece.
                Reading::Opaque(_) => return self.spend(rest.len()),
            }
        }
    }

    /// What goes on of these bytes of that side: what is put into `out`, which is empty, or some
    /// of them as they are.
    pub(super) fn pass(&mut self, side: Side, bytes: &[u8], out: &mut Vec<u8>) -> Verdict {
        self.count(bytes.len());
        match &mut self.reading {
            Reading::Sniffing(sniffer) if side == Side::Client => {
                // The sniffer keeps them until they tell.
                let Some((protocol, seen)) = sniffer.look(bytes) else { return Verdict::First(0) };
                self.told(protocol, seen.len());
                let mut rewritten = Vec::new();
                match self.pass_on(side, &seen, &mut rewritten) {
                    Verdict::First(count) => {
                        out.extend_from_slice(seen.get(..count).unwrap_or_default());
                    }
                    Verdict::Instead => out.append(&mut rewritten),
                }
                Verdict::Instead
            }
            _ => self.pass_on(side, bytes, out),
        }
    }

    /// What goes on, in `out`, of the bytes that were kept until it was known how to read them, behind
    /// what the gateway has to say itself.
    pub(super) fn pass_kept(&mut self, side: Side, out: &mut Vec<u8>) {
        self.say(side, out);
        if !self.can_pass_kept(side) {
            return;
        }
        let kept = self.kept(side).take_unread();
        if let Verdict::First(count) = self.pass_on(side, &kept, out) {
            out.extend_from_slice(kept.get(..count).unwrap_or_default());
        }
    }

    /// Whether there are such bytes.
    pub(super) fn can_pass_kept(&self, side: Side) -> bool {
        let kept = match side {
            Side::Client => &self.of_client,
            Side::Upstream => &self.of_server,
        };
        let again = matches!(&self.reading, Reading::Http(http) if http.is_due_again());
        kept.unread_len() > 0 && !self.waits(side) || side == Side::Client && again
    }

    /// What goes on, in `out`, of what that side said last, although it did not say enough to be
    /// understood.
    pub(super) fn pass_last(&mut self, side: Side, out: &mut Vec<u8>) {
        if side == Side::Client {
            self.client_ended();
            self.pass_kept(side, out);
        } else if let Reading::Http(http) = &mut self.reading {
            out.append(&mut http.filtered_rest(&self.connection));
        }
    }

    fn pass_on(&mut self, side: Side, bytes: &[u8], out: &mut Vec<u8>) -> Verdict {
        let waits = self.waits(side);
        match &mut self.reading {
            Reading::Sniffing(_) => {
                self.server_first();
                self.pass_on(side, bytes, out)
            }
            Reading::Http(_) if waits => {
                self.kept(side).keep_unread(bytes);
                Verdict::First(0)
            }
            Reading::Http(_) => {
                let mut kept = std::mem::take(self.kept(side));
                let mut way = Way::asked(bytes, &mut kept, out);
                self.read_http(side, &mut way);
                let verdict = way.verdict();
                if self.course == Course::On {
                    *self.kept(side) = kept;
                }
                verdict
            }
            Reading::WebSocket(_) => {
                let at = out.len();
                self.read_frames(side, bytes, Some(out));
                if self.course != Course::On {
                    out.truncate(at);
                }
                Verdict::Instead
            }
            Reading::Tunnel(_) => Verdict::First(0),
            Reading::Opaque(_) if self.course != Course::On => Verdict::First(0),
            Reading::Opaque(allowance) => {
                let most = allowance.at_most(bytes.len());
                self.passed_unseen(most);
                Verdict::First(most)
            }
        }
    }

    fn read_http(&mut self, side: Side, way: &mut Way<'_>) {
        let Reading::Http(http) = &mut self.reading else { return };
        let outlook = match side {
            Side::Client => http.client_sent(&self.connection, way),
            Side::Upstream => http.server_sent(&self.connection, way),
        };
        if let Outlook::Wrong(refusal) = &outlook
            && let Some(bound) = refusal.bound()
        {
            self.connection.agent.bounds.hit(bound);
        }
        match outlook {
            Outlook::Http => {}
            Outlook::Switched(Switch::Connect(to), _)
                if self.connection.depth < limits::TUNNELS =>
            {
                add(&self.connection.agent.coverage.tunnels, 1);
                self.reading = Reading::Tunnel(to);
            }
            Outlook::Switched(Switch::WebSocket(deflate), Some(spoken)) => {
                add(&self.connection.agent.coverage.websockets, 1);
                let dialogue = Dialogue::new(&self.connection, spoken, deflate);
                self.reading = Reading::WebSocket(Box::new(dialogue));
            }
            Outlook::Switched(..) => {
                self.give_up(OpaqueReason::Switched);
            }
            Outlook::Exceeded(reason) => self.part(&reason),
            Outlook::Wrong(refusal) if way.is_asked() => self.refuse(refusal),
            Outlook::Wrong(refusal) => {
                tracing::debug!(connection = %self.connection.id, %refusal, "not HTTP/1 any more");
                http.cut(&self.connection, Ended::Unseen);
                self.give_up(OpaqueReason::Framing);
            }
        }
    }

    /// Of bytes that have not gone on, what does is put into `out`.
    fn read_frames(&mut self, side: Side, bytes: &[u8], out: Option<&mut Vec<u8>>) {
        let Reading::WebSocket(dialogue) = &mut self.reading else { return };
        let by = match side {
            Side::Client => Peer::Client,
            Side::Upstream => Peer::Server,
        };
        let read = match out {
            None => dialogue.sent(&self.connection, by, bytes),
            Some(out) => dialogue.pass(&self.connection, by, bytes, out),
        };
        if let Err(breach) = read {
            tracing::debug!(connection = %self.connection.id, %breach, "not WebSocket any more");
            dialogue.finish(&self.connection, Ended::Unseen);
            if self.asks() {
                add(&self.connection.agent.coverage.ws_refused, 1);
                self.course = Course::Cut;
            } else {
                self.give_up(OpaqueReason::WebSocket);
            }
        }
    }

    /// The head of a request takes too long.
    pub(super) fn head_late(&mut self) {
        add(&self.connection.agent.coverage.h1_slow_heads, 1);
        self.connection.agent.bounds.hit(Bound::HeadTime);
        match self.reading {
            Reading::Http(_) if self.asks() => self.refuse(Refusal::SlowHead),
            // Whoever says so little may not understand an answer.
            Reading::Sniffing(_) if self.asks() => self.course = Course::Cut,
            _ => {}
        }
    }

    /// The tunnel that the connection has become: where to, and what came of either side that is
    /// in it.
    pub(super) fn take_tunnel(&mut self) -> Option<(Authority, [Vec<u8>; 2])> {
        let unread = Reading::Opaque(Allowance::default());
        let Reading::Tunnel(to) = replace(&mut self.reading, unread) else { return None };
        Some((to, [self.of_client.take_unread(), self.of_server.take_unread()]))
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The number of the request whose head has begun and is not complete.
    pub(super) fn head_under_way(&self) -> Option<u64> {
        match &self.reading {
            Reading::Http(http) if self.course == Course::On => http.head_under_way(),
            Reading::Sniffing(sniffer) if !sniffer.is_empty() => Some(0),
            _ => None,
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        tracing::debug!(connection = %self.connection.id, %refusal, "refused");
        let coverage = &self.connection.agent.coverage;
        match refusal {
            Refusal::Call => {}
            _ if refusal.blames_client() => add(&coverage.h1_refused, 1),
            _ => add(&coverage.h1_answers_refused, 1),
        }
        self.of_client = Kept::default();
        self.of_server = Kept::default();
        self.course = Course::Refusing(refusal);
    }

    /// Whether the bytes need not be shown any more.
    pub(super) const fn is_opaque(&self) -> bool {
        matches!(self.reading, Reading::Opaque(_))
    }

    /// Whether no exchange is under way, as far as can be told: an opaque connection and a
    /// WebSocket never are idle.
    pub(super) fn is_idle(&self) -> bool {
        match &self.reading {
            Reading::Sniffing(sniffer) => sniffer.is_empty(),
            Reading::Http(http) => http.is_idle(),
            Reading::WebSocket(_) | Reading::Tunnel(_) | Reading::Opaque(_) => false,
        }
    }

    /// So many bytes have come of that side. What may turn out not to be read is counted when it
    /// does, and what is not when it goes on.
    fn count(&mut self, bytes: usize) {
        self.moved = true;
        match &self.reading {
            Reading::Sniffing(_) | Reading::Opaque(_) => {}
            Reading::Http(_) | Reading::WebSocket(_) | Reading::Tunnel(_) => {
                add(&self.connection.agent.coverage.bytes_observed, bytes as u64);
            }
        }
    }

    const fn kept(&mut self, side: Side) -> &mut Kept {
        match side {
            Side::Client => &mut self.of_client,
            Side::Upstream => &mut self.of_server,
        }
    }
}

/// A relay may be dropped in the middle: at a deadline, or with the whole process.
impl Drop for Tap {
    fn drop(&mut self) {
        self.cut(Ended::Cut);
    }
}
