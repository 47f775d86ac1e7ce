//! Ports: single ones and ranges.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// At least one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

/// The text names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port; write 443, \"8000-8999\", or a list of both: [80, \"8000-8999\"]")]
pub struct PortsError(pub String);

impl Ports {
    /// All of them; `None` if there are none.
    #[must_use]
    pub fn union(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        let ranges: Vec<_> = all.into_iter().flat_map(|ports| ports.0).collect();
        (!ranges.is_empty()).then_some(Self(ranges))
    }

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
        let all = Ports::union([ports, "443".parse().expect("a port")]).expect("some");
        assert_eq!(all.to_string(), "8000-8999,443");
        assert_eq!(Ports::union([]), None);
    }
}
