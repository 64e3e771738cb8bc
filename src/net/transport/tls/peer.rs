//! What the handshake found out about the peer.

use std::fmt;

/// What is known of the other end of an encrypted connection. Fixed before `on_open`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsPeer {
    /// The application protocol both agreed on, if both named some.
    pub alpn: Option<Vec<u8>>,
    /// The peer's certificates in DER, its own first. They were verified as the configuration says; empty if it showed
    /// none. A resumed connection has those of the connection it continues.
    pub certificates: Vec<Vec<u8>>,
    /// The name the client asked for, at the server; the name the certificate was verified for, at the client. `None`
    /// if the client named none.
    pub server_name: Option<String>,
    /// The version of the protocol.
    pub version: TlsVersion,
    /// The cipher suite by its registered name, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher_suite: String,
    /// Whether an earlier connection was continued, which costs less than a full handshake.
    pub resumed: bool,
}

/// A version of TLS. Older ones than these are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    V1_2,
    /// TLS 1.3, RFC 8446.
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::V1_2 => "TLS 1.2",
            TlsVersion::V1_3 => "TLS 1.3",
        })
    }
}
