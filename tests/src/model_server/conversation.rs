//! What has been said in a conversation, in the terms that all APIs share.

use serde_json::Value;

/// One thing that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// By the user, in text.
    Wish(String),
    /// By the model: tool calls, each by its id, or by its name where the API has no ids. With none
    /// it is what the model says beside them, which does not part them.
    Called(Vec<String>),
    /// What came of a tool call.
    Result(String),
    Other,
}

/// Everything that was said, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation(Vec<Said>);

/// What is wrong with a request: the message that the API would give.
pub(crate) type Wrong = String;

impl Conversation {
    pub(crate) fn of(said: impl IntoIterator<Item = Said>) -> Self {
        let mut all = Self::default();
        for said in said {
            all.add(said);
        }
        all
    }

    /// Adds what is said next. Tool calls that follow each other are one turn's.
    pub(crate) fn add(&mut self, said: Said) {
        match (self.0.last_mut(), said) {
            (Some(Said::Called(calls)), Said::Called(more)) => calls.extend(more),
            (_, said) => self.0.push(said),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for said in other.0 {
            self.add(said);
        }
    }

    /// Oldest first.
    pub(crate) fn said(&self) -> &[Said] {
        &self.0
    }

    /// The text that the user said last, which holds the script.
    pub(super) fn wish(&self) -> &str {
        let mut texts = self.0.iter().rev().filter_map(|said| match said {
            Said::Wish(text) => Some(text.as_str()),
            _ => None,
        });
        texts.next().unwrap_or_default()
    }

    /// How often the model has called tools since.
    pub(super) fn turns(&self) -> usize {
        let since = self.0.rsplit(|said| matches!(said, Said::Wish(_))).next().unwrap_or_default();
        since.iter().filter(|said| matches!(said, Said::Called(ids) if !ids.is_empty())).count()
    }

    /// Each tool call must be followed by its result, as the APIs ask.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        if self.0.is_empty() {
            return Err("there must be a message".into());
        }
        let mut open: Vec<&str> = Vec::new();
        for said in &self.0 {
            if let Said::Result(id) = said {
                let place = open.iter().position(|open| open == id);
                open.remove(place.ok_or_else(|| format!("nothing called for the result {id:?}"))?);
                continue;
            }
            if let [id, ..] = open.as_slice() {
                return Err(format!("the result of the tool call {id:?} is missing"));
            }
            if let Said::Called(ids) = said {
                open = ids.iter().map(String::as_str).collect();
            }
        }
        Ok(())
    }
}

/// A user's content as text: the last part's, where it has parts.
pub(super) fn wish(content: &Value) -> Said {
    let part = || content.as_array()?.iter().rev().find_map(|part| part["text"].as_str());
    let text = content.as_str().or_else(part);
    text.map_or(Said::Other, |text| Said::Wish(text.to_owned()))
}

/// The first of these that is a string.
pub(super) fn first<const N: usize>(values: [&Value; N]) -> String {
    values.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(ids: &[&str]) -> Said {
        Said::Called(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_result_that_is_missing_or_that_nothing_called_for_is_refused() {
        let [user, result] = [Said::Wish("go on".into()), Said::Result("a".into())];
        let all = [user.clone(), called(&["a", "b"]), result.clone(), user.clone()];
        assert!(Conversation::of(all).check().is_err());
        assert!(Conversation::of([user.clone(), result.clone()]).check().is_err());
        assert!(Conversation::of([user, called(&["a"]), result]).check().is_ok());
        assert!(Conversation::default().check().is_err());
    }

    #[test]
    fn turns_are_counted_from_the_last_wish() {
        let wish = |text: &str| Said::Wish(text.into());
        let result = |id: &str| Said::Result(id.into());
        let old = [wish("one"), called(&["a"]), result("a"), Said::Other];
        let new = [wish("two"), called(&["b"]), called(&["c"]), result("b"), result("c")];
        let all = Conversation::of(old.into_iter().chain(new));
        assert_eq!((all.wish(), all.turns()), ("two", 1));
    }
}
