//! A way to the database on which round trips are counted.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A port that leads to a database server. Requests and answers take turns on each connection: a round trip is a request that
/// follows an answer.
pub(crate) struct Wire {
    pub(crate) port: u16,
    trips: Arc<AtomicU64>,
}

impl Wire {
    /// To this server.
    pub(crate) fn to(host: &str, port: u16) -> Self {
        let server = format!("{host}:{port}");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let trips = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&trips);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect(&server).expect("the database server");
                lead(client, server, Arc::clone(&counter));
            }
        });
        Self { port, trips }
    }

    /// Round trips so far.
    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Ordering::SeqCst)
    }
}

fn lead(client: TcpStream, server: TcpStream, trips: Arc<AtomicU64>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let answered = Arc::new(AtomicBool::new(true));
    let requests = (
        client.try_clone().expect("a handle"),
        server.try_clone().expect("a handle"),
    );
    let seen = Arc::clone(&answered);
    std::thread::spawn(move || {
        copy(requests.0, requests.1, || {
            if seen.swap(false, Ordering::SeqCst) {
                trips.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
    std::thread::spawn(move || copy(server, client, || answered.store(true, Ordering::SeqCst)));
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut passing: impl FnMut()) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        passing();
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
