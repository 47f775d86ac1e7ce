//! sock_release: forgets a socket when its process lets go of it.

use aya_ebpf::{macros::cgroup_sock, programs::SockContext};

use crate::{
    held,
    maps::{HANDOFFS, ORIGINS, socket_cookie},
};

const ALLOW: i32 = 1;

const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u32 = 7;

#[cgroup_sock(sock_release)]
pub fn turnpike_release(ctx: SockContext) -> i32 {
    let cookie = socket_cookie(&ctx);
    // SAFETY: copied out at once; only this socket's own calls write the entry.
    let Some(entry) = (unsafe { ORIGINS.get(&cookie) }) else { return ALLOW };
    let (handed, agent) = (entry.handed, entry.origin.agent);
    // SAFETY: the field is readable in this hook.
    let state = unsafe { (*ctx.sock).state };
    // A socket that was connected may wait in the gateway's accept queue with data to deliver: the
    // gateway takes its entry. One that never was has nobody else to remove it.
    if state == TCP_SYN_SENT || state == TCP_CLOSE {
        // SAFETY: as above.
        if unsafe { HANDOFFS.get(&handed) }.is_some_and(|origin| origin.cookie == cookie) {
            let _ = HANDOFFS.remove(&handed);
        }
    }
    held::leave(cookie, agent);
    ALLOW
}
