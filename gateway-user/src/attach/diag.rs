//! Socket diagnostics (`sock_diag(7)`): what the kernel knows of a socket that no map knows, and the
//! end of sockets that are not ours. All of it concerns the network namespace of the calling thread.

mod filter;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, Nla as _,
};
use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_LISTEN, TCP_TIME_WAIT},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

pub use self::filter::CGROUPS_PER_REQUEST;
use self::filter::Filtered;

/// A socket as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    protocol: Protocol,
    family: u8,
    state: u8,
    id: SocketId,
    cgroup: Option<u64>,
}

/// A protocol whose sockets can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A netlink socket to ask the kernel through.
#[derive(Debug)]
pub struct Diag(Socket);

impl Found {
    /// What tells it from every other socket since the machine started.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        u64::from_ne_bytes(self.id.cookie)
    }

    /// Its peer; an IPv4-mapped address becomes plain IPv4.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.id.destination_address.to_canonical(), self.id.destination_port)
    }

    /// The cgroup that it was made in, as the kernel tells it (`INET_DIAG_CGROUP_ID`).
    #[must_use]
    pub const fn cgroup(&self) -> Option<u64> {
        self.cgroup
    }

    fn of(protocol: Protocol, response: &InetResponse) -> Self {
        /// `linux/inet_diag.h`; Linux 5.9.
        const INET_DIAG_CGROUP_ID: u16 = 21;

        let header = &response.header;
        let cgroup = response.nlas.iter().find_map(|nla| match nla {
            Nla::Other(other) if other.kind() == INET_DIAG_CGROUP_ID => {
                let mut bytes = [0; 8];
                (other.value_len() == bytes.len()).then(|| {
                    other.emit_value(&mut bytes);
                    u64::from_ne_bytes(bytes)
                })
            }
            _ => None,
        });
        let id = header.socket_id.clone();
        Self { protocol, family: header.family, state: header.state, id, cgroup }
    }

    /// Whether somebody is at the other end.
    const fn is_connected(&self) -> bool {
        self.state != TCP_LISTEN && self.state != TCP_TIME_WAIT
    }
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The option of the kernel without which its sockets can't be listed.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Tcp => "CONFIG_INET_DIAG",
            Self::Udp => "CONFIG_INET_UDP_DIAG",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Tcp => IPPROTO_TCP,
            Self::Udp => IPPROTO_UDP,
        }
    }

    /// Of sockets that have a peer and can still carry something to it. UDP knows one such state.
    fn connected(self) -> StateFlags {
        match self {
            Self::Tcp => {
                let none = StateFlags::LISTEN | StateFlags::TIME_WAIT | StateFlags::CLOSE;
                StateFlags::all().difference(none)
            }
            Self::Udp => StateFlags::ESTABLISHED,
        }
    }
}

impl Diag {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Every connected socket that was made in one of these cgroups (not in those below them), IPv4
    /// and IPv6; no more than `room` of them. Connections that nobody has accepted or that only wait
    /// for stray packets belong to no cgroup any more, or not yet, and are left out.
    pub fn connected(protocol: Protocol, cgroups: &[u64], room: usize) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for cgroups in cgroups.chunks(CGROUPS_PER_REQUEST) {
            for family in [AF_INET, AF_INET6] {
                // A socket of its own: an answer that is not read to its end goes with it.
                Self::open()?.dump(protocol, family, cgroups, room, &mut found)?;
            }
        }
        Ok(found)
    }

    fn dump(
        &self,
        protocol: Protocol,
        family: u8,
        cgroups: &[u64],
        room: usize,
        found: &mut Vec<Found>,
    ) -> io::Result<()> {
        let request = InetRequest {
            family,
            protocol: protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: protocol.connected(),
            socket_id: anywhere(family),
        };
        let request = Filtered::new(request, cgroups);
        self.send(NLM_F_REQUEST | NLM_F_DUMP, NetlinkPayload::InnerMessage(request))?;
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        loop {
            buffer.clear();
            self.0.recv(&mut buffer, 0)?;
            for message in messages(&buffer) {
                match message?.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        let socket = Found::of(protocol, &response);
                        // What the kernel was asked for, once more: what follows may be the end of
                        // the socket.
                        let is_meant = socket.cgroup.is_some_and(|id| cgroups.contains(&id));
                        if is_meant && socket.is_connected() {
                            if found.len() >= room {
                                return Ok(());
                            }
                            found.push(socket);
                        }
                    }
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(()),
                    NetlinkPayload::Done(done) => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Ends a socket (`SOCK_DESTROY`): its owner sees `ECONNABORTED`, its peer a reset. False if it
    /// has ended by itself.
    pub fn destroy(&self, socket: &Found) -> io::Result<bool> {
        let request = InetRequest {
            family: socket.family,
            protocol: socket.protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: socket.id.clone(),
        };
        let request = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        self.send(NLM_F_REQUEST | NLM_F_ACK, NetlinkPayload::InnerMessage(request))?;
        match self.receive()? {
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(true),
            NetlinkPayload::Error(error) => match error.to_io() {
                error if error.kind() == io::ErrorKind::NotFound => Ok(false),
                error => Err(error),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send<M: NetlinkSerializable>(
        &self,
        flags: u16,
        payload: NetlinkPayload<M>,
    ) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.0.send(&buffer, 0).map(drop)
    }

    /// An answer of one message.
    fn receive(&self) -> io::Result<NetlinkPayload<SockDiagMessage>> {
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        self.0.recv(&mut buffer, 0)?;
        Ok(parse::<SockDiagMessage>(&buffer)?.payload)
    }
}

/// The cookie of the TCP socket with this local and remote address, in the network namespace of
/// the calling thread; `None` if there is no such socket.
pub fn socket_cookie(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u64>> {
    Ok(find(local, remote)?.map(|found| found.cookie()))
}

/// The TCP socket with this local and remote address: asked for exactly, without a dump
/// (`inet_diag_req_v2` in `linux/inet_diag.h`).
pub fn find(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Found>> {
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: NO_COOKIE,
        },
    };
    let diag = Diag::open()?;
    let request = SockDiagMessage::InetRequest(request);
    diag.send(NLM_F_REQUEST, NetlinkPayload::InnerMessage(request))?;
    match diag.receive()? {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            Ok(Some(Found::of(Protocol::Tcp, &found)))
        }
        NetlinkPayload::Error(error) => match error.to_io() {
            error if error.kind() == io::ErrorKind::NotFound => Ok(None),
            error => Err(error),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The kernel fills an answer up to this (`netlink_recvmsg` in `net/netlink/af_netlink.c`).
const ANSWER_BYTES: usize = 32 * 1024;

/// `INET_DIAG_NOCOOKIE`: whichever cookie the socket has.
const NO_COOKIE: [u8; 8] = [0xff; 8];

fn anywhere(family: u8) -> SocketId {
    let any = |v4| if v4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    SocketId {
        source_port: 0,
        destination_port: 0,
        source_address: any(family == AF_INET),
        destination_address: any(family == AF_INET),
        interface_id: 0,
        cookie: NO_COOKIE,
    }
}

/// The messages of one answer, each aligned to four bytes (`NLMSG_ALIGN`).
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<SockDiagMessage>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = parse::<SockDiagMessage>(bytes);
        // What can't be read has no length to go on by.
        let length = message.as_ref().map_or(bytes.len(), |message| {
            usize::try_from(message.header.length).unwrap_or(usize::MAX).max(1)
        });
        bytes = bytes.get(length.saturating_add(3) & !3..).unwrap_or_default();
        Some(message)
    })
}

fn parse<M: NetlinkDeserializable>(bytes: &[u8]) -> io::Result<NetlinkMessage<M>> {
    NetlinkMessage::deserialize(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn a_socket_is_found_by_its_addresses_and_only_while_it_lives() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else { continue };
            let client =
                TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            let (local, remote) =
                (client.local_addr().expect("connected"), client.peer_addr().expect("connected"));
            let cookie = rustix::net::sockopt::socket_cookie(client.as_fd()).expect("it has one");
            assert_eq!(socket_cookie(local, remote).expect("answers"), Some(cookie));
            assert_eq!(
                socket_cookie(local, "127.0.0.1:1".parse().expect("an address")).ok(),
                Some(None)
            );
        }
    }
}
