//! A chat over WebSocket within TLS: `cargo run --example wss_chat --features tls,ws`; three guests talk, then all go home.
//! With `-- --listen 127.0.0.1:9001` it serves plain WebSocket until Ctrl-C instead; in a browser's console:
//! `s = new WebSocket("ws://127.0.0.1:9001/chat?Dora"); s.onmessage = m => console.log(m.data); s.send("hello")`
//!
//! The same handler serves both; what differs are the endpoint and the options. The certificate is made on the spot, and the
//! guests trust it and nothing else: verification stays on.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bytes::Bytes;
use seamio::net::*;

type Chat = Callbacks<Messages>;

/// Who is here. Changed on the reactor's thread only; the lock is for whoever wants to look from outside.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<BTreeMap<SessionId, Session<Chat>>>>);

impl Room {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<SessionId, Session<Chat>>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell_all(&self, text: String) {
        let text = Bytes::from(text);
        self.with(|guests| {
            for guest in guests.values() {
                // A guest whose connection is full or gone is dealt with where that is noticed.
                let _ = guest.send(text.clone());
            }
        });
    }
}

/// The name is what stands behind the `?`.
fn name(session: &Session<Chat>) -> &str {
    let asked = session
        .peer()
        .ws
        .as_ref()
        .and_then(|ws| ws.query.as_deref());
    asked.unwrap_or("somebody")
}

fn server() -> Chat {
    let room = Room::default();
    let (entering, leaving) = (room.clone(), room.clone());
    Callbacks::new(Messages)
        .on_open(move |_, session, config| {
            config.max_frame = 4096;
            entering.with(|guests| guests.insert(session.id(), session.clone()));
            entering.tell_all(format!("{} came in", name(session)));
            Ok(())
        })
        .on_message(move |_, session, text: Bytes| {
            let text = String::from_utf8_lossy(&text);
            room.tell_all(format!("{}: {text}", name(session)));
        })
        .on_close(move |_, session, _| {
            leaving.with(|guests| guests.remove(&session.id()));
            leaving.tell_all(format!("{} left", name(session)));
        })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let ws = WsServer {
        paths: vec!["/chat".into()],
        message: WsMessage::Text,
        ..WsServer::default()
    };
    let mut reactor = Reactor::new(Config::default(), server())?;
    if let Some(at) = args.iter().skip_while(|a| *a != "--listen").nth(1) {
        let options = ListenOptions {
            ws,
            ..ListenOptions::default()
        };
        let id = reactor.listen(format!("ws://{at}/").parse()?, options)?;
        println!("listening on {}", reactor.local_addr(id).ok_or("closed")?);
        return Ok(reactor.run()?);
    }

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = Identity::new(Pem::text(certificate.clone()), Pem::text(key));
    let options = ListenOptions {
        tls: Some(ServerTls::new(ServerTlsOptions::new(identity))?),
        ws,
        ..ListenOptions::default()
    };
    let id = reactor.listen("wss://127.0.0.1:0/".parse()?, options)?;
    let port = reactor.local_addr(id).ok_or("closed")?.port();
    let stop = reactor.handle();
    let serving = std::thread::spawn(move || reactor.run());

    let tls = ClientTls::new(ClientTlsOptions {
        trust: Trust::Roots(Pem::text(certificate)),
        server_name: Some("localhost".into()),
        ..ClientTlsOptions::default()
    })?;
    let guests = visit(port, &tls)?;
    println!("{guests} guests heard it all");
    stop.drain(Duration::from_secs(1));
    Ok(serving.join().map_err(|_| "the server panicked")??)
}

/// Three guests come one after the other, and each says hello once all are there.
fn visit(port: u16, tls: &ClientTls) -> Result<usize, Box<dyn Error>> {
    let (tell, heard) = mpsc::channel();
    let guest = Callbacks::new(Messages)
        .on_open(|_, session, _| {
            let agreed = session.peer().tls.as_ref().map(|tls| tls.version);
            println!("{session}: {agreed:?}");
            Ok(())
        })
        .on_message(move |_, session, text: Bytes| {
            let text = String::from_utf8_lossy(&text).into_owned();
            let _ = tell.send((session.clone(), text));
        })
        .on_connect_error(|_, error, _| println!("not let in: {error}"));
    let mut reactor = Reactor::new(Config::default(), guest)?;
    let (mut here, mut greetings) = (Vec::new(), 0);
    for name in ["Ann", "Bob", "Cid"] {
        let options = ConnectOptions {
            name: name.into(),
            tls: Some(tls.clone()),
            ws: WsClient {
                message: WsMessage::Text,
                ..WsClient::default()
            },
            ..ConnectOptions::default()
        };
        reactor.connect(
            format!("wss://127.0.0.1:{port}/chat?{name}").parse()?,
            options,
        );
        let all = here.len() + 1;
        while here.len() < all {
            reactor.poll_once(None)?;
            for (session, text) in heard.try_iter() {
                println!("  to {}: {text}", session.name());
                if text == format!("{} came in", session.name()) {
                    here.push(session);
                }
            }
        }
    }
    for guest in &here {
        let _ = guest.send(Bytes::from(format!("hello from {}", guest.name())))?;
    }
    while greetings < here.len() * here.len() {
        reactor.poll_once(None)?;
        for (session, text) in heard.try_iter() {
            println!("  to {}: {text}", session.name());
            greetings += usize::from(text.contains("hello from"));
        }
    }
    Ok(here.len())
}
