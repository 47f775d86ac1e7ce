//! Socket diagnostics (`sock_diag(7)`): what the kernel knows of a socket that no map knows.

use std::{io, net::SocketAddr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

/// The cookie of the TCP socket with this local and remote address, in the network namespace of
/// the calling thread; `None` if there is no such socket.
pub fn socket_cookie(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u64>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let message = request(local, remote);
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send(&buffer, 0)?;

    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    socket.recv(&mut answer, 0)?;
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(&answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            Ok(Some(u64::from_ne_bytes(found.header.socket_id.cookie)))
        }
        NetlinkPayload::Error(error) => match error.to_io() {
            error if error.kind() == io::ErrorKind::NotFound => Ok(None),
            error => Err(error),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// One socket's description is a few hundred bytes.
const ANSWER_BYTES: usize = 16 * 1024;

/// A request for exactly one socket: no dump flag (`inet_diag_req_v2` in `linux/inet_diag.h`).
fn request(local: SocketAddr, remote: SocketAddr) -> NetlinkMessage<SockDiagMessage> {
    /// `INET_DIAG_NOCOOKIE`: the cookie is what is asked for.
    const NO_COOKIE: [u8; 8] = [0xff; 8];

    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(
        header,
        SockDiagMessage::InetRequest(InetRequest {
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
        })
        .into(),
    );
    message.finalize();
    message
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
