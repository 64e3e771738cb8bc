//! What lies between the two sides of a run: a plain stream, or one with layers on it.

use std::net::SocketAddr;

use seamio::net::{
    Address, Compression, ConnectOptions, DeflateLevel, Endpoint, ListenOptions, SessionConfig,
    UnixAddress,
};
use seamio::sim::Rng;

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Tcp,
    Unix,
    Deflate(DeflateLevel),
    Snappy,
}

impl Medium {
    /// Every kind.
    pub(crate) const ALL: [Medium; 4] = [
        Medium::Tcp,
        Medium::Unix,
        Medium::Deflate(DeflateLevel::Fast),
        Medium::Snappy,
    ];

    /// What its name is when a run is asked for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Medium::Tcp => "tcp",
            Medium::Unix => "unix",
            Medium::Deflate(_) => "deflate",
            Medium::Snappy => "snappy",
        }
    }

    /// Changes the settings of the sessions of one side.
    pub(crate) fn adapt(self, session: &mut SessionConfig) {
        session.compression = match self {
            Medium::Deflate(level) => Compression::Deflate(level),
            Medium::Snappy => Compression::Snappy,
            _ => Compression::None,
        };
    }

    /// Where a server listens.
    pub(crate) fn listen(self, _options: &mut ListenOptions) -> Endpoint {
        let wildcard: SocketAddr = "0.0.0.0:8091".parse().expect("an address");
        match self {
            Medium::Unix => Endpoint::Unix(UnixAddress::Path("/tmp/sim".into())),
            _ => wildcard.into(),
        }
    }

    /// How a client gets there.
    pub(crate) fn dial(self, at: &Address, _options: &mut ConnectOptions) -> Endpoint {
        match self {
            Medium::Unix => Endpoint::Unix(UnixAddress::Path("/tmp/sim".into())),
            _ => at.ip().expect("an address of the network").into(),
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
            other => other,
        }
    }
}
