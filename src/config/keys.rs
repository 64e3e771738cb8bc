//! The configuration keys as data: parsing, `seamio config`, the help and the table printed at start are made from it.
//!
//! Names are Seata's (coordinator.md 7.2) where Seata has one, in kebab-case; camelCase, snake_case and a `seata.` in
//! front are accepted. What Seata knows and a seamio server has no use for is listed too, so that a configuration can
//! be taken over: such keys are named in a warning and have no effect.

use super::value::Kind;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in files, kebab-case with dots.
    pub name: &'static str,
    /// Other names, normalised.
    pub also: &'static [&'static str],
    /// The long flag of `seamio serve`, without dashes.
    pub flag: Option<&'static str>,
    /// Variables of Seata's images, read after `SEAMIO_…`.
    pub env_also: &'static [&'static str],
    /// What it holds.
    pub kind: Kind,
    /// The default as it would be written.
    pub default: &'static str,
    /// For people.
    pub meaning: &'static str,
    /// A limit: shown at start whatever its value.
    pub limit: bool,
}

impl Key {
    /// The environment variable: `SEAMIO_` and the flag, or the name when there is no flag.
    pub fn env(&self) -> String {
        let name = self.flag.unwrap_or(self.name);
        let upper = name.chars().map(|c| match c {
            '.' | '-' => '_',
            other => other.to_ascii_uppercase(),
        });
        "SEAMIO_".chars().chain(upper).collect()
    }
}

/// A key of Seata's that has no effect here.
#[derive(Debug)]
pub struct Ignored {
    /// Normalised name, or a prefix when it ends in a dot.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// The position of a key in [`KEYS`].
pub(super) fn find(written: &str) -> Option<usize> {
    let name = normalize(written);
    KEYS.iter()
        .position(|key| key.name == name || key.also.contains(&name.as_str()))
}

/// The reason why a key of Seata's has no effect.
pub(super) fn ignored(written: &str) -> Option<&'static Ignored> {
    let name = normalize(written);
    IGNORED.iter().find(|key| {
        if key.name.ends_with('.') {
            name.starts_with(key.name)
        } else {
            name == key.name
        }
    })
}

/// The known name that is nearest to a mistyped one, if any is near.
pub(super) fn nearest(written: &str) -> Option<&'static str> {
    let name = normalize(written);
    let nearest = KEYS.iter().min_by_key(|key| distance(key.name, &name))?;
    (distance(nearest.name, &name) <= 3).then_some(nearest.name)
}

/// kebab-case without the `seata.` in front.
fn normalize(written: &str) -> String {
    let written = written.strip_prefix("seata.").unwrap_or(written);
    let mut name = String::with_capacity(written.len() + 8);
    for c in written.chars() {
        if c.is_ascii_uppercase() {
            if !name.is_empty() && !name.ends_with(['.', '-']) {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        } else {
            name.push(if c == '_' { '-' } else { c });
        }
    }
    name
}

/// How many characters must be changed, added or taken away.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

const PLAIN: Key = Key {
    name: "",
    also: &[],
    flag: None,
    env_also: &[],
    kind: Kind::Text,
    default: "",
    meaning: "",
    limit: false,
};

const fn count(min: i64, max: i64) -> Kind {
    Kind::Count { min, max }
}

const fn time(min_ms: i64) -> Kind {
    Kind::Time { min_ms }
}

/// Every key, in the order of listings.
pub const KEYS: &[Key] = &[
    Key {
        name: "server.host",
        flag: Some("host"),
        default: "0.0.0.0",
        meaning: "address listened on",
        ..PLAIN
    },
    Key {
        name: "server.service-port",
        flag: Some("port"),
        env_also: &["SEATA_PORT"],
        kind: count(0, 65_535),
        default: "8091",
        meaning: "port listened on; 0 lets the system choose",
        ..PLAIN
    },
    Key {
        name: "server.advertise",
        flag: Some("advertise"),
        env_also: &["SEATA_IP"],
        meaning: "HOST or HOST:PORT that clients reach this coordinator at, written into every xid; \
                  empty: the address listened on, or the primary address of this machine",
        ..PLAIN
    },
    Key {
        name: "server.node",
        flag: Some("server-node"),
        env_also: &["SERVER_NODE"],
        meaning: "0 to 1023, different on each coordinator of a cluster, part of every id; \
                  empty: drawn once and kept in the data directory, with a database one that is free there",
        ..PLAIN
    },
    Key {
        name: "server.workers",
        flag: Some("workers"),
        kind: count(0, 64),
        default: "1",
        meaning: "threads beside the network thread; 0 coordinates on the network thread itself",
        ..PLAIN
    },
    Key {
        name: "store.mode",
        flag: Some("store"),
        env_also: &["STORE_MODE"],
        kind: Kind::Place,
        default: "journal",
        meaning: "memory (nothing survives the process), journal (durable, no database) or the URL of a database that \
                  several coordinators may share: mysql://, mariadb://, postgres://, postgresql://, and sqlite:// for \
                  one coordinator; Seata's file means journal, its db the database of store.db.url",
        ..PLAIN
    },
    Key {
        name: "store.session.mode",
        env_also: &["SESSION_STORE_MODE"],
        kind: Kind::Place,
        meaning: "if given, the same as store.mode: sessions and locks live in one store",
        ..PLAIN
    },
    Key {
        name: "store.lock.mode",
        env_also: &["LOCK_STORE_MODE"],
        kind: Kind::Place,
        meaning: "if given, the same as store.mode",
        ..PLAIN
    },
    Key {
        name: "store.dir",
        also: &["store.file.dir"],
        flag: Some("data"),
        default: "data",
        meaning: "directory of the journal; made when missing",
        ..PLAIN
    },
    Key {
        name: "store.journal.sync-delay",
        kind: time(0),
        default: "0ms",
        meaning: "waits so long before each sync of the journal: a slow disk, for measurements",
        ..PLAIN
    },
    Key {
        name: "store.sql.connections",
        kind: count(1, 64),
        default: "2",
        meaning: "connections that write to the database, each with a thread of its own; one more keeps the lease. \
                  SQLite has one",
        ..PLAIN
    },
    Key {
        name: "store.sql.batch-max",
        kind: count(1, 10_000),
        default: "256",
        meaning: "operations in one database transaction",
        ..PLAIN
    },
    Key {
        name: "store.sql.statement-timeout",
        kind: time(100),
        default: "10s",
        meaning: "how long the database may take for one round trip, and for a new connection, before the connection \
                  counts as lost",
        ..PLAIN
    },
    Key {
        name: "store.sql.retry-for",
        kind: time(0),
        default: "20s",
        meaning: "how long a decision or a branch is tried again while the database is away, before it is refused; a \
                  begin is refused at once",
        ..PLAIN
    },
    Key {
        name: "store.sql.lease",
        kind: time(1000),
        default: "9s",
        meaning: "how long after its last sign of life a coordinator counts as dead and others take over what it had; \
                  renewed every third of it. The same on all coordinators of a database",
        ..PLAIN
    },
    Key {
        name: "store.sql.java",
        kind: Kind::Word(&["none", "beside"]),
        default: "beside",
        meaning: "whether Java coordinators use the same tables: none, or beside (from 2.0 on; an older one that answers is \
                  refused either way)",
        ..PLAIN
    },
    Key {
        name: "store.db.url",
        kind: Kind::Place,
        meaning: "as in Seata, for store.mode = db: jdbc:mysql://, jdbc:mariadb://, jdbc:postgresql://, or a URL as \
                  store.mode takes it",
        ..PLAIN
    },
    Key {
        name: "store.db.user",
        meaning: "as in Seata, for store.mode = db",
        ..PLAIN
    },
    Key {
        name: "store.db.password",
        kind: Kind::Secret,
        meaning: "as in Seata, for store.mode = db; not encrypted",
        ..PLAIN
    },
    Key {
        name: "store.db.db-type",
        meaning: "as in Seata, for store.mode = db: mysql, mariadb or postgresql; empty: what store.db.url says",
        ..PLAIN
    },
    Key {
        name: "store.db.global-table",
        default: "global_table",
        meaning: "as in Seata; no other name is supported",
        ..PLAIN
    },
    Key {
        name: "store.db.branch-table",
        default: "branch_table",
        meaning: "as in Seata; no other name is supported",
        ..PLAIN
    },
    Key {
        name: "store.db.lock-table",
        default: "lock_table",
        meaning: "as in Seata; no other name is supported",
        ..PLAIN
    },
    Key {
        name: "store.db.distributed-lock-table",
        default: "distributed_lock",
        meaning: "as in Seata; no other name is supported",
        ..PLAIN
    },
    Key {
        name: "store.db.vgroup-table",
        default: "vgroup_table",
        meaning: "as in Seata; no other name is supported",
        ..PLAIN
    },
    Key {
        name: "store.public-key",
        meaning: "as in Seata, for an encrypted store.db.password: not supported, and must be empty for store.mode = db",
        ..PLAIN
    },
    Key {
        name: "server.recovery.committing-retry-period",
        kind: time(1),
        default: "1s",
        meaning: "wait before a commit of a branch is tried again the first time; it doubles with each try",
        ..PLAIN
    },
    Key {
        name: "server.recovery.rollbacking-retry-period",
        kind: time(1),
        default: "1s",
        meaning: "the same for a rollback",
        ..PLAIN
    },
    Key {
        name: "server.max-commit-retry-timeout",
        kind: Kind::TimeOrForever,
        default: "-1",
        meaning: "time after which a commit that does not get through is left to a person",
        ..PLAIN
    },
    Key {
        name: "server.max-rollback-retry-timeout",
        kind: Kind::TimeOrForever,
        default: "-1",
        meaning: "the same for a rollback",
        ..PLAIN
    },
    Key {
        name: "server.rollback-retry-timeout-unlock-enable",
        kind: Kind::Switch,
        default: "false",
        meaning: "frees the row locks of a rollback that is left to a person",
        ..PLAIN
    },
    Key {
        name: "server.retry-pause-max",
        kind: time(1),
        default: "10s",
        meaning: "longest wait between two tries of a branch",
        ..PLAIN
    },
    Key {
        name: "server.answer-within",
        kind: time(1),
        default: "25s",
        meaning: "a commit or rollback is answered at the latest so long after it came",
        ..PLAIN
    },
    Key {
        name: "server.retry-dead-threshold",
        kind: time(1),
        default: "130s",
        meaning: "a SAGA whose engine reported that it works on it is called when it says no more for so long",
        ..PLAIN
    },
    Key {
        name: "server.xa-takeover",
        kind: time(0),
        default: "10s",
        meaning: "how long an XA client must be gone before another host of its application finishes its branches",
        ..PLAIN
    },
    Key {
        name: "server.tombstone-life",
        kind: time(0),
        default: "10m",
        meaning: "how long an ended transaction is remembered",
        ..PLAIN
    },
    Key {
        name: "server.enable-parallel-handle-branch",
        kind: Kind::Switch,
        default: "false",
        meaning: "calls branches of different resources of one transaction at once",
        ..PLAIN
    },
    Key {
        name: "server.xaer-nota-retry-timeout",
        kind: time(0),
        default: "1m",
        meaning: "how long an XA branch that its resource does not know is tried again",
        ..PLAIN
    },
    Key {
        name: "server.undo.log-save-days",
        kind: count(1, 32_767),
        default: "7",
        meaning: "days that RMs keep undo logs of finished transactions",
        ..PLAIN
    },
    Key {
        name: "server.undo.log-delete-period",
        kind: Kind::TimeOrForever,
        default: "1d",
        meaning: "how often RMs are told to clean undo logs; -1 never",
        ..PLAIN
    },
    Key {
        name: "server.application-data-limit",
        kind: Kind::Bytes {
            min: 0,
            max: 4 << 20,
        },
        default: "64000",
        meaning: "longest application data of a branch, when checked",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "server.application-data-limit-check",
        kind: Kind::Switch,
        default: "true",
        meaning: "refuses branches whose application data is longer; false allows up to 4MiB",
        ..PLAIN
    },
    Key {
        name: "server.java-answers",
        kind: Kind::Switch,
        default: "false",
        meaning: "answers clients of 1.7 and later as a Java coordinator would",
        ..PLAIN
    },
    Key {
        name: "server.globals-max",
        kind: count(1, 100_000_000),
        default: "1000000",
        meaning: "live global transactions; one more begin is refused",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "server.branches-per-global-max",
        kind: count(1, 1_000_000),
        default: "10000",
        meaning: "branches of one global transaction",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "server.locks-max",
        kind: count(1, 1_000_000_000),
        default: "10000000",
        meaning: "locked rows",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "server.tombstones-max",
        kind: count(1, 100_000_000),
        default: "500000",
        meaning: "ended transactions remembered; above it the oldest go before their time",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.heartbeat",
        kind: Kind::Switch,
        default: "true",
        meaning: "closes connections that are silent for transport.idle-timeout",
        ..PLAIN
    },
    Key {
        name: "transport.idle-timeout",
        kind: time(100),
        default: "15s",
        meaning: "silence after which a connection is closed, registered or not",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.rpc-tc-request-timeout",
        kind: time(1),
        default: "15s",
        meaning: "wait for the answer of an RM",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.shutdown.wait",
        kind: time(0),
        default: "13s",
        meaning: "how long a stop waits for transactions in flight",
        ..PLAIN
    },
    Key {
        name: "transport.frame-bytes-max",
        kind: Kind::Bytes {
            min: 1 << 10,
            max: 8 << 20,
        },
        default: "8MiB",
        meaning: "longest frame that is read",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.connections-max",
        kind: count(1, 1_000_000),
        default: "20000",
        meaning: "open connections",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.connections-per-ip-max",
        kind: count(1, 1_000_000),
        default: "10000",
        meaning: "open connections from one address",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.requests-max",
        kind: count(16, 10_000_000),
        default: "100000",
        meaning: "requests taken and not yet answered; one more begin is refused, and at twice as many reading pauses",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.requests-per-connection-max",
        kind: count(16, 10_000_000),
        default: "20000",
        meaning: "requests of one connection taken and not yet answered; one more begin is refused",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.calls-per-route-max",
        kind: count(1, 1_000_000),
        default: "256",
        meaning: "phase-two calls in flight to one connection for one resource; more wait",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.queued-bytes-max",
        kind: Kind::Bytes {
            min: 1 << 16,
            max: 1 << 30,
        },
        default: "16MiB",
        meaning: "answers queued for one connection that does not read; it is closed when it is met",
        limit: true,
        ..PLAIN
    },
    Key {
        name: "transport.enable-tc-server-batch-send-response",
        kind: Kind::Switch,
        default: "false",
        meaning: "answers merged requests of clients from 1.5 up to 2.3 with one message that carries ids",
        ..PLAIN
    },
    Key {
        name: "transport.type",
        kind: Kind::Word(&["TCP"]),
        default: "TCP",
        meaning: "as in Seata",
        ..PLAIN
    },
    Key {
        name: "transport.serialization",
        default: "seata",
        meaning: "as in Seata: accepted serializers, joined by commas; seata must be among them",
        ..PLAIN
    },
    Key {
        name: "registry.type",
        kind: Kind::Word(&["file"]),
        default: "file",
        meaning: "as in Seata; this build registers nowhere",
        ..PLAIN
    },
    Key {
        name: "config.type",
        kind: Kind::Word(&["file"]),
        default: "file",
        meaning: "as in Seata; this build reads files and the environment",
        ..PLAIN
    },
    Key {
        name: "log.filter",
        default: "info",
        meaning: "what is logged: a level, or target=level pairs joined by commas",
        ..PLAIN
    },
];

/// Seata's keys without effect.
pub const IGNORED: &[Ignored] = &[
    Ignored {
        name: "server.port",
        reason: "this build serves no HTTP; the service port is server.service-port",
    },
    Ignored {
        name: "server.enable-check-auth",
        reason: "every client is accepted, as Seata's own checker does",
    },
    Ignored {
        name: "server.recovery.async-committing-retry-period",
        reason: "server.recovery.committing-retry-period counts for answered commits too",
    },
    Ignored {
        name: "server.recovery.asyn-committing-retry-period",
        reason: "server.recovery.committing-retry-period counts for answered commits too",
    },
    Ignored {
        name: "server.recovery.timeout-retry-period",
        reason: "a timeout is noticed when it happens",
    },
    Ignored {
        name: "server.distributed-lock-expire-time",
        reason: "no loop needs a lock",
    },
    Ignored {
        name: "server.session.",
        reason: "branches are removed as they end",
    },
    Ignored {
        name: "server.enable-parallel-request-handle",
        reason: "one owner decides in order",
    },
    Ignored {
        name: "server.rocketmq-msg-timeout",
        reason: "RocketMQ is not supported",
    },
    Ignored {
        name: "server.raft.",
        reason: "there is no raft mode",
    },
    Ignored {
        name: "server.ratelimit.",
        reason: "begins are limited by the number of live transactions",
    },
    Ignored {
        name: "store.file.flush-disk-mode",
        reason: "the journal always syncs before it answers",
    },
    Ignored {
        name: "store.file.",
        reason: "the journal needs no such setting",
    },
    Ignored {
        name: "store.db.",
        reason: "a setting of Java's connection pool; see store.sql.connections",
    },
    Ignored {
        name: "store.redis.",
        reason: "there is no redis store",
    },
    Ignored {
        name: "metrics.",
        reason: "this build exports no metrics",
    },
    Ignored {
        name: "transport.server",
        reason: "the event loop is always the system's best",
    },
    Ignored {
        name: "transport.compressor",
        reason: "an answer is compressed as its request was",
    },
    Ignored {
        name: "transport.thread-factory.",
        reason: "see server.workers",
    },
    Ignored {
        name: "transport.min-server-pool-size",
        reason: "see server.workers",
    },
    Ignored {
        name: "transport.max-server-pool-size",
        reason: "see server.workers",
    },
    Ignored {
        name: "transport.max-task-queue-size",
        reason: "see transport.requests-max",
    },
    Ignored {
        name: "transport.keep-alive-time",
        reason: "threads are never stopped and started",
    },
    Ignored {
        name: "log.exception-rate",
        reason: "each state change is logged once",
    },
    Ignored {
        name: "registry.",
        reason: "only registry.type = file is supported",
    },
    Ignored {
        name: "config.",
        reason: "only config.type = file is supported",
    },
    Ignored {
        name: "service.",
        reason: "a setting of clients",
    },
    Ignored {
        name: "client.",
        reason: "a setting of clients",
    },
    Ignored {
        name: "console.",
        reason: "this build has no console",
    },
    Ignored {
        name: "security.",
        reason: "this build has no console",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_and_every_name_is_normal_and_unique() {
        let mut seen = Vec::new();
        for key in KEYS {
            assert!(key.kind.parse(key.default).is_ok(), "{}", key.name);
            assert!(!key.meaning.is_empty(), "{}", key.name);
            for name in std::iter::once(&key.name).chain(key.also) {
                assert_eq!(normalize(name), **name);
                assert!(!seen.contains(name), "{name} twice");
                assert!(
                    ignored(name).is_none_or(|i| i.name.ends_with('.')),
                    "{name}"
                );
                seen.push(name);
            }
        }
    }

    #[test]
    fn spellings_of_seata_are_understood() {
        for (written, name) in [
            (
                "server.maxCommitRetryTimeout",
                "server.max-commit-retry-timeout",
            ),
            (
                "seata.server.max-commit-retry-timeout",
                "server.max-commit-retry-timeout",
            ),
            (
                "transport.rpcTcRequestTimeout",
                "transport.rpc-tc-request-timeout",
            ),
            ("store.file.dir", "store.dir"),
            ("server.service_port", "server.service-port"),
        ] {
            assert_eq!(
                find(written).map(|at| KEYS[at].name),
                Some(name),
                "{written}"
            );
        }
        assert!(ignored("store.db.maxConn").is_some());
        assert!(ignored("server.recovery.asynCommittingRetryPeriod").is_some());
        assert!(ignored("server.recovery.asyncCommittingRetryPeriod").is_some());
        assert!(ignored("server.nothing").is_none());
        assert_eq!(nearest("server.hots"), Some("server.host"));
        assert_eq!(nearest("quite.another"), None);
    }

    #[test]
    fn variables_are_made_from_flags_and_names() {
        assert_eq!(
            KEYS[find("store.mode").expect("known")].env(),
            "SEAMIO_STORE"
        );
        assert_eq!(
            KEYS[find("transport.idle-timeout").expect("known")].env(),
            "SEAMIO_TRANSPORT_IDLE_TIMEOUT"
        );
    }
}
