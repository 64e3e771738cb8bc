//! What MySQL and MariaDB say about a table, from `information_schema`.

use sqlx::Row;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::client::at::meta::{ColumnMeta, ColumnSource, KeyKind, KeyMeta, Nullability, TableMeta};

use super::TableName;

/// Describes a base table of the current database, or of the one that the name says. None when there is none.
pub(super) async fn describe(
    conn: &mut MySqlConnection,
    wanted: &TableName,
) -> Result<Option<TableMeta>, sqlx::Error> {
    let found = sqlx::query(
        "SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? AND TABLE_TYPE = 'BASE TABLE'",
    )
    .bind(&wanted.schema)
    .bind(&wanted.name)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let name = text(&found, 0)?.unwrap_or_default();
    let rows = sqlx::query(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
    )
    .bind(&wanted.schema)
    .bind(&name)
    .fetch_all(&mut *conn)
    .await?;
    let columns: Vec<ColumnMeta> = rows.iter().map(column).collect::<Result<_, _>>()?;
    let rows = sqlx::query(
        "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
    )
    .bind(&wanted.schema)
    .bind(&name)
    .fetch_all(conn)
    .await?;
    let keys = keys(&rows, &columns)?;
    Ok(Some(TableMeta {
        schema: wanted.schema.clone(),
        name,
        columns,
        keys,
    }))
}

/// Text, whatever the server calls its type: MariaDB reports some of these columns as BLOB.
fn text(row: &MySqlRow, index: usize) -> Result<Option<String>, sqlx::Error> {
    row.try_get_unchecked::<Option<String>, _>(index)
}

fn column(row: &MySqlRow) -> Result<ColumnMeta, sqlx::Error> {
    let data_type = text(row, 1)?.unwrap_or_default().to_ascii_lowercase();
    let type_name = text(row, 2)?.unwrap_or_default().to_ascii_lowercase();
    let nullable = text(row, 3)?.unwrap_or_default();
    let extra = text(row, 5)?.unwrap_or_default().to_ascii_lowercase();
    // MariaDB spells the absence of a default out.
    let default = text(row, 4)?.filter(|d| !d.eq_ignore_ascii_case("null"));
    let generated = ["virtual", "stored", "persistent"]
        .iter()
        .any(|kind| extra.contains(kind));
    let source = match () {
        () if generated => ColumnSource::Generated,
        () if extra.contains("auto_increment") => ColumnSource::AutoIncrement,
        () if extra.contains("on update") => ColumnSource::OnUpdate,
        () => ColumnSource::Statement,
    };
    Ok(ColumnMeta {
        name: text(row, 0)?.unwrap_or_default(),
        jdbc_type: jdbc_type(&data_type, &type_name),
        type_name,
        nullability: match nullable.eq_ignore_ascii_case("yes") {
            true => Nullability::Nullable,
            false => Nullability::NotNull,
        },
        default,
        source,
    })
}

/// Keys over whole columns: an index over the beginning of a text or over an expression does not tell rows apart by columns.
fn keys(rows: &[MySqlRow], columns: &[ColumnMeta]) -> Result<Vec<KeyMeta>, sqlx::Error> {
    let mut keys: Vec<(KeyMeta, bool)> = Vec::new();
    for row in rows {
        let name = text(row, 0)?.unwrap_or_default();
        let column = text(row, 1)?;
        let whole = row.try_get_unchecked::<&[u8], _>(2).is_err();
        let position = column.and_then(|column| {
            columns
                .iter()
                .position(|c| c.name.eq_ignore_ascii_case(&column))
        });
        if keys.last().is_none_or(|(key, _)| key.name != name) {
            let kind = match name.as_str() {
                "PRIMARY" => KeyKind::Primary,
                _ => KeyKind::Unique,
            };
            let key = KeyMeta {
                name,
                kind,
                columns: Vec::new(),
            };
            keys.push((key, true));
        }
        let Some((key, usable)) = keys.last_mut() else {
            continue;
        };
        match position {
            Some(position) if whole => key.columns.push(position),
            _ => *usable = false,
        }
    }
    let mut keys: Vec<KeyMeta> = keys
        .into_iter()
        .filter_map(|(key, usable)| usable.then_some(key))
        .collect();
    keys.sort_by_key(|key| key.kind != KeyKind::Primary);
    Ok(keys)
}

/// What Connector/J 8 reports (client.md 13.2).
fn jdbc_type(data_type: &str, column_type: &str) -> i32 {
    match data_type {
        "bit" => -7,
        "tinyint" if column_type.starts_with("tinyint(1)") && !column_type.contains("unsigned") => {
            -7
        }
        "tinyint" => -6,
        "smallint" => 5,
        "mediumint" | "int" | "integer" => 4,
        "bigint" => -5,
        "decimal" | "numeric" => 3,
        "float" => 7,
        "double" | "real" => 8,
        "char" | "enum" | "set" => 1,
        "varchar" | "tinytext" => 12,
        "text" | "mediumtext" | "longtext" => -1,
        "binary" => -2,
        // As Connector/J 8 has them; older ones and MariaDB's driver say 1111.
        geometry if is_geometry(geometry) => -2,
        "varbinary" | "tinyblob" => -3,
        "blob" | "mediumblob" | "longblob" => -4,
        "date" | "year" => 91,
        "time" => 92,
        "datetime" | "timestamp" => 93,
        // JSON, UUID, INET6 and what comes.
        _ => 1111,
    }
}

/// Whether a type holds shapes, which travel as bytes.
pub(super) fn is_geometry(data_type: &str) -> bool {
    matches!(
        data_type,
        "geometry"
            | "point"
            | "linestring"
            | "polygon"
            | "multipoint"
            | "multilinestring"
            | "multipolygon"
            | "geometrycollection"
            | "geomcollection"
    )
}

#[cfg(test)]
mod tests {
    use super::jdbc_type;

    #[test]
    fn types_have_the_numbers_of_the_driver() {
        assert_eq!(jdbc_type("tinyint", "tinyint(1)"), -7);
        assert_eq!(jdbc_type("tinyint", "tinyint(4)"), -6);
        assert_eq!(jdbc_type("int", "int(10) unsigned"), 4);
        assert_eq!(jdbc_type("json", "json"), 1111);
        assert_eq!(jdbc_type("geometry", "geometry"), -2);
        assert_eq!(jdbc_type("point", "point"), -2);
    }
}
