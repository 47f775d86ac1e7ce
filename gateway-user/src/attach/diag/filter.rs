//! The kernel's own filter of sockets by cgroup (`INET_DIAG_REQ_BYTECODE`).
//!
//! Source: `include/uapi/linux/inet_diag.h`, and `inet_diag_bc_run` in `net/ipv4/inet_diag.c`. A
//! program is a row of `inet_diag_bc_op { u8 code; u8 yes; u16 no; }`, some with an argument behind
//! them. An operation that holds goes on `yes` bytes further, one that does not `no` bytes. A program
//! that comes to its very end accepts the socket, one that goes beyond it does not.

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_sock_diag::{SockDiagMessage, inet::InetRequest};

/// A request for those sockets that were made in one of some cgroups.
#[derive(Debug)]
pub(super) struct Filtered {
    request: SockDiagMessage,
    filter: Vec<u8>,
}

/// Cgroups that one request asks for. The kernel checks the program's jumps in quadratic time.
pub const CGROUPS_PER_REQUEST: usize = 256;

impl Filtered {
    pub(super) fn new(request: InetRequest, cgroups: &[u64]) -> Self {
        Self { request: SockDiagMessage::InetRequest(request), filter: attribute(cgroups) }
    }
}

impl NetlinkSerializable for Filtered {
    fn message_type(&self) -> u16 {
        self.request.message_type()
    }

    fn buffer_len(&self) -> usize {
        NetlinkSerializable::buffer_len(&self.request) + self.filter.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (request, filter) = buffer.split_at_mut(NetlinkSerializable::buffer_len(&self.request));
        NetlinkSerializable::serialize(&self.request, request);
        filter.copy_from_slice(&self.filter);
    }
}

/// The program as a netlink attribute: `nlattr { u16 len; u16 type; }` and its bytes, whose number
/// is a multiple of four already.
fn attribute(cgroups: &[u64]) -> Vec<u8> {
    const INET_DIAG_REQ_BYTECODE: u16 = 1;

    let program = program(cgroups);
    let mut bytes = Vec::with_capacity(4 + program.len());
    bytes.extend((4 + short(program.len())).to_ne_bytes());
    bytes.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    bytes.extend(program);
    bytes
}

/// For each cgroup but the last:
///
/// ```text
/// cgroup = id?  yes: go on     no: skip the jump
/// jump          (never holds)  no: the end
/// ```
///
/// The last accepts by coming to the end, and refuses by going beyond.
fn program(cgroups: &[u64]) -> Vec<u8> {
    const INET_DIAG_BC_JMP: u8 = 1;
    const INET_DIAG_BC_CGROUP_COND: u8 = 13;
    /// The operation and the id.
    const CONDITION: u8 = 4 + 8;
    const JUMP: u8 = 4;
    /// A condition that does not hold: over the jump, or over the end.
    const OVER: u16 = CONDITION as u16 + JUMP as u16;

    let mut bytes = Vec::with_capacity(cgroups.len() * usize::from(OVER));
    for (place, cgroup) in cgroups.iter().enumerate() {
        bytes.extend([INET_DIAG_BC_CGROUP_COND, CONDITION]);
        bytes.extend(OVER.to_ne_bytes());
        bytes.extend(cgroup.to_ne_bytes());
        let further = short(cgroups.len() - place - 1);
        if further > 0 {
            bytes.extend([INET_DIAG_BC_JMP, JUMP]);
            // Over this jump, the other conditions, and the jumps behind all but the last of them.
            bytes.extend((further * OVER).to_ne_bytes());
        }
    }
    bytes
}

fn short(count: usize) -> u16 {
    const { assert!(CGROUPS_PER_REQUEST * 16 < u16::MAX as usize, "jumps are 16 bits wide") };
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `inet_diag_bc_run`, as far as it concerns these programs.
    fn accepts(program: &[u8], cgroup: u64) -> bool {
        let mut at = 0;
        while at < program.len() {
            let (code, yes) = (program[at], program[at + 1]);
            let no = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
            let holds = match code {
                13 => program[at + 4..at + 12] == cgroup.to_ne_bytes(),
                1 => false,
                code => panic!("operation {code}"),
            };
            at += if holds { usize::from(yes) } else { usize::from(no) };
        }
        at == program.len()
    }

    #[test]
    fn one_cgroup_is_one_condition() {
        let expected = [&[13, 12][..], &16_u16.to_ne_bytes(), &0x1234_u64.to_ne_bytes()].concat();
        assert_eq!(program(&[0x1234]), expected);
    }

    proptest! {
        #[test]
        fn the_cgroups_asked_for_are_accepted_and_no_others(
            cgroups in prop::collection::vec(any::<u64>(), 1..CGROUPS_PER_REQUEST),
            other: u64,
        ) {
            let program = program(&cgroups);
            for cgroup in &cgroups {
                prop_assert!(accepts(&program, *cgroup));
            }
            prop_assert_eq!(accepts(&program, other), cgroups.contains(&other));
        }
    }
}
