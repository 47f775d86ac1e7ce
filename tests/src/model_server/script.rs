//! What the server is told by the wish.

use std::time::Duration;

/// Words between `[` and `]` in the last user message. All may be left out.
///
/// | word | meaning | else |
/// | --- | --- | --- |
/// | `steps=N` | turns that call tools, if there are any, before the final answer | 0 |
/// | `parallel=N` | tool calls in each of them | 1 |
/// | `seed=N` | makes texts differ | 0 |
/// | `tag=T` | names the workflow in the log | none |
/// | `words=N` | length of the final answer | 12 |
/// | `chunk-ms=N` | pause before each piece of a stream | 0 |
/// | `fail=STATUSxN` | refuses the workflow's first N requests | none |
/// | `fill` | the final answer has as many words, each a token, as the request allows it tokens | no |
/// | `hold` | it is answered when the server is told to, see [`super::ModelServer::release`] | at once |
/// | `think` | the model tells what it thinks, where the API has a place for it | no |
/// | `command=C` | tool calls ask for this command, with `+` for blanks | they have a query |
/// | `reuse-ids` | tool-call ids are `call_0`, `call_1`, … in every answer | unique |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a word of its own")]
pub struct Script {
    pub steps: usize,
    pub parallel: usize,
    pub seed: u64,
    pub tag: Option<String>,
    pub words: usize,
    pub pause: Duration,
    pub fail: Option<(u16, usize)>,
    pub fill: bool,
    pub hold: bool,
    pub think: bool,
    pub command: Option<String>,
    pub reuse_ids: bool,
}

impl Script {
    /// Words that mean nothing are passed over.
    pub fn parse(wish: &str) -> Self {
        let mut script = Self { parallel: 1, words: 12, ..Self::default() };
        let inside = wish.rsplit_once('[').and_then(|(_, rest)| rest.split_once(']'));
        let (words, _) = inside.unwrap_or_default();
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = value.parse::<u64>().unwrap_or(0);
            let count = usize::try_from(number).unwrap_or(0);
            match name {
                "steps" => script.steps = count,
                "parallel" => script.parallel = count.max(1),
                "seed" => script.seed = number,
                "tag" => script.tag = Some(value.to_owned()),
                "words" => script.words = count,
                "chunk-ms" => script.pause = Duration::from_millis(number),
                "fail" => script.fail = failure(value),
                "fill" => script.fill = true,
                "hold" => script.hold = true,
                "think" => script.think = true,
                "command" => script.command = Some(value.replace('+', " ")),
                "reuse-ids" => script.reuse_ids = true,
                _ => {}
            }
        }
        script
    }
}

fn failure(value: &str) -> Option<(u16, usize)> {
    let (status, times) = value.split_once('x')?;
    Some((status.parse().ok()?, times.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_stands_in_the_last_brackets() {
        let script = Script::parse(
            "see [1]: [steps=3 parallel=2 tag=w7 fail=429x2 command=a+b=c reuse-ids fill hold]",
        );
        assert_eq!((script.steps, script.parallel), (3, 2));
        assert_eq!(script.tag.as_deref(), Some("w7"));
        assert_eq!(script.fail, Some((429, 2)));
        assert_eq!(script.command.as_deref(), Some("a b=c"));
        assert!(script.reuse_ids && script.fill && script.hold);
        assert_eq!(Script::parse("no script").steps, 0);
    }
}
