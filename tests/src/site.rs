//! What agents call in tests with real clients: model servers and a git host over TLS, under the
//! names that such clients know, and roots of trust that vouch for them.

use std::{fs, net::Ipv4Addr, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    authority::Authority,
    clients::{self, Client},
    container::Container,
    machine,
    model_server::{ModelServer, Tls},
    network::{Cable, Netns},
};

/// The servers, in a network namespace.
#[derive(Debug)]
pub struct Site {
    pub server: ModelServer,
    authority: Authority,
    address: Ipv4Addr,
    netns: Netns,
    repository: Repository,
}

/// A model server in clear, in a network namespace at the other end of a container's cable.
#[derive(Debug)]
pub struct PlainSite {
    pub server: ModelServer,
    pub cable: Cable,
    _netns: Netns,
}

/// A repository that is served as plain files, which git calls its "dumb" protocol.
#[derive(Debug)]
struct Repository {
    directory: TempDir,
    head: String,
}

impl Site {
    /// In a network namespace at the other end of a container's cable, with a container that trusts
    /// and finds them.
    #[track_caller]
    pub fn beside(container: &Container) -> Self {
        let netns = Netns::new();
        let address = netns.connect(container.pid()).here;
        let site = Self::start(netns, address);
        let script = format!(
            "cat >> /etc/hosts && printf %s \"$1\" | tee -a {} >> {} && printf %s \"$1\" > {}",
            Self::SYSTEM_BUNDLE,
            Self::CERTIFI_BUNDLE,
            Self::ROOT,
        );
        let mut command = container.interactive("sh");
        command.args(["-c", &script, "sh", site.authority.root()]);
        machine::run_with(&mut command, &site.hosts());
        site
    }

    /// In a network namespace in which the agents are to live, too.
    #[track_caller]
    pub fn within(netns: Netns) -> Self {
        let address = Ipv4Addr::new(203, 0, 113, 1);
        netns.add_address(address.into());
        Self::start(netns, address)
    }

    #[track_caller]
    fn start(netns: Netns, address: Ipv4Addr) -> Self {
        let held = format!("*{}", clients::OWN_HOSTS);
        let authority = Authority::of(&[&Self::NAMES, [held.as_str()].as_slice()].concat());
        let repository = Repository::new();
        let tls = Tls {
            address: (address, 443).into(),
            identity: &authority.identity(),
            files: repository.directory.path(),
        };
        let server = ModelServer::start_tls_in(&netns, &tls);
        Self { server, authority, address, netns, repository }
    }

    /// Lines of `/etc/hosts`.
    pub fn hosts(&self) -> String {
        let held = Client::ALL.map(Client::own_host).join(" ");
        format!("127.0.0.1 localhost\n{} {} {held}\n", self.address, Self::NAMES.join(" "))
    }

    /// The root that vouches for the servers, in PEM.
    pub fn root(&self) -> &str {
        self.authority.root()
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The commit that a clone must have.
    pub fn head(&self) -> &str {
        &self.repository.head
    }

    /// No pack of the repository is smaller.
    pub const REPOSITORY_BYTES: usize = 300_000;
    /// The last is asked by Codex, too, for other things than models.
    const NAMES: [&str; 4] =
        ["api.openai.com", "api.anthropic.com", "git.example.org", "chatgpt.com"];
    /// Where the root file system has what its programs trust.
    pub const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
    pub const CERTIFI_BUNDLE: &str = "/opt/agent/certifi/cacert.pem";
    /// The root alone, in a file that no program looks for.
    pub const ROOT: &str = "/opt/root-of-the-tests.pem";
}

impl PlainSite {
    #[track_caller]
    pub fn beside(container: &Container) -> Self {
        let netns = Netns::new();
        let cable = netns.connect(container.pid());
        let server = ModelServer::start_in(&netns, &[(cable.here, 0).into()]);
        Self { server, cable, _netns: netns }
    }
}

impl Repository {
    #[track_caller]
    fn new() -> Self {
        let directory = TempDir::with_prefix("tp-repository-").expect("room for temporary files");
        let (work, bare) = (directory.path().join("work"), directory.path().join("archive.git"));
        fs::create_dir(&work).expect("a temporary directory");
        // What git can't compress, and so what the pack holds at least.
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            // Xorshift (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()
        });
        let noise: Vec<u8> = noise.flatten().take(Site::REPOSITORY_BYTES).collect();
        fs::write(work.join("noise"), noise).expect("a temporary file");
        git(&work, &["init", "--quiet"]);
        git(&work, &["add", "noise"]);
        git(&work, &["commit", "--quiet", "--message", "Noise"]);
        let head = git(&work, &["rev-parse", "HEAD"]).trim().to_owned();
        let bare_path = bare.to_str().expect("our own path");
        git(&work, &["clone", "--quiet", "--bare", "--no-hardlinks", ".", bare_path]);
        git(&bare, &["repack", "-adq"]);
        git(&bare, &["update-server-info"]);
        Self { directory, head }
    }
}

/// Whatever the machine's own settings and the time are: every repository is the same.
#[track_caller]
fn git(directory: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
    for date in ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"] {
        command.env(date, "2026-01-01T00:00:00Z");
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    machine::run(command.args(words))
}
