//! What a process is told when a hook refuses its call.

use aya_ebpf::helpers::generated::bpf_set_retval;

pub const EPERM: i32 = 1;
pub const ENOPROTOOPT: i32 = 92;
pub const ECONNREFUSED: i32 = 111;

/// What a hook returns to refuse, with the error that the process is to see.
#[inline(always)]
pub fn deny(errno: i32) -> i32 {
    const DENY: i32 = 0;
    // Without this the process would see EPERM for every reason. Should it fail, EPERM it is.
    // SAFETY: the helper takes a number.
    unsafe { bpf_set_retval(-errno) };
    DENY
}
