//! Calls whose cost can't be told before they are made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::{Reason, Unmetered};

/// What becomes of such a call, in enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnmetered {
    /// It is refused.
    #[default]
    Deny,
    /// It goes on, and is counted.
    Allow,
}

impl OnUnmetered {
    /// Whether a call may go on; `unmetered` says why its cost can't be told, if it can't.
    pub fn decide(self, unmetered: Option<Unmetered>) -> Result<(), Reason> {
        match (self, unmetered) {
            (Self::Deny, Some(why)) => Err(why.into()),
            (Self::Deny | Self::Allow, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Cause;

    #[test]
    fn what_cannot_be_metered_is_refused_unless_that_is_allowed() {
        let batch = Some(Unmetered::Batch);
        assert_eq!(OnUnmetered::Deny.decide(None), Ok(()));
        assert_eq!(OnUnmetered::Allow.decide(batch), Ok(()));
        let reason = OnUnmetered::default().decide(batch).expect_err("refused");
        assert_eq!(reason.cause, Cause::Unmetered);
        let text = reason.to_string();
        assert!(text.starts_with("turnpike: ") && text.contains("it hands in a batch"), "{text}");
    }
}
