//! A way to the database that can be cut at a chosen moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::life::pause;
use crate::place::{Kind, Place};

/// What happens to what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections are cut and none is accepted.
    Closed,
    /// Nothing gets through, in either direction, and nobody is told.
    Silent,
    /// The next request with a COMMIT reaches the database; its answer does not come back. Open from then on.
    CutBehindCommit,
    /// The next request with a COMMIT does not reach the database. Open from then on.
    CutBeforeCommit,
}

/// A port that leads to a database server.
pub(crate) struct Proxy {
    state: Arc<State>,
    port: u16,
}

struct State {
    way: Mutex<Way>,
    server: String,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

impl Proxy {
    /// To the server of a place; None for one without a server.
    pub(crate) fn to(place: &Place) -> Option<Self> {
        if place.kind == Kind::Sqlite {
            return None;
        }
        let server = address(&place.url);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            way: Mutex::new(Way::Open),
            server,
            open: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                accepting.lead(client);
            }
        });
        Some(Self { state, port })
    }

    /// The place's URL, by way of the proxy; unencrypted, so that the proxy can read.
    pub(crate) fn url(&self, place: &Place) -> String {
        let plain = match place.kind {
            Kind::MySql => "ssl-mode=disabled",
            Kind::Postgres | Kind::Sqlite => "sslmode=disable",
        };
        let here = format!("127.0.0.1:{}", self.port);
        format!("{}?{plain}", place.url.replace(&self.state.server, &here))
    }

    pub(crate) fn set(&self, way: Way) {
        *self.state.way() = way;
        if way == Way::Closed {
            self.state.cut();
        }
    }

    pub(crate) fn way(&self) -> Way {
        *self.state.way()
    }
}

fn address(url: &str) -> String {
    let place = url.rsplit_once('@').expect("a user").1;
    place.split('/').next().expect("a server").to_owned()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        self.set(Way::Closed);
        // The accepting thread looks up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn way(&self) -> std::sync::MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn lead(self: &Arc<Self>, client: TcpStream) {
        if *self.way() == Way::Closed {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.server) else {
            return;
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [&client, &server] {
            open.push(stream.try_clone().expect("a second handle"));
        }
        drop(open);
        let ends = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        let (from, to) = (ends(&client), ends(&server));
        let state = self.clone();
        std::thread::spawn(move || state.requests(from, to));
        let state = self.clone();
        std::thread::spawn(move || state.answers(server, client));
    }

    fn requests(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            let commits = bytes[..n].windows(8).any(|eight| eight == b"; COMMIT");
            let way = *self.way();
            match way {
                Way::Silent => {
                    self.wait_while_silent();
                }
                Way::CutBeforeCommit if commits => {
                    *self.way() = Way::Open;
                    break;
                }
                Way::CutBehindCommit if commits => {
                    // The client hears nothing from now on, the server does what it was told.
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.write_all(&bytes[..n]);
                    *self.way() = Way::Open;
                    pause(Duration::from_millis(50));
                    break;
                }
                _ => {}
            }
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn answers(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            self.wait_while_silent();
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    fn wait_while_silent(&self) {
        while *self.way() == Way::Silent && !self.over.load(Ordering::Relaxed) {
            pause(Duration::from_millis(10));
        }
    }
}
