//! `cargo xtask eval record` runs this: see `turnpike_tests::eval::frameworks`.

fn main() -> anyhow::Result<()> {
    turnpike_tests::eval::frameworks::corpus::main()
}
