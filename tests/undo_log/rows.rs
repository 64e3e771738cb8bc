//! Values made of the texts that the databases wrote for the rows of a case, without the undo log: what reading the rows ourselves would
//! give.

use seamio::client::at::value::{
    Array, Date, DateTime, Decimal, Interval, PgObject, Time, Value, parse_uuid,
};
use seamio::client::at::zone::Zone;
use serde_json::Value as Json;

use super::vectors::{Case, bytes};

/// A column as the JDBC driver described it.
pub(crate) struct Column<'a> {
    pub(crate) jdbc_type: i32,
    pub(crate) type_name: &'a str,
}

/// The column of a table of the case. Image names may have quotes and a schema.
pub(crate) fn column<'a>(case: &'a Case, table: &str, name: &str) -> Option<Column<'a>> {
    let columns = case.json["jdbc_columns"].get(plain(table))?.as_array()?;
    let column = columns.iter().find(|column| column["name"] == name)?;
    Some(Column {
        jdbc_type: column["data_type"].as_i64()? as i32,
        type_name: column["type_name"].as_str()?,
    })
}

/// The rows of a table, before or after the statements.
pub(crate) fn rows<'a>(case: &'a Case, when: &str, table: &str) -> Option<&'a Vec<Json>> {
    case.json[when].get(plain(table))?.as_array()
}

fn plain(table: &str) -> &str {
    table.rsplit('.').next().unwrap_or(table).trim_matches('"')
}

/// The value of a column with this text; None for types whose values are not made here.
pub(crate) fn value(case: &Case, column: &Column<'_>, json: &Json) -> Option<Value> {
    if json.is_null() {
        return Some(Value::Null);
    }
    if let Some(hex) = json["hex"].as_str() {
        // MariaDB leaves out leading zeros of bits.
        if column.type_name == "BIT" {
            return None;
        }
        return bytes(hex).map(Value::Bytes);
    }
    let text = json.as_str()?;
    if case.is_postgres() {
        postgres(column, text)
    } else {
        mysql(case, column, text)
    }
}

fn mysql(case: &Case, column: &Column<'_>, text: &str) -> Option<Value> {
    Some(match column.type_name {
        // Truth values, unless a driver says otherwise.
        "BIT" | "BOOLEAN" => match text.parse().ok()? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            other => Value::Int(other),
        },
        "BIGINT UNSIGNED" => Value::UnsignedBigInt(text.parse().ok()?),
        "BIGINT" | "INT UNSIGNED" => Value::BigInt(text.parse().ok()?),
        name if name.contains("INT") => Value::Int(text.parse().ok()?),
        "DECIMAL" | "DECIMAL UNSIGNED" => Value::Decimal(text.parse().ok()?),
        "FLOAT" => Value::Float(text.parse().ok()?),
        "DOUBLE" => Value::Double(text.parse().ok()?),
        "DATE" => Value::Date(text.parse().ok()?),
        "YEAR" => Value::Year(text.parse().ok()?),
        "TIME" => Value::Time(text.parse().ok()?),
        "DATETIME" => Value::DateTime(text.parse().ok()?),
        // The database showed it in the zone of the case.
        "TIMESTAMP" => {
            let (seconds, nanos) = text.parse::<DateTime>().ok()?.to_epoch()?;
            Value::Timestamp(DateTime::from_epoch(seconds - case.offset_s(), nanos))
        }
        "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "SET"
        | "UUID" | "INET6" | "UNKNOWN" => Value::Text(text.to_owned()),
        _ => return None,
    })
}

fn postgres(column: &Column<'_>, text: &str) -> Option<Value> {
    Some(match column.type_name {
        "bool" => Value::Bool(text == "true"),
        "bit" if text.len() == 1 => Value::Bool(text == "1"),
        "int2" | "int4" | "serial" | "posint" => Value::Int(text.parse().ok()?),
        "int8" | "bigserial" | "oid" => Value::BigInt(text.parse().ok()?),
        "numeric" => Value::Decimal(text.parse().ok()?),
        "float4" => Value::Float(text.parse().ok()?),
        "float8" => Value::Double(text.parse().ok()?),
        "bytea" => Value::Bytes(bytes(text.strip_prefix("\\x")?)?),
        "date" => Value::Date(christian(text)?),
        "time" => Value::Time(text.parse().ok()?),
        "timetz" => {
            let (time, offset) = text.split_at(text.rfind(['+', '-'])?);
            Value::TimeTz {
                time: time.parse().ok()?,
                offset_s: offset.parse::<i32>().ok()? * 3600,
            }
        }
        "timestamp" => Value::DateTime(text.parse().ok()?),
        "timestamptz" => timestamp(text)?,
        "uuid" => Value::Uuid(parse_uuid(text)?),
        "interval" => Value::Interval(interval(text)?),
        "_int4" => array(4, "int4", text, |text| text.parse().ok().map(Value::Int))?,
        "_text" => array(12, "text", text, |text| Some(Value::Text(text.to_owned())))?,
        "_numeric" => array(2, "numeric", text, |text| {
            text.parse::<Decimal>().ok().map(Value::Decimal)
        })?,
        // A cast to text leaves out the blanks that fill a `char(n)`, and adds the mask of a single address.
        "bpchar" => return None,
        "inet" => pg_object(
            "inet",
            text.trim_end_matches("/32").trim_end_matches("/128"),
        ),
        "char" | "name" | "text" | "varchar" | "mood" | "Mood2" => Value::Text(text.to_owned()),
        "bit" | "varbit" | "cidr" | "int4range" | "json" | "jsonb" | "macaddr" | "point"
        | "tsvector" | "pair" => pg_object(column.type_name, text),
        _ => return None,
    })
}

fn pg_object(type_name: &str, text: &str) -> Value {
    Value::PgObject(PgObject {
        type_name: type_name.to_owned(),
        text: text.to_owned(),
    })
}

/// PostgreSQL writes years before Christ with a suffix.
fn christian(text: &str) -> Option<Date> {
    match text.strip_suffix(" BC") {
        None => text.parse().ok(),
        Some(text) => {
            let date: Date = text.parse().ok()?;
            Some(Date::new(1 - date.year, date.month, date.day))
        }
    }
}

/// `2024-02-29 20:34:56+08`.
fn timestamp(text: &str) -> Option<Value> {
    if let Ok(infinite) = text.parse() {
        return Some(Value::Timestamp(infinite));
    }
    let (local, offset) = text.split_at(text.rfind(['+', '-'])?);
    let offset: Zone = offset.parse().ok()?;
    let (seconds, nanos) = local.parse::<DateTime>().ok()?.to_epoch()?;
    let offset: Time = offset
        .to_string()
        .trim_start_matches(['+', '-'])
        .parse()
        .unwrap_or(Time::MIDNIGHT);
    Some(Value::Timestamp(DateTime::from_epoch(
        seconds - offset.nanos / 1_000_000_000,
        nanos,
    )))
}

/// `1 day 02:03:04.5`, `-10 mons`.
fn interval(text: &str) -> Option<Interval> {
    let mut interval = Interval::new(0, 0, 0);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            interval.micros = word.parse::<Time>().ok()?.nanos / 1000;
            continue;
        }
        let number: i32 = word.parse().ok()?;
        match words.next()? {
            "year" | "years" => interval.months += 12 * number,
            "mon" | "mons" => interval.months += number,
            "day" | "days" => interval.days = number,
            _ => return None,
        }
    }
    Some(interval)
}

/// Of one dimension, with quotes but without escapes.
fn array(
    jdbc_type: i32,
    type_name: &str,
    text: &str,
    element: impl Fn(&str) -> Option<Value>,
) -> Option<Value> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['{', '\\']) {
        return None;
    }
    let mut elements = Vec::new();
    let mut rest = inner;
    while !rest.is_empty() {
        let (part, quoted, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (part, behind) = quoted.split_once('"')?;
                (part, true, behind)
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (&rest[..end], false, &rest[end..])
            }
        };
        elements.push(if part == "NULL" && !quoted {
            Value::Null
        } else {
            element(part)?
        });
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    Some(Value::Array(Array {
        element_jdbc_type: jdbc_type,
        element_type: type_name.to_owned(),
        elements,
    }))
}
