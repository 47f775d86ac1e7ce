//! The other end of a self-test: a process of its own that goes where an agent's processes are, and
//! connects as one of them would.
//!
//! The hooks decide by the cgroup of the process that calls `connect`, and of the socket, so nothing
//! less than a process there proves that they work. It lives for milliseconds, joins a cgroup that
//! holds processes of the agent already (one made for it would show in the container's own
//! `/sys/fs/cgroup`, and be left there by a crash), holds no descriptor of the gateway's, and changes
//! nothing. It is a process of this program again, and not a fork of the gateway, because a fork would
//! hold every connection of the gateway open for as long.

use std::{
    fs, io,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::fd::AsFd as _,
    path::Path,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{control::cli::ProbeArgs, proxy::Word};

/// What one connect found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probed {
    /// The socket's cookie.
    pub(super) cookie: u64,
    /// Who `getpeername` says is at the other end.
    pub(super) peer: SocketAddr,
    /// The first bytes that came.
    pub(super) heard: Vec<u8>,
}

/// Of each address, in order: what was found out; nothing where the system has no such addresses; or
/// what went wrong.
pub(super) type Report = Vec<Result<Option<Probed>, String>>;

/// Goes into the network namespace that standard input is, and into the cgroup; connects; and prints a
/// [`Report`].
pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    move_into_link_name_space(io::stdin().as_fd(), Some(LinkNameSpaceType::Network))?;
    join(&args.cgroup)?;
    let report: Report = args.to.iter().map(|to| probe(*to).map_err(|error| say(&error))).collect();
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn join(cgroup: &Path) -> io::Result<()> {
    // Should the agent run out of memory meanwhile, this process is the one to go. Failing that, the
    // kernel chooses.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    fs::write(cgroup.join("cgroup.procs"), "0")
}

fn probe(to: SocketAddr) -> io::Result<Option<Probed>> {
    let kind = Type::STREAM.cloexec();
    let socket = match Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP)) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(None),
        socket => socket?,
    };
    if to.is_ipv4() {
        // What is not redirected then fails here, and sends nothing out: no packet may leave the
        // machine from this address.
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        socket.bind(&loopback.into())?;
    } else {
        // IPv6 would let it out: no further than the first router, then.
        socket.set_unicast_hops_v6(1)?;
    }
    let cookie = rustix::net::sockopt::socket_cookie(&socket)?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let peer = stream.peer_addr()?;
    let mut heard = vec![0; size_of::<Word>()];
    stream.read_exact(&mut heard)?;
    Ok(Some(Probed { cookie, peer, heard }))
}

fn say(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENETUNREACH) => format!("was not redirected: {error}"),
        _ => format!("failed: {error}"),
    }
}

/// For each connect, and for each answer. All four fit into [`crate::limits::SELF_TEST_TIME`].
const PATIENCE: Duration = Duration::from_secs(1);
