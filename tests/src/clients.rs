//! Real clients, unchanged: how each is called, and what it says that it saw. Their programs are in
//! the containers' root file system and in `agents/`.

use std::{
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    model_server::{Handshake, Logged, answer},
    process::Background,
    wait,
};

/// A client, by the name that its calls are tagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    OpenAi,
    OpenAiStreamed,
    Anthropic,
    AnthropicStreamed,
    Httpx,
    HttpxStrict,
    Requests,
    Aiohttp,
    Curl1,
    Curl2,
    Node,
    Go,
    Codex,
    Git,
}

/// When a client makes what it connects with: the part that has a trust of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Before it says that it is ready. It calls a host of its own then, so that what becomes of it
    /// is no other client's affair.
    Before,
    /// After it was told to go.
    After,
}

/// What a client says that it saw.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Seen {
    /// None: it got no answer, or does not tell.
    pub status: Option<u16>,
    /// The issuer of the server's certificate.
    pub issuer: Option<String>,
    pub response_id: Option<String>,
    pub request_sha256: Option<String>,
    pub response_sha256: Option<String>,
    /// Requests that it tried to make.
    #[serde(default)]
    pub tries: usize,
    #[serde(default)]
    pub errors: Vec<String>,
    /// All that it printed, and complained of.
    #[serde(skip)]
    pub text: String,
}

/// A client that runs.
#[derive(Debug)]
pub struct Running {
    pub client: Client,
    pub tag: String,
    process: Background,
}

/// How a client's call looked to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub tls: Option<Handshake>,
    pub version: String,
    pub path: String,
    pub headers: Vec<String>,
}

impl Client {
    pub const ALL: [Self; 14] = [
        Self::OpenAi,
        Self::OpenAiStreamed,
        Self::Anthropic,
        Self::AnthropicStreamed,
        Self::Httpx,
        Self::HttpxStrict,
        Self::Requests,
        Self::Aiohttp,
        Self::Curl1,
        Self::Curl2,
        Self::Node,
        Self::Go,
        Self::Codex,
        Self::Git,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiStreamed => "openai-streamed",
            Self::Anthropic => "anthropic",
            Self::AnthropicStreamed => "anthropic-streamed",
            Self::Httpx => "httpx",
            Self::HttpxStrict => "httpx-strict",
            Self::Requests => "requests",
            Self::Aiohttp => "aiohttp",
            Self::Curl1 => "curl-1",
            Self::Curl2 => "curl-2",
            Self::Node => "node",
            Self::Go => "go",
            Self::Codex => "codex",
            Self::Git => "git",
        }
    }

    /// Of HTTP, as the server says it.
    pub fn version(self) -> &'static str {
        match self {
            Self::Httpx | Self::HttpxStrict | Self::Curl2 | Self::Go | Self::Git => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
    }

    /// Whether it calls Chat Completions.
    pub fn chats(self) -> bool {
        !matches!(self, Self::Anthropic | Self::AnthropicStreamed | Self::Codex | Self::Git)
    }

    /// A command of the system that it is installed in: it says "ready", waits for the end of its
    /// standard input, and makes one call with this tag.
    pub fn words(self, tag: &str, made: Made) -> Vec<String> {
        let wish = wish(tag);
        let (held, url) = match made {
            Made::Before => (["--held"].as_slice(), format!("https://{}", self.own_host())),
            Made::After => ([].as_slice(), self.url().to_owned()),
        };
        let python = |name: &str, more: &[&str]| {
            let words = ["python3", "/agents/clients.py", name, &url, &wish];
            owned(&[&words, more, held].concat())
        };
        let (body, chat) = (body(&wish), format!("{url}/v1/chat/completions"));
        let curl = |version: &str| {
            let header = "content-type: application/json";
            let words = ["curl", "-sS", version, "-H", header, "--data-raw", &body, "-w"];
            waiting(&[&words, [CURL_FORMAT, &chat].as_slice()].concat())
        };
        match self {
            Self::OpenAi => python("openai", &[]),
            Self::OpenAiStreamed => python("openai", &["--stream"]),
            Self::Anthropic => python("anthropic", &[]),
            Self::AnthropicStreamed => python("anthropic", &["--stream"]),
            Self::Httpx => python("httpx", &[]),
            Self::HttpxStrict => python("httpx-strict", &[]),
            Self::Requests => python("requests", &["--stream"]),
            Self::Aiohttp => python("aiohttp", &["--stream"]),
            Self::Curl1 => curl("--http1.1"),
            Self::Curl2 => curl("--http2"),
            Self::Node => owned(&["node", "/agents/client.mjs", &url, &wish, "--stream"]),
            Self::Go => owned(&["go-client", &chat, &body]),
            Self::Codex => codex(tag, &wish, &["web_search=\"disabled\""]),
            Self::Git => {
                let clone = "git clone --quiet \"$0\" \"$1\" && git -C \"$1\" fsck --full && \
                             git -C \"$1\" rev-parse HEAD";
                waiting(&["sh", "-c", clone, &url, &format!("/var/tmp/{tag}")])
            }
        }
    }

    /// Whom it calls when it makes its connections late.
    pub fn url(self) -> &'static str {
        match self {
            Self::Anthropic | Self::AnthropicStreamed => "https://api.anthropic.com",
            Self::Git => "https://git.example.org/archive.git",
            _ => "https://api.openai.com",
        }
    }

    /// Whom it calls when it makes them early.
    pub fn own_host(self) -> String {
        format!("{}{}", self.name(), OWN_HOSTS)
    }

    /// Starts a command that `words` are part of.
    #[track_caller]
    pub fn start(self, command: &mut Command, tag: &str) -> Running {
        let process = Background::spawn(self.name(), command.stdin(Stdio::piped()));
        Running { client: self, tag: tag.to_owned(), process }
    }

    /// What it saw, from what it printed and complained.
    pub fn read(self, text: &str, complaints: &str) -> Seen {
        let (_, text) = text.split_once("ready\n").unwrap_or_default();
        let seen = match self {
            Self::Curl1 | Self::Curl2 => curl(text),
            Self::Codex | Self::Git => Some(Seen::default()),
            _ => serde_json::from_str(text).ok(),
        };
        Seen { text: text.to_owned() + complaints, ..seen.unwrap_or_default() }
    }
}

impl Running {
    /// Waits until it says that it is ready.
    #[must_use]
    #[track_caller]
    pub fn ready(mut self) -> Self {
        wait::until_true(START, self.client.name(), || {
            let Self { process, client, .. } = &mut self;
            let ended = process.status();
            assert!(ended.is_none(), "{} ended: {ended:?}: {}", client.name(), process.stderr());
            process.stdout().starts_with("ready\n")
        });
        self
    }

    /// Tells it to call.
    #[must_use]
    pub fn go(mut self) -> Self {
        self.process.close_stdin();
        self
    }

    /// Waits for its end. What it saw; panics if it failed.
    #[track_caller]
    pub fn seen(self) -> Seen {
        let name = self.client.name();
        let (status, seen) = self.end();
        assert!(status.success(), "{name}: {status}: {}", seen.text);
        seen
    }

    /// Waits for its end, whichever that is.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, Seen) {
        let status = self.process.wait(CALL);
        let (printed, said) = (self.process.stdout(), self.process.stderr());
        (status, self.client.read(&printed, &said))
    }
}

impl Look {
    pub fn of(logged: &Logged) -> Self {
        Self {
            tls: logged.tls.clone(),
            version: logged.version.clone(),
            path: logged.path.clone(),
            headers: logged.headers.clone(),
        }
    }
}

/// A script that runs commands at the same time and waits for them. What each prints and complains
/// of is in the directory then, in `NAME.out` and `NAME.err`.
pub fn side_by_side(commands: &[(&str, Vec<String>)], directory: &str) -> String {
    let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    let start = |(name, words): &(&str, Vec<String>)| {
        let words: Vec<String> = words.iter().map(quoted).collect();
        format!("{} > {name}.out 2> {name}.err < /dev/null &\n", words.join(" "))
    };
    let all: String = commands.iter().map(start).collect();
    format!("cd {directory}\n{all}wait\n")
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A command that does not wait by itself.
fn waiting(words: &[&str]) -> Vec<String> {
    let wait = ["sh", "-c", "echo ready; read line; exec \"$@\"", "sh"];
    owned(&[&wait, words].concat())
}

/// The words of a Codex that lets its provider search the web.
pub fn searching(tag: &str) -> Vec<String> {
    codex(tag, &wish(tag), &["web_search=\"live\"", "model=\"gpt-5\""])
}

fn wish(tag: &str) -> String {
    format!("What does the archive hold? [words=40 chunk-ms=1 tag={tag}]")
}

fn codex(tag: &str, wish: &str, settings: &[&str]) -> Vec<String> {
    let exec = "mkdir -p $HOME && exec codex exec --skip-git-repo-check \
                -c features.plugins=false \"$@\" \"$0\"";
    let home = format!("HOME=/var/tmp/{tag}");
    let words = ["env", &home, "CODEX_API_KEY=sk-none", "sh", "-c", exec, wish];
    let settings = settings.iter().flat_map(|setting| ["-c", *setting]);
    waiting(&words.into_iter().chain(settings).collect::<Vec<_>>())
}

fn body(wish: &str) -> String {
    let messages = serde_json::json!([{"role": "user", "content": wish}]);
    serde_json::json!({"model": "scripted-1", "messages": messages}).to_string()
}

/// The answer's document, and then what `CURL_FORMAT` asks for.
fn curl(text: &str) -> Option<Seen> {
    let (document, rest) = text.split_once('\n')?;
    let (status, certificates) = rest.split_once('\n')?;
    let issuer = certificates.lines().find_map(|line| line.strip_prefix("Issuer:"))?;
    let id = serde_json::from_str::<serde_json::Value>(document).ok()?["id"].take();
    Some(Seen {
        status: status.parse().ok(),
        issuer: issuer.rsplit("CN = ").next().map(str::to_owned),
        response_id: id.as_str().map(str::to_owned),
        response_sha256: Some(answer::hex(&Sha256::digest(document))),
        tries: 1,
        ..Seen::default()
    })
}

/// How the names end of hosts that one client each calls.
pub const OWN_HOSTS: &str = ".held.example.org";
const CURL_FORMAT: &str = "\n%{response_code}\n%{certs}";
/// An SDK takes seconds to load on a busy machine.
const START: Duration = Duration::from_secs(90);
const CALL: Duration = Duration::from_mins(1);
