//! Finding out what sits in a cgroup, bit by bit: while a container is being made, its runtime tells
//! one thing after the other.

use super::{
    ContainerRef, Places, Told, of_cgroup,
    plain::{self, Plain},
    runtimes,
};
use crate::{attach::cgroup::Cgroup, config::agent::Workload};

/// What is known so far.
#[derive(Clone, Debug)]
pub struct Inquiry {
    cgroup: Cgroup,
    container: Option<ContainerRef>,
    told: Told,
    /// Whether the cgroup is a container's is known.
    is_placed: bool,
    /// Who it is is known as far as a runtime's files tell it.
    is_named: bool,
    /// There is nobody left to ask.
    is_over: bool,
}

impl Inquiry {
    /// Knows what the path tells.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        let container = of_cgroup(cgroup.path().as_str());
        let is_placed = container.is_some();
        let told = Told::default();
        Self { cgroup, container, told, is_placed, is_named: false, is_over: false }
    }

    /// Looks into the runtimes' files again. Takes milliseconds where there are many containers.
    pub fn look(&mut self, places: &Places) {
        if !self.is_placed {
            match plain::find(places, &self.cgroup) {
                Plain::Yes(container) => {
                    self.told.name = Some(container.id.clone());
                    self.container = Some(container);
                }
                Plain::No => {}
                Plain::NotYet => return,
            }
            self.is_placed = true;
        }
        let Some(container) = &self.container else { return };
        let is_wanting = !self.is_named || !self.told.all_labels;
        if is_wanting && let Some(told) = Told::of(places, &container.id) {
            // Labels that a runtime was asked for stay.
            let before = std::mem::take(&mut self.told);
            let all_labels = told.all_labels || before.all_labels;
            self.told = Told { all_labels, name: told.name.or(before.name), ..told };
            self.told.labels.extend(before.labels);
        }
        self.is_named = self.told.name.is_some();
    }

    /// Asks the runtimes' own programs for what their files don't tell. Takes as long as they take,
    /// within [`crate::limits::RUNTIME_ANSWER_TIME`] each.
    pub fn ask(&mut self) {
        if let Some(container) = &self.container {
            runtimes::complete(&container.id, &mut self.told);
        }
        self.give_up();
    }

    /// Takes what is not known for absent.
    pub fn give_up(&mut self) {
        self.is_placed = true;
        self.is_over = true;
    }

    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The container, if it is one's.
    #[must_use]
    pub const fn container(&self) -> Option<&ContainerRef> {
        self.container.as_ref()
    }

    #[must_use]
    pub const fn told(&self) -> &Told {
        &self.told
    }

    /// Whether it is known to be no container's: then nobody prepares anything in it.
    #[must_use]
    pub const fn is_no_container(&self) -> bool {
        self.is_placed && self.container.is_none()
    }

    /// What rules are asked about.
    #[must_use]
    pub fn workload(&self) -> Workload<'_> {
        let Self { cgroup, container, told, is_named, is_over, .. } = self;
        let is_settled = *is_over || self.is_no_container();
        Workload {
            cgroup: cgroup.path().as_str(),
            container: told.name.as_deref(),
            image: told.image.as_deref(),
            pod: told.pod.as_deref(),
            pod_uid: container.as_ref().and_then(|container| container.pod.as_deref()),
            namespace: told.namespace.as_deref(),
            labels: Some(&told.labels),
            all_labels: told.all_labels || is_settled,
            told: *is_named || is_settled,
        }
    }
}
