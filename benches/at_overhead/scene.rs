//! One database with a table, one connection to it, a client, and the statements that run there.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use seamio::client::at::{At, AtOptions, Error};
use seamio::client::{File, GlobalTx, Seata, TxGuard, TxOptions};
use seamio::proto::status::GlobalStatus;
use sqlx::mysql::MySqlSslMode;
use sqlx::postgres::PgSslMode;
use sqlx::{ConnectOptions, Connection, MySql, Pool, Postgres, Sqlite};

use crate::database::{Kind, Place, Tried};
use crate::statements::LOG;
use crate::wire::Wire;

type Local<'a, E> = Pin<Box<dyn Future<Output = Result<(), E>> + 'a>>;

type Connecting<'a, DB> =
    Pin<Box<dyn Future<Output = (<DB as sqlx::Database>::Connection, Option<Wire>)> + Send + 'a>>;

/// How a local transaction runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Plain = 0,
    Branch = 1,
}

/// A statement with one parameter, a key.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    sql: &'static str,
    keys: Keys,
    /// Statements with which AT could do: the statement itself, an image before it, an image behind it, the undo log.
    pub(crate) least: f64,
}

/// Which keys it is given.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// One that is there.
    There,
    /// The next that is not there.
    New,
    /// The next that is there, and then no more.
    Used,
}

impl Case {
    /// All that this database takes.
    pub(crate) fn of(kind: Kind) -> Vec<Case> {
        let key = match kind {
            Kind::Postgres => "$1",
            Kind::MariaDb | Kind::Sqlite => "?",
        };
        let case = |name, sql: &str, keys, least| Case {
            name,
            sql: sql.replace('?', key).leak(),
            keys,
            least,
        };
        // With RETURNING an INSERT answers with its own image.
        let insert = if kind == Kind::MariaDb { 3.0 } else { 2.0 };
        let mut cases = vec![
            case(
                "SELECT",
                "SELECT name, qty FROM stock WHERE id = ?",
                Keys::There,
                1.0,
            ),
            case(
                "UPDATE by key",
                "UPDATE stock SET qty = qty + 1 WHERE id = ?",
                Keys::There,
                4.0,
            ),
            case(
                "UPDATE of 10 rows",
                "UPDATE stock SET qty = qty + 1 WHERE shelf = ?",
                Keys::There,
                4.0,
            ),
            case(
                "INSERT",
                "INSERT INTO stock (id, shelf, name, qty) VALUES (?, 0, 'green tea', 7)",
                Keys::New,
                insert,
            ),
            case(
                "DELETE by key",
                "DELETE FROM stock WHERE id = ?",
                Keys::Used,
                3.0,
            ),
        ];
        if kind != Kind::Sqlite {
            let sql = "SELECT name, qty FROM stock WHERE id = ? FOR UPDATE";
            cases.push(case("SELECT FOR UPDATE", sql, Keys::There, 2.0));
        }
        cases
    }
}

/// What the scene needs of a database beyond AT.
pub(crate) trait Measured: Tried {
    /// A connection, and whether it leads through something that counts.
    fn connect(pool: &Pool<Self>) -> Connecting<'_, Self>;

    /// A local transaction with one statement.
    fn plain<'a>(
        conn: &'a mut Self::Connection,
        sql: &'static str,
        key: i64,
    ) -> Local<'a, sqlx::Error>;

    /// The same as a branch.
    fn branch<'a>(
        at: &'a At<Self>,
        tx: &'a GlobalTx,
        conn: &'a mut Self::Connection,
        sql: &'static str,
        key: i64,
    ) -> Local<'a, Error>;
}

macro_rules! local_transactions {
    () => {
        fn plain<'a>(
            conn: &'a mut Self::Connection,
            sql: &'static str,
            key: i64,
        ) -> Local<'a, sqlx::Error> {
            Box::pin(async move {
                let mut local = conn.begin().await?;
                let query = sqlx::query(sql).bind(key);
                query.fetch_all(&mut *local).await?;
                local.commit().await
            })
        }

        fn branch<'a>(
            at: &'a At<Self>,
            tx: &'a GlobalTx,
            conn: &'a mut Self::Connection,
            sql: &'static str,
            key: i64,
        ) -> Local<'a, Error> {
            Box::pin(async move {
                let mut local = at.begin(tx, conn).await?;
                let query = sqlx::query(sql).bind(key);
                query.fetch_all(&mut local).await.map_err(Error::Database)?;
                local.commit().await
            })
        }
    };
}

impl Measured for Sqlite {
    fn connect(pool: &Pool<Self>) -> Connecting<'_, Self> {
        Box::pin(async {
            let conn = pool.connect_options().connect().await;
            (conn.expect("a file"), None)
        })
    }

    local_transactions!();
}

impl Measured for MySql {
    fn connect(pool: &Pool<Self>) -> Connecting<'_, Self> {
        Box::pin(async {
            let options = pool.connect_options();
            let wire = Wire::to(options.get_host(), options.get_port());
            let options = (*options).clone().host("127.0.0.1").port(wire.port);
            let conn = options.ssl_mode(MySqlSslMode::Disabled).connect().await;
            (conn.expect("a way through"), Some(wire))
        })
    }

    local_transactions!();
}

impl Measured for Postgres {
    fn connect(pool: &Pool<Self>) -> Connecting<'_, Self> {
        Box::pin(async {
            let options = pool.connect_options();
            let wire = Wire::to(options.get_host(), options.get_port());
            let options = (*options).clone().host("127.0.0.1").port(wire.port);
            let conn = options.ssl_mode(PgSslMode::Disable).connect().await;
            (conn.expect("a way through"), Some(wire))
        })
    }

    local_transactions!();
}

/// A database with its table.
pub(crate) struct Scene<DB: Tried> {
    pub(crate) seata: Seata,
    at: At<DB>,
    /// Removed with the scene.
    _place: Place<DB>,
    /// On which nothing is counted.
    straight: DB::Connection,
    through: DB::Connection,
    wire: Option<Wire>,
    tx: Option<TxGuard>,
    next_new: i64,
    next_used: i64,
}

impl<DB: Measured> Scene<DB> {
    /// None when there is no server of this kind.
    pub(crate) async fn open(coordinator: &str) -> Option<Self> {
        let place = DB::open().await?;
        DB::script(&place.pool, TABLE).await.expect("a table");
        let shelf: Vec<String> = (0..ROWS)
            .map(|id| format!("({id}, {}, 'black tea', 10)", id / 10))
            .collect();
        for rows in shelf.chunks(500) {
            let insert = format!(
                "INSERT INTO stock (id, shelf, name, qty) VALUES {}",
                rows.join(", ")
            );
            DB::script(&place.pool, &insert).await.expect("rows");
        }
        let built = Seata::builder()
            .application("bench")
            .registry(File::new([coordinator]))
            .build();
        let (seata, background) = built.await.expect("a coordinator");
        tokio::spawn(background);
        let options = AtOptions::new("jdbc:bench:stock").create_undo_log();
        let at = seata.at(place.pool.clone(), options).await;
        let straight = place.pool.acquire().await.expect("a connection").detach();
        let (through, wire) = DB::connect(&place.pool).await;
        Some(Self {
            at: at.expect("prepared"),
            seata,
            _place: place,
            straight,
            through,
            wire,
            tx: None,
            next_new: ROWS,
            next_used: ROWS - 1,
        })
    }

    /// A local transaction on the straight connection.
    pub(crate) async fn local(&mut self, case: &Case, way: Way) {
        let key = self.key(case.keys);
        if way == Way::Plain {
            let done = DB::plain(&mut self.straight, case.sql, key).await;
            return done.unwrap_or_else(|error| panic!("{}: {error}", case.sql));
        }
        self.begin().await;
        let tx = self.tx.as_ref().expect("begun");
        let done = DB::branch(&self.at, tx, &mut self.straight, case.sql, key).await;
        done.unwrap_or_else(|error| panic!("{}: {error}", case.sql));
    }

    /// A local transaction on the connection whose round trips are counted.
    pub(crate) async fn local_counted(&mut self, case: &Case, way: Way) {
        let key = self.key(case.keys);
        if way == Way::Plain {
            let done = DB::plain(&mut self.through, case.sql, key).await;
            return done.unwrap_or_else(|error| panic!("{}: {error}", case.sql));
        }
        self.begin().await;
        let tx = self.tx.as_ref().expect("begun");
        let done = DB::branch(&self.at, tx, &mut self.through, case.sql, key).await;
        done.unwrap_or_else(|error| panic!("{}: {error}", case.sql));
    }

    /// Round trips of the counted connection so far.
    pub(crate) fn trips(&self) -> u64 {
        self.wire.as_ref().map_or(0, Wire::trips)
    }

    /// Begins the global transaction of the branches to come, unless there is one.
    pub(crate) async fn begin(&mut self) {
        if self.tx.is_none() {
            let options = TxOptions::new("bench").timeout(Duration::from_secs(600));
            self.tx = Some(self.seata.begin(options).await.expect("a transaction"));
        }
    }

    /// Commits the global transaction, and waits until nothing of it is left: a branch answers when its undo log is deleted.
    pub(crate) async fn settle(&mut self) {
        let Some(tx) = self.tx.take() else { return };
        let handle = (*tx).clone();
        let outcome = tx.commit().await;
        assert!(outcome.is_committed(), "{outcome:?}");
        let status = handle.await_end(Duration::from_millis(5), 12_000).await;
        let status = status.expect("an answer");
        assert!(
            matches!(status, GlobalStatus::Committed | GlobalStatus::Finished),
            "{status:?}"
        );
    }

    /// Statements of the second phase of a committed branch, of so many in one transaction.
    pub(crate) async fn phase_two(&mut self, branches: u32) -> f64 {
        let cases = Case::of(DB::KIND);
        let update = &cases[1];
        for _ in 0..branches {
            self.local(update, Way::Branch).await;
        }
        LOG.listen();
        self.settle().await;
        let (statements, _) = LOG.heard();
        (statements as f64 / f64::from(branches) * 1000.0).round() / 1000.0
    }

    fn key(&mut self, keys: Keys) -> i64 {
        match keys {
            Keys::There => 7,
            Keys::New => {
                self.next_new += 1;
                self.next_new
            }
            Keys::Used => {
                self.next_used -= 1;
                self.next_used
            }
        }
    }
}

const TABLE: &str = "CREATE TABLE stock (id BIGINT NOT NULL PRIMARY KEY, shelf BIGINT NOT NULL, name VARCHAR(64) NOT NULL, \
                     qty BIGINT NOT NULL); CREATE INDEX stock_shelf ON stock (shelf)";

/// More than any run deletes.
const ROWS: i64 = 20_000;
