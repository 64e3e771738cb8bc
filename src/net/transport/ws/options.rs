//! What an application says about WebSocket, and what it is told about a peer.

use std::time::Duration;

/// WebSocket for the connections a listener accepts.
///
/// ```
/// use seamio::net::{WsMessage, WsOrigins, WsServer};
/// let options = WsServer {
///     paths: vec!["/chat".into()],
///     origins: WsOrigins::Listed(vec!["https://app.example".into()]),
///     subprotocols: vec!["chat.v2".into(), "chat.v1".into()],
///     message: WsMessage::Text,
///     ..WsServer::default()
/// };
/// assert_eq!(options.max_head, 8192);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsServer {
    /// Paths that are served, compared byte for byte without their query; others are answered with 404. Empty: all are.
    /// Default `/`.
    pub paths: Vec<String>,
    /// Web pages that may connect; those of other origins are answered with 403. Default: any.
    pub origins: WsOrigins,
    /// Subprotocols spoken, the preferred one first: the first that the client offers too is chosen. If there is none the
    /// connection is made without one, see [`WsPeer::subprotocol`]. Default: none.
    pub subprotocols: Vec<String>,
    /// What is sent as. Default binary.
    pub message: WsMessage,
    /// Period of pings; a peer that lets one pass without any sign of life is closed. Zero switches them off. Default 60 s.
    pub ping: Duration,
    /// Longest request in bytes; a longer one is answered with 431. Default 8 KiB.
    pub max_head: usize,
    /// Most frames one message may come in. Default 65,536.
    pub max_fragments: u32,
    /// Compression, if the client offers it. Default: none.
    #[cfg(feature = "compress")]
    pub deflate: Option<WsDeflate>,
}

impl Default for WsServer {
    fn default() -> Self {
        WsServer {
            paths: vec!["/".into()],
            origins: WsOrigins::Any,
            subprotocols: Vec::new(),
            message: WsMessage::Binary,
            ping: PING,
            max_head: MAX_HEAD,
            max_fragments: MAX_FRAGMENTS,
            #[cfg(feature = "compress")]
            deflate: None,
        }
    }
}

/// Web pages that may connect. A browser says where its page comes from, and the page cannot change that; any other
/// program can say what it likes, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WsOrigins {
    /// All.
    #[default]
    Any,
    /// These, such as `https://app.example`, and clients that say nothing, which are no browsers.
    Listed(Vec<String>),
    /// These and nobody else.
    Only(Vec<String>),
}

/// WebSocket for the connections a connector makes. Host and path come from the endpoint, `ws://HOST:PORT/PATH`.
///
/// ```
/// use seamio::net::WsClient;
/// let options = WsClient {
///     subprotocols: vec!["chat.v2".into()],
///     headers: vec![("Authorization".into(), "Bearer abc".into())],
///     ..WsClient::default()
/// };
/// assert!(options.origin.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsClient {
    /// Where this client claims to come from. Default: it does not say.
    pub origin: Option<String>,
    /// Subprotocols offered, the preferred one first. A server may choose none, see [`WsPeer::subprotocol`]; one that
    /// chooses another is refused. Default: none.
    pub subprotocols: Vec<String>,
    /// Further headers of the request. Those of the handshake itself cannot be given. Default: none.
    pub headers: Vec<(String, String)>,
    /// What is sent as. Default binary.
    pub message: WsMessage,
    /// Period of pings; a peer that lets one pass without any sign of life is closed. Zero switches them off. Default 60 s.
    pub ping: Duration,
    /// Longest response in bytes. Default 8 KiB.
    pub max_head: usize,
    /// Most frames one message may come in. Default 65,536.
    pub max_fragments: u32,
    /// Compression to offer. Default: none.
    #[cfg(feature = "compress")]
    pub deflate: Option<WsDeflate>,
}

impl Default for WsClient {
    fn default() -> Self {
        WsClient {
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            message: WsMessage::Binary,
            ping: PING,
            max_head: MAX_HEAD,
            max_fragments: MAX_FRAGMENTS,
            #[cfg(feature = "compress")]
            deflate: None,
        }
    }
}

/// What messages are sent as. Both kinds are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WsMessage {
    /// Bytes.
    #[default]
    Binary,
    /// Text. A message that is not UTF-8 is an error of the program and ends the session.
    Text,
    /// Whatever the peer's latest message was, binary before the first. What is sent as text has to be UTF-8.
    AsReceived,
}

/// Compression of messages, permessage-deflate. A session that has sent a compressed message holds about 320 KiB for it,
/// one that has received one about 45 KiB.
///
/// ```
/// use seamio::net::{WsContext, WsDeflate, WsServer};
/// let options = WsServer {
///     deflate: Some(WsDeflate { peer_context: WsContext::Fresh, ..WsDeflate::default() }),
///     ..WsServer::default()
/// };
/// assert_eq!(options.deflate.unwrap().window_bits, 15);
/// ```
#[cfg(feature = "compress")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsDeflate {
    /// From 1, fast, to 9, small. Default 6.
    pub level: u8,
    /// Messages shorter than this many bytes are sent as they are. Default 64.
    pub min_bytes: usize,
    /// What our messages may refer to. Default kept.
    pub context: WsContext,
    /// How far our messages refer back at most, as a power of two of bytes from 8 to 15; the peer may ask for less. Below
    /// 15 a message is compressed in pieces of that size, each by itself. Default 15.
    pub window_bits: u8,
    /// What the peer's messages may refer to. Default kept.
    pub peer_context: WsContext,
    /// How far the peer's messages may refer back, likewise. Default 15.
    pub peer_window_bits: u8,
}

#[cfg(feature = "compress")]
impl Default for WsDeflate {
    fn default() -> Self {
        WsDeflate {
            level: 6,
            min_bytes: 64,
            context: WsContext::Kept,
            window_bits: 15,
            peer_context: WsContext::Kept,
            peer_window_bits: 15,
        }
    }
}

/// What a compressed message may refer to.
#[cfg(feature = "compress")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WsContext {
    /// Itself and the messages before it: smaller, for messages that are alike.
    #[default]
    Kept,
    /// Itself only.
    Fresh,
}

/// What the handshake said about the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsPeer {
    /// Path that was asked for, without its query.
    pub path: String,
    /// What followed `?`, if anything did.
    pub query: Option<String>,
    /// Where the client says it comes from.
    pub origin: Option<String>,
    /// The subprotocol agreed on.
    pub subprotocol: Option<String>,
    /// All headers the other end sent, in order, as they were. What is not UTF-8 is replaced.
    pub headers: Vec<(String, String)>,
    /// Whether messages may be compressed.
    pub deflate: bool,
}

impl WsPeer {
    /// The first header of this name, upper or lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }
}

const PING: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 8 << 10;
const MAX_FRAGMENTS: u32 = 65_536;
