//! Agents and their sockets: cgroups, containers, network namespaces and the BPF programs.

pub mod cgroup;
pub mod container;
pub mod diag;
pub mod direct;
pub mod ebpf;
pub mod exposure;
pub mod mntns;
pub mod netns;
pub mod pins;
pub mod preflight;
pub mod resolvers;
pub mod root;
pub mod signal;
pub mod sockets;
pub mod trust;
pub mod watch;
