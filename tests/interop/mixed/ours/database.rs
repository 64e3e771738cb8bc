//! A database in AT mode: MariaDB or PostgreSQL, shared with a Java client.

use seamio::client::at::java::{ArrayForm, DateTimeClass, Java, Package, TimestampForm};
use seamio::client::at::zone::Zone;
use seamio::client::at::{At, AtBranch, AtOptions, Error};
use seamio::client::{GlobalTx, Seata};
use sqlx::{AssertSqlSafe, MySql, Postgres, Row};

use crate::{Refusal, debug};

/// A resource of AT branches.
pub(crate) enum Database {
    MariaDb(At<MySql>),
    Postgres(At<Postgres>),
}

impl Database {
    /// `dialect`: package of the Java clients, `old` or `new` for their generation, and their zone.
    pub(crate) async fn open(
        seata: &Seata,
        url: &str,
        resource_id: &str,
        dialect: &[&str],
    ) -> Result<Self, Refusal> {
        let options = options(url, resource_id, dialect)?;
        if url.starts_with("mysql:") {
            let pool = sqlx::MySqlPool::connect(url).await.map_err(debug)?;
            let at = seata.at(pool, options).await.map_err(Refusal::other)?;
            return Ok(Self::MariaDb(at));
        }
        let pool = sqlx::PgPool::connect(url).await.map_err(debug)?;
        let at = seata.at(pool, options).await.map_err(Refusal::other)?;
        Ok(Self::Postgres(at))
    }

    pub(crate) fn resource_id(&self) -> &str {
        match self {
            Self::MariaDb(at) => at.resource_id(),
            Self::Postgres(at) => at.resource_id(),
        }
    }

    /// One local transaction: all statements, then the commit that registers the branch. Answers with the rows changed.
    pub(crate) async fn local(
        &self,
        tx: &GlobalTx,
        statements: &[&str],
    ) -> Result<String, Refusal> {
        let counts = match self {
            Self::MariaDb(at) => {
                let mut branch = at.begin_pooled(tx).await.map_err(refusal)?;
                let counts = changed_in_mariadb(&mut branch, statements).await;
                finished(branch, counts).await?
            }
            Self::Postgres(at) => {
                let mut branch = at.begin_pooled(tx).await.map_err(refusal)?;
                let counts = changed_in_postgres(&mut branch, statements).await;
                finished(branch, counts).await?
            }
        };
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        Ok(counts.join(","))
    }

    /// A query in a local transaction of its own; answers with the first column of the rows, a number with decimals.
    pub(crate) async fn select(&self, tx: &GlobalTx, sql: &str) -> Result<String, Refusal> {
        let sql = AssertSqlSafe(sql.to_owned());
        let read: Result<Vec<String>, sqlx::Error> = match self {
            Self::MariaDb(at) => {
                let mut branch = at.begin_pooled(tx).await.map_err(refusal)?;
                let rows = sqlx::query(sql).fetch_all(&mut branch).await;
                branch.rollback().await.map_err(refusal)?;
                rows.and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect())
            }
            Self::Postgres(at) => {
                let mut branch = at.begin_pooled(tx).await.map_err(refusal)?;
                let rows = sqlx::query(sql).fetch_all(&mut branch).await;
                branch.rollback().await.map_err(refusal)?;
                rows.and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect())
            }
        };
        Ok(read.map_err(from_sqlx)?.join(","))
    }
}

fn options(url: &str, resource_id: &str, dialect: &[&str]) -> Result<AtOptions, Refusal> {
    let [package, generation, zone] = dialect else {
        return Err(Refusal::other(format!("not a dialect: {dialect:?}")));
    };
    let mut java = Java {
        zone: Zone::named(zone).map_err(debug)?,
        ..Java::default()
    };
    if *package == "io.seata" {
        java.package = Package::IoSeata;
    }
    if *generation == "old" {
        java.timestamps = TimestampForm::Pair;
        java.arrays = ArrayForm::Bean;
    } else if url.starts_with("mysql:") {
        java.date_time = DateTimeClass::LocalDateTime;
    }
    let mut options = AtOptions::new(resource_id).java(java);
    options.lock_retry.times = 5;
    Ok(options)
}

async fn changed_in_mariadb(
    branch: &mut AtBranch<'static, MySql>,
    statements: &[&str],
) -> Result<Vec<u64>, sqlx::Error> {
    let mut counts = Vec::new();
    for sql in statements {
        let query = sqlx::query(AssertSqlSafe((*sql).to_owned()));
        counts.push(query.execute(&mut *branch).await?.rows_affected());
    }
    Ok(counts)
}

async fn changed_in_postgres(
    branch: &mut AtBranch<'static, Postgres>,
    statements: &[&str],
) -> Result<Vec<u64>, sqlx::Error> {
    let mut counts = Vec::new();
    for sql in statements {
        let query = sqlx::query(AssertSqlSafe((*sql).to_owned()));
        counts.push(query.execute(&mut *branch).await?.rows_affected());
    }
    Ok(counts)
}

/// Commits what went well and rolls the rest back.
async fn finished<DB: seamio::client::at::Database>(
    branch: AtBranch<'static, DB>,
    counts: Result<Vec<u64>, sqlx::Error>,
) -> Result<Vec<u64>, Refusal> {
    match counts {
        Ok(counts) => branch.commit().await.map(|()| counts).map_err(refusal),
        Err(error) => {
            branch.rollback().await.map_err(refusal)?;
            Err(from_sqlx(error))
        }
    }
}

fn refusal(error: Error) -> Refusal {
    if error.is_lock_conflict() {
        return Refusal::conflict(error);
    }
    Refusal::other(error)
}

fn from_sqlx(error: sqlx::Error) -> Refusal {
    match Error::of(&error) {
        Some(own) if own.is_lock_conflict() => Refusal::conflict(own),
        _ => Refusal::other(error),
    }
}
