//! Values of MySQL and MariaDB: out of the binary form of rows, and into parameters.
//!
//! What a column holds is told by the table's description: the type that a row reports is that of the expression, and MariaDB
//! calls some texts binary. NULL is told by the bytes that are not there, since sqlx takes a zero date for NULL.

use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments, Row, TypeInfo, ValueRef};

use super::mysql_tables::is_geometry;
use super::{Stored, unbindable};
use crate::client::at::meta::ColumnMeta;
use crate::client::at::value::{Date, DateTime, Time, Value};

/// A column of one of our own tables.
pub(super) fn stored(row: &MySqlRow, index: usize) -> Result<Stored, sqlx::Error> {
    let Ok(bytes) = row.try_get_unchecked::<&[u8], _>(index) else {
        return Ok(Stored::Null);
    };
    let type_name = row.try_get_raw(index)?.type_info().name().to_owned();
    if type_name.contains("INT") || type_name == "BOOLEAN" {
        return Ok(Stored::Integer(row.try_get_unchecked(index)?));
    }
    Ok(
        match type_name.contains("BLOB") || type_name.contains("BINARY") {
            true => Stored::Bytes(bytes.to_vec()),
            false => Stored::Text(row.try_get_unchecked(index)?),
        },
    )
}

/// A column of an image; the row has to be in binary form.
pub(super) fn read(
    row: &MySqlRow,
    index: usize,
    column: &ColumnMeta,
) -> Result<Value, sqlx::Error> {
    let Ok(bytes) = row.try_get_unchecked::<&[u8], _>(index) else {
        return Ok(Value::Null);
    };
    decode(bytes, column).ok_or_else(|| {
        let what = format!(
            "column {} of type {} holds {} bytes that are no such value",
            column.name,
            column.type_name,
            bytes.len()
        );
        sqlx::Error::Decode(what.into())
    })
}

/// The type without lengths and attributes.
fn base(column: &ColumnMeta) -> &str {
    let end = column.type_name.find(['(', ' ']);
    &column.type_name[..end.unwrap_or(column.type_name.len())]
}

fn decode(bytes: &[u8], column: &ColumnMeta) -> Option<Value> {
    let unsigned = column.type_name.contains("unsigned") || column.type_name.contains("zerofill");
    Some(match base(column) {
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" => {
            integer(bytes, column, unsigned)?
        }
        "bit" => bits(bytes, column),
        "float" => Value::Float(f32::from_le_bytes(bytes.try_into().ok()?)),
        "double" | "real" => Value::Double(f64::from_le_bytes(bytes.try_into().ok()?)),
        "decimal" | "numeric" => Value::Decimal(std::str::from_utf8(bytes).ok()?.parse().ok()?),
        "date" => Value::Date(date_time(bytes)?.date),
        "datetime" => Value::DateTime(date_time(bytes)?),
        "timestamp" => Value::Timestamp(date_time(bytes)?),
        "time" => Value::Time(time(bytes)?),
        "year" => Value::Year(u16::from_le_bytes(bytes.try_into().ok()?)),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" | "vector" => {
            Value::Bytes(bytes.to_vec())
        }
        _ => Value::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
    })
}

fn integer(bytes: &[u8], column: &ColumnMeta, unsigned: bool) -> Option<Value> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let raw = u64::from_le_bytes(wide);
    let unused = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    let signed = (raw << unused).cast_signed() >> unused;
    Some(match (base(column), unsigned) {
        ("bigint", true) => Value::UnsignedBigInt(raw),
        ("bigint", false) => Value::BigInt(signed),
        ("int" | "integer", true) => Value::BigInt(i64::try_from(raw).ok()?),
        (_, true) => Value::Int(i32::try_from(raw).ok()?),
        ("tinyint", false) if column.jdbc_type == BIT && matches!(signed, 0 | 1) => {
            Value::Bool(signed == 1)
        }
        _ => Value::Int(i32::try_from(signed).ok()?),
    })
}

fn bits(bytes: &[u8], column: &ColumnMeta) -> Value {
    match column.type_name.as_str() {
        "bit(1)" => Value::Bool(bytes.iter().any(|byte| *byte != 0)),
        _ => Value::Bytes(bytes.to_vec()),
    }
}

/// A length, then year, month, day, and as far as they are not zero hour, minute, second, and microseconds.
fn date_time(bytes: &[u8]) -> Option<DateTime> {
    let (length, bytes) = bytes.split_first()?;
    if usize::from(*length) != bytes.len() {
        return None;
    }
    if bytes.is_empty() {
        return Some(DateTime::new(Date::ZERO, Time::MIDNIGHT));
    }
    let year = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
    let date = Date::new(i32::from(year), *bytes.get(2)?, *bytes.get(3)?);
    Some(DateTime::new(date, clock(0, bytes.get(4..)?)?))
}

/// A length, then a sign, days, hour, minute, second, and as far as they are not zero microseconds.
fn time(bytes: &[u8]) -> Option<Time> {
    let (length, bytes) = bytes.split_first()?;
    if usize::from(*length) != bytes.len() {
        return None;
    }
    let Some((negative, bytes)) = bytes.split_first() else {
        return Some(Time::MIDNIGHT);
    };
    let days = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let time = clock(days, bytes.get(4..)?)?;
    Some(match negative {
        0 => time,
        _ => time.negated(),
    })
}

fn clock(days: u32, bytes: &[u8]) -> Option<Time> {
    if bytes.is_empty() {
        return Some(Time::new(days.checked_mul(24)?, 0, 0, 0));
    }
    let [hour, minute, second] = bytes.get(..3)?.try_into().ok()?;
    let micros = match bytes.get(3..)? {
        [] => 0,
        micros => u32::from_le_bytes(micros.try_into().ok()?),
    };
    let hours = days.checked_mul(24)?.checked_add(u32::from(hour))?;
    let nanos = micros.checked_mul(1000)?;
    Some(Time::new(
        hours,
        u32::from(minute),
        u32::from(second),
        nanos,
    ))
}

/// Appends a value so that the column gets it back exactly. Numbers with a point and moments travel as text: the server reads
/// all their digits.
pub(super) fn bind(
    arguments: &mut MySqlArguments,
    value: &Value,
    column: &ColumnMeta,
) -> Result<(), BoxDynError> {
    match (value, base(column)) {
        // A parameter has a type even when it is null, and MariaDB has no cast from a number to some of its own types.
        (Value::Null, base) if is_geometry(base) => arguments.add(None::<&[u8]>),
        (Value::Null, _) => arguments.add(None::<&str>),
        (value, "year") => match value.to_year() {
            Some(year) => arguments.add(year),
            None => Err(unbindable(value, "a column of years")),
        },
        (Value::Bool(truth), _) => arguments.add(i8::from(*truth)),
        (Value::Int(number), _) => arguments.add(*number),
        (Value::BigInt(number), _) => arguments.add(*number),
        (Value::UnsignedBigInt(number), _) => arguments.add(*number),
        (Value::Year(year), _) => arguments.add(*year),
        (Value::Float(number), _) => arguments.add(*number),
        (Value::Double(number), _) => arguments.add(*number),
        (Value::Decimal(number), _) => arguments.add(number.to_string()),
        (Value::Text(text), _) => arguments.add(text.as_str()),
        (Value::Bytes(bytes), "bit") => {
            let number = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            arguments.add(number)
        }
        (Value::Bytes(bytes), _) => arguments.add(bytes.as_slice()),
        (Value::Date(date), _) => arguments.add(date.to_string()),
        (Value::Time(time), _) => arguments.add(time.to_string()),
        (Value::Uuid(_), _) => arguments.add(value.to_string()),
        (Value::DateTime(_) | Value::Timestamp(_) | Value::JavaTimestamp { .. }, base) => {
            let moment = match base {
                "timestamp" => value.to_timestamp(),
                _ => value.to_date_time(),
            };
            match moment {
                Some(moment) => arguments.add(moment.to_string()),
                None => Err(unbindable(value, &column.type_name)),
            }
        }
        (other, _) => Err(unbindable(other, "MySQL")),
    }
}

/// The JDBC number of BIT, which a driver of Java's makes of `tinyint(1)` too.
const BIT: i32 = -7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::at::meta::{ColumnSource, Nullability};

    fn column(type_name: &str, jdbc_type: i32) -> ColumnMeta {
        ColumnMeta {
            name: "c".to_owned(),
            jdbc_type,
            type_name: type_name.to_owned(),
            nullability: Nullability::Nullable,
            default: None,
            source: ColumnSource::Statement,
        }
    }

    #[test]
    fn integers_keep_sign_and_size() {
        let read = |bytes: &[u8], name, jdbc| decode(bytes, &column(name, jdbc)).expect(name);
        assert_eq!(read(&[0xff], "tinyint(4)", -6), Value::Int(-1));
        assert_eq!(read(&[0xff], "tinyint(3) unsigned", -6), Value::Int(255));
        assert_eq!(read(&[1], "tinyint(1)", -7), Value::Bool(true));
        assert_eq!(read(&[0xf9], "tinyint(1)", -7), Value::Int(-7));
        assert_eq!(
            read(&[0xff; 4], "int(10) unsigned", 4),
            Value::BigInt(4_294_967_295)
        );
        assert_eq!(
            read(&[0xff; 8], "bigint(20) unsigned", -5),
            Value::UnsignedBigInt(u64::MAX)
        );
        assert_eq!(read(&[0xff; 8], "bigint(20)", -5), Value::BigInt(-1));
    }

    #[test]
    fn moments_may_be_shortened_and_zero() {
        let text = |value: Option<Value>| value.expect("a moment").to_string();
        let datetime = column("datetime(6)", 93);
        assert_eq!(text(decode(&[0], &datetime)), "0000-00-00 00:00:00");
        assert_eq!(
            text(decode(&[4, 0xe8, 7, 2, 29], &datetime)),
            "2024-02-29 00:00:00"
        );
        let full = [11, 0xe8, 7, 2, 29, 12, 34, 56, 0x40, 0xe2, 1, 0];
        assert_eq!(text(decode(&full, &datetime)), "2024-02-29 12:34:56.123456");
        let long = [8, 1, 34, 0, 0, 0, 22, 59, 59];
        assert_eq!(text(decode(&long, &column("time", 92))), "-838:59:59");
        assert_eq!(decode(&[7, 1], &datetime), None);
    }
}
