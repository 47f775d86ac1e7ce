//! Network namespaces, and cables between them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::machine;

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct Netns {
    name: String,
    cables: AtomicU8,
}

/// A cable between a namespace and another one: the addresses of its ends.
#[derive(Clone, Copy, Debug)]
pub struct Cable {
    pub here: Ipv4Addr,
    pub here6: Ipv6Addr,
    pub there: Ipv4Addr,
    pub there6: Ipv6Addr,
}

impl Netns {
    #[track_caller]
    pub fn new() -> Self {
        machine::require_root();
        let netns = Self { name: machine::unique("net"), cables: AtomicU8::new(0) };
        machine::sh(&format!("ip netns add {}", netns.name));
        netns.ip("link set lo up");
        netns
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Adds an address to its loopback.
    #[track_caller]
    pub fn add_address(&self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.ip(&format!("addr add {address}/32 dev lo")),
            IpAddr::V6(address) => self.ip(&format!("addr add {address}/128 dev lo nodad")),
        }
    }

    /// A command that runs in it. All else stays as it is: `ip netns exec` would mount a new
    /// `/sys`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Lays a cable to the namespace of a process. It goes with either namespace.
    #[track_caller]
    pub fn connect(&self, pid: u32) -> Cable {
        let number = self.cables.fetch_add(1, Ordering::Relaxed);
        let host = |end| Ipv4Addr::new(10, 231, number, end);
        let host6 = |end| Ipv6Addr::new(0xfd00, 0x231, 0, u16::from(number), 0, 0, 0, end);
        let cable = Cable { here: host(1), here6: host6(1), there: host(2), there6: host6(2) };
        let (near, far) = (format!("veth{number}"), "eth0");
        machine::sh(&format!(
            "ip link add {near} netns {} type veth peer name {far} netns {pid}",
            self.name
        ));
        let Cable { here, here6, there, there6 } = cable;
        self.ip(&format!("addr add {here}/24 dev {near}"));
        self.ip(&format!("addr add {here6}/64 dev {near} nodad"));
        self.ip(&format!("link set {near} up"));
        let enter = format!("nsenter --target {pid} --net ip");
        machine::sh(&format!("{enter} addr add {there}/24 dev {far}"));
        machine::sh(&format!("{enter} addr add {there6}/64 dev {far} nodad"));
        machine::sh(&format!("{enter} link set {far} up"));
        cable
    }

    #[track_caller]
    fn ip(&self, line: &str) {
        machine::sh(&format!("ip -netns {} {line}", self.name));
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if fs::exists(self.path()).unwrap_or(false) {
            let deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
            if !deleted.is_ok_and(|status| status.success()) {
                eprintln!("the network namespace {} could not be deleted", self.name);
            }
        }
    }
}
