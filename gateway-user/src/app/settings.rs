//! `turnpike config`: the configuration file, checked, described and shown.

use std::io::Write;

use crate::{config::Config, control::cli::ConfigCommand};

/// Does what the command says. The value is the process's exit status.
pub(super) fn run(command: &ConfigCommand, out: &mut dyn Write) -> anyhow::Result<u8> {
    match command {
        ConfigCommand::Check { file } => return check(file.as_deref(), out),
        ConfigCommand::Schema => writeln!(out, "{:#}", Config::schema().as_value())?,
        ConfigCommand::Show { config, json } => {
            let config = Config::load(config.as_deref())?;
            let text = if *json {
                serde_json::to_string_pretty(&config)? + "\n"
            } else {
                toml::to_string(&config)?
            };
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(0)
}

/// Says everything that is wrong, one line each.
fn check(file: Option<&std::path::Path>, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (path, problems) = Config::check(file)?;
    for problem in &problems {
        writeln!(out, "{}: {problem}", path.display())?;
    }
    if problems.is_empty() {
        writeln!(out, "the configuration is valid")?;
        return Ok(0);
    }
    Ok(1)
}
