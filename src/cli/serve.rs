//! `seamio serve`: what the coordinator is started with, and how it is stopped.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Exit;
use super::keys;
use crate::config::{Flag, Serving, Settings, Source};
use crate::tc::server::{Error, Server, ServerHandle, Stopped, StoreChoice};
use crate::xid::NODE_MAX;

/// Arguments of `seamio serve`. Everything else is set by the file or the environment.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Address listened on [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    host: Option<String>,
    /// HOST or HOST:PORT that clients reach this coordinator at, written into every xid [default: the primary address]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "announced")]
    advertise: Option<String>,
    /// Seata's -h: the host of --advertise, with the port listened on
    #[arg(short = 'h', value_name = "HOST")]
    announced: Option<String>,
    /// Port listened on; 0 lets the system choose [default: 8091]
    #[arg(short, long, value_name = "N")]
    port: Option<String>,
    /// memory; journal: durable without a database (Seata's file means journal); or mysql://…, postgres://…, sqlite://…
    /// [default: journal]
    #[arg(short = 'm', long, visible_alias = "storeMode", value_name = "STORE")]
    store: Option<String>,
    /// Node, 0 to 1023, different on each coordinator of a cluster [default: drawn once, kept in the data directory; with
    /// a database one that is free there]
    #[arg(short = 'n', long, visible_alias = "serverNode", value_name = "N")]
    server_node: Option<String>,
    /// Directory of the journal [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Threads beside the network thread; 0 coordinates on the network thread itself [default: 1]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Configuration file (TOML); also SEAMIO_CONFIG
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<String>,
    /// Seata's flavour of configuration: has no effect
    #[arg(short = 'e', long = "seataEnv", hide = true)]
    flavour: Option<String>,
}

impl ServeArguments {
    /// What the flags set, as they are spelled in errors.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let all = [
            ("--host", "server.host", &self.host),
            ("--advertise", "server.advertise", &self.advertise),
            (SEATA_HOST_FLAG, "server.advertise", &self.announced),
            ("--port", "server.service-port", &self.port),
            ("--store", "store.mode", &self.store),
            ("--server-node", "server.node", &self.server_node),
            ("--data", "store.dir", &self.data),
            ("--workers", "server.workers", &self.workers),
        ];
        let given = all.into_iter().filter_map(|(spelling, key, value)| {
            value.clone().map(|value| Flag {
                spelling,
                key,
                value,
            })
        });
        given.collect()
    }
}

/// Serves until a signal or a failure ends it.
pub(super) fn run(arguments: &ServeArguments) -> Exit {
    let settings = match keys::load(&arguments.flags(), arguments.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return keys::wrong(&error),
    };
    start_log(&settings);
    let mut serving = match Serving::from_settings(&settings) {
        Ok(serving) => serving,
        Err(error) => return keys::wrong(&error),
    };
    if arguments.flavour.is_some() {
        serving
            .notes
            .push("flag -e has no effect: there is one configuration file".to_owned());
    }
    serving
        .notes
        .extend(few_descriptors(serving.server.connections_max));
    for warning in settings.warnings().iter().chain(&serving.notes) {
        log::warn!("{warning}");
    }
    if serving.node.is_none() && keeps_node(&serving.server.store) {
        match draw_node(&serving.server.store) {
            Ok(node) => serving.server.node = node,
            Err(error) => return refuse(&error),
        }
    }
    tell_settings(&settings, &serving);
    let server = match Server::bind(serving.server.clone()) {
        Ok(server) => server,
        Err(error) => return failed(&error),
    };
    if let Err(error) = stop_on_signals(server.handle(), serving.shutdown_wait) {
        return refuse(&format!("signals cannot be caught: {error}"));
    }
    log::info!(
        "xids begin with {}, node {}, {} transactions recovered",
        server.advertised(),
        server.node(),
        server.recovered()
    );
    let mut stdout = io::stdout();
    // Whoever closed standard output does not wait for the line.
    let _ = writeln!(stdout, "listening on {}", server.address()).and_then(|()| stdout.flush());
    match server.run() {
        Ok(Stopped { undecided: 0, live }) => {
            log::info!("stopped; {live} decided transactions go on at the next start");
            Exit::Done
        }
        Ok(Stopped { undecided, live }) => {
            log::warn!(
                "stopped; {undecided} of {live} transactions are undecided, all are durable"
            );
            Exit::Undecided
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Exit {
    eprintln!("seamio: {error}");
    match error {
        Error::Listen(..) => Exit::Usage,
        Error::Store(_) => Exit::Store,
        _ => Exit::Failed,
    }
}

fn refuse(problem: &str) -> Exit {
    eprintln!("seamio: {problem}");
    Exit::Usage
}

fn start_log(settings: &Settings) {
    let filter = settings.text("log.filter").unwrap_or("info");
    // An embedding test may have a logger already.
    let _ = env_logger::Builder::new().parse_filters(filter).try_init();
}

/// Every limit, and everything that somebody set, with its source.
fn tell_settings(settings: &Settings, serving: &Serving) {
    for (key, value, source) in settings.iter() {
        if key.limit || *source != Source::Default {
            log::info!("{} = {value} ({source})", key.name);
        }
    }
    log::info!("store: {}", serving.server.store);
}

/// A limit of the system that is met before ours is.
fn few_descriptors(connections_max: usize) -> Option<String> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    // "unlimited" is no number, and enough.
    let files: usize = line.split_whitespace().next()?.parse().ok()?;
    (files < connections_max + OWN_DESCRIPTORS).then(|| {
        format!(
            "the system allows {files} open files (ulimit -n), too few for \
             transport.connections-max = {connections_max}"
        )
    })
}

/// Whether the node is this process's matter; a shared store gives each coordinator one.
fn keeps_node(store: &StoreChoice) -> bool {
    matches!(store, StoreChoice::Journal(_) | StoreChoice::Memory)
}

/// The node kept in the data directory; drawn and kept when there is none, only drawn for a store without one.
fn draw_node(store: &StoreChoice) -> Result<u16, String> {
    let StoreChoice::Journal(dir) = store else {
        return random_node().map_err(|error| format!("no node can be drawn: {error}"));
    };
    let path = dir.join("node");
    kept_node(dir, &path).map_err(|error| {
        format!(
            "{}: the node of this coordinator cannot be kept: {error}",
            path.display()
        )
    })
}

fn kept_node(dir: &Path, path: &Path) -> io::Result<u16> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let node = text.trim().parse().ok().filter(|node| *node <= NODE_MAX);
            node.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no node"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let node = random_node()?;
            fs::create_dir_all(dir)?;
            let draft = path.with_extension("new");
            let mut file = File::create(&draft)?;
            writeln!(file, "{node}")?;
            file.sync_all()?;
            fs::rename(&draft, path)?;
            File::open(dir)?.sync_all()?;
            Ok(node)
        }
        Err(error) => Err(error),
    }
}

fn random_node() -> io::Result<u16> {
    let mut bytes = [0; 2];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u16::from_le_bytes(bytes) & NODE_MAX)
}

/// The first signal drains, a second one ends the process at once. What comes right behind the first is the same signal
/// told twice: `timeout` sends it to the process and to its group, a supervisor to every process it knows.
fn stop_on_signals(server: ServerHandle, wait: Duration) -> io::Result<()> {
    let (mut signals, sender) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, sender.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, sender)?;
    let wait_for_signals = move || -> io::Result<()> {
        let mut byte = [0];
        signals.read_exact(&mut byte)?;
        log::info!("stopping within {wait:?}: no transaction begins any more");
        server.drain(wait);
        signals.set_read_timeout(Some(SAME_SIGNAL))?;
        while signals.read_exact(&mut byte).is_ok() {}
        signals.set_read_timeout(None)?;
        signals.read_exact(&mut byte)?;
        log::warn!("stopped at once by a second signal; all transactions are durable");
        std::process::exit(Exit::Undecided as i32);
    };
    std::thread::Builder::new()
        .name("seamio-signals".into())
        .spawn(wait_for_signals)
        .map(drop)
}

/// How long after a signal another one counts as the same.
const SAME_SIGNAL: Duration = Duration::from_millis(200);
/// Sockets and files beside connections.
const OWN_DESCRIPTORS: usize = 64;
const SEATA_HOST_FLAG: &str = "-h";
