//! INSERT in a branch: which rows are new has to be found out from what the statement gives and what the database answers
//! (client.md 3.9).

use sqlx::{AssertSqlSafe, Either, Row as _, SqlSafeStr};

use super::AtBranch;
use super::perform::{Running, rows_differ};
use crate::client::at::Error;
use crate::client::at::database::{Answer, Database};
use crate::client::at::image::{Image, Row, SqlType};
use crate::client::at::images::{Key, key_columns, keys_of, rows_by_key, same_key};
use crate::client::at::meta::TableMeta;
use crate::client::at::statement::{
    Dialect, Insert, InsertPlan, InsertedKeys, Marker, MayCount, Returned, Skips, TableName, Upsert,
};
use crate::client::at::undo_rows;

/// A key that a statement returned, and whether its row is new.
struct ReturnedKey {
    key: Key,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    New,
    Updated,
    /// The statement does not tell.
    Untold,
}

impl<DB: Database> AtBranch<'_, DB> {
    pub(super) async fn insert(
        &mut self,
        insert: &Insert,
        name: &TableName,
        running: Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let returning = match insert.returns_rows() {
            true => self.resource.server.returning,
            false => self.resource.returning(),
        };
        let image_columns = self.resource.options.image_columns;
        let parameters = running.given.parameters();
        let planned = self.plan(name, |table| {
            insert.plan(table, returning, image_columns, parameters)
        });
        let (table, plan) = planned.await?;
        let InsertPlan {
            columns,
            rows,
            skips,
            keys,
        } = plan;
        let (answer, after) = match keys {
            InsertedKeys::Returned(returned) => {
                let (answer, keys) = self.run_returning(&returned, &table, &running).await?;
                let keys: Vec<Key> = keys.into_iter().map(|returned| returned.key).collect();
                let conn = &mut self.transaction;
                let after = rows_by_key::<DB>(conn, &table, &columns, &keys).await?;
                if after.rows.len() != keys.len() {
                    return Err(rows_differ(&table, &after, keys.len() as u64));
                }
                (answer, after)
            }
            InsertedKeys::Counted => {
                let answer = self.run_own(&running).await?;
                let after = self.counted(insert, &table, &columns, &answer, &running);
                let after = after.await?;
                (answer, after)
            }
            InsertedKeys::ReadBack { query, counted } => {
                let answer = self.run_own(&running).await?;
                let read = self.read_image(&table, &columns, query, &running.given);
                let mut after = read.await?;
                if after.is_empty() && answer.affected() > 0 && counted == MayCount::Yes {
                    let read = self.counted(insert, &table, &columns, &answer, &running);
                    after = read.await?;
                }
                (answer, after)
            }
        };
        let found = after.rows.len();
        let fits = match skips {
            Skips::Nothing => found == rows,
            Skips::Conflicts => found <= rows,
        };
        if !fits {
            return Err(rows_differ(&table, &after, rows as u64));
        }
        if !after.is_empty() {
            let before = Image::empty(table.qualified_name());
            self.record(SqlType::Insert, name, &table, before, after)?;
        }
        Ok(answer)
    }

    /// The rows whose keys the database has counted: the first number, and one step of the session for each further row.
    async fn counted(
        &mut self,
        insert: &Insert,
        table: &TableMeta,
        columns: &[usize],
        answer: &Answer<DB>,
        running: &Running<'_, DB>,
    ) -> Result<Image, Error> {
        let first = answer.last_insert_id().unwrap_or(0);
        let step = match DB::DIALECT {
            Dialect::MySql => {
                let sql = "SELECT @@SESSION.auto_increment_increment".to_owned();
                let step = undo_rows::ask::<DB>(&mut self.transaction, sql).await;
                let step = step.map_err(Error::Database)?;
                step.and_then(|step| step.integer()).unwrap_or(1)
            }
            Dialect::Postgres | Dialect::Sqlite => 1,
        };
        let parameters = running.given.parameters();
        let first = u64::try_from(first).unwrap_or(0);
        let step = u64::try_from(step).unwrap_or(1);
        let query = insert.counted(table, columns, first, step, parameters)?;
        self.read_image(table, columns, query, &running.given).await
    }

    /// Runs the form of a statement that returns the keys. What the user did not ask for is taken out of the answer.
    async fn run_returning(
        &mut self,
        returned: &Returned,
        table: &TableMeta,
        running: &Running<'_, DB>,
    ) -> Result<(Answer<DB>, Vec<ReturnedKey>), Error> {
        let sql = AssertSqlSafe(returned.sql.clone()).into_sql_str();
        let mut answer = self.run_instead(sql, running).await?;
        let described = key_columns(table);
        let marker = usize::from(returned.marker == Marker::IsNew);
        let mut keys = Vec::new();
        let mut hidden = true;
        for row in answer.rows() {
            let width = row.len();
            let Some(from) = width.checked_sub(returned.keys + marker) else {
                return Err(rows_differ(table, &Image::empty(""), 0));
            };
            hidden &= from == 0;
            let mut key = Vec::with_capacity(returned.keys);
            for (place, at) in described.iter().enumerate() {
                let value = DB::read(row, from + place, &table.columns[*at]);
                key.push(value.map_err(Error::Database)?);
            }
            let origin = match marker {
                0 => Origin::Untold,
                _ => match DB::get_truth(row, width - 1).map_err(Error::Database)? {
                    true => Origin::New,
                    false => Origin::Updated,
                },
            };
            keys.push(ReturnedKey { key, origin });
        }
        if hidden {
            answer.steps.retain(Either::is_left);
        }
        Ok((answer, keys))
    }

    /// INSERT that updates the rows that are there: an item for those, and one for the new ones.
    pub(super) async fn upsert(
        &mut self,
        upsert: &Upsert,
        name: &TableName,
        running: Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let parameters = running.given.parameters();
        let planned = self.plan(name, |table| upsert.plan(table, parameters));
        let (table, plan) = planned.await?;
        let columns = plan.columns;
        let probed = self.read_image(&table, &columns, plan.probe.clone(), &running.given);
        let before = probed.await?;
        let known = keys_of(&table, &before).map_err(Error::Unusable)?;
        let (answer, found) = match &plan.returned {
            Some(returned) => {
                let (answer, keys) = self.run_returning(returned, &table, &running).await?;
                for ReturnedKey { key, origin } in &keys {
                    let was_there = known.iter().any(|known| same_key(known, key));
                    if *origin == Origin::Updated && !was_there {
                        // Another transaction inserted it after the look before.
                        return Err(rows_differ(&table, &before, keys.len() as u64));
                    }
                }
                let new: Vec<Key> = keys
                    .into_iter()
                    .map(|returned| returned.key)
                    .filter(|key| !known.iter().any(|known| same_key(known, key)))
                    .collect();
                let conn = &mut self.transaction;
                let found = rows_by_key::<DB>(conn, &table, &columns, &new).await?;
                (answer, found)
            }
            None => {
                let answer = self.run_own(&running).await?;
                let probed = self.read_image(&table, &columns, plan.probe, &running.given);
                (answer, probed.await?)
            }
        };
        let mut new = Image::empty(table.qualified_name());
        for row in found.rows {
            if !is_among(&table, &row, &known)? {
                new.rows.push(row);
            }
        }
        check_count::<DB>(&table, &answer, &before, &new)?;
        if !before.is_empty() {
            let conn = &mut self.transaction;
            let after = rows_by_key::<DB>(conn, &table, &columns, &known).await?;
            if after.rows.len() != before.rows.len() {
                return Err(rows_differ(&table, &before, after.rows.len() as u64));
            }
            self.record(SqlType::Update, name, &table, before, after)?;
        }
        if !new.is_empty() {
            let empty = Image::empty(table.qualified_name());
            self.record(SqlType::Insert, name, &table, empty, new)?;
        }
        Ok(answer)
    }
}

fn is_among(table: &TableMeta, row: &Row, keys: &[Key]) -> Result<bool, Error> {
    let image = Image {
        table_name: String::new(),
        rows: vec![row.clone()],
    };
    let own = keys_of(table, &image).map_err(Error::Unusable)?;
    Ok(own
        .iter()
        .any(|own| keys.iter().any(|key| same_key(own, key))))
}

/// MySQL counts a new row once and a changed one twice. More than the images account for: a row was changed by way of an index
/// that is not over whole columns, and is in neither.
fn check_count<DB: Database>(
    table: &TableMeta,
    answer: &Answer<DB>,
    before: &Image,
    new: &Image,
) -> Result<(), Error> {
    let accounted = match DB::DIALECT {
        Dialect::MySql => new.rows.len() + 2 * before.rows.len(),
        Dialect::Postgres | Dialect::Sqlite => new.rows.len() + before.rows.len(),
    };
    match answer.affected() > accounted as u64 {
        true => Err(rows_differ(table, before, answer.affected())),
        false => Ok(()),
    }
}
