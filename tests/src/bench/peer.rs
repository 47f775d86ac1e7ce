//! `HAProxy`, set up as somebody who knows it would: keep-alive on both sides with reuse of server
//! connections, no logging, no delaying of small chunks, large buffers, splicing where it pays.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{machine, process::Background, wait};

/// A running `HAProxy` with a port for each mode.
#[derive(Debug)]
pub(super) struct Haproxy {
    process: Background,
    pub(super) http: SocketAddr,
    pub(super) tcp: SocketAddr,
    _directory: TempDir,
}

impl Haproxy {
    pub(super) fn start(upstream: SocketAddr, threads: usize) -> Result<Self> {
        let directory = TempDir::with_prefix("tp-haproxy-")?;
        let (http, tcp) = free_ports()?;
        let path = directory.path().join("haproxy.cfg");
        fs::write(&path, config(http, tcp, upstream, threads))?;
        // In the foreground, as one process.
        let mut command = Command::new("haproxy");
        let mut process = Background::spawn("haproxy", command.arg("-db").arg("-f").arg(&path));
        wait::until(Duration::from_secs(5), "haproxy to listen", || {
            assert!(process.status().is_none(), "haproxy: {}", process.stderr());
            (TcpStream::connect(http).is_ok() && TcpStream::connect(tcp).is_ok()).then_some(())
        });
        Ok(Self { process, http, tcp, _directory: directory })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Its version, in a few words.
pub(super) fn version() -> Result<String> {
    let text = machine::run(Command::new("haproxy").arg("-v"));
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    words.last().map(|version| (*version).to_owned()).context("haproxy tells no version")
}

/// Its buffers are as large as turnpike's reads. With these, splicing pays on TCP and costs on HTTP.
fn config(http: SocketAddr, tcp: SocketAddr, upstream: SocketAddr, threads: usize) -> String {
    format!(
        "global\n    nbthread {threads}\n    maxconn 4096\n    tune.bufsize 65536\n\n\
         defaults\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\n\
         listen http\n    mode http\n    bind {http}\n    option http-no-delay\n    \
         http-reuse always\n    server model {upstream} maxconn 4096\n\n\
         listen tcp\n    mode tcp\n    bind {tcp}\n    option splice-auto\n    \
         server model {upstream} maxconn 4096\n"
    )
}

/// `HAProxy` can't tell which port the kernel chose, so two are chosen for it.
fn free_ports() -> Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?, other.local_addr()?))
}
