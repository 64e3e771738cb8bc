//! TLS as a [`Layer`]: records in, plaintext out, and the other way round; no socket, no clock (network.md B.22).
//!
//! rustls does the protocol, through its unbuffered interface: records are decrypted where they lie in the stack's
//! receive buffer and encrypted into its sending one, so that nothing queues here and the session's limits are the only
//! ones. What rustls 0.23 allocates is one vector per *record* each way, to hold the plaintext or the record for the moment until
//! it is copied; its buffered interface does that too, and copies once more.
//!
//! # Guarantees
//!
//! - What the peer's records make us say (handshake, tickets, alerts) is in `out` when [`Layer::receive`] returns. The
//!   answer to a key update goes before the next record sent, as the protocol wants it.
//! - An alert that explains an error is in `out` beside the error.
//! - The end of the stream without `close_notify` is [`LayerError::Truncated`]; after one it is not.
//! - The pieces of one turn share records of up to 16 KiB. The first 16 KiB of a connection go in records that fit a
//!   packet, so that the peer can use the first one before the others have arrived.
//! - A peer can make us keep at most [`HELD_MAX`] bytes of an unfinished handshake message and one unfinished record.
//!
//! # Left out
//!
//! Early data (they can be replayed), renegotiation, and a change of keys on our own initiative before the cipher's limit
//! is near, at which rustls does it.

mod config;
mod error;
mod peer;
mod pem;
mod sni;
#[cfg(test)]
mod tests;
mod verifier;

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig};

pub use config::{
    ClientAuth, ClientTls, ClientTlsOptions, Identity, ServerTls, ServerTlsOptions, Trust, Versions,
};
pub use error::TlsError;
pub use peer::{TlsPeer, TlsVersion};
pub use pem::Pem;

use super::layer::{Layer, LayerError, Progress};
use crate::net::endpoint::Peer;
use crate::net::lane::panic_text;
use sni::AskedName;

/// One end of an encrypted connection.
pub(crate) struct TlsLayer {
    connection: Connection,
    stage: Stage,
    /// The peer said that it will send no more.
    peer_finished: bool,
    /// Plaintext that waits for a full record or for the end of the turn.
    batch: Vec<u8>,
    /// Plaintext bytes sent, as far as the size of records depends on it.
    sent: usize,
    /// A copy of what `below` begins with while that is an unfinished handshake message, see [`TlsLayer::keep`].
    kept: Vec<u8>,
}

enum Connection {
    Client {
        connection: UnbufferedClientConnection,
        name: ServerName<'static>,
    },
    Server {
        connection: UnbufferedServerConnection,
        asked: AskedName,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshaking,
    Established,
    /// We said goodbye.
    Finished,
    /// Something went wrong; rustls is not asked again.
    Failed,
}

/// What one step of rustls came to.
enum Step {
    /// Something was done: there may be more.
    Again,
    /// Plaintext came.
    Plain,
    /// Nothing more without bytes of the peer.
    Blocked,
    PeerFinished,
}

impl TlsLayer {
    fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, LayerError> {
        let connection = UnbufferedClientConnection::new(config, name.clone())
            .map_err(|e| LayerError::Handshake(explain(&e)))?;
        Ok(TlsLayer::new(Connection::Client { connection, name }))
    }

    fn server(config: Arc<ServerConfig>, asked: AskedName) -> Result<Self, LayerError> {
        let connection = UnbufferedServerConnection::new(config)
            .map_err(|e| LayerError::Handshake(explain(&e)))?;
        Ok(TlsLayer::new(Connection::Server { connection, asked }))
    }

    fn new(connection: Connection) -> Self {
        TlsLayer {
            connection,
            stage: Stage::Handshaking,
            peer_finished: false,
            batch: Vec::new(),
            sent: 0,
            kept: Vec::new(),
        }
    }

    /// What the handshake found out. `None` before it is over.
    pub(crate) fn peer(&self) -> Option<TlsPeer> {
        let state = self.connection.state();
        if state.is_handshaking() {
            return None;
        }
        let server_name = match &self.connection {
            Connection::Client { name, .. } => Some(name.to_str().into_owned()),
            Connection::Server { asked, .. } => asked.get().map(str::to_owned),
        };
        let certificates = state.peer_certificates().unwrap_or_default();
        Some(TlsPeer {
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            certificates: certificates.iter().map(|c| c.to_vec()).collect(),
            server_name,
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
                _ => TlsVersion::V1_2,
            },
            cipher_suite: state
                .negotiated_cipher_suite()
                .map(|suite| format!("{:?}", suite.suite()))
                .unwrap_or_default(),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// After an error: what rustls wanted to say about it goes to `out`, and nothing ever after.
    fn fail(&mut self, below: &mut [u8], out: &mut BytesMut, error: LayerError) -> LayerError {
        // While there is something to say, rustls hands it out before it looks at any input. Behind our goodbye there is
        // nothing to say.
        while self.stage != Stage::Finished && self.connection.state().wants_write() {
            let step = self.connection.step(below, &mut BytesMut::new(), out);
            if !matches!(step, (_, Ok(Step::Again))) {
                break;
            }
        }
        self.stage = Stage::Failed;
        self.batch = Vec::new();
        error
    }

    fn protocol_error(&self, error: &Error, below: &[u8]) -> LayerError {
        match self.stage {
            Stage::Handshaking => LayerError::Handshake(match error {
                Error::InvalidMessage(_) if is_http(below) => {
                    "the peer speaks plain HTTP, not TLS".into()
                }
                error => explain(error),
            }),
            _ => LayerError::Protocol(explain(error)),
        }
    }

    /// Looks after what rustls leaves in `below` when it needs more: part of a record, or records that hold part of a
    /// handshake message. It knows the latter by their place in the buffer, and would miss them in an empty one: so a
    /// copy stands in for them when something is sent meanwhile.
    fn keep(&mut self, below: &[u8]) -> Result<(), LayerError> {
        self.kept.clear();
        let Some(&[_, _, _, high, low]) = below.first_chunk::<RECORD_HEAD>() else {
            return Ok(());
        };
        let record = RECORD_HEAD + usize::from(u16::from_be_bytes([high, low]));
        if below.len() < record {
            return Ok(());
        }
        if below.len() > HELD_MAX + RECORD_MAX {
            return Err(LayerError::Limit("bytes of a TLS handshake message"));
        }
        if self.stage == Stage::Established {
            self.kept.extend_from_slice(below);
        }
        Ok(())
    }

    /// Encrypts at most one record's worth.
    fn seal(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        self.sent = self.sent.saturating_add(plain.len());
        let sealed = self.connection.write(&mut self.kept, out, |traffic, out| {
            encrypt(traffic, plain, out)
        });
        match sealed {
            Ok(()) => Ok(()),
            Err(e) => {
                let mut kept = std::mem::take(&mut self.kept);
                Err(self.fail(&mut kept, out, e))
            }
        }
    }

    fn record_size(&self) -> usize {
        if self.sent < SMALL_UNTIL {
            SMALL_RECORD
        } else {
            LARGE_RECORD
        }
    }

    fn seal_batch(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        let sealed = self.seal(&batch, out);
        // An idle connection holds next to nothing.
        if batch.capacity() <= BATCH_KEPT {
            batch.clear();
            self.batch = batch;
        }
        sealed
    }
}

impl Layer for TlsLayer {
    fn describe(&self, peer: &mut Peer) {
        peer.tls = self.peer().map(Box::new);
    }

    fn start(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        if let Connection::Client { .. } = self.connection {
            self.receive(&mut BytesMut::new(), &mut BytesMut::new(), 0, out)?;
        }
        Ok(())
    }

    fn is_established(&self) -> bool {
        // After our goodbye the peer may still be heard, up to its own.
        matches!(self.stage, Stage::Established | Stage::Finished)
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<Progress, LayerError> {
        if self.stage == Stage::Failed {
            return Err(LayerError::Protocol("received after a failure".into()));
        }
        if self.peer_finished {
            return Ok(Progress::Finished);
        }
        let full = above.len().saturating_add(limit.max(1));
        loop {
            let (discard, step) = self.connection.step(below, above, out);
            let step = match step {
                Ok(step) => step,
                Err(e) => {
                    let error = self.protocol_error(&e, below);
                    below.advance(discard);
                    return Err(self.fail(below, out, error));
                }
            };
            below.advance(discard);
            if self.stage == Stage::Handshaking && !self.connection.state().is_handshaking() {
                self.stage = Stage::Established;
            }
            match step {
                Step::Again => {}
                Step::Plain if above.len() < full => {}
                Step::Plain => {
                    self.kept.clear();
                    return Ok(Progress::More);
                }
                Step::Blocked => {
                    return match self.keep(below) {
                        Ok(()) => Ok(Progress::Hungry),
                        Err(e) => Err(self.fail(below, out, e)),
                    };
                }
                Step::PeerFinished => {
                    self.peer_finished = true;
                    self.kept = Vec::new();
                    return Ok(Progress::Finished);
                }
            }
        }
    }

    fn send(&mut self, mut piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        if self.stage != Stage::Established {
            return Err(LayerError::Protocol(
                "nothing can be sent outside an established connection".into(),
            ));
        }
        while !piece.is_empty() {
            let size = self.record_size();
            if self.batch.is_empty() && piece.len() >= size {
                let (record, rest) = piece.split_at(size);
                self.seal(record, out)?;
                piece = rest;
            } else {
                let room = size.saturating_sub(self.batch.len()).min(piece.len());
                let (part, rest) = piece.split_at(room);
                self.batch.extend_from_slice(part);
                piece = rest;
                if self.batch.len() >= size {
                    self.seal_batch(out)?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        self.seal_batch(out)
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if self.stage != Stage::Established || self.seal_batch(out).is_err() {
            return;
        }
        self.stage = Stage::Finished;
        let said = self.connection.write(&mut self.kept, out, close_notify);
        if let Err(e) = said {
            log::debug!("event=no_close_notify error=\"{e}\"");
        }
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        match (self.peer_finished, self.stage) {
            (true, _) => Ok(()),
            (false, Stage::Handshaking) => Err(LayerError::Handshake(
                "the peer ended the connection".into(),
            )),
            (false, _) => Err(LayerError::Truncated),
        }
    }
}

impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer")
            .field("stage", &self.stage)
            .field("peer_finished", &self.peer_finished)
            .field("batched", &self.batch.len())
            .finish_non_exhaustive()
    }
}

impl Connection {
    fn state(&self) -> &CommonState {
        match self {
            Connection::Client { connection, .. } => connection,
            Connection::Server { connection, .. } => connection,
        }
    }

    /// One step, and how many bytes of `below` it has used up, error or not.
    fn step(
        &mut self,
        below: &mut [u8],
        above: &mut BytesMut,
        out: &mut BytesMut,
    ) -> (usize, Result<Step, Error>) {
        let step = contained(|| match self {
            Connection::Client { connection, .. } => {
                step(connection.process_tls_records(below), above, out)
            }
            Connection::Server { connection, .. } => {
                step(connection.process_tls_records(below), above, out)
            }
        });
        step.unwrap_or_else(|text| (0, Err(Error::General(text))))
    }

    /// Does something that needs a connection ready for sending. `kept` is what `below` would hold.
    fn write(
        &mut self,
        kept: &mut [u8],
        out: &mut BytesMut,
        action: impl FnOnce(&mut dyn Seal, &mut BytesMut) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let written = contained(|| match self {
            Connection::Client { connection, .. } => loop {
                match connection.process_tls_records(kept).state {
                    Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                        return action(&mut traffic, out);
                    }
                    state => settle(state, out)?,
                }
            },
            Connection::Server { connection, .. } => loop {
                match connection.process_tls_records(kept).state {
                    Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                        return action(&mut traffic, out);
                    }
                    state => settle(state, out)?,
                }
            },
        });
        written.unwrap_or_else(|text| Err(LayerError::Protocol(text.into())))
    }
}

/// A panic inside costs this connection and no other: a verifier or resolver made by hand may panic, and so do rustls'
/// own assertions, in debug builds, about a peer that sends nonsense after our goodbye.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| format!("the TLS library panicked: {}", panic_text(&*panic)))
}

/// Either side's connection, ready for sending.
trait Seal {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Seal for WriteTraffic<'_, Data> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, plain, out)
    }

    fn close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(out)
    }
}

fn encrypt(traffic: &mut dyn Seal, plain: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
    append(out, plain.len() + RECORD_EXTRA, |room| {
        traffic.encrypt(plain, room)
    })
}

fn close_notify(traffic: &mut dyn Seal, out: &mut BytesMut) -> Result<(), LayerError> {
    append(out, RECORD_EXTRA, |room| traffic.close_notify(room))
}

/// Appends what `write` writes, which first tries with room for `size` bytes and is told otherwise if that is too little.
fn append(
    out: &mut BytesMut,
    mut size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), LayerError> {
    let at = out.len();
    for _ in 0..APPEND_TRIES {
        out.resize(at + size, 0);
        match write(&mut out[at..]) {
            Ok(written) => {
                out.truncate(at + written);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(needed)) => size = needed.required_size,
            Err(EncryptError::EncryptExhausted) => {
                out.truncate(at);
                return Err(LayerError::Limit("TLS records under one key"));
            }
        }
    }
    out.truncate(at);
    Err(LayerError::Protocol(
        "the TLS library wants ever more room".into(),
    ))
}

/// One state of rustls while receiving.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    above: &mut BytesMut,
    out: &mut BytesMut,
) -> (usize, Result<Step, Error>) {
    let mut discard = status.discard;
    let step = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    above.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                Some(Err(e)) => break Err(e),
                None => break Ok(Step::Plain),
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out).map(|()| Step::Again),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in `out`, which counts as sent here.
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
            Ok(Step::Blocked)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::PeerFinished),
        Ok(other) => Err(Error::General(format!("unexpected state {other:?}"))),
        Err(e) => Err(e),
    };
    (discard, step)
}

/// One state of rustls that is in the way of sending.
fn settle<Data>(
    state: Result<ConnectionState<'_, '_, Data>, Error>,
    out: &mut BytesMut,
) -> Result<(), LayerError> {
    match state {
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out).map_err(|e| LayerError::Protocol(explain(&e)))
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(())
        }
        Ok(other) => Err(LayerError::Protocol(
            format!("not ready for sending: {other:?}").into(),
        )),
        Err(e) => Err(LayerError::Protocol(explain(&e))),
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut BytesMut) -> Result<(), Error> {
    let at = out.len();
    // Asking with no room says how much is needed and changes nothing.
    let size = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
        Err(EncodeError::AlreadyEncoded) | Ok(_) => return Ok(()),
    };
    out.resize(at + size, 0);
    match data.encode(&mut out[at..]) {
        Ok(written) => {
            out.truncate(at + written);
            Ok(())
        }
        Err(e) => {
            out.truncate(at);
            Err(Error::General(e.to_string()))
        }
    }
}

fn explain(error: &Error) -> Cow<'static, str> {
    match error {
        Error::AlertReceived(alert) => format!("the peer sent the alert {alert:?}").into(),
        error => error.to_string().into(),
    }
}

/// Whether a peer that should have said hello began with a request or an answer of HTTP.
fn is_http(bytes: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 9] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"PRI * ",
        b"HTTP/",
    ];
    BEGINNINGS.iter().any(|b| bytes.starts_with(b))
}

/// Type, version and length.
const RECORD_HEAD: usize = 5;
/// The longest record the protocol allows.
const RECORD_MAX: usize = RECORD_HEAD + (16 << 10) + 2048;
/// What encryption adds to a record at most, with the suites in use.
const RECORD_EXTRA: usize = 64;
/// Bytes of records kept for the sake of one handshake message, which itself has at most 64 KiB. A certificate chain of
/// that length in full records fits.
const HELD_MAX: usize = 80 << 10;
/// Fits an Ethernet packet with what TCP, IP and TLS add.
const SMALL_RECORD: usize = 1300;
/// About what a new TCP connection sends before the first acknowledgement.
const SMALL_UNTIL: usize = 16 << 10;
/// The most the protocol allows.
const LARGE_RECORD: usize = 16 << 10;
const BATCH_KEPT: usize = 2 << 10;
const APPEND_TRIES: usize = 3;
