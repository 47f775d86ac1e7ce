//! What agents' processes do, as the tracepoints show it.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::Command, time::Duration};

use gateway_common::{AgentId, Counter, MODE_AUDIT};
use turnpike::{
    attach::{
        ebpf::{Arrivals, Hooks, OBJECT, Processes, Seen},
        pins::Instance,
    },
    call::{Act, Command as Line},
};
use turnpike_tests::{
    gateway::{Mode, Place},
    machine,
    sandbox::Sandbox,
};

/// An agent whose processes are told of.
struct Bed {
    hooks: Hooks,
    processes: Processes,
    sandbox: Sandbox,
    id: AgentId,
    _place: Place,
}

impl Bed {
    fn start() -> Self {
        let (place, sandbox) = (Place::new(Mode::Audit), Sandbox::new());
        let hooks = Hooks::load(OBJECT, &Instance::daemon(&place.runtime_dir()).pins(), false);
        let hooks = hooks.expect("the kernel takes them");
        let id = std::fs::metadata(sandbox.cgroup()).expect("it is there").ino();
        hooks.set_agent(id, MODE_AUDIT).expect("there is room");
        let processes = hooks.processes().expect("the kernel has BTF and takes them");
        Self { hooks, processes, sandbox, id, _place: place }
    }

    /// Runs a line of a shell in a cgroup to its end: the shell's pid.
    fn shell(&self, cgroup: &Path, line: &str) -> u32 {
        let line = format!("echo $$; {line}");
        let mut command = self.sandbox.command_in(cgroup, "sh");
        machine::run(command.args(["-c", &line]))
            .lines()
            .next()
            .expect("a pid")
            .parse()
            .expect("one")
    }

    /// What has been told of, since the last time.
    fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while self.processes.read(64, |it| seen.push(it)) {}
        seen
    }

    fn lost(&self) -> u64 {
        self.hooks.counters(self.id).expect("it is entered")[Counter::ProcessesLost as usize]
    }
}

fn executed(line: &str) -> Act {
    Act::Executed { command: Line::of_text(line) }
}

#[test]
fn processes_are_seen_as_they_start_run_and_end_and_by_whom_they_were_started() {
    let bed = Bed::start();
    let inner = "/bin/true two three; :";
    let line = format!("/bin/true one; sh -c '{inner}'");
    let shell = bed.shell(bed.sandbox.cgroup(), &line);
    let seen = bed.seen();
    assert!(seen.iter().all(|it| it.agent == bed.id));
    assert!(seen.is_sorted_by_key(|it| it.at), "{seen:?}");

    let started: Vec<(u32, u32)> = seen
        .iter()
        .filter_map(|it| match it.act {
            Act::Forked { by } => Some((by, it.pid)),
            Act::Executed { .. } | Act::Exited => None,
        })
        .collect();
    let [(first, one), (second, middle), (third, two)] = started[..] else {
        panic!("{started:?}");
    };
    assert_eq!((first, second, third), (shell, shell, middle));
    let of = |pid| -> Vec<Act> {
        seen.iter().filter(|it| it.pid == pid).map(|it| it.act.clone()).collect()
    };
    let forked = |by| Act::Forked { by };
    let whole = format!("sh -c 'echo $$; {line}'");
    assert_eq!(of(shell), [executed(&whole), Act::Exited]);
    assert_eq!(of(one), [forked(shell), executed("/bin/true one"), Act::Exited]);
    assert_eq!(of(middle), [forked(shell), executed(&format!("sh -c '{inner}'")), Act::Exited]);
    assert_eq!(of(two), [forked(middle), executed("/bin/true two three"), Act::Exited]);
    assert_eq!(bed.lost(), 0);
}

#[test]
fn threads_are_no_processes_and_end_none() {
    let bed = Bed::start();
    let script = "import threading, os
for _ in range(8):
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()
";
    machine::run(bed.sandbox.command("/usr/bin/python3").args(["-Sc", script]));
    let seen: Vec<Act> = bed.seen().into_iter().map(|it| it.act).collect();
    assert_eq!(seen, [executed(&format!("python3 -Sc '{script}'")), Act::Exited]);
}

#[test]
fn only_agents_are_watched_and_cgroups_below_them_are_theirs() {
    let bed = Bed::start();
    let beside = Sandbox::new();
    machine::run(beside.command("sh").args(["-c", "/bin/true; :"]));
    machine::run(&mut Command::new("/bin/true"));
    assert_eq!(bed.seen(), []);
    let below = bed.sandbox.nested("below");
    let shell = bed.shell(&below, "/bin/true; :");
    let seen = bed.seen();
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen.iter().all(|it| it.agent == bed.id));
    assert_eq!(seen.iter().filter(|it| it.act == Act::Forked { by: shell }).count(), 1);

    bed.hooks.remove_agent(bed.id).expect("it is there");
    bed.shell(&below, "/bin/true; :");
    assert_eq!(bed.seen(), [], "it is none any more");
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_what_comes_later_is_seen() {
    let bed = Bed::start();
    let arrivals = bed.processes.arrivals().expect("a runtime");
    bed.shell(bed.sandbox.cgroup(), "for one in $(seq 1000); do /bin/true; done");
    arrive(&arrivals).await;
    let lost = bed.lost();
    assert!(lost > 0);
    assert_eq!(bed.seen().len() as u64 + lost, 3005, "of true, of seq and of the shell");

    let shell = bed.shell(bed.sandbox.cgroup(), ":");
    arrive(&arrivals).await;
    let seen: Vec<(u32, Act)> = bed.seen().into_iter().map(|it| (it.pid, it.act)).collect();
    assert_eq!(seen, [(shell, executed("sh -c 'echo $$; :'")), (shell, Act::Exited)]);
    assert_eq!(bed.lost(), lost);
}

#[test]
fn nothing_is_told_once_nobody_wants_to_know() {
    let Bed { hooks, processes, sandbox, id, _place } = Bed::start();
    drop(processes);
    let processes = hooks.processes();
    drop(processes.expect("they can be attached again"));
    machine::run(&mut sandbox.command("true"));
    let lost = hooks.counters(id).expect("it is entered")[Counter::ProcessesLost as usize];
    assert_eq!(lost, 0);
}

async fn arrive(arrivals: &Arrivals) {
    let arrived = tokio::time::timeout(SOON, arrivals.next()).await;
    arrived.expect("it is told").expect("it can be watched");
}

const SOON: Duration = Duration::from_secs(20);
