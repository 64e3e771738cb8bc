//! Reads images: rows of a query as the description of their table says, and rows by key.

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::Error;
use super::database::{Bound, Database, Driver, Reuse, places_for};
use super::image::{Field, FieldKey, Image, Row};
use super::meta::TableMeta;
use super::statement;
use super::value::Value;

/// The values of a primary key, in the order of its index.
pub(super) type Key = Vec<Value>;

/// Positions of the columns of the primary key.
pub(super) fn key_columns(table: &TableMeta) -> Vec<usize> {
    let names: Vec<&str> = table.primary_key().map(|c| c.name.as_str()).collect();
    names
        .iter()
        .filter_map(|name| table.columns.iter().position(|c| c.name == *name))
        .collect()
}

/// The keys of the rows of an image, or what is wrong with it.
pub(super) fn keys_of(table: &TableMeta, image: &Image) -> Result<Vec<Key>, String> {
    let key_of = |row: &Row| -> Result<Key, String> {
        let parts = table.primary_key().map(|column| {
            let field = row.field(&column.name);
            field.map(|field| field.value.clone()).ok_or_else(|| {
                let table = table.qualified_name();
                format!(
                    "the image of a row of {table} has no value for its key {}",
                    column.name
                )
            })
        });
        parts.collect()
    };
    image.rows.iter().map(key_of).collect()
}

/// Runs the query of an image. The columns are those that it selects.
pub(super) async fn read<DB: Database>(
    conn: &mut DB::Connection,
    table: &TableMeta,
    columns: &[usize],
    sql: String,
    arguments: DB::Arguments,
) -> Result<Image, Error> {
    let described: Vec<_> = columns.iter().map(|at| &table.columns[*at]).collect();
    let bound = Bound {
        sql: AssertSqlSafe(DB::image_query(sql, &described)).into_sql_str(),
        arguments: Some(arguments),
        reuse: Reuse::Kept,
    };
    let answer = DB::run(conn, bound).await.map_err(Error::Database)?;
    let key = key_columns(table);
    let mut image = Image::empty(table.qualified_name());
    for row in answer.rows() {
        image.rows.push(image_row::<DB>(row, table, columns, &key)?);
    }
    Ok(image)
}

fn image_row<DB: Driver>(
    row: &DB::Row,
    table: &TableMeta,
    columns: &[usize],
    key: &[usize],
) -> Result<Row, Error> {
    let mut fields = Vec::with_capacity(columns.len());
    for (index, at) in columns.iter().enumerate() {
        let column = &table.columns[*at];
        let value = DB::read(row, index, column).map_err(Error::Database)?;
        fields.push(Field {
            name: column.name.clone(),
            key: match key.contains(at) {
                true => FieldKey::Primary,
                false => FieldKey::None,
            },
            jdbc_type: column.jdbc_type,
            value,
        });
    }
    Ok(Row { fields })
}

/// The rows with these keys, locked where the database has row locks.
pub(super) async fn rows_by_key<DB: Database>(
    conn: &mut DB::Connection,
    table: &TableMeta,
    columns: &[usize],
    keys: &[Key],
) -> Result<Image, Error> {
    let described = key_columns(table);
    let mut image = Image::empty(table.qualified_name());
    let places = places_for(keys.len(), statement::KEYS_PER_QUERY_MAX);
    for query in statement::rows_by_key(DB::DIALECT, table, columns, places)? {
        let mut arguments = DB::Arguments::default();
        for place in query.keys {
            let key = &keys[place.min(keys.len() - 1)];
            for (value, at) in key.iter().zip(&described) {
                DB::bind(&mut arguments, value, &table.columns[*at]).map_err(Error::Database)?;
            }
        }
        let part = read::<DB>(conn, table, columns, query.sql, arguments).await?;
        image.rows.extend(part.rows);
    }
    Ok(image)
}

/// Whether two keys are those of one row.
pub(super) fn same_key(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_as(b))
}
