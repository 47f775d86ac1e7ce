//! `HAProxy`: keep-alive on both sides with reuse of server connections, no logging, no delaying of
//! small chunks, large buffers, splicing where it pays.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{Upstream, free_ports};
use crate::{machine, process::Background, wait};

/// A running `HAProxy` with a port for each mode.
#[derive(Debug)]
pub(in crate::bench) struct Haproxy {
    process: Background,
    ports: Ports,
    _directory: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    http: SocketAddr,
    tcp: SocketAddr,
    /// Ends TLS, and begins it again towards the server.
    tls: SocketAddr,
    /// The same, with HTTP/2 on either side.
    http2: SocketAddr,
    /// Passes TLS on as it is.
    closed: SocketAddr,
}

impl Haproxy {
    pub(in crate::bench) fn start(
        upstream: Upstream,
        identity: &Path,
        threads: usize,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("tp-haproxy-")?;
        let [http, tcp, tls, http2, closed] = free_ports()?;
        let ports = Ports { http, tcp, tls, http2, closed };
        let path = directory.path().join("haproxy.cfg");
        fs::write(&path, config(ports, upstream, identity, threads))?;
        // In the foreground, as one process.
        let mut command = Command::new("haproxy");
        let mut process = Background::spawn("haproxy", command.arg("-db").arg("-f").arg(&path));
        wait::until(Duration::from_secs(5), "haproxy to listen", || {
            assert!(process.status().is_none(), "haproxy: {}", process.stderr());
            let all = [http, tcp, tls, http2, closed];
            all.iter().all(|port| TcpStream::connect(port).is_ok()).then_some(())
        });
        Ok(Self { process, ports, _directory: directory })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The port for HTTP, or for what it is not to look at.
    pub(in crate::bench) const fn plain(&self, opaque: bool) -> SocketAddr {
        if opaque { self.ports.tcp } else { self.ports.http }
    }

    pub(in crate::bench) const fn tls(&self) -> SocketAddr {
        self.ports.tls
    }

    pub(in crate::bench) const fn http2(&self) -> SocketAddr {
        self.ports.http2
    }

    pub(in crate::bench) const fn closed(&self) -> SocketAddr {
        self.ports.closed
    }

    /// Its version, in a few words.
    pub(in crate::bench) fn version() -> Result<String> {
        let text = machine::run(Command::new("haproxy").arg("-v"));
        let words: Vec<&str> = text.split_whitespace().take(3).collect();
        words.last().map(|version| (*version).to_owned()).context("haproxy tells no version")
    }
}

/// Its buffers are as large as turnpike's reads. With these, splicing pays on TCP and costs on HTTP.
/// On TLS it checks no certificate: that would be once for each connection, and connections stay.
fn config(ports: Ports, upstream: Upstream, identity: &Path, threads: usize) -> String {
    let Ports { http, tcp, tls, http2, closed } = ports;
    let Upstream { plain, encrypted } = upstream;
    let identity = identity.display();
    format!(
        "global\n    nbthread {threads}\n    maxconn 4096\n    tune.bufsize 65536\n\n\
         defaults\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\n\
         listen http\n    mode http\n    bind {http}\n    option http-no-delay\n    \
         http-reuse always\n    server model {plain} maxconn 4096\n\n\
         listen tcp\n    mode tcp\n    bind {tcp}\n    option splice-auto\n    \
         server model {plain} maxconn 4096\n\n\
         listen tls\n    mode http\n    bind {tls} ssl crt {identity} alpn http/1.1\n    \
         option http-no-delay\n    http-reuse always\n    \
         server model {encrypted} ssl verify none alpn http/1.1 maxconn 4096\n\n\
         listen http2\n    mode http\n    bind {http2} ssl crt {identity} alpn h2\n    \
         option http-no-delay\n    http-reuse always\n    \
         server model {encrypted} ssl verify none alpn h2 maxconn 4096\n\n\
         listen closed\n    mode tcp\n    bind {closed}\n    option splice-auto\n    \
         server model {encrypted} maxconn 4096\n"
    )
}
