//! Text from outside, made fit for a terminal: model and tool names are chosen by agents, and a
//! terminal obeys what is printed on it.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text with everything escaped that does not simply print: control characters, line breaks,
/// changes of writing direction, and what has no width.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_debug());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// The columns that the text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The longest beginning of the text that takes at most so many columns.
pub(super) fn prefix(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// `escape_debug` leaves a character alone if it is printable; it also escapes quotes and the
/// backslash, which a terminal does not mind.
fn is_unsafe(c: char) -> bool {
    !matches!(c, '\'' | '"' | '\\') && c.escape_debug().len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escape("\u{1b}[2Jgone\r\n"), "\\u{1b}[2Jgone\\r\\n");
        assert_eq!(escape("a\u{9b}31mb"), "a\\u{9b}31mb");
        assert_eq!(escape("abc\u{202e}txt"), "abc\\u{202e}txt");
        assert_eq!(escape("zero\u{200b}width"), "zero\\u{200b}width");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["gpt-4o", "it's \"so\" \\ fine", "Größe", "模型", "🚂"] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn a_prefix_never_splits_a_wide_character() {
        assert_eq!(prefix("模型", 3), "模");
        assert_eq!(prefix("ab", 0), "");
        assert_eq!(prefix("ab", 9), "ab");
    }
}
