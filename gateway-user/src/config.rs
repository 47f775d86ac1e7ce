//! The configuration file: as written → valid.

pub mod agent;
pub mod budget;
mod egress;
pub mod intercept;
mod limits;
mod price;
mod problems;
mod units;
mod upstream;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

pub use self::{
    agent::{AgentRule, Existing},
    budget::{Asked, BudgetRule},
    egress::EgressRule,
    intercept::Intercepts,
    limits::Limits,
    price::PriceRule,
    problems::Problem,
    units::{Size, SizeParseError, Span, SpanParseError},
    upstream::{Upstream, UpstreamRules},
};
use crate::{
    call::Name,
    ledger::{Budget, Scope},
    policy::{egress::Egress, metering::OnUnmetered, retries::OnRetry},
    price::Prices,
};

/// Where the daemon looks when no `--config` is given; it need not exist.
pub const DEFAULT_PATH: &str = "/etc/turnpike/turnpike.toml";

/// The whole configuration. Every field has a default, so an empty file is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub defaults: Defaults,
    pub daemon: Daemon,
    /// What is attached by itself, in order: the first that matches holds.
    #[serde(rename = "agent", skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentRule>,
    /// What may be spent. All that fit a call hold it.
    #[serde(rename = "budget", skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetRule>,
    /// What may leave unread, in order: the first that fits holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressRule>,
    pub limits: Limits,
    /// What models cost here, in order: the first that fits a call counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub price: Vec<PriceRule>,
    /// Which TLS connections are decrypted, of agents for whom that is on.
    #[serde(rename = "intercept")]
    #[schemars(with = "Vec<intercept::Intercept>")]
    pub intercepts: Intercepts,
    /// How calls go to which server, in order: the first rule that fits holds.
    #[serde(rename = "upstream", skip_serializing_if = "UpstreamRules::is_empty")]
    #[schemars(with = "Vec<Upstream>")]
    pub upstreams: UpstreamRules,
}

/// What holds for an agent unless it is attached with something else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    pub mode: Mode,
    /// Absent: on in enforce mode and for `turnpike run`, else off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decrypt: Option<Decrypt>,
    /// What becomes of calls whose cost can't be told before they are made, in enforce.
    pub on_unmetered: OnUnmetered,
    /// What becomes of calls that are made again although an earlier try may have spent tokens or run a
    /// tool, in enforce: `"allow"`, `"refuse"`, or `{ at_most = N }`.
    pub on_retry: OnRetry,
    /// Whether a client that leaves before it has its one answer gets that when it asks the same again, in
    /// enforce.
    pub replay_aborted: bool,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("can't read {}: {source}; check the path given with --config", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not valid: {first}{}; `turnpike config check` shows all that is wrong", path.display(), and_more(*more))]
    Invalid { path: PathBuf, first: Problem, more: usize },
}

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(", and {count} more") }
}

impl Config {
    /// Reads the given file; without one, the default file if it exists.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (path, text) = read(path)?;
        Self::parse(&text).map_err(|mut problems| {
            let more = problems.len().saturating_sub(1);
            ConfigError::Invalid { path, first: problems.swap_remove(0), more }
        })
    }

    /// Everything that is wrong with a file: none if it can be used. Which file it is comes first.
    pub fn check(path: Option<&Path>) -> Result<(PathBuf, Vec<Problem>), ConfigError> {
        let (path, text) = read(path)?;
        Ok((path, Self::parse(&text).err().unwrap_or_default()))
    }

    /// What is wrong with it otherwise: at least one problem.
    fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let problems = problems::problems(text);
        match toml::from_str::<Self>(text) {
            Ok(config) if problems.is_empty() => config.whole(),
            Err(error) if problems.is_empty() => Err(vec![Problem::of(text, &error)]),
            _ => Err(problems),
        }
    }

    /// What no setting says by itself.
    fn whole(self) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |text| problems.push(Problem { line: 1, column: 1, text });
        if self.egress.len() > crate::limits::EGRESS_RULES {
            let most = crate::limits::EGRESS_RULES;
            wrong(format!("there are more than {most} egress rules; write fewer and wider ones"));
        }
        let udp = self.egress.iter().map(EgressRule::udp_ranges).sum::<usize>();
        if udp > crate::limits::UDP_RANGES {
            let most = crate::limits::UDP_RANGES;
            wrong(format!(
                "egress rules for UDP name {udp} ports and ranges of ports, more than {most}; write \
                 fewer and wider ones"
            ));
        }
        if let Some(number) = self.keeps_in_enforce() {
            wrong(format!(
                "rule {number} keeps older connections, and the default mode, enforce, does not; \
                 leave its `existing` out, or give it a mode"
            ));
        }
        if let Some(name) = self.leaky_budget() {
            wrong(format!(
                "budget {name} holds workflows or sessions of enforced agents, and none holds those \
                 agents as a whole: what is not recognised would begin anew; add a [[budget]] with \
                 scope = \"agent\" and the same match"
            ));
        }
        if let Some(name) = self.name_given_twice() {
            wrong(format!("two budgets are called {name}; give each a name of its own"));
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// A budget that what is taken for a new workflow would slip out of.
    fn leaky_budget(&self) -> Option<Name> {
        let enforces = |mode: Option<Mode>| mode.unwrap_or(self.defaults.mode) == Mode::Enforce;
        if !enforces(None) && !self.agents.iter().any(|rule| enforces(rule.mode)) {
            return None;
        }
        let budgets = self.budgets();
        let covers = |all: &Budget, one: &Budget| {
            let agents = all.agents.is_none() || all.agents == one.agents;
            all.holds_all() && agents && (all.tenants.is_none() || all.tenants == one.tenants)
        };
        let is_leaky =
            |one: &&Budget| one.holds_one() && !budgets.iter().any(|all| covers(all, one));
        budgets.iter().find(is_leaky).map(|budget| budget.name.clone())
    }

    fn name_given_twice(&self) -> Option<Name> {
        let mut names = BTreeSet::new();
        self.budgets()
            .into_iter()
            .map(|budget| budget.name)
            .find(|name| !names.insert(name.clone()))
    }

    /// The number of a rule that contradicts the default mode.
    fn keeps_in_enforce(&self) -> Option<usize> {
        let contradicts = |rule: &AgentRule| {
            let mode = rule.mode.unwrap_or(self.defaults.mode);
            (mode, rule.existing) == (Mode::Enforce, Some(Existing::Keep))
        };
        self.agents.iter().position(contradicts).map(|place| place + 1)
    }

    /// The budgets, in their order, each with its name.
    #[must_use]
    pub fn budgets(&self) -> Vec<Budget> {
        let mut unnamed = BTreeMap::<Scope, usize>::new();
        let budgets = self.budgets.iter().map(|rule| {
            if let Some(name) = rule.name() {
                return rule.budget(name);
            }
            let number = unnamed.entry(rule.scope()).or_default();
            *number += 1;
            let scope = rule.scope().as_str();
            if *number == 1 {
                rule.budget(scope)
            } else {
                rule.budget(&format!("{scope}-{number}"))
            }
        });
        budgets.collect()
    }

    /// The egress rules, in their order.
    #[must_use]
    pub fn egress(&self) -> Egress {
        Egress::new(self.egress.iter().map(EgressRule::rule).collect())
    }

    /// What calls cost: by the rules here, and by the table where none fits.
    #[must_use]
    pub fn prices(&self) -> Prices {
        Prices::new(self.price.iter().map(PriceRule::rule).collect())
    }

    /// The JSON Schema (2020-12) of a configuration file.
    #[must_use]
    pub fn schema() -> Schema {
        schema_for!(Self)
    }
}

/// The file, and what is in it. The default one may be missing, and is empty then.
fn read(path: Option<&Path>) -> Result<(PathBuf, String), ConfigError> {
    let found = fs::read_to_string(path.unwrap_or(Path::new(DEFAULT_PATH)));
    let (path, required) = (path.unwrap_or(Path::new(DEFAULT_PATH)).to_owned(), path.is_some());
    match found {
        Ok(text) => Ok((path, text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
            Ok((path, String::new()))
        }
        Err(source) => Err(ConfigError::Read { path, source }),
    }
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
            "[defaults]\nmode = \"enforce\"\non_unmetered = \"allow\"\non_retry = \"refuse\"\nreplay_aborted = true\n[daemon]\ndrain = \"1500ms\"\n[[agent]]\n\
             match = { container = \"a*\", label = { app = \"b\" } }\nname = \"{pod}\"\n\
             tenant = \"acme\"\nexisting = \"reset\"\ndecrypt = \"off\"\non_unmetered = \"deny\"\non_retry = { at_most = 2 }\nreplay_aborted = false",
        )
        .expect("valid");
        let shown = toml::to_string(&config).expect("shows");
        assert_eq!(Config::parse(&shown).expect("valid"), config);
    }

    #[test]
    fn a_rule_may_not_contradict_the_default_mode() {
        let rules = "[[agent]]\nmatch = { pod = \"a\" }\n[[agent]]\nmatch = { pod = \"b\" }\n\
                     existing = \"keep\"\n";
        let audit = Config::parse(rules).expect("valid");
        assert_eq!(audit.keeps_in_enforce(), None);
        let defaults = Defaults { mode: Mode::Enforce, ..audit.defaults };
        let enforce = Config { defaults, ..audit };
        assert_eq!(enforce.keeps_in_enforce(), Some(2));
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
            let problems = Config::parse(text).expect_err("not valid");
            let (first, more) = (problems[0].clone(), problems.len() - 1);
            let message = ConfigError::Invalid { path: "x.toml".into(), first, more }.to_string();
            assert!(message.contains(wanted), "{message}");
            assert!(message.contains("line "), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn the_schema_knows_every_setting_that_is_shown_and_what_each_is_for() {
        let schema = Config::schema();
        let text = serde_json::to_string(&schema).expect("plain data");
        let config = serde_json::to_value(Config::default()).expect("plain data");
        for (section, settings) in config.as_object().expect("a table") {
            let names = settings.as_object().into_iter().flat_map(|table| table.keys());
            for name in names.chain([section]) {
                assert!(text.contains(&format!("\"{name}\":{{")), "{name} in {text}");
            }
        }
        for section in ["defaults", "daemon", "agent", "budget", "egress", "limits", "price"] {
            assert!(schema.pointer(&format!("/properties/{section}")).is_some(), "{section}");
        }
        assert_eq!(schema.pointer("/additionalProperties"), Some(&false.into()));
        let bytes = schema.pointer("/$defs/EgressRule/properties/opaque_bytes");
        assert!(bytes.is_some_and(|bytes| bytes["description"].is_string()), "{bytes:?}");
    }
}
