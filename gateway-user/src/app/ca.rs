//! `turnpike ca`: the node's certificate authority.

use std::{fs, path::Path};

use anyhow::Context as _;

use crate::{
    authority::{Authority, Certificate},
    config::Config,
    control::{
        cli::{CaArgs, CaCommand},
        client::{Client, ClientError},
        commands::Console,
        render,
    },
    proxy::Clock,
};

/// Shows, exports or replaces the authority. Only to replace it a gateway is asked, if one runs.
pub(super) async fn run(command: &CaCommand, console: &mut Console<'_>) -> anyhow::Result<()> {
    match command {
        CaCommand::Show(args) => show(console, args.json, &kept(args)?),
        CaCommand::Export { ca, out } => {
            let certificate = kept(ca)?;
            match out {
                Some(path) => fs::write(path, &certificate.pem)
                    .with_context(|| format!("can't write {}", path.display())),
                None if ca.json => show(console, true, &certificate),
                None => Ok(console.out.write_all(certificate.pem.as_bytes())?),
            }
        }
        CaCommand::Rotate(args) => show(console, args.json, &rotate(console.control, args).await?),
    }
}

fn kept(args: &CaArgs) -> anyhow::Result<Certificate> {
    let config = Config::load(args.config.as_deref())?;
    Ok(Authority::show(&config.daemon.state_dir, Clock::start().now())?)
}

/// The daemon of this configuration replaces it for its agents too. A `turnpike run` goes on with
/// the one that it began with, which its command trusts.
async fn rotate(control: Option<&Path>, args: &CaArgs) -> anyhow::Result<Certificate> {
    let config = Config::load(args.config.as_deref())?;
    let default = config.daemon.runtime_dir.join("control.sock");
    match Client::new(control.unwrap_or(&default)).rotate_ca().await {
        Ok(ca) => Ok(ca.certificate),
        Err(ClientError::NotRunning { .. }) => {
            Ok(Authority::replace(&config.daemon.state_dir, Clock::start().now())?)
        }
        Err(error) => Err(error.into()),
    }
}

fn show(console: &mut Console<'_>, json: bool, certificate: &Certificate) -> anyhow::Result<()> {
    console.print(json, certificate, |out, screen| render::ca(out, screen, certificate))?;
    Ok(())
}
