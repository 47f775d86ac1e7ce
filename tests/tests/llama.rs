//! A real inference server: what a kill ends, its own log and slots say.

use std::{process::Command, time::Duration};

use serde_json::Value;
use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine,
    process::Background,
    sandbox::Sandbox,
    wait,
};

/// llama.cpp's server, with a small model.
struct Llama {
    process: Background,
    address: String,
}

impl Llama {
    fn start() -> Self {
        let mut process = Background::spawn("llama.cpp", &mut python("llama.py", &[]));
        let address = wait::until(LOADED, "llama.cpp to listen", || {
            assert!(process.status().is_none(), "llama.cpp ended: {}", process.stderr());
            process.stdout().lines().next().map(str::to_owned)
        });
        Self { process, address }
    }

    /// The tasks that its slots are at.
    fn at_work(&self) -> Vec<i64> {
        let url = format!("{}/slots", self.address);
        let slots = machine::run(Command::new("curl").args(["--silent", "--show-error", &url]));
        let slots: Vec<Value> = serde_json::from_str(&slots).expect("its slots");
        let busy = slots.iter().filter(|slot| slot["is_processing"] == true);
        busy.filter_map(|slot| slot["id_task"].as_i64()).collect()
    }

    /// Those that it says to have stopped.
    fn stopped(&self) -> usize {
        self.process.stderr().lines().filter(|line| line.contains("cancel task")).count()
    }
}

fn python(agent: &str, arguments: &[String]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &machine::python_on_the_host(agent, arguments)]);
    command
}

/// An agent with so many calls under way.
fn agent(llama: &Llama, sandbox: &Sandbox, calls: usize, stream: bool) -> Background {
    let mut arguments = vec![llama.address.clone(), calls.to_string()];
    arguments.extend(stream.then(|| "--stream".to_owned()));
    let line = machine::python_on_the_host("generate.py", &arguments);
    sandbox.spawn(sandbox.command("sh").args(["-c", &line]))
}

#[test]
fn a_killed_agent_s_streams_stop_generating_and_its_neighbour_s_do_not() {
    a_kill_stops_generating(Mode::Audit, true);
}

/// In enforce its server is asked for streams, of which its client sees nothing.
#[test]
fn so_do_its_calls_for_one_answer() {
    a_kill_stops_generating(Mode::Enforce, false);
}

/// Kills an agent with two calls under way, beside one of another agent that goes on.
fn a_kill_stops_generating(mode: Mode, stream: bool) {
    let llama = Llama::start();
    let gateway = Gateway::start(mode);
    let (killed, spared) = (Sandbox::new(), Sandbox::new());
    gateway.attach_cgroup(killed.cgroup(), "killed", &[]);
    gateway.attach_cgroup(spared.cgroup(), "spared", &[]);
    let calls = agent(&llama, &killed, 2, stream);
    let neighbour = agent(&llama, &spared, 1, true);
    let begun = |agent: &Background| agent.stdout().matches("begun").count();
    wait::until_true(LOADED, "three generations", || {
        (!stream || begun(&calls) == 2) && begun(&neighbour) == 1 && llama.at_work().len() == 3
    });
    assert_eq!(llama.stopped(), 0);

    let report = gateway.succeed(&["kill", "--agent", "killed", "--reason", "enough", "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["silent"], &report["streams_cut"]), (&true.into(), &2.into()), "{report}");
    wait::until_true(SOON, "the model to stop", || llama.at_work().len() == 1);
    assert_eq!(llama.stopped(), 2, "{}", llama.process.stderr());
    wait::until_true(SOON, "the client to be told", || {
        calls.stdout().matches("enough").count() == 2
    });
    assert_eq!(llama.at_work().len(), 1, "the neighbour goes on");
    assert!(!neighbour.stdout().contains("error"), "{}", neighbour.stdout());
    for trace in gateway.traces().iter().filter(|trace| trace.summary.agent.name == "killed") {
        let cancel = trace.steps[0].cancel.as_ref().expect("it was ended");
        assert_eq!(
            (&cancel["cause"], &cancel["generation_may_continue"]),
            (&"kill".into(), &false.into())
        );
    }
}

const LOADED: Duration = Duration::from_mins(2);
const SOON: Duration = Duration::from_secs(10);
