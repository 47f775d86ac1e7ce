//! Tools in words: agents that have no tool calls on the wire write in their answers what to do, and
//! say what came of it in the user's place.

/// Whether the text says what came of something, and is no user's wish.
pub(super) fn is_report(text: &str) -> bool {
    let text = text.trim_start();
    let beginning = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
    let beginning = beginning.to_ascii_lowercase();
    let bare = beginning.trim_start_matches(['<', '[', '#', '*', '`', ' ']);
    BEGINNINGS.iter().any(|it| bare.starts_with(it))
        || bare.contains("<task-notification>")
        // As in `[read_file for 'a'] Result:`.
        || (beginning.starts_with('[')
            && beginning.split_once(']').is_some_and(|(_, rest)| rest.starts_with(" result")))
}

/// How reports begin, in small letters, whatever brackets they stand in.
const BEGINNINGS: &[&str] = &[
    "observation",
    "tool_response",
    "tool response",
    "tool_result",
    "tool result",
    "tool_output",
    "tool output",
    "function_result",
    "function result",
    "function_response",
    "execution result",
    "execution output",
    "execution_output",
    "command output",
    "code output",
    "code execution",
    "exitcode:",
    "exit code:",
    "environment_details",
    "validation feedback",
    "validation error",
    "task-notification",
    "subagent_notification",
];
/// Bytes at a text's beginning that are looked at.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told_from_wishes_by_how_they_begin() {
        for report in [
            "Observation: 3 files",
            "  OBSERVATION:\n",
            "<tool_response>\n{}",
            "[read_file for 'a'] Result:\nx",
            "exitcode: 0 (execution succeeded)\nCode output: 4",
            "Validation feedback: a field is missing",
            "<system-reminder>\n<task-notification>\n<task-id>a</task-id>",
        ] {
            assert!(is_report(report), "{report}");
        }
        for wish in [
            "",
            "Observe the sky",
            "[x] done",
            "Please fix the exit code",
            "ß".repeat(200).as_str(),
        ] {
            assert!(!is_report(wish), "{wish}");
        }
    }
}
