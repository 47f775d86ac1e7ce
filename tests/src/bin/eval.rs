//! `cargo xtask eval lineage` runs this: see `turnpike_tests::eval`.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike_tests::eval::main()
}
