//! The client's side of the handshake (RFC 6455, 4.1): a request is written, and its answer checked.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tungstenite::handshake::derive_accept_key;

use super::deflate::Deflate;
use super::head::{self, HEADERS_MAX, Headers, is_token, is_value};
use super::options::{WsClient, WsPeer};
use super::server::printable;

/// An answer that is being waited for.
#[derive(Debug)]
pub(super) struct ExpectAnswer {
    pub(super) options: Arc<WsClient>,
    target: WsTarget,
    key: String,
    scanned: usize,
}

/// Where a client's request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WsTarget {
    /// Value of the Host header: the port only where it is not the usual one.
    pub(crate) host: String,
    /// Path and query, from its slash on.
    pub(crate) path: String,
}

impl WsClient {
    /// Whether a request can be made of these options.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, value) in &self.headers {
            let own = OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name));
            if own || !is_token(name) || !is_value(value) {
                return Err(format!(
                    "not a header that can be sent: {name:?}: {value:?}"
                ));
            }
        }
        if let Some(origin) = self.origin.as_ref().filter(|o| !is_value(o)) {
            return Err(format!("not an origin: {origin:?}"));
        }
        match self.subprotocols.iter().find(|s| !is_token(s)) {
            Some(subprotocol) => Err(format!("not a subprotocol: {subprotocol:?}")),
            None => Ok(()),
        }
    }
}

impl ExpectAnswer {
    /// The request, with 16 random bytes.
    pub(super) fn new(options: Arc<WsClient>, target: WsTarget, nonce: [u8; 16]) -> Self {
        ExpectAnswer {
            options,
            target,
            key: base64(&nonce),
            scanned: 0,
        }
    }

    /// Appends the request.
    pub(super) fn start(&self, out: &mut BytesMut) {
        let mut put = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
        };
        put(&[
            "GET ",
            &self.target.path,
            " HTTP/1.1\r\nHost: ",
            &self.target.host,
        ]);
        put(&["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"]);
        put(&["\r\nSec-WebSocket-Key: ", &self.key]);
        if let Some(origin) = &self.options.origin {
            put(&["\r\nOrigin: ", origin]);
        }
        if !self.options.subprotocols.is_empty() {
            put(&[
                "\r\nSec-WebSocket-Protocol: ",
                &self.options.subprotocols.join(", "),
            ]);
        }
        #[cfg(feature = "compress")]
        if let Some(deflate) = &self.options.deflate {
            put(&[
                "\r\nSec-WebSocket-Extensions: ",
                &super::extension::offer(deflate),
            ]);
        }
        for (name, value) in &self.options.headers {
            put(&["\r\n", name, ": ", value]);
        }
        put(&["\r\n\r\n"]);
    }

    /// Takes a whole answer off `below`. `None` if some of it is still to come.
    pub(super) fn receive(
        &mut self,
        below: &mut BytesMut,
    ) -> Result<Option<(WsPeer, Option<Deflate>)>, String> {
        match head::end(below, &mut self.scanned) {
            Ok(Some(end)) if end <= self.options.max_head => {
                let judged = self.judge(&below[..end], &below[end..]);
                below.advance(end);
                judged.map(Some)
            }
            Ok(None) if below.len() <= self.options.max_head => Ok(None),
            Ok(_) => Err("the server's answer is too large".to_owned()),
            Err(head::NotHttp) => Err("the server's answer is not HTTP".to_owned()),
        }
    }

    fn judge(&self, bytes: &[u8], rest: &[u8]) -> Result<(WsPeer, Option<Deflate>), String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err("the server's answer is cut off".into()),
            Err(e) => return Err(format!("the server's answer is malformed: {e}")),
        }
        if response.code != Some(101) {
            return Err(refused(&response, rest));
        }
        let headers = Headers(response.headers);
        if !headers.has("upgrade", "websocket") || !headers.has("connection", "upgrade") {
            return Err("the server answered 101 without an upgrade to websocket".into());
        }
        let twice = |head::Ambiguous(name)| format!("the server's answer has {name} twice");
        let accept = headers.one("sec-websocket-accept").map_err(twice)?;
        if accept != Some(&*derive_accept_key(self.key.as_bytes())) {
            let shown = printable(accept.unwrap_or("nothing"));
            return Err(format!("the server answered the key with {shown}"));
        }
        let mut peer = head::peer(&self.target.path, headers);
        if let Some(chosen) = headers.one("sec-websocket-protocol").map_err(twice)? {
            if !self
                .options
                .subprotocols
                .iter()
                .any(|offered| offered == chosen)
            {
                let shown = printable(chosen);
                return Err(format!(
                    "the server chose subprotocol {shown}, which was not offered"
                ));
            }
            peer.subprotocol = Some(chosen.to_owned());
        }
        peer.origin.clone_from(&self.options.origin);
        let deflate = self.extension(headers)?;
        peer.deflate = deflate.is_some();
        Ok((peer, deflate))
    }

    #[cfg(feature = "compress")]
    fn extension(&self, headers: Headers<'_>) -> Result<Option<Deflate>, String> {
        let Some(options) = &self.options.deflate else {
            return no_extension(headers);
        };
        let answers = headers.all("sec-websocket-extensions");
        match super::extension::confirm(options, answers) {
            Ok(agreed) => Ok(agreed.map(Deflate::new)),
            Err(what) => Err(format!("the server answered the extensions with {what}")),
        }
    }

    #[cfg(not(feature = "compress"))]
    fn extension(&self, headers: Headers<'_>) -> Result<Option<Deflate>, String> {
        no_extension(headers)
    }
}

fn no_extension(headers: Headers<'_>) -> Result<Option<Deflate>, String> {
    match headers.list("sec-websocket-extensions").next() {
        None => Ok(None),
        Some(other) => {
            let shown = printable(other);
            Err(format!(
                "the server chose extension {shown}, which was not offered"
            ))
        }
    }
}

/// What a server said instead of granting.
fn refused(response: &httparse::Response<'_, '_>, body: &[u8]) -> String {
    let code = response.code.unwrap_or_default();
    let reason = printable(response.reason.unwrap_or(""));
    let location = Headers(response.headers).all("location").next();
    let mut said = format!("the server answered {code} {reason}");
    if let Some(location) = location {
        said = format!("{said}, see {}", printable(location));
    }
    let body = String::from_utf8_lossy(body);
    match body.trim() {
        "" => said,
        body => format!("{said}: {}", printable(body)),
    }
}

/// Base64 of 16 bytes (RFC 4648).
fn base64(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |at: usize| {
        let six = (0..6).fold(0, |six, bit| {
            let place = at * 6 + bit;
            let byte = bytes.get(place / 8).copied().unwrap_or(0);
            six << 1 | usize::from(byte >> (7 - place % 8) & 1)
        });
        char::from(DIGITS[six])
    };
    (0..22).map(digit).chain("==".chars()).collect()
}

/// Headers that belong to the handshake.
const OWN_HEADERS: &[&str] = &[
    "Host",
    "Upgrade",
    "Connection",
    "Origin",
    "Content-Length",
    "Transfer-Encoding",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standards_example() {
        // RFC 6455, 1.3.
        assert_eq!(base64(b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(base64(&[0xff; 16]), "/////////////////////w==");
    }

    #[test]
    fn options_that_would_break_the_request_are_refused() {
        assert_eq!(WsClient::default().check(), Ok(()));
        let with = |name: &str, value: &str| {
            let headers = vec![(name.to_owned(), value.to_owned())];
            WsClient {
                headers,
                ..WsClient::default()
            }
            .check()
        };
        assert_eq!(with("Authorization", "Bearer a.b"), Ok(()));
        for (name, value) in [
            ("a b", "x"),
            ("", "x"),
            ("X", "a\r\nY: b"),
            ("host", "x"),
            ("X", "\0"),
        ] {
            assert!(with(name, value).is_err(), "{name:?}: {value:?}");
        }
        let subprotocols = vec!["a b".to_owned()];
        assert!(
            WsClient {
                subprotocols,
                ..WsClient::default()
            }
            .check()
            .is_err()
        );
        let origin = Some("x\ny".to_owned());
        assert!(
            WsClient {
                origin,
                ..WsClient::default()
            }
            .check()
            .is_err()
        );
    }
}
