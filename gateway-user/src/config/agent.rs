//! `[[agent]]`: what is attached by itself, and how.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Decrypt, Mode};
use crate::{
    call::Glob,
    policy::{metering::OnUnmetered, retries::OnRetry},
};

/// One rule. The first that matches a workload holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
pub struct AgentRule {
    #[serde(rename = "match")]
    pub matches: Match,
    /// What to call the agent. Absent: as its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<NameTemplate>,
    /// Absent, like what follows: as if it had been attached by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing: Option<Existing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decrypt: Option<Decrypt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unmetered: Option<OnUnmetered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_retry: Option<OnRetry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_aborted: Option<bool>,
}

/// What a workload must be. It is all that is written; something is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The container's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Glob>,
    /// The image's name, as the runtime has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Glob>,
    /// The container's labels or annotations, or its pod's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub label: BTreeMap<String, Glob>,
    /// The pod's name or uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Glob>,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Glob>,
    /// The path below the cgroup2 mount, from `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Glob>,
}

/// What becomes of the connections that an agent has open when it is attached.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// They stay as they are, unseen, and are counted.
    Keep,
    /// They are reset, so that their owners connect again.
    Reset,
}

/// An agent's name with places for what is known of its container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct NameTemplate(String);

/// What is known of a workload so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Workload<'a> {
    pub cgroup: &'a str,
    pub container: Option<&'a str>,
    pub image: Option<&'a str>,
    pub pod: Option<&'a str>,
    pub pod_uid: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// There are no further labels.
    pub all_labels: bool,
    /// What else is `None` is absent.
    pub told: bool,
}

/// Which rule holds for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one at this place.
    Rule(usize),
    /// None, whatever else there is to learn.
    NoRule,
    /// It depends on what is not known yet.
    Open,
}

/// The first rule that matches. One that may match yet keeps those after it from being chosen.
#[must_use]
pub fn choose(rules: &[AgentRule], workload: &Workload<'_>) -> Choice {
    for (place, rule) in rules.iter().enumerate() {
        match rule.matches.answer(workload) {
            Some(true) => return Choice::Rule(place),
            Some(false) => {}
            None => return Choice::Open,
        }
    }
    Choice::NoRule
}

impl Match {
    /// Whether it matches; `None` if that depends on what is not known yet.
    fn answer(&self, workload: &Workload<'_>) -> Option<bool> {
        let one = |wanted: Option<&Glob>, found: Option<&str>| match (wanted, found) {
            (None, _) => Some(true),
            (Some(glob), Some(text)) => Some(glob.matches(text)),
            (Some(_), None) => workload.told.then_some(false),
        };
        let labelled = |(key, glob): (&String, &Glob)| {
            let value = workload.labels.and_then(|labels| labels.get(key));
            let known = value.is_some_and(|value| glob.matches(value));
            (known || workload.all_labels).then_some(known)
        };
        let pod = match (&self.pod, workload.pod_uid) {
            // A uid is told by the cgroup already.
            (Some(glob), Some(uid)) if glob.matches(uid) => Some(true),
            (wanted, _) => one(wanted.as_ref(), workload.pod),
        };
        let answers = [
            one(self.cgroup.as_ref(), Some(workload.cgroup)),
            one(self.container.as_ref(), workload.container),
            one(self.image.as_ref(), workload.image),
            pod,
            one(self.namespace.as_ref(), workload.namespace),
        ];
        let all = answers.into_iter().chain(self.label.iter().map(labelled));
        let mut is_open = false;
        for answer in all {
            match answer {
                // That settles it, whatever is still open.
                Some(false) => return Some(false),
                Some(true) => {}
                None => is_open = true,
            }
        }
        (!is_open).then_some(true)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl NameTemplate {
    /// The name for a workload; what is not known of it leaves its place empty.
    #[must_use]
    pub fn fill(&self, workload: &Workload<'_>) -> String {
        let mut name = self.0.clone();
        for (place, found) in [
            (PLACES[0], workload.container),
            (PLACES[1], workload.pod),
            (PLACES[2], workload.namespace),
        ] {
            name = name.replace(place, found.unwrap_or_default());
        }
        name
    }
}

/// What a template may hold.
const PLACES: [&str; 3] = ["{container}", "{pod}", "{namespace}"];

/// The text is no template for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an agent's name has 1 to 64 letters, digits, dots, dashes and underscores, and may hold \
     {{container}}, {{pod}} and {{namespace}}"
)]
pub struct NameTemplateError;

impl FromStr for NameTemplate {
    type Err = NameTemplateError;

    fn from_str(text: &str) -> Result<Self, NameTemplateError> {
        let rest = PLACES.iter().fold(text.to_owned(), |rest, place| rest.replace(place, ""));
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let fits = !text.is_empty() && rest.len() <= 64 && rest.bytes().all(legal);
        if fits { Ok(Self(text.into())) } else { Err(NameTemplateError) }
    }
}

impl TryFrom<String> for NameTemplate {
    type Error = NameTemplateError;

    fn try_from(text: String) -> Result<Self, NameTemplateError> {
        text.parse()
    }
}

impl From<NameTemplate> for String {
    fn from(template: NameTemplate) -> Self {
        template.0
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "match")]
    matches: Match,
    name: Option<NameTemplate>,
    mode: Option<Mode>,
    tenant: Option<String>,
    existing: Option<Existing>,
    decrypt: Option<Decrypt>,
    /// What becomes of calls whose cost can't be told before they are made, in enforce.
    on_unmetered: Option<OnUnmetered>,
    /// What becomes of calls that are made again although an earlier try may have spent tokens or run a
    /// tool, in enforce: `"allow"`, `"refuse"`, or `{ at_most = N }`.
    on_retry: Option<OnRetry>,
    /// Whether a client that leaves before it has its one answer gets that when it asks the same again, in
    /// enforce.
    replay_aborted: Option<bool>,
}

/// The rule can't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum RuleError {
    #[error(
        "an empty match would attach everything; say what: match = {{ container = \"research-*\" }}, \
         or image, label, pod, namespace or cgroup"
    )]
    MatchesAll,
    #[error("an agent in enforce mode keeps no older connections; leave `existing` out")]
    KeepInEnforce,
    #[error("an empty tenant is none; leave `tenant` out")]
    EmptyTenant,
}

impl TryFrom<Written> for AgentRule {
    type Error = RuleError;

    fn try_from(written: Written) -> Result<Self, RuleError> {
        let Written {
            matches,
            name,
            mode,
            tenant,
            existing,
            decrypt,
            on_unmetered,
            on_retry,
            replay_aborted,
        } = written;
        if matches.is_empty() {
            return Err(RuleError::MatchesAll);
        }
        if mode == Some(Mode::Enforce) && existing == Some(Existing::Keep) {
            return Err(RuleError::KeepInEnforce);
        }
        if tenant.as_ref().is_some_and(String::is_empty) {
            return Err(RuleError::EmptyTenant);
        }
        Ok(Self {
            matches,
            name,
            mode,
            tenant,
            existing,
            decrypt,
            on_unmetered,
            on_retry,
            replay_aborted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<AgentRule> {
        #[derive(Deserialize)]
        struct File {
            agent: Vec<AgentRule>,
        }
        toml::from_str::<File>(text).expect("valid").agent
    }

    const RULES: &str = r#"
        [[agent]]
        match = { container = "research-*", label = { team = "a*" } }
        [[agent]]
        match = { cgroup = "/machine.slice/*", container = "*" }
        [[agent]]
        match = { namespace = "agents", pod = "planner-*" }
        [[agent]]
        match = { cgroup = "/system.slice/*" }
    "#;

    #[test]
    fn the_first_rule_that_matches_is_chosen() {
        let rules = rules(RULES);
        let team = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let (alpha, beta) = (team("alpha"), team("beta"));
        let container = |name, labels| Workload {
            cgroup: "/machine.slice/libpod-1.scope",
            container: Some(name),
            labels: Some(labels),
            all_labels: true,
            told: true,
            ..Workload::default()
        };
        assert_eq!(choose(&rules, &container("research-1", &alpha)), Choice::Rule(0));
        assert_eq!(choose(&rules, &container("research-1", &beta)), Choice::Rule(1));
        let elsewhere = Workload { cgroup: "/x", ..container("research-1", &beta) };
        assert_eq!(choose(&rules, &elsewhere), Choice::NoRule);
        let (pod, namespace) = (Some("planner-7d9f"), Some("agents"));
        let in_pod = Workload { pod, namespace, ..elsewhere };
        assert_eq!(choose(&rules, &in_pod), Choice::Rule(2));
        let other = Workload { namespace: Some("web"), ..in_pod };
        assert_eq!(choose(&rules, &other), Choice::NoRule);
    }

    #[test]
    fn what_is_not_known_yet_keeps_a_choice_open_only_where_it_matters() {
        let rules = rules(RULES);
        let cgroup = "/system.slice/agent.service";
        let unknown = Workload { cgroup, ..Workload::default() };
        assert_eq!(choose(&rules, &unknown), Choice::Open);
        assert_eq!(choose(&rules, &Workload { told: true, ..unknown }), Choice::Rule(3));
        // Its name says enough.
        let (container, namespace) = (Some("web"), Some("web"));
        let named = Workload { container, namespace, ..unknown };
        assert_eq!(choose(&rules, &named), Choice::Rule(3));
        let labels_to_come = Workload { container: Some("research-1"), namespace, ..unknown };
        assert_eq!(choose(&rules, &labels_to_come), Choice::Open);
    }

    #[test]
    fn a_pod_is_matched_by_name_or_by_uid() {
        let rules = rules("[[agent]]\nmatch = { pod = \"0a1b*\" }");
        let uid = Workload { pod_uid: Some("0a1b2c"), ..Workload::default() };
        assert_eq!(choose(&rules, &uid), Choice::Rule(0));
        let other = Workload { pod: Some("web"), pod_uid: Some("1"), ..Workload::default() };
        assert_eq!(choose(&rules, &other), Choice::NoRule);
    }

    #[test]
    fn a_name_takes_what_is_known_of_the_container() {
        let workload = Workload {
            container: Some("main"),
            pod: Some("planner-1"),
            namespace: None,
            ..Workload::default()
        };
        let fill = |text: &str| text.parse::<NameTemplate>().expect("valid").fill(&workload);
        assert_eq!(fill("agent"), "agent");
        assert_eq!(fill("{pod}.{container}"), "planner-1.main");
        assert_eq!(fill("{namespace}-{pod}"), "-planner-1");
        for text in ["", "a b", "{host}", &"x".repeat(65)] {
            assert_eq!(text.parse::<NameTemplate>(), Err(NameTemplateError), "{text}");
        }
    }
}
