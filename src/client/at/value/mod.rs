//! What a column holds, without loss and without a database: what images, lock keys and undo logs are made of.
//!
//! | module | what lives there |
//! |---|---|
//! | [`decimal`] | exact decimal numbers with their scale |
//! | [`moment`] | dates, times of day, date-times and intervals |
//!
//! A column is read as one variant, told by its type and not by the value that happens to be there:
//!
//! | variant | columns |
//! |---|---|
//! | [`Value::Bool`] | PostgreSQL `boolean` and `bit(1)`, MySQL `bit(1)` and `tinyint(1)` (one of the latter that holds neither 0 nor 1: [`Value::Int`]) |
//! | [`Value::Int`] | integers of at most 32 bits that Java holds in an `Integer` |
//! | [`Value::BigInt`] | 64-bit integers, MySQL `int unsigned`, PostgreSQL `oid`, every integer of SQLite |
//! | [`Value::UnsignedBigInt`] | MySQL `bigint unsigned` |
//! | [`Value::Text`] | texts, MySQL's `enum`, `set` and `json`, MariaDB's `uuid` and `inet6`, PostgreSQL's enumerations |
//! | [`Value::Bytes`] | binary columns, MySQL `bit(n)` (big endian, (n+7)/8 bytes) and geometries (SRID and WKB) |
//! | [`Value::DateTime`] | MySQL `datetime`, PostgreSQL `timestamp` |
//! | [`Value::Timestamp`] | MySQL `timestamp`, PostgreSQL `timestamptz` |
//! | [`Value::PgObject`] | PostgreSQL types without a variant: `json`, `jsonb`, `inet`, ranges, `bit(n)`, composites … |
//!
//! The others carry the name of their type.
//!
//! Follows client.md 13.2 and 13.3.

pub mod decimal;
pub mod moment;

use std::fmt;

pub use decimal::Decimal;
pub use moment::{Date, DateTime, Interval, Time};

/// What a column holds.
///
/// [`Value::same_as`] says whether two stand for the same content of a column. `==` is stricter: the variants are the same too.
#[derive(Clone, Debug)]
pub enum Value {
    /// NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer that Java holds in an `Integer`.
    Int(i32),
    /// An integer that Java holds in a `Long`.
    BigInt(i64),
    /// An integer that Java holds in a `BigInteger`.
    UnsignedBigInt(u64),
    /// A number of single precision.
    Float(f32),
    /// A number of double precision.
    Double(f64),
    /// An exact decimal number.
    Decimal(Decimal),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A date.
    Date(Date),
    /// MySQL's year, 0 or 1901 to 2155.
    Year(u16),
    /// A time of day, or a length of time beyond a day (MySQL).
    Time(Time),
    /// PostgreSQL's time of day with an offset.
    TimeTz {
        /// The time of day at that offset.
        time: Time,
        /// Seconds east of Greenwich.
        offset_s: i32,
    },
    /// Date and time of day as they are written, in no zone.
    DateTime(DateTime),
    /// An instant, as date and time of day in UTC.
    Timestamp(DateTime),
    /// An instant out of Java's `java.sql.Timestamp`, which does not tell a [`Value::Timestamp`] from a [`Value::DateTime`]: both
    /// readings. Comes from undo logs only; a column is never read as one.
    JavaTimestamp {
        /// In UTC, what a [`Value::Timestamp`] would say.
        utc: DateTime,
        /// In the zone of the Java virtual machine, what a [`Value::DateTime`] would say.
        local: DateTime,
    },
    /// A UUID, in the order in which it is written.
    Uuid([u8; 16]),
    /// PostgreSQL's interval.
    Interval(Interval),
    /// A value of PostgreSQL in its text form.
    PgObject(PgObject),
    /// An array of PostgreSQL.
    Array(Array),
    /// Something out of an undo log for which there is no variant. It equals itself, and cannot be bound.
    Other(Other),
}

/// A value of PostgreSQL in its text form, with the name of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgObject {
    /// The type, as `pg_type.typname` has it.
    pub type_name: String,
    /// The value, as the type's output function writes it.
    pub text: String,
}

/// An array of PostgreSQL.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The JDBC number of the element's type.
    pub element_jdbc_type: i32,
    /// The element's type, as `pg_type.typname` has it (`int4`).
    pub element_type: String,
    /// The elements; of an array with several dimensions they are arrays.
    pub elements: Vec<Value>,
}

/// A value of a class for which there is no variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The Java class.
    pub class: String,
    /// Its JSON.
    pub json: String,
}

impl Array {
    /// How many dimensions it has: 1, and more when elements are arrays.
    pub fn dimensions(&self) -> usize {
        let inner = self.elements.iter().filter_map(|element| match element {
            Value::Array(inner) => Some(inner.dimensions()),
            _ => None,
        });
        1 + inner.max().unwrap_or(0)
    }
}

/// Dimensions that an array of PostgreSQL can have.
pub const DIMENSIONS_MAX: usize = 6;

impl Value {
    /// Whether both stand for the same content of a column: what the comparison before an undo asks (client.md 5.3).
    ///
    /// - Decimals are the same when number *and* scale are, as for Java's `BigDecimal`: 1.50 is not 1.5.
    /// - Floating-point numbers are the same when their bits are, and any NaN is any other; 0.0 is not -0.0, as for Java's `Double`.
    /// - Integers, truth values and years are the same when their numbers are, whatever the variant: the class depends on the
    ///   driver, the content does not.
    /// - A UUID is the text that writes it, a year the first of January of it, and a [`Value::JavaTimestamp`] either of its readings.
    /// - PostgreSQL's points are compared by number, all its other objects by their text.
    /// - NULL is the same as NULL.
    pub fn same_as(&self, other: &Value) -> bool {
        if let (Some(a), Some(b)) = (self.to_integer(), other.to_integer()) {
            return a == b;
        }
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Float(a), Value::Float(b)) => {
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            (Value::Double(a), Value::Double(b)) => same_double(*a, *b),
            (Value::Decimal(a), Value::Decimal(b)) => a == b,
            // Java has no decimal that is no number.
            (Value::Decimal(a), Value::Double(b)) | (Value::Double(b), Value::Decimal(a)) => {
                a.to_special().is_some_and(|a| same_double(a, *b))
            }
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Year(year), Value::Date(date)) | (Value::Date(date), Value::Year(year)) => {
                *date == Date::new(i32::from(*year), 1, 1)
            }
            (Value::Time(a), Value::Time(b)) => a == b,
            (
                Value::TimeTz {
                    time: a,
                    offset_s: b,
                },
                Value::TimeTz {
                    time: c,
                    offset_s: d,
                },
            ) => (a, b) == (c, d),
            (Value::DateTime(a), Value::DateTime(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::JavaTimestamp { utc: a, .. }, Value::JavaTimestamp { utc: b, .. }) => a == b,
            (Value::JavaTimestamp { utc, .. }, Value::Timestamp(b))
            | (Value::Timestamp(b), Value::JavaTimestamp { utc, .. }) => utc == b,
            (Value::JavaTimestamp { local, .. }, Value::DateTime(b))
            | (Value::DateTime(b), Value::JavaTimestamp { local, .. }) => local == b,
            (Value::Uuid(a), Value::Uuid(b)) => a == b,
            (Value::Uuid(a), Value::Text(b)) | (Value::Text(b), Value::Uuid(a)) => {
                parse_uuid(b).as_ref() == Some(a)
            }
            (Value::Interval(a), Value::Interval(b)) => a == b,
            (Value::PgObject(a), Value::PgObject(b)) => a == b || same_points(a, b),
            (Value::Array(a), Value::Array(b)) => {
                a.elements.len() == b.elements.len()
                    && a.elements
                        .iter()
                        .zip(&b.elements)
                        .all(|(a, b)| a.same_as(b))
            }
            (Value::Other(a), Value::Other(b)) => a == b,
            _ => false,
        }
    }

    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The number of an integer, a truth value or a year.
    pub fn to_integer(&self) -> Option<i128> {
        match self {
            Value::Bool(truth) => Some(i128::from(*truth)),
            Value::Int(number) => Some(i128::from(*number)),
            Value::BigInt(number) => Some(i128::from(*number)),
            Value::UnsignedBigInt(number) => Some(i128::from(*number)),
            Value::Year(year) => Some(i128::from(*year)),
            _ => None,
        }
    }

    /// What a column of date and time without a zone holds.
    pub fn to_date_time(&self) -> Option<DateTime> {
        match self {
            Value::DateTime(local) | Value::JavaTimestamp { local, .. } => Some(*local),
            _ => None,
        }
    }

    /// What a column that holds instants holds, in UTC.
    pub fn to_timestamp(&self) -> Option<DateTime> {
        match self {
            Value::Timestamp(utc) | Value::JavaTimestamp { utc, .. } => Some(*utc),
            _ => None,
        }
    }

    /// What a column of MySQL's years holds. Java makes a date of it.
    pub fn to_year(&self) -> Option<u16> {
        match self {
            Value::Year(year) => Some(*year),
            Value::Date(date) if (date.month, date.day) == (1, 1) => u16::try_from(date.year).ok(),
            other => other.to_integer().and_then(|year| u16::try_from(year).ok()),
        }
    }

    /// What a column of UUIDs holds.
    pub fn to_uuid(&self) -> Option<[u8; 16]> {
        match self {
            Value::Uuid(bytes) => Some(*bytes),
            Value::Text(text) => parse_uuid(text),
            _ => None,
        }
    }

    /// The name of its variant, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "NULL",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::BigInt(_) | Value::UnsignedBigInt(_) => "an integer",
            Value::Float(_) | Value::Double(_) => "a floating-point number",
            Value::Decimal(_) => "a decimal",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "a date",
            Value::Year(_) => "a year",
            Value::Time(_) | Value::TimeTz { .. } => "a time",
            Value::DateTime(_) => "a date and time",
            Value::Timestamp(_) | Value::JavaTimestamp { .. } => "a timestamp",
            Value::Uuid(_) => "a UUID",
            Value::Interval(_) => "an interval",
            Value::PgObject(_) => "an object of PostgreSQL",
            Value::Array(_) => "an array",
            Value::Other(_) => "an object of an unknown Java class",
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.same_as(other)
    }
}

/// For messages: readable, cut after some dozen characters, without promise of a form.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Bool(truth) => truth.fmt(f),
            Value::Int(number) => number.fmt(f),
            Value::BigInt(number) => number.fmt(f),
            Value::UnsignedBigInt(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Double(number) => number.fmt(f),
            Value::Decimal(number) => number.fmt(f),
            Value::Text(text) => shortened(f, text),
            Value::Bytes(bytes) => {
                f.write_str("x'")?;
                for byte in bytes.iter().take(SHOWN / 2) {
                    write!(f, "{byte:02X}")?;
                }
                let rest = if bytes.len() > SHOWN / 2 { "…" } else { "" };
                write!(f, "{rest}'")
            }
            Value::Date(date) => date.fmt(f),
            Value::Year(year) => write!(f, "{year:04}"),
            Value::Time(time) => time.fmt(f),
            Value::TimeTz { time, offset_s } => write!(f, "{time}{offset_s:+}s"),
            Value::DateTime(local) | Value::JavaTimestamp { local, .. } => local.fmt(f),
            Value::Timestamp(utc) => write!(f, "{utc}Z"),
            Value::Uuid(bytes) => f.write_str(&uuid_text(bytes)),
            Value::Interval(interval) => interval.fmt(f),
            Value::PgObject(object) => shortened(f, &object.text),
            Value::Array(array) => write!(
                f,
                "an array of {} {}",
                array.elements.len(),
                array.element_type
            ),
            Value::Other(other) => write!(f, "a {}", other.class),
        }
    }
}

/// The UUID as it is written: 36 characters, lower case.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads a UUID of 36 characters.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = text
        .bytes()
        .enumerate()
        .filter_map(|(at, byte)| match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => None,
            (8 | 13 | 18 | 23, _) => Some(None),
            (_, byte) => Some((byte as char).to_digit(16)),
        });
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = (high * 16 + low) as u8;
    }
    // A mark that is no hyphen would be left over.
    digits.next().is_none().then_some(bytes)
}

fn same_double(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Java writes `(3.0,4.0)` where PostgreSQL writes `(3,4)`.
fn same_points(a: &PgObject, b: &PgObject) -> bool {
    let point = |object: &PgObject| {
        if object.type_name != "point" {
            return None;
        }
        let inner = object.text.strip_prefix('(')?.strip_suffix(')')?;
        let (x, y) = inner.split_once(',')?;
        Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?))
    };
    match (point(a), point(b)) {
        (Some(a), Some(b)) => same_double(a.0, b.0) && same_double(a.1, b.1),
        _ => false,
    }
}

fn shortened(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => write!(f, "{:?}…", &text[..at]),
        None => write!(f, "{text:?}"),
    }
}

/// Characters of a text that a message shows.
const SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().expect("a decimal"))
    }

    #[test]
    fn integers_are_the_same_whatever_holds_them() {
        let sevens = [
            Value::Int(7),
            Value::BigInt(7),
            Value::UnsignedBigInt(7),
            Value::Year(7),
        ];
        for a in &sevens {
            for b in &sevens {
                assert!(a.same_as(b), "{a:?} {b:?}");
            }
            assert!(!a.same_as(&Value::Int(8)));
            assert!(!a.same_as(&decimal("7")));
            assert!(!a.same_as(&Value::Double(7.0)));
            assert!(!a.same_as(&Value::Text("7".into())));
            assert!(!a.same_as(&Value::Null));
        }
        assert!(Value::Bool(true).same_as(&Value::Int(1)));
        assert!(!Value::Bool(true).same_as(&Value::Int(2)));
        assert!(Value::UnsignedBigInt(u64::MAX).same_as(&Value::UnsignedBigInt(u64::MAX)));
        assert!(!Value::UnsignedBigInt(u64::MAX).same_as(&Value::BigInt(-1)));
        assert_ne!(Value::Int(7), Value::BigInt(7));
    }

    #[test]
    fn the_scale_of_a_decimal_counts() {
        assert!(decimal("1.50").same_as(&decimal("1.50")));
        assert!(!decimal("1.50").same_as(&decimal("1.5")));
        assert!(decimal("NaN").same_as(&Value::Double(f64::NAN)));
        assert!(!decimal("1.5").same_as(&Value::Double(1.5)));
    }

    #[test]
    fn floating_point_numbers_are_the_same_bit_by_bit() {
        assert!(Value::Double(f64::NAN).same_as(&Value::Double(-f64::NAN)));
        assert!(!Value::Double(0.0).same_as(&Value::Double(-0.0)));
        assert!(!Value::Float(1.0).same_as(&Value::Double(1.0)));
        assert!(Value::Float(f32::NAN).same_as(&Value::Float(f32::NAN)));
    }

    #[test]
    fn what_java_cannot_tell_apart_equals_either() {
        let utc = DateTime::new(Date::new(2024, 2, 29), Time::new(4, 34, 56, 0));
        let local = DateTime::new(Date::new(2024, 2, 29), Time::new(12, 34, 56, 0));
        let java = Value::JavaTimestamp { utc, local };
        assert!(java.same_as(&Value::DateTime(local)));
        assert!(java.same_as(&Value::Timestamp(utc)));
        assert!(!java.same_as(&Value::DateTime(utc)));
        assert!(!java.same_as(&Value::Timestamp(local)));
        assert!(!Value::DateTime(utc).same_as(&Value::Timestamp(utc)));
        assert!(Value::Year(1999).same_as(&Value::Date(Date::new(1999, 1, 1))));
        assert!(!Value::Year(1999).same_as(&Value::Date(Date::new(1999, 1, 2))));
        assert_eq!(Value::Date(Date::new(1999, 1, 1)).to_year(), Some(1999));
        assert_eq!(Value::Date(Date::new(1999, 1, 2)).to_year(), None);
    }

    #[test]
    fn a_uuid_is_the_text_that_writes_it() {
        let text = "3f06af63-a93c-11e4-9797-00505690773f";
        let bytes = parse_uuid(text).expect("a UUID");
        assert_eq!(uuid_text(&bytes), text);
        assert!(Value::Uuid(bytes).same_as(&Value::Text(text.to_uppercase())));
        for wrong in [
            "",
            "3f06af63a93c11e4979700505690773f",
            "3f06af63-a93c-11e4-9797-00505690773",
            "3f06af63-a93c-11e4-9797+00505690773f",
            "3f06af63-a93c-11e4-9797-0050569077 f",
        ] {
            assert_eq!(parse_uuid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn points_are_compared_by_number() {
        let object = |name: &str, text: &str| {
            Value::PgObject(PgObject {
                type_name: name.into(),
                text: text.into(),
            })
        };
        assert!(object("point", "(3.0,4.0)").same_as(&object("point", "(3,4)")));
        assert!(!object("point", "(3.0,4.0)").same_as(&object("point", "(3,5)")));
        assert!(!object("jsonb", "[1.0]").same_as(&object("jsonb", "[1]")));
        assert!(!object("json", "[1]").same_as(&object("jsonb", "[1]")));
    }

    #[test]
    fn messages_show_the_start_of_long_values() {
        assert_eq!(Value::Text("你".repeat(3)).to_string(), "\"你你你\"");
        let long = Value::Text("你".repeat(100)).to_string();
        assert_eq!(long.chars().count(), SHOWN + 3);
        assert_eq!(Value::Bytes(vec![1, 255]).to_string(), "x'01FF'");
    }
}
