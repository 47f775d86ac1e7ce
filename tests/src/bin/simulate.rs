//! `cargo xtask simulate ledger` runs this: see `turnpike_tests::simulate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike_tests::simulate::main()
}
