//! Phase two of a rollback: puts the rows of a branch back (client.md 5.2 and 5.3).

use std::fmt;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::comparison::{Difference, Verdict, compare};
use super::database::{Bound, Database, Reuse};
use super::image::{Image, Row, SqlType, UndoItem};
use super::images;
use super::local::Local;
use super::meta::{ColumnSource, TableMeta};
use super::resource::AtResource;
use super::statement::{self, RowStatement, undo_delete, undo_insert, undo_update};
use super::tables::Freshness;
use super::undo_rows::{self, Fault, Found};
use super::value::Value;
use super::{Error, Validation, undo_log};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undone {
    /// So many items of the undo log were undone, or found undone.
    Restored(usize),
    /// There was nothing to undo, and a late phase one is kept out.
    Nothing,
}

/// Why a branch was not undone; nothing of it is.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody changed the rows.
    Dirty(Difference),
    /// The undo log cannot be read, or says what cannot be done.
    Content(String),
    /// A row was not found where it had to be.
    Missed { table: String, affected: u64 },
    /// The database said no; another time it may not.
    Database(sqlx::Error),
    /// Something else, that another time may be different.
    Other(Error),
}

impl Failure {
    /// Whether trying again changes nothing.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Dirty(_) | Self::Content(_) | Self::Missed { .. }
        )
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<undo_log::Error> for Failure {
    fn from(error: undo_log::Error) -> Self {
        Self::Content(error.to_string())
    }
}

impl From<statement::Refused> for Failure {
    fn from(refused: statement::Refused) -> Self {
        Self::Content(format!("{}; {}", refused.reason, refused.what_to_do))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Database(error) => error.into(),
            Fault::Content(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dirty(difference) => write!(f, "{difference}"),
            Self::Content(what) => f.write_str(what),
            Self::Missed { table, affected } => write!(
                f,
                "a statement that undoes one row of {table} changed {affected}; a trigger may be in the way"
            ),
            Self::Database(error) => error.fmt(f),
            Self::Other(error) => error.fmt(f),
        }
    }
}

/// Attempts when the database gives this transaction up for another, or phase one was faster.
const ATTEMPTS: u32 = 5;

/// Undoes a branch, or makes sure that it can never commit. All or nothing; may be asked any number of times.
pub(super) async fn undo_branch<DB: Database>(
    resource: &AtResource<DB>,
    xid: &str,
    branch_id: i64,
) -> Result<Undone, Failure> {
    let mut attempt = 1;
    loop {
        match undo_once(resource, xid, branch_id).await {
            Ok(Some(undone)) => return Ok(undone),
            // Phase one has written its row in between: it is there now.
            Ok(None) if attempt < ATTEMPTS => {}
            Ok(None) => {
                let what = "phase one and this rollback keep getting in each other's way";
                return Err(Failure::Database(sqlx::Error::Protocol(what.to_owned())));
            }
            Err(Failure::Database(error)) if attempt < ATTEMPTS && DB::is_deadlock(&error) => {
                log::debug!("xid={xid} branch={branch_id} event=undo-again error={error}");
            }
            Err(failure) => return Err(failure),
        }
        attempt += 1;
    }
}

/// One local transaction. None when phase one has written its row between the look and the row that was to keep it out.
async fn undo_once<DB: Database>(
    resource: &AtResource<DB>,
    xid: &str,
    branch_id: i64,
) -> Result<Option<Undone>, Failure> {
    let conn = resource.pool.acquire().await?;
    let mut local = Local::<DB>::begin_checked(conn, &resource.session).await?;
    // A statement of what follows that fails takes all back: the transaction is rolled back when it is dropped.
    let found = undo_rows::select::<DB>(&mut local, &resource.undo, xid, branch_id).await?;
    let undone = match found {
        Found::Finished => {
            local.rollback().await?;
            return Ok(Some(Undone::Nothing));
        }
        Found::Nothing => {
            let format = &resource.options.format;
            let written = undo_rows::insert_finished::<DB>(
                &mut local,
                &resource.undo,
                xid,
                branch_id,
                format,
            );
            match written.await {
                Ok(()) => Undone::Nothing,
                Err(Fault::Database(error)) if is_duplicate(&error) => {
                    local.rollback().await?;
                    return Ok(None);
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Found::Log(encoded) => {
            let format = &resource.options.format;
            let log = undo_log::decode(&encoded.context, &encoded.content, format)?;
            for item in log.items.iter().rev() {
                undo_item(resource, &mut local, item).await?;
            }
            let branch = [(xid.to_owned().into(), branch_id)];
            undo_rows::delete::<DB>(&mut local, &resource.undo, &branch).await?;
            Undone::Restored(log.items.len())
        }
    };
    local.commit().await?;
    Ok(Some(undone))
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.is_unique_violation(),
        _ => false,
    }
}

async fn undo_item<DB: Database>(
    resource: &AtResource<DB>,
    local: &mut Local<'_, DB>,
    item: &UndoItem,
) -> Result<(), Failure> {
    let image = match item.sql_type {
        SqlType::Insert => &item.after,
        SqlType::Update | SqlType::UpdateJoin | SqlType::Delete => &item.before,
    };
    if image.is_empty() {
        let what = format!(
            "the undo log has an item for {} without rows",
            item.table_name
        );
        return Err(Failure::Content(what));
    }
    let name = statement::TableName::parse(&item.table_name, DB::DIALECT)?;
    let table = resource.table(local, &name, Freshness::Known).await?;
    // A column that came after the description was read is found by reading it again.
    let table = match recorded_columns(&table, image) {
        Some(_) => table,
        None => {
            let read = resource.table(local, &name, Freshness::Read);
            read.await?
        }
    };
    if resource.options.validation == Validation::Checked {
        let columns: Vec<usize> = (0..table.columns.len())
            .filter(|at| {
                let column = &table.columns[*at];
                image
                    .rows
                    .iter()
                    .any(|row| row.field(&column.name).is_some())
            })
            .collect();
        let current = current_rows(local, &table, &columns, image).await?;
        match compare(item, &current) {
            Verdict::Unchanged | Verdict::AlreadyUndone => return Ok(()),
            Verdict::Undo => {}
            Verdict::Dirty(difference) => return Err(Failure::Dirty(difference)),
        }
    }
    let columns = recorded_columns(&table, image).ok_or_else(|| {
        Failure::Content(format!(
            "the undo log has a column of {} that the table does not have any more",
            table.qualified_name()
        ))
    })?;
    let statement = match item.sql_type {
        SqlType::Insert => Some(undo_insert(DB::DIALECT, &table)?),
        SqlType::Delete => {
            check_insertable(DB::DIALECT, &table, image)?;
            Some(undo_delete(DB::DIALECT, &table, &columns)?)
        }
        SqlType::Update | SqlType::UpdateJoin => undo_update(DB::DIALECT, &table, &columns)?,
    };
    let Some(statement) = statement else {
        return Ok(());
    };
    for row in &image.rows {
        undo_row(local, &table, &statement, row).await?;
    }
    Ok(())
}

/// Refuses to put back rows that would come back as others: MySQL takes a 0 for a column that it counts as a wish for the next
/// number (unless `NO_AUTO_VALUE_ON_ZERO` is set, which another connection may not have).
pub(super) fn check_insertable(
    dialect: statement::Dialect,
    table: &TableMeta,
    image: &Image,
) -> Result<(), statement::Refused> {
    let counted = table
        .columns
        .iter()
        .find(|column| column.source == ColumnSource::AutoIncrement);
    let (statement::Dialect::MySql, Some(column)) = (dialect, counted) else {
        return Ok(());
    };
    let is_zero = |row: &Row| match row.field(&column.name).map(|field| &field.value) {
        Some(Value::Int(0) | Value::BigInt(0) | Value::UnsignedBigInt(0)) => true,
        Some(Value::Float(value)) => *value == 0.0,
        Some(Value::Double(value)) => *value == 0.0,
        _ => false,
    };
    match image.rows.iter().any(is_zero) {
        false => Ok(()),
        true => Err(statement::Refused::new(
            format!(
                "a deleted row of {} has 0 in {}, which MySQL counts: put back, it would get another number",
                table.qualified_name(),
                column.name
            ),
            "delete it outside of global transactions, or give it another number first",
        )),
    }
}

/// Positions of the columns of the image; None when the table has not all of them.
fn recorded_columns(table: &TableMeta, image: &Image) -> Option<Vec<usize>> {
    let row = image.rows.first()?;
    row.fields
        .iter()
        .map(|field| {
            table
                .columns
                .iter()
                .position(|column| column.name.eq_ignore_ascii_case(&field.name))
        })
        .collect()
}

async fn current_rows<DB: Database>(
    local: &mut Local<'_, DB>,
    table: &Arc<TableMeta>,
    columns: &[usize],
    image: &Image,
) -> Result<Image, Failure> {
    let keys = images::keys_of(table, image).map_err(Failure::Content)?;
    Ok(images::rows_by_key::<DB>(local, table, columns, &keys).await?)
}

async fn undo_row<DB: Database>(
    local: &mut Local<'_, DB>,
    table: &TableMeta,
    statement: &RowStatement,
    row: &Row,
) -> Result<(), Failure> {
    let mut arguments = DB::Arguments::default();
    for at in &statement.columns {
        let column = &table.columns[*at];
        let field = row.field(&column.name).ok_or_else(|| {
            Failure::Content(format!(
                "a row of the undo log has no value for {}.{}",
                table.qualified_name(),
                column.name
            ))
        })?;
        DB::bind(&mut arguments, &field.value, column)
            .map_err(|error| Failure::Content(error.to_string()))?;
    }
    let bound = Bound {
        sql: AssertSqlSafe(statement.sql.clone()).into_sql_str(),
        arguments: Some(arguments),
        reuse: Reuse::Kept,
    };
    let affected = DB::run(local, bound).await?.affected();
    match affected {
        1 => Ok(()),
        affected => Err(Failure::Missed {
            table: table.qualified_name(),
            affected,
        }),
    }
}
