//! The socket of the admin API: bound before anything else is started, so that a taken address stops the start.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::config::snapshot::AdminListen;

/// A socket that accepts already, in no runtime yet. Dropped, it is closed, and its file removed.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub(super) socket: Socket,
    /// Removes the socket's file after the socket itself is closed.
    pub(super) file: Option<SocketFile>,
}

/// Either kind of socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// On a loopback address.
    Tcp(TcpListener),
    /// On a file.
    Unix(UnixListener),
}

/// The file of a unix socket, removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Why the admin API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, or not of this machine.
    #[error(
        "the admin API cannot listen on {address}: stop what listens there (another gateway?), or change admin.listen"
    )]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket's file cannot be made.
    #[error(
        "the admin API cannot listen on unix:{file}: make its directory and let this user write there, or change admin.listen"
    )]
    Unix {
        /// Where.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody answers there.
    #[error(
        "the admin API cannot listen on unix:{file}, where another process does: stop it, or change admin.listen"
    )]
    InUse {
        /// Where.
        file: PathBuf,
    },
}

/// Binds the socket; a unix socket gets mode 0600, and one that a dead process left is replaced.
///
/// # Errors
/// Where the address is taken or cannot be used.
pub fn bind(listen: &AdminListen) -> Result<Bound, BindError> {
    match listen {
        AdminListen::Tcp(address) => {
            let bound =
                TcpListener::bind(address).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            let socket = bound.map_err(|source| BindError::Tcp {
                address: *address,
                source,
            })?;
            Ok(Bound {
                socket: Socket::Tcp(socket),
                file: None,
            })
        }
        AdminListen::Unix(file) => {
            if is_socket(file) {
                if UnixStream::connect(file).is_ok() {
                    return Err(BindError::InUse { file: file.clone() });
                }
                fs::remove_file(file).map_err(|source| BindError::Unix {
                    file: file.clone(),
                    source,
                })?;
            }
            let failed = |source| BindError::Unix {
                file: file.clone(),
                source,
            };
            let socket = UnixListener::bind(file).map_err(failed)?;
            let guard = SocketFile(file.clone());
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            Ok(Bound {
                socket: Socket::Unix(socket),
                file: Some(guard),
            })
        }
    }
}

impl Bound {
    /// The TCP address in use; `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }
}

fn is_socket(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|meta| meta.file_type().is_socket())
}
