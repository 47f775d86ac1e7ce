//! `model-server`: Chat Completions by a script, for tests and the demo.

use std::{fs::File, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Parser;
use turnpike_tests::model_server::serve;

#[derive(Debug, Parser)]
#[command(about = "Answers chat completions by the script that the wish holds")]
struct Arguments {
    /// Listen here; may be given again. Port 0 is any that is free
    #[arg(long, required = true, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Log each answer to this file, one JSON document a line [default: standard output]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, log } = Arguments::parse();
    let log = log.map(|path| File::create(&path).with_context(|| path.display().to_string()));
    Ok(serve(&listen, log.transpose()?).await?)
}
