//! Our end of the conversations with other WebSocket programs: an echo server, a client that checks its echoes, and a client
//! that lets a fuzzing server drive it. Run by `tests/interop/ws/run`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use seamio::net::{
    Callbacks, ClientTls, CloseReason, Codec, CodecError, Config, ConnectOptions, ConnectorId,
    Decoded, Endpoint, Input, ListenOptions, Output, Peer, Reactor, ServerTls, Session,
    SessionConfig, WsClient, WsDeflate, WsMessage, WsServer,
};

type Failure = Box<dyn std::error::Error>;

/// A message of the transport is a message of the application.
struct Whole;

impl Codec for Whole {
    type In = Bytes;
    type Out = Bytes;
    type State = ();

    fn open(&self, _: &Peer) {}

    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        let length = input.len();
        Ok(Decoded::Message(input.take(length)))
    }

    fn encode(&self, message: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.append(message.clone());
        Ok(())
    }
}

/// The command line: flags, each with a value.
struct Flags(HashMap<String, String>);

impl Flags {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)
            .ok_or_else(|| format!("--{name} is missing").into())
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.get(name).unwrap_or_default();
        text.split(',')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn deflate(&self) -> Option<WsDeflate> {
        self.get("deflate").map(|_| WsDeflate::default())
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let mut flags = Flags(HashMap::new());
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        flags
            .0
            .insert(name.trim_start_matches('-').to_owned(), value);
    }
    let outcome = match command.as_str() {
        "serve" => serve(&flags),
        "echo" => echo(&flags),
        "fuzzed" => fuzzed(&flags),
        _ => Err(format!("serve, echo or fuzzed, not {command:?}").into()),
    };
    if let Err(why) = outcome {
        println!("failed {why}");
        std::process::exit(1);
    }
}

fn config() -> Config {
    Config {
        session: SessionConfig {
            max_frame: 16 << 20,
            hard_limit: 64 << 20,
            high_water: 32 << 20,
            low_water: 16 << 20,
            ..SessionConfig::default()
        },
        ..Config::default()
    }
}

/// Echoes what comes as what it came as, until it is killed. The text `close` is answered by closing.
fn serve(flags: &Flags) -> Result<(), Failure> {
    let echo = Callbacks::new(Whole)
        .on_open(|_, session, _| {
            if let Some(ws) = &session.peer().ws {
                let (origin, chosen) = (&ws.origin, &ws.subprotocol);
                println!(
                    "open {} {origin:?} {chosen:?} deflate={}",
                    ws.path, ws.deflate
                );
            }
            Ok(())
        })
        .on_message(|cx, session, message: Bytes| {
            if message == "close" {
                session.close();
            } else if cx.send(&message).is_err() {
                session.abort();
            }
        })
        .on_error(|_, _, error| println!("error {error}"))
        .on_close(|_, _, reason| println!("closed {reason}"));
    let mut reactor = Reactor::new(config(), echo)?;
    let ws = WsServer {
        paths: Vec::new(),
        subprotocols: flags.list("subprotocols"),
        message: WsMessage::AsReceived,
        ping: Duration::from_millis(flags.get("ping").unwrap_or("60000").parse()?),
        deflate: flags.deflate(),
        ..WsServer::default()
    };
    let options = ListenOptions {
        ws,
        ..ListenOptions::default()
    };
    let plain = reactor.listen("ws://127.0.0.1:0".parse()?, options.clone())?;
    println!(
        "listening {}",
        reactor.local_addr(plain).ok_or("no address")?
    );
    if let Some(certificate) = flags.get("certificate") {
        let tls = Some(ServerTls::from_files(certificate, flags.need("key")?)?);
        let id = reactor.listen(
            "wss://127.0.0.1:0".parse()?,
            ListenOptions { tls, ..options },
        )?;
        println!("listening {}", reactor.local_addr(id).ok_or("no address")?);
    }
    Ok(reactor.run()?)
}

fn client_options(flags: &Flags) -> Result<ConnectOptions, Failure> {
    let ws = WsClient {
        message: WsMessage::AsReceived,
        subprotocols: flags.list("subprotocols"),
        deflate: flags.deflate(),
        ..WsClient::default()
    };
    let tls = match flags.get("trusted") {
        Some(roots) => Some(ClientTls::trusting(roots)?),
        None => None,
    };
    Ok(ConnectOptions {
        ws,
        tls,
        ..ConnectOptions::default()
    })
}

/// Sends messages of many sizes, checks that they come back in order, closes.
fn echo(flags: &Flags) -> Result<(), Failure> {
    let to: Endpoint = flags.need("to")?.parse()?;
    let (tell, told) = channel();
    let came = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let message = |n: usize| {
        let size = SIZES[n % SIZES.len()];
        Bytes::from_iter((0..size).map(|at| ((n * 31 + at) % 251) as u8))
    };
    let (said, failed) = (tell.clone(), tell.clone());
    let client = Callbacks::new(Whole)
        .on_open(move |cx, session, _| {
            for n in 0..MESSAGES {
                let _ = cx.send(&message(n));
            }
            if let Some(ws) = &session.peer().ws {
                println!("open {:?} deflate={}", ws.subprotocol, ws.deflate);
            }
            Ok(())
        })
        .on_message(move |_, session, echoed| {
            let n = came.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if echoed != message(n) {
                let _ = said.send(Err(format!("echo {n} is another")));
            } else if n + 1 == MESSAGES {
                session.close();
            }
        })
        .on_close(move |_, _, reason| {
            let _ = tell.send(match reason {
                CloseReason::Local => Ok(()),
                other => Err(format!("closed: {other}")),
            });
        })
        .on_connect_error(move |_, error, _| {
            let _ = failed.send(Err(error.to_string()));
        });
    let mut reactor = Reactor::new(config(), client)?;
    reactor.connect(to, client_options(flags)?);
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    let outcome = told.recv_timeout(PATIENCE)?;
    handle.drain(Duration::from_secs(1));
    thread.join().map_err(|_| "the reactor panicked")??;
    outcome?;
    println!("done {MESSAGES}");
    Ok(())
}

/// What a session of the fuzzed client came to.
enum Told {
    Opened,
    Text(Bytes),
    Closed,
    Refused(ConnectorId, String),
}

/// Asks a fuzzing server how many cases there are, plays each, asks for a report.
fn fuzzed(flags: &Flags) -> Result<(), Failure> {
    let (at, agent) = (flags.need("at")?, flags.get("agent").unwrap_or("seamio"));
    let (tell, told) = channel();
    let mut reactor = Reactor::new(config(), player(tell))?;
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    let visit = |path: &str| -> Result<Option<Bytes>, Failure> {
        let to = format!("ws://{at}{path}").parse()?;
        let connector = handle.connect(to, client_options(flags)?);
        let (mut heard, mut opened) = (None, false);
        loop {
            match told.recv_timeout(PATIENCE)? {
                Told::Opened => opened = true,
                Told::Text(text) => heard = Some(text),
                // How a session ended that heard no message is told too.
                Told::Refused(id, why) if id == connector && !opened => return Err(why.into()),
                Told::Refused(..) => {}
                Told::Closed => {
                    handle.disconnect(connector);
                    return Ok(heard);
                }
            }
        }
    };
    let count = visit("/getCaseCount")?.ok_or("no number of cases")?;
    let count: usize = std::str::from_utf8(&count)?.trim().parse()?;
    for case in 1..=count {
        visit(&format!("/runCase?case={case}&agent={agent}"))?;
    }
    visit(&format!("/updateReports?agent={agent}"))?;
    handle.drain(Duration::from_secs(1));
    thread.join().map_err(|_| "the reactor panicked")??;
    println!("done {count}");
    Ok(())
}

/// Echoes within a case, tells what it hears elsewhere.
fn player(tell: Sender<Told>) -> Callbacks<Whole> {
    let (opened, closed, refused) = (tell.clone(), tell.clone(), tell.clone());
    let is_case = |session: &Session<Callbacks<Whole>>| {
        let ws = session.peer().ws.as_ref();
        ws.is_some_and(|ws| ws.path == "/runCase")
    };
    Callbacks::new(Whole)
        .on_open(move |_, _, _| {
            let _ = opened.send(Told::Opened);
            Ok(())
        })
        .on_message(move |cx, session, message: Bytes| {
            if !is_case(session) {
                let _ = tell.send(Told::Text(message));
            } else if cx.send(&message).is_err() {
                session.abort();
            }
        })
        .on_close(move |_, _, _| {
            let _ = closed.send(Told::Closed);
        })
        .on_connect_error(move |id, error, _| {
            let _ = refused.send(Told::Refused(id, error.to_string()));
        })
}

const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 4000, 65_535, 65_536, 200_000];
const MESSAGES: usize = 90;
const PATIENCE: Duration = Duration::from_secs(60);
