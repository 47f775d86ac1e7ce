//! turnpike: an eBPF-assisted gateway for AI-agent traffic. The modules are listed in the order
//! in which data flows; `ARCHITECTURE.md` has the map.

pub mod call;
