//! Workflows and sessions that are to do no more, and of which something has happened since: there is more
//! to remember of them.

use std::{
    collections::BTreeSet,
    mem::take,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{call::Holder, limits};

/// Those of which something has happened.
#[derive(Debug, Default)]
pub struct Touched(Mutex<BTreeSet<Holder>>);

impl Touched {
    /// Notes one of them. Whoever is wider than a session is known by its name, and needs no memory.
    pub fn note(&self, holder: &Holder) {
        if !matches!(holder, Holder::Workflow(_) | Holder::Session(_)) {
            return;
        }
        let mut all = self.lock();
        // All others are looked at now and then in any case.
        if all.len() < limits::KILLS {
            all.insert(holder.clone());
        }
    }

    /// Those that were noted since this was last asked.
    #[must_use]
    pub fn take(&self) -> BTreeSet<Holder> {
        take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
