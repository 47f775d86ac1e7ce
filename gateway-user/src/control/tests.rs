//! Server, client and commands, over real sockets.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::{
    api::{Gateway, Peer},
    budget::{BudgetInfo, Reset, ResetRequest},
    cli::{Cli, Command},
    client::{Client, ClientError},
    commands::{self, CommandError, Console, Pinned},
    kill::{KillReport, KillRequest, ReviveRequest, Revived, Victim},
    model::{AgentInfo, AgentState, AttachRequest, CaInfo, Refusal, Status, Target},
    render::Screen,
    sample, server,
    socket::{BindError, ControlSocket, Owner},
};
use crate::{
    call::{Holder, SessionId, State, Timestamp, Workflow, WorkflowSummary},
    cancel::Kill,
    ledger::{Budget, Ledger, Limits, Scope},
    limits,
    store::Filter,
};

#[tokio::test]
async fn every_call_makes_the_round_trip() {
    let served = Served::start().await;
    let client = &served.client;
    assert_eq!(client.status().await.expect("status"), sample::status());
    assert_eq!(client.agents().await.expect("agents"), [sample::agent("research")]);
    let agent = client.attach(&request("a b/ü")).await.expect("attached");
    assert_eq!(agent.name, "a b/ü");
    client.detach("a b/ü?", true).await.expect("detached");
    assert_eq!(served.gateway.told(), ["attach a b/ü", "detach a b/ü? true"]);
    let workflow = client.workflow("00").await.expect("a workflow");
    assert_eq!(workflow, sample::workflow(1));
    let filter = Filter {
        agent: Some("a&b=c d".to_owned()),
        session: Some(SessionId(7)),
        state: Some(State::Failed),
        limit: Some(3),
    };
    let listed = client.workflows(&filter).await.expect("workflows");
    assert_eq!(listed, [sample::workflow(1).summary]);
    assert_eq!(*served.gateway.filter.lock().expect("not poisoned"), Some(filter));
    let budgets = client.budgets(5).await.expect("budgets");
    assert_eq!(budgets, served.gateway.budgets(5));
    let request = ResetRequest {
        holder: Holder::Agent("a".into()),
        budget: Some("b".to_owned()),
        reason: Some("because".to_owned()),
    };
    let reset = client.reset_budget(&request).await.expect("reset");
    assert_eq!((reset.holder, reset.reason), (request.holder, request.reason));
    let mut traces = client.traces(&Filter::default()).await.expect("traces");
    for id in 1..=TRACES {
        assert_eq!(traces.next().await.expect("a line"), Some(sample::workflow(id)));
    }
    assert_eq!(traces.next().await.expect("the end"), None);
}

#[tokio::test]
async fn what_the_gateway_refuses_is_one_line() {
    let served = Served::start().await;
    let error = served.client.attach(&request("refuse")).await.expect_err("refused");
    assert_eq!(error.to_string(), "no such container; `podman ps` lists them");
    let error = served.client.workflow("ff").await.expect_err("not there");
    assert_eq!(error.to_string(), "no workflow begins with ff");
}

#[tokio::test]
async fn an_agent_s_own_process_is_refused() {
    let served = Served::start().await;
    served.gateway.shut.store(true, Ordering::Relaxed);
    let error = served.client.agents().await.expect_err("refused");
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
    let answer = served.raw("GET /v1/status HTTP/1.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_request_that_can_t_be_read_is_answered_by_a_refusal() {
    let served = Served::start().await;
    let json = "content-type: application/json\r\n";
    for (head, status) in [
        ("GET /v2 HTTP/1.1\r\n".to_owned(), "404"),
        ("PUT /v1/agents HTTP/1.1\r\n".to_owned(), "405"),
        ("GET /v1/workflows?state=gone HTTP/1.1\r\n".to_owned(), "400"),
        ("GET /v1/workflows?stat=done HTTP/1.1\r\n".to_owned(), "400"),
        (format!("POST /v1/agents HTTP/1.1\r\n{json}content-length: 0\r\n"), "400"),
    ] {
        let answer = served.raw(&head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("{\"error\":\""), "{head}: {answer}");
    }
    assert!(served.gateway.told().is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_or_never_comes_is_refused() {
    let served = Served::start().await;
    let post = "POST /v1/agents HTTP/1.1\r\ncontent-type: application/json\r\n";
    let large = format!("{{\"target\":{{\"container\":\"{}\"}}}}", "x".repeat(100_000));
    let head = format!("{post}content-length: {}\r\n", large.len());
    let answer = served.raw_with(&head, &large).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    tokio::time::pause();
    let answer = served.raw(&format!("{post}content-length: 10\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(served.gateway.told().is_empty());
}

#[tokio::test]
async fn an_attach_ends_though_its_client_went_away() {
    let served = Served::start().await;
    let client = served.client.clone();
    let asking = tokio::spawn(async move { client.attach(&request("slow")).await });
    served.gateway.began.notified().await;
    asking.abort();
    let _ = asking.await;
    // The server has seen the connection end once it has answered a later one.
    served.client.status().await.expect("status");
    served.gateway.go_on.notify_one();
    served.gateway.ended.notified().await;
    assert_eq!(served.gateway.told(), ["attach slow"]);
}

#[tokio::test]
async fn a_live_gateway_s_socket_is_not_taken() {
    let served = Served::start().await;
    let error = ControlSocket::bind(&served.path()).await.expect_err("in use");
    let BindError::InUse { owner, .. } = &error else { panic!("{error}") };
    assert_eq!(*owner, Owner::Gateway { pid: std::process::id() });
    assert!(error.to_string().contains(&format!("in use by pid {}", std::process::id())));
    served.client.status().await.expect("it still answers");
}

#[tokio::test]
async fn the_socket_is_gone_after_the_end() {
    let mut served = Served::start().await;
    let path = served.path();
    served.stop.take().expect("running").send(()).expect("it listens");
    (&mut served.task).await.expect("no panic");
    assert!(!path.exists());
    let error = served.client.status().await.expect_err("gone");
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn the_daemon_is_found_before_any_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = Served::start_at(directory.path().join("run-1.sock")).await;
    let found = Client::discover_in(directory.path()).await.expect("the only run");
    assert_eq!(found.path(), run.path());

    let other = Served::start_at(directory.path().join("run-2.sock")).await;
    let error = Client::discover_in(directory.path()).await.expect_err("two runs");
    let line = error.to_string();
    assert!(line.contains("run-1.sock, ") && line.contains("--control PATH"), "{line}");

    let daemon = Served::start_at(directory.path().join("control.sock")).await;
    let found = Client::discover_in(directory.path()).await.expect("the daemon");
    assert_eq!(found.path(), daemon.path());
    let found = Client::discover(Some(&other.path())).await.expect("the one asked for");
    assert_eq!(found.path(), other.path());
}

#[tokio::test]
async fn sockets_of_dead_runs_are_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let dead = directory.path().join("run-1.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("bound"));
    let error = Client::discover_in(directory.path()).await.expect_err("nobody answers");
    let line = error.to_string();
    assert!(line.starts_with("no turnpike daemon answers at "), "{line}");
    assert!(line.contains("control.sock; start one with `turnpike daemon`"), "{line}");
}

#[tokio::test]
async fn without_a_daemon_what_is_pinned_is_listed_and_detached() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let text = run(&path, "agents").await.expect("listed");
    assert!(text.contains("left-behind  audit  pinned"), "{text}");
    let error = run(&path, "detach left-behind").await.expect_err("not without --force");
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!(
        run(&path, "detach left-behind --force").await.expect("done"),
        "detached left-behind\n"
    );
    let error = run(&path, "detach other --force").await.expect_err("not pinned");
    assert_eq!(error.to_string(), "no agent is called other");
    let error = run(&path, "status").await.expect_err("no daemon");
    assert!(error.to_string().contains("start one with"), "{error}");
}

#[tokio::test]
async fn what_a_dead_gateway_left_is_listed_and_detached_beside_a_live_one() {
    let served = Served::start().await;
    let path = served.path();
    let text = run(&path, "agents").await.expect("listed");
    assert!(text.contains("research") && text.contains("left-behind"), "{text}");
    let error = run(&path, "detach left-behind").await.expect_err("not without --force");
    assert!(error.to_string().contains("--force"), "{error}");
    run(&path, "detach left-behind --force").await.expect("detached");
    let error = run(&path, "detach other --force").await.expect_err("nobody's");
    assert_eq!(error.to_string(), "no agent is called other");
    run(&path, "detach research --force").await.expect("the live gateway's");
    assert_eq!(served.gateway.told(), ["detach research true"]);
}

#[tokio::test]
async fn every_gateway_that_lives_is_found_to_list_agents() {
    let directory = tempfile::tempdir().expect("a directory");
    assert!(Client::discover_all_in(directory.path()).await.expect("none").is_empty());
    let mut served = Vec::new();
    for name in ["run-1.sock", "run-2.sock", "control.sock"] {
        served.push(Served::start_at(directory.path().join(name)).await);
    }
    let found = Client::discover_all_in(directory.path()).await.expect("all");
    let names: Vec<_> = found.iter().filter_map(|client| client.path().file_name()).collect();
    assert_eq!(names, ["control.sock", "run-1.sock", "run-2.sock"]);
}

#[tokio::test]
async fn an_agent_s_idle_connections_do_not_keep_others_out() {
    let served = Served::start().await;
    served.gateway.shut.store(true, Ordering::Relaxed);
    let mut idle = Vec::new();
    for _ in 0..=limits::CONTROL_CONNECTIONS {
        idle.push(UnixStream::connect(served.path()).await.expect("connected"));
    }
    // The last one is shut at once: by then all have been accepted.
    let last = idle.last_mut().expect("a connection");
    assert_eq!(last.read(&mut [0]).await.expect("the end"), 0);
    served.gateway.shut.store(false, Ordering::Relaxed);
    served.client.status().await.expect("served");
}

#[tokio::test]
async fn commands_print_text_or_json() {
    let served = Served::start().await;
    let path = served.path();
    let text = run(&path, "attach --pid 7 --name a").await.expect("attached");
    assert_eq!(text, "attached a in audit mode: container 0123456789ab\n");
    assert!(run(&path, "workflows").await.expect("listed").starts_with("WORKFLOW"));
    let json = run(&path, "workflows --json").await.expect("listed");
    let listed: Vec<WorkflowSummary> = serde_json::from_str(&json).expect("one document");
    assert_eq!(listed, [sample::workflow(1).summary]);
    let json = run(&path, "trace 00 --json").await.expect("shown");
    assert_eq!(serde_json::from_str::<Workflow>(&json).expect("one"), sample::workflow(1));
    let lines = run(&path, "trace --all --json").await.expect("shown");
    assert_eq!(lines.lines().count(), usize::try_from(TRACES).expect("few"));
    for line in lines.lines() {
        serde_json::from_str::<Workflow>(line).expect("a document a line");
    }
}

#[tokio::test]
async fn nobody_reading_any_more_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let served = Served::start().await;
    let path = served.path();
    for line in ["agents", "agents --json", "trace --all", "trace --all --json"] {
        run_into(&mut Closed, &path, line).await.expect("quiet");
    }
}

/// A gateway that is served in this process.
struct Served {
    client: Client,
    gateway: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _directory: Option<TempDir>,
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let served = Self::start_at(directory.path().join("control.sock")).await;
        Self { _directory: Some(directory), ..served }
    }

    async fn start_at(path: PathBuf) -> Self {
        let socket = ControlSocket::bind(&path).await.expect("bound");
        let gateway = Arc::new(Fake::default());
        let (stop, stopped) = oneshot::channel();
        let server = server::serve(socket, Arc::clone(&gateway), async {
            let _ = stopped.await;
        });
        let task = tokio::spawn(server.expect("threads"));
        let client = Client::connect(path).await.expect("it answers");
        Self { client, gateway, stop: Some(stop), task, _directory: None }
    }

    fn path(&self) -> PathBuf {
        self.client.path().to_owned()
    }

    /// What the server says to this head, after which nothing follows.
    async fn raw(&self, head: &str) -> String {
        self.raw_with(head, "").await
    }

    async fn raw_with(&self, head: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.path()).await.expect("connected");
        let head = format!("{head}host: turnpike\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }
}

#[derive(Default)]
struct Fake {
    shut: AtomicBool,
    told: Mutex<Vec<String>>,
    filter: Mutex<Option<Filter>>,
    began: Notify,
    go_on: Notify,
    ended: Notify,
}

impl Fake {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, what: String) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl Gateway for Fake {
    fn runtime(&self) -> runtime::Handle {
        runtime::Handle::current()
    }

    fn status(&self) -> Status {
        sample::status()
    }

    fn agents(&self) -> Vec<AgentInfo> {
        vec![sample::agent("research")]
    }

    async fn attach(&self, peer: Peer, request: AttachRequest) -> Result<AgentInfo, Refusal> {
        assert_eq!(peer.pid, std::process::id());
        let name = request.name.unwrap_or_default();
        if name == "refuse" {
            return Err(Refusal::new("no such container").fix("`podman ps` lists them"));
        }
        if name == "slow" {
            self.began.notify_one();
            self.go_on.notified().await;
        }
        self.tell(format!("attach {name}"));
        self.ended.notify_one();
        Ok(sample::agent(&name))
    }

    async fn detach(&self, name: &str, force: bool) -> Result<(), Refusal> {
        if ["left-behind", "other"].contains(&name) {
            return Err(Refusal::new(format!("no agent is called {name}")));
        }
        self.tell(format!("detach {name} {force}"));
        Ok(())
    }

    fn ca(&self) -> CaInfo {
        sample::ca()
    }

    async fn rotate_ca(&self) -> Result<CaInfo, Refusal> {
        self.tell("rotate".to_owned());
        Ok(sample::ca())
    }

    fn budgets(&self, limit: usize) -> Vec<BudgetInfo> {
        let ledger = Ledger::new(vec![Budget::new("a", Scope::Node, Limits::default())]);
        BudgetInfo::all(&ledger, limit)
    }

    fn reset_budget(&self, peer: Peer, request: ResetRequest) -> Result<Reset, Refusal> {
        let ResetRequest { holder, budget, reason } = request;
        let budgets = budget.into_iter().collect();
        Ok(Reset { at: Timestamp(0), holder, by_uid: peer.uid, reason, budgets })
    }

    fn kills(&self) -> Vec<Kill> {
        vec![sample::kill(Holder::Node)]
    }

    async fn kill(&self, _: Peer, request: KillRequest) -> Result<KillReport, Refusal> {
        let KillRequest { victim, reason, signal, timeout_ms } = request;
        self.tell(format!("kill {victim:?} {reason:?} {signal} {timeout_ms}"));
        Ok(sample::killed(Holder::Node, !signal))
    }

    async fn revive(&self, _: Peer, request: ReviveRequest) -> Result<Revived, Refusal> {
        match request.victim {
            Victim::Node => Ok(sample::revived(Holder::Node)),
            other => Err(Refusal::new(format!("{other:?} is not killed"))),
        }
    }

    fn workflows(&self, filter: &Filter) -> Vec<WorkflowSummary> {
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = Some(filter.clone());
        vec![sample::workflow(1).summary]
    }

    fn workflow(&self, id_prefix: &str) -> Result<Workflow, Refusal> {
        let found = sample::workflow(1);
        if found.summary.workflow_id.to_string().starts_with(id_prefix) {
            Ok(found)
        } else {
            Err(Refusal::new(format!("no workflow begins with {id_prefix}")))
        }
    }

    fn all_workflows(&self, _: &Filter) -> Vec<Workflow> {
        (1..=TRACES).map(sample::workflow).collect()
    }

    fn admits(&self, peer: &Peer) -> bool {
        peer.pid == std::process::id() && !self.shut.load(Ordering::Relaxed)
    }
}

/// Enough for more than one read.
const TRACES: u64 = 50;

fn request(name: &str) -> AttachRequest {
    AttachRequest {
        decrypt: None,
        bundle: None,
        budget: None,
        target: Target::Pid(1),
        name: Some(name.to_owned()),
        mode: None,
        existing: None,
    }
}

#[tokio::test]
async fn a_kill_is_proven_and_listed_and_revoked() {
    let served = Served::start().await;
    let path = served.path();
    let text = run(&path, "kill --all --reason enough --timeout 2s").await.expect("killed");
    assert_eq!(
        text,
        "this node is silent after 7.0 ms\n     0.1 ms  new connections denied\n     0.2 ms  calls told \
         to end\n     1.4 ms  last byte of upstream read, at the latest\n     9.0 ms  written down\n  2 \
         calls cut, 3 sockets destroyed, 0 processes ended\n"
    );
    let told = served.gateway.told();
    assert_eq!(told, [r#"kill Node Some("enough") false 2000"#]);
    let text = run(&path, "kills").await.expect("listed");
    assert!(text.contains("this node") && text.contains("it loops"), "{text}");
    assert_eq!(run(&path, "revive --all").await.expect("revived"), "this node may go on\n");
    let error = run(&path, "revive 3f9c").await.expect_err("it is not killed");
    assert!(error.to_string().contains("Workflow(\"3f9c\") is not killed"), "{error}");
    let json = run(&path, "kill --session 00000000000000ff --json").await.expect("killed");
    let report: KillReport = serde_json::from_str(&json).expect("a report");
    assert_eq!(report, sample::killed(Holder::Node, true));
}

#[tokio::test]
async fn a_kill_without_silence_fails_and_says_what_it_does_not_reach() {
    let served = Served::start().await;
    let words = ["turnpike", "kill", "--agent", "a", "--signal"];
    let Command::Kill(args) = Cli::try_parse_from(words).expect("a command line").command else {
        panic!("a kill")
    };
    let mut out = Vec::new();
    let screen = Screen { color: false, columns: None, now: Timestamp(0) };
    let path = served.path();
    let console = &mut Console { control: Some(&path), screen, out: &mut out };
    assert_eq!(commands::kill(console, &args, &LeftBehind).await.expect("done"), 1);
    let text = String::from_utf8(out).expect("text");
    assert!(text.starts_with("this node is killed, but not silent yet\n"), "{text}");
    assert!(text.ends_with("  not covered: open sockets of agent a\n"), "{text}");
}

#[tokio::test]
async fn without_a_gateway_what_a_dead_one_left_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let text = run(&path, "kill --agent left-behind").await.expect("killed");
    assert!(text.starts_with("agent left-behind is silent after 7.0 ms\n"), "{text}");
    assert!(run(&path, "kills").await.expect("listed").contains("agent left-behind"));
    let text = run(&path, "revive --agent left-behind").await.expect("revived");
    assert_eq!(text, "agent left-behind may go on\n");
}

struct LeftBehind;

impl Pinned for LeftBehind {
    fn list(&self) -> Result<Vec<AgentInfo>, Refusal> {
        Ok(vec![AgentInfo { state: AgentState::Pinned, ..sample::agent("left-behind") }])
    }

    fn detach(&self, name: &str) -> Result<(), Refusal> {
        if name == "left-behind" {
            return Ok(());
        }
        Err(Refusal::new(format!("no agent is called {name}")))
    }

    fn kill(&self, _: &KillRequest) -> Result<KillReport, Refusal> {
        Ok(sample::killed(Holder::Agent("left-behind".into()), true))
    }

    fn revive(&self, _: &ReviveRequest) -> Result<Revived, Refusal> {
        Ok(sample::revived(Holder::Agent("left-behind".into())))
    }

    fn kills(&self) -> Result<Vec<Kill>, Refusal> {
        Ok(vec![sample::kill(Holder::Agent("left-behind".into()))])
    }
}

/// Runs a command line against the gateway at the path, and gives what it prints.
async fn run(control: &Path, line: &str) -> Result<String, CommandError> {
    let mut out = Vec::new();
    run_into(&mut out, control, line).await?;
    Ok(String::from_utf8(out).expect("text"))
}

async fn run_into(out: &mut dyn Write, control: &Path, line: &str) -> Result<(), CommandError> {
    let words = std::iter::once("turnpike").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).expect("a command line");
    let screen = Screen { color: false, columns: None, now: Timestamp(0) };
    let console = &mut Console { control: Some(control), screen, out };
    match cli.command {
        Command::Agents(args) => commands::agents(console, args, &LeftBehind).await,
        Command::Attach(args) => commands::attach(console, &args).await,
        Command::Detach(args) => commands::detach(console, &args, &LeftBehind).await,
        Command::Kill(args) => {
            commands::kill(console, &args, &LeftBehind).await.map(|status| assert_eq!(status, 0))
        }
        Command::Revive(args) => commands::revive(console, &args, &LeftBehind).await,
        Command::Kills(args) => commands::kills(console, args, &LeftBehind).await,
        Command::Status(args) => commands::status(console, args).await,
        Command::Trace(args) => commands::trace(console, &args).await,
        Command::Workflows(args) => commands::workflows(console, &args).await,
        other => panic!("{other:?} does not ask a gateway"),
    }
}
