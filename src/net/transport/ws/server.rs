//! The server's side of the handshake (RFC 6455, 4.2): a request is read, judged and answered. One that is refused gets
//! a proper HTTP answer.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tungstenite::handshake::derive_accept_key;

use super::deflate::Deflate;
use super::head::{self, Ambiguous, HEADERS_MAX, Headers};
use super::options::{WsOrigins, WsPeer, WsServer};

/// A request that is being waited for.
#[derive(Debug)]
pub(super) struct ExpectRequest {
    pub(super) options: Arc<WsServer>,
    scanned: usize,
}

/// A request that has been granted.
pub(super) struct Granted {
    pub(super) peer: WsPeer,
    pub(super) deflate: Option<Deflate>,
}

/// Why a request was not granted.
#[derive(Debug)]
pub(super) struct Refusal {
    status: &'static str,
    /// Headers the status calls for.
    extra: &'static str,
    why: String,
}

impl ExpectRequest {
    pub(super) fn new(options: Arc<WsServer>) -> Self {
        ExpectRequest {
            options,
            scanned: 0,
        }
    }

    /// Takes a whole request off `below` and appends the answer to `out`. `None` if some of it is still to come.
    pub(super) fn receive(
        &mut self,
        below: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Granted>, String> {
        let judged = match head::end(below, &mut self.scanned) {
            Ok(Some(end)) if end <= self.options.max_head => {
                let judged = self.judge(&below[..end], out);
                below.advance(end);
                judged
            }
            Ok(None) if below.len() <= self.options.max_head => return Ok(None),
            Ok(_) => Err(Refusal::new(HEAD_TOO_LARGE, "request too large")),
            Err(head::NotHttp) => Err(Refusal::new(BAD_REQUEST, "not an HTTP request")),
        };
        judged.map(Some).map_err(|refusal| refusal.answer(out))
    }

    fn judge(&self, bytes: &[u8], out: &mut BytesMut) -> Result<Granted, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal::new(HEAD_TOO_LARGE, "too many headers"));
            }
            Ok(httparse::Status::Partial) => {
                return Err(Refusal::new(BAD_REQUEST, "malformed request: cut off"));
            }
            Err(e) => return Err(Refusal::new(BAD_REQUEST, format!("malformed request: {e}"))),
        }
        let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
        if request.version != Some(1) {
            return Err(Refusal::new(BAD_REQUEST, "not HTTP/1.1"));
        }
        if method != "GET" {
            let why = format!("method {method}");
            return Err(Refusal::new(METHOD_NOT_ALLOWED, why).with("Allow: GET\r\n"));
        }
        let headers = Headers(request.headers);
        let mut peer = head::peer(origin_form(target)?, headers);
        let paths = &self.options.paths;
        if !paths.is_empty() && !paths.contains(&peer.path) {
            return Err(Refusal::new(NOT_FOUND, format!("path {}", peer.path)));
        }
        let key = key(headers)?;
        peer.origin = headers.one("origin")?.map(str::to_owned);
        self.check_origin(peer.origin.as_deref())?;
        let offered = |known: &&String| headers.list("sec-websocket-protocol").any(|o| o == *known);
        peer.subprotocol = self.options.subprotocols.iter().find(offered).cloned();
        let (deflate, extension) = self.extension(headers);
        peer.deflate = deflate.is_some();
        grant(key, peer.subprotocol.as_deref(), extension.as_deref(), out);
        Ok(Granted { peer, deflate })
    }

    fn check_origin(&self, origin: Option<&str>) -> Result<(), Refusal> {
        let (listed, absent) = match &self.options.origins {
            WsOrigins::Any => return Ok(()),
            WsOrigins::Listed(listed) => (listed, true),
            WsOrigins::Only(listed) => (listed, false),
        };
        match origin {
            None if absent => Ok(()),
            None => Err(Refusal::new(FORBIDDEN, "no origin")),
            Some(origin) if listed.iter().any(|l| l.eq_ignore_ascii_case(origin)) => Ok(()),
            Some(origin) => Err(Refusal::new(FORBIDDEN, format!("origin {origin}"))),
        }
    }

    #[cfg(feature = "compress")]
    fn extension(&self, headers: Headers<'_>) -> (Option<Deflate>, Option<String>) {
        let offers = headers.all("sec-websocket-extensions");
        let options = self.options.deflate.as_ref();
        match options.and_then(|options| super::extension::accept(options, offers)) {
            Some((agreed, text)) => (Some(Deflate::new(agreed)), Some(text)),
            None => (None, None),
        }
    }

    #[cfg(not(feature = "compress"))]
    fn extension(&self, _headers: Headers<'_>) -> (Option<Deflate>, Option<String>) {
        (None, None)
    }
}

/// Checks what makes a request one for WebSocket. Its key.
fn key(headers: Headers<'_>) -> Result<&str, Refusal> {
    let bad = |why: &'static str| Err(Refusal::new(BAD_REQUEST, why));
    let upgrade = |why| Err(Refusal::new(UPGRADE_REQUIRED, why).with(UPGRADE_HEADERS));
    if headers.one("host")?.is_none() {
        return bad("no host");
    }
    let length = headers.one("content-length")?.unwrap_or("0");
    if length != "0" || headers.all("transfer-encoding").next().is_some() {
        return bad("a body");
    }
    if !headers.has("upgrade", "websocket") || !headers.has("connection", "upgrade") {
        return upgrade("no upgrade to websocket asked for".to_owned());
    }
    match headers.one("sec-websocket-version")? {
        Some("13") => {}
        Some(other) => return upgrade(format!("version {other}")),
        None => return upgrade("no version".to_owned()),
    }
    match headers.one("sec-websocket-key")? {
        Some(key) if is_key(key) => Ok(key),
        Some(_) => bad("a key that is not 16 bytes in base64"),
        None => bad("no key"),
    }
}

/// 16 bytes in base64: 22 characters and two of padding, and nothing in the bits left over.
fn is_key(key: &str) -> bool {
    let digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let Some(digits) = key.strip_suffix("==") else {
        return false;
    };
    digits.len() == 22 && digits.bytes().all(digit) && digits.ends_with(['A', 'Q', 'g', 'w'])
}

/// Path and query of a target, which a proxy's client gives with the host in front.
fn origin_form(target: &str) -> Result<&str, Refusal> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if ["http", "https", "ws", "wss"].contains(&scheme) => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    match path.starts_with('/') && !path.contains('#') {
        true => Ok(path),
        false => Err(Refusal::new(BAD_REQUEST, "a target that is no path")),
    }
}

fn grant(key: &str, subprotocol: Option<&str>, extension: Option<&str>, out: &mut BytesMut) {
    let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
    put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    put("Sec-WebSocket-Accept: ");
    put(&derive_accept_key(key.as_bytes()));
    for (name, value) in [
        ("\r\nSec-WebSocket-Protocol: ", subprotocol),
        ("\r\nSec-WebSocket-Extensions: ", extension),
    ] {
        if let Some(value) = value {
            put(name);
            put(value);
        }
    }
    put("\r\n\r\n");
}

impl Refusal {
    fn new(status: &'static str, why: impl Into<String>) -> Self {
        Refusal {
            status,
            extra: "",
            why: why.into(),
        }
    }

    fn with(self, extra: &'static str) -> Self {
        Refusal { extra, ..self }
    }

    /// Appends the answer; what to say about it.
    fn answer(self, out: &mut BytesMut) -> String {
        let Refusal { status, extra, why } = self;
        let body = status.len() + 1;
        let text = format!(
            "HTTP/1.1 {status}\r\n{extra}Connection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {body}\r\n\r\n{status}\n"
        );
        out.extend_from_slice(text.as_bytes());
        format!("refused with {status}: {}", printable(&why))
    }
}

impl From<Ambiguous> for Refusal {
    fn from(Ambiguous(name): Ambiguous) -> Self {
        Refusal::new(BAD_REQUEST, format!("header {name} twice, or no text"))
    }
}

/// Text of a peer in a form that fits one line of a log.
pub(super) fn printable(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(SHOWN_MAX)
        .flat_map(char::escape_debug)
        .collect();
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// Characters of a peer's text that are shown.
const SHOWN_MAX: usize = 200;

const BAD_REQUEST: &str = "400 Bad Request";
const FORBIDDEN: &str = "403 Forbidden";
const NOT_FOUND: &str = "404 Not Found";
const METHOD_NOT_ALLOWED: &str = "405 Method Not Allowed";
const UPGRADE_REQUIRED: &str = "426 Upgrade Required";
const HEAD_TOO_LARGE: &str = "431 Request Header Fields Too Large";

const UPGRADE_HEADERS: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
