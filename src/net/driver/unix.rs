//! What unix sockets need beyond other streams: names, the file of a listener, and who is at the other end
//! (network.md B.26).
//!
//! # The file of a listener
//!
//! It is made with the permissions asked for, never with wider ones, and removed when the listener is dropped. A file
//! that is there already is removed only if it is a socket nobody listens on: a connection attempt must have been refused.
//! A live server's socket and any file that is no socket stay as they are, and listening fails. Two servers that start on
//! the same stale file in the same moment are not told apart: the later one wins.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::ListenerOptions;
use crate::net::address::{Address, Credentials, UnixAddress};

/// A listening unix socket and its file.
#[derive(Debug)]
pub(super) struct UnixListener {
    pub(super) inner: mio::net::UnixListener,
    at: UnixAddress,
    _file: Option<BoundFile>,
}

impl UnixListener {
    pub(super) fn bind(at: &UnixAddress, options: &ListenerOptions) -> io::Result<Self> {
        let address = sock_addr(at)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let file = match at {
            UnixAddress::Path(path) => Some(bind_file(&socket, &address, path, options.mode)?),
            UnixAddress::Abstract(_) | UnixAddress::Unnamed => {
                socket.bind(&address)?;
                None
            }
        };
        socket.listen(options.backlog.min(i32::MAX as u32) as i32)?;
        Ok(UnixListener {
            inner: mio::net::UnixListener::from_std(socket.into()),
            at: at.clone(),
            _file: file,
        })
    }

    pub(super) fn address(&self) -> Address {
        Address::Unix(self.at.clone())
    }
}

/// Starts a connection. Unlike TCP it is decided at once; a listener whose queue is full refuses.
pub(super) fn connect(to: &UnixAddress, socket: &Socket) -> io::Result<()> {
    match socket.connect(&sock_addr(to)?) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let what = format!("{to}: the listener's queue is full");
            Err(io::Error::new(io::ErrorKind::WouldBlock, what))
        }
        outcome => outcome,
    }
}

/// The name of a socket as the kernel takes it.
fn sock_addr(at: &UnixAddress) -> io::Result<SockAddr> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    if matches!(at, UnixAddress::Unnamed) {
        return Err(invalid("a unix socket needs a name here".into()));
    }
    let (name, most) = (at.name(), NAME_BYTES_MAX);
    if name.is_empty() || name.contains(&0) {
        return Err(invalid(format!(
            "{at}: an empty name, or a zero byte in it"
        )));
    }
    if name.len() > most {
        let len = name.len();
        return Err(invalid(format!(
            "{at}: {len} bytes, but no more than {most} fit"
        )));
    }
    match at {
        UnixAddress::Abstract(_) if !cfg!(any(target_os = "linux", target_os = "android")) => Err(
            io::Error::new(io::ErrorKind::Unsupported, "abstract names are Linux only"),
        ),
        UnixAddress::Abstract(name) => {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(&bytes)))
        }
        _ => SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(name))),
    }
}

/// The address the kernel gave.
pub(super) fn address(at: &SockAddr) -> io::Result<Address> {
    if let Some(ip) = at.as_socket() {
        return Ok(Address::Ip(ip));
    }
    if !at.is_unix() {
        return Err(io::Error::other("an address of another family"));
    }
    let unix = if let Some(path) = at.as_pathname() {
        UnixAddress::Path(path.to_path_buf())
    } else if let Some(name) = at.as_abstract_namespace() {
        UnixAddress::Abstract(name.to_vec())
    } else {
        UnixAddress::Unnamed
    };
    Ok(Address::Unix(unix))
}

/// The address an accept gave.
pub(super) fn accepted(at: &std::os::unix::net::SocketAddr) -> Address {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = at.as_abstract_name() {
            return UnixAddress::Abstract(name.to_vec()).into();
        }
    }
    match at.as_pathname() {
        Some(path) => UnixAddress::Path(path.to_path_buf()).into(),
        None => UnixAddress::Unnamed.into(),
    }
}

/// Binds to a file, over a stale one if need be.
fn bind_file(
    socket: &Socket,
    address: &SockAddr,
    path: &Path,
    mode: Option<u32>,
) -> io::Result<BoundFile> {
    if let Some(mode) = mode {
        // On Linux the file is made with the mode of the socket, so it is never open for more than it shall be.
        narrow(socket, mode)?;
    }
    match socket.bind(address) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(address, path)?;
            socket.bind(address)?;
        }
        outcome => outcome?,
    }
    let bound = BoundFile {
        id: file_id(&fs::symlink_metadata(path)?),
        path: path.to_path_buf(),
    };
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
    }
    Ok(bound)
}

fn narrow(socket: &Socket, mode: u32) -> io::Result<()> {
    let file = fs::File::from(socket.as_fd().try_clone_to_owned()?);
    match file.set_permissions(fs::Permissions::from_mode(mode & 0o7777)) {
        // Elsewhere sockets have no mode of their own.
        Err(_) if !cfg!(target_os = "linux") => Ok(()),
        outcome => outcome,
    }
}

/// Removes the file of a server that is gone.
fn remove_stale(address: &SockAddr, path: &Path) -> io::Result<()> {
    let in_use = |what: &str| {
        let what = format!("unix://{}: {what}", path.display());
        Err(io::Error::new(io::ErrorKind::AddrInUse, what))
    };
    let before = fs::symlink_metadata(path)?;
    if !before.file_type().is_socket() {
        return in_use("a file that is no socket is there");
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(()) => return in_use("a server listens there"),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            return in_use("a server listens there");
        }
        Err(e) => return in_use(&format!("a socket is there, and it cannot be tried: {e}")),
    }
    if file_id(&fs::symlink_metadata(path)?) != file_id(&before) {
        return in_use("another server is just starting");
    }
    log::info!("path={} event=stale-socket-removed", path.display());
    fs::remove_file(path)
}

/// The file of a bound socket; removed with this, if it is still the same.
#[derive(Debug)]
struct BoundFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for BoundFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|now| file_id(&now) == self.id);
        if ours && let Err(e) = fs::remove_file(&self.path) {
            log::warn!(
                "path={} event=socket-not-removed error={e}",
                self.path.display()
            );
        }
    }
}

fn file_id(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Who is at the other end.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn credentials(socket: &Socket) -> Option<Credentials> {
    use std::os::fd::AsRawFd;

    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `found`, which is a plain structure of that size and lives here;
    // the descriptor is open as long as `socket` is.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    let whole = outcome == 0 && len as usize == size_of::<libc::ucred>();
    whole.then_some(Credentials {
        pid: found.pid.unsigned_abs(),
        uid: found.uid,
        gid: found.gid,
    })
}

/// Other systems tell in ways of their own, or not at all.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn credentials(_: &Socket) -> Option<Credentials> {
    None
}

/// What fits into the kernel's structure beside the byte that ends a path or begins an abstract name.
const NAME_BYTES_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};
