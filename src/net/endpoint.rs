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
    /// An encrypted TCP stream (feature `tls`); needs the `tls` of the options.
    Tls(HostPort),
    /// WebSocket messages over TCP (feature `ws`).
    Ws(WsAddr),
    /// WebSocket messages over an encrypted TCP stream (features `ws` and `tls`); needs the `tls` of the options.
    Wss(WsAddr),
    /// A stream within one machine.
    Unix(UnixAddress),
    /// Datagrams. Listening makes one session that hears all senders; connecting makes sessions with one peer each.
    Udp(HostPort),
}

impl Endpoint {
    /// What listeners and connectors are called that were given no other name: `tcp`, `wss` and so on.
    pub(crate) fn name_or_scheme(&self, name: String) -> String {
        if name.is_empty() {
            let text = self.to_string();
            text.split(':').next().unwrap_or_default().to_owned()
        } else {
            name
        }
    }

    /// The port it is reached at, if it has one.
    pub fn host_port(&self) -> Option<&HostPort> {
        match self {
            Endpoint::Tcp(at) | Endpoint::Tls(at) | Endpoint::Udp(at) => Some(at),
            Endpoint::Ws(at) | Endpoint::Wss(at) => Some(&at.at),
            Endpoint::Unix(_) => None,
        }
    }
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

    /// `tcp://HOST:PORT`, or `HOST:PORT` for the same; `tls://HOST:PORT`; `udp://HOST:PORT`; `ws://HOST[:PORT][/PATH]` and `wss://…`, whose
    /// ports are 80 and 443 if none is given; `unix://PATH`, `unix://@NAME` for an abstract name.
    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        let malformed = |_| MalformedEndpoint(text.into());
        match text.split_once("://") {
            None => text.parse().map(Endpoint::Tcp).map_err(malformed),
            Some(("tcp", rest)) => rest.parse().map(Endpoint::Tcp).map_err(malformed),
            Some(("tls", rest)) => rest.parse().map(Endpoint::Tls).map_err(malformed),
            Some(("udp", rest)) => rest.parse().map(Endpoint::Udp).map_err(malformed),
            Some(("ws", rest)) => WsAddr::parse(rest, 80).map(Endpoint::Ws).map_err(malformed),
            Some(("wss", rest)) => WsAddr::parse(rest, 443)
                .map(Endpoint::Wss)
                .map_err(malformed),
            Some(("unix", _)) => text.parse().map(Endpoint::Unix),
            Some(_) => Err(MalformedEndpoint(text.into())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(at) => write!(f, "tcp://{at}"),
            Endpoint::Tls(at) => write!(f, "tls://{at}"),
            Endpoint::Ws(at) => write!(f, "ws://{at}"),
            Endpoint::Wss(at) => write!(f, "wss://{at}"),
            Endpoint::Unix(at) => at.fmt(f),
            Endpoint::Udp(at) => write!(f, "udp://{at}"),
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

/// Where a WebSocket is: a port, and the path of the request that opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WsAddr {
    /// The port of the HTTP server.
    pub at: HostPort,
    /// Path and query, beginning with a slash. A listener does not look at it: the paths it serves are among its options.
    pub path: String,
}

impl WsAddr {
    /// `HOST[:PORT][/PATH][?QUERY]`.
    fn parse(text: &str, port: u16) -> Result<Self, MalformedEndpoint> {
        let malformed = || MalformedEndpoint(text.into());
        let cut = text.find(['/', '?']).unwrap_or(text.len());
        let (host, path) = text.split_at(cut);
        let at = match host.parse() {
            Ok(at) => at,
            Err(_) => format!("{host}:{port}").parse().map_err(|_| malformed())?,
        };
        if !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains('#') {
            return Err(malformed());
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(WsAddr { at, path })
    }
}

impl WsAddr {
    /// Whether it is what its text says; its fields can be set to anything.
    #[cfg(feature = "ws")]
    pub(crate) fn check(&self) -> Result<(), MalformedEndpoint> {
        let text = self.to_string();
        match WsAddr::parse(&text, self.at.port()) {
            Ok(parsed) if parsed == *self => Ok(()),
            _ => Err(MalformedEndpoint(text)),
        }
    }
}

impl fmt::Display for WsAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.at, self.path)
    }
}

impl HostPort {
    /// The address or the name, without the port.
    pub fn host(&self) -> String {
        match self {
            HostPort::Address(address) => address.ip().to_string(),
            HostPort::Name(name, _) => name.clone(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            HostPort::Address(address) => address.port(),
            HostPort::Name(_, port) => *port,
        }
    }
}

/// Text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedEndpoint(pub String);

impl fmt::Display for MalformedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an endpoint: {:?}; endpoints look like 127.0.0.1:80, tls://name:443, ws://name:80/path, udp://[::1]:53 or \
             unix:///path",
            self.0
        )
    }
}

impl std::error::Error for MalformedEndpoint {}

/// The other end of a session. Fixed before `on_open`, valid after the close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Address of the other end. A bound socket for datagrams has none: the unspecified address and port 0 stand there.
    pub remote: Address,
    /// Address of this end.
    pub local: Address,
    /// Who is there, over a unix socket and where the system tells.
    pub credentials: Option<Credentials>,
    /// What the encryption's handshake said about the other end; `None` for a connection without.
    #[cfg(feature = "tls")]
    pub tls: Option<Box<super::TlsPeer>>,
    /// What the WebSocket's handshake said about the other end; `None` for a connection without.
    #[cfg(feature = "ws")]
    pub ws: Option<Box<super::WsPeer>>,
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
    /// It is the socket for datagrams that this listener asked for.
    Bound(ListenerId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_called_by_its_scheme() {
        let endpoint: Endpoint = "wss://name:1/a".parse().expect("endpoint");
        assert_eq!(endpoint.name_or_scheme(String::new()), "wss");
        assert_eq!(endpoint.name_or_scheme("orders".into()), "orders");
    }

    #[test]
    fn endpoints_parse_and_print() {
        for text in [
            "tcp://127.0.0.1:1",
            "tcp://[::1]:80",
            "tcp://name-1.example:65535",
            "tls://[::1]:443",
            "ws://127.0.0.1:80/",
            "wss://name:1/a/b?c=d",
            "unix:///run/app.sock",
            "unix://@app",
            "udp://[::]:9",
            "udp://name:53",
        ] {
            let endpoint: Endpoint = text.parse().expect("endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
        for (short, long) in [
            ("ws://name", "ws://name:80/"),
            ("wss://1.2.3.4?a", "wss://1.2.3.4:443/?a"),
            ("wss://[::1]/x", "wss://[::1]:443/x"),
            ("name:1", "tcp://name:1"),
        ] {
            let endpoint: Endpoint = short.parse().expect("endpoint");
            assert_eq!(endpoint.to_string(), long);
        }
        for text in [
            "ws://",
            "ws:///path",
            "wss://h:1/a b",
            "ws://h/#a",
            "tls://h",
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
