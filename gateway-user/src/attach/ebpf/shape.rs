//! What outlives a gateway in the kernel: the hooks and maps that are pinned, and the version that
//! their names, sizes and meaning make up.

use aya::maps::{MapError, MapInfo, MapType};
use gateway_common::{
    AgentEntry, AgentId, Counters, DNS_RING_BYTES, DirectTable, Heartbeat, Listener, MAX_AGENTS,
    MAX_SOCKETS, Origin, PeerKey, Redirected, SCHEMA,
};

/// In the order in which they are attached: what hands a destination over stands ready before
/// anything is redirected, getpeername before anybody can ask, and connects are redirected before
/// the backstop drops what was not. They are detached the other way around.
pub(super) const HOOKS: [&str; 11] = [
    "turnpike_release",
    "turnpike_handoff",
    "turnpike_peername4",
    "turnpike_peername6",
    "turnpike_ingress",
    "turnpike_sendmsg4",
    "turnpike_sendmsg6",
    "turnpike_connect4",
    "turnpike_connect6",
    "turnpike_create",
    "turnpike_egress",
];

/// A map that pinned programs need to go on without the gateway, and that the next gateway shares
/// with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    kind: MapType,
    key: u32,
    value: u32,
    entries: u32,
}

pub(super) const MAPS: [Shape; 10] = [
    Shape::of::<AgentId, AgentEntry>("AGENTS", MapType::Hash, MAX_AGENTS),
    Shape::of::<AgentId, u64>("KILLED", MapType::Hash, MAX_AGENTS),
    Shape::of::<u64, Listener>("LISTENERS", MapType::Hash, MAX_AGENTS),
    Shape::of::<u32, Heartbeat>("HEARTBEAT", MapType::Array, 1),
    Shape::of::<u64, Redirected>("ORIGINS", MapType::Hash, MAX_SOCKETS),
    Shape::of::<AgentId, u64>("HELD", MapType::Hash, MAX_AGENTS),
    Shape::of::<PeerKey, Origin>("HANDOFFS", MapType::Hash, MAX_SOCKETS),
    Shape::of::<AgentId, Counters>("COUNTERS", MapType::Hash, MAX_AGENTS),
    Shape::of::<AgentId, DirectTable>("DIRECT", MapType::Hash, MAX_AGENTS),
    Shape::of::<(), ()>("DNS", MapType::RingBuf, DNS_RING_BYTES),
];

impl Shape {
    const fn of<K, V>(name: &'static str, kind: MapType, entries: u32) -> Self {
        let (key, value) = (size_of::<K>(), size_of::<V>());
        assert!(key < 1 << 16 && value < 1 << 16);
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        Self { name, kind, key: key as u32, value: value as u32, entries }
    }

    /// Whether the kernel's map is of this shape.
    pub(super) fn fits(&self, found: &MapInfo) -> Result<bool, MapError> {
        Ok(self.kind == found.map_type()?
            && self.key == found.key_size()
            && self.value == found.value_size()
            && self.entries == found.max_entries())
    }
}

/// Names the directory of what is pinned in this version: the schema's number, and a hash of all
/// that it is made of, so that a change can't be forgotten.
#[must_use]
pub fn version() -> String {
    let mut hash = Fnv::new();
    for hook in HOOKS {
        hash.add(hook.as_bytes());
    }
    for Shape { name, kind, key, value, entries } in MAPS {
        hash.add(name.as_bytes());
        for number in [kind as u32, key, value, entries] {
            hash.add(&number.to_le_bytes());
        }
    }
    format!("v{SCHEMA}-{:08x}", hash.0)
}

/// FNV-1a, 32 bits (RFC 9923): it tells versions apart, and need not withstand anybody.
struct Fnv(u32);

impl Fnv {
    const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(&mut self, bytes: &[u8]) {
        // Each part with its end, so that parts can't run into each other.
        for byte in bytes.iter().chain(&[0]) {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_starts_with_the_schema_and_is_a_file_name() {
        let version = version();
        assert!(version.starts_with(&format!("v{SCHEMA}-")), "{version}");
        assert!(version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{version}");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let hash = |parts: &[&str]| {
            let mut hash = Fnv::new();
            for part in parts {
                hash.add(part.as_bytes());
            }
            hash.0
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
