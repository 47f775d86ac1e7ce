//! `[[upstream]]`: how calls go to which server.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Intercepts;
use crate::policy::{
    hosts::{HostList, NotAHost},
    upstreams::{UpstreamRule, Upstreams},
};

/// Every rule of the file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Upstream>", into = "Vec<Upstream>")]
pub struct UpstreamRules {
    written: Vec<(Upstream, HostList)>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Names (`llm.example.com`), all names below one (`*.example.com`), and addresses.
    pub hosts: Vec<String>,
    /// Whether calls for one answer are made as streams, of which the client is given the one answer, in
    /// enforce. Without a rule: to servers at addresses that are not public.
    pub stream_upstream: bool,
}

impl UpstreamRules {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// The rules, and what holds without one.
    #[must_use]
    pub fn upstreams(&self) -> Arc<Upstreams> {
        let rules = self.written.iter().map(|(rule, hosts)| UpstreamRule {
            hosts: hosts.clone(),
            stream: rule.stream_upstream,
        });
        Arc::new(Upstreams::new(rules.collect(), Intercepts::default().hosts()))
    }
}

impl TryFrom<Vec<Upstream>> for UpstreamRules {
    type Error = NotAHost;

    fn try_from(written: Vec<Upstream>) -> Result<Self, NotAHost> {
        let with_hosts = |rule: Upstream| HostList::parse(&rule.hosts).map(|hosts| (rule, hosts));
        Ok(Self { written: written.into_iter().map(with_hosts).collect::<Result<_, _>>()? })
    }
}

impl From<UpstreamRules> for Vec<Upstream> {
    fn from(rules: UpstreamRules) -> Self {
        rules.written.into_iter().map(|(rule, _)| rule).collect()
    }
}
