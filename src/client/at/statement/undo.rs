//! The statements that undo: by primary key, with values out of images.

use super::Dialect;
use super::image::Placeholders;
use super::name::{primary_key, quote, quote_columns, quote_table};
use super::refused::Refused;
use crate::client::at::meta::{ColumnSource, TableMeta};

/// A statement for one row of an image. Exactly one row has to be changed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowStatement {
    /// The text.
    pub sql: String,
    /// Which values of the row to bind, in this order: positions in [`TableMeta::columns`]. One may be there twice.
    pub columns: Vec<usize>,
}

/// Undoes an INSERT: deletes the row.
///
/// # Errors
///
/// [`Refused`] when the table has no primary key.
pub fn undo_insert(dialect: Dialect, meta: &TableMeta) -> Result<RowStatement, Refused> {
    let key = primary_key(meta)?;
    let mut placeholders = Placeholders::new(dialect);
    let mut sql = format!("DELETE FROM {}", quote_table(meta, dialect));
    push_key(&mut sql, meta, key, &mut placeholders, dialect);
    Ok(RowStatement {
        sql,
        columns: key.to_vec(),
    })
}

/// Undoes a DELETE: inserts the row with the columns of its image, without those that the database computes.
///
/// # Errors
///
/// [`Refused`] when the image has none of the table's columns.
pub fn undo_delete(
    dialect: Dialect,
    meta: &TableMeta,
    image: &[usize],
) -> Result<RowStatement, Refused> {
    let written = |column: &usize| meta.columns[*column].source != ColumnSource::Generated;
    let columns: Vec<usize> = image.iter().copied().filter(written).collect();
    if columns.is_empty() {
        return Err(Refused::new(
            format!(
                "the image of a deleted row of {} has no columns",
                meta.qualified_name()
            ),
            "restore the row by hand",
        ));
    }
    let mut placeholders = Placeholders::new(dialect);
    let mut sql = format!(
        "INSERT INTO {} ({})",
        quote_table(meta, dialect),
        quote_columns(meta, &columns, "", dialect)
    );
    let identity = |column: &usize| meta.columns[*column].source == ColumnSource::AlwaysIdentity;
    if dialect == Dialect::Postgres && columns.iter().any(identity) {
        sql.push_str(" OVERRIDING SYSTEM VALUE");
    }
    sql.push_str(" VALUES (");
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            sql.push_str(", ");
        }
        placeholders.push(&mut sql, &meta.columns[*column]);
    }
    sql.push(')');
    Ok(RowStatement { sql, columns })
}

/// Undoes an UPDATE: writes the columns of the image back, without the key and those that only the database writes. Nothing
/// when no column is left.
///
/// # Errors
///
/// [`Refused`] when the table has no primary key.
pub fn undo_update(
    dialect: Dialect,
    meta: &TableMeta,
    image: &[usize],
) -> Result<Option<RowStatement>, Refused> {
    let key = primary_key(meta)?;
    let written = |column: &usize| {
        let source = meta.columns[*column].source;
        let by_database = matches!(
            source,
            ColumnSource::Generated | ColumnSource::AlwaysIdentity
        );
        !by_database && !key.contains(column)
    };
    let mut columns: Vec<usize> = image.iter().copied().filter(written).collect();
    if columns.is_empty() {
        return Ok(None);
    }
    let mut placeholders = Placeholders::new(dialect);
    let mut sql = format!("UPDATE {} SET ", quote_table(meta, dialect));
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            sql.push_str(", ");
        }
        sql.push_str(&quote(&meta.columns[*column].name, dialect));
        sql.push_str(" = ");
        placeholders.push(&mut sql, &meta.columns[*column]);
    }
    push_key(&mut sql, meta, key, &mut placeholders, dialect);
    columns.extend(key);
    Ok(Some(RowStatement { sql, columns }))
}

fn push_key(
    sql: &mut String,
    meta: &TableMeta,
    key: &[usize],
    placeholders: &mut Placeholders,
    dialect: Dialect,
) {
    for (at, column) in key.iter().enumerate() {
        sql.push_str(if at == 0 { " WHERE " } else { " AND " });
        sql.push_str(&quote(&meta.columns[*column].name, dialect));
        sql.push_str(" = ");
        placeholders.push(sql, &meta.columns[*column]);
    }
}
