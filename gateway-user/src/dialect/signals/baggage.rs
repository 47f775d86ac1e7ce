//! W3C baggage: members that name a session or a conversation, by the keys that tracing libraries put
//! them under.

use std::borrow::Cow;

use serde::Deserialize;

/// The members that name one: each with the signal that it is read as.
pub(super) fn sessions(baggage: &str) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    baggage.split(',').flat_map(|member| {
        let (key, rest) = member.split_once('=').unwrap_or_default();
        let value = rest.split_once(';').map_or(rest, |(value, _)| value).trim();
        let (key, value) = (key.trim(), decoded(value));
        if key == LANGSMITH {
            return named_in(&value);
        }
        let signal = KEYS.iter().find(|(known, _)| *known == key).map(|(_, signal)| *signal);
        signal.map(|signal| (signal, value)).into_iter().collect()
    })
}

/// The ids of a `LangSmith` run's metadata, which is JSON.
fn named_in(metadata: &str) -> Vec<(&'static str, Cow<'static, str>)> {
    let Ok(ids) = serde_json::from_str::<Metadata>(metadata) else { return Vec::new() };
    let ids = [
        ("baggage.langsmith-metadata.session_id", ids.session),
        ("baggage.langsmith-metadata.thread_id", ids.thread),
        ("baggage.langsmith-metadata.conversation_id", ids.conversation),
    ];
    ids.into_iter().filter_map(|(signal, id)| Some((signal, id?.into()))).collect()
}

/// What of it names a thread of runs, which is a conversation.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "session_id")]
    session: Option<String>,
    #[serde(rename = "thread_id")]
    thread: Option<String>,
    #[serde(rename = "conversation_id")]
    conversation: Option<String>,
}

/// Without percent-encoding; what is not well encoded stays as it is.
fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|digits| str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// OpenTelemetry's and Langfuse's keys.
const KEYS: &[(&str, &str)] = &[
    ("session.id", "baggage.session.id"),
    ("gen_ai.conversation.id", "baggage.gen_ai.conversation.id"),
    ("langfuse_session_id", "baggage.langfuse_session_id"),
    ("langfuse.session.id", "baggage.langfuse.session.id"),
];
const LANGSMITH: &str = "langsmith-metadata";

#[cfg(test)]
mod tests {
    use super::*;

    fn found(baggage: &str) -> Vec<(&'static str, String)> {
        sessions(baggage).map(|(name, value)| (name, value.into_owned())).collect()
    }

    #[test]
    fn members_that_name_a_session_are_found_among_others() {
        let baggage = "user.id=u, session.id = s%201;ttl=3,gen_ai.conversation.id=c,=,x";
        let expected = [
            ("baggage.session.id", "s 1".to_owned()),
            ("baggage.gen_ai.conversation.id", "c".to_owned()),
        ];
        assert_eq!(found(baggage), expected);
        assert_eq!(found("langfuse_session_id=%zz%4"), [(KEYS[2].1, "%zz%4".to_owned())]);
        assert_eq!(found("session.id=%ff"), [(KEYS[0].1, "%ff".to_owned())], "no text");
        assert!(found("").is_empty());
    }

    #[test]
    fn langsmith_names_a_thread_in_its_metadata() {
        let json = "%7B%22thread_id%22%3A%20%22t%22%2C%20%22revision%22%3A%201%7D";
        let baggage = format!("langsmith-metadata={json},langsmith-project=p");
        let expected = [("baggage.langsmith-metadata.thread_id", "t".to_owned())];
        assert_eq!(found(&baggage), expected);
        assert!(found("langsmith-metadata=%7B").is_empty());
    }
}
