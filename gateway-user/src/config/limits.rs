//! `[limits]`: the bounds that an operator may change.

use std::{borrow::Cow, fmt, time::Duration};

use gateway_common::MAX_SOCKETS;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Size, Span};
use crate::limits;

/// The bounds that may be changed. What can't be, `turnpike status --json` lists beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of one agent at a time. More are reset.
    pub connections_per_agent: Within<u32, 1, { MAX_SOCKETS as u64 }>,
    /// Connections of all agents at a time. No agent has more than are left of them for all; more
    /// are reset. Each takes two file descriptors, and up to four more in bulk.
    pub connections: Within<u32, 1, { MAX_SOCKETS as u64 }>,
    /// How long a TLS handshake may take, with upstream and then with the client. Longer: the
    /// connection is reset.
    pub handshake_time: Within<Span, 100, 600_000>,
    /// How long the beginning of a connection is held back while it may be TLS or HTTP/2 that is not
    /// complete. Longer: it goes on unread (audit), or as its egress rules say (enforce).
    pub hello_time: Within<Span, 100, 600_000>,
    /// How long the head of a request may take to arrive, from its first byte on. Longer: the client
    /// is refused (enforce), or it is counted (audit).
    pub head_time: Within<Span, 100, 600_000>,
    /// Bytes of an HTTP/1 head, or of trailers. Larger: refused (enforce), or the connection becomes
    /// opaque (audit).
    pub head_bytes: Within<Size, 4096, 16_777_216>,
    /// How long a connection may be silent, both ways, before it is ended: in good order between
    /// two exchanges, else with a reset. `off`: for ever. A peer that is gone is found by keepalive
    /// probes either way, and a gateway that ends what both sides hold open (a long poll, a shell, a
    /// pooled connection) would be seen.
    pub idle_time: OrOff<Within<Span, 1000, WEEK_MS>>,
    /// Streams that one HTTP/2 client may have open at a time. More are refused.
    pub h2_streams: Within<u32, 1, 65_536>,
    /// Bytes of one HTTP/2 frame.
    pub h2_frame_bytes: Within<Size, 16_384, 16_777_215>,
    /// Bytes of an HTTP/2 head, as RFC 9113, section 6.5.2 counts them.
    pub h2_head_bytes: Within<Size, 4096, 16_777_216>,
    /// Bytes under way on one HTTP/2 stream, in each direction.
    pub h2_stream_window: Within<Size, 65_535, 268_435_456>,
    /// Bytes under way on all streams of an HTTP/2 connection, in each direction.
    pub h2_connection_window: Within<Size, 65_535, 1_073_741_824>,
    /// Agents that are attached by rule. More are not attached.
    pub agents_by_rule: Within<u32, 1, 65_536>,
}

const WEEK_MS: u64 = 7 * 24 * 3_600_000;

impl Default for Limits {
    fn default() -> Self {
        let limits::Limits {
            connections_per_agent,
            connections,
            handshake_time,
            hello_time,
            head_time,
            head_bytes,
            idle_time,
            h2_streams,
            h2_frame_bytes,
            h2_head_bytes,
            h2_stream_window,
            h2_connection_window,
            agents_by_rule,
        } = limits::Limits::default();
        let count = |count: usize| Within(u32::try_from(count).unwrap_or(u32::MAX));
        let size = |bytes: u32| Size(bytes.into());
        Self {
            connections_per_agent: count(connections_per_agent),
            connections: count(connections),
            handshake_time: Within(Span(handshake_time)),
            hello_time: Within(Span(hello_time)),
            head_time: Within(Span(head_time)),
            head_bytes: Within(Size(head_bytes as u64)),
            idle_time: OrOff(idle_time.map(|time| Within(Span(time)))),
            h2_streams: Within(h2_streams),
            h2_frame_bytes: Within(size(h2_frame_bytes)),
            h2_head_bytes: Within(size(h2_head_bytes)),
            h2_stream_window: Within(size(h2_stream_window)),
            h2_connection_window: Within(size(h2_connection_window)),
            agents_by_rule: count(agents_by_rule),
        }
    }
}

impl From<&Limits> for limits::Limits {
    fn from(written: &Limits) -> Self {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        // No range reaches beyond.
        let size = |size: Size| u32::try_from(size.0).unwrap_or(u32::MAX);
        Self {
            connections_per_agent: count(written.connections_per_agent.0),
            connections: count(written.connections.0),
            handshake_time: written.handshake_time.0.0,
            hello_time: written.hello_time.0.0,
            head_time: written.head_time.0.0,
            head_bytes: usize::try_from(written.head_bytes.0.0).unwrap_or(usize::MAX),
            idle_time: written.idle_time.0.map(|time| time.0.0),
            h2_streams: written.h2_streams.0,
            h2_frame_bytes: size(written.h2_frame_bytes.0),
            h2_head_bytes: size(written.h2_head_bytes.0),
            h2_stream_window: size(written.h2_stream_window.0),
            h2_connection_window: size(written.h2_connection_window.0),
            agents_by_rule: count(written.agents_by_rule.0),
        }
    }
}

/// A value from `MIN` to `MAX`: counts, bytes, or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Within<T, const MIN: u64, const MAX: u64>(T);

/// A value, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(Option<T>);

/// What can be held within a range.
pub trait Measure: Copy + fmt::Display {
    fn amount(self) -> u64;
    fn of(amount: u64) -> Self;
    /// What JSON Schema knows of the range.
    fn range(_min: u64, _max: u64, _schema: &mut Schema) {}
}

impl Measure for u32 {
    fn amount(self) -> u64 {
        self.into()
    }

    fn of(amount: u64) -> Self {
        Self::try_from(amount).unwrap_or(Self::MAX)
    }

    fn range(min: u64, max: u64, schema: &mut Schema) {
        schema.insert("minimum".into(), min.into());
        schema.insert("maximum".into(), max.into());
    }
}

impl Measure for Size {
    fn amount(self) -> u64 {
        self.0
    }

    fn of(amount: u64) -> Self {
        Self(amount)
    }
}

impl Measure for Span {
    fn amount(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    fn of(amount: u64) -> Self {
        Self(Duration::from_millis(amount))
    }
}

impl<'de, T: Measure + Deserialize<'de>, const MIN: u64, const MAX: u64> Deserialize<'de>
    for Within<T, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&value.amount()) {
            return Ok(Self(value));
        }
        let (min, max) = (T::of(MIN), T::of(MAX));
        Err(de::Error::custom(format!("{value} is out of range; write {min} to {max}")))
    }
}

impl<T: Serialize> Serialize for OrOff<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        T::deserialize(de::value::StringDeserializer::new(text)).map(Some).map(Self)
    }
}

impl<T: Measure + JsonSchema, const MIN: u64, const MAX: u64> JsonSchema for Within<T, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}From{MIN}To{MAX}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        T::range(MIN, MAX, &mut schema);
        let range = format!("{} to {}", T::of(MIN), T::of(MAX));
        schema.insert("description".into(), range.into());
        schema
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "off" }, T::json_schema(generator)] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn without_a_word_the_built_in_bounds_hold() {
        assert_eq!(limits::Limits::from(&Limits::default()), limits::Limits::default());
    }

    #[test]
    fn what_is_written_holds_within_its_range() {
        let read = |text: &str| Config::parse(&format!("[limits]\n{text}"));
        let config = read("connections = 100\nidle_time = \"2h\"\nh2_frame_bytes = \"16KiB\"");
        let limits = limits::Limits::from(&config.expect("valid").limits);
        assert_eq!(limits.connections, 100);
        assert_eq!(limits.idle_time, Some(Duration::from_hours(2)));
        assert_eq!(limits.h2_frame_bytes, 16_384);
        assert_eq!(read("idle_time = \"off\"").expect("valid").limits, Limits::default());
        for (text, hint) in [
            ("connections = 0", "write 1 to 65536"),
            ("connections = 100000", "write 1 to 65536"),
            ("connections = \"many\"", "expected u32"),
            ("idle_time = \"1ms\"", "write 1s to 168h"),
            ("idle_time = \"never\"", "a span of time"),
            ("h2_frame_bytes = \"1B\"", "write 16KiB to"),
            ("h2_stream = 5", "unknown field `h2_stream`"),
        ] {
            let problems = read(text).expect_err("not valid");
            assert!(problems[0].text.contains(hint), "{text}: {:?}", problems[0]);
            assert_eq!(problems[0].line, 2, "{text}");
        }
    }
}
