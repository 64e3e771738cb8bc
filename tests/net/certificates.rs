//! Certificates made for one test run: an authority, what it issues, and what goes wrong with both.

#![allow(dead_code)] // Each user of it uses its part.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// Whether a certificate is of use today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    Valid,
    Past,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = params(&[], name, Dates::Valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("certificate");
        Authority { issuer }
    }

    /// The root, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names or addresses, for servers and clients.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_dated(names, Dates::Valid)
    }

    pub(crate) fn issue_dated(&self, names: &[&str], dates: Dates) -> Issued {
        self.sign(names, dates, key())
    }

    /// The same with an ECDSA key, whose signatures vary in length. OpenSSL 3.0 cannot read the form in which Ed25519 keys
    /// are written here.
    pub(crate) fn issue_ecdsa(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
        self.sign(names, Dates::Valid, key)
    }

    fn sign(&self, names: &[&str], dates: Dates, key: KeyPair) -> Issued {
        let mut params = params(names, names.first().unwrap_or(&"nobody"), dates);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate that vouches for itself.
pub(crate) fn self_signed(names: &[&str], dates: Dates) -> Issued {
    let key = key();
    let certificate = params(names, "self", dates)
        .self_signed(&key)
        .expect("certificate");
    Issued {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// A directory of its own for files of a test, gone with the value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let name = format!("seamio-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("folder");
        Folder(path)
    }

    /// Writes a file and tells its path.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ed25519: keys and signatures always have the same length.
fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("key")
}

fn params(names: &[&str], name: &str, dates: Dates) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(0x1234_5678));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match dates {
        Dates::Valid => date_time_ymd(2099, 1, 1),
        Dates::Past => date_time_ymd(2020, 1, 2),
    };
    params
}
