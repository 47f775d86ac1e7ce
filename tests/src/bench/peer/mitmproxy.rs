//! `mitmproxy`, as a reverse proxy: its local mode would catch the load by its process's name, at
//! the same cost for each request.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use tempfile::TempDir;

use super::{Upstream, free_ports};
use crate::{process::Background, wait};

/// A running `mitmdump` that shows nothing.
#[derive(Debug)]
pub(in crate::bench) struct Mitmproxy {
    process: Background,
    pub(in crate::bench) plain: SocketAddr,
    pub(in crate::bench) tls: SocketAddr,
    _directory: TempDir,
}

impl Mitmproxy {
    pub(in crate::bench) fn start(upstream: Upstream, identity: &Path) -> Result<Self> {
        let directory = TempDir::with_prefix("tp-mitmproxy-")?;
        let [plain, tls] = free_ports()?;
        let mode = |scheme, upstream: SocketAddr, own: SocketAddr| {
            format!("--mode=reverse:{scheme}://{upstream}@{own}")
        };
        let mut command = Command::new("mitmdump");
        command
            .args(["--quiet", "--ssl-insecure", "--set", "connection_strategy=lazy"])
            .arg(format!("--certs=*={}", identity.display()))
            .arg(format!("--set=confdir={}", directory.path().display()))
            .arg(mode("http", upstream.plain, plain))
            .arg(mode("https", upstream.encrypted, tls));
        let mut process = Background::spawn("mitmdump", &mut command);
        wait::until(Duration::from_secs(30), "mitmdump to listen", || {
            assert!(process.status().is_none(), "mitmdump: {}", process.stderr());
            let all = [plain, tls];
            all.iter().all(|port| TcpStream::connect(port).is_ok()).then_some(())
        });
        Ok(Self { process, plain, tls, _directory: directory })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
