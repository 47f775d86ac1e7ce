//! What a process has used, from outside.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Nanoseconds on CPU, of all its threads (proc(5), `/proc/PID/task/TID/schedstat`): time in the
/// kernel included, and what the kernel did for its packets while it sent them.
pub(super) fn cpu_ns(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("a process to watch")? {
        // A thread may have ended meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split(' ').next().unwrap_or_default().parse::<u64>().context("schedstat")?;
    }
    Ok(total)
}

/// Resident memory in kB.
pub(super) fn rss_kb(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(Path::new(&path)).context("a process to watch")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
    figure.trim().parse().context("VmRSS")
}

/// The machine, in one line.
pub(super) fn machine() -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = text("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown CPU", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores ({model}), Linux {}", text("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_uses_something() {
        let own = std::process::id();
        assert!(cpu_ns(own).expect("it runs") > 0);
        assert!(rss_kb(own).expect("it runs") > 0);
    }
}
