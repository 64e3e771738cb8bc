//! What lies between the two sides of a run: a plain stream, or one with layers on it.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use seamio::net::{
    Address, ClientAuth, ClientTls, ClientTlsOptions, Compression, ConnectOptions, DeflateLevel,
    Endpoint, HostPort, Identity, ListenOptions, Pem, ServerTls, ServerTlsOptions, SessionConfig,
    Trust, UnixAddress, Versions, WsAddr, WsClient, WsDeflate, WsServer,
};
use seamio::sim::Rng;

use crate::certificates::{Authority, Issued};

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Tcp,
    Unix,
    Deflate(DeflateLevel),
    Snappy,
    Tls(Versions),
    /// Compressed, then encrypted; both ends show a certificate.
    TlsSnappy,
    /// WebSocket messages, plain or deflated, over an encrypted stream or not.
    Ws(Encryption, Messages),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    AsTheyAre,
    Deflated,
}

impl Medium {
    /// Every kind.
    pub(crate) const ALL: [Medium; 10] = [
        Medium::Tcp,
        Medium::Unix,
        Medium::Deflate(DeflateLevel::Fast),
        Medium::Snappy,
        Medium::Tls(Versions::Only1_3),
        Medium::TlsSnappy,
        Medium::Ws(Encryption::None, Messages::AsTheyAre),
        Medium::Ws(Encryption::None, Messages::Deflated),
        Medium::Ws(Encryption::Tls, Messages::AsTheyAre),
        Medium::Ws(Encryption::Tls, Messages::Deflated),
    ];

    /// What its name is when a run is asked for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Medium::Tcp => "tcp",
            Medium::Unix => "unix",
            Medium::Deflate(_) => "deflate",
            Medium::Snappy => "snappy",
            Medium::Tls(_) => "tls",
            Medium::TlsSnappy => "tls+snappy",
            Medium::Ws(Encryption::None, Messages::AsTheyAre) => "ws",
            Medium::Ws(Encryption::None, Messages::Deflated) => "ws+deflate",
            Medium::Ws(Encryption::Tls, Messages::AsTheyAre) => "wss",
            Medium::Ws(Encryption::Tls, Messages::Deflated) => "wss+deflate",
        }
    }

    /// Changes the settings of the sessions of one side.
    pub(crate) fn adapt(self, session: &mut SessionConfig) {
        session.compression = match self {
            Medium::Deflate(level) => Compression::Deflate(level),
            Medium::Snappy | Medium::TlsSnappy => Compression::Snappy,
            _ => Compression::None,
        };
    }

    /// Where a server listens.
    pub(crate) fn listen(self, options: &mut ListenOptions) -> Endpoint {
        let wildcard: SocketAddr = "0.0.0.0:8091".parse().expect("an address");
        match self {
            Medium::Unix => Endpoint::Unix(UnixAddress::Path("/tmp/sim".into())),
            Medium::Tcp | Medium::Deflate(_) | Medium::Snappy => wildcard.into(),
            Medium::Tls(_) | Medium::TlsSnappy => {
                let papers = papers();
                let mut tls = ServerTlsOptions::new(papers.identity());
                if self == Medium::TlsSnappy {
                    tls.client_auth = ClientAuth::Required(Pem::Text(papers.root.clone()));
                }
                options.tls = Some(ServerTls::new(tls).expect("a certificate"));
                Endpoint::Tls(HostPort::Address(wildcard))
            }
            Medium::Ws(encryption, messages) => {
                options.ws = WsServer {
                    ping: PING,
                    deflate: messages.deflate(),
                    ..WsServer::default()
                };
                if encryption == Encryption::Tls {
                    let tls = ServerTlsOptions::new(papers().identity());
                    options.tls = Some(ServerTls::new(tls).expect("a certificate"));
                }
                encryption.endpoint(wildcard)
            }
        }
    }

    /// How a client gets there.
    pub(crate) fn dial(self, at: &Address, options: &mut ConnectOptions) -> Endpoint {
        let to = || at.ip().expect("an address of the network");
        match self {
            Medium::Unix => Endpoint::Unix(UnixAddress::Path("/tmp/sim".into())),
            Medium::Tcp | Medium::Deflate(_) | Medium::Snappy => to().into(),
            Medium::Tls(_) | Medium::TlsSnappy => {
                let papers = papers();
                let mut tls = ClientTlsOptions {
                    trust: Trust::Roots(Pem::Text(papers.root.clone())),
                    server_name: Some(NAME.into()),
                    ..ClientTlsOptions::default()
                };
                match self {
                    Medium::Tls(versions) => tls.versions = versions,
                    _ => tls.identity = Some(papers.identity()),
                }
                options.tls = Some(ClientTls::new(tls).expect("a root"));
                Endpoint::Tls(HostPort::Address(to()))
            }
            Medium::Ws(encryption, messages) => {
                options.ws = WsClient {
                    ping: PING,
                    deflate: messages.deflate(),
                    ..WsClient::default()
                };
                if encryption == Encryption::Tls {
                    let tls = ClientTlsOptions {
                        trust: Trust::Roots(Pem::Text(papers().root.clone())),
                        server_name: Some(NAME.into()),
                        ..ClientTlsOptions::default()
                    };
                    options.tls = Some(ClientTls::new(tls).expect("a root"));
                }
                encryption.endpoint(to())
            }
        }
    }

    /// A variant of the kind.
    pub(crate) fn vary(self, rng: &mut Rng) -> Self {
        let levels = [
            DeflateLevel::Default,
            DeflateLevel::Fast,
            DeflateLevel::Best,
            DeflateLevel::HuffmanOnly,
        ];
        match self {
            Medium::Deflate(_) => Medium::Deflate(levels[rng.index(levels.len())]),
            Medium::Tls(_) if rng.chance(300) => Medium::Tls(Versions::Only1_2),
            other => other,
        }
    }
}

impl Encryption {
    fn endpoint(self, at: SocketAddr) -> Endpoint {
        let at = WsAddr {
            at: HostPort::Address(at),
            path: "/".into(),
        };
        match self {
            Encryption::None => Endpoint::Ws(at),
            Encryption::Tls => Endpoint::Wss(at),
        }
    }
}

impl Messages {
    fn deflate(self) -> Option<WsDeflate> {
        (self == Messages::Deflated).then(WsDeflate::default)
    }
}

/// What servers and clients show each other.
struct Papers {
    root: Vec<u8>,
    issued: Issued,
}

impl Papers {
    fn identity(&self) -> Identity {
        let (chain, key) = (self.issued.chain.clone(), self.issued.key.clone());
        Identity::new(Pem::Text(chain.into_bytes()), Pem::Text(key.into_bytes()))
    }
}

/// Made once: what matters is that every run uses certificates of the same length.
fn papers() -> &'static Papers {
    static PAPERS: OnceLock<Papers> = OnceLock::new();
    PAPERS.get_or_init(|| {
        let authority = Authority::new("root");
        Papers {
            root: authority.pem().into_bytes(),
            issued: authority.issue(&[NAME]),
        }
    })
}

const NAME: &str = "server.sim";

/// Shorter than the storms.
const PING: Duration = Duration::from_secs(2);
