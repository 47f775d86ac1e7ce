//! What Claude Code writes at the beginning of its instructions, to say for what it asks:
//! `x-anthropic-billing-header: cc_version=2.1.263.0f1; cc_entrypoint=cli; cch=1b2c3;`, in a block
//! of its own or in the first line of the text. It changes from call to call, so it is no part of
//! what is hashed; what it says of the call's place is kept.

use crate::call::Signal;

/// Its pairs that name a place: whether a sub-agent asks, the request before this one, and the
/// prompt that it serves.
const NAMED: &[(&str, &str)] = &[
    ("cc_is_subagent", "body.system.cc_is_subagent"),
    ("cc_prev_req", "body.system.cc_prev_req"),
    ("cc_prompt_id", "body.system.cc_prompt_id"),
];

/// The text without it, and what it says, if it stands there.
pub(super) fn strip<'t>(text: &'t str, signals: &mut Vec<Signal>) -> &'t str {
    let Some(attribution) = text.strip_prefix("x-anthropic-billing-header:") else { return text };
    let (line, rest) = attribution.split_once('\n').unwrap_or((attribution, ""));
    for (key, value) in line.split(';').filter_map(|pair| pair.trim().split_once('=')) {
        let named = NAMED.iter().find(|(named, _)| *named == key);
        signals.extend(named.map(|(_, name)| Signal { name, value: value.to_owned() }));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_off_and_read() {
        let read = |text: &'static str| {
            let mut signals = Vec::new();
            let rest = strip(text, &mut signals);
            let signals: Vec<_> =
                signals.into_iter().map(|signal| (signal.name, signal.value)).collect();
            (rest, signals)
        };
        let block = "x-anthropic-billing-header: cc_version=2.1.263; cc_entrypoint=cli; \
                     cc_is_subagent=true; cc_prev_req=req_011CTx9Y; cc_prompt_id=018f1a2b;";
        let signals = [
            ("body.system.cc_is_subagent", "true".to_owned()),
            ("body.system.cc_prev_req", "req_011CTx9Y".to_owned()),
            ("body.system.cc_prompt_id", "018f1a2b".to_owned()),
        ];
        assert_eq!(read(block), ("", signals.to_vec()));
        let line = "x-anthropic-billing-header: cc_version=2.1.177.01c; cch=36ee5;\nYou are";
        assert_eq!(read(line), ("You are", Vec::new()));
        let other = "You are told of x-anthropic-billing-header: cc_is_subagent=true;";
        assert_eq!(read(other), (other, Vec::new()));
    }
}
