//! Which layers the streams of a listener or connector get.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::layer::{Layer, LayerError};
use crate::net::config::{ConnectOptions, ListenOptions};
use crate::net::endpoint::Endpoint;

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
    pub(crate) timeout: Duration,
}

impl Plan {
    /// For the connections a listener accepts.
    pub(crate) fn serve(at: &Endpoint, options: &ListenOptions) -> io::Result<Self> {
        let makers = match at {
            Endpoint::Tcp(_) | Endpoint::Unix(_) => Vec::new(),
            Endpoint::Tls(_) => vec![missing("tls")?],
            Endpoint::Ws(_) => vec![missing("ws")?],
            Endpoint::Wss(_) => vec![missing("tls")?, missing("ws")?],
        };
        Ok(Plan {
            makers,
            timeout: options.handshake_timeout,
        })
    }

    /// For the connections a connector makes.
    pub(crate) fn dial(to: &Endpoint, options: &ConnectOptions) -> io::Result<Self> {
        let makers = match to {
            Endpoint::Tcp(_) | Endpoint::Unix(_) => Vec::new(),
            Endpoint::Tls(_) => vec![missing("tls")?],
            Endpoint::Ws(_) => vec![missing("ws")?],
            Endpoint::Wss(_) => vec![missing("tls")?, missing("ws")?],
        };
        Ok(Plan {
            makers,
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

/// The error of a program built without a feature.
fn missing(feature: &str) -> io::Result<Make> {
    let what = format!("this program was built without the feature `{feature}`");
    Err(io::Error::new(io::ErrorKind::Unsupported, what))
}
