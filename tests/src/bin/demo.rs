//! `cargo xtask demo`: an unchanged agent in a container that runs already is attached, and its
//! work comes out as one trace.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use turnpike_tests::{
    agent::{self, Job},
    container::Container,
    gateway::{Gateway, Mode},
    machine,
    model_server::ModelServer,
    network::Netns,
    trace::WorkflowSummary,
    wait,
};

fn main() {
    let start = Instant::now();
    machine::require_root();
    say("starting a container with network, mount and pid namespaces of its own (podman, runc)");
    let container = Container::start_as(format!("research-{}", std::process::id()));
    say("starting a scripted model server in another network namespace");
    let netns = Netns::new();
    let cable = netns.connect(container.pid());
    let server = ModelServer::start_in(&netns, &[SocketAddr::from((cable.here, 0))]);

    say(&format!(
        "starting an agent in the container: Python, the openai SDK as published, base_url \
         http://{}/v1",
        server.address()
    ));
    let mut job = Job::new(server.address(), "task-");
    (job.own_clients, job.stream) = (true, true);
    job.script = "chunk-ms=20 words=30".into();
    let agent = container.spawn(job.python(&mut container.command("python3")));
    let before = agent::wait_for_more(&agent, 1).len();
    say(&format!("the agent works; it has finished {before} task(s), seen by nobody"));

    say("starting turnpike daemon, with directories of its own");
    let gateway = Gateway::start(Mode::Audit);
    show(&gateway, &["attach", "--container", container.name()]);
    say("waiting for the agent to finish a task that began after that");
    let workflow = wait::until(Duration::from_secs(30), "a workflow to be done", || {
        let calls = u64::from(job.steps) + 1;
        let whole = |workflow: &WorkflowSummary| workflow.totals.model_calls == calls;
        let workflows = gateway.workflows_json();
        workflows.into_iter().find(|workflow| workflow.state == "done" && whole(workflow))
    });
    show(&gateway, &["agents"]);
    show(&gateway, &["workflows", "--limit", "5"]);
    show(&gateway, &["trace", &workflow.workflow_id]);

    show(&gateway, &["detach", container.name()]);
    let after = agent::wait_for_more(&agent, 1).len();
    say(&format!("the agent has finished {after} task(s) by now, and saw no error"));
    say("removing the container, the gateway and the model server");
    drop((agent, gateway, server, container, netns));
    say(&format!("done in {:.1} s", start.elapsed().as_secs_f64()));
}

fn say(line: &str) {
    println!("[demo] {line}");
}

/// Shows a command and what it prints.
fn show(gateway: &Gateway, arguments: &[&str]) {
    println!("\n$ turnpike {}", arguments.join(" "));
    let colour = if io::stdout().is_terminal() { "always" } else { "never" };
    print!("{}", gateway.succeed(&[&["--color", colour], arguments].concat()));
    println!();
}
