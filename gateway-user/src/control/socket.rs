//! The control socket: one gateway behind it, reachable by its owner only.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::client::Client;

/// A bound control socket. Its file goes when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// Why the control socket can't be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "the control socket {} is in use by {owner}; stop that one first, or choose another path \
         with --control", path.display()
    )]
    InUse { path: PathBuf, owner: Owner },
    #[error(
        "{} is in the way of the control socket and is not a socket; move it away, or choose \
         another path with --control", path.display()
    )]
    NotASocket { path: PathBuf },
    #[error("can't create the control socket {}: permission denied; run as root (sudo)", path.display())]
    Denied { path: PathBuf },
    #[error("can't create the control socket {}: {source}; choose another path with --control", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Who answers on a socket that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Gateway { pid: u32 },
    Unknown,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway { pid } => write!(f, "pid {pid}"),
            Self::Unknown => f.write_str("a process that does not answer"),
        }
    }
}

impl ControlSocket {
    /// Binds the path, whose directory is created if need be. A socket that a dead process left
    /// there is replaced. Must be called in a tokio runtime.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        let error = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => BindError::Denied { path: path.to_owned() },
            _ => BindError::Io { path: path.to_owned(), source },
        };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(error)?;
        }
        for _ in 0..ATTEMPTS {
            match listen(path) {
                Ok(listener) => {
                    let id = FileId::of(path).map_err(error)?;
                    let file = SocketFile { path: path.to_owned(), id };
                    return Ok(Self { listener, file });
                }
                Err(failed) if failed.kind() == io::ErrorKind::AddrInUse => {
                    remove_stale(path, error).await?;
                }
                Err(failed) => return Err(error(failed)),
            }
        }
        Err(BindError::InUse { path: path.to_owned(), owner: Owner::Unknown })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The same, for the runtime that this is called in.
    pub fn moved_here(self) -> io::Result<Self> {
        let Self { listener, file } = self;
        Ok(Self { listener: UnixListener::from_std(listener.into_std()?)?, file })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if FileId::of(&self.path).is_ok_and(|file| file == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Tells a file from another that took its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self { device: file.dev(), inode: file.ino() })
    }
}

/// Binds and listens. The mode is set before the file exists, so that nobody can connect in
/// between: Linux gives the file the mode of the socket, less the umask.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Removes the socket at the path if nobody listens there.
async fn remove_stale(
    path: &Path,
    error: impl Fn(io::Error) -> BindError,
) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(failed) => return Err(error(failed)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path).await {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => {
            return Err(error(denied));
        }
        _ => return Err(BindError::InUse { path: path.to_owned(), owner: owner(path).await }),
    }
    // Another gateway may have replaced it meanwhile.
    let stale = FileId { device: found.dev(), inode: found.ino() };
    if FileId::of(path).is_ok_and(|file| file == stale) {
        fs::remove_file(path).map_err(error)?;
    }
    Ok(())
}

async fn owner(path: &Path) -> Owner {
    match Client::new(path).probe().await {
        Ok(status) => Owner::Gateway { pid: status.pid },
        Err(_) => Owner::Unknown,
    }
}

/// Of the directory: anyone may see that it is there, which `turnpike` needs to say what is wrong.
const DIRECTORY_MODE: u32 = 0o755;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// How often the path is tried before it counts as taken.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_can_reach_the_socket_and_it_goes_at_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("below").join("control.sock");
        let socket = ControlSocket::bind(&path).await.expect("bound");
        let mode = fs::metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let socket = ControlSocket::bind(&path).await.expect("replaced");
        UnixStream::connect(socket.path()).await.expect("it listens");
    }

    #[tokio::test]
    async fn a_successor_s_socket_is_left_in_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let first = ControlSocket::bind(&path).await.expect("bound");
        fs::rename(&path, directory.path().join("aside")).expect("moved");
        let second = ControlSocket::bind(&path).await.expect("bound");
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        fs::write(&path, "precious").expect("written");
        let error = ControlSocket::bind(&path).await.expect_err("in the way");
        assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
        assert!(path.exists());
    }
}
