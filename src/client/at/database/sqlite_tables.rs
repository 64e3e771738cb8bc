//! What SQLite says about a table: `PRAGMA table_xinfo`, `index_list` and `index_xinfo`.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use crate::client::at::meta::{ColumnMeta, ColumnSource, KeyKind, KeyMeta, Nullability, TableMeta};

use super::TableName;

/// Describes a table of the main database, or of the attached one that the name says. None when there is none: a view, a
/// virtual table and a temporary table are none, since phase two could not find their rows by key.
pub(super) async fn describe(
    conn: &mut SqliteConnection,
    wanted: &TableName,
) -> Result<Option<TableMeta>, sqlx::Error> {
    let schema = wanted.schema.as_deref().unwrap_or("main");
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    let find = format!(
        "SELECT name, sql FROM {quoted}.sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
    );
    let found = sqlx::query(AssertSqlSafe(find))
        .bind(&wanted.name)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let name: String = found.try_get(0)?;
    let definition: String = found.try_get(1)?;
    let (columns, key) = columns(conn, schema, &name).await?;
    let (mut keys, has_key_index) = indexes(conn, schema, &name).await?;
    if keys.iter().all(|key| key.kind != KeyKind::Primary) && !key.is_empty() {
        keys.insert(
            0,
            KeyMeta {
                name: "primary key".to_owned(),
                kind: KeyKind::Primary,
                columns: key.clone(),
            },
        );
    }
    let mut table = TableMeta {
        schema: wanted.schema.clone(),
        name,
        columns,
        keys,
    };
    // The one case in which a column is another name of the row id: then SQLite counts where nothing is given.
    if let [only] = key[..]
        && !has_key_index
        && table.columns[only].type_name == "integer"
        && !is_virtual(&definition)
    {
        table.columns[only].source = ColumnSource::AutoIncrement;
    }
    Ok(Some(table))
}

fn is_virtual(definition: &str) -> bool {
    let head: String = definition.chars().take(24).collect();
    head.to_ascii_lowercase().starts_with("create virtual")
}

/// The columns, and the positions of those of the primary key in its order.
async fn columns(
    conn: &mut SqliteConnection,
    schema: &str,
    table: &str,
) -> Result<(Vec<ColumnMeta>, Vec<usize>), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, ?2) ORDER BY cid",
    )
    .bind(table)
    .bind(schema)
    .fetch_all(conn)
    .await?;
    let mut columns = Vec::with_capacity(rows.len());
    let mut key: Vec<(i64, usize)> = Vec::new();
    for row in &rows {
        let place: i64 = row.try_get(4)?;
        if place > 0 {
            key.push((place, columns.len()));
        }
        columns.push(column(row)?);
    }
    key.sort_unstable();
    Ok((columns, key.into_iter().map(|(_, index)| index).collect()))
}

fn column(row: &SqliteRow) -> Result<ColumnMeta, sqlx::Error> {
    let declared: String = row.try_get(1)?;
    let type_name = declared.trim().to_ascii_lowercase();
    let not_null: i64 = row.try_get(2)?;
    // 2 and 3: generated, virtual or stored; 1: a hidden column of a virtual table.
    let hidden: i64 = row.try_get(5)?;
    Ok(ColumnMeta {
        name: row.try_get(0)?,
        jdbc_type: jdbc_type(&type_name),
        type_name,
        nullability: match not_null {
            0 => Nullability::Nullable,
            _ => Nullability::NotNull,
        },
        default: row.try_get(3)?,
        source: match hidden {
            0 => ColumnSource::Statement,
            _ => ColumnSource::Generated,
        },
    })
}

/// Primary and unique indexes over whole columns and all rows, and whether the primary key has an index: a row id has none.
async fn indexes(
    conn: &mut SqliteConnection,
    schema: &str,
    table: &str,
) -> Result<(Vec<KeyMeta>, bool), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT name, origin, partial FROM pragma_index_list(?1, ?2) WHERE \"unique\" = 1 ORDER BY seq",
    )
    .bind(table)
    .bind(schema)
    .fetch_all(&mut *conn)
    .await?;
    let mut keys = Vec::new();
    let mut has_key_index = false;
    for row in &rows {
        let name: String = row.try_get(0)?;
        let origin: String = row.try_get(1)?;
        let partial: i64 = row.try_get(2)?;
        has_key_index |= origin == "pk";
        let parts = sqlx::query(
            "SELECT cid FROM pragma_index_xinfo(?1, ?2) WHERE \"key\" = 1 ORDER BY seqno",
        )
        .bind(&name)
        .bind(schema)
        .fetch_all(&mut *conn)
        .await?;
        // -1 is the row id, -2 an expression.
        let columns: Result<Vec<usize>, sqlx::Error> = parts
            .iter()
            .map(|part| Ok(usize::try_from(part.try_get::<i64, _>(0)?).unwrap_or(usize::MAX)))
            .collect();
        let columns = columns?;
        let kind = match origin == "pk" {
            true => KeyKind::Primary,
            false => KeyKind::Unique,
        };
        if partial == 0 && !columns.contains(&usize::MAX) {
            keys.push(KeyMeta {
                name,
                kind,
                columns,
            });
        }
    }
    keys.sort_by_key(|key| key.kind != KeyKind::Primary);
    Ok((keys, has_key_index))
}

/// By SQLite's rules of affinity; there is no driver of Java's to agree with.
fn jdbc_type(declared: &str) -> i32 {
    const BIGINT: i32 = -5;
    const VARCHAR: i32 = 12;
    const BLOB: i32 = 2004;
    const DOUBLE: i32 = 8;
    const NUMERIC: i32 = 2;
    let has = |part: &str| declared.contains(part);
    match () {
        () if has("int") => BIGINT,
        () if has("char") || has("clob") || has("text") => VARCHAR,
        () if has("blob") || declared.is_empty() => BLOB,
        () if has("real") || has("floa") || has("doub") => DOUBLE,
        () => NUMERIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection;

    async fn described(ddl: &'static str, table: &str) -> Option<TableMeta> {
        let mut conn = SqliteConnection::connect("sqlite::memory:")
            .await
            .expect("memory");
        sqlx::raw_sql(ddl).execute(&mut conn).await.expect(ddl);
        let name = TableName {
            schema: None,
            name: table.to_owned(),
        };
        describe(&mut conn, &name).await.expect("described")
    }

    #[tokio::test]
    async fn a_row_id_counts_by_itself() {
        let table = described(
            "CREATE TABLE Stock (id INTEGER PRIMARY KEY, Sku TEXT NOT NULL UNIQUE, qty INT DEFAULT 1)",
            "stock",
        )
        .await
        .expect("there");
        assert_eq!(table.name, "Stock");
        let key: Vec<_> = table.primary_key().map(|c| c.name.as_str()).collect();
        assert_eq!(key, ["id"]);
        assert_eq!(table.columns[0].source, ColumnSource::AutoIncrement);
        assert_eq!(table.columns[1].nullability, Nullability::NotNull);
        assert_eq!(table.columns[2].default.as_deref(), Some("1"));
        assert_eq!(table.keys.len(), 2);
        assert_eq!(table.keys[1].columns, [1]);
    }

    #[tokio::test]
    async fn keys_keep_their_order_and_other_tables_do_not_count() {
        let table = described(
            "CREATE TABLE t (a TEXT, b INTEGER, c, d AS (a || b), PRIMARY KEY (b, a)) WITHOUT ROWID;
             CREATE UNIQUE INDEX some ON t (c) WHERE c > 1; CREATE UNIQUE INDEX low ON t (lower(a))",
            "T",
        )
        .await
        .expect("there");
        let key: Vec<_> = table.primary_key().map(|c| c.name.as_str()).collect();
        assert_eq!(key, ["b", "a"]);
        assert_eq!(table.keys.len(), 1);
        assert_eq!(table.columns[1].source, ColumnSource::Statement);
        assert_eq!(table.columns[3].source, ColumnSource::Generated);
        assert_eq!(described("CREATE VIEW v AS SELECT 1 AS a", "v").await, None);
        assert_eq!(described("CREATE TEMP TABLE x (a)", "x").await, None);
        let text_key = described("CREATE TABLE k (id TEXT PRIMARY KEY)", "k").await;
        let text_key = text_key.expect("there");
        assert_eq!(text_key.columns[0].source, ColumnSource::Statement);
    }
}
