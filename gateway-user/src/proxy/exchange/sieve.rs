//! How much of a streamed answer goes on, where it is held to what is held for its call: whole events,
//! up to the first with which it comes to more.

use super::{Connection, Ended, Exchange};
use crate::{
    call::Reason,
    config::Mode,
    dialect::{Observer, cut::Place},
    limits,
    proxy::{calls::Calls, meter::Meter},
};

/// Lets whole events pass.
#[derive(Debug)]
pub(super) struct Sieve {
    /// How far it has been read. Absent: its events can't be told apart, and it goes on as it comes.
    read: Option<Place>,
    /// Bytes of an event that has begun, and waits for its end.
    waiting: usize,
    /// Why nothing more goes on. Given once.
    excess: Option<Reason>,
    is_over: bool,
}

impl Sieve {
    /// Of an answer that is to end where it comes to more than is held.
    pub(super) fn of(
        connection: &Connection,
        observer: Option<&Observer>,
        calls: &mut Calls,
        place: Option<&Place>,
    ) -> Option<Box<Self>> {
        // In audit all has gone on already.
        let streams = observer.is_some_and(|observer| observer.progress().is_some());
        if connection.agent.mode == Mode::Audit || !streams {
            return None;
        }
        calls.meter()?.is_enforced().then(|| {
            Box::new(Self { read: place.cloned(), waiting: 0, excess: None, is_over: false })
        })
    }
}

impl Exchange {
    /// More of the answer's body has come. How many of the bytes go on, with all that waited before. The
    /// others wait, or if they are too much, go nowhere: see [`Exchange::take_excess`].
    pub(in crate::proxy) fn response_body(
        &mut self,
        connection: &Connection,
        bytes: &[u8],
    ) -> usize {
        let Some(mut sieve) = self.sieve.take() else {
            self.passed(bytes);
            self.read(connection, bytes);
            self.look();
            return bytes.len();
        };
        let gone = self.sift(connection, &mut sieve, bytes);
        self.sieve = Some(sieve);
        gone
    }

    /// More of the answer's body has gone on.
    fn passed(&mut self, bytes: &[u8]) {
        if let Some(voice) = &mut self.voice {
            voice.passed(bytes);
        }
    }

    /// More of it has come.
    fn read(&mut self, connection: &Connection, bytes: &[u8]) {
        if let Some(other) = &mut self.other {
            other.received(bytes.len());
            if other.is_call() {
                self.first_byte.get_or_insert_with(|| connection.recording.clock.now());
            }
        }
        let Some(observer) = &mut self.observer else { return };
        self.first_byte.get_or_insert_with(|| connection.recording.clock.now());
        observer.response_body(bytes);
        if observer.has_answered() {
            let answered = observer.answered(&mut connection.agent.known());
            self.answered(connection, Ended::Whole, answered);
        }
        self.ear_passed(connection, bytes);
    }

    fn sift(&mut self, connection: &Connection, sieve: &mut Sieve, bytes: &[u8]) -> usize {
        let (mut rest, mut gone) = (bytes, 0);
        while let Some(end) = sieve.read.as_ref().and_then(|place| place.event_end(rest)) {
            let (event, after) = rest.split_at(end);
            rest = after;
            self.read(connection, event);
            sieve.read.iter_mut().for_each(|place| place.passed(event));
            if self.is_too_much(sieve) {
                continue;
            }
            sieve.waiting = 0;
            gone = bytes.len() - rest.len();
            // All that waited has gone on, too.
            if let (Some(voice), Some(place)) = (&mut self.voice, &sieve.read) {
                voice.went_on(place);
            }
        }
        if rest.is_empty() {
            return gone;
        }
        self.read(connection, rest);
        let Some(place) = &mut sieve.read else {
            return if self.is_too_much(sieve) { 0 } else { bytes.len() };
        };
        place.passed(rest);
        sieve.waiting += rest.len();
        if sieve.waiting > limits::OBSERVED_RESPONSE_BYTES {
            self.calls.meter().into_iter().for_each(Meter::overflow);
            self.is_too_much(sieve);
        }
        gone
    }

    /// The body has ended: what waits goes on too, unless it is an event that is too much.
    pub(in crate::proxy) fn body_ended(&mut self, connection: &Connection) {
        let Some(mut sieve) = self.sieve.take() else { return };
        if sieve.waiting > 0 {
            // What would have ended it.
            self.read(connection, b"\n\n");
            self.is_too_much(&mut sieve);
            sieve.waiting = 0;
        }
        self.sieve = Some(sieve);
    }

    fn is_too_much(&mut self, sieve: &mut Sieve) -> bool {
        if self.look() && !sieve.is_over {
            sieve.is_over = true;
            sieve.excess = self.calls.meter().map(|meter| meter.reason());
        }
        sieve.is_over
    }

    /// Whether the answer has come to more than is held for its call.
    fn look(&mut self) -> bool {
        let Some(meter) = self.calls.meter() else { return false };
        let progress = self.observer.as_ref().and_then(Observer::progress);
        progress.is_some_and(|progress| meter.look(progress))
    }

    /// Whether what comes of the answer may have to wait.
    pub(in crate::proxy) const fn is_sifted(&self) -> bool {
        self.sieve.is_some()
    }

    /// Whether some of it waits.
    pub(in crate::proxy) fn is_waiting(&self) -> bool {
        self.sieve.as_ref().is_some_and(|sieve| sieve.waiting > 0 || sieve.is_over)
    }

    /// Why the answer ends behind what has gone on, if it is too long. Told once.
    pub(in crate::proxy) fn take_excess(&mut self) -> Option<Reason> {
        self.sieve.as_mut()?.excess.take()
    }

    /// Whether nothing more of the answer goes on.
    pub(in crate::proxy) fn is_exceeded(&self) -> bool {
        self.sieve.as_ref().is_some_and(|sieve| sieve.is_over)
    }
}
