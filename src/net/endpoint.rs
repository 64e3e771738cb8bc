//! Addresses: where to listen or connect, and who the other end is.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::address::{Address, Credentials, UnixAddress};
use super::id::{ConnectorId, ListenerId};

/// Where to listen or connect.
///
/// ```
/// use seamio::net::Endpoint;
/// let at: Endpoint = "tcp://127.0.0.1:8091".parse().unwrap();
/// assert_eq!(at.to_string(), "tcp://127.0.0.1:8091");
/// assert_eq!("localhost:8091".parse::<Endpoint>().unwrap().to_string(), "tcp://localhost:8091");
/// assert!(matches!("unix:///run/app.sock".parse(), Ok(Endpoint::Unix(_))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP stream.
    Tcp(HostPort),
    /// A stream within one machine.
    Unix(UnixAddress),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint::Tcp(HostPort::Address(address))
    }
}

impl From<UnixAddress> for Endpoint {
    fn from(address: UnixAddress) -> Self {
        Endpoint::Unix(address)
    }
}

impl FromStr for Endpoint {
    type Err = MalformedEndpoint;

    /// `tcp://HOST:PORT`, or `HOST:PORT` for the same; `unix://PATH`, `unix://@NAME` for an abstract name.
    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        let rest = match text.split_once("://") {
            Some(("tcp", rest)) => rest,
            Some(("unix", _)) => return text.parse().map(Endpoint::Unix),
            Some(_) => return Err(MalformedEndpoint(text.into())),
            None => text,
        };
        let host = rest.parse().map_err(|_| MalformedEndpoint(text.into()))?;
        Ok(Endpoint::Tcp(host))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(at) => write!(f, "tcp://{at}"),
            Endpoint::Unix(at) => at.fmt(f),
        }
    }
}

/// A port of a machine given by address or by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPort {
    /// An address: used as it is.
    Address(SocketAddr),
    /// A name, resolved on a helper thread before each attempt; all its addresses are tried in order.
    Name(String, u16),
}

impl FromStr for HostPort {
    type Err = MalformedEndpoint;

    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        if let Ok(address) = text.parse() {
            return Ok(HostPort::Address(address));
        }
        let malformed = || MalformedEndpoint(text.into());
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let port = port.parse().map_err(|_| malformed())?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(legal) {
            return Err(malformed());
        }
        Ok(HostPort::Name(host.into(), port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPort::Address(address) => address.fmt(f),
            HostPort::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedEndpoint(pub String);

impl fmt::Display for MalformedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an endpoint: {:?}", self.0)
    }
}

impl std::error::Error for MalformedEndpoint {}

/// The other end of a session. Fixed before `on_open`, valid after the close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Address of the other end.
    pub remote: Address,
    /// Address of this end.
    pub local: Address,
    /// Who is there, over a unix socket and where the system tells.
    pub credentials: Option<Credentials>,
    /// Whose session it is.
    pub origin: Origin,
}

/// How a session came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The peer connected to this listener.
    Accepted(ListenerId),
    /// This connector made it.
    Connected(ConnectorId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_parse_and_print() {
        for text in [
            "tcp://127.0.0.1:1",
            "tcp://[::1]:80",
            "tcp://name-1.example:65535",
            "unix:///run/app.sock",
            "unix://@app",
        ] {
            let endpoint: Endpoint = text.parse().expect("endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
        for text in [
            "",
            "tcp://",
            "host",
            ":80",
            "host:",
            "host:70000",
            "ftp://h:1",
            "unix://",
            "a b:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?} is no endpoint");
        }
    }
}
