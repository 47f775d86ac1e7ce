//! Chooses the BPF object that is built in: the one kept in the repository, unless
//! `TURNPIKE_BPF_OBJECT` names another, as `cargo xtask test` does to try one that was built with
//! other tools.

use std::{env, path::Path};

fn main() {
    // Cargo sets it for every run of this program; the one it was compiled with may be another's.
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let object = env::var("TURNPIKE_BPF_OBJECT").unwrap_or_else(|_| {
        Path::new(&here).join("../gateway-ebpf/object/turnpike.bpf.o").display().to_string()
    });
    println!("cargo::rerun-if-env-changed=TURNPIKE_BPF_OBJECT");
    println!("cargo::rerun-if-changed={object}");
    println!("cargo::rustc-env=BPF_OBJECT={object}");
}
