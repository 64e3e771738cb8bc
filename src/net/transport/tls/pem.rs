//! Certificates and keys from PEM, with errors that say what was found instead.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

/// Where PEM text is.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, which is read when the configuration is made and when it is reloaded. At most 16 MiB.
    File(PathBuf),
    /// Here.
    Text(Vec<u8>),
}

impl Pem {
    /// The text in a file.
    pub fn file(path: impl Into<PathBuf>) -> Pem {
        Pem::File(path.into())
    }

    /// This text.
    pub fn text(text: impl Into<Vec<u8>>) -> Pem {
        Pem::Text(text.into())
    }

    /// All certificates, at least one, in their order.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read()?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|e| self.malformed(&e))?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate {
                source: self.to_string(),
                found: contents(&text),
            });
        }
        Ok(certificates)
    }

    /// The first private key.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = self.read()?;
        if let Pem::File(path) = self {
            warn_if_public(path);
        }
        if is_encrypted(&text) {
            return Err(TlsError::EncryptedKey {
                source: self.to_string(),
            });
        }
        match PrivateKeyDer::from_pem_slice(&text) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey {
                source: self.to_string(),
                found: contents(&text),
            }),
            Err(e) => Err(self.malformed(&e)),
        }
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        let path = match self {
            Pem::File(path) => path,
            Pem::Text(text) => return Ok(text.clone()),
        };
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
            .map_err(|e| TlsError::Unreadable {
                source: self.to_string(),
                kind: e.kind(),
                why: e.to_string(),
            })?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(TlsError::Malformed {
                source: self.to_string(),
                why: format!("longer than {FILE_BYTES_MAX} bytes"),
            });
        }
        Ok(text)
    }

    fn malformed(&self, error: &pem::Error) -> TlsError {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        TlsError::Malformed {
            source: self.to_string(),
            why: match error {
                pem::Error::MissingSectionEnd { end_marker } => {
                    format!("it ends before {:?}", lossy(end_marker))
                }
                pem::Error::IllegalSectionStart { line } => {
                    format!("a section begins with {:?}", lossy(line))
                }
                other => other.to_string(),
            },
        }
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Pem::File(path)
    }
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Pem::File(path.into())
    }
}

/// The name of the file; never the text, which may be a key.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Text(text) => write!(f, "the given text of {} bytes", text.len()),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

/// What a text has instead of what was looked for.
fn contents(text: &[u8]) -> String {
    // A certificate or key in DER is an ASN.1 sequence with a length of two bytes.
    if text.starts_with(&[0x30, 0x82]) {
        return "DER, which must be converted to PEM".into();
    }
    let mut labels: Vec<String> = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let label = line
            .trim_ascii()
            .strip_prefix(b"-----BEGIN ")
            .and_then(|rest| rest.strip_suffix(b"-----"));
        if let Some(label) = label {
            let label = String::from_utf8_lossy(label).into_owned();
            if labels.len() < LABELS_MAX && !labels.contains(&label) {
                labels.push(label);
            }
        }
    }
    match (text.is_empty(), labels.is_empty()) {
        (true, _) => "nothing".into(),
        (false, true) => "no PEM section".into(),
        (false, false) => labels.join(", "),
    }
}

/// Whether the first private key wants a password: in PKCS#8's way or in the old one of OpenSSL.
fn is_encrypted(text: &[u8]) -> bool {
    let mut lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let key = lines
        .find(|line| line.starts_with(b"-----BEGIN ") && line.ends_with(b"PRIVATE KEY-----"))
        .unwrap_or_default();
    let header = lines.next().unwrap_or_default();
    key == b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
        || header.starts_with(b"Proc-Type:") && header.ends_with(b"ENCRYPTED")
}

/// A key that every user of the machine can read is no secret, but the operator's business.
fn warn_if_public(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path) {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o004 != 0 {
            log::warn!(
                "event=key_readable_by_all file={} fix=\"chmod o-r\"",
                path.display()
            );
        }
    }
}

const FILE_BYTES_MAX: u64 = 16 << 20;
const LABELS_MAX: usize = 4;
