//! What the user says in a conversation: first, which is the wish, and last.

use crate::limits;

/// What the user says.
#[derive(Clone, Debug, Default)]
pub(super) struct Wished {
    /// Whether the user says anything, even if it is no text.
    pub(super) spoke: bool,
    /// The wish.
    pub(super) first: Option<String>,
    pub(super) latest: Option<String>,
}

impl Wished {
    /// A message of the user's, in pieces. The last piece is what the user says, where clients put
    /// words of their own before it.
    pub(super) fn hear<'t>(&mut self, mut pieces: impl Iterator<Item = &'t str>) {
        let Some(mut last) = pieces.next() else {
            self.spoke = true;
            return;
        };
        let is_first = !std::mem::replace(&mut self.spoke, true);
        let mut whole = String::new();
        let mut is_whole = is_first && last.len() <= limits::WISH_BYTES;
        add(&mut whole, if is_first { last } else { "" });
        for piece in pieces {
            add(&mut whole, if is_first { piece } else { "" });
            (last, is_whole) = (piece, false);
        }
        if is_first {
            self.first = Some(whole).filter(|it| !it.is_empty());
        }
        if !is_whole && !last.is_empty() {
            let said = self.latest.get_or_insert_default();
            said.clear();
            said.push_str(&last[..last.floor_char_boundary(limits::LATEST_BYTES)]);
        }
    }

    /// The other one's after this one's.
    pub(super) fn append(&mut self, other: Self) {
        if self.spoke {
            self.latest = other.latest.or(other.first).or_else(|| self.latest.take());
        } else {
            *self = other;
        }
    }
}

/// Adds to the wish, as far as there is room.
fn add(whole: &mut String, piece: &str) {
    whole.push_str(&piece[..piece.floor_char_boundary(limits::WISH_BYTES - whole.len())]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(messages: &[&[&str]]) -> (Option<String>, Option<String>) {
        let mut wished = Wished::default();
        for pieces in messages {
            wished.hear(pieces.iter().copied());
        }
        (wished.first, wished.latest)
    }

    #[test]
    fn the_wish_is_the_first_message_and_what_is_said_last_another_one_or_its_last_piece() {
        let said =
            |first: &str, last: Option<&str>| (Some(first.to_owned()), last.map(str::to_owned));
        assert_eq!(heard(&[]), (None, None));
        assert_eq!(heard(&[&["a"]]), said("a", None));
        assert_eq!(heard(&[&["a", "b"]]), said("ab", Some("b")));
        assert_eq!(heard(&[&["a"], &["b", "c"], &["d"]]), said("a", Some("d")));
        assert_eq!(heard(&[&[], &["b"]]), (None, Some("b".to_owned())));
        let long = "é".repeat(limits::WISH_BYTES);
        let (first, latest) = heard(&[&[&long, "b"]]);
        assert_eq!(
            (first.expect("a wish").len(), latest.as_deref()),
            (limits::WISH_BYTES, Some("b"))
        );
    }
}
