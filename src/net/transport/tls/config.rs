//! What an operator says about TLS, and the configurations made of it.
//!
//! Both ends verify by default: a client always, against the system's trusted roots unless told otherwise; a server as
//! soon as it asks for client certificates. There is no switch that turns verification off; the nearest thing is
//! [`Trust::OnlyThisCertificateWhateverItsNameAndDates`]. Nothing here reads or sets a process-wide default.
//!
//! # Rotating certificates
//!
//! Write the new files, then call [`ServerTls::reload`] or [`ClientTls::reload`] on any clone: connections made from then on
//! use them, open ones are not disturbed. When something is wrong with the new files the old configuration stays in
//! force and the error says what it is. Remembered sessions are forgotten, so that every peer is verified anew.
//!
//! # What it costs
//!
//! A full handshake takes a few tenths of a millisecond of arithmetic, mostly for the server's signature; a resumed one
//! less (`benches/tls.rs`). It is the reactor's time, unless `Workers::handshakes` gives it to the elastic pool. Sending and receiving cost one pass of the cipher, about a nanosecond per byte
//! or less, and some 30 bytes on the wire per record of up to 16 KiB. An open connection holds a few KiB.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::TlsLayer;
use super::error::TlsError;
use super::pem::Pem;
use super::sni::{AskedName, Listening};
use super::verifier::OneCertificate;
use crate::net::transport::layer::LayerError;

/// A certificate with its chain, and the private key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, then the intermediate ones that lead to a root, without the root.
    pub chain: Pem,
    /// The private key, not encrypted: PKCS#8, PKCS#1 or SEC1; RSA, ECDSA P-256 and P-384 or Ed25519.
    pub key: Pem,
}

impl Identity {
    /// The certificates in `chain`, with the key in `key`; both may be one file.
    pub fn new(chain: impl Into<Pem>, key: impl Into<Pem>) -> Identity {
        Identity {
            chain: chain.into(),
            key: key.into(),
        }
    }
}

/// Whether a server asks for certificates of its clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    None,
    /// A client may show none; one that shows a certificate must have it from one of these roots.
    Optional(Pem),
    /// Each client must show a certificate from one of these roots.
    Required(Pem),
}

/// Whom a client believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// The roots the operating system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded.
    #[default]
    System,
    /// These roots and no others.
    Roots(Pem),
    /// A server that shows exactly this certificate, the first one here, and has its key. **Neither its name nor its
    /// dates nor its issuer are checked.** For a self-signed certificate that was brought here by hand.
    OnlyThisCertificateWhateverItsNameAndDates(Pem),
}

/// Which versions are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// TLS 1.3 and 1.2, the newer one if both ends can.
    #[default]
    Both,
    /// TLS 1.3 only.
    Only1_3,
    /// TLS 1.2 only.
    Only1_2,
}

impl Versions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Versions::Both => &BOTH,
            Versions::Only1_3 => &BOTH[..1],
            Versions::Only1_2 => &BOTH[1..],
        }
    }
}

/// How to serve TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTlsOptions {
    /// What the server shows to its clients.
    pub identity: Identity,
    /// What clients must show. Default: nothing.
    pub client_auth: ClientAuth,
    /// Application protocols, the most wanted one first. A client that names only others is refused; one that names none
    /// is not. Default: none.
    pub alpn: Vec<Vec<u8>>,
    /// Default: both.
    pub versions: Versions,
    /// Sessions remembered for clients that come back without a ticket; 0 switches resumption off, tickets too.
    /// Default 1024.
    pub sessions: usize,
}

impl ServerTlsOptions {
    /// The defaults, for this identity.
    pub fn new(identity: Identity) -> Self {
        ServerTlsOptions {
            identity,
            client_auth: ClientAuth::None,
            alpn: Vec::new(),
            versions: Versions::Both,
            sessions: 1024,
        }
    }
}

/// How to be a client of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTlsOptions {
    /// Whom to believe. Default: the system's roots.
    pub trust: Trust,
    /// What to show to a server that asks. Default: nothing.
    pub identity: Option<Identity>,
    /// The name or address the server's certificate must be for, and which the server is told. Default: the host that is
    /// connected to. A unix socket has none, so it must be given there.
    pub server_name: Option<String>,
    /// Application protocols, the most wanted one first. Default: none.
    pub alpn: Vec<Vec<u8>>,
    /// Default: both.
    pub versions: Versions,
    /// Tickets and sessions remembered; 0 switches resumption off. Default 256.
    pub sessions: usize,
}

impl Default for ClientTlsOptions {
    fn default() -> Self {
        ClientTlsOptions {
            trust: Trust::System,
            identity: None,
            server_name: None,
            alpn: Vec::new(),
            versions: Versions::Both,
            sessions: 256,
        }
    }
}

/// TLS of a listener. Clones share everything, and are cheap.
///
/// ```no_run
/// use seamio::net::{ClientAuth, Identity, Pem, ServerTls, ServerTlsOptions};
///
/// // A certificate and its key; clients need none.
/// let tls = ServerTls::from_files("server.pem", "server.key")?;
///
/// // Mutual TLS with an application protocol.
/// let tls = ServerTls::new(ServerTlsOptions {
///     client_auth: ClientAuth::Required(Pem::file("clients-ca.pem")),
///     alpn: vec![b"orders/1".to_vec()],
///     ..ServerTlsOptions::new(Identity::new(Pem::file("server.pem"), Pem::file("server.key")))
/// })?;
///
/// // Later, when the files have been replaced:
/// if let Err(e) = tls.reload() {
///     eprintln!("the old certificate stays in use: {e}");
/// }
/// # Ok::<(), seamio::net::TlsError>(())
/// ```
#[derive(Clone)]
pub struct ServerTls {
    shared: Arc<Shared<ServerConfig, ServerTlsOptions>>,
}

impl ServerTls {
    /// As these options say.
    ///
    /// # Errors
    ///
    /// A file that is missing, unreadable or not what it should be; the error names it.
    pub fn new(options: ServerTlsOptions) -> Result<ServerTls, TlsError> {
        let config = server_config(&options)?;
        Ok(ServerTls {
            shared: Shared::new(config, Some(options)),
        })
    }

    /// The certificates in one PEM file and the key in another, everything else as by default.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::new`].
    pub fn from_files(
        chain: impl Into<std::path::PathBuf>,
        key: impl Into<std::path::PathBuf>,
    ) -> Result<ServerTls, TlsError> {
        let identity = Identity::new(Pem::file(chain), Pem::file(key));
        ServerTls::new(ServerTlsOptions::new(identity))
    }

    /// A configuration made by hand, for what the options cannot say. Early data stay off: they can be replayed.
    pub fn from_config(config: Arc<ServerConfig>) -> ServerTls {
        ServerTls {
            shared: Shared::new(without_early_data(config), None),
        }
    }

    /// Reads the files again. Connections made from now on use what they say; sessions are not resumed across it.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::new`]; then nothing has changed. [`TlsError::NothingToReload`] for a configuration made by hand,
    /// see [`ServerTls::replace`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let options = self.shared.options.as_ref();
        let config = server_config(options.ok_or(TlsError::NothingToReload)?)?;
        *self.shared.current() = Arc::new(config);
        Ok(())
    }

    /// Uses this configuration for the connections made from now on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.shared.current() = Arc::new(without_early_data(config));
    }

    /// The layer of a connection that was accepted.
    pub(crate) fn layer(&self) -> Result<TlsLayer, LayerError> {
        let asked = AskedName::default();
        let mut config = ServerConfig::clone(&self.config());
        config.cert_resolver = Arc::new(Listening {
            resolver: Arc::clone(&config.cert_resolver),
            asked: asked.clone(),
        });
        TlsLayer::server(Arc::new(config), asked)
    }

    /// What is in force now.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.shared.current())
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("ServerTls");
        match &self.shared.options {
            Some(options) => tuple.field(options).finish(),
            None => tuple.finish_non_exhaustive(),
        }
    }
}

/// Clones are equal, and nothing else is.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for ServerTls {}

/// TLS of a connector. Clones share everything, tickets included, and are cheap.
///
/// ```no_run
/// use seamio::net::{ClientTls, ClientTlsOptions, Identity, Pem, Trust};
///
/// // Servers with a certificate that the system trusts.
/// let tls = ClientTls::system()?;
///
/// // A private authority, and a certificate of our own to show.
/// let tls = ClientTls::new(ClientTlsOptions {
///     trust: Trust::Roots(Pem::file("ca.pem")),
///     identity: Some(Identity::new(Pem::file("client.pem"), Pem::file("client.key"))),
///     server_name: Some("orders.internal".into()),
///     ..ClientTlsOptions::default()
/// })?;
/// # Ok::<(), seamio::net::TlsError>(())
/// ```
#[derive(Clone)]
pub struct ClientTls {
    shared: Arc<Shared<ClientConfig, ClientTlsOptions>>,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// As these options say.
    ///
    /// # Errors
    ///
    /// A file that is missing, unreadable or not what it should be; the error names it. A server name that is none. A
    /// system without trusted roots, if those are wanted.
    pub fn new(options: ClientTlsOptions) -> Result<ClientTls, TlsError> {
        let server_name = options.server_name.as_deref().map(parse_name).transpose()?;
        let config = client_config(&options)?;
        Ok(ClientTls {
            shared: Shared::new(config, Some(options)),
            server_name,
        })
    }

    /// Trusting the system's roots, everything else as by default.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoSystemRoots`].
    pub fn system() -> Result<ClientTls, TlsError> {
        ClientTls::new(ClientTlsOptions::default())
    }

    /// Trusting the roots in a PEM file and no others, everything else as by default.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::new`].
    pub fn trusting(roots: impl Into<std::path::PathBuf>) -> Result<ClientTls, TlsError> {
        ClientTls::new(ClientTlsOptions {
            trust: Trust::Roots(Pem::file(roots)),
            ..ClientTlsOptions::default()
        })
    }

    /// A configuration made by hand, for what the options cannot say; whom it trusts is its own affair. Early data stay
    /// off: they can be replayed. The name is as [`ClientTlsOptions::server_name`].
    ///
    /// # Errors
    ///
    /// [`TlsError::ServerName`].
    pub fn from_config(
        config: Arc<ClientConfig>,
        server_name: Option<&str>,
    ) -> Result<ClientTls, TlsError> {
        Ok(ClientTls {
            shared: Shared::new(client_without_early_data(config), None),
            server_name: server_name.map(parse_name).transpose()?,
        })
    }

    /// Reads the files and the system's roots again. Connections made from now on use what they say; tickets are
    /// forgotten.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::new`]; then nothing has changed. [`TlsError::NothingToReload`] for a configuration made by hand,
    /// see [`ClientTls::replace`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let options = self.shared.options.as_ref();
        let config = client_config(options.ok_or(TlsError::NothingToReload)?)?;
        *self.shared.current() = Arc::new(config);
        Ok(())
    }

    /// Uses this configuration for the connections made from now on.
    pub fn replace(&self, config: Arc<ClientConfig>) {
        *self.shared.current() = Arc::new(client_without_early_data(config));
    }

    /// The layer of a connection to `host`, a name or an address without a port; empty if there is none.
    pub(crate) fn layer(&self, host: &str) -> Result<TlsLayer, LayerError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host).map_err(|e| LayerError::Handshake(e.to_string().into()))?,
        };
        TlsLayer::client(self.config(), name)
    }

    /// What is in force now.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.shared.current())
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("ClientTls");
        match &self.shared.options {
            Some(options) => tuple.field(options).finish(),
            None => tuple.finish_non_exhaustive(),
        }
    }
}

/// Clones are equal, and nothing else is.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for ClientTls {}

/// What clones share: what is in force, and what it was made of.
struct Shared<C, O> {
    current: Mutex<Arc<C>>,
    options: Option<O>,
}

impl<C, O> Shared<C, O> {
    fn new(config: C, options: Option<O>) -> Arc<Self> {
        Arc::new(Shared {
            current: Mutex::new(Arc::new(config)),
            options,
        })
    }

    /// Held for no longer than it takes to copy or replace a pointer.
    fn current(&self) -> MutexGuard<'_, Arc<C>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn server_config(options: &ServerTlsOptions) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match &options.client_auth {
        ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
        ClientAuth::Optional(pem) | ClientAuth::Required(pem) => {
            let roots = Arc::new(roots(pem)?);
            let mut builder =
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            if matches!(options.client_auth, ClientAuth::Optional(_)) {
                builder = builder.allow_unauthenticated();
            }
            builder
                .build()
                .map_err(|e| TlsError::Refused(e.to_string()))?
        }
    };
    let identity = certified_key(&options.identity, &provider)?;
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(identity));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(options.versions.list())
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.alpn_protocols = checked_alpn(&options.alpn)?;
    if options.sessions == 0 {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.session_storage = ServerSessionMemoryCache::new(options.sessions);
        config.ticketer = ring::Ticketer::new().map_err(refused)?;
    }
    Ok(config)
}

fn client_config(options: &ClientTlsOptions) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(options.versions.list())
        .map_err(refused)?;
    let builder = match &options.trust {
        Trust::OnlyThisCertificateWhateverItsNameAndDates(pem) => {
            let certificate = pem.certificates()?.swap_remove(0);
            let algorithms = provider.signature_verification_algorithms;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(OneCertificate {
                    certificate,
                    algorithms,
                }))
        }
        trust => {
            let roots = match trust {
                Trust::Roots(pem) => roots(pem)?,
                _ => system_roots()?,
            };
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|e| TlsError::Refused(e.to_string()))?;
            builder.with_webpki_verifier(verifier)
        }
    };
    let mut config = match &options.identity {
        Some(identity) => {
            let identity = certified_key(identity, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = checked_alpn(&options.alpn)?;
    config.resumption = match options.sessions {
        0 => Resumption::disabled(),
        sessions => Resumption::in_memory_sessions(sessions),
    };
    Ok(config)
}

/// Certificate and key, which must belong together.
fn certified_key(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = identity.chain.certificates()?;
    let key = identity.key.private_key()?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|e| TlsError::Malformed {
            source: identity.key.to_string(),
            why: e.to_string(),
        })?;
    let certified = CertifiedKey::new(chain, Arc::clone(&key));
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let belongs_to = certified.cert.iter().position(|certificate| {
                CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key))
                    .keys_match()
                    .is_ok()
            });
            Err(TlsError::KeyMismatch {
                chain: identity.chain.to_string(),
                key: identity.key.to_string(),
                belongs_to: belongs_to.map(|index| index + 1),
            })
        }
        Err(e) => Err(TlsError::Malformed {
            source: identity.chain.to_string(),
            why: e.to_string(),
        }),
    }
}

fn roots(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in pem.certificates()?.into_iter().enumerate() {
        roots.add(certificate).map_err(|e| TlsError::Malformed {
            source: pem.to_string(),
            why: format!("certificate {} is no root: {e}", index + 1),
        })?;
    }
    Ok(roots)
}

/// The system's roots. A few that are unreadable do no harm, as long as there are others.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = match found.errors.first() {
            Some(e) => e.to_string(),
            None if unusable > 0 => format!("none of {unusable} certificates is usable"),
            None => "none found".into(),
        };
        return Err(TlsError::NoSystemRoots { why });
    }
    for error in &found.errors {
        log::warn!("event=system_root_unreadable error={error:?}");
    }
    Ok(roots)
}

/// A name on the wire has one byte for its length and is not empty.
fn checked_alpn(protocols: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, TlsError> {
    match protocols.iter().find(|p| p.is_empty() || p.len() > 255) {
        Some(wrong) => Err(TlsError::Refused(format!(
            "the name of an application protocol has 1 to 255 bytes, not {}",
            wrong.len()
        ))),
        None => Ok(protocols.to_vec()),
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.into()))
}

fn without_early_data(config: Arc<ServerConfig>) -> ServerConfig {
    let mut config = Arc::unwrap_or_clone(config);
    config.max_early_data_size = 0;
    config
}

fn client_without_early_data(config: Arc<ClientConfig>) -> ClientConfig {
    let mut config = Arc::unwrap_or_clone(config);
    config.enable_early_data = false;
    config
}

fn refused(error: rustls::Error) -> TlsError {
    TlsError::Refused(error.to_string())
}
