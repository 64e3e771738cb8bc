//! Rows of the undo log's table: written by phase one, read and deleted by phase two.

use sqlx::AssertSqlSafe;
use sqlx::SqlSafeStr;

use super::database::{Answer, Bound, Driver, Plain, Reuse, Stored, places_for};
use super::image::{BranchUndoLog, Field, UndoItem};
use super::undo_log::pieces::{self, UndoRow};
use super::undo_log::{self, Compressor, Context, Encoded, Format, Serializer};
use super::undo_table::{GLOBAL_FINISHED, NORMAL, UndoTable, continuation_context};
use super::value::Value;

/// What the table holds for a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A row that keeps a late phase one out.
    Finished,
    /// The content of an undo log, put together.
    Log(Encoded),
}

/// Why a row of the undo log could not be used.
#[derive(Debug)]
pub(super) enum Fault {
    Database(sqlx::Error),
    Content(undo_log::Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<undo_log::Error> for Fault {
    fn from(error: undo_log::Error) -> Self {
        Self::Content(error)
    }
}

/// The rows that keep this log, those that continue another before the one they continue.
pub(super) fn rows_of(
    log: &BranchUndoLog,
    format: &Format,
    packet_max: Option<usize>,
) -> Result<Vec<UndoRow>, undo_log::Error> {
    let packet_max = packet_max.and_then(|bytes| u64::try_from(bytes).ok());
    let encoded = undo_log::encode(log, format, packet_max)?;
    let piece = packet_max.map_or(usize::MAX, pieces::piece_bytes_max);
    let mut number = 0;
    pieces::split(encoded, log.branch_id, piece, || {
        number += 1;
        continuation_id(log.branch_id, number)
    })
}

/// The first value that the format would not give back as it is, with its table: Java's classes cannot hold some. Such a branch
/// must not commit, since it could never be undone.
pub(super) fn first_lost<'a>(
    items: &[&'a UndoItem],
    format: &Format,
) -> Result<Option<(&'a str, &'a Field)>, undo_log::Error> {
    if format.serializer == Serializer::Native
        || !items.iter().flat_map(|item| fields(item)).any(is_delicate)
    {
        return Ok(None);
    }
    let log = BranchUndoLog {
        xid: String::new(),
        branch_id: 0,
        items: items.iter().map(|item| (*item).clone()).collect(),
    };
    let uncompressed = Format {
        compressor: Compressor::None,
        ..format.clone()
    };
    let encoded = undo_log::encode(&log, &uncompressed, None)?;
    let read = undo_log::decode(&encoded.context, &encoded.content, &uncompressed)?;
    for (&item, read) in items.iter().zip(&read.items) {
        for (field, read) in fields(item).zip(fields(read)) {
            if !field.value.same_as(&read.value) {
                return Ok(Some((&item.table_name, field)));
            }
        }
    }
    Ok(None)
}

fn fields(item: &UndoItem) -> impl Iterator<Item = &Field> {
    let rows = item.before.rows.iter().chain(&item.after.rows);
    rows.flat_map(|row| &row.fields)
}

/// Whether Java's layout may lose something of it.
fn is_delicate(field: &Field) -> bool {
    !matches!(
        field.value,
        Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::BigInt(_)
            | Value::Text(_)
            | Value::Bytes(_)
    )
}

/// Below zero, where no coordinator's branch ids are, and different for every branch of a transaction: there are at most three
/// continuations, since the context has no room for more.
fn continuation_id(branch_id: i64, number: i64) -> i64 {
    let place = branch_id.wrapping_mul(4).wrapping_add(number & 3) & i64::MAX;
    -1 - place
}

/// Writes rows that can undo a branch.
pub(super) async fn insert<DB: Driver>(
    conn: &mut DB::Connection,
    table: &UndoTable,
    xid: &str,
    rows: &[UndoRow],
) -> Result<(), sqlx::Error> {
    for row in rows {
        insert_row::<DB>(conn, table, xid, row, NORMAL).await?;
    }
    Ok(())
}

/// Writes the row that makes a late phase one fail.
pub(super) async fn insert_finished<DB: Driver>(
    conn: &mut DB::Connection,
    table: &UndoTable,
    xid: &str,
    branch_id: i64,
    format: &Format,
) -> Result<(), Fault> {
    let encoded = undo_log::finished(format);
    let row = UndoRow {
        branch_id,
        context: encoded.context.to_column()?,
        rollback_info: encoded.content,
    };
    insert_row::<DB>(conn, table, xid, &row, GLOBAL_FINISHED).await?;
    Ok(())
}

async fn insert_row<DB: Driver>(
    conn: &mut DB::Connection,
    table: &UndoTable,
    xid: &str,
    row: &UndoRow,
    status: i64,
) -> Result<(), sqlx::Error> {
    let values = [
        Plain::Integer(row.branch_id),
        Plain::Text(xid),
        Plain::Text(&row.context),
        Plain::Bytes(&row.rollback_info),
        Plain::Integer(status),
    ];
    execute::<DB>(conn, table.insert(), &values, Reuse::Kept).await?;
    Ok(())
}

/// Reads and locks what there is for a branch.
pub(super) async fn select<DB: Driver>(
    conn: &mut DB::Connection,
    table: &UndoTable,
    xid: &str,
    branch_id: i64,
) -> Result<Found, Fault> {
    let Some((context, content, status)) = select_row::<DB>(conn, table, xid, branch_id).await?
    else {
        return Ok(Found::Nothing);
    };
    if status != NORMAL {
        return Ok(Found::Finished);
    }
    let context = Context::parse(&context)?;
    let mut continued = Vec::new();
    for id in &context.continued_by {
        if let Some((_, piece, _)) = select_row::<DB>(conn, table, xid, *id).await? {
            continued.push((*id, piece));
        }
    }
    let content = pieces::join(&context, content, continued)?;
    Ok(Found::Log(Encoded { context, content }))
}

async fn select_row<DB: Driver>(
    conn: &mut DB::Connection,
    table: &UndoTable,
    xid: &str,
    branch_id: i64,
) -> Result<Option<(String, Vec<u8>, i64)>, sqlx::Error> {
    let values = [Plain::Text(xid), Plain::Integer(branch_id)];
    let answer = execute::<DB>(conn, table.select(), &values, Reuse::Kept).await?;
    let Some(row) = answer.rows().next() else {
        return Ok(None);
    };
    let strange = || sqlx::Error::Decode("a column of the undo log has an unexpected type".into());
    let context = DB::get(row, 0)?.into_bytes().ok_or_else(strange)?;
    let context = String::from_utf8(context).map_err(|_| strange())?;
    let content = DB::get(row, 1)?.into_bytes().ok_or_else(strange)?;
    let status = DB::get(row, 2)?.integer().ok_or_else(strange)?;
    Ok(Some((context, content, status)))
}

/// Deletes the rows of these branches, each by its pair of transaction and branch.
pub(super) async fn delete<DB: Driver>(
    conn: &mut DB::Connection,
    table: &UndoTable,
    branches: &[(crate::proto::Text, i64)],
) -> Result<(), sqlx::Error> {
    let Some(last) = branches.last() else {
        return Ok(());
    };
    let places = places_for(branches.len(), usize::MAX);
    let filled = branches.iter().chain(std::iter::repeat(last)).take(places);
    let contexts: Vec<String> = filled
        .clone()
        .map(|(_, id)| continuation_context(*id))
        .collect();
    let mut values = Vec::with_capacity(places * 3);
    for ((xid, id), context) in filled.zip(&contexts) {
        values.push(Plain::Text(xid.as_str()));
        values.push(Plain::Integer(*id));
        values.push(Plain::Text(context));
    }
    execute::<DB>(conn, table.delete(places), &values, Reuse::Kept).await?;
    Ok(())
}

/// Runs a statement of ours.
pub(super) async fn execute<DB: Driver>(
    conn: &mut DB::Connection,
    sql: String,
    values: &[Plain<'_>],
    reuse: Reuse,
) -> Result<Answer<DB>, sqlx::Error> {
    let mut arguments = DB::Arguments::default();
    for value in values {
        DB::add(&mut arguments, *value)?;
    }
    let statement = Bound {
        sql: AssertSqlSafe(sql).into_sql_str(),
        arguments: Some(arguments),
        reuse,
    };
    DB::run(conn, statement).await
}

/// The first column of the first row of a statement of ours without parameters.
pub(super) async fn ask<DB: Driver>(
    conn: &mut DB::Connection,
    sql: String,
) -> Result<Option<Stored>, sqlx::Error> {
    let answer = execute::<DB>(conn, sql, &[], Reuse::Kept).await?;
    answer.rows().next().map(|row| DB::get(row, 0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::continuation_id;

    #[test]
    fn continuations_have_ids_of_their_own() {
        let mut ids = Vec::new();
        for branch in [1, 2, 3, i64::MAX, i64::MAX - 1, 7_000_000_000_000_000_000] {
            for number in 1..=3 {
                ids.push(continuation_id(branch, number));
            }
        }
        assert!(ids.iter().all(|id| *id < 0));
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
