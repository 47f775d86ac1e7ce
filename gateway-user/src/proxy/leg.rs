//! One side of a relayed connection.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// What a relay needs of a stream.
pub(super) trait Leg: AsyncRead + AsyncWrite + Unpin + fmt::Debug {
    /// The connection that it stands on.
    fn socket(&self) -> &TcpStream;

    /// The same, if bytes cross it as they are read and written here: the kernel may carry them.
    fn plain(&self) -> Option<&TcpStream>;

    /// Reads what has come, without waiting, although the stream may be dead: asked of the kernel,
    /// not of tokio, which may not know yet that there is something. 0 if there is nothing.
    fn read_now(&mut self, buffer: &mut [u8]) -> usize;

    /// Writes without waiting. Whether all of it went.
    fn write_now(&mut self, bytes: &[u8]) -> bool;

    /// Says that there will be no more, as far as there is room for that now.
    fn say_end(&mut self);

    /// Ends what is written, but does not say that it is whole, where that can be said.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Leg for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> usize {
        recv(&*self, buffer, RecvFlags::DONTWAIT).map_or(0, |(read, _)| read)
    }

    fn write_now(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match send(&*self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent @ 1..) => bytes = bytes.get(sent..).unwrap_or_default(),
                _ => return false,
            }
        }
        true
    }

    /// The kernel will say it.
    fn say_end(&mut self) {}

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}
