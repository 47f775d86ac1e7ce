//! `cargo xtask bench lineage` runs this: what it costs to place a call, and to remember it. In this process,
//! on one core, without a network; each figure beside its aim.

mod fleet;
mod kept;
mod long;
mod traffic;

use anyhow::Result;
use clap::Parser;
use turnpike_tests::figure;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench lineage", about = "Measures what it costs to place a call")]
struct Arguments {
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // First, as long as nothing else has left memory behind that could be used again.
    let many = fleet::figures()?;
    let mut figures = long::figures()?;
    figures.extend(many);
    figures.extend(kept::figures());
    figure::print(&figures, arguments.json)
}
