//! The databases of the bank: accounts, and an entry for each half of a transfer.

use std::collections::BTreeMap;
use std::str::FromStr;

use seamio::client::at::{At, AtOptions, Database, Error, LockRetry};
use seamio::client::{GlobalTx, Seata};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, MySql, Postgres, Sqlite};

use super::Told;
use crate::database::{Place, Tried};
use crate::fixture::{PATIENCE, run};

/// Accounts of each database: few, so that transfers meet.
pub(super) const ACCOUNTS: u64 = 12;
const CENTS: i64 = 10_000;

const TABLES: &str = "CREATE TABLE account (id INT PRIMARY KEY, cents BIGINT);
    CREATE TABLE entry (id BIGINT PRIMARY KEY, account INT, cents BIGINT);";

/// The databases, seen from outside.
pub(super) struct Bank {
    vaults: Vec<Vault>,
}

/// One database that was made for the test.
enum Vault {
    Sqlite(Place<Sqlite>),
    MariaDb(Place<MySql>),
    Postgres(Place<Postgres>),
}

/// A database in AT mode, in the hands of a service.
#[derive(Clone)]
pub(super) enum Counter {
    Sqlite(At<Sqlite>),
    MariaDb(At<MySql>),
    Postgres(At<Postgres>),
}

/// How a branch meets a lock of another.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// It waits.
    Once,
    /// It lets its own go, and begins again.
    Replayed,
}

macro_rules! each {
    ($all:ident, $one:expr, $it:ident => $result:expr) => {
        match $one {
            $all::Sqlite($it) => $result,
            $all::MariaDb($it) => $result,
            $all::Postgres($it) => $result,
        }
    };
}

impl Bank {
    /// Three databases; SQLite in place of a server that is not there.
    pub(super) async fn open() -> Self {
        let mut vaults = vec![Vault::sqlite().await];
        vaults.push(match <MySql as Tried>::open().await {
            Some(place) => Vault::MariaDb(place),
            None => Vault::sqlite().await,
        });
        vaults.push(match <Postgres as Tried>::open().await {
            Some(place) => Vault::Postgres(place),
            None => Vault::sqlite().await,
        });
        for vault in &vaults {
            let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {CENTS})")).collect();
            let rows = rows.join(", ");
            let script = format!("{TABLES} INSERT INTO account (id, cents) VALUES {rows};");
            let made = each!(Vault, vault, place => Tried::script(&place.pool, &script).await);
            made.expect("tables");
        }
        Self { vaults }
    }

    pub(super) fn urls(&self) -> String {
        let url = |vault: &Vault| each!(Vault, vault, place => url_of(place));
        self.vaults.iter().map(url).collect::<Vec<_>>().join(" ")
    }

    pub(super) async fn counters(&self, seata: &Seata) -> Vec<Counter> {
        let urls = self.urls();
        Counter::open_all(&urls.split(' ').collect::<Vec<_>>(), seata).await
    }

    /// What is wrong, once nothing is under way.
    pub(super) async fn faults(&self, told: &BTreeMap<i64, Told>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut sum = 0;
        // Entries by transfer.
        let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (index, vault) in self.vaults.iter().enumerate() {
            let entries = vault.entries().await;
            let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
            for entry in &entries {
                found.entry(entry.id / 2).or_default().push(entry.cents);
                *expected.entry(entry.account).or_insert(CENTS) += entry.cents;
            }
            for (account, cents) in vault.accounts().await {
                sum += cents;
                let expected = expected.get(&account).copied().unwrap_or(CENTS);
                if cents != expected {
                    let what = format!("{cents} cents where its entries make {expected}");
                    faults.push(format!("account {account} of {index} has {what}"));
                }
            }
            for xid in vault.undo_logs().await {
                faults.push(format!("an undo log of {xid} is left in {index}"));
            }
        }
        let all = CENTS * i64::try_from(ACCOUNTS).expect("few") * 3;
        if sum != all {
            faults.push(format!("the sum is {sum}, and was {all}"));
        }
        for (id, entries) in &found {
            if entries.len() != 2 || entries.iter().sum::<i64>() != 0 {
                faults.push(format!("transfer {id} is there as {entries:?}"));
            }
        }
        for (id, told) in told {
            match (told, found.contains_key(id)) {
                (Told::Committed, false) | (Told::RolledBack, true) => {
                    faults.push(format!("transfer {id} was told as {told:?}, and is not"));
                }
                _ => {}
            }
        }
        faults
    }
}

/// One half of a transfer.
struct Entry {
    id: i64,
    account: i64,
    cents: i64,
}

impl Vault {
    async fn sqlite() -> Self {
        let place = <Sqlite as Tried>::open().await;
        Self::Sqlite(place.expect("a file"))
    }

    async fn accounts(&self) -> Vec<(i64, i64)> {
        let rows = self.rows("account", ["id", "cents"]).await;
        rows.into_iter()
            .map(|[id, cents]| (number(&id), number(&cents)))
            .collect()
    }

    async fn entries(&self) -> Vec<Entry> {
        let rows = self.rows("entry", ["id", "account", "cents"]).await;
        let entry = |[id, account, cents]: [String; 3]| Entry {
            id: number(&id),
            account: number(&account),
            cents: number(&cents),
        };
        rows.into_iter().map(entry).collect()
    }

    /// The transactions that could still be undone here.
    async fn undo_logs(&self) -> Vec<String> {
        let rows = self.rows("undo_log", ["log_status", "xid"]).await;
        let undone = rows.into_iter().filter(|[status, _]| status == "0");
        undone.map(|[_, xid]| xid).collect()
    }

    async fn rows<const N: usize>(&self, table: &str, columns: [&str; N]) -> Vec<[String; N]> {
        let row = match self {
            Self::MariaDb(_) => format!("CONCAT_WS(' ', {})", columns.join(", ")),
            Self::Sqlite(_) | Self::Postgres(_) => columns
                .map(|column| format!("CAST({column} AS text)"))
                .join(" || ' ' || "),
        };
        let sql = format!("SELECT {row} FROM {table}");
        let rows = each!(Vault, self, place => Tried::column(&place.pool, &sql).await);
        rows.iter()
            .map(|row| {
                let words: Vec<String> = row.split(' ').map(str::to_owned).collect();
                words.try_into().expect("no blanks in a column")
            })
            .collect()
    }
}

impl Counter {
    pub(super) async fn open_all(urls: &[&str], seata: &Seata) -> Vec<Self> {
        let mut counters = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            let id = format!("jdbc:bank:{index}");
            counters.push(Self::open(url, id, seata).await);
        }
        counters
    }

    async fn open(url: &str, id: String, seata: &Seata) -> Self {
        let mut options = AtOptions::new(id).create_undo_log();
        options.lock_retry = LockRetry {
            times: 10,
            ..LockRetry::default()
        };
        match url.split(':').next() {
            Some("mysql") => {
                let to = MySqlConnectOptions::from_str(url).expect("a URL");
                let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS);
                let pool = pool.acquire_timeout(PATIENCE).connect_with(to).await;
                Self::MariaDb(in_at_mode(pool, options, seata).await)
            }
            Some("postgres" | "postgresql") => {
                let to = PgConnectOptions::from_str(url).expect("a URL");
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
                let pool = pool.acquire_timeout(PATIENCE).connect_with(to).await;
                Self::Postgres(in_at_mode(pool, options, seata).await)
            }
            _ => {
                let to = SqliteConnectOptions::from_str(url).expect("a URL");
                let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
                let pool = pool.acquire_timeout(PATIENCE);
                let pool = pool.connect_with(to.busy_timeout(PATIENCE)).await;
                Self::Sqlite(in_at_mode(pool, options, seata).await)
            }
        }
    }

    /// One half of a transfer: the money, and an entry that says so.
    pub(super) async fn change(
        &self,
        tx: &GlobalTx,
        way: Way,
        entry: u64,
        account: u64,
        cents: i64,
    ) -> Result<(), Error> {
        let statements = [
            format!("UPDATE account SET cents = cents + ({cents}) WHERE id = {account}"),
            format!("INSERT INTO entry (id, account, cents) VALUES ({entry}, {account}, {cents})"),
        ];
        each!(Counter, self, at => branch(at, tx, way, statements.to_vec()).await)
    }

    /// A branch that locks every account.
    pub(super) async fn touch_all(&self, tx: &GlobalTx) -> Result<(), Error> {
        let statements = vec!["UPDATE account SET cents = cents + 1".to_owned()];
        each!(Counter, self, at => branch(at, tx, Way::Replayed, statements).await)
    }
}

async fn in_at_mode<DB: Database>(
    pool: Result<sqlx::Pool<DB>, sqlx::Error>,
    options: AtOptions,
    seata: &Seata,
) -> At<DB> {
    let at = seata.at(pool.expect("a database"), options).await;
    at.expect("prepared")
}

async fn branch<DB: Tried>(
    at: &At<DB>,
    tx: &GlobalTx,
    way: Way,
    statements: Vec<String>,
) -> Result<(), Error> {
    match way {
        Way::Once => {
            let mut branch = at.begin_pooled(tx).await?;
            for statement in &statements {
                run(&mut branch, statement).await?;
            }
            branch.commit().await
        }
        Way::Replayed => {
            at.run(tx, |branch| {
                let statements = statements.clone();
                Box::pin(async move {
                    for statement in &statements {
                        run(branch, statement).await?;
                    }
                    Ok(())
                })
            })
            .await
        }
    }
}

fn url_of<DB: Tried>(place: &Place<DB>) -> String {
    place.pool.connect_options().to_url_lossy().to_string()
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

const CONNECTIONS: u32 = 4;
