//! Carrying bytes that nobody looks at: through a pipe, without copying them to userspace.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

use crate::limits;

/// A pipe between two streams (splice(2)). Back-pressure is the pipe's: it is filled only when it
/// is empty. Dropping it empty gives the pipe back to the thread's pool; dropping it with bytes in
/// it loses them, as the connection is lost then.
#[derive(Debug)]
pub(super) struct Conduit {
    /// Absent only while it is dropped.
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

impl Conduit {
    /// An empty one. Fails when the process has no descriptors left.
    pub(super) fn open() -> io::Result<Self> {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        let pipe = match pooled {
            Some(pipe) => pipe,
            None => Pipe::open()?,
        };
        Ok(Self { pipe: Some(pipe), held: 0 })
    }

    /// Moves bytes from the source to the pipe, which must be empty, but no more than `most`. How
    /// many; 0 at the end of the source.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(source.poll_read_ready(cx))?;
            let moved = source.try_io(Interest::READABLE, || {
                Ok(splice(source, None, &pipe.write, None, most, FLAGS)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.held = moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }

    /// Moves what the pipe holds to the sink.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        sink: &TcpStream,
    ) -> Poll<io::Result<()>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(())) };
        while self.held > 0 {
            ready!(sink.poll_write_ready(cx))?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.read, None, sink, None, self.held, FLAGS)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => self.held -= moved,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether everything that was taken has been passed on.
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }
}

impl Drop for Conduit {
    fn drop(&mut self) {
        let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) else { return };
        POOL.with_borrow_mut(|pool| {
            if pool.len() < limits::POOLED_PIPES {
                pool.push(pipe);
            }
        });
    }
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // It holds less where the system's bound for this user is reached (pipe(7)).
        let _ = rustix::pipe::fcntl_setpipe_size(&write, limits::SPLICED_BYTES);
        Ok(Self { read, write })
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
