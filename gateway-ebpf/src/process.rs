//! `sched_process_fork`, `sched_process_exec`, `sched_process_exit`: shows userspace what agents'
//! processes do. It stops nothing. Threads are not told of.
//!
//! These are raw tracepoints, which need neither tracefs nor a kernel that can attach by BTF. They
//! are the node's, not an agent's: they run for every process, and most are in no agent.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_ktime_get_ns, bpf_probe_read_kernel,
        generated::{bpf_get_current_task, bpf_probe_read_user},
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use gateway_common::{
    COMMAND_BYTES, Counter, ExecRecord, PROCESS_EXECUTED, PROCESS_EXITED, PROCESS_FORKED,
    ProcessRecord,
};

use crate::{
    agent::Agent,
    maps::{PROCESSES, TASK},
};

/// Its arguments: the forking task, the new one. The first one is running.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn turnpike_fork(ctx: RawTracePointContext) -> i32 {
    if let Some(agent) = Agent::current() {
        let child: *const u8 = ctx.arg(1);
        // A new thread is of the same group.
        if let Some(pid) = read::<u32>(child, TASK.load().tgid)
            && pid != ctx.tgid()
        {
            show(
                agent,
                &ProcessRecord { parent: ctx.tgid(), ..record(agent, PROCESS_FORKED, pid) },
            );
        }
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn turnpike_exec(ctx: RawTracePointContext) -> i32 {
    if let Some(agent) = Agent::current() {
        show_command(agent, ctx.tgid());
    }
    0
}

/// It runs for every thread that ends, after that was counted off.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn turnpike_exit(ctx: RawTracePointContext) -> i32 {
    if let Some(agent) = Agent::current()
        && threads_left() == Some(0)
    {
        show(agent, &record(agent, PROCESS_EXITED, ctx.tgid()));
    }
    0
}

#[inline(always)]
fn show(agent: Agent, record: &ProcessRecord) {
    match PROCESSES.reserve::<ProcessRecord>(0) {
        Some(mut entry) => {
            entry.write(*record);
            entry.submit(0);
        }
        None => agent.count(Counter::ProcessesLost),
    }
}

/// The command line as it is before the new program's first instruction.
#[inline(always)]
fn show_command(agent: Agent, pid: u32) {
    let (start, bytes) = command_line().unwrap_or((0, 0));
    let len = bytes.min(COMMAND_BYTES as u64) as u32;
    let Some(mut entry) = PROCESSES.reserve::<ExecRecord>(0) else {
        agent.count(Counter::ProcessesLost);
        return;
    };
    let exec = entry.as_mut_ptr();
    // SAFETY: `exec` points to reserved memory of that type, which is written before it is shown: all
    // but the end of `command`, past `len`, which is what an earlier entry left there. The helper
    // reads a process's own memory, and fails where there is none.
    unsafe {
        let command = (&raw mut (*exec).command).cast();
        let unread = bpf_probe_read_user(command, len, start as *const _) != 0;
        let len = if unread { 0 } else { len };
        (&raw mut (*exec).head)
            .write(ProcessRecord { len, ..record(agent, PROCESS_EXECUTED, pid) });
    }
    entry.submit(0);
}

#[inline(always)]
fn record(agent: Agent, what: u32, pid: u32) -> ProcessRecord {
    // SAFETY: the helper has no arguments.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    ProcessRecord { agent: agent.id, at_ns, pid, parent: 0, what, len: 0 }
}

/// Where the current process has its command line, and how many bytes of it.
#[inline(always)]
fn command_line() -> Option<(u64, u64)> {
    let layout = TASK.load();
    let memory: *const u8 = read(current_task(), layout.mm)?;
    let start: u64 = read(memory, layout.arg_start)?;
    let end: u64 = read(memory, layout.arg_end)?;
    Some((start, end.checked_sub(start)?))
}

/// How many threads of the current process have not ended.
#[inline(always)]
fn threads_left() -> Option<i32> {
    let layout = TASK.load();
    let group: *const u8 = read(current_task(), layout.signal)?;
    read(group, layout.live)
}

#[inline(always)]
fn current_task() -> *const u8 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_get_current_task() as *const u8 }
}

/// A field of one of the kernel's structures.
#[inline(always)]
fn read<T>(structure: *const u8, offset: u32) -> Option<T> {
    let field = structure.wrapping_add(offset as usize).cast::<T>();
    // SAFETY: the helper fails where there is nothing to read.
    unsafe { bpf_probe_read_kernel(field) }.ok()
}
