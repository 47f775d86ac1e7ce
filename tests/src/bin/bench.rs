//! `cargo xtask bench` runs this: see `turnpike_tests::bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike_tests::bench::main()
}
