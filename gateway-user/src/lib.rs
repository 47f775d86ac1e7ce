//! turnpike: an eBPF-assisted gateway for AI-agent traffic. The modules are listed in the order
//! in which data flows; `ARCHITECTURE.md` has the map.

pub mod app;
pub mod attach;
pub mod authority;
pub mod call;
pub mod cancel;
pub mod config;
pub mod control;
pub mod dialect;
pub mod drain;
pub mod ledger;
pub mod limits;
pub mod lineage;
pub mod names;
pub mod policy;
pub mod price;
pub mod proxy;
pub mod state;
pub mod store;
pub mod sys;
pub mod tokens;
