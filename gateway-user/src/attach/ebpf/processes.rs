//! What agents' processes do, as the tracepoints show it.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
    programs::{RawTracePoint, raw_trace_point::RawTracePointLink},
};
use gateway_common::{
    AgentId, COMMAND_BYTES, ExecRecord, PROCESS_EXECUTED, PROCESS_EXITED, PROCESS_FORKED,
    ProcessRecord,
};
use tokio::io::unix::AsyncFd;

use super::EbpfFailure;
use crate::{
    call::{Act, Command},
    sys,
};

/// The stream of it, for as long as this is kept. Clones read from the same stream. Whoever reads too
/// slowly loses some, which the agents' counters say.
#[derive(Clone, Debug)]
pub struct Processes(Arc<Shared>);

/// Tells when something is added to the stream.
#[derive(Debug)]
pub struct Arrivals(AsyncFd<Processes>);

struct Shared {
    ring: Mutex<RingBuf<MapData>>,
    descriptor: RawFd,
    #[expect(dead_code, reason = "held: dropping them detaches the programs")]
    links: Vec<RawTracePointLink>,
}

/// Something that a process of an agent did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub agent: AgentId,
    /// `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// As the host numbers it.
    pub pid: u32,
    pub act: Act,
}

/// aya's ring can't be shown.
impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

impl AsRawFd for Processes {
    fn as_raw_fd(&self) -> RawFd {
        self.0.descriptor
    }
}

impl Processes {
    pub(super) fn new(ring: RingBuf<MapData>, links: Vec<RawTracePointLink>) -> Self {
        let descriptor = ring.as_raw_fd();
        Self(Arc::new(Shared { ring: Mutex::new(ring), descriptor, links }))
    }

    /// Tells of what is there, in order and up to `most`: nobody else is told of anything meanwhile.
    /// Whether there may be more.
    pub fn read(&self, most: usize, mut tell: impl FnMut(Seen)) -> bool {
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..most {
            let Some(item) = ring.next() else { return false };
            // What can't be read was not written by our programs.
            if let Some(seen) = Seen::read(&item) {
                tell(seen);
            }
        }
        true
    }

    /// To be called in a tokio runtime.
    pub fn arrivals(&self) -> io::Result<Arrivals> {
        sys::watch(self.clone()).map(Arrivals)
    }
}

impl Arrivals {
    /// Waits until something has arrived since the last time. Dropping the future loses nothing.
    pub async fn next(&self) -> io::Result<()> {
        // What arrives from here on shows again.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

impl Seen {
    /// From a `ProcessRecord` or an `ExecRecord`.
    fn read(bytes: &[u8]) -> Option<Self> {
        fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..)?.first_chunk().copied()
        }
        use std::mem::offset_of;
        bytes.get(..size_of::<ProcessRecord>())?;
        let number = |at| Some(u32::from_ne_bytes(word(bytes, at)?));
        let act = match number(offset_of!(ProcessRecord, what))? {
            PROCESS_FORKED => Act::Forked { by: number(offset_of!(ProcessRecord, parent))? },
            PROCESS_EXECUTED => {
                let len = usize::try_from(number(offset_of!(ProcessRecord, len))?).ok()?;
                let command = bytes.get(offset_of!(ExecRecord, command)..)?;
                let command = command.get(..len.min(COMMAND_BYTES))?;
                Act::Executed { command: Command::of_arguments(command, len >= COMMAND_BYTES) }
            }
            PROCESS_EXITED => Act::Exited,
            _ => return None,
        };
        Some(Self {
            agent: u64::from_ne_bytes(word(bytes, offset_of!(ProcessRecord, agent))?),
            at: Duration::from_nanos(u64::from_ne_bytes(word(
                bytes,
                offset_of!(ProcessRecord, at_ns),
            )?)),
            pid: number(offset_of!(ProcessRecord, pid))?,
            act,
        })
    }
}

/// Attaches the programs that fill the ring, and loads them before if nobody has.
pub(super) fn attach(ebpf: &mut Ebpf) -> Result<Vec<RawTracePointLink>, EbpfFailure> {
    let mut links = Vec::with_capacity(PROGRAMS.len());
    for (name, tracepoint) in PROGRAMS {
        let program = ebpf.program_mut(name).ok_or(EbpfFailure::Missing(name))?;
        let program: &mut RawTracePoint = program.try_into()?;
        if program.fd().is_err() {
            program.load()?;
        }
        let link = program.attach(tracepoint)?;
        links.push(program.take_link(link)?);
    }
    Ok(links)
}

/// The programs, by the tracepoint that each belongs to.
const PROGRAMS: [(&str, &str); 3] = [
    ("turnpike_exit", "sched_process_exit"),
    ("turnpike_exec", "sched_process_exec"),
    ("turnpike_fork", "sched_process_fork"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(what: u32, parent: u32, command: &[u8]) -> Vec<u8> {
        let len = u32::try_from(command.len()).expect("it is short");
        let mut bytes = Vec::new();
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(1_500_000_000_u64.to_ne_bytes());
        for number in [42, parent, what, len] {
            bytes.extend(number.to_ne_bytes());
        }
        if what == PROCESS_EXECUTED {
            let mut line = [1; COMMAND_BYTES];
            line[..command.len()].copy_from_slice(command);
            bytes.extend(line);
        }
        bytes
    }

    fn seen(act: Act) -> Seen {
        Seen { agent: 7, at: Duration::from_millis(1500), pid: 42, act }
    }

    #[test]
    fn records_are_read_as_the_kernel_wrote_them_and_never_past_their_end() {
        let fork = record(PROCESS_FORKED, 41, b"");
        assert_eq!(fork.len(), size_of::<ProcessRecord>());
        assert_eq!(Seen::read(&fork), Some(seen(Act::Forked { by: 41 })));
        assert_eq!(Seen::read(&record(PROCESS_EXITED, 0, b"")), Some(seen(Act::Exited)));
        let exec = record(PROCESS_EXECUTED, 0, b"python3\0sub.py\0");
        assert_eq!(exec.len(), size_of::<ExecRecord>());
        let command = Command::of_text("python3 sub.py");
        assert!(command.is_some());
        assert_eq!(Seen::read(&exec), Some(seen(Act::Executed { command })));
        assert_eq!(
            Seen::read(&record(PROCESS_EXECUTED, 0, b"")),
            Some(seen(Act::Executed { command: None }))
        );
        assert_eq!(Seen::read(&record(9, 0, b"")), None);
        for cut in 0..fork.len() {
            assert_eq!(Seen::read(&fork[..cut]), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_in_the_ring_is_read_without_panic(
            what in 0_u32..4, len: u32, rest in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut bytes = record(what, len, b"");
            bytes[28..32].copy_from_slice(&len.to_ne_bytes());
            bytes.truncate(size_of::<ProcessRecord>());
            bytes.extend(rest);
            let _ = Seen::read(&bytes);
            let _ = Seen::read(&bytes[3..]);
        }
    }
}
