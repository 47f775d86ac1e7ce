//! `turnpike doctor`: whether this machine has what turnpike needs.

use std::{io::Write, path::Path};

use serde::Serialize;

use super::pinned::PinnedAgents;
use crate::{
    attach::{
        exposure::{WAYS_OUT, WayOut},
        preflight::{self, Verdict},
        sockets,
    },
    config::Config,
    control::{
        Client,
        commands::Pinned as _,
        model::{AgentInfo, Redirect},
    },
};

/// One line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    found: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// Prints the report. The value is the exit status: 1 if something is missing.
pub(super) async fn run(
    json: bool,
    control: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let mut findings: Vec<Finding> = preflight::checks()
        .into_iter()
        .map(|check| {
            let fix = match check.verdict {
                Verdict::Met => None,
                Verdict::Unmet(fix) => Some(fix),
            };
            Finding { what: check.what.into(), found: check.found, ok: fix.is_none(), fix }
        })
        .collect();
    findings.push(configuration());
    findings.push(destruction());
    findings.push(daemon(control).await);
    findings.extend(agents(control).await);
    findings.extend(unattached(control).await);
    findings.extend(unkept(control).await);
    findings.extend(pinned(control));
    findings.extend(WAYS_OUT.map(open_way));
    if json {
        serde_json::to_writer_pretty(&mut *out, &findings)?;
        writeln!(out)?;
    } else {
        for Finding { what, found, ok, fix } in &findings {
            let mark = match (ok, fix) {
                (false, _) => "missing",
                (true, None) => "ok     ",
                (true, Some(_)) => "open   ",
            };
            write!(out, "{mark}  {what}: {found}")?;
            match fix {
                Some(fix) => writeln!(out, "; {fix}")?,
                None => writeln!(out)?,
            }
        }
    }
    Ok(u8::from(findings.iter().any(|finding| !finding.ok)))
}

fn configuration() -> Finding {
    let what = "configuration".to_owned();
    match Config::load(None) {
        Ok(_) => Finding { what, found: "valid".into(), ok: true, fix: None },
        Err(error) => Finding { what, found: error.to_string(), ok: false, fix: None },
    }
}

/// No daemon is no fault: `turnpike run` works without one.
async fn daemon(control: Option<&Path>) -> Finding {
    let found = match Client::discover(control).await {
        Ok(client) => format!("answers at {}", client.path().display()),
        Err(error) => error.to_string(),
    };
    Finding { what: "daemon".into(), found, ok: true, fix: None }
}

/// Without it agents can be audited all the same.
fn destruction() -> Finding {
    let what = "destruction of sockets".to_owned();
    match sockets::require_destroy() {
        Ok(()) => Finding { what, found: "in the kernel".into(), ok: true, fix: None },
        Err(error) => {
            let found = format!("{error}; enforce mode and --existing reset are refused");
            Finding { what, found, ok: false, fix: None }
        }
    }
}

/// Agents whose connections don't reach their gateway, or can't be decrypted.
async fn agents(control: Option<&Path>) -> Vec<Finding> {
    let Ok(client) = Client::discover(control).await else { return Vec::new() };
    let agents = match client.agents().await {
        Ok(agents) => agents,
        Err(error) => {
            let (what, found) = ("agents".to_owned(), error.to_string());
            return vec![Finding { what, found, ok: false, fix: None }];
        }
    };
    agents.iter().flat_map(|agent| redirect(agent).into_iter().chain(undecrypted(agent))).collect()
}

fn redirect(agent: &AgentInfo) -> Option<Finding> {
    match agent.redirect.as_ref()? {
        Redirect::Ok => None,
        Redirect::Failed { why } => Some(Finding {
            what: format!("agent {}", agent.name),
            found: format!("its redirect failed: {why}"),
            ok: false,
            fix: Some(format!("attach it again: turnpike detach {}, then attach", agent.name)),
        }),
    }
}

/// No fault of the machine's. Each sentence says what would help.
fn undecrypted(agent: &AgentInfo) -> impl Iterator<Item = Finding> {
    agent.undecrypted.iter().map(|note| Finding {
        what: format!("decryption of {}", agent.name),
        found: note.clone(),
        ok: true,
        fix: None,
    })
}

/// Budgets of which what is spent is not kept. The problem says what would help.
async fn unkept(control: Option<&Path>) -> Option<Finding> {
    let ledger = Client::discover(control).await.ok()?.status().await.ok()?.ledger?;
    let found = ledger.problem?;
    Some(Finding { what: "what is spent of budgets".into(), found, ok: false, fix: None })
}

/// Containers that no rule matches. No fault: whether they are agents is for their owner to say.
async fn unattached(control: Option<&Path>) -> Option<Finding> {
    let status = Client::discover(control).await.ok()?.status().await.ok()?;
    let count = *status.counters.get("containers_not_attached")?;
    let names = status.unattached.join(", ");
    Some(Finding {
        what: "containers seen but not attached".into(),
        found: format!("{count} ({names})"),
        ok: true,
        fix: Some("attach one: turnpike attach --container NAME, or write a rule".into()),
    })
}

/// What turnpike can't close. No fault of the machine's: whether it matters is for its owner to say.
fn open_way(way: WayOut) -> Finding {
    let found = format!("not closed by turnpike: {}", way.why);
    Finding { what: way.name.into(), found, ok: true, fix: Some(way.fix.into()) }
}

/// Agents that a dead gateway left closed.
fn pinned(control: Option<&Path>) -> Vec<Finding> {
    let agents = match PinnedAgents::beside(control).list() {
        Ok(agents) => agents,
        Err(error) => {
            let found = error.to_string();
            return vec![Finding { what: "pinned agents".into(), found, ok: false, fix: None }];
        }
    };
    let finding = |name: String| Finding {
        what: format!("agent {name}"),
        found: "its gateway is dead, and it stays closed".into(),
        ok: false,
        fix: Some(format!("start the daemon again, or: turnpike detach {name} --force")),
    };
    agents.into_iter().map(|agent| finding(agent.name)).collect()
}
