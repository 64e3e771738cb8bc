//! Values of PostgreSQL: out of the binary form of rows, and into parameters.
//!
//! Types that are common are read and bound in binary, so no setting of the session changes their text. The others are read
//! through a cast to text and bound as text, which the statement casts back.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo, PgTypeKind, Postgres};
use sqlx::{Arguments, Row, Type, TypeInfo, ValueRef};

use super::postgres_binary::{decode, encode};
use super::{Stored, unbindable};
use crate::client::at::meta::ColumnMeta;
use crate::client::at::value::{PgObject, Value};

/// A column of one of our own tables.
pub(super) fn stored(row: &PgRow, index: usize) -> Result<Stored, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Stored::Null);
    }
    let type_name = raw.type_info().name().to_owned();
    Ok(match type_name.as_str() {
        "INT8" => Stored::Integer(row.try_get_unchecked(index)?),
        "INT4" => Stored::Integer(i64::from(row.try_get_unchecked::<i32, _>(index)?)),
        "BYTEA" => Stored::Bytes(row.try_get_unchecked(index)?),
        _ => Stored::Text(row.try_get_unchecked(index)?),
    })
}

/// Casts the columns that are not read in binary to text, around the query that finds and locks the rows.
pub(super) fn image_query(sql: String, columns: &[&ColumnMeta]) -> String {
    if columns.iter().all(|column| is_native(column)) {
        return sql;
    }
    let listed: Vec<String> = columns
        .iter()
        .map(|column| {
            let quoted = column.name.replace('"', "\"\"");
            match is_native(column) {
                true => format!("image.\"{quoted}\""),
                false => format!("image.\"{quoted}\"::text"),
            }
        })
        .collect();
    format!("SELECT {} FROM ({sql}) AS image", listed.join(", "))
}

/// A column of an image.
pub(super) fn read(row: &PgRow, index: usize, column: &ColumnMeta) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let bytes = raw.as_bytes().map_err(sqlx::Error::Decode)?;
    if !is_native(column) {
        let text = raw.as_str().map_err(sqlx::Error::Decode)?.to_owned();
        let type_name = own_name(column);
        let text = as_put_out(&type_name, text);
        return Ok(Value::PgObject(PgObject { type_name, text }));
    }
    let info = raw.type_info();
    let value = match info.kind() {
        PgTypeKind::Enum(_) => raw.as_str().ok().map(|text| Value::Text(text.to_owned())),
        // Of a domain the server tells the type below.
        _ => info.oid().and_then(|oid| decode(oid.0, bytes)),
    };
    value.ok_or_else(|| {
        let what = format!(
            "column {} of type {} holds a value that cannot be recorded (an array that does not begin at 1?)",
            column.name, column.type_name
        );
        sqlx::Error::Decode(what.into())
    })
}

/// Appends a value so that the column gets it back exactly.
pub(super) fn bind(
    arguments: &mut PgArguments,
    value: &Value,
    column: &ColumnMeta,
) -> Result<(), BoxDynError> {
    let oid = native_oid(column);
    if value.is_null() {
        return arguments.add(Raw {
            oid: oid.unwrap_or(TEXT),
            bytes: None,
        });
    }
    if let Some(oid) = oid
        && let Some(bytes) = encode(value, oid)
    {
        return arguments.add(Raw {
            oid,
            bytes: Some(bytes),
        });
    }
    match value {
        Value::Text(text) | Value::PgObject(PgObject { text, .. }) => arguments.add(text.as_str()),
        Value::Bool(truth) if base(column) == "bit" => {
            arguments.add(if *truth { "1" } else { "0" })
        }
        // Domains, and Java's classes for types that have no parameter of their own.
        Value::Bool(_)
        | Value::Int(_)
        | Value::BigInt(_)
        | Value::UnsignedBigInt(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Decimal(_)
        | Value::Uuid(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::DateTime(_)
        | Value::Interval(_) => arguments.add(plain_text(value)),
        Value::Timestamp(utc) => arguments.add(format!("{utc}+00")),
        other => Err(unbindable(other, &column.type_name)),
    }
}

/// What a client gets for what the cast to text gave: that of an address alone has a mask, which the database does not put out.
fn as_put_out(type_name: &str, mut text: String) -> String {
    if type_name == "inet" {
        let mask = if text.contains(':') { "/128" } else { "/32" };
        if text.ends_with(mask) {
            text.truncate(text.len() - mask.len());
        }
    }
    text
}

/// Without the cut that messages have.
fn plain_text(value: &Value) -> String {
    match value {
        Value::Decimal(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// The type without lengths: `timestamp with time zone` of `timestamp(3) with time zone`.
fn base(column: &ColumnMeta) -> String {
    let name = &column.type_name;
    let text = match (name.find('('), name.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &name[..open], &name[close + 1..])
        }
        _ => name.clone(),
    };
    match text.strip_prefix("interval") {
        Some(_) if !text.ends_with("[]") => "interval".to_owned(),
        _ => text,
    }
}

/// The name in `pg_type`, of the types that are written differently.
fn own_name(column: &ColumnMeta) -> String {
    let base = base(column);
    if let Some(element) = base.strip_suffix("[]") {
        return format!("_{}", element.trim_matches('"'));
    }
    match base.as_str() {
        "bit varying" => "varbit".to_owned(),
        other => other.trim_matches('"').replace("\"\"", "\""),
    }
}

/// Whether the column is read in binary.
fn is_native(column: &ColumnMeta) -> bool {
    const ENUM_OR_TEXT: i32 = 12;
    const DOMAIN: i32 = 2001;
    native_oid(column).is_some() || matches!(column.jdbc_type, ENUM_OR_TEXT | DOMAIN)
}

/// The number of the column's type, where values of it are read and bound in binary.
fn native_oid(column: &ColumnMeta) -> Option<u32> {
    let base = base(column);
    let scalar = |name: &str| {
        NATIVE
            .iter()
            .find(|(native, ..)| *native == name)
            .map(|(_, oid, array)| (*oid, *array))
    };
    match base.strip_suffix("[]") {
        Some(element) => scalar(element).map(|(_, array)| array),
        None => scalar(&base).map(|(oid, _)| oid),
    }
}

/// Types that are read and bound in binary: as the database writes them, with the numbers of the type and of its arrays.
const NATIVE: [(&str, u32, u32); 25] = [
    ("boolean", 16, 1000),
    ("bytea", 17, 1001),
    ("\"char\"", 18, 1002),
    ("name", 19, 1003),
    ("bigint", 20, 1016),
    ("smallint", 21, 1005),
    ("integer", 23, 1007),
    ("text", TEXT, 1009),
    ("oid", 26, 1028),
    ("json", 114, 199),
    ("real", 700, 1021),
    ("double precision", 701, 1022),
    ("character", 1042, 1014),
    ("character varying", 1043, 1015),
    ("date", 1082, 1182),
    ("time without time zone", 1083, 1183),
    ("timestamp without time zone", 1114, 1115),
    ("timestamp with time zone", 1184, 1185),
    ("interval", 1186, 1187),
    ("numeric", 1700, 1231),
    ("time with time zone", 1266, 1270),
    ("bit", 1560, 1561),
    ("bit varying", 1562, 1563),
    ("uuid", 2950, 2951),
    ("jsonb", 3802, 3807),
];

/// The number of `text`.
const TEXT: u32 = 25;

/// A parameter in its binary form.
struct Raw {
    oid: u32,
    bytes: Option<Vec<u8>>,
}

impl Type<Postgres> for Raw {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(TEXT))
    }
}

impl Encode<'_, Postgres> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else {
            return Ok(IsNull::Yes);
        };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.oid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::at::meta::{ColumnSource, Nullability};

    fn column(name: &str, type_name: &str, jdbc_type: i32) -> ColumnMeta {
        ColumnMeta {
            name: name.to_owned(),
            jdbc_type,
            type_name: type_name.to_owned(),
            nullability: Nullability::Nullable,
            default: None,
            source: ColumnSource::Statement,
        }
    }

    #[test]
    fn types_are_known_by_what_the_database_writes() {
        let oid = |name| native_oid(&column("c", name, 1111));
        assert_eq!(oid("timestamp(3) with time zone"), Some(1184));
        assert_eq!(oid("numeric(10,2)"), Some(1700));
        assert_eq!(oid("character varying(20)[]"), Some(1015));
        assert_eq!(oid("interval day to second(3)"), Some(1186));
        assert_eq!(oid("inet"), None);
    }

    #[test]
    fn addresses_have_no_mask_of_their_own() {
        let put_out = |text: &str| as_put_out("inet", text.to_owned());
        assert_eq!(put_out("::1/128"), "::1");
        assert_eq!(put_out("10.0.0.1/32"), "10.0.0.1");
        assert_eq!(put_out("2001:db8::/32"), "2001:db8::/32");
        assert_eq!(put_out("10.0.0.1/8"), "10.0.0.1/8");
        assert_eq!(as_put_out("cidr", "::1/128".to_owned()), "::1/128");
    }

    #[test]
    fn other_types_go_through_text() {
        let [id, address] = [column("id", "bigint", -5), column("a\"b", "inet", 1111)];
        assert_eq!(image_query("SELECT 1".to_owned(), &[&id]), "SELECT 1");
        assert_eq!(
            image_query("SELECT 1".to_owned(), &[&id, &address]),
            "SELECT image.\"id\", image.\"a\"\"b\"::text FROM (SELECT 1) AS image"
        );
    }
}
