//! `cargo xtask`: what contributors run. One file per command.

mod bench;
mod bpf;
mod demo;
mod eval;
mod fuzz;
mod prices;
mod process;
mod report;
mod setup;
mod simulate;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, checks and tests turnpike")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what building the BPF object and running the tests take (Debian)
    Setup(setup::Arguments),
    /// Rebuild the BPF object that is kept in the repository, and the note of what made it
    Bpf(bpf::Arguments),
    /// Check what compilers do not: layers, lengths, unsafe code, the map in ARCHITECTURE.md
    Tidy,
    /// Attach to an unchanged agent in a container, and show its trace
    Demo,
    /// Set up, check and test everything
    Test(test::Arguments),
    /// Make the price table anew from the newest public data
    Prices,
    /// Measure turnpike beside its peers
    Bench(bench::Arguments),
    /// Measure how well turnpike understands what it sees
    Eval(eval::Arguments),
    /// Look for input that the parsers fail on (nightly)
    Fuzz(fuzz::Arguments),
    /// Try what must hold in every order of events, many times over
    Simulate(simulate::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Bpf(arguments) => bpf::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Demo => demo::run(),
        Command::Test(arguments) => test::run(&arguments),
        Command::Prices => prices::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
