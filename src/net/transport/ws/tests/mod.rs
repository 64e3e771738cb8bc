//! Both sides against each other and against the bytes of the standards, cut at every place.

mod handshake;
mod messages;
mod other;
mod random;

use std::sync::Arc;

use bytes::BytesMut;

use super::{WebSocket, WsClient, WsMessage, WsServer, WsTarget};
use crate::net::transport::layer::{Layer, LayerError, Progress};

/// One side, with the buffers a stack would give it.
struct End {
    layer: WebSocket,
    below: BytesMut,
    above: BytesMut,
    out: BytesMut,
    /// What one call may append.
    limit: usize,
    messages: Vec<Vec<u8>>,
    ended: Option<Result<(), LayerError>>,
}

impl End {
    fn new(layer: WebSocket) -> Self {
        let mut end = End {
            layer,
            below: BytesMut::new(),
            above: BytesMut::new(),
            out: BytesMut::new(),
            limit: 64 << 10,
            messages: Vec::new(),
            ended: None,
        };
        end.layer.start(&mut end.out).expect("a start");
        end
    }

    fn server(options: WsServer) -> Self {
        End::new(WebSocket::server(Arc::new(options), MAX_MESSAGE, 1))
    }

    fn client(options: WsClient) -> Self {
        assert_eq!(options.check(), Ok(()));
        let target = WsTarget {
            host: "example.com".into(),
            path: "/".into(),
        };
        End::new(WebSocket::client(Arc::new(options), target, MAX_MESSAGE, 2))
    }

    /// The peer's bytes come in.
    fn feed(&mut self, bytes: &[u8]) {
        self.below.extend_from_slice(bytes);
        let mut idle = 0;
        while self.ended.is_none() {
            let before = (self.below.len(), self.above.len(), self.out.len());
            let progress =
                self.layer
                    .receive(&mut self.below, &mut self.above, self.limit, &mut self.out);
            let grown = self.above.len() - before.1;
            assert!(
                grown <= self.limit,
                "{grown} bytes beyond a limit of {}",
                self.limit
            );
            match progress {
                Ok(Progress::Hungry) => return,
                Ok(Progress::More) => {
                    let after = (self.below.len(), self.above.len(), self.out.len());
                    idle = if after == before { idle + 1 } else { 0 };
                    assert!(idle < 3, "more is promised and does not come");
                }
                Ok(Progress::Message) => self.messages.push(self.above.split().to_vec()),
                Ok(Progress::Finished) => self.ended = Some(Ok(())),
                Err(e) => {
                    self.ended = Some(Err(e));
                    if self.layer.sends_after_failure() {
                        self.layer.finish(&mut self.out);
                    }
                }
            }
        }
    }

    fn send(&mut self, message: &[u8]) {
        self.layer.send(message, &mut self.out).expect("sent");
    }

    /// What it has said since this was last asked.
    fn said(&mut self) -> Vec<u8> {
        self.out.split().to_vec()
    }

    fn heard(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.messages)
    }

    fn error(&self) -> &LayerError {
        match &self.ended {
            Some(Err(e)) => e,
            other => panic!("no error but {other:?}"),
        }
    }
}

/// Two sides that have shaken hands.
fn pair(server: WsServer, client: WsClient) -> (End, End) {
    let (mut server, mut client) = (End::server(server), End::client(client));
    server.feed(&client.said());
    client.feed(&server.said());
    assert!(server.layer.is_established() && client.layer.is_established());
    (server, client)
}

/// A server that has shaken hands, to be given raw frames.
fn open_server() -> End {
    pair(WsServer::default(), WsClient::default()).0
}

/// A client likewise.
fn open_client() -> End {
    pair(WsServer::default(), WsClient::default()).1
}

/// A frame as a client sends it. The first byte has flags and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = plain(first, payload);
    let head = frame.len() - payload.len();
    frame[1] |= 0x80;
    let mask = [0x11, 0x22, 0x33, 0x44];
    for (at, byte) in frame[head..].iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    frame.splice(head..head, mask);
    frame
}

/// A frame as a server sends it.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=65_535 => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

fn text_server() -> WsServer {
    WsServer {
        message: WsMessage::Text,
        ..WsServer::default()
    }
}

const MAX_MESSAGE: usize = 100_000;
