//! Reading the dialect, and that of fastjson, which has the same members.
//!
//! Members may come in any order, unknown ones are skipped, and lists may come with or without the class that Jackson puts in front.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::native::{self, given, number};
use super::{INFINITY_MS, NEG_INFINITY_MS, class, jdbc};
use crate::client::at::image::{BranchUndoLog, Field, FieldKey, Image, Row, SqlType, UndoItem};
use crate::client::at::java::{Instant, Java};
use crate::client::at::value::{
    Array, Date, DateTime, Interval, Other, PgObject, Time, Value, parse_uuid,
};
use crate::client::json::{Fault, Grammar, Json, Reader};

/// Reads a document of any Java client; only the zone of `java` counts.
pub(in super::super) fn read(text: &str, java: &Java) -> Result<BranchUndoLog, Fault> {
    read_document(text, java, Grammar::Json)
}

/// Reads a document in the dialect `fastjson`. Fractions of seconds are not in it, and are lost.
pub(in super::super) fn read_fastjson(text: &str, java: &Java) -> Result<BranchUndoLog, Fault> {
    read_document(text, java, Grammar::Fastjson)
}

fn read_document(text: &str, java: &Java, grammar: Grammar) -> Result<BranchUndoLog, Fault> {
    let mut reader = Reader::new(text, grammar);
    let document = Document { java, grammar };
    let (mut xid, mut branch_id, mut items) = (None, None, None);
    reader.object(|reader, name| {
        match name {
            "xid" => xid = Some(reader.string()?.into_owned()),
            "branchId" => branch_id = Some(integer(reader)?),
            "sqlUndoLogs" => items = Some(list(reader, |reader| document.item(reader))?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(BranchUndoLog {
        xid: given(xid, "xid", &reader)?,
        branch_id: given(branch_id, "branchId", &reader)?,
        items: given(items, "sqlUndoLogs", &reader)?,
    })
}

struct Document<'a> {
    java: &'a Java,
    grammar: Grammar,
}

impl Document<'_> {
    fn item(&self, reader: &mut Reader<'_>) -> Result<UndoItem, Fault> {
        let (mut sql_type, mut table_name, mut before, mut after) = (None, None, None, None);
        reader.object(|reader, name| {
            match name {
                "sqlType" => {
                    let text = reader.string()?;
                    let known: Result<SqlType, ()> = text.parse();
                    let known = known.map_err(|()| {
                        reader.fault(format!("a change of the kind {text:?} cannot be undone"))
                    })?;
                    sql_type = Some(known);
                }
                "tableName" => table_name = Some(reader.string()?.into_owned()),
                "beforeImage" => before = self.image(reader)?,
                "afterImage" => after = self.image(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        let table_name = given(table_name, "tableName", reader)?;
        let empty = || Image::empty(table_name.clone());
        Ok(UndoItem {
            sql_type: given(sql_type, "sqlType", reader)?,
            before: before.unwrap_or_else(empty),
            after: after.unwrap_or_else(empty),
            table_name,
        })
    }

    fn image(&self, reader: &mut Reader<'_>) -> Result<Option<Image>, Fault> {
        if reader.null()? {
            return Ok(None);
        }
        let (mut table_name, mut rows) = (None, None);
        reader.object(|reader, name| {
            match name {
                "tableName" => {
                    if !reader.null()? {
                        table_name = Some(reader.string()?.into_owned());
                    }
                }
                "rows" => rows = Some(list(reader, |reader| self.row(reader))?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(Some(Image {
            table_name: table_name.unwrap_or_default(),
            rows: given(rows, "rows", reader)?,
        }))
    }

    fn row(&self, reader: &mut Reader<'_>) -> Result<Row, Fault> {
        let mut fields = None;
        reader.object(|reader, name| {
            match name {
                "fields" => fields = Some(list(reader, |reader| self.field(reader))?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(Row {
            fields: given(fields, "fields", reader)?,
        })
    }

    fn field(&self, reader: &mut Reader<'_>) -> Result<Field, Fault> {
        let (mut column, mut key, mut jdbc_type) = (None, FieldKey::None, None);
        // Fastjson leaves NULL out.
        let (mut value, mut exact) = (Json::Null, None);
        reader.object(|reader, name| {
            match name {
                "name" => column = Some(reader.string()?.into_owned()),
                "keyType" => {
                    if !reader.null()? && reader.string()? == "PRIMARY_KEY" {
                        key = FieldKey::Primary;
                    }
                }
                "type" => jdbc_type = Some(integer(reader)?),
                "value" => value = reader.value()?,
                "exact" => exact = Some(reader.value()?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        let column = given(column, "name", reader)?;
        let jdbc_type = given(jdbc_type, "type", reader)?;
        let value = match exact {
            Some(exact) => native::read_value(&exact),
            None => self.value(&value, jdbc_type),
        };
        let value = value.map_err(|what| {
            reader.fault(format!("column {column:?}, whose value ends here: {what}"))
        })?;
        Ok(Field {
            name: column,
            key,
            jdbc_type,
            value,
        })
    }

    fn value(&self, json: &Json<'_>, jdbc_type: i32) -> Result<Value, String> {
        if self.grammar == Grammar::Fastjson {
            return self.fastjson_value(json, jdbc_type);
        }
        Ok(match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(text) => bare_number(text)?,
            Json::Text(text) => special_number(text, jdbc_type)
                .unwrap_or_else(|| Value::Text(text.clone().into_owned())),
            Json::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Json::Array(pair) => match pair.as_slice() {
                [Json::Text(class)] => self.wrapped(class, None, json)?,
                [Json::Text(class), payload] => self.wrapped(class, Some(payload), json)?,
                _ => return Err("a list that is no class with its value".to_owned()),
            },
            Json::Object(_) => self.bean(json)?,
        })
    }

    /// A value behind its class.
    fn wrapped(
        &self,
        class: &str,
        payload: Option<&Json<'_>>,
        whole: &Json<'_>,
    ) -> Result<Value, String> {
        let wrong = || {
            let kind = payload.map_or("nothing", Json::kind);
            format!("{kind} is no value of the class {class}")
        };
        let text = payload.and_then(Json::as_text);
        // Numbers may come as texts: NaN has to.
        let digits = payload.and_then(Json::as_number).or(text);
        let value = match class {
            "java.lang.Byte" | "java.lang.Short" | "java.lang.Integer" => {
                digits.and_then(|n| n.parse().ok()).map(Value::Int)
            }
            "java.lang.Long" => digits.and_then(|n| n.parse().ok()).map(Value::BigInt),
            "java.math.BigInteger" => digits.and_then(big_integer),
            "java.math.BigDecimal" => digits.and_then(|n| n.parse().ok()).map(Value::Decimal),
            "java.lang.Float" => digits.and_then(|n| n.parse().ok()).map(Value::Float),
            "java.lang.Double" => digits.and_then(|n| n.parse().ok()).map(Value::Double),
            "java.lang.Boolean" => match payload {
                Some(Json::Bool(truth)) => Some(Value::Bool(*truth)),
                _ => None,
            },
            "java.lang.String" | "java.lang.Character" | "javax.sql.rowset.serial.SerialClob" => {
                text.map(|text| Value::Text(text.to_owned()))
            }
            "[B" => text
                .and_then(|text| BASE64.decode(text).ok())
                .map(Value::Bytes),
            "javax.sql.rowset.serial.SerialBlob" => match payload {
                None => Some(Value::Bytes(Vec::new())),
                Some(_) => text
                    .and_then(|text| BASE64.decode(text).ok())
                    .map(Value::Bytes),
            },
            "java.sql.Date" => match digits.and_then(|ms| ms.parse().ok()) {
                Some(ms) => Some(self.date(ms)?),
                None => None,
            },
            "java.sql.Time" => text.and_then(|text| text.parse().ok()).map(Value::Time),
            "java.sql.Timestamp" => payload
                .and_then(instant)
                .map(|instant| self.timestamp(instant)),
            "java.time.LocalDateTime" => payload
                .and_then(instant)
                .map(|instant| Value::DateTime(self.java.local_date_time(instant))),
            "java.util.UUID" => text.and_then(parse_uuid).map(Value::Uuid),
            class::EXACT => return native::read_value(payload.ok_or_else(wrong)?),
            _ => Some(other(class, whole)),
        };
        value.ok_or_else(wrong)
    }

    /// An object with its class in a member.
    fn bean(&self, json: &Json<'_>) -> Result<Value, String> {
        let text = |name: &str| json.member(name).and_then(Json::as_text);
        let class = text("@class").unwrap_or_default();
        if class.ends_with(class::SERIAL_ARRAY) {
            return self.array(json);
        }
        if class == "org.postgresql.util.PGInterval" {
            return interval(json).ok_or_else(|| "a PGInterval without its parts".to_owned());
        }
        if class == "java.time.LocalDateTime" {
            return local_date_time(json)
                .ok_or_else(|| "a LocalDateTime without its parts".to_owned());
        }
        if class.starts_with("org.postgresql.") && json.member("type").is_some() {
            let type_name = text("type").unwrap_or_default();
            return Ok(match json.member("value") {
                Some(Json::Text(value)) => Value::PgObject(PgObject {
                    type_name: type_name.to_owned(),
                    text: value.clone().into_owned(),
                }),
                Some(Json::Null) => Value::Null,
                _ => other(class, json),
            });
        }
        Ok(other(class, json))
    }

    fn array(&self, json: &Json<'_>) -> Result<Value, String> {
        let element_jdbc_type = json.member("baseType").and_then(Json::as_number);
        let element_jdbc_type = element_jdbc_type.and_then(|n| n.parse().ok());
        let element_type = json.member("baseTypeName").and_then(Json::as_text);
        let elements = json
            .member("elements")
            .filter(|elements| **elements != Json::Null);
        match (
            element_jdbc_type,
            element_type,
            elements.or_else(|| json.member("array")),
        ) {
            (Some(jdbc_type), Some(type_name), Some(elements)) => {
                self.elements(elements, jdbc_type, type_name)
            }
            _ => Err("a SerialArray without its type or its elements".to_owned()),
        }
    }

    /// `["[Ljava.lang.Integer;",[1,2,null]]`, or the inner array alone.
    fn elements(&self, json: &Json<'_>, jdbc_type: i32, type_name: &str) -> Result<Value, String> {
        let Json::Array(outer) = json else {
            return Err(format!(
                "{} instead of the elements of an array",
                json.kind()
            ));
        };
        let (class, elements) = match outer.as_slice() {
            [Json::Text(class), Json::Array(elements)] if class.starts_with('[') => {
                (class.as_ref(), elements)
            }
            _ => ("", outer),
        };
        let elements = elements.iter().map(|element| match element {
            Json::Array(inner) if !is_wrapped(inner) => {
                self.elements(element, jdbc_type, type_name)
            }
            Json::Number(text) if class == "[Ljava.lang.Long;" => text
                .parse()
                .map(Value::BigInt)
                .map_err(|_| format!("{text} is no Long")),
            Json::Number(text) if class == "[Ljava.lang.Float;" => text
                .parse()
                .map(Value::Float)
                .map_err(|_| format!("{text} is no Float")),
            Json::Number(text) if class == "[Ljava.math.BigDecimal;" => text
                .parse()
                .map(Value::Decimal)
                .map_err(|_| format!("{text} is no BigDecimal")),
            Json::Text(text) if class == "[Ljava.util.UUID;" => parse_uuid(text)
                .map(Value::Uuid)
                .ok_or_else(|| format!("{text:?} is no UUID")),
            element => self.value(element, jdbc_type),
        });
        native::bounded(Array {
            element_jdbc_type: jdbc_type,
            element_type: type_name.to_owned(),
            elements: elements.collect::<Result<_, _>>()?,
        })
    }

    fn date(&self, ms: i64) -> Result<Value, String> {
        match ms {
            INFINITY_MS => return Ok(Value::Date(Date::INFINITY)),
            NEG_INFINITY_MS => return Ok(Value::Date(Date::NEG_INFINITY)),
            _ => {}
        }
        let date = self.java.date_at(ms.div_euclid(1000));
        match self.java.midnight_of(date) {
            Some(midnight) if midnight.checked_mul(1000) == Some(ms) => Ok(Value::Date(date)),
            _ => Err(format!(
                "java.sql.Date {ms} is no midnight in the zone {}; the zone has to be that of the Java client that wrote it",
                self.java.zone
            )),
        }
    }

    fn timestamp(&self, instant: Instant) -> Value {
        let (utc, local) = match i128::from(instant.0) * 1000 + i128::from(instant.1 / 1_000_000) {
            ms if ms == i128::from(INFINITY_MS) => (DateTime::INFINITY, DateTime::INFINITY),
            ms if ms == i128::from(NEG_INFINITY_MS) => {
                (DateTime::NEG_INFINITY, DateTime::NEG_INFINITY)
            }
            _ => self.java.readings(instant),
        };
        Value::JavaTimestamp { utc, local }
    }

    /// Fastjson names no classes inside rows, so the type says what a value is.
    fn fastjson_value(&self, json: &Json<'_>, jdbc_type: i32) -> Result<Value, String> {
        let wrong = |text: &str| format!("{text:?} is no value of the JDBC type {jdbc_type}");
        Ok(match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Json::Number(text) => fastjson_number(text, jdbc_type).ok_or_else(|| wrong(text))?,
            Json::Text(text) => match jdbc_type {
                jdbc::DATE => {
                    let date = text
                        .split([' ', 'T'])
                        .next()
                        .and_then(|date| date.parse().ok());
                    Value::Date(date.ok_or_else(|| wrong(text))?)
                }
                jdbc::TIME => Value::Time(text.parse().map_err(|_| wrong(text))?),
                jdbc::TIMESTAMP => {
                    let local = text.parse().map_err(|_| wrong(text))?;
                    match self.java.timestamp_of_local(local) {
                        // A `java.sql.Timestamp` has a blank, a `java.time.LocalDateTime` a T.
                        Some(instant) if !text.contains('T') => self.timestamp(instant),
                        _ => Value::DateTime(local),
                    }
                }
                jdbc::DECIMAL | jdbc::NUMERIC => {
                    Value::Decimal(text.parse().map_err(|_| wrong(text))?)
                }
                _ => Value::Text(text.clone().into_owned()),
            },
            Json::Array(_) | Json::Object(_) => {
                let class = json.member("@type").and_then(Json::as_text);
                other(class.unwrap_or_default(), json)
            }
        })
    }
}

/// A list, with or without its class in front.
fn list<T>(
    reader: &mut Reader<'_>,
    mut element: impl FnMut(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    let mut with_class = false;
    reader.array(|reader, at| {
        if at == 0 && reader.peek() == Some(b'"') {
            with_class = true;
            reader.skip()
        } else if with_class {
            reader.array(|reader, _| {
                all.push(element(reader)?);
                Ok(())
            })
        } else {
            all.push(element(reader)?);
            Ok(())
        }
    })?;
    Ok(all)
}

fn integer<T: std::str::FromStr>(reader: &mut Reader<'_>) -> Result<T, Fault> {
    let text = reader.number()?;
    number(
        text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()),
        reader,
    )
}

/// A number without a class: an `Integer` or a `Double`, or what Jackson makes of a larger integer.
fn bare_number(text: &str) -> Result<Value, String> {
    let value = if text.contains(['.', 'e', 'E']) {
        text.parse().ok().map(Value::Double)
    } else {
        let int = text.parse().ok().map(Value::Int);
        let int = int.or_else(|| text.parse().ok().map(Value::BigInt));
        int.or_else(|| big_integer(text))
    };
    value.ok_or_else(|| format!("{text} is no number"))
}

fn big_integer(text: &str) -> Option<Value> {
    let value = text.parse().ok().map(Value::UnsignedBigInt);
    let value = value.or_else(|| text.parse().ok().map(Value::BigInt));
    value.or_else(|| text.parse().ok().map(Value::Decimal))
}

/// What Jackson 2.9 writes as a bare text.
fn special_number(text: &str, jdbc_type: i32) -> Option<Value> {
    let special = Some(text).filter(|text| jdbc::is_special(text, jdbc_type))?;
    special.parse().ok().map(Value::Double)
}

fn fastjson_number(text: &str, jdbc_type: i32) -> Option<Value> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_uppercase() && letter != 'E');
    match &text[digits.len()..] {
        "L" => digits.parse().ok().map(Value::BigInt),
        "D" => digits.parse().ok().map(Value::Double),
        "F" => digits.parse().ok().map(Value::Float),
        "S" | "B" => digits.parse().ok().map(Value::Int),
        _ => match jdbc_type {
            jdbc::DECIMAL | jdbc::NUMERIC => digits.parse().ok().map(Value::Decimal),
            jdbc::BIGINT => match digits.parse() {
                Ok(number) => Some(Value::BigInt(number)),
                Err(_) => big_integer(digits),
            },
            _ => bare_number(digits).ok(),
        },
    }
}

/// Milliseconds, or milliseconds with the nanoseconds of the second.
fn instant(json: &Json<'_>) -> Option<Instant> {
    match json {
        Json::Number(ms) => {
            let ms: i64 = ms.parse().ok()?;
            Some((ms.div_euclid(1000), ms.rem_euclid(1000) as u32 * 1_000_000))
        }
        Json::Array(pair) => match pair.as_slice() {
            [Json::Number(ms), Json::Number(nanos)] => {
                let ms: i64 = ms.parse().ok()?;
                let nanos: u32 = nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
                Some((ms.div_euclid(1000), nanos))
            }
            _ => None,
        },
        _ => None,
    }
}

fn interval(json: &Json<'_>) -> Option<Value> {
    let part = |name: &str| json.member(name)?.as_number()?.parse::<i64>().ok();
    let months = part("years")?
        .checked_mul(12)?
        .checked_add(part("months")?)?;
    let hours = part("hours")?
        .checked_mul(60)?
        .checked_add(part("minutes")?)?;
    let seconds = hours.checked_mul(60)?.checked_add(part("wholeSeconds")?)?;
    let micros = seconds
        .checked_mul(1_000_000)?
        .checked_add(part("microSeconds")?)?;
    Some(Value::Interval(Interval::new(
        i32::try_from(months).ok()?,
        i32::try_from(part("days")?).ok()?,
        micros,
    )))
}

/// What the clients of version 1 write for the class, and cannot read themselves.
fn local_date_time(json: &Json<'_>) -> Option<Value> {
    fn part<T: std::str::FromStr>(json: &Json<'_>, name: &str) -> Option<T> {
        json.member(name)?.as_number()?.parse().ok()
    }
    let date = Date::new(
        part(json, "year")?,
        part(json, "monthValue")?,
        part(json, "dayOfMonth")?,
    );
    let time = Time::new(
        part(json, "hour")?,
        part(json, "minute")?,
        part(json, "second")?,
        part(json, "nano")?,
    );
    time.is_of_day()
        .then_some(Value::DateTime(DateTime::new(date, time)))
}

/// Whether a list is a value behind its class, and no inner array.
fn is_wrapped(list: &[Json<'_>]) -> bool {
    match list {
        [Json::Text(class), Json::Array(_)]
            if class.starts_with("[L") || class.starts_with("[[") =>
        {
            false
        }
        [Json::Text(class), _] => {
            class.starts_with("java.") || class.starts_with("[B") || class.contains(class::EXACT)
        }
        _ => false,
    }
}

fn other(class: &str, whole: &Json<'_>) -> Value {
    Value::Other(Other {
        class: class.to_owned(),
        json: whole.to_string(),
    })
}
