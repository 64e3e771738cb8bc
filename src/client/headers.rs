//! Headers of HTTP as a carrier of transactions.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::HeaderCarrier;

/// Headers of HTTP: those of axum, hyper and reqwest, and the metadata of tonic below its own types.
impl HeaderCarrier for HeaderMap {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name)?.to_str().ok().map(Cow::Borrowed)
    }

    /// A value that HTTP cannot carry is left out.
    fn set_header(&mut self, name: &str, value: &str) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.insert(name, value);
        }
    }
}
