//! The client that is cut off, and the one that comes after it.

use std::net::SocketAddr;
use std::time::Duration;

use seamio::client::at::{At, AtOptions, LockRetry};
use seamio::client::{Background, ClientOptions, File, Seata};
use seamio::net::{Backoff, ConnectOptions};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{MySql, Pool, Postgres, Sqlite};
use tokio::task::JoinHandle;

use super::knife::{Fault, Knife};
use super::speech::Speech;
use crate::database::{Place, Tried};

/// A database whose connections can be cut.
pub(super) trait Severed: Tried {
    /// What can happen on the way to it. The way to SQLite is no connection: its clients are killed as processes.
    const FAULTS: &'static [Fault];

    /// A pool that reaches the place by way of the knife.
    fn through(place: &Place<Self>, knife: &mut Knife) -> Pool<Self>;
}

impl Severed for MySql {
    const FAULTS: &'static [Fault] = EVERY_FAULT;

    fn through(place: &Place<Self>, knife: &mut Knife) -> Pool<Self> {
        let options: MySqlConnectOptions = place.pool.connect_options().as_ref().clone();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let door = knife.door(Speech::MariaDb, server);
        let options = options.host(&door.ip().to_string()).port(door.port());
        // The knife reads along.
        let options = options.ssl_mode(MySqlSslMode::Disabled);
        pool(MySqlPoolOptions::new()).connect_lazy_with(options)
    }
}

impl Severed for Postgres {
    const FAULTS: &'static [Fault] = EVERY_FAULT;

    fn through(place: &Place<Self>, knife: &mut Knife) -> Pool<Self> {
        let options: PgConnectOptions = place.pool.connect_options().as_ref().clone();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let door = knife.door(Speech::Postgres, server);
        let options = options.host(&door.ip().to_string()).port(door.port());
        let options = options.ssl_mode(PgSslMode::Disable);
        pool(PgPoolOptions::new()).connect_lazy_with(options)
    }
}

impl Severed for Sqlite {
    const FAULTS: &'static [Fault] = &[Fault::LostBefore, Fault::LostBehind, Fault::Held];

    fn through(place: &Place<Self>, _knife: &mut Knife) -> Pool<Self> {
        let options = place.pool.connect_options().as_ref().clone();
        pool(SqlitePoolOptions::new()).connect_lazy_with(options)
    }
}

const EVERY_FAULT: &[Fault] = &[
    Fault::Kill,
    Fault::LostBefore,
    Fault::LostBehind,
    Fault::Held,
];

/// Without a test of each connection before its use, which would be one step more between any two, and would hide what was cut.
pub(super) fn pool<DB: Tried>(options: PoolOptions<DB>) -> PoolOptions<DB> {
    let options = options.max_connections(2).test_before_acquire(false);
    options.acquire_timeout(Duration::from_secs(20))
}

/// A client with its databases.
pub(super) struct Client<DB: Tried> {
    pub(super) seata: Seata,
    pub(super) ats: Vec<At<DB>>,
    background: JoinHandle<()>,
}

impl<DB: Tried> Client<DB> {
    pub(super) async fn new(coordinator: SocketAddr, pools: Vec<Pool<DB>>) -> Self {
        Self::new_with(coordinator, pools, tokio::spawn).await
    }

    /// Its second phases run as the host says.
    pub(super) async fn new_with(
        coordinator: SocketAddr,
        pools: Vec<Pool<DB>>,
        spawn: impl FnOnce(Background) -> JoinHandle<()>,
    ) -> Self {
        let (seata, background) = connect(coordinator).await;
        let background = spawn(background);
        let mut ats = Vec::new();
        for (index, pool) in pools.into_iter().enumerate() {
            let mut options = AtOptions::new(resource_id(index)).create_undo_log();
            options.lock_retry = LockRetry {
                interval: Duration::from_millis(2),
                times: 3,
            };
            let at = seata.at(pool, options).await;
            ats.push(at.expect("prepared"));
        }
        Self {
            seata,
            ats,
            background,
        }
    }

    /// Ends it, whatever it is at.
    pub(super) async fn end(self) {
        self.seata.close(Duration::ZERO).await;
        self.background.abort();
    }
}

/// A client without databases.
pub(super) async fn connect(coordinator: SocketAddr) -> (Seata, Background) {
    let built = Seata::builder()
        .application("cuts")
        .registry(File::new([coordinator.to_string()]))
        .options(ClientOptions {
            seed: 1,
            ..ClientOptions::default()
        })
        .connect_options(ConnectOptions {
            backoff: Backoff {
                base: Duration::from_millis(5),
                cap: Duration::from_millis(50),
                ..Backoff::default()
            },
            ..ConnectOptions::default()
        })
        .build();
    built.await.expect("a coordinator")
}

/// What the coordinator knows a database by.
pub(super) fn resource_id(index: usize) -> String {
    format!("jdbc:cuts:{index}")
}
