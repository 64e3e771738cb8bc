//! Descriptions of tables, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use super::database::{Driver, TableName};
use super::meta::TableMeta;
use super::statement;

/// Descriptions that are kept at most; when there are more, all are read anew.
const TABLES_MAX: usize = 10_000;

/// Descriptions of the tables of one resource.
#[derive(Debug)]
pub(super) struct Tables {
    expiry: Duration,
    known: Mutex<HashMap<TableName, Known>>,
}

#[derive(Debug)]
struct Known {
    table: Arc<TableMeta>,
    read: Instant,
}

/// Whether a description that is known may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It may, unless it is too old.
    Known,
    /// It is read again: something did not fit.
    Read,
}

impl Tables {
    pub(super) fn new(expiry: Duration) -> Self {
        Self {
            expiry,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The description of a table as a statement names it, read on the connection that runs the statement.
    pub(super) async fn get<DB: Driver>(
        &self,
        conn: &mut DB::Connection,
        name: &statement::TableName,
        freshness: Freshness,
    ) -> Result<Arc<TableMeta>, Error> {
        let key = TableName {
            schema: name.schema.as_ref().map(|name| name.folded(DB::DIALECT)),
            name: name.name.folded(DB::DIALECT),
        };
        if freshness == Freshness::Known
            && let Some(table) = self.known(&key)
        {
            return Ok(table);
        }
        let table = DB::table(conn, &key).await.map_err(Error::Database)?;
        let table = Arc::new(table.ok_or_else(|| Error::NoTable {
            table: name.text.clone(),
        })?);
        self.keep(key, Arc::clone(&table));
        Ok(table)
    }

    /// Everything is read anew: a query of an image failed, so a table may have been altered.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn known(&self, key: &TableName) -> Option<Arc<TableMeta>> {
        let known = self.lock();
        let entry = known.get(key)?;
        (now().duration_since(entry.read) < self.expiry).then(|| Arc::clone(&entry.table))
    }

    fn keep(&self, key: TableName, table: Arc<TableMeta>) {
        let mut known = self.lock();
        if known.len() >= TABLES_MAX {
            known.clear();
        }
        let read = now();
        known.insert(key, Known { table, read });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TableName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How old a description is decides nothing but when it is read again.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}
