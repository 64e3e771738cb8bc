//! From settings to what a server is started with.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "sql-store")]
use super::database;
use super::{Error, Settings, Source};
use crate::tc::CoordinatorConfig;
use crate::tc::server::{ServerConfig, StoreChoice};
use crate::tc::store::StoreLimits;
use crate::xid::NODE_MAX;

/// What `seamio serve` is started with.
#[derive(Clone, Debug)]
pub struct Serving {
    /// For the server; its node is 0 until somebody draws one when [`Serving::node`] is None.
    pub server: ServerConfig,
    /// The node that was set.
    pub node: Option<u16>,
    /// How long a stop waits.
    pub shutdown_wait: Duration,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Serving {
    /// Checks what single keys cannot show and resolves names.
    pub fn from_settings(settings: &Settings) -> Result<Self, Error> {
        let mut notes = Vec::new();
        #[cfg_attr(not(feature = "sql-store"), expect(unused_mut))]
        let mut store = store(settings, &mut notes)?;
        serializers(settings)?;
        let host = host(settings)?;
        let port = u16::try_from(settings.number("server.service-port")).expect("its range");
        let (advertised_host, advertised_port) = advertised(settings, host, &mut notes)?;
        let node = node(settings)?;
        #[cfg(feature = "sql-store")]
        if let StoreChoice::Sql(config) = &mut store {
            config.node = node;
        }
        let idle = settings.time("transport.idle-timeout");
        let coordinator = coordinator(settings);
        let server = ServerConfig {
            listen: SocketAddr::new(host, port),
            advertised_host,
            advertised_port,
            node: node.unwrap_or(0),
            workers: settings.size("server.workers"),
            store,
            store_limits: StoreLimits {
                globals_max: coordinator.globals_max,
                branches_per_global_max: coordinator.branches_per_global_max,
                locks_max: settings.size("server.locks-max"),
                tombstones_max: settings.size("server.tombstones-max"),
                application_data_bytes_max: coordinator.application_data_max,
                ..StoreLimits::default()
            },
            sync_delay: settings.time("store.journal.sync-delay"),
            coordinator,
            idle_timeout: settings.is_on("transport.heartbeat").then_some(idle),
            frame_bytes_max: settings.size("transport.frame-bytes-max"),
            connections_max: settings.size("transport.connections-max"),
            connections_per_ip_max: settings.size("transport.connections-per-ip-max"),
            queued_bytes_max: settings.size("transport.queued-bytes-max"),
        };
        Ok(Self {
            server,
            node,
            shutdown_wait: settings.time("transport.shutdown.wait"),
            notes,
        })
    }
}

fn coordinator(settings: &Settings) -> CoordinatorConfig {
    let limited = settings.is_on("server.application-data-limit-check");
    let undo_log_days = settings.number("server.undo.log-save-days");
    let defaults = CoordinatorConfig::default();
    CoordinatorConfig {
        java_answers: settings.is_on("server.java-answers"),
        batch_responses: settings.is_on("transport.enable-tc-server-batch-send-response"),
        parallel_branches: settings.is_on("server.enable-parallel-handle-branch"),
        call_timeout: settings.time("transport.rpc-tc-request-timeout"),
        answer_within: settings.time("server.answer-within"),
        commit_retry_first: settings.time("server.recovery.committing-retry-period"),
        rollback_retry_first: settings.time("server.recovery.rollbacking-retry-period"),
        retry_pause_max: settings.time("server.retry-pause-max"),
        commit_retry_timeout: settings.time_or_forever("server.max-commit-retry-timeout"),
        rollback_retry_timeout: settings.time_or_forever("server.max-rollback-retry-timeout"),
        rollback_retry_timeout_unlock: settings
            .is_on("server.rollback-retry-timeout-unlock-enable"),
        xaer_nota_grace: settings.time("server.xaer-nota-retry-timeout"),
        saga_silence: settings.time("server.retry-dead-threshold"),
        xa_takeover: settings.time("server.xa-takeover"),
        tombstone_life: settings.time("server.tombstone-life"),
        undo_log_period: settings.time("server.undo.log-delete-period"),
        undo_log_days: i16::try_from(undo_log_days).expect("its range"),
        globals_max: settings.size("server.globals-max"),
        branches_per_global_max: settings.size("server.branches-per-global-max"),
        held_max: settings.size("transport.requests-max"),
        held_per_channel_max: settings.size("transport.requests-per-connection-max"),
        application_data_max: if limited {
            settings.size("server.application-data-limit")
        } else {
            APPLICATION_DATA_UNCHECKED_MAX
        },
        calls_per_route_max: settings.size("transport.calls-per-route-max"),
        ..defaults
    }
}

fn store(settings: &Settings, notes: &mut Vec<String>) -> Result<StoreChoice, Error> {
    let mode = mode(settings, "store.mode")?;
    for name in ["store.session.mode", "store.lock.mode"] {
        if settings.text(name).is_some() && self::mode(settings, name)? != mode {
            let problem = "sessions and locks live in one store, the one of store.mode";
            return Err(settings.refuse(name, problem));
        }
    }
    if settings
        .text("store.mode")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("file"))
    {
        notes.push("store.mode = file means journal: durable, other files than Seata's".to_owned());
    }
    Ok(match mode {
        Mode::Memory => StoreChoice::Memory,
        Mode::Journal => {
            let dir = settings.text("store.dir");
            let dir = dir.ok_or_else(|| settings.refuse("store.dir", "must not be empty"))?;
            StoreChoice::Journal(PathBuf::from(dir))
        }
        #[cfg(feature = "sql-store")]
        Mode::Url(_) => StoreChoice::Sql(database::of_url(settings, notes)?),
        #[cfg(feature = "sql-store")]
        Mode::Seata => StoreChoice::Sql(database::of_seata(settings, notes)?),
        #[cfg(not(feature = "sql-store"))]
        Mode::Url(_) | Mode::Seata => {
            return Err(settings.refuse("store.mode", super::WITHOUT_SQL));
        }
    })
}

#[derive(Clone, PartialEq, Eq)]
enum Mode {
    Memory,
    Journal,
    /// The database of `store.db.url`.
    Seata,
    /// The database of this URL.
    Url(String),
}

fn mode(settings: &Settings, name: &str) -> Result<Mode, Error> {
    let text = settings.text(name).unwrap_or_default();
    let problem = match text.to_ascii_lowercase().as_str() {
        "memory" => return Ok(Mode::Memory),
        "journal" | "file" => return Ok(Mode::Journal),
        "db" => return Ok(Mode::Seata),
        "redis" => {
            "there is no redis store; use journal (durable, no database) or the URL of a database"
        }
        "raft" => {
            "there is no raft mode; use journal (durable, no database) or the URL of a database"
        }
        url if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => {
            return Ok(Mode::Url(text.to_owned()));
        }
        url if url.starts_with("jdbc:") => {
            "a JDBC URL belongs into store.db.url, with store.mode = db"
        }
        _ => {
            "expected journal, memory, db or a URL that begins with mysql://, mariadb://, postgres://, \
              postgresql:// or sqlite://"
        }
    };
    // A URL may hold a password: it is not repeated.
    Err(settings.refuse(name, problem))
}

fn serializers(settings: &Settings) -> Result<(), Error> {
    let name = "transport.serialization";
    let accepted = settings.text(name).unwrap_or_default();
    let seata = accepted
        .split(',')
        .any(|one| one.trim().eq_ignore_ascii_case("seata"));
    seata
        .then_some(())
        .ok_or_else(|| settings.refuse(name, "expected a list with seata in it"))
}

fn host(settings: &Settings) -> Result<IpAddr, Error> {
    let host = settings.text("server.host").unwrap_or("0.0.0.0");
    resolve(host).ok_or_else(|| {
        settings.refuse(
            "server.host",
            format!("expected an address to listen on, got \"{host}\""),
        )
    })
}

/// The host and, when it was given, the port of xids.
fn advertised(
    settings: &Settings,
    host: IpAddr,
    notes: &mut Vec<String>,
) -> Result<(String, Option<u16>), Error> {
    let name = "server.advertise";
    let source = settings.source(name);
    let as_seata = *source == Source::Flag("-h") || *source == Source::Variable("SEATA_IP".into());
    match settings.text(name) {
        Some(ignored @ ("127.0.0.1" | "0.0.0.0")) if as_seata => {
            notes.push(format!("{source} = {ignored} is ignored, as Seata does"));
        }
        Some(text) if as_seata => {
            let address = resolve(text).ok_or_else(|| {
                settings.refuse(name, format!("\"{text}\" is no address and no known name"))
            })?;
            return Ok((address.to_string(), None));
        }
        Some(text) => {
            return announced(text).ok_or_else(|| {
                settings.refuse(name, format!("expected HOST or HOST:PORT, got \"{text}\""))
            });
        }
        None => {}
    }
    if !host.is_unspecified() {
        return Ok((host.to_string(), None));
    }
    let address = primary_address().unwrap_or_else(|| {
        notes.push("this machine has no route to elsewhere: xids name 127.0.0.1".to_owned());
        IpAddr::from([127, 0, 0, 1])
    });
    Ok((address.to_string(), None))
}

/// An IPv6 address has brackets when a port follows; in xids it has none, as Seata writes it.
fn announced(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_string(), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), Some(address.port())));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    (!host.is_empty() && host.chars().all(legal)).then(|| (host.to_owned(), port))
}

fn node(settings: &Settings) -> Result<Option<u16>, Error> {
    let name = "server.node";
    let parsed = settings.text(name).map(|text| {
        text.parse::<u16>()
            .ok()
            .filter(|node| *node <= NODE_MAX)
            .ok_or_else(|| {
                settings.refuse(
                    name,
                    format!("expected a number from 0 to {NODE_MAX}, got \"{text}\""),
                )
            })
    });
    parsed.transpose()
}

fn resolve(host: &str) -> Option<IpAddr> {
    host.parse()
        .ok()
        .or_else(|| Some((host, 0).to_socket_addrs().ok()?.next()?.ip()))
}

/// The address that packets to elsewhere would leave from. A datagram socket that is connected sends nothing.
fn primary_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(ELSEWHERE).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

const SCHEMES: &[&str] = &[
    "mysql://",
    "mariadb://",
    "postgres://",
    "postgresql://",
    "sqlite://",
];
/// An address kept for documentation: nobody has it.
const ELSEWHERE: &str = "192.0.2.1:9";
/// Frames end at 8 MiB, and a frame may hold several branches.
const APPLICATION_DATA_UNCHECKED_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flag;

    fn serving(file: &str) -> Result<Serving, Error> {
        Serving::from_settings(&Settings::resolve(&[], &[], Some(("f", file)))?)
    }

    fn with_flag(spelling: &'static str, key: &'static str, value: &str) -> Result<Serving, Error> {
        let flag = Flag {
            spelling,
            key,
            value: value.to_owned(),
        };
        Serving::from_settings(&Settings::resolve(&[flag], &[], None)?)
    }

    #[test]
    fn store_names_of_seata_mean_journal_or_say_what_to_use() {
        for name in ["journal", "file", "FILE"] {
            let serving = serving(&format!("store.mode = '{name}'\nstore.file.dir = 'd'\n"));
            assert_eq!(
                serving.expect(name).server.store,
                StoreChoice::Journal("d".into())
            );
        }
        for name in [
            "redis",
            "raft",
            "redis://u:secret@h",
            "jdbc:mysql://h/d",
            "",
        ] {
            let error = serving(&format!("\nstore.mode = '{name}'\n")).expect_err(name);
            assert_eq!(
                (error.place.as_str(), error.key.as_deref()),
                ("f:2", Some("store.mode"))
            );
            assert!(!error.to_string().contains("secret"));
        }
        if cfg!(not(feature = "sql-store")) {
            let error = serving("store.mode = 'mysql://u:secret@h/d'\n").expect_err("none");
            assert!(error.problem.contains("feature sql-store"), "{error}");
        }
        assert!(serving("store.mode = 'file'\nstore.lock.mode = 'journal'\n").is_ok());
        assert!(serving("store.lock.mode = 'memory'\n").is_err_and(|e| e.place == "f:1"));
    }

    #[test]
    fn what_is_announced_follows_flags_of_both_kinds() {
        let announced = |spelling, value| {
            let server = with_flag(spelling, "server.advertise", value)
                .expect(value)
                .server;
            (server.advertised_host, server.advertised_port)
        };
        assert_eq!(
            announced("--advertise", "tc-1.example:9000"),
            ("tc-1.example".into(), Some(9000))
        );
        assert_eq!(
            announced("--advertise", "tc-1.example"),
            ("tc-1.example".into(), None)
        );
        assert_eq!(
            announced("--advertise", "[fe80::1]:9"),
            ("fe80::1".into(), Some(9))
        );
        assert_eq!(
            announced("--advertise", "127.0.0.1"),
            ("127.0.0.1".into(), None)
        );
        assert_eq!(announced("-h", "10.1.2.3"), ("10.1.2.3".into(), None));
        let ignored = with_flag("-h", "server.advertise", "127.0.0.1").expect("valid");
        assert!(ignored.notes.iter().any(|note| note.contains("ignored")));
        assert!(with_flag("--advertise", "server.advertise", "a b").is_err());
        let local = with_flag("--host", "server.host", "127.0.0.1").expect("valid");
        assert_eq!(local.server.advertised_host, "127.0.0.1");
    }

    #[test]
    fn nodes_have_a_range() {
        assert_eq!(
            with_flag("-n", "server.node", "1023").expect("valid").node,
            Some(1023)
        );
        assert_eq!(serving("").expect("valid").node, None);
        let error = with_flag("--server-node", "server.node", "1024").expect_err("too great");
        assert!(
            error
                .to_string()
                .contains("flag --server-node: server.node: expected a number")
        );
    }
}
