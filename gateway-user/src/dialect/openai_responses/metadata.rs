//! What a request's body says of the session, the task and the place that it belongs to.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::super::{
    json::{Text, TextOnly},
    keys::Keys,
};
use crate::{call::Signal, limits};

/// Fields of `metadata` under which applications name a session or a task.
const METADATA: Ids = &[
    ("session_id", "body.metadata.session_id"),
    ("conversation_id", "body.metadata.conversation_id"),
    ("thread_id", "body.metadata.thread_id"),
    ("task_id", "body.metadata.task_id"),
    ("run_id", "body.metadata.run_id"),
    ("workflow_id", "body.metadata.workflow_id"),
    ("trace_id", "body.metadata.trace_id"),
    ("user_id", "body.metadata.user_id"),
];

/// Fields of `client_metadata`, as Codex sends them (`codex-rs/core/src/responses_metadata.rs`).
const CLIENT_METADATA: Ids = &[
    ("session_id", "body.client_metadata.session_id"),
    ("thread_id", "body.client_metadata.thread_id"),
    ("turn_id", "body.client_metadata.turn_id"),
    ("x-codex-turn-metadata", "body.client_metadata.x-codex-turn-metadata"),
    ("x-codex-parent-thread-id", "body.client_metadata.x-codex-parent-thread-id"),
    ("x-codex-window-id", "body.client_metadata.x-codex-window-id"),
    ("x-openai-subagent", "body.client_metadata.x-openai-subagent"),
];

/// Fields, each with the name of its signal.
type Ids = &'static [(&'static str, &'static str)];

/// Adds a signal, while there is room.
pub(super) fn note(signals: &mut Vec<Signal>, name: &'static str, value: &str) {
    if signals.len() < limits::SIGNALS_PER_CALL && value.len() <= limits::SIGNAL_BYTES {
        signals.push(Signal { name, value: value.to_owned() });
    }
}

/// An object whose texts may be ids.
#[derive(Debug)]
pub(super) struct Metadata<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Metadata<'_> {
    /// Adds the ids of `metadata` to the signals.
    pub(super) fn note(&self, signals: &mut Vec<Signal>) {
        self.note_ids(METADATA, signals);
    }

    /// Adds those of `client_metadata`.
    pub(super) fn note_client(&self, signals: &mut Vec<Signal>) {
        self.note_ids(CLIENT_METADATA, signals);
    }

    fn note_ids(&self, ids: Ids, signals: &mut Vec<Signal>) {
        for (key, value) in &self.0 {
            if let Some((_, name)) = ids.iter().find(|(known, _)| *known == key.0) {
                note(signals, name, &value.0);
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Metadata<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;

        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata<'de>, A::Error> {
                let mut texts = Vec::new();
                let mut keys = Keys::default();
                while let Some(key) = keys.next_of(&mut map)? {
                    let TextOnly(value) = map.next_value()?;
                    if texts.len() < limits::METADATA_KEYS {
                        texts.extend(value.map(|value| (key, value)));
                    }
                }
                Ok(Metadata(texts))
            }
        }

        deserializer.deserialize_map(MetadataVisitor)
    }
}
