//! The files that keep what remains of who is killed or stopped: one in `STATE/remains/` for each workflow
//! and each session.
//!
//! Each is small, and replaced as a whole. What can't be read is said, and never taken for nothing: a
//! workflow that is not recognised would begin anew.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{call::Holder, limits, lineage::Remains};

/// Where remains are kept.
#[derive(Clone, Debug)]
struct RemainsFiles {
    directory: PathBuf,
}

/// What remains of a holder, and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    pub(super) holder: Holder,
    /// The agent's name.
    pub(super) agent: String,
    pub(super) remains: Remains,
}

/// Why they can't be read or kept. The state directory's fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemainsError {
    #[error("can't use {}: {source}; run as root (sudo), or set daemon.state_dir", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} can't be read, so that what goes on with it would not be recognised: {source}; mend it, or \
         move it away to have it begin anew", path.display()
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error(
        "{} was written by a newer turnpike (format {found}, this one reads {VERSION}); use that one, or \
         move the file away: what goes on with it is not recognised then", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
struct Written<T> {
    version: u32,
    remembered: T,
}

/// Read before the rest, which may have another form in another version.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

/// What remains of all of them, in memory and in files.
#[derive(Debug)]
pub(super) struct Remembrance {
    /// Absent: it ends with the gateway.
    files: Option<RemainsFiles>,
    /// Also of whom nothing remains.
    kept: BTreeMap<Holder, Remembered>,
    /// Steps that made room since this gateway began.
    left_out: u64,
    most: usize,
}

impl Remembrance {
    /// What is kept in a state directory; nothing, without one.
    pub(super) fn open(state: Option<&Path>) -> Result<Self, RemainsError> {
        let files = state.map(RemainsFiles::within);
        let kept = files.as_ref().map(RemainsFiles::read).transpose()?.unwrap_or_default();
        Ok(Self { files, kept, left_out: 0, most: limits::REMAINING_STEPS_OF_ALL })
    }

    /// What remains of an agent's.
    pub(super) fn of_agent(&self, name: &str) -> impl Iterator<Item = &Remains> {
        self.kept.values().filter(move |it| it.agent == name).map(|it| &it.remains)
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.kept.keys()
    }

    /// Whether it was asked what remains of one.
    pub(super) fn has(&self, holder: &Holder) -> bool {
        self.kept.contains_key(holder)
    }

    /// Whether a call that goes on with one would be recognised.
    pub(super) fn recognises(&self, holder: &Holder) -> bool {
        self.kept.get(holder).is_some_and(|it| !it.remains.is_empty())
    }

    /// Steps that made room since this gateway began.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Keeps what remains of one, beside what was kept of it before. Who is not killed makes room.
    pub(super) fn keep(
        &mut self,
        mut fresh: Remembered,
        is_killed: impl Fn(&Holder) -> bool,
    ) -> Result<(), RemainsError> {
        let mut before = 0;
        if let Some(kept) = self.kept.get(&fresh.holder) {
            before = kept.remains.left_out();
            // Its agent may be gone.
            if fresh.remains.is_empty() {
                return Ok(());
            }
            fresh.remains.and_before(&kept.remains);
            if fresh == *kept {
                return Ok(());
            }
        }
        self.make_room(&fresh, is_killed)?;
        let others = self.steps_beside(&fresh.holder);
        fresh.remains.shorten(self.most.saturating_sub(others));
        self.left_out += fresh.remains.left_out().saturating_sub(before);
        if let Some(files) = self.files.as_ref().filter(|_| !fresh.remains.is_empty()) {
            files.write(&fresh)?;
        }
        self.kept.insert(fresh.holder.clone(), fresh);
        Ok(())
    }

    fn make_room(
        &mut self,
        fresh: &Remembered,
        is_killed: impl Fn(&Holder) -> bool,
    ) -> Result<(), RemainsError> {
        while self.steps_beside(&fresh.holder) + fresh.remains.steps() > self.most {
            let others = self.kept.values().filter(|it| it.holder != fresh.holder);
            let stopped = others.filter(|it| it.remains.steps() > 0 && !is_killed(&it.holder));
            let Some(idle) = stopped.min_by_key(|it| it.remains.last()) else { break };
            let (holder, steps) = (idle.holder.clone(), idle.remains.steps());
            self.forget(&holder)?;
            self.left_out += steps as u64;
        }
        Ok(())
    }

    fn steps_beside(&self, holder: &Holder) -> usize {
        let others = self.kept.values().filter(|it| it.holder != *holder);
        others.map(|it| it.remains.steps()).sum()
    }

    /// Forgets those that nobody needs any more.
    pub(super) fn retain(
        &mut self,
        is_needed: impl Fn(&Holder) -> bool,
    ) -> Result<(), RemainsError> {
        let gone = self.kept.keys().filter(|holder| !is_needed(holder));
        let gone: Vec<Holder> = gone.cloned().collect();
        gone.iter().try_for_each(|holder| self.forget(holder))
    }

    fn forget(&mut self, holder: &Holder) -> Result<(), RemainsError> {
        if let Some(files) = &self.files {
            files.remove(holder)?;
        }
        self.kept.remove(holder);
        Ok(())
    }
}

impl RemainsFiles {
    fn within(state: &Path) -> Self {
        Self { directory: state.join("remains") }
    }

    /// All that are kept, by their holders.
    fn read(&self) -> Result<BTreeMap<Holder, Remembered>, RemainsError> {
        let error = |source| RemainsError::Io { path: self.directory.clone(), source };
        let entries = match fs::read_dir(&self.directory) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.map_err(error)?,
        };
        let mut all = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(error)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => {
                    let remembered = read(&path)?;
                    all.insert(remembered.holder.clone(), remembered);
                }
                // Not yet under its name when its gateway died: what it replaces is there.
                Some("new") => fs::remove_file(&path)
                    .map_err(|source| RemainsError::Io { path: path.clone(), source })?,
                _ => {}
            }
        }
        Ok(all)
    }

    /// Keeps what remains of one: on the disk, when it returns.
    fn write(&self, remembered: &Remembered) -> Result<(), RemainsError> {
        let path = self.path(&remembered.holder);
        self.replace(&path, remembered).map_err(|source| RemainsError::Io { path, source })
    }

    /// Nothing remains of that one.
    fn remove(&self, holder: &Holder) -> Result<(), RemainsError> {
        let path = self.path(holder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| RemainsError::Io { path, source }),
        }
    }

    fn replace(&self, path: &Path, remembered: &Remembered) -> io::Result<()> {
        if !self.directory.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        }
        let fresh = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(&Written { version: VERSION, remembered })?)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, holder: &Holder) -> PathBuf {
        // As `workflow-00c0ffee00c0ffee`: no agent's or tenant's name is ever a part of it.
        let name = match holder {
            Holder::Workflow(id) => format!("workflow-{id}"),
            Holder::Session(id) => format!("session-{id}"),
            Holder::Agent(_) | Holder::Tenant(_) | Holder::Node => "other".to_owned(),
        };
        self.directory.join(name).with_extension("json")
    }
}

fn read(path: &Path) -> Result<Remembered, RemainsError> {
    let error = |source| RemainsError::Io { path: path.to_owned(), source };
    let damaged = |source| RemainsError::Damaged { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(limits::REMAINS_BYTES).read_to_end(&mut bytes).map_err(error)?;
    let Version { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version != VERSION {
        return Err(RemainsError::Newer { path: path.to_owned(), found: version });
    }
    let Written { remembered, .. } = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(remembered)
}

/// Of a file's form.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Dialect, Message, Operation, Prompt, Role, SessionId, Timestamp, WorkflowId},
        lineage::{Lineage, Outcome},
    };

    fn remembered(holder: Holder) -> Remembered {
        Remembered { holder, agent: "crew".into(), remains: Remains::default() }
    }

    /// What remains of a session of so many steps, the last of which was then.
    fn of_steps(holder: u64, steps: u64, last: u64) -> Remembered {
        let mut lineage = Lineage::new(holder);
        for step in 0..steps {
            let hash = u128::from(holder) << 64 | u128::from(step);
            let said = Message {
                role: Role::User,
                hash,
                content: None,
                tool_calls: Vec::new(),
                tool_result: None,
            };
            let prompt = Prompt {
                dialect: Dialect::OpenaiChat,
                operation: Operation::Chat,
                model: None,
                stream: false,
                messages: vec![said],
                tools_hash: None,
                wish: None,
                client_retry: None,
                terms: Box::default(),
            };
            let at = Timestamp(last + step - steps);
            let placed = lineage.place(at, &prompt);
            lineage.finish(placed.step, at, &Outcome::default());
        }
        let remains = lineage.remains(|_, _| true);
        Remembered { holder: Holder::Session(SessionId(holder)), agent: "crew".into(), remains }
    }

    #[test]
    fn who_is_only_stopped_makes_room_and_who_is_killed_does_not() {
        let state = tempfile::tempdir().expect("a directory");
        let mut remembrance = Remembrance::open(Some(state.path())).expect("nothing yet");
        remembrance.most = 10;
        let holder = |number| Holder::Session(SessionId(number));
        let is_killed = |one: &Holder| *one == holder(1);
        for (number, last) in [(1, 100), (2, 300), (3, 200)] {
            remembrance.keep(of_steps(number, 3, last), is_killed).expect("it is written");
        }
        let known = |it: &Remembrance| [1, 2, 3, 4, 5].map(|number| it.recognises(&holder(number)));
        assert_eq!(
            (known(&remembrance), remembrance.left_out()),
            ([true, true, true, false, false], 0)
        );
        remembrance.keep(of_steps(4, 4, 400), is_killed).expect("it is written");
        assert_eq!(
            (known(&remembrance), remembrance.left_out()),
            ([true, true, false, true, false], 3)
        );
        let all_killed = |_: &Holder| true;
        remembrance.keep(of_steps(5, 4, 500), all_killed).expect("it is written");
        assert_eq!(
            (known(&remembrance), remembrance.left_out()),
            ([true, true, false, true, false], 7)
        );
        assert!(remembrance.has(&holder(5)), "and it is known that nothing remains");
        remembrance.retain(is_killed).expect("removed");
        let again = Remembrance::open(Some(state.path())).expect("read");
        assert_eq!(known(&again), [true, false, false, false, false]);
        assert_eq!(again.of_agent("crew").count(), 1);
        assert_eq!(again.of_agent("other").count(), 0);
    }

    #[test]
    fn what_remained_before_is_kept_when_its_agent_is_gone_or_knows_less() {
        let mut remembrance = Remembrance::open(None).expect("nothing to read");
        let nobody = |_: &Holder| false;
        let whole = of_steps(1, 5, 100);
        remembrance.keep(whole.clone(), nobody).expect("in memory");
        let nothing =
            Remembered { agent: String::new(), remains: Remains::default(), ..whole.clone() };
        remembrance.keep(nothing, nobody).expect("in memory");
        let mut less = whole.clone();
        less.remains.shorten(2);
        remembrance
            .keep(Remembered { agent: "renamed".into(), ..less }, nobody)
            .expect("in memory");
        let kept: Vec<&Remains> = remembrance.of_agent("renamed").collect();
        assert_eq!(kept.iter().map(|it| it.steps()).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let state = tempfile::tempdir().expect("a directory");
        let files = RemainsFiles::within(&state.path().join("deeper"));
        assert!(files.read().expect("nothing yet").is_empty());
        let holders = [Holder::Workflow(WorkflowId(1)), Holder::Session(SessionId(1))];
        for holder in holders.clone() {
            files.write(&remembered(holder)).expect("written");
        }
        fs::write(files.directory.join("workflow-2.new"), "half").expect("written");
        let all = files.read().expect("read");
        assert_eq!(all.len(), 2);
        assert!(holders.iter().all(|it| all.get(it) == Some(&remembered(it.clone()))));
        files.remove(&holders[0]).expect("removed");
        files.remove(&holders[0]).expect("as it was");
        assert_eq!(files.read().expect("read").len(), 1);
        assert!(!files.directory.join("workflow-2.new").exists());
    }

    #[test]
    fn what_is_damaged_or_newer_is_refused_with_what_to_do() {
        let state = tempfile::tempdir().expect("a directory");
        let files = RemainsFiles::within(state.path());
        files.write(&remembered(Holder::Workflow(WorkflowId(7)))).expect("written");
        let path = files.path(&Holder::Workflow(WorkflowId(7)));
        for (text, expected) in [
            ("{", "mend it, or move it away"),
            (r#"{"version":1,"remembered":{}}"#, "mend it, or move it away"),
            (r#"{"version":2,"remembered":{}}"#, "a newer turnpike (format 2, this one reads 1)"),
        ] {
            fs::write(&path, text).expect("written");
            let error = files.read().expect_err("refused").to_string();
            assert!(error.contains(expected) && error.contains("workflow-0000"), "{error}");
        }
    }
}
