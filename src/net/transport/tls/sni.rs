//! Which name a client asked for. The unbuffered connections of rustls do not tell, but the resolver of certificates is
//! asked with it, once per handshake, resumed ones included; so each connection has a resolver that listens.

use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The name, once the client has said hello.
#[derive(Debug, Clone, Default)]
pub(super) struct AskedName(Arc<OnceLock<String>>);

impl AskedName {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Passes everything on, and remembers the name.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) resolver: Arc<dyn ResolvesServerCert>,
    pub(super) asked: AskedName,
}

impl ResolvesServerCert for Listening {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // A second hello, after a retry, must name the same.
            let _ = self.asked.0.set(name.to_owned());
        }
        self.resolver.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.resolver.only_raw_public_keys()
    }
}
