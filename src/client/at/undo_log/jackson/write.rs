//! Writing the dialect.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::native;
use super::{INFINITY_MS, NEG_INFINITY_MS, class, jdbc};
use crate::client::at::image::{BranchUndoLog, Field, FieldKey, Image};
use crate::client::at::java::{
    ArrayForm, DateTimeClass, Instant, Java, TimestampForm, double_text, float_text,
};
use crate::client::at::value::{Array, Date, DateTime, Interval, PgObject, Time, Value, uuid_text};
use crate::client::at::zone::Api;
use crate::client::json::write_text;

/// Writes a document as the Java client does.
pub(in super::super) fn write(log: &BranchUndoLog, java: &Java) -> String {
    let mut writer = Writer {
        java,
        out: String::new(),
    };
    writer.document(log);
    writer.out
}

struct Writer<'a> {
    java: &'a Java,
    out: String,
}

/// How much of a value Java's form of it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Nothing,
    Part,
    All,
}

/// How the elements of an array name their class: its member `elements` is an array of objects to Jackson, its member `array` one
/// of their own class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elements {
    OfObjects,
    OfTheirClass,
}

impl Writer<'_> {
    fn document(&mut self, log: &BranchUndoLog) {
        self.object(class::BRANCH_UNDO_LOG);
        self.out.push_str(",\"xid\":");
        write_text(&log.xid, &mut self.out);
        let _ = write!(self.out, ",\"branchId\":{},\"sqlUndoLogs\":", log.branch_id);
        self.list(&log.items, |writer, item| {
            writer.object(class::SQL_UNDO_LOG);
            let _ = write!(
                writer.out,
                ",\"sqlType\":\"{}\",\"tableName\":",
                item.sql_type
            );
            write_text(&item.table_name, &mut writer.out);
            writer.out.push_str(",\"beforeImage\":");
            writer.image(&item.before);
            writer.out.push_str(",\"afterImage\":");
            writer.image(&item.after);
            writer.out.push('}');
        });
        self.out.push('}');
    }

    fn image(&mut self, image: &Image) {
        self.object(if image.is_empty() {
            class::EMPTY_TABLE_RECORDS
        } else {
            class::TABLE_RECORDS
        });
        self.out.push_str(",\"tableName\":");
        write_text(&image.table_name, &mut self.out);
        self.out.push_str(",\"rows\":");
        self.list(&image.rows, |writer, row| {
            writer.object(class::ROW);
            writer.out.push_str(",\"fields\":");
            writer.list(&row.fields, Self::field);
            writer.out.push('}');
        });
        self.out.push('}');
    }

    fn field(&mut self, field: &Field) {
        self.object(class::FIELD);
        self.out.push_str(",\"name\":");
        write_text(&field.name, &mut self.out);
        let key = match field.key {
            FieldKey::None => "NULL",
            FieldKey::Primary => "PRIMARY_KEY",
        };
        let _ = write!(
            self.out,
            ",\"keyType\":\"{key}\",\"type\":{},\"value\":",
            field.jdbc_type
        );
        let start = self.out.len();
        match self.value(&field.value, field.jdbc_type) {
            Held::All => {}
            Held::Part => {
                self.out.push_str(",\"exact\":");
                native::write_value(&field.value, &mut self.out);
            }
            Held::Nothing => {
                self.out.truncate(start);
                let _ = write!(self.out, "[\"{}\",", class::EXACT);
                native::write_value(&field.value, &mut self.out);
                self.out.push(']');
            }
        }
        self.out.push('}');
    }

    fn value(&mut self, value: &Value, jdbc_type: i32) -> Held {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(truth) => self.bare(truth),
            // To Connector/J a tinyint(1) is a truth value, and what is neither 0 nor 1 counts as one of them.
            Value::Int(number) if matches!(jdbc_type, jdbc::BIT | jdbc::BOOLEAN) => {
                self.bare(*number > 0 || *number == -1);
                if !matches!(number, 0 | 1) {
                    return Held::Part;
                }
            }
            Value::Int(number) => self.bare(number),
            Value::BigInt(number) => self.wrapped("java.lang.Long", number),
            Value::UnsignedBigInt(number) => self.wrapped("java.math.BigInteger", number),
            Value::Float(number) if number.is_finite() => {
                self.wrapped("java.lang.Float", float_text(*number))
            }
            Value::Float(number) => self.quoted("java.lang.Float", &float_text(*number)),
            Value::Double(number) if number.is_finite() => self.bare(double_text(*number)),
            Value::Double(number) => self.quoted("java.lang.Double", &double_text(*number)),
            Value::Decimal(number) => match number.to_special() {
                None => self.wrapped("java.math.BigDecimal", number.java_text()),
                Some(special) => self.quoted("java.lang.Double", &double_text(special)),
            },
            Value::Text(text) if matches!(jdbc_type, jdbc::CLOB | jdbc::NCLOB) => {
                self.quoted("javax.sql.rowset.serial.SerialClob", text);
            }
            Value::Text(text) => {
                write_text(text, &mut self.out);
                if jdbc::is_special(text, jdbc_type) {
                    return Held::Part;
                }
            }
            Value::Bytes(bytes) => self.bytes(bytes, jdbc_type),
            Value::Date(date) => return self.date(*date),
            Value::Year(0) => return Held::Nothing,
            Value::Year(year) => return self.date(Date::new(i32::from(*year), 1, 1)),
            Value::Time(time) if !time.is_of_day() => return Held::Nothing,
            Value::Time(time) => {
                self.time(*time);
                if time.nanosecond() > 0 {
                    return Held::Part;
                }
            }
            Value::TimeTz { time, offset_s } => {
                let shift = self.java.zone.offset_at(0, Api::Util) - i64::from(*offset_s);
                let shifted = time.nanos.wrapping_add(shift * 1_000_000_000);
                self.time(Time {
                    nanos: shifted.rem_euclid(86_400 * 1_000_000_000),
                });
                return Held::Part;
            }
            Value::DateTime(local) => return self.date_time(*local),
            Value::Timestamp(utc) | Value::JavaTimestamp { utc, .. } => {
                return self.timestamp(*utc);
            }
            Value::Uuid(bytes) => self.quoted("java.util.UUID", &uuid_text(bytes)),
            Value::Interval(interval) => self.interval(interval),
            Value::PgObject(object) => self.pg_object(object),
            Value::Array(array) => return self.array(array),
            Value::Other(_) => return Held::Nothing,
        }
        Held::All
    }

    fn bytes(&mut self, bytes: &[u8], jdbc_type: i32) {
        if jdbc_type != jdbc::BLOB {
            self.quoted("[B", &BASE64.encode(bytes));
        } else if bytes.is_empty() {
            self.out
                .push_str("[\"javax.sql.rowset.serial.SerialBlob\"]");
        } else {
            self.quoted("javax.sql.rowset.serial.SerialBlob", &BASE64.encode(bytes));
        }
    }

    fn date(&mut self, date: Date) -> Held {
        let ms = match date {
            Date::INFINITY => INFINITY_MS,
            Date::NEG_INFINITY => NEG_INFINITY_MS,
            _ => {
                let midnight = self.java.midnight_of(date);
                let midnight = midnight.filter(|instant_s| self.java.date_at(*instant_s) == date);
                match midnight.and_then(|instant_s| instant_s.checked_mul(1000)) {
                    Some(ms) if ms != INFINITY_MS && ms != NEG_INFINITY_MS => ms,
                    _ => return Held::Nothing,
                }
            }
        };
        self.wrapped("java.sql.Date", ms);
        Held::All
    }

    /// A time within a day, without its fraction.
    fn time(&mut self, time: Time) {
        let text = format!(
            "{:02}:{:02}:{:02}",
            time.hours(),
            time.minute(),
            time.second()
        );
        self.quoted("java.sql.Time", &text);
    }

    fn date_time(&mut self, local: DateTime) -> Held {
        if local.date.is_infinite() {
            return self.timestamp(local);
        }
        let (class, instant, read) = match self.java.date_time {
            DateTimeClass::Timestamp => {
                let instant = self.java.timestamp_of_local(local);
                (
                    "java.sql.Timestamp",
                    instant,
                    instant.map(|i| self.java.readings(i).1),
                )
            }
            DateTimeClass::LocalDateTime => {
                let instant = self.java.instant_of_local_date_time(local);
                (
                    "java.time.LocalDateTime",
                    instant,
                    instant.map(|i| self.java.local_date_time(i)),
                )
            }
        };
        match instant {
            Some(instant) => self.instant(class, instant).min(held(read == Some(local))),
            None => Held::Nothing,
        }
    }

    fn timestamp(&mut self, utc: DateTime) -> Held {
        let infinite = match utc.date {
            Date::INFINITY => Some(INFINITY_MS),
            Date::NEG_INFINITY => Some(NEG_INFINITY_MS),
            _ => None,
        };
        if let Some(ms) = infinite {
            self.milliseconds("java.sql.Timestamp", ms, 0);
            return Held::All;
        }
        match self.java.timestamp_of_utc(utc) {
            Some(instant) => {
                let read = self.java.readings(instant).0;
                self.instant("java.sql.Timestamp", instant)
                    .min(held(read == utc))
            }
            None => Held::Nothing,
        }
    }

    fn instant(&mut self, class: &str, (seconds, nanos): Instant) -> Held {
        let ms = seconds.checked_mul(1000);
        let ms = ms.and_then(|ms| ms.checked_add(i64::from(nanos / 1_000_000)));
        match ms {
            // Java reads those two as infinities.
            Some(ms) if ms != INFINITY_MS && ms != NEG_INFINITY_MS => {
                self.milliseconds(class, ms, nanos);
                Held::All
            }
            _ => Held::Nothing,
        }
    }

    fn milliseconds(&mut self, class: &str, ms: i64, nanos: u32) {
        if nanos.is_multiple_of(1_000_000) && self.java.timestamps == TimestampForm::Shortest {
            self.wrapped(class, ms);
        } else {
            self.wrapped(class, format_args!("[{ms},{nanos}]"));
        }
    }

    fn interval(&mut self, interval: &Interval) {
        let (years, months) = (interval.months / 12, interval.months % 12);
        let (minutes, micros) = (interval.micros / 60_000_000, interval.micros % 60_000_000);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let exact = double_text(micros as f64 / 1e6);
        let _ = write!(
            self.out,
            "{{\"@class\":\"org.postgresql.util.PGInterval\",\"type\":\"interval\",\"value\":\"{years} years {months} mons {} days {hours} hours {minutes} mins {exact} secs\",\"years\":{years},\"months\":{months},\"days\":{},\"hours\":{hours},\"minutes\":{minutes},\"wholeSeconds\":{seconds},\"microSeconds\":{fraction},\"seconds\":{exact},\"null\":false}}",
            interval.days, interval.days
        );
    }

    fn pg_object(&mut self, object: &PgObject) {
        let point = object
            .text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')')?.split_once(','));
        let point = point.filter(|_| object.type_name == "point");
        let point = point.and_then(|(x, y)| Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?)));
        if let Some((x, y)) = point.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = (double_text(x), double_text(y));
            let _ = write!(
                self.out,
                "{{\"@class\":\"org.postgresql.geometric.PGpoint\",\"type\":\"point\",\"value\":\"({x},{y})\",\"x\":{x},\"y\":{y},\"isNull\":false,\"null\":false}}"
            );
            return;
        }
        self.out
            .push_str("{\"@class\":\"org.postgresql.util.PGobject\",\"type\":");
        write_text(&object.type_name, &mut self.out);
        self.out.push_str(",\"value\":");
        write_text(&object.text, &mut self.out);
        self.out.push_str(",\"null\":false}");
    }

    fn array(&mut self, array: &Array) -> Held {
        match self.java.arrays {
            ArrayForm::Bean => self.array_bean(array),
            ArrayForm::List => self.array_list(array),
        }
    }

    fn array_list(&mut self, array: &Array) -> Held {
        self.object(class::SERIAL_ARRAY);
        let number = array.element_jdbc_type;
        let _ = write!(self.out, ",\"baseType\":{number},\"baseTypeName\":");
        write_text(&array.element_type, &mut self.out);
        self.out.push_str(",\"elements\":");
        let held = self.bare_elements(array, Elements::OfObjects, element_class(array));
        self.out.push('}');
        held
    }

    fn array_bean(&mut self, array: &Array) -> Held {
        self.object(class::SERIAL_ARRAY);
        self.out.push_str(",\"elements\":");
        let held = self.elements(array, Elements::OfObjects);
        let _ = write!(
            self.out,
            ",\"baseType\":{},\"baseTypeName\":",
            array.element_jdbc_type
        );
        write_text(&array.element_type, &mut self.out);
        self.out.push_str(",\"array\":");
        self.elements(array, Elements::OfTheirClass);
        self.out.push_str(",\"resultSet\":null}");
        held
    }

    /// The elements behind the class of their array.
    fn elements(&mut self, array: &Array, of: Elements) -> Held {
        let element = element_class(array);
        // The name of a class stands between L and ; but that of an array of bytes, which is an array already, does not.
        let name = if element == "[B" {
            "[B".to_owned()
        } else {
            format!("L{element};")
        };
        let _ = write!(self.out, "[\"{}{name}\",", "[".repeat(array.dimensions()));
        let held = self.bare_elements(array, of, element);
        self.out.push(']');
        held
    }

    fn bare_elements(&mut self, array: &Array, of: Elements, element: &str) -> Held {
        // Elements of a final class need no name of it in an array of theirs.
        let bare = of == Elements::OfTheirClass && FINAL_CLASSES.contains(&element);
        let mut all = Held::All;
        self.out.push('[');
        for (at, value) in array.elements.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            let held = match value {
                Value::Array(inner) if of == Elements::OfObjects => self.elements(inner, of),
                Value::Array(inner) => self.bare_elements(inner, of, element),
                Value::BigInt(number) if bare => {
                    self.bare(number);
                    Held::All
                }
                Value::Float(number) if bare && number.is_finite() => {
                    self.bare(float_text(*number));
                    Held::All
                }
                Value::Uuid(bytes) if bare => {
                    write_text(&uuid_text(bytes), &mut self.out);
                    Held::All
                }
                value => self.value(value, array.element_jdbc_type),
            };
            all = all.min(held);
        }
        self.out.push(']');
        all
    }

    /// The start of an object of a class of the client.
    fn object(&mut self, class: &str) {
        let _ = write!(
            self.out,
            "{{\"@class\":\"{}.{class}\"",
            self.java.package.name()
        );
    }

    fn list<T>(&mut self, elements: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.out.push_str("[\"java.util.ArrayList\",[");
        for (at, element) in elements.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            write(self, element);
        }
        self.out.push_str("]]");
    }

    fn bare(&mut self, value: impl std::fmt::Display) {
        let _ = write!(self.out, "{value}");
    }

    fn wrapped(&mut self, class: &str, value: impl std::fmt::Display) {
        let _ = write!(self.out, "[\"{class}\",{value}]");
    }

    fn quoted(&mut self, class: &str, text: &str) {
        let _ = write!(self.out, "[\"{class}\",");
        write_text(text, &mut self.out);
        self.out.push(']');
    }
}

/// Whether reading gives the value again.
fn held(read_again: bool) -> Held {
    if read_again { Held::All } else { Held::Part }
}

/// The class of the elements, as pgjdbc has it.
fn element_class(array: &Array) -> &'static str {
    match array.element_type.as_str() {
        "int2" => "java.lang.Short",
        "int4" => "java.lang.Integer",
        "int8" | "oid" => "java.lang.Long",
        "float4" => "java.lang.Float",
        "float8" => "java.lang.Double",
        "numeric" => "java.math.BigDecimal",
        "bool" | "bit" => "java.lang.Boolean",
        "date" => "java.sql.Date",
        "time" | "timetz" => "java.sql.Time",
        "timestamp" | "timestamptz" => "java.sql.Timestamp",
        "uuid" => "java.util.UUID",
        "bytea" => "[B",
        "text" | "varchar" | "bpchar" | "char" | "name" => "java.lang.String",
        _ => "java.lang.Object",
    }
}

/// Classes of elements that Jackson writes without their name in an array of theirs.
const FINAL_CLASSES: &[&str] = &["java.lang.Long", "java.lang.Float", "java.util.UUID"];
