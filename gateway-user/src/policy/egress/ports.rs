//! Ports: single ones and ranges.

use std::{borrow::Cow, fmt, ops::RangeInclusive, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
    ser::SerializeSeq as _,
};

/// At least one port. Written as a number, a range in quotes, or a list of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

/// The text names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port; write 443, \"8000-8999\", or a list of both: [80, \"8000-8999\"]")]
pub struct PortsError(pub String);

impl Ports {
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }
}

impl FromStr for Ports {
    type Err = PortsError;

    /// One port, or the first and last of a range.
    fn from_str(text: &str) -> Result<Self, PortsError> {
        let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port != 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(vec![first..=last])),
            _ => Err(PortsError(text.into())),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let (first, last) = (range.start(), range.end());
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for range in &self.0 {
            if range.start() == range.end() {
                list.serialize_element(range.start())?;
            } else {
                list.serialize_element(&format!("{}-{}", range.start(), range.end()))?;
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsWritten)
    }
}

impl JsonSchema for Ports {
    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" },
            ]
        });
        json_schema!({
            "description": "A port, a range of ports (\"8000-8999\"), or a list of both",
            "anyOf": [one, { "type": "array", "minItems": 1, "items": one }],
        })
    }
}

struct AsWritten;

impl<'de> Visitor<'de> for AsWritten {
    type Value = Ports;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port: 443, \"8000-8999\", or a list of both: [80, \"8000-8999\"]")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ports, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Ports, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ports, A::Error> {
        let mut ranges = Vec::new();
        while let Some(ports) = list.next_element::<Ports>()? {
            ranges.extend(ports.0);
        }
        if ranges.is_empty() {
            return Err(de::Error::invalid_length(0, &self));
        }
        Ok(Ports(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_or_a_range_is_read_and_nothing_else() {
        let ports: Ports = "8000-8999".parse().expect("a range");
        assert!(ports.contains(8000) && ports.contains(8999) && !ports.contains(9000));
        for text in ["", "0", "-1", "65536", "9-8", "http", "1-2-3"] {
            assert_eq!(text.parse::<Ports>(), Err(PortsError(text.into())));
        }
    }

    #[test]
    fn a_list_is_as_good_as_one() {
        let read = |json: &str| serde_json::from_str::<Ports>(json);
        let ports = read(r#"[80, "8000-8999"]"#).expect("a list");
        assert_eq!(ports.to_string(), "80,8000-8999");
        assert_eq!(serde_json::to_string(&ports).expect("plain"), r#"[80,"8000-8999"]"#);
        assert_eq!(read("443").expect("one").to_string(), "443");
        for json in ["[]", "0", "-1", "70000", "true", "\"http\""] {
            let error = read(json).expect_err("no port").to_string();
            assert!(error.contains("a port"), "{error}");
        }
    }
}
