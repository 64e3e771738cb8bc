//! Against tungstenite's own message layer, which shares nothing with ours but the bits of frame heads.

use std::io::{self, Cursor, Read, Write};

use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::handshake::server::{NoCallback, ServerHandshake};
use tungstenite::{Error, Message};

use super::*;

/// The other end of a connection, in memory.
#[derive(Debug, Default)]
struct Pipe {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Pipe {
    fn push(&mut self, bytes: &[u8]) {
        self.incoming.get_mut().extend_from_slice(bytes);
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends text and bytes back and forth, then says goodbye first.
fn converse(mut other: tungstenite::WebSocket<Pipe>, mut ours: End) {
    for size in [0, 1, 125, 126, 65_535, 65_536] {
        let message = vec![b'm'; size];
        other
            .write(Message::binary(message.clone()))
            .expect("written");
        other.send(Message::text("grüße")).expect("sent");
        other.send(Message::Ping("p".into())).expect("sent");
        let bytes = std::mem::take(&mut other.get_mut().outgoing);
        bytes.chunks(1000).for_each(|piece| ours.feed(piece));
        assert_eq!(ours.heard(), [message.clone(), "grüße".into()]);
        ours.send(&message);
        let said = ours.said();
        other.get_mut().push(&said);
        assert_eq!(other.read().expect("a pong"), Message::Pong("p".into()));
        assert_eq!(
            other.read().expect("a message"),
            Message::text(String::from_utf8(message).expect("text"))
        );
    }
    other.close(None).expect("closing");
    let bytes = std::mem::take(&mut other.get_mut().outgoing);
    ours.feed(&bytes);
    assert_eq!(ours.ended, Some(Ok(())));
    ours.layer.finish(&mut ours.out);
    let said = ours.said();
    other.get_mut().push(&said);
    assert!(matches!(other.read(), Ok(Message::Close(_))));
    assert!(matches!(
        other.read(),
        Err(Error::ConnectionClosed | Error::Io(_))
    ));
}

#[test]
fn our_client_speaks_with_its_server() {
    let mut ours = End::client(WsClient {
        message: WsMessage::AsReceived,
        ..WsClient::default()
    });
    let mut pipe = Pipe::default();
    pipe.push(&ours.said());
    let other = match ServerHandshake::start(pipe, NoCallback, None).handshake() {
        Ok(other) => other,
        Err(e) => panic!("{e}"),
    };
    let mut other = other;
    ours.feed(&std::mem::take(&mut other.get_mut().outgoing));
    assert!(ours.layer.is_established());
    converse(other, ours);
}

#[test]
fn our_server_speaks_with_its_client() {
    let mut ours = End::server(WsServer {
        message: WsMessage::AsReceived,
        ..WsServer::default()
    });
    let request = tungstenite::handshake::client::Request::builder()
        .uri("ws://example.com/")
        .header("Host", "example.com")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .expect("a request");
    let mut waiting = match ClientHandshake::start(Pipe::default(), request, None)
        .expect("a start")
        .handshake()
    {
        Err(HandshakeError::Interrupted(waiting)) => waiting,
        Err(HandshakeError::Failure(e)) => panic!("{e}"),
        Ok(_) => panic!("nothing was answered yet"),
    };
    let stream = waiting.get_mut().get_mut();
    ours.feed(&std::mem::take(&mut stream.outgoing));
    stream.push(&ours.said());
    let (other, _) = match waiting.handshake() {
        Ok(done) => done,
        Err(e) => panic!("{e}"),
    };
    converse(other, ours);
}
