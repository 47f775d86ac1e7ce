//! The configuration file: as written → valid.

pub mod agent;
pub mod intercept;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::agent::{AgentRule, Existing};
pub use self::intercept::Intercepts;

/// Where the daemon looks when no `--config` is given; it need not exist.
pub const DEFAULT_PATH: &str = "/etc/turnpike/turnpike.toml";

/// The whole configuration. Every field has a default, so an empty file is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub defaults: Defaults,
    pub daemon: Daemon,
    /// What is attached by itself, in order: the first that matches holds.
    #[serde(rename = "agent", skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentRule>,
    /// Which TLS connections are decrypted, of agents for whom that is on.
    #[serde(rename = "intercept")]
    pub intercepts: Intercepts,
}

/// What holds for an agent unless it is attached with something else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    pub mode: Mode,
    /// Absent: on in enforce mode and for `turnpike run`, else off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decrypt: Option<Decrypt>,
}

impl Defaults {
    /// For an agent that is attached in this mode and with nothing said of it.
    #[must_use]
    pub fn decrypt(&self, mode: Mode) -> Decrypt {
        self.decrypt.unwrap_or(match mode {
            Mode::Audit => Decrypt::Off,
            Mode::Enforce => Decrypt::On,
        })
    }
}

/// The daemon's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// Where the control socket, the state and the pins are: gone after a reboot, like the agents.
    pub runtime_dir: PathBuf,
    /// What outlives a reboot: the node's key.
    pub state_dir: PathBuf,
    /// How long connections may go on when the daemon is told to end.
    pub drain: Span,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            runtime_dir: "/run/turnpike".into(),
            state_dir: "/var/lib/turnpike".into(),
            drain: Span(Duration::from_secs(10)),
        }
    }
}

/// What becomes of an agent's traffic when it can't be handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Fail open, and count.
    #[default]
    Audit,
    /// Fail closed, and count.
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        })
    }
}

/// Whether an agent's TLS connections to listed hosts are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decrypt {
    /// Nothing in the agent is touched; its TLS connections are opaque.
    #[default]
    Off,
    On,
}

impl fmt::Display for Decrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
        })
    }
}

/// A span of time, written as a whole number with a unit: `500ms`, `10s`, `5m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = SpanParseError;

    fn from_str(text: &str) -> Result<Self, SpanParseError> {
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(SpanParseError)?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| SpanParseError)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(SpanParseError),
        };
        number.checked_mul(unit_ms).map(|ms| Self(Duration::from_millis(ms))).ok_or(SpanParseError)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms.is_multiple_of(1000) { write!(f, "{}s", ms / 1000) } else { write!(f, "{ms}ms") }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a span of time is a whole number and a unit: 500ms, 10s, 5m or 2h")]
pub struct SpanParseError;

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("can't read {}: {source}; check the path given with --config", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not valid: {}; `turnpike config show` prints a valid one", path.display(), one_line(source))]
    Invalid { path: PathBuf, source: Box<toml::de::Error> },
}

impl Config {
    /// Reads the given file; without one, the default file if it exists.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (path, required) = match path {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_PATH), false),
        };
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|source| ConfigError::Invalid {
                path: path.into(),
                source: Box::new(source),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                Ok(Self::default())
            }
            Err(source) => Err(ConfigError::Read { path: path.into(), source }),
        }
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// The parser's own message spans several lines and quotes the file; its first line names the line
/// and column, and its last says what is wrong.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().unwrap_or_default();
    format!("{place}: {}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default_configuration() {
        assert_eq!(Config::parse("").expect("valid"), Config::default());
    }

    #[test]
    fn what_is_shown_reads_back() {
        let config = Config::parse(
            "[defaults]\nmode = \"enforce\"\n[daemon]\ndrain = \"1500ms\"\n[[agent]]\n\
             match = { container = \"a*\", label = { app = \"b\" } }\nname = \"{pod}\"\n\
             tenant = \"acme\"\nexisting = \"reset\"\ndecrypt = \"off\"",
        )
        .expect("valid");
        let shown = toml::to_string(&config).expect("shows");
        assert_eq!(Config::parse(&shown).expect("valid"), config);
    }

    #[test]
    fn a_mistake_is_named_in_one_line_with_its_place() {
        for (text, wanted) in [
            ("[defaults]\nmod = \"audit\"", "unknown field `mod`"),
            ("[defaults]\nmode = \"strict\"", "unknown variant `strict`"),
            ("[daemon]\ndrain = \"10\"", "a span of time"),
            ("[daemon", "line 1"),
            ("[[agent]]\nname = \"a\"", "missing field `match`"),
            ("[[agent]]\nmatch = {}", "an empty match would attach everything; say what"),
            ("[[agent]]\nmatch = { label = {} }", "an empty match"),
            ("[[agent]]\nmatch = { container = \"\" }", "an empty pattern"),
            ("[[agent]]\nmatch = { host = \"a\" }", "unknown field `host`"),
            ("[[agent]]\nmatch = { pod = \"a\" }\nname = \"{host}\"", "may hold {container}"),
            ("[[agent]]\nmatch = { pod = \"a\" }\ntenant = \"\"", "empty tenant"),
            (
                "[[agent]]\nmatch = { pod = \"a\" }\nmode = \"enforce\"\nexisting = \"keep\"",
                "leave `existing` out",
            ),
        ] {
            let source = Config::parse(text).expect_err("not valid");
            let message = ConfigError::Invalid { path: "x.toml".into(), source: Box::new(source) }
                .to_string();
            assert!(message.contains(wanted), "{message}");
            assert!(message.contains("line "), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
