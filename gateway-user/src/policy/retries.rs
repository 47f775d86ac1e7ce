//! Calls that are made again although an earlier try may have had effects: tokens were spent, some of an
//! answer was delivered, a tool has run.

use std::num::NonZero;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::{Cause, Reason};

/// What becomes of such a call, in enforce. Those whose earlier tries upstream refused, or never answered,
/// are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Written", into = "Written")]
pub enum OnRetry {
    /// It goes on, and says what the tries before it had done.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
    /// It goes on that often, and is refused then.
    AtMost(NonZero<u32>),
}

/// As it is written: `"allow"`, `"refuse"`, or `{ at_most = 2 }`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "on_retry is \"allow\", \"refuse\", or { at_most = N }")]
enum Written {
    Word(Word),
    Cap(Cap),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Refuse,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cap {
    at_most: NonZero<u32>,
}

impl OnRetry {
    /// Whether a call may be made of which so many tries before may have had effects.
    pub fn decide(self, tries: u32) -> Result<(), Reason> {
        let most = match self {
            Self::Allow => return Ok(()),
            Self::Refuse => 0,
            Self::AtMost(most) => most.get(),
        };
        if tries <= most {
            return Ok(());
        }
        let text = format!(
            "this call was made {tries} time(s) before in vain, which may have spent tokens or run tools, and \
             on_retry lets it be made again {most} time(s); ask for something else, or have an operator \
             change on_retry"
        );
        Err(Reason::new(Cause::Policy, text))
    }
}

impl From<Written> for OnRetry {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(Word::Allow) => Self::Allow,
            Written::Word(Word::Refuse) => Self::Refuse,
            Written::Cap(Cap { at_most }) => Self::AtMost(at_most),
        }
    }
}

impl From<OnRetry> for Written {
    fn from(on_retry: OnRetry) -> Self {
        match on_retry {
            OnRetry::Allow => Self::Word(Word::Allow),
            OnRetry::Refuse => Self::Word(Word::Refuse),
            OnRetry::AtMost(at_most) => Self::Cap(Cap { at_most }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        on_retry: OnRetry,
    }

    fn read(text: &str) -> Result<OnRetry, String> {
        let file: Result<File, _> = toml::from_str(&format!("on_retry = {text}"));
        file.map(|file| file.on_retry).map_err(|error| error.to_string())
    }

    #[test]
    fn it_reads_as_it_is_written() {
        let two = OnRetry::AtMost(NonZero::new(2).expect("two"));
        for (text, on_retry) in [
            ("\"allow\"", OnRetry::Allow),
            ("\"refuse\"", OnRetry::Refuse),
            ("{ at_most = 2 }", two),
        ] {
            assert_eq!(read(text), Ok(on_retry));
            let shown = toml::to_string(&File { on_retry }).expect("it shows");
            assert_eq!(toml::from_str(&shown), Ok(File { on_retry }));
        }
        for text in ["\"never\"", "{ at_most = 0 }", "{ at_most = 1, x = 2 }", "3"] {
            let error = read(text).expect_err("it is none");
            assert!(error.contains("{ at_most = N }"), "{error}");
        }
    }

    #[test]
    fn so_many_tries_may_be_repeated() {
        let twice = OnRetry::AtMost(NonZero::new(2).expect("two"));
        for (on_retry, most) in [(OnRetry::Refuse, 0), (twice, 2)] {
            assert_eq!(on_retry.decide(most), Ok(()));
            let reason = on_retry.decide(most + 1).expect_err("refused");
            assert_eq!(reason.cause, Cause::Policy);
        }
        assert_eq!(OnRetry::Allow.decide(u32::MAX), Ok(()));
    }
}
