//! Chooses the BPF object that is built in: the one kept in the repository, unless
//! `TURNPIKE_BPF_OBJECT` names another, as `cargo xtask test` does to try one that was built with
//! other tools.

use std::{env, path::Path};

fn main() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../gateway-ebpf/object/turnpike.bpf.o")
        .display()
        .to_string();
    let object = env::var("TURNPIKE_BPF_OBJECT").unwrap_or(kept);
    println!("cargo::rerun-if-env-changed=TURNPIKE_BPF_OBJECT");
    println!("cargo::rerun-if-changed={object}");
    println!("cargo::rustc-env=BPF_OBJECT={object}");
}
