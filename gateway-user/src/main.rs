//! The `turnpike` binary: arguments in, exit status out.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;
use turnpike::{app, control::cli::Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.global.verbose);
    match app::main(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("turnpike: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// `RUST_LOG` wins, if it is set.
fn log_to_stderr(verbose: bool) {
    let default = if verbose { "turnpike=debug,info" } else { "turnpike=warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(ansi)
        .init();
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
