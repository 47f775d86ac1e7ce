//! One that is held to something: to a budget, or to silence.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Name, SessionId, WorkflowId};

/// Who is meant, from the narrowest to the widest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "scope", content = "id", rename_all = "lowercase")]
pub enum Holder {
    Workflow(WorkflowId),
    Session(SessionId),
    Agent(Name),
    Tenant(Name),
    Node,
}

impl Holder {
    /// The least of all, by order.
    pub const FIRST: Self = Self::Workflow(WorkflowId(0));
}

/// With its scope: `workflow 00c0ffee00c0ffee`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(id) => write!(f, "workflow {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Tenant(name) => write!(f, "tenant {name}"),
            Self::Node => f.write_str("this node"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_shown_with_their_scope() {
        assert_eq!(Holder::Workflow(WorkflowId(255)).to_string(), "workflow 00000000000000ff");
        assert_eq!(Holder::Tenant("acme".into()).to_string(), "tenant acme");
    }

    #[test]
    fn a_holder_is_written_by_its_scope() {
        let json = |holder| serde_json::to_string(&holder).expect("JSON");
        assert_eq!(
            json(Holder::Session(SessionId(1))),
            r#"{"scope":"session","id":"0000000000000001"}"#
        );
        assert_eq!(json(Holder::Node), r#"{"scope":"node"}"#);
    }
}
