//! Our own dialect, `seamio-json`: every value with its kind, nothing that depends on a zone, a driver or a package.
//!
//! ```text
//! {"xid":"10.0.0.1:8091:45","branch_id":"46","items":[{"sql_type":"UPDATE","table":"stock",
//!  "before":{"table":"stock","rows":[[{"name":"id","key":true,"type":-5,"value":{"t":"i64","v":"7"}},
//!                                     {"name":"qty","type":4,"value":{"t":"i32","v":"10"}}]]},
//!  "after":{"table":"stock","rows":[…]}}]}
//! ```
//!
//! Numbers are texts, so that no reader can round them; bytes are base64; NULL is `null`.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::client::at::image::{BranchUndoLog, Field, FieldKey, Image, Row, SqlType, UndoItem};
use crate::client::at::value::{
    Array, DIMENSIONS_MAX, Other, PgObject, Value, parse_uuid, uuid_text,
};
use crate::client::json::{Fault, Grammar, Json, Reader, write_text};

/// Writes a document.
pub(super) fn write(log: &BranchUndoLog) -> String {
    let mut out = String::new();
    out.push_str("{\"xid\":");
    write_text(&log.xid, &mut out);
    let _ = write!(out, ",\"branch_id\":\"{}\",\"items\":[", log.branch_id);
    for (at, item) in log.items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let _ = write!(out, "{{\"sql_type\":\"{}\",\"table\":", item.sql_type);
        write_text(&item.table_name, &mut out);
        out.push_str(",\"before\":");
        write_image(&item.before, &mut out);
        out.push_str(",\"after\":");
        write_image(&item.after, &mut out);
        out.push('}');
    }
    out.push_str("]}");
    out
}

fn write_image(image: &Image, out: &mut String) {
    out.push_str("{\"table\":");
    write_text(&image.table_name, out);
    out.push_str(",\"rows\":[");
    for (at, row) in image.rows.iter().enumerate() {
        out.push_str(if at > 0 { ",[" } else { "[" });
        for (at, field) in row.fields.iter().enumerate() {
            out.push_str(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
            write_text(&field.name, out);
            if field.key == FieldKey::Primary {
                out.push_str(",\"key\":true");
            }
            let _ = write!(out, ",\"type\":{},\"value\":", field.jdbc_type);
            write_value(&field.value, out);
            out.push('}');
        }
        out.push(']');
    }
    out.push_str("]}");
}

/// Writes a value with its kind.
pub(super) fn write_value(value: &Value, out: &mut String) {
    let mut plain = |kind: &str, text: &dyn Display| {
        let _ = write!(out, "{{\"t\":\"{kind}\",\"v\":\"{text}\"}}");
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => plain("bool", truth),
        Value::Int(number) => plain("i32", number),
        Value::BigInt(number) => plain("i64", number),
        Value::UnsignedBigInt(number) => plain("u64", number),
        Value::Float(number) => plain("f32", &format!("{number:e}")),
        Value::Double(number) => plain("f64", &format!("{number:e}")),
        Value::Decimal(number) => plain("decimal", &number.java_text()),
        Value::Bytes(bytes) => plain("bytes", &BASE64.encode(bytes)),
        Value::Date(date) => plain("date", date),
        Value::Year(year) => plain("year", year),
        Value::Time(time) => plain("time", time),
        Value::TimeTz { time, offset_s } => plain("timetz", &format!("{time} {offset_s}")),
        Value::DateTime(local) => plain("datetime", local),
        Value::Timestamp(utc) => plain("timestamp", utc),
        Value::JavaTimestamp { utc, local } => plain("java_timestamp", &format!("{utc}/{local}")),
        Value::Uuid(bytes) => plain("uuid", &uuid_text(bytes)),
        Value::Interval(interval) => plain("interval", interval),
        Value::Text(text) => {
            out.push_str("{\"t\":\"text\",\"v\":");
            write_text(text, out);
            out.push('}');
        }
        Value::PgObject(object) => {
            out.push_str("{\"t\":\"pg\",\"type\":");
            write_text(&object.type_name, out);
            out.push_str(",\"v\":");
            write_text(&object.text, out);
            out.push('}');
        }
        Value::Array(array) => {
            let _ = write!(
                out,
                "{{\"t\":\"array\",\"jdbc_type\":{},\"type\":",
                array.element_jdbc_type
            );
            write_text(&array.element_type, out);
            out.push_str(",\"v\":[");
            for (at, element) in array.elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(element, out);
            }
            out.push_str("]}");
        }
        Value::Other(other) => {
            out.push_str("{\"t\":\"other\",\"class\":");
            write_text(&other.class, out);
            out.push_str(",\"v\":");
            write_text(&other.json, out);
            out.push('}');
        }
    }
}

/// Reads a document. Members may come in any order; unknown ones are skipped.
pub(super) fn read(text: &str) -> Result<BranchUndoLog, Fault> {
    let mut reader = Reader::new(text, Grammar::Json);
    let (mut xid, mut branch_id, mut items) = (None, None, None);
    reader.object(|reader, name| {
        match name {
            "xid" => xid = Some(reader.string()?.into_owned()),
            "branch_id" => branch_id = Some(number(&reader.string()?, reader)?),
            "items" => {
                let mut all = Vec::new();
                reader.array(|reader, _| {
                    all.push(read_item(reader)?);
                    Ok(())
                })?;
                items = Some(all);
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(BranchUndoLog {
        xid: given(xid, "xid", &reader)?,
        branch_id: given(branch_id, "branch_id", &reader)?,
        items: given(items, "items", &reader)?,
    })
}

fn read_item(reader: &mut Reader<'_>) -> Result<UndoItem, Fault> {
    let (mut sql_type, mut table_name, mut before, mut after) = (None, None, None, None);
    reader.object(|reader, name| {
        match name {
            "sql_type" => {
                let text = reader.string()?;
                let known: Result<SqlType, ()> = text.parse();
                sql_type = Some(
                    known
                        .map_err(|()| reader.fault(format!("no such kind of change: {text:?}")))?,
                );
            }
            "table" => table_name = Some(reader.string()?.into_owned()),
            "before" => before = Some(read_image(reader)?),
            "after" => after = Some(read_image(reader)?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(UndoItem {
        sql_type: given(sql_type, "sql_type", reader)?,
        table_name: given(table_name, "table", reader)?,
        before: given(before, "before", reader)?,
        after: given(after, "after", reader)?,
    })
}

fn read_image(reader: &mut Reader<'_>) -> Result<Image, Fault> {
    let (mut table_name, mut rows) = (None, None);
    reader.object(|reader, name| {
        match name {
            "table" => table_name = Some(reader.string()?.into_owned()),
            "rows" => {
                let mut all = Vec::new();
                reader.array(|reader, _| {
                    let mut fields = Vec::new();
                    reader.array(|reader, _| {
                        fields.push(read_field(reader)?);
                        Ok(())
                    })?;
                    all.push(Row { fields });
                    Ok(())
                })?;
                rows = Some(all);
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(Image {
        table_name: given(table_name, "table", reader)?,
        rows: given(rows, "rows", reader)?,
    })
}

fn read_field(reader: &mut Reader<'_>) -> Result<Field, Fault> {
    let (mut column, mut key, mut jdbc_type, mut value) = (None, FieldKey::None, None, None);
    reader.object(|reader, name| {
        match name {
            "name" => column = Some(reader.string()?.into_owned()),
            "key" => {
                if reader.value()? == Json::Bool(true) {
                    key = FieldKey::Primary;
                }
            }
            "type" => jdbc_type = Some(number(reader.number()?, reader)?),
            "value" => {
                let json = reader.value()?;
                value = Some(read_value(&json).map_err(|what| reader.fault(what))?);
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(Field {
        name: given(column, "name", reader)?,
        key,
        jdbc_type: given(jdbc_type, "type", reader)?,
        value: given(value, "value", reader)?,
    })
}

/// Reads a value with its kind.
pub(super) fn read_value(json: &Json<'_>) -> Result<Value, String> {
    if *json == Json::Null {
        return Ok(Value::Null);
    }
    let text = |name: &str| {
        let member = json.member(name).and_then(Json::as_text);
        member.ok_or_else(|| format!("a value without the text {name:?}"))
    };
    let kind = text("t")?;
    if kind == "array" {
        return read_array(json);
    }
    let written = text("v")?;
    let value = match kind {
        "bool" => parse(written).map(Value::Bool),
        "i32" => parse(written).map(Value::Int),
        "i64" => parse(written).map(Value::BigInt),
        "u64" => parse(written).map(Value::UnsignedBigInt),
        "f32" => parse(written).map(Value::Float),
        "f64" => parse(written).map(Value::Double),
        "decimal" => parse(written).map(Value::Decimal),
        "text" => Some(Value::Text(written.to_owned())),
        "bytes" => BASE64.decode(written).ok().map(Value::Bytes),
        "date" => parse(written).map(Value::Date),
        "year" => parse(written).map(Value::Year),
        "time" => parse(written).map(Value::Time),
        "timetz" => written.split_once(' ').and_then(|(time, offset_s)| {
            let (time, offset_s) = (parse(time)?, parse(offset_s)?);
            Some(Value::TimeTz { time, offset_s })
        }),
        "datetime" => parse(written).map(Value::DateTime),
        "timestamp" => parse(written).map(Value::Timestamp),
        "java_timestamp" => written.split_once('/').and_then(|(utc, local)| {
            let (utc, local) = (parse(utc)?, parse(local)?);
            Some(Value::JavaTimestamp { utc, local })
        }),
        "uuid" => parse_uuid(written).map(Value::Uuid),
        "interval" => parse(written).map(Value::Interval),
        "pg" => Some(Value::PgObject(PgObject {
            type_name: text("type")?.to_owned(),
            text: written.to_owned(),
        })),
        "other" => Some(Value::Other(Other {
            class: text("class")?.to_owned(),
            json: written.to_owned(),
        })),
        _ => return Err(format!("no such kind of value: {kind:?}")),
    };
    value.ok_or_else(|| format!("{written:?} is no value of the kind {kind:?}"))
}

fn read_array(json: &Json<'_>) -> Result<Value, String> {
    let element_jdbc_type = json
        .member("jdbc_type")
        .and_then(Json::as_number)
        .and_then(parse);
    let element_type = json.member("type").and_then(Json::as_text);
    let (Some(element_jdbc_type), Some(element_type), Some(Json::Array(elements))) =
        (element_jdbc_type, element_type, json.member("v"))
    else {
        return Err("an array without its type or its elements".to_owned());
    };
    bounded(Array {
        element_jdbc_type,
        element_type: element_type.to_owned(),
        elements: elements.iter().map(read_value).collect::<Result<_, _>>()?,
    })
}

/// The array, unless it has more dimensions than any database has.
pub(super) fn bounded(array: Array) -> Result<Value, String> {
    if array.dimensions() > DIMENSIONS_MAX {
        return Err(format!("an array of more than {DIMENSIONS_MAX} dimensions"));
    }
    Ok(Value::Array(array))
}

fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

pub(super) fn number<T: FromStr>(text: &str, reader: &Reader<'_>) -> Result<T, Fault> {
    parse(text).ok_or_else(|| reader.fault(format!("{text:?} is no number that fits")))
}

pub(super) fn given<T>(member: Option<T>, name: &str, reader: &Reader<'_>) -> Result<T, Fault> {
    member.ok_or_else(|| {
        reader.fault(format!(
            "the member {name:?} is missing in the object that ends here"
        ))
    })
}
