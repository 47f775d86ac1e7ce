//! `model-server`: the APIs of model servers by a script, for tests and the demo.

use std::{fs::File, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Parser;
use turnpike_tests::model_server::{Identity, Service, serve};

#[derive(Debug, Parser)]
#[command(about = "Answers model calls by the script that the wish holds")]
struct Arguments {
    /// Listen here; may be given again. Port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Listen here for TLS; may be given again
    #[arg(long, value_name = "ADDRESS:PORT", requires = "identity")]
    tls: Vec<SocketAddr>,
    /// The certificate's chain and its key, in PEM
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Serve the files below this directory, too
    #[arg(long, value_name = "DIRECTORY")]
    files: Option<PathBuf>,
    /// Log each answer to this file, one JSON document a line [default: standard output]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, tls, identity, files, log } = Arguments::parse();
    let read = |path: PathBuf| Identity::read(&path).with_context(|| path.display().to_string());
    let identity = identity.map(read).transpose()?;
    let tls = identity.map(|identity| (tls, identity));
    let log = log.map(|path| File::create(&path).with_context(|| path.display().to_string()));
    Ok(serve(Service { plain: listen, tls, files }, log.transpose()?).await?)
}
