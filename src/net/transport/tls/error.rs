//! Why a TLS configuration could not be made. Each error names the file and what is wrong with it, so that an operator
//! need not guess (network.md A.10, row 20).

use std::fmt;
use std::io;

/// Why there is no TLS configuration. Nothing was changed: a configuration in force stays in force.
///
/// `source` names the file, or says that the text was given directly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read.
    Unreadable {
        /// The file.
        source: String,
        /// What the system says: missing, not permitted...
        kind: io::ErrorKind,
        /// The same for a human.
        why: String,
    },
    /// No certificate where one is needed.
    NoCertificate {
        /// The file.
        source: String,
        /// What was found instead.
        found: String,
    },
    /// No private key where one is needed.
    NoKey {
        /// The file.
        source: String,
        /// What was found instead.
        found: String,
    },
    /// A private key protected by a password. Store it without one, readable by this process only.
    EncryptedKey {
        /// The file.
        source: String,
    },
    /// Something that is neither what it claims to be nor readable.
    Malformed {
        /// The file.
        source: String,
        /// What is wrong.
        why: String,
    },
    /// The private key is not the one of the first certificate.
    KeyMismatch {
        /// The file of the certificates.
        chain: String,
        /// The file of the key.
        key: String,
        /// Place in the chain, counted from one, of the certificate that does belong to the key.
        belongs_to: Option<usize>,
    },
    /// The system has no usable trusted roots.
    NoSystemRoots {
        /// What was tried.
        why: String,
    },
    /// Not a name that a certificate could be for.
    ServerName(String),
    /// Anything else that the TLS library refuses.
    Refused(String),
    /// The configuration was given ready-made: there are no files to read again.
    NothingToReload,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable { source, why, .. } => write!(f, "cannot read {source}: {why}"),
            TlsError::NoCertificate { source, found } => {
                write!(f, "no certificate in {source}: it has {found}")
            }
            TlsError::NoKey { source, found } => {
                write!(f, "no private key in {source}: it has {found}")
            }
            TlsError::EncryptedKey { source } => write!(
                f,
                "the private key in {source} is encrypted with a password, which is not supported"
            ),
            TlsError::Malformed { source, why } => write!(f, "malformed {source}: {why}"),
            TlsError::KeyMismatch {
                chain,
                key,
                belongs_to,
            } => {
                write!(
                    f,
                    "the private key in {key} does not belong to the first certificate in {chain}"
                )?;
                match belongs_to {
                    Some(place) => write!(f, ", but to number {place}, which must come first"),
                    None => Ok(()),
                }
            }
            TlsError::NoSystemRoots { why } => {
                write!(f, "the system has no trusted roots: {why}")
            }
            TlsError::ServerName(name) => write!(f, "not a server name: {name:?}"),
            TlsError::Refused(why) => write!(f, "refused by the TLS library: {why}"),
            TlsError::NothingToReload => {
                f.write_str("a ready-made TLS configuration has no files to read again")
            }
        }
    }
}

impl std::error::Error for TlsError {}
