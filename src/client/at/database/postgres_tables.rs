//! What PostgreSQL says about a table, from `pg_catalog`.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::client::at::meta::{ColumnMeta, ColumnSource, KeyKind, KeyMeta, Nullability, TableMeta};

use super::TableName;

/// Describes an ordinary or partitioned table that the search path or the schema of the name leads to. None when there is
/// none.
pub(super) async fn describe(
    conn: &mut PgConnection,
    wanted: &TableName,
) -> Result<Option<TableMeta>, sqlx::Error> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let path = match &wanted.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&wanted.name)),
        None => quote(&wanted.name),
    };
    let found = sqlx::query(
        "SELECT c.oid::int8, n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'",
    )
    .bind(path)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let table: i64 = found.try_get(0)?;
    let schema: String = found.try_get(1)?;
    let rows = sqlx::query(
        "SELECT a.attname::text, a.attnum::int4, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
           pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text, \
           t.typname::text, t.typtype::text, t.typcategory::text, a.atttypmod \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(table)
    .fetch_all(&mut *conn)
    .await?;
    let mut numbers = Vec::with_capacity(rows.len());
    let mut columns = Vec::with_capacity(rows.len());
    for row in &rows {
        numbers.push(row.try_get::<i32, _>(1)?);
        columns.push(column(row)?);
    }
    let rows = sqlx::query(
        "SELECT c.relname::text, i.indisprimary, i.indkey::text, i.indnkeyatts::int4 FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
         ORDER BY NOT i.indisprimary, c.relname",
    )
    .bind(table)
    .fetch_all(conn)
    .await?;
    let keys = rows
        .iter()
        .map(|row| key(row, &numbers))
        .collect::<Result<_, _>>()?;
    Ok(Some(TableMeta {
        schema: Some(schema).filter(|schema| schema != "public"),
        name: found.try_get(2)?,
        columns,
        keys,
    }))
}

fn column(row: &PgRow) -> Result<ColumnMeta, sqlx::Error> {
    let default: Option<String> = row.try_get(4)?;
    let identity: String = row.try_get(5)?;
    let generated: String = row.try_get(6)?;
    let type_name: String = row.try_get(7)?;
    let kind: String = row.try_get(8)?;
    let category: String = row.try_get(9)?;
    let counts = default
        .as_deref()
        .is_some_and(|default| default.starts_with("nextval("));
    let source = match () {
        () if !generated.is_empty() => ColumnSource::Generated,
        () if identity == "a" => ColumnSource::AlwaysIdentity,
        () if identity == "d" || counts => ColumnSource::AutoIncrement,
        () => ColumnSource::Statement,
    };
    Ok(ColumnMeta {
        name: row.try_get(0)?,
        jdbc_type: jdbc_type(&type_name, &kind, &category),
        type_name: row.try_get(2)?,
        nullability: match row.try_get(3)? {
            true => Nullability::NotNull,
            false => Nullability::Nullable,
        },
        default,
        source,
    })
}

fn key(row: &PgRow, numbers: &[i32]) -> Result<KeyMeta, sqlx::Error> {
    let primary: bool = row.try_get(1)?;
    let listed: String = row.try_get(2)?;
    // Behind these come columns that are only carried along.
    let counted: i32 = row.try_get(3)?;
    let columns = listed
        .split(' ')
        .take(usize::try_from(counted).unwrap_or_default())
        .filter_map(|number| number.parse::<i32>().ok())
        .filter_map(|number| numbers.iter().position(|n| *n == number))
        .collect();
    Ok(KeyMeta {
        name: row.try_get(0)?,
        kind: match primary {
            true => KeyKind::Primary,
            false => KeyKind::Unique,
        },
        columns,
    })
}

/// What pgjdbc reports (client.md 13.3).
fn jdbc_type(name: &str, kind: &str, category: &str) -> i32 {
    match (kind, category) {
        ("e", _) => return 12,
        ("d", _) => return 2001,
        ("c", _) => return 2002,
        (_, "A") => return 2003,
        _ => {}
    }
    match name {
        "bool" | "bit" => -7,
        "int2" => 5,
        "int4" => 4,
        "int8" | "oid" => -5,
        "numeric" => 2,
        "float4" => 7,
        "float8" | "money" => 8,
        "bpchar" | "char" => 1,
        "varchar" | "text" | "name" => 12,
        "bytea" => -2,
        "date" => 91,
        "time" | "timetz" => 92,
        "timestamp" | "timestamptz" => 93,
        "xml" => 2009,
        _ => 1111,
    }
}

#[cfg(test)]
mod tests {
    use super::jdbc_type;

    #[test]
    fn types_have_the_numbers_of_the_driver() {
        assert_eq!(jdbc_type("int8", "b", "N"), -5);
        assert_eq!(jdbc_type("mood", "e", "E"), 12);
        assert_eq!(jdbc_type("_int4", "b", "A"), 2003);
        assert_eq!(jdbc_type("jsonb", "b", "U"), 1111);
    }
}
