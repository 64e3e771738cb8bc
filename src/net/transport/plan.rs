//! Which layers the streams of a listener or connector get.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::layer::{Layer, LayerError};
#[cfg(feature = "ws")]
use super::ws::{WebSocket, WsTarget};
use crate::net::config::{ConnectOptions, ListenOptions};
use crate::net::endpoint::{Endpoint, HostPort, WsAddr};

/// What a layer may want to know about the connection it is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// The longest message wanted, in bytes.
    pub(crate) max_frame: usize,
    /// For what has to be unpredictable to intermediaries but not to a simulation: differs with every connection.
    pub(crate) seed: u64,
}

/// Makes one layer of a connection.
pub(crate) type Make = Arc<dyn Fn(&Setting) -> Result<Box<dyn Layer>, LayerError> + Send + Sync>;

/// Layers from the bottom up, and how long their handshakes may take together.
#[derive(Clone)]
pub(crate) struct Plan {
    makers: Vec<Make>,
    /// Whether messages are sent and received one by one.
    pub(crate) keeps_messages: bool,
    pub(crate) timeout: Duration,
}

impl Plan {
    /// For the connections a listener accepts.
    ///
    /// # Errors
    /// `InvalidInput` or `Unsupported` with what is missing.
    pub(crate) fn serve(at: &Endpoint, options: &ListenOptions) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        refuse_unused_tls(at, options.tls.is_some())?;
        let makers = match at {
            Endpoint::Tcp(_) | Endpoint::Unix(_) | Endpoint::Udp(_) => Vec::new(),
            Endpoint::Tls(_) => vec![serve_tls(at, options)?],
            Endpoint::Ws(_) => vec![serve_ws(options)?],
            Endpoint::Wss(_) => vec![serve_tls(at, options)?, serve_ws(options)?],
        };
        Ok(Plan {
            makers,
            keeps_messages: keeps_messages(at),
            timeout: options.handshake_timeout,
        })
    }

    /// For the connections a connector makes.
    ///
    /// # Errors
    /// As [`Plan::serve`].
    pub(crate) fn dial(to: &Endpoint, options: &ConnectOptions) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        refuse_unused_tls(to, options.tls.is_some())?;
        let makers = match to {
            Endpoint::Tcp(_) | Endpoint::Unix(_) | Endpoint::Udp(_) => Vec::new(),
            Endpoint::Tls(at) => vec![dial_tls(at, options)?],
            Endpoint::Ws(at) => vec![dial_ws(at, 80, options)?],
            Endpoint::Wss(at) => vec![dial_tls(&at.at, options)?, dial_ws(at, 443, options)?],
        };
        Ok(Plan {
            makers,
            keeps_messages: keeps_messages(to),
            timeout: options.handshake_timeout,
        })
    }

    /// Whether there are no layers.
    pub(crate) fn is_plain(&self) -> bool {
        self.makers.is_empty()
    }

    /// The layers of one connection.
    pub(crate) fn make(&self, setting: &Setting) -> Result<Vec<Box<dyn Layer>>, LayerError> {
        self.makers.iter().map(|make| make(setting)).collect()
    }
}

/// Whoever set up encryption must not get a plain connection.
#[cfg(feature = "tls")]
fn refuse_unused_tls(at: &Endpoint, set: bool) -> io::Result<()> {
    if set && !matches!(at, Endpoint::Tls(_) | Endpoint::Wss(_)) {
        let what = format!("{at} is not encrypted, yet `tls` is set: use tls:// or wss://");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(())
}

#[cfg(feature = "tls")]
fn serve_tls(at: &Endpoint, options: &ListenOptions) -> io::Result<Make> {
    let Some(tls) = options.tls.clone() else {
        let what = format!("{at} needs a certificate: set ListenOptions::tls");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    };
    Ok(Arc::new(move |_| Ok(Box::new(tls.layer()?))))
}

#[cfg(feature = "tls")]
fn dial_tls(at: &HostPort, options: &ConnectOptions) -> io::Result<Make> {
    let tls = match options.tls.clone() {
        Some(tls) => tls,
        None => super::tls::ClientTls::system()
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?,
    };
    let host = at.host();
    Ok(Arc::new(move |_| Ok(Box::new(tls.layer(&host)?))))
}

#[cfg(not(feature = "tls"))]
fn serve_tls(_: &Endpoint, _: &ListenOptions) -> io::Result<Make> {
    missing("tls")
}

#[cfg(not(feature = "tls"))]
fn dial_tls(_: &HostPort, _: &ConnectOptions) -> io::Result<Make> {
    missing("tls")
}

#[cfg(feature = "ws")]
fn serve_ws(options: &ListenOptions) -> io::Result<Make> {
    let ws = Arc::new(options.ws.clone());
    Ok(Arc::new(move |setting| {
        let Setting { max_frame, seed } = *setting;
        Ok(Box::new(WebSocket::server(
            Arc::clone(&ws),
            max_frame,
            seed,
        )))
    }))
}

#[cfg(feature = "ws")]
fn dial_ws(at: &WsAddr, usual: u16, options: &ConnectOptions) -> io::Result<Make> {
    at.check()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let ws = Arc::new(options.ws.clone());
    ws.check()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let host = match &at.at {
        HostPort::Address(address) if address.is_ipv6() => format!("[{}]", address.ip()),
        at => at.host(),
    };
    let host = match at.at.port() {
        port if port == usual => host,
        port => format!("{host}:{port}"),
    };
    let target = WsTarget {
        host,
        path: at.path.clone(),
    };
    Ok(Arc::new(move |setting| {
        let Setting { max_frame, seed } = *setting;
        let layer = WebSocket::client(Arc::clone(&ws), target.clone(), max_frame, seed);
        Ok(Box::new(layer))
    }))
}

#[cfg(not(feature = "ws"))]
fn serve_ws(_: &ListenOptions) -> io::Result<Make> {
    missing("ws")
}

#[cfg(not(feature = "ws"))]
fn dial_ws(_: &WsAddr, _: u16, _: &ConnectOptions) -> io::Result<Make> {
    missing("ws")
}

fn keeps_messages(at: &Endpoint) -> bool {
    matches!(at, Endpoint::Ws(_) | Endpoint::Wss(_))
}

#[cfg(not(all(feature = "tls", feature = "ws")))]
/// The error of a program built without a feature.
fn missing(feature: &str) -> io::Result<Make> {
    let what = format!("this program was built without the feature `{feature}`");
    Err(io::Error::new(io::ErrorKind::Unsupported, what))
}
