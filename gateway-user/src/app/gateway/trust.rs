//! Decryption: whom its clients are made to trust, and whom it trusts itself.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use gateway_common::AgentId;
use rustls::RootCertStore;
use tokio::{task::spawn_blocking, time::timeout};

use super::{Gateway, GatewayError, fleet::Fleet};
use crate::{
    app::kernel::Minting,
    attach::{
        cgroup::Cgroup,
        pins::HeldAgent,
        root::Root,
        trust::{self, Look, Refused, Seen},
    },
    authority::Authority,
    config::{Config, Decrypt},
    control::model::CaInfo,
    limits,
    policy::hosts::HostList,
    proxy::{self, Certificates, Clock, Decryption, Roots},
};

/// What decryption takes, whoever the agent is.
#[derive(Debug)]
pub(in crate::app) struct Decrypting {
    pub(super) authority: Arc<Authority>,
    hosts: Arc<HostList>,
    /// What this node trusts.
    roots: Arc<RootCertStore>,
    clock: Clock,
}

/// Whom one agent trusts. Shared with the thread that looks at its files, which may hang.
#[derive(Debug)]
pub(in crate::app) struct Trust {
    agent: AgentId,
    cgroup: Cgroup,
    /// Names it by its number, that of its processes and what was looked at.
    seen: Mutex<Seen>,
    /// What was found and is not covered yet.
    found: Mutex<Option<Look>>,
    /// Held while files are covered. Whether that is over for good.
    over: Mutex<bool>,
    /// Somebody is looking.
    busy: AtomicBool,
    looks: AtomicU32,
    report: Mutex<Report>,
    /// Whose connections it decides on.
    proxy: OnceLock<Weak<proxy::Agent>>,
}

/// What came of it, for whoever wants to know.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Report {
    covered: BTreeSet<PathBuf>,
    refused: BTreeSet<Refused>,
    on_host: bool,
    passed_over: usize,
    /// Upstream is verified by the node's certificates, for want of the agent's own.
    by_node: bool,
    failed: Option<String>,
}

impl Decrypting {
    /// Makes the authority if there is none.
    pub(super) fn open(config: &Config, clock: Clock) -> Result<Self, GatewayError> {
        let authority = Authority::open(&config.daemon.state_dir, clock.now())?;
        let bundle = node_bundle().unwrap_or_else(|error| {
            tracing::error!(%error, "this node's own certificates can't be read");
            Vec::new()
        });
        Ok(Self {
            authority: Arc::new(authority),
            hosts: config.intercepts.hosts(),
            roots: Arc::new(roots(&bundle, "")),
            clock,
        })
    }

    /// What clients have to trust, in PEM.
    pub(in crate::app) fn anchors(&self) -> String {
        self.authority.anchors(self.clock.now())
    }

    /// For an agent that trusts this bundle; without one, for one that trusts what the node does.
    fn roots(&self, bundle: Option<&[u8]>) -> Roots {
        // Not what was added for us: upstream has no business with it.
        let agent = bundle.map(|bundle| Arc::new(roots(bundle, &self.anchors())));
        let agent = agent.unwrap_or_else(|| Arc::clone(&self.roots));
        Roots { agent, node: Arc::clone(&self.roots) }
    }

    fn decryption(&self, roots: Roots) -> Decryption {
        let minting = Minting { authority: Arc::clone(&self.authority), clock: self.clock };
        let certificates: Arc<dyn Certificates> = Arc::new(minting);
        Decryption::new(Arc::clone(&self.hosts), roots, certificates)
    }
}

impl Trust {
    pub(super) fn of(agent: AgentId, cgroup: &Cgroup) -> Arc<Self> {
        Arc::new(Self {
            agent,
            cgroup: cgroup.clone(),
            seen: Mutex::default(),
            found: Mutex::default(),
            over: Mutex::new(false),
            busy: AtomicBool::new(false),
            looks: AtomicU32::new(0),
            report: Mutex::default(),
            proxy: OnceLock::new(),
        })
    }

    /// What the agent's connections are decrypted by, once its files were looked at. `given` is the
    /// bundle that decides, if it is not to be the agent's own.
    pub(super) async fn decryption(
        self: &Arc<Self>,
        all: &Decrypting,
        given: Option<&Path>,
    ) -> Decryption {
        self.in_time(Self::look).await;
        let given = given.and_then(|path| {
            let read = std::fs::read(path);
            read.inspect_err(|error| tracing::error!(path = %path.display(), %error, "not read"))
                .ok()
        });
        let found = lock(&self.found);
        let own = || found.as_ref().and_then(Look::own_bundle);
        let bundle = given.as_deref().or_else(own);
        lock(&self.report).by_node = bundle.is_none();
        all.decryption(all.roots(bundle))
    }

    /// Says whose connections it decides on, once that is known.
    pub(super) fn serves(&self, agent: &Arc<proxy::Agent>) {
        self.proxy.get_or_init(|| Arc::downgrade(agent));
    }

    pub(super) fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Covers what was found.
    pub(super) async fn cover(self: &Arc<Self>, anchors: String) {
        self.in_time(move |trust| trust.cover_now(&anchors)).await;
    }

    /// Looks again, for what has come since, and covers that. Does nothing if the last time is not
    /// over yet.
    pub(super) async fn refresh(self: &Arc<Self>, all: &Arc<Decrypting>, anyway: bool) {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        if anyway || look % LOOKS == LOOKS - 1 {
            lock(&self.seen).forget_processes();
        }
        let (all, anchors) = (Arc::clone(all), all.anchors());
        self.in_time(move |trust| {
            trust.look();
            trust.learn_roots(&all);
            trust.cover_now(&anchors);
        })
        .await;
    }

    /// Verifies upstream by the agent's own certificates as soon as it has some: its cgroup may be
    /// there before its container is.
    fn learn_roots(&self, all: &Decrypting) {
        let found = lock(&self.found);
        let mut report = lock(&self.report);
        let agent = self.proxy.get().and_then(Weak::upgrade);
        if report.by_node
            && let Some(bundle) = found.as_ref().and_then(Look::own_bundle)
            && let Some(decryption) = agent.as_ref().and_then(|agent| agent.decryption.as_ref())
        {
            decryption.trust(all.roots(Some(bundle)));
            report.by_node = false;
        }
    }

    /// Takes away all that covers the agent's files, and covers none from here on.
    pub(super) async fn end(self: &Arc<Self>) {
        let trust = Arc::clone(self);
        let ended = spawn_blocking(move || {
            *lock(&trust.over) = true;
            trust::uncover(trust.agent)
        });
        report_end(self.agent, timeout(limits::TRUST_TIME, ended).await);
    }

    fn look(&self) {
        let mut seen = lock(&self.seen).clone();
        let mut processes = self.cgroup.processes();
        processes.sort_unstable();
        let look = Look::at(&processes, self.agent, &mut seen);
        *lock(&self.seen) = seen;
        *lock(&self.found) = Some(look);
    }

    fn cover_now(&self, anchors: &str) {
        let Some(look) = lock(&self.found).take() else { return };
        let over = lock(&self.over);
        if *over {
            return;
        }
        let covered = look.cover(self.agent, anchors);
        let mut report = lock(&self.report);
        for refused in &covered.refused {
            if report.refused.insert(refused.clone()) {
                let path = refused.path.display();
                tracing::warn!(agent = self.agent, %path, why = refused.why, "can't be covered");
            }
        }
        report.refused.retain(|refused| !covered.paths.contains(&refused.path));
        report.covered.extend(covered.paths);
        report.on_host |= look.on_host;
        report.passed_over = look.passed_over;
    }

    /// Does something in a thread that is left behind if it takes too long, one at a time.
    async fn in_time(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let trust = Arc::clone(self);
        let working = spawn_blocking(move || {
            work(&trust);
            trust.busy.store(false, Ordering::Release);
        });
        let failed = match timeout(limits::TRUST_TIME, working).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it takes longer than {} s", limits::TRUST_TIME.as_secs())),
        };
        lock(&self.report).failed = failed;
    }
}

/// Of so many looks one is at every process, not at new ones only.
const LOOKS: u32 = 12;

impl Report {
    /// Files of certificates that hold this node's CA now, as the agent has them.
    pub(super) fn covered(&self) -> Vec<PathBuf> {
        self.covered.iter().cloned().collect()
    }

    /// What does not trust this node's CA, or could not be found out, and what to do about it.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for Refused { path, why } in &self.refused {
            notes.push(format!(
                "its {} does not hold this node's CA, so what reads it refuses to be decrypted: {why}",
                path.display()
            ));
        }
        if self.on_host {
            notes.push(format!(
                "some of its processes see this machine's own files, where nothing is changed: restart \
                 them under `turnpike run`, or with {EXPORTED}"
            ));
        } else if self.covered.is_empty() && self.refused.is_empty() && self.failed.is_none() {
            notes.push(format!(
                "no file of certificates was found in its container: add this node's CA to its image, \
                 or restart it with {EXPORTED}"
            ));
        }
        if self.by_node {
            notes.push(
                "upstream is verified by this machine's certificates: the agent has none of its own"
                    .into(),
            );
        }
        if self.passed_over > 0 {
            notes.push(format!("{} of its processes are yet to be looked at", self.passed_over));
        }
        if let Some(why) = &self.failed {
            notes.push(format!(
                "its files can't be looked at: {why}; it may refuse to be decrypted"
            ));
        }
        notes
    }
}

const EXPORTED: &str = "SSL_CERT_FILE, REQUESTS_CA_BUNDLE and NODE_EXTRA_CA_CERTS naming a file that \
                        holds its certificates and what `turnpike ca export` prints";

impl Gateway {
    /// What clients have to trust to be decrypted, in PEM.
    pub(in crate::app) fn anchors(&self) -> String {
        self.0.decrypting.anchors()
    }

    pub(super) fn ca(&self) -> CaInfo {
        let certificate = self.0.decrypting.authority.certificate();
        CaInfo { certificate, anchors: self.anchors() }
    }

    /// Replaces the authority, and has all agents trust the new one.
    pub(super) async fn rotate_ca(&self) -> Result<CaInfo, GatewayError> {
        let all = &self.0.decrypting;
        let certificate = all.authority.rotate(all.clock.now())?;
        tracing::info!(sha256 = certificate.sha256, "the CA is replaced");
        let trusts: Vec<Arc<Trust>> = self.0.fleet.lock().await.trusts().collect();
        for trust in trusts {
            trust.refresh(all, true).await;
        }
        Ok(CaInfo { certificate, anchors: self.anchors() })
    }

    /// Looks after what covers the agents' files, each in a task of its own.
    pub(super) fn refresh_trust(&self, fleet: &Fleet, anyway: bool) {
        for trust in fleet.trusts() {
            let all = Arc::clone(&self.0.decrypting);
            tokio::spawn(async move { trust.refresh(&all, anyway).await });
        }
    }
}

/// As [`Trust::end`], of an agent that an earlier gateway held.
pub(super) async fn uncover(held: &HeldAgent) {
    if held.decrypt == Decrypt::On {
        let agent = held.cgroup_id;
        let ended = spawn_blocking(move || trust::uncover(agent));
        report_end(agent, timeout(limits::TRUST_TIME, ended).await);
    }
}

type Ended = Result<Result<io::Result<usize>, tokio::task::JoinError>, tokio::time::error::Elapsed>;

fn report_end(agent: AgentId, ended: Ended) {
    let why = match ended {
        Ok(Ok(Ok(count))) => return tracing::debug!(agent, count, "files are bare again"),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(agent, why, "what covers its files is not all taken away");
}

/// The certificates of a bundle, without those of `anchors`.
fn roots(bundle: &[u8], anchors: &str) -> RootCertStore {
    let ours = trust::certificates(anchors.as_bytes());
    let mut roots = RootCertStore::empty();
    let all = trust::certificates(bundle).into_iter();
    roots.add_parsable_certificates(all.filter(|certificate| !ours.contains(certificate)));
    roots
}

/// What this node's own programs trust.
pub(in crate::app) fn node_bundle() -> io::Result<Vec<u8>> {
    let root = Root::at(Path::new("/"))?;
    for path in trust::of_system() {
        if let Some(found) = root.find(&path)?
            && found.is_file()
        {
            let mut bytes = Vec::new();
            io::Read::read_to_end(
                &mut io::Read::take(found.open()?, limits::BUNDLE_BYTES),
                &mut bytes,
            )?;
            return Ok(bytes);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "install ca-certificates"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
