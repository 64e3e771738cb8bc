//! One layer against another, or against rustls' own connections, through plain buffers.

mod configuring;
mod handshaking;
mod talking;

use bytes::BytesMut;

use super::*;
use crate::net::transport::layer::{Layer, LayerError, Progress};

#[path = "../../../../tests/net/certificates.rs"]
mod certificates;

use certificates::{Authority, Issued};

/// A layer with its four buffers.
struct End {
    layer: TlsLayer,
    below: BytesMut,
    above: BytesMut,
    out: BytesMut,
    finished: bool,
}

impl End {
    fn new(layer: TlsLayer) -> End {
        End {
            layer,
            below: BytesMut::new(),
            above: BytesMut::new(),
            out: BytesMut::new(),
            finished: false,
        }
    }

    /// Takes these bytes of the peer, with no limit.
    fn take(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.below.extend_from_slice(bytes);
        let progress =
            self.layer
                .receive(&mut self.below, &mut self.above, usize::MAX, &mut self.out)?;
        assert_ne!(progress, Progress::More, "there is no limit");
        self.finished |= progress == Progress::Finished;
        Ok(())
    }

    fn say(&mut self, piece: &[u8]) {
        self.layer.send(piece, &mut self.out).expect("sends");
        self.layer.flush(&mut self.out).expect("flushes");
    }

    fn heard(&mut self) -> Vec<u8> {
        self.above.split().to_vec()
    }
}

/// A client and a server, and what lies between them.
struct Pair {
    client: End,
    server: End,
}

impl Pair {
    fn new(client: &ClientTls, server: &ServerTls) -> Pair {
        let mut client = End::new(client.layer("server.test").expect("client"));
        client.layer.start(&mut client.out).expect("starts");
        let mut server = End::new(server.layer().expect("server"));
        server.layer.start(&mut server.out).expect("starts");
        assert!(server.out.is_empty(), "a server waits");
        Pair { client, server }
    }

    /// Carries everything over, at most `step` bytes at a time, until nothing moves.
    fn settle(&mut self, step: usize) -> Result<(), Failure> {
        while !self.client.out.is_empty() || !self.server.out.is_empty() {
            while !self.client.out.is_empty() {
                let bytes = self.client.out.split_to(step.min(self.client.out.len()));
                self.server.take(&bytes).map_err(Failure::Server)?;
            }
            while !self.server.out.is_empty() {
                let bytes = self.server.out.split_to(step.min(self.server.out.len()));
                self.client.take(&bytes).map_err(Failure::Client)?;
            }
        }
        Ok(())
    }

    fn established(mut self) -> Pair {
        self.settle(usize::MAX).expect("handshake");
        assert!(self.client.layer.is_established() && self.server.layer.is_established());
        self
    }

    /// Both learn of the failure of the first.
    fn fails(mut self) -> (LayerError, LayerError) {
        match self.settle(usize::MAX).expect_err("comes to no terms") {
            Failure::Client(error) => {
                let alert = self.client.out.split();
                (error, self.server.take(&alert).expect_err("an alert"))
            }
            Failure::Server(error) => {
                let alert = self.server.out.split();
                (self.client.take(&alert).expect_err("an alert"), error)
            }
        }
    }
}

#[derive(Debug)]
enum Failure {
    Client(LayerError),
    Server(LayerError),
}

/// Options that work together.
struct World {
    authority: Authority,
    server: ServerTlsOptions,
    client: ClientTlsOptions,
}

impl World {
    fn new() -> World {
        let authority = Authority::new("authority");
        World {
            server: ServerTlsOptions::new(identity(&authority.issue(&["server.test"]))),
            client: ClientTlsOptions {
                trust: Trust::Roots(Pem::text(authority.pem())),
                ..ClientTlsOptions::default()
            },
            authority,
        }
    }

    fn speaking(versions: Versions) -> World {
        let mut world = World::new();
        world.server.versions = versions;
        world
    }

    fn configs(&self) -> (ClientTls, ServerTls) {
        (
            ClientTls::new(self.client.clone()).expect("client"),
            ServerTls::new(self.server.clone()).expect("server"),
        )
    }

    fn pair(&self) -> Pair {
        let (client, server) = self.configs();
        Pair::new(&client, &server)
    }
}

fn identity(issued: &Issued) -> Identity {
    Identity::new(Pem::text(&*issued.chain), Pem::text(&*issued.key))
}

const VERSIONS: [Versions; 2] = [Versions::Only1_2, Versions::Only1_3];

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}
