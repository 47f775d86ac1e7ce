//! A TLS stream as one side of a relayed connection.

use std::{
    io::{self, IoSlice, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::{ConnectionCommon, SideData};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use super::Why;
use crate::proxy::{leg::Leg, opening::Rewound};

/// A side whose TLS ends here.
#[derive(Debug)]
pub(in crate::proxy) struct TlsLeg {
    /// In a box, so that what holds it need not be as large while it is passed on.
    stream: Box<TlsStream<Rewound>>,
    said: Said,
}

/// What came of a peer since its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Said {
    Nothing,
    Something,
    /// It said nothing, and left.
    Left(Instant, Why),
}

impl TlsLeg {
    pub(in crate::proxy) fn new(stream: impl Into<TlsStream<Rewound>>) -> Self {
        Self { stream: Box::new(stream.into()), said: Said::Nothing }
    }

    pub(in crate::proxy) const fn said(&self) -> Said {
        self.said
    }
}

impl Leg for TlsLeg {
    fn socket(&self) -> &TcpStream {
        &self.stream.get_ref().0.stream
    }

    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> usize {
        match &mut *self.stream {
            TlsStream::Client(stream) => {
                let (io, tls) = stream.get_mut();
                read_now(&io.stream, tls, buffer)
            }
            TlsStream::Server(stream) => {
                let (io, tls) = stream.get_mut();
                read_now(&io.stream, tls, buffer)
            }
        }
    }

    fn write_now(&mut self, bytes: &[u8]) -> bool {
        match &mut *self.stream {
            TlsStream::Client(stream) => {
                let (io, tls) = stream.get_mut();
                write_now(&io.stream, tls, bytes)
            }
            TlsStream::Server(stream) => {
                let (io, tls) = stream.get_mut();
                write_now(&io.stream, tls, bytes)
            }
        }
    }

    fn say_end(&mut self) {
        self.stream.get_mut().1.send_close_notify();
        let _ = self.write_now(&[]);
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Pin::new(self.stream.get_mut().0).poll_shutdown(cx)
    }
}

impl AsyncRead for TlsLeg {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        if this.said == Said::Nothing {
            this.said = match &read {
                Ok(()) if buffer.filled().len() > before => Said::Something,
                Ok(()) => Said::Left(Instant::now(), Why::Left),
                Err(error) => Said::Left(Instant::now(), Why::of(error)),
            };
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for TlsLeg {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn read_now<S: SideData>(
    socket: &TcpStream,
    tls: &mut ConnectionCommon<S>,
    buffer: &mut [u8],
) -> usize {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.unwrap_or(0),
        }
        let read = tls.read_tls(&mut Now(socket));
        if !matches!(read, Ok(1..)) || tls.process_new_packets().is_err() {
            return 0;
        }
    }
}

fn write_now<S: SideData>(
    socket: &TcpStream,
    tls: &mut ConnectionCommon<S>,
    mut bytes: &[u8],
) -> bool {
    loop {
        while tls.wants_write() {
            if !matches!(tls.write_tls(&mut Now(socket)), Ok(1..)) {
                return false;
            }
        }
        if bytes.is_empty() {
            return true;
        }
        match tls.writer().write(bytes) {
            Ok(written @ 1..) => bytes = bytes.get(written..).unwrap_or_default(),
            _ => return false,
        }
    }
}

/// A socket, without waiting and asked of the kernel.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, buffer, RecvFlags::DONTWAIT).map(|(read, _)| read)?)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
