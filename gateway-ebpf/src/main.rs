//! turnpike's BPF programs, in the order in which a connection meets them.
//!
//! They run for every process in an agent's cgroup and decide one thing: is a socket's traffic
//! redirected to the gateway, denied, or left alone. Those in `process` decide nothing, and tell of
//! the agents' processes. All else is userspace's work.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "atomic addition is to be had in no other way on this target")]

mod agent;
mod connect;
mod create;
mod direct;
mod egress;
mod errno;
mod handoff;
mod held;
mod ingress;
mod maps;
mod packet;
mod peername;
mod process;
mod release;
mod sendmsg;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses programs that can reach a panic, so this is never run.
    loop {}
}

// The helpers that read a process's command line are for programs under the GPL only, so these
// programs may be had under its version 2 too, at the choice of who has them. This is how the kernel
// wants that to be said ("GNU General Public License v2 rights and more").
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 26] = *b"GPL and additional rights\0";
