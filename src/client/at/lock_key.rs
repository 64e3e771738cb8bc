//! Lock keys: the rows that a branch changes, as the coordinator locks them (client.md 3.4 and 13.6).
//!
//! `table:pk,pk;table:pk` — columns of a composite key are joined by `_`. The coordinator compares rows as texts, so two clients
//! exclude each other only as far as they write the same text: by default ours is that of the Java client, to the letter.
//!
//! What would lock less than the row, or another row, is refused with the reason: a comma or a semicolon ends a key early, an empty key
//! is skipped by coordinators, and Java writes the address of an object for bytes. An underscore in a composite key lets two rows share
//! one lock, which never loses one; it is refused unless [`Underscore::Shared`] allows it.

use std::collections::HashSet;
use std::fmt;

use super::image::{Image, Row};
use super::java::{self, DateTimeClass, Java};
use super::value::{Date, DateTime, Value, uuid_text};

/// How keys are written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum KeyForm {
    /// As the Java client writes them.
    #[default]
    Java,
    /// Without ambiguity: values in a form that depends on no driver and no zone, bytes in hexadecimal, and `%`, `,`, `;`, `_` and `:`
    /// escaped by a percent sign. Only for resources that every client locks in this form.
    Strict,
}

/// What happens to an underscore in a part of a composite key in the form of Java.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Underscore {
    /// The statement is refused.
    #[default]
    Refused,
    /// It is written: (`a_b`, `c`) and (`a`, `b_c`) share one lock.
    Shared,
}

/// The rules of a resource's lock keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRules {
    /// How keys are written.
    pub form: KeyForm,
    /// For composite keys in the form of Java.
    pub underscore: Underscore,
    /// The Java clients of the resource; the strict form needs none of it.
    pub java: Java,
}

/// The rows that one statement changed in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableKeys {
    /// The table.
    pub table: String,
    /// The key of each row, without repetition, in the order of the image.
    pub rows: Vec<String>,
}

impl TableKeys {
    /// The keys of the rows of an image. `key_columns` are the columns of the primary key in the order of its index.
    ///
    /// # Errors
    ///
    /// A row whose key the coordinator would not lock as it is; nothing of the statement may be kept then.
    pub fn of(
        table: &str,
        key_columns: &[&str],
        image: &Image,
        rules: &KeyRules,
    ) -> Result<TableKeys, Refused> {
        let refused = |column: &str, reason| Refused {
            table: table.to_owned(),
            column: column.to_owned(),
            reason,
        };
        let table = match rules.form {
            KeyForm::Strict => escaped(table),
            KeyForm::Java => match table.chars().find(|c| matches!(c, ',' | ';' | ':')) {
                Some(character) => return Err(refused("", Reason::Character(character))),
                None => table.to_owned(),
            },
        };
        if key_columns.is_empty() {
            return Err(refused("", Reason::NoPrimaryKey));
        }
        let columns: Vec<&str> = java::hash_order(key_columns)
            .iter()
            .map(|at| key_columns[*at])
            .collect();
        let mut seen = HashSet::new();
        let mut rows = Vec::new();
        for row in &image.rows {
            let key = row_key(row, &columns, rules)
                .map_err(|(column, reason)| refused(column, reason))?;
            if seen.insert(key.clone()) {
                rows.push(key);
            }
        }
        Ok(TableKeys { table, rows })
    }
}

/// The lock key of a branch: its statements in their order, rows that several of them changed named once. Empty when there are no
/// rows.
pub fn join<'a>(statements: impl IntoIterator<Item = &'a TableKeys>) -> String {
    let mut seen = HashSet::new();
    let mut text = String::new();
    for TableKeys { table, rows } in statements {
        let mut separator = ':';
        for row in rows {
            if !seen.insert((table, row)) {
                continue;
            }
            if separator == ':' {
                if !text.is_empty() {
                    text.push(';');
                }
                text.push_str(table);
            }
            text.push(separator);
            text.push_str(row);
            separator = ',';
        }
    }
    text
}

fn row_key<'a>(
    row: &Row,
    columns: &[&'a str],
    rules: &KeyRules,
) -> Result<String, (&'a str, Reason)> {
    let mut key = String::new();
    for (at, column) in columns.iter().enumerate() {
        let field = row.field(column).ok_or((*column, Reason::Missing))?;
        let part = match rules.form {
            KeyForm::Java => java_part(&field.value, &rules.java),
            KeyForm::Strict => strict_part(&field.value),
        };
        let part = part.map_err(|reason| (*column, reason))?;
        let wrong = |c: &char| {
            let separates = columns.len() > 1 && rules.underscore == Underscore::Refused;
            matches!(c, ',' | ';') || (*c == '_' && separates)
        };
        if at > 0 {
            key.push('_');
        }
        match rules.form {
            KeyForm::Java => {
                if let Some(character) = part.chars().find(wrong) {
                    return Err((column, Reason::Character(character)));
                }
                key.push_str(&part);
            }
            KeyForm::Strict => key.push_str(&escaped(&part)),
        }
    }
    match (key.trim().is_empty(), &rules.form) {
        (false, _) => Ok(key),
        (true, KeyForm::Java) => Err((columns[0], Reason::Blank)),
        // No other key is a percent sign and blanks.
        (true, KeyForm::Strict) => Ok(format!("%{key}")),
    }
}

/// `String.valueOf` of what the Java client's driver returns.
fn java_part(value: &Value, java: &Java) -> Result<String, Reason> {
    let dated = |date: Date, text: String| {
        // Java writes no sign in front of years before Christ, and other digits than the database's behind 9999.
        if date.is_infinite() || !(0..=9999).contains(&date.year) {
            Err(Reason::BeyondJava)
        } else {
            Ok(text)
        }
    };
    let timestamp = |local: DateTime| dated(local.date, java::timestamp_text(local));
    Ok(match value {
        Value::Null => return Err(Reason::Null),
        Value::Bytes(_) => return Err(Reason::Bytes),
        Value::Bool(truth) => truth.to_string(),
        Value::Float(number) => java::float_text(*number),
        Value::Double(number) => java::double_text(*number),
        Value::Decimal(number) => number.java_text(),
        Value::Text(text) => text.clone(),
        Value::Date(date) => return dated(*date, date.to_string()),
        Value::Year(year) => return Ok(Date::new(i32::from(*year), 1, 1).to_string()),
        Value::Time(time) => {
            let sign = if time.nanos < 0 { "-" } else { "" };
            format!(
                "{sign}{:02}:{:02}:{:02}",
                time.hours(),
                time.minute(),
                time.second()
            )
        }
        Value::DateTime(local) => match java.date_time {
            DateTimeClass::Timestamp => return timestamp(*local),
            DateTimeClass::LocalDateTime => {
                return dated(local.date, java::local_date_time_text(*local));
            }
        },
        Value::Timestamp(utc) | Value::JavaTimestamp { utc, .. } => {
            let instant = java.timestamp_of_utc(*utc).ok_or(Reason::BeyondJava)?;
            return timestamp(java.readings(instant).1);
        }
        Value::Uuid(bytes) => uuid_text(bytes),
        Value::PgObject(object) => object.text.clone(),
        Value::Int(_) | Value::BigInt(_) | Value::UnsignedBigInt(_) => {
            return value
                .to_integer()
                .map(|number| number.to_string())
                .ok_or(Reason::NoText);
        }
        Value::TimeTz { .. } | Value::Interval(_) | Value::Array(_) | Value::Other(_) => {
            return Err(Reason::NoText);
        }
    })
}

/// A text that is the same exactly when the values are.
fn strict_part(value: &Value) -> Result<String, Reason> {
    Ok(match value {
        Value::Null => return Err(Reason::Null),
        Value::Array(_) | Value::Other(_) => return Err(Reason::NoText),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Value::Float(number) => java::float_text(*number),
        Value::Double(number) => java::double_text(*number),
        Value::TimeTz { time, offset_s } => format!("{time}{offset_s:+}"),
        Value::DateTime(moment)
        | Value::Timestamp(moment)
        | Value::JavaTimestamp { utc: moment, .. } => moment.to_string(),
        Value::PgObject(object) => object.text.clone(),
        Value::Bool(_)
        | Value::Int(_)
        | Value::BigInt(_)
        | Value::UnsignedBigInt(_)
        | Value::Decimal(_)
        | Value::Date(_)
        | Value::Year(_)
        | Value::Time(_)
        | Value::Uuid(_)
        | Value::Interval(_) => value.to_string(),
    })
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | ',' | ';' | '_' | ':') {
            out.push_str(&format!("%{:02X}", character as u32));
        } else {
            out.push(character);
        }
    }
    out
}

/// A row that the coordinator would not lock as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The table.
    pub table: String,
    /// The column of the key; empty when it is about the table.
    pub column: String,
    /// Why.
    pub reason: Reason,
}

/// Why a row cannot be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The table has no primary key.
    NoPrimaryKey,
    /// The image has no such column.
    Missing,
    /// A part of the key is NULL.
    Null,
    /// The key is empty or nothing but blanks, which coordinators skip.
    Blank,
    /// The name or the key holds a character that separates keys.
    Character(char),
    /// Java writes the address of an object for bytes, so no two clients would lock the same row.
    Bytes,
    /// The type has no text that Java and we agree on.
    NoText,
    /// A date that Java writes ambiguously: infinite, or outside the years 0 to 9999.
    BeyondJava,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused {
            table,
            column,
            reason,
        } = self;
        if column.is_empty() {
            write!(f, "the rows of the table {table} cannot be locked: ")?;
        } else {
            write!(
                f,
                "a row of the table {table} cannot be locked by its column {column}: "
            )?;
        }
        match reason {
            Reason::NoPrimaryKey => f.write_str("the table needs a primary key"),
            Reason::Missing => f.write_str("the image of the row does not hold it; the table may have been altered, try again"),
            Reason::Null => f.write_str("it is NULL"),
            Reason::Blank => f.write_str("it is empty, and coordinators skip empty keys; give the row another key, or use the strict form of lock keys in all clients"),
            Reason::Character('_') => f.write_str("it holds an underscore, which separates the parts of a composite key, so that two rows would share one lock; allow that (Underscore::Shared), or use the strict form of lock keys in all clients"),
            Reason::Character(character) => write!(f, "{character:?} separates lock keys; use the strict form of lock keys in all clients, or another key"),
            Reason::Bytes => f.write_str("it holds bytes, for which a Java client writes the address of an object, different each time; use the strict form of lock keys in all clients"),
            Reason::NoText => f.write_str("values of its type have no text that all clients agree on"),
            Reason::BeyondJava => f.write_str("the date is infinite or outside the years 0 to 9999, which Java writes ambiguously; use the strict form of lock keys in all clients"),
        }
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::super::image::{Field, FieldKey};
    use super::super::value::{Array, Time};
    use super::super::zone::Zone;
    use super::*;

    fn image(rows: &[&[(&str, Value)]]) -> Image {
        let field = |(name, value): &(&str, Value)| Field {
            name: (*name).into(),
            key: FieldKey::Primary,
            jdbc_type: 0,
            value: value.clone(),
        };
        Image {
            table_name: "t".into(),
            rows: rows
                .iter()
                .map(|fields| Row {
                    fields: fields.iter().map(field).collect(),
                })
                .collect(),
        }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn key_with(value: Value, rules: &KeyRules) -> Result<String, Reason> {
        let keys = TableKeys::of("t", &["id"], &image(&[&[("ID", value)]]), rules);
        keys.map(|keys| keys.rows[0].clone())
            .map_err(|refused| refused.reason)
    }

    fn key(value: Value) -> Result<String, Reason> {
        let rules = KeyRules {
            java: Java {
                zone: Zone::fixed(28_800).expect("an offset"),
                ..Java::default()
            },
            ..KeyRules::default()
        };
        key_with(value, &rules)
    }

    fn strict(value: Value) -> Result<String, Reason> {
        key_with(
            value,
            &KeyRules {
                form: KeyForm::Strict,
                ..KeyRules::default()
            },
        )
    }

    fn moment() -> DateTime {
        DateTime::new(Date::new(2024, 2, 29), Time::new(4, 34, 56, 120_000_000))
    }

    #[test]
    fn values_are_written_as_java_writes_them() {
        for (value, expected) in [
            (Value::Int(-7), "-7"),
            (Value::UnsignedBigInt(u64::MAX), "18446744073709551615"),
            (Value::Bool(true), "true"),
            (Value::Double(1e7), "1.0E7"),
            (Value::Decimal("1.500".parse().expect("a decimal")), "1.500"),
            (text("aBC x"), "aBC x"),
            (text("a:b%"), "a:b%"),
            (Value::Date(Date::new(1969, 12, 31)), "1969-12-31"),
            (Value::Year(1999), "1999-01-01"),
            (Value::Time(Time::new(1, 2, 3, 4)), "01:02:03"),
            (Value::Timestamp(moment()), "2024-02-29 12:34:56.12"),
            (Value::DateTime(moment()), "2024-02-29 04:34:56.12"),
            (
                Value::Uuid([0xAB; 16]),
                "abababab-abab-abab-abab-abababababab",
            ),
        ] {
            assert_eq!(key(value.clone()).as_deref(), Ok(expected), "{value:?}");
        }
        let rules = KeyRules {
            java: Java {
                date_time: DateTimeClass::LocalDateTime,
                ..Java::default()
            },
            ..KeyRules::default()
        };
        assert_eq!(
            key_with(Value::DateTime(moment()), &rules).as_deref(),
            Ok("2024-02-29T04:34:56.120")
        );
    }

    #[test]
    fn what_would_lock_less_is_refused() {
        for (value, reason) in [
            (Value::Null, Reason::Null),
            (text(""), Reason::Blank),
            (text("  "), Reason::Blank),
            (text("a,b"), Reason::Character(',')),
            (text("a;b"), Reason::Character(';')),
            (Value::Bytes(vec![1]), Reason::Bytes),
            (Value::Date(Date::INFINITY), Reason::BeyondJava),
            (
                Value::DateTime(DateTime::new(Date::new(10_000, 1, 1), Time::MIDNIGHT)),
                Reason::BeyondJava,
            ),
            (Value::Timestamp(DateTime::INFINITY), Reason::BeyondJava),
        ] {
            assert_eq!(key(value.clone()), Err(reason), "{value:?}");
        }
        // An underscore separates nothing in a key of one column.
        assert_eq!(key(text("a_b")).as_deref(), Ok("a_b"));
        let missing = TableKeys::of("t", &["id"], &image(&[&[]]), &KeyRules::default())
            .expect_err("no column");
        assert_eq!(missing.reason, Reason::Missing);
        let nothing =
            TableKeys::of("t", &[], &image(&[]), &KeyRules::default()).expect_err("no key");
        assert_eq!(nothing.reason, Reason::NoPrimaryKey);
        let table =
            TableKeys::of("a:b", &["id"], &image(&[]), &KeyRules::default()).expect_err("a colon");
        assert!(
            table
                .to_string()
                .starts_with("the rows of the table a:b cannot be locked: ':' separates"),
            "{table}"
        );
    }

    #[test]
    fn parts_of_a_composite_key_come_in_the_order_of_a_java_map() {
        let rows = image(&[&[
            ("tenant", text("t1")),
            ("region", Value::Int(1)),
            ("code", text("aa")),
        ]]);
        let columns = ["tenant", "region", "code"];
        let keys = TableKeys::of("comp", &columns, &rows, &KeyRules::default()).expect("keys");
        assert_eq!(join([&keys]), "comp:aa_1_t1");
        let rows = image(&[&[("a", text("x_y")), ("b", text("z"))]]);
        let refused =
            TableKeys::of("t", &["a", "b"], &rows, &KeyRules::default()).expect_err("ambiguous");
        assert_eq!(
            (refused.column.as_str(), refused.reason),
            ("a", Reason::Character('_'))
        );
        let shared = KeyRules {
            underscore: Underscore::Shared,
            ..KeyRules::default()
        };
        let keys = TableKeys::of("t", &["a", "b"], &rows, &shared).expect("keys");
        assert_eq!(join([&keys]), "t:x_y_z");
    }

    #[test]
    fn a_branch_names_each_row_once() {
        let keys = |table: &str, rows: &[&str]| TableKeys {
            table: table.into(),
            rows: rows.iter().map(|row| (*row).into()).collect(),
        };
        let statements = [
            keys("t", &["1", "2"]),
            keys("u", &["1"]),
            keys("t", &["2", "3"]),
            keys("u", &["1"]),
            keys("v", &[]),
        ];
        assert_eq!(join(&statements), "t:1,2;u:1;t:3");
        assert_eq!(join(&[]), "");
        let twice = image(&[&[("id", Value::Int(1))], &[("id", Value::BigInt(1))]]);
        let twice = TableKeys::of("t", &["id"], &twice, &KeyRules::default()).expect("keys");
        assert_eq!(twice.rows, ["1"]);
    }

    #[test]
    fn the_strict_form_escapes_what_separates() {
        for (value, expected) in [
            (text("a,b;c_d%e:f"), "a%2Cb%3Bc%5Fd%25e%3Af"),
            (text(""), "%"),
            (text(" "), "% "),
            (text("%"), "%25"),
            (Value::Bytes(vec![0, 0xFF]), "00ff"),
            (Value::Timestamp(moment()), "2024-02-29 04%3A34%3A56.12"),
            (Value::Date(Date::INFINITY), "infinity"),
        ] {
            assert_eq!(strict(value.clone()).as_deref(), Ok(expected), "{value:?}");
        }
        let array = Value::Array(Array {
            element_jdbc_type: 4,
            element_type: "int4".into(),
            elements: vec![],
        });
        assert_eq!(strict(array), Err(Reason::NoText));
        assert_eq!(strict(Value::Null), Err(Reason::Null));
    }
}
