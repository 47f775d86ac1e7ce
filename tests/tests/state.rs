//! What is spent outlasts the gateway, however that ends: nothing is given back, and nothing is charged
//! twice.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_remount};
use serde_json::Value;
use turnpike_tests::{
    burst::{Burst, Sdk},
    container::Container,
    gateway::{Gateway, Mode, Place},
    model_server::ModelServer,
    process::Background,
    random::Random,
    site::PlainSite,
    wait,
};

/// An enforced container with a budget, and a server for it to call.
struct Bed {
    // What is dropped first lets go of what follows.
    gateway: Gateway,
    site: PlainSite,
    container: Container,
}

/// What is spent of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    calls: u64,
    output: u64,
    in_flight: u64,
}

impl Bed {
    fn new(place: Place) -> Self {
        let container = Container::start();
        let site = PlainSite::beside(&container);
        let gateway = Gateway::start_at(place);
        gateway.attach_container(&container, &["--name", AGENT]);
        Self { gateway, site, container }
    }

    /// Makes so many calls, one by one, and how many of them were refused, with the last reason.
    fn call(&self, calls: usize) -> (usize, String) {
        let burst =
            Burst { max_tokens: Some(EACH), script: "fill", ..Burst::of(Sdk::OpenAi, calls) };
        let seen = burst.start(&self.container, self.site.server.address()).end();
        let last = seen.errors().last().map(|error| error.text.clone()).unwrap_or_default();
        (seen.errors().len(), last)
    }

    fn spent(&self) -> Spent {
        let text = self.gateway.succeed(&["budget", "show", "crew", "--json"]);
        let shown: Value = serde_json::from_str(&text).expect("a document");
        let holder = &shown["holders"][0];
        let of = |limit: &str| {
            let all = holder["spendings"].as_array();
            let own = all.into_iter().flatten().find(|spending| spending["limit"] == limit);
            own.map_or(0, |spending| spending["spent"].as_u64().expect("a number"))
        };
        Spent {
            calls: of("model_calls"),
            output: of("output_tokens"),
            in_flight: holder["in_flight"].as_u64().unwrap_or(0),
        }
    }

    /// What is spent, once nothing is in flight.
    fn settled(&self) -> Spent {
        wait::until(SOON, "all calls to be settled", || {
            Some(self.spent()).filter(|spent| spent.in_flight == 0)
        })
    }

    fn problem(&self) -> Option<String> {
        let text = self.gateway.succeed(&["status", "--json"]);
        let status: Value = serde_json::from_str(&text).expect("a document");
        status["ledger"]["problem"].as_str().map(str::to_owned)
    }

    fn upstream(&self) -> u64 {
        seen(&self.site.server)
    }
}

fn seen(server: &ModelServer) -> u64 {
    server.logged().len() as u64
}

/// A configuration with a budget that nobody comes to the end of.
fn place() -> Place {
    let budget = "[[budget]]\nname = \"crew\"\nscope = \"agent\"\n\
                  limits = { output_tokens = 100000000, model_calls = 1000000 }\n";
    Place::configured(Mode::Enforce, budget)
}

fn state_dir(place: &Place) -> PathBuf {
    place.config().with_file_name("state")
}

/// From the environment, to replay what chance has found; else another each time.
fn seed() -> u64 {
    let given = env::var("TURNPIKE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_micros()).unwrap_or(0)
    });
    eprintln!("seed {seed}; replay its moments with TURNPIKE_SEED={seed}");
    seed
}

/// Every call of which upstream saw something is charged once; what was in flight when the gateway died is
/// charged as it was held, whether upstream saw it or not.
#[test]
fn fifty_kills_under_load_refund_nothing_and_charge_nothing_twice() {
    let mut random = Random::new(seed());
    let mut bed = Bed::new(place());
    let mut steady = bed.container.interactive("python3");
    let words = [WORKERS.to_string(), EACH.to_string(), "fill chunk-ms=2".to_owned()];
    let server = format!("http://{}", bed.site.server.address());
    steady.args(["/agents/steady.py", &server]).args(words).stdin(Stdio::piped());
    let mut agent: Background = bed.container.spawn(&mut steady);
    let mut last = Spent { calls: 0, output: 0, in_flight: 0 };
    for kill in 1..=KILLS {
        let before = bed.upstream();
        let more = random.between(1, 40);
        wait::until_true(SOON, format_args!("calls before kill {kill}"), || {
            assert!(agent.status().is_none(), "the agent has ended: {}", agent.stderr());
            bed.upstream() >= before + more
        });
        bed.gateway.kill9();
        // Nothing goes upstream now: what it has seen was held before.
        let upstream = bed.upstream();
        bed.gateway.restart();
        let found = bed.spent();
        assert!(found.calls >= upstream, "kill {kill}: {found:?} of {upstream} calls");
        assert!(found.calls >= last.calls && found.output >= last.output, "{last:?}: {found:?}");
        last = found;
    }
    agent.close_stdin();
    assert!(agent.wait(SOON).success(), "{}", agent.stderr());
    let (spent, upstream) = (bed.settled(), bed.upstream());
    eprintln!("{upstream} calls came upstream, {spent:?}");
    // Each answer is as long as it may be: what is reported of it is what was held.
    assert_eq!(spent.output, spent.calls * EACH);
    let unseen = spent.calls.checked_sub(upstream).expect("nothing is given back");
    assert!(unseen <= KILLS * WORKERS, "{unseen} charged calls were never seen upstream");
    let outcomes = agent.stdout();
    let whole = outcomes.lines().filter(|line| line.contains("words")).count() as u64;
    let cut = upstream - whole;
    assert!(cut <= KILLS * WORKERS, "{cut} calls were cut");
    assert!(unseen + cut <= KILLS * WORKERS, "no more than were in flight");

    // Neither another death nor an end in good order changes it.
    bed.gateway.kill9();
    bed.gateway.restart();
    assert_eq!(bed.spent(), spent);
    bed.gateway.restart();
    assert_eq!(bed.spent(), spent);
}

/// Where nothing can be written, nothing that a budget holds goes upstream; and it goes on by itself.
#[test]
fn a_full_disk_refuses_calls_until_there_is_room() {
    let place = place();
    let state = state_dir(&place);
    mount_small(&state);
    let mut bed = Bed::new(place);
    assert_eq!(bed.call(3).0, 0);
    fill(&state.join("filler")).expect("room for a while");
    let reason = wait::until(SOON, "calls to be refused", || {
        let (refused, reason) = bed.call(20);
        (refused > 0).then_some(reason)
    });
    assert!(reason.contains("turnpike: what calls spend can't be written to "), "{reason}");
    assert!(reason.contains("No space left on device"), "{reason}");
    let upstream = bed.upstream();
    assert_eq!(bed.call(5).0, 5);
    assert_eq!(bed.upstream(), upstream, "none goes upstream");
    assert!(bed.problem().is_some_and(|problem| problem.contains("No space left")));
    let said = bed.gateway.stderr();
    assert_eq!(said.matches("budgets are not kept").count(), 1, "it is said once: {said}");

    fs::remove_file(state.join("filler")).expect("it is there");
    wait::until_true(SOON, "it to be written again", || bed.problem().is_none());
    assert_eq!(bed.call(3).0, 0);
    let (spent, upstream) = (bed.settled(), bed.upstream());
    assert_eq!(spent.calls, upstream);
    bed.gateway.kill9();
    bed.gateway.restart();
    // Each was answered as much as it may: settled or not, it comes to the same.
    assert_eq!(bed.spent(), spent);
}

#[test]
fn a_read_only_disk_refuses_calls_until_it_can_be_written() {
    let place = place();
    let state = state_dir(&place);
    mount_small(&state);
    let mut bed = Bed::new(place);
    assert_eq!(bed.call(2).0, 0);
    let spent = bed.settled();
    bed.gateway.kill9();
    remount(&state, MountFlags::RDONLY);
    bed.gateway.restart();
    assert_eq!(bed.spent(), spent, "it is read all the same");
    let (refused, reason) = bed.call(2);
    assert!(refused == 2 && reason.contains("Read-only file system"), "{reason}");
    remount(&state, MountFlags::empty());
    wait::until_true(SOON, "it to be written", || bed.problem().is_none());
    assert_eq!(bed.call(2).0, 0);
    assert_eq!(bed.settled().calls, spent.calls + 2);
}

/// What nobody can read is said, and never taken for nothing.
#[test]
fn a_state_that_is_damaged_or_newer_is_refused() {
    let mut bed = Bed::new(place());
    assert_eq!(bed.call(2).0, 0);
    bed.gateway.kill9();
    let directory = state_dir(bed.gateway.place()).join("ledger");
    let journal = newest_journal(&directory);
    let whole = fs::read(&journal).expect("it is there");
    let header = whole.iter().position(|byte| *byte == b'\n').expect("a line");
    let mut damaged = whole.clone();
    damaged[header + 40] ^= 1;
    fs::write(&journal, &damaged).expect("room");
    let said = refused(bed.gateway.place());
    let damage = format!("{}: it is damaged at byte {}: ", journal.display(), header + 1);
    assert!(said.contains(&damage), "{said}");
    assert!(said.contains("every budget begins anew then"), "{said}");
    assert_eq!(fs::read(&journal).expect("it is there"), damaged, "it is left as it is");

    fs::write(&journal, &whole).expect("room");
    bed.gateway.restart();
    assert_eq!(bed.spent().calls, 2);
    bed.gateway.terminate();
    let database = directory.join("ledger.db");
    let mut newer = fs::read(&database).expect("it is there");
    // Where SQLite keeps `user_version`.
    newer[60..64].copy_from_slice(&9_u32.to_be_bytes());
    fs::write(&database, newer).expect("room");
    let said = refused(bed.gateway.place());
    assert!(said.contains("it was written by a newer turnpike (version 9 "), "{said}");
}

/// What a daemon says that does not start.
fn refused(place: &Place) -> String {
    let config = place.config();
    let config = config.to_str().expect("our own path");
    let output = place.command(&["daemon", "--config", config]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn newest_journal(directory: &Path) -> PathBuf {
    let all = fs::read_dir(directory).expect("it is there").flatten().map(|entry| entry.path());
    let journals = all.filter(|path| path.to_string_lossy().contains("journal-"));
    journals.max_by_key(|path| fs::metadata(path).map_or(0, |it| it.len())).expect("one")
}

/// Mounts a file system with room for little. Its place unmounts it.
fn mount_small(at: &Path) {
    fs::create_dir_all(at).expect("a temporary directory");
    mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"size=1m").expect("a mount");
    mount_change(at, MountPropagationFlags::PRIVATE).expect("a mount of our own");
}

fn remount(at: &Path, flags: MountFlags) {
    mount_remount(at, flags, c"size=1m").expect("nothing is open for writing");
}

/// Takes all the room that there is.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    loop {
        match file.write_all(&[0; 4096]) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            written => written?,
        }
    }
}

const AGENT: &str = "crew";
const KILLS: u64 = 50;
/// Calls at a time.
const WORKERS: u64 = 6;
/// Tokens of an answer.
const EACH: u64 = 20;
const SOON: Duration = Duration::from_secs(30);
