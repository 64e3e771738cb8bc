//! Our end of the conversations with getty: an echo server, or a client that checks its echoes. Takes the same flags as
//! the Go program in `../peer` and prints the same lines; `../README.md` describes both. Run by `tests/interop/getty/run`.

mod drive;
mod serve;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use seamio::net::{
    ClientTls, Compression, Config, ConnectOptions, DeflateLevel, Endpoint, ListenOptions,
    ServerTls, SessionConfig, WsDeflate,
};

type Failure = Box<dyn std::error::Error>;

/// What the command line asks for.
struct Options {
    transport: String,
    address: String,
    compression: Compression,
    mode: Mode,
    /// Per session.
    messages: usize,
    /// Messages under way per session.
    window: usize,
    sessions: usize,
    /// Lengths of the payloads, in turn.
    sizes: Vec<usize>,
    /// Period of `on_tick`.
    cron: Duration,
    /// Time without progress after which the client gives up.
    patience: Duration,
    /// Begin UDP sessions as getty does.
    connect_ping: bool,
    /// PEM files; empty where there is no encryption.
    certificate: String,
    key: String,
    trusted: String,
}

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Sends, checks the echoes, closes.
    Echo,
    /// The same with every frame in parts that arrive apart.
    Split,
    /// Twice: once, and again when the server has come back.
    Restart,
    /// Counts the echoes of what ticks send.
    Beats,
    /// Asks the server to close at the end and waits for it.
    Remote,
    /// Sends everything and closes without waiting for echoes.
    Mute,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let outcome = Options::parse(arguments).and_then(|options| match command.as_str() {
        "serve" => serve::run(options),
        "drive" => drive::run(options),
        _ => Err(format!("serve or drive, not {command:?}").into()),
    });
    if let Err(why) = outcome {
        println!("failed {why}");
        std::process::exit(1);
    }
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
        let mut given = HashMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or("a flag without a value")?;
            given.insert(name.trim_start_matches('-').to_owned(), value);
        }
        let mut take = |name: &str, otherwise: &str| -> String {
            given.remove(name).unwrap_or_else(|| otherwise.into())
        };
        let options = Options {
            transport: take("transport", "tcp"),
            address: take("at", ""),
            compression: compression(&take("compress", "none"))?,
            mode: mode(&take("mode", "echo"))?,
            messages: take("messages", "100").parse()?,
            window: take("window", "16").parse()?,
            sessions: take("sessions", "1").parse()?,
            sizes: (take("sizes", "1,5,100,1000").split(','))
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            cron: milliseconds(&take("cron", "0ms"))?,
            patience: milliseconds(&take("patience", "10000ms"))?,
            connect_ping: take("connect-ping", "no") == "yes",
            certificate: take("certificate", ""),
            key: take("key", ""),
            trusted: take("trusted", ""),
        };
        match given.keys().next() {
            Some(unknown) => Err(format!("unknown flag {unknown}").into()),
            None => Ok(options),
        }
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let path = if self.speaks_websocket() { PATH } else { "" };
        Ok(format!("{}://{}{path}", self.transport, self.address).parse()?)
    }

    fn speaks_websocket(&self) -> bool {
        self.transport.starts_with("ws")
    }

    /// WebSocket has a compression of its own.
    fn deflate(&self) -> Option<WsDeflate> {
        (self.compression != Compression::None).then(WsDeflate::default)
    }

    fn config(&self) -> Config {
        let mut session = SessionConfig {
            tick: self.cron,
            ..SessionConfig::default()
        };
        if !self.speaks_websocket() {
            session.compression = self.compression;
        }
        Config {
            session,
            ..Config::default()
        }
    }

    fn listening(&self) -> Result<ListenOptions, Failure> {
        let mut options = ListenOptions::default();
        options.ws.paths = vec![PATH.into()];
        options.ws.deflate = self.deflate();
        if !self.certificate.is_empty() {
            options.tls = Some(ServerTls::from_files(&self.certificate, &self.key)?);
        }
        Ok(options)
    }

    fn connecting(&self) -> Result<ConnectOptions, Failure> {
        let mut options = ConnectOptions {
            connections: self.sessions,
            connect_ping: self.connect_ping,
            ..ConnectOptions::default()
        };
        options.ws.deflate = self.deflate();
        if !self.trusted.is_empty() {
            options.tls = Some(ClientTls::trusting(&self.trusted)?);
        }
        options.backoff.base = Duration::from_millis(50);
        options.backoff.cap = Duration::from_millis(500);
        Ok(options)
    }

    /// The n-th message, as the Go program makes it.
    fn payload(&self, n: usize) -> Bytes {
        let length = self.sizes[n % self.sizes.len()];
        (0..length)
            .map(|i| (n * 31 + (i % 64) * 7 + (i >> 10)) as u8)
            .collect()
    }
}

fn compression(name: &str) -> Result<Compression, Failure> {
    Ok(match name {
        "none" => Compression::None,
        "zip" => Compression::Deflate(DeflateLevel::Default),
        "speed" => Compression::Deflate(DeflateLevel::Fast),
        "best" => Compression::Deflate(DeflateLevel::Best),
        "huffman" => Compression::Deflate(DeflateLevel::HuffmanOnly),
        "snappy" => Compression::Snappy,
        _ => return Err(format!("compress: {name}").into()),
    })
}

fn mode(name: &str) -> Result<Mode, Failure> {
    Ok(match name {
        "echo" => Mode::Echo,
        "split" => Mode::Split,
        "restart" => Mode::Restart,
        "beats" => Mode::Beats,
        "remote" => Mode::Remote,
        "mute" => Mode::Mute,
        _ => return Err(format!("mode: {name}").into()),
    })
}

fn milliseconds(text: &str) -> Result<Duration, Failure> {
    let number = text.strip_suffix("ms").ok_or("durations are given in ms")?;
    Ok(Duration::from_millis(number.parse()?))
}

/// What a client sends to be hung up on.
const CLOSE: &[u8] = b"close";

/// Where WebSocket is spoken.
const PATH: &str = "/echo";
