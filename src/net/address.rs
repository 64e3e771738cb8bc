//! Addresses of sockets: those of the internet, and those of one machine (network.md A.1, B.26).
//!
//! An [`Address`] is what the operating system calls the end of a connection; an [`Endpoint`](super::Endpoint) is what a
//! person asks for. Names of machines are endpoints only.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::endpoint::MalformedEndpoint;

/// The address of one end of a connection, or of a listener.
///
/// ```
/// use seamio::net::Address;
/// let at = Address::from(([127, 0, 0, 1], 8091));
/// assert_eq!((at.to_string().as_str(), at.ip().is_some()), ("127.0.0.1:8091", true));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// Of TCP, UDP and what runs over them.
    Ip(SocketAddr),
    /// Of a unix socket.
    Unix(UnixAddress),
}

impl Address {
    /// The internet address, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The unix address, if it is one.
    pub fn unix(&self) -> Option<&UnixAddress> {
        match self {
            Address::Ip(_) => None,
            Address::Unix(address) => Some(address),
        }
    }
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Address::Ip(address.into())
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Self {
        Address::Unix(address)
    }
}

impl fmt::Display for Address {
    /// `HOST:PORT` of an internet address, and what [`UnixAddress`] says of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(address) => address.fmt(f),
        }
    }
}

/// The address of a unix socket.
///
/// ```
/// use seamio::net::UnixAddress;
/// let at: UnixAddress = "unix:///run/app.sock".parse().unwrap();
/// assert_eq!(at.path().unwrap().to_str(), Some("/run/app.sock"));
/// assert_eq!("unix://@app".parse(), Ok(UnixAddress::Abstract(b"app".to_vec())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnixAddress {
    /// A file. At most 107 bytes on Linux, 103 elsewhere.
    Path(PathBuf),
    /// A name without a file, which is free again when the socket closes. Linux only; no permissions guard it, anybody on
    /// the machine may connect.
    Abstract(Vec<u8>),
    /// None: what the connecting end of a connection usually has. Nobody can listen on it or connect to it.
    Unnamed,
}

impl UnixAddress {
    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            UnixAddress::Path(path) => Some(path),
            UnixAddress::Abstract(_) | UnixAddress::Unnamed => None,
        }
    }

    /// The bytes of the path or name.
    pub(crate) fn name(&self) -> &[u8] {
        match self {
            UnixAddress::Path(path) => path.as_os_str().as_bytes(),
            UnixAddress::Abstract(name) => name,
            UnixAddress::Unnamed => &[],
        }
    }
}

impl FromStr for UnixAddress {
    type Err = MalformedEndpoint;

    /// `unix://PATH`, absolute or not, or `unix://@NAME` for an abstract name.
    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        let malformed = || MalformedEndpoint(text.into());
        let name = text.strip_prefix("unix://").ok_or_else(malformed)?;
        match name.strip_prefix('@') {
            _ if name.contains('\0') => Err(malformed()),
            Some("") => Err(malformed()),
            Some(name) => Ok(UnixAddress::Abstract(name.into())),
            None if name.is_empty() => Err(malformed()),
            None => Ok(UnixAddress::Path(name.into())),
        }
    }
}

impl fmt::Display for UnixAddress {
    /// As it is parsed; `unix://` alone for none. Bytes that are no text are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixAddress::Path(path) => write!(f, "unix://{}", path.display()),
            UnixAddress::Abstract(name) => write!(f, "unix://@{}", String::from_utf8_lossy(name)),
            UnixAddress::Unnamed => f.write_str("unix://"),
        }
    }
}

/// Who is at the other end of a unix socket, as the kernel noted when the connection was made: of an accepted session the
/// process that connected, of a connected one the process that listens. It may have handed the socket on since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Process. 0: one this process cannot see.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_addresses_parse_and_print() {
        for text in [
            "unix:///run/app.sock",
            "unix://app.sock",
            "unix://@app",
            "unix://@/a b",
        ] {
            let address: UnixAddress = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::from(address.clone()).unix(), Some(&address));
        }
        for text in ["unix://", "unix://@", "unix:/x", "unix:///a\0b", "/x", ""] {
            assert!(text.parse::<UnixAddress>().is_err(), "{text:?}");
        }
        assert_eq!(UnixAddress::Unnamed.to_string(), "unix://");
    }

    #[test]
    fn an_address_knows_its_kind() {
        let ip: SocketAddr = "[::1]:80".parse().expect("address");
        assert_eq!(
            (Address::from(ip).ip(), Address::from(ip).unix()),
            (Some(ip), None)
        );
        let unix = Address::Unix(UnixAddress::Unnamed);
        assert_eq!((unix.ip(), unix.to_string().as_str()), (None, "unix://"));
    }
}
