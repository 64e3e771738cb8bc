//! PostgreSQL's binary forms of values, by the number of their type.

use crate::client::at::value::{Array, Date, DateTime, Decimal, Interval, PgObject, Time, Value};

/// The value that these bytes are, for the types that are read in binary. None for other types, and for what is no value of the
/// type.
pub(super) fn decode(oid: u32, bytes: &[u8]) -> Option<Value> {
    if let Some(element) = element_of(oid) {
        return array(element, bytes);
    }
    let text = || std::str::from_utf8(bytes).ok().map(str::to_owned);
    let object = |type_name: &str, text| {
        Some(Value::PgObject(PgObject {
            type_name: type_name.to_owned(),
            text,
        }))
    };
    Some(match oid {
        16 => Value::Bool(*bytes.first()? != 0),
        17 => Value::Bytes(bytes.to_vec()),
        20 => Value::BigInt(i64::from_be_bytes(bytes.try_into().ok()?)),
        21 => Value::Int(i32::from(i16::from_be_bytes(bytes.try_into().ok()?))),
        23 => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?)),
        26 => Value::BigInt(i64::from(u32::from_be_bytes(bytes.try_into().ok()?))),
        18 | 19 | 25 | 1042 | 1043 => Value::Text(text()?),
        114 => return object("json", text()?),
        // A version in front.
        3802 => {
            let text = std::str::from_utf8(bytes.strip_prefix(&[1])?).ok()?;
            return object("jsonb", text.to_owned());
        }
        700 => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?)),
        701 => Value::Double(f64::from_be_bytes(bytes.try_into().ok()?)),
        1082 => Value::Date(date(i32::from_be_bytes(bytes.try_into().ok()?))),
        1083 => Value::Time(time(i64::from_be_bytes(bytes.try_into().ok()?))),
        1114 => Value::DateTime(moment(i64::from_be_bytes(bytes.try_into().ok()?))),
        1184 => Value::Timestamp(moment(i64::from_be_bytes(bytes.try_into().ok()?))),
        1186 => {
            let (months, days, micros) = interval(bytes)?;
            Value::Interval(Interval::new(months, days, micros))
        }
        // The server counts its offset to the west.
        1266 => Value::TimeTz {
            time: time(i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?)),
            offset_s: i32::from_be_bytes(bytes.get(8..)?.try_into().ok()?).checked_neg()?,
        },
        1560 => match bits(bytes)?.as_str() {
            "0" => Value::Bool(false),
            "1" => Value::Bool(true),
            many => return object("bit", many.to_owned()),
        },
        1562 => return object("varbit", bits(bytes)?),
        1700 => Value::Decimal(numeric(bytes)?.parse().ok()?),
        2950 => Value::Uuid(bytes.try_into().ok()?),
        _ => return None,
    })
}

/// The bytes of a value as this type. None for other types and for values that are none of the type's; undo logs of Java
/// clients hold some in another class than ours.
pub(super) fn encode(value: &Value, oid: u32) -> Option<Vec<u8>> {
    if let Some(element) = element_of(oid) {
        let Value::Array(array) = value else {
            return None;
        };
        return encode_array(array, element);
    }
    Some(match (oid, value) {
        (16, Value::Bool(truth)) => vec![u8::from(*truth)],
        (17, Value::Bytes(bytes)) => bytes.clone(),
        (20 | 21 | 23 | 26, value) => {
            let number = value.to_integer()?;
            match oid {
                20 => i64::try_from(number).ok()?.to_be_bytes().to_vec(),
                21 => i16::try_from(number).ok()?.to_be_bytes().to_vec(),
                23 => i32::try_from(number).ok()?.to_be_bytes().to_vec(),
                _ => u32::try_from(number).ok()?.to_be_bytes().to_vec(),
            }
        }
        (18 | 19 | 25 | 1042 | 1043, Value::Text(text)) => text.as_bytes().to_vec(),
        (114, Value::PgObject(PgObject { text, .. }) | Value::Text(text)) => {
            text.as_bytes().to_vec()
        }
        (3802, Value::PgObject(PgObject { text, .. }) | Value::Text(text)) => {
            [&[1], text.as_bytes()].concat()
        }
        (700, Value::Float(number)) => number.to_be_bytes().to_vec(),
        (701, Value::Double(number)) => number.to_be_bytes().to_vec(),
        (1082, Value::Date(date)) => days(*date)?.to_be_bytes().to_vec(),
        (1083, Value::Time(time)) => (time.nanos / 1000).to_be_bytes().to_vec(),
        (1114, value) => micros(value.to_date_time()?)?.to_be_bytes().to_vec(),
        (1184, value) => micros(value.to_timestamp()?)?.to_be_bytes().to_vec(),
        (1186, Value::Interval(interval)) => {
            let mut bytes = interval.micros.to_be_bytes().to_vec();
            bytes.extend(interval.days.to_be_bytes());
            bytes.extend(interval.months.to_be_bytes());
            bytes
        }
        (1266, Value::TimeTz { time, offset_s }) => {
            let mut bytes = (time.nanos / 1000).to_be_bytes().to_vec();
            bytes.extend(offset_s.checked_neg()?.to_be_bytes());
            bytes
        }
        (1560, Value::Bool(truth)) => encode_bits(if *truth { "1" } else { "0" })?,
        (1560 | 1562, Value::PgObject(PgObject { text, .. })) => encode_bits(text)?,
        (1700, Value::Decimal(number)) => encode_numeric(number)?,
        // Java's decimals have no NaN. Always in one form, since a statement is prepared for one type of parameter.
        (1700, Value::Double(number)) => encode_numeric(&special(*number)?.parse().ok()?)?,
        (2950, value) => value.to_uuid()?.to_vec(),
        _ => return None,
    })
}

/// What is no number, as text.
fn special(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// Types of elements with those of their arrays, their names and their JDBC numbers.
const ARRAYS: [(u32, u32, &str, i32); 23] = [
    (1000, 16, "bool", -7),
    (1001, 17, "bytea", -2),
    (1002, 18, "char", 1),
    (1003, 19, "name", 12),
    (1005, 21, "int2", 5),
    (1007, 23, "int4", 4),
    (1009, 25, "text", 12),
    (1014, 1042, "bpchar", 1),
    (1015, 1043, "varchar", 12),
    (1016, 20, "int8", -5),
    (1021, 700, "float4", 7),
    (1022, 701, "float8", 8),
    (1028, 26, "oid", -5),
    (1115, 1114, "timestamp", 93),
    (1182, 1082, "date", 91),
    (1183, 1083, "time", 92),
    (1185, 1184, "timestamptz", 93),
    (1187, 1186, "interval", 1111),
    (1231, 1700, "numeric", 2),
    (1270, 1266, "timetz", 92),
    (199, 114, "json", 1111),
    (2951, 2950, "uuid", 1111),
    (3807, 3802, "jsonb", 1111),
];

fn element_of(array: u32) -> Option<u32> {
    let found = ARRAYS.iter().find(|(oid, ..)| *oid == array)?;
    Some(found.1)
}

/// Number of dimensions, whether there are NULLs, the type of the elements; then length and lower bound of each dimension, then
/// the elements, each with its length.
fn array(element: u32, bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader(bytes);
    let dimensions = usize::try_from(reader.number()?).ok()?;
    reader.number()?;
    if reader.number()?.cast_unsigned() != element {
        return None;
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions.min(DIMENSIONS_MAX) {
        lengths.push(usize::try_from(reader.number()?).ok()?);
        if reader.number()? != 1 {
            return None;
        }
    }
    let (.., element_type, element_jdbc_type) =
        ARRAYS.iter().find(|(_, oid, ..)| *oid == element)?;
    let whole = |elements| {
        Value::Array(Array {
            element_jdbc_type: *element_jdbc_type,
            element_type: (*element_type).to_owned(),
            elements,
        })
    };
    let mut elements = Vec::new();
    while !reader.0.is_empty() {
        elements.push(match reader.number()? {
            -1 => Value::Null,
            length => decode(element, reader.bytes(usize::try_from(length).ok()?)?)?,
        });
    }
    // The innermost dimension varies fastest.
    for length in lengths.iter().skip(1).rev() {
        if *length == 0 || elements.len() % length != 0 {
            return None;
        }
        let rows = elements.chunks(*length).map(<[Value]>::to_vec).map(whole);
        elements = rows.collect();
    }
    (elements.len() == lengths.first().copied().unwrap_or(0)).then(|| whole(elements))
}

/// What the server takes at most.
const DIMENSIONS_MAX: usize = 6;

fn encode_array(array: &Array, element: u32) -> Option<Vec<u8>> {
    let mut lengths = Vec::new();
    let mut level = Some(array);
    while let Some(inner) = level.filter(|inner| !inner.elements.is_empty()) {
        lengths.push(inner.elements.len());
        level = match inner.elements.first() {
            Some(Value::Array(next)) => Some(next),
            _ => None,
        };
    }
    let mut flat = Vec::new();
    flatten(array, &lengths, &mut flat)?;
    let nulls = flat.iter().any(|value| value.is_null());
    let mut bytes = Vec::new();
    for number in [i32::try_from(lengths.len()).ok()?, i32::from(nulls)] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(element.to_be_bytes());
    for length in &lengths {
        bytes.extend(i32::try_from(*length).ok()?.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for value in flat {
        if value.is_null() {
            bytes.extend((-1_i32).to_be_bytes());
            continue;
        }
        let encoded = encode(value, element)?;
        bytes.extend(i32::try_from(encoded.len()).ok()?.to_be_bytes());
        bytes.extend(encoded);
    }
    Some(bytes)
}

/// The elements in order; None when the rows of a dimension differ in length.
fn flatten<'a>(array: &'a Array, lengths: &[usize], flat: &mut Vec<&'a Value>) -> Option<()> {
    let Some((length, inner)) = lengths.split_first() else {
        return Some(());
    };
    if array.elements.len() != *length {
        return None;
    }
    for element in &array.elements {
        match element {
            Value::Array(next) if !inner.is_empty() => flatten(next, inner, flat)?,
            Value::Array(_) => return None,
            value if inner.is_empty() => flat.push(value),
            _ => return None,
        }
    }
    Some(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<i32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*head))
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
}

fn date(days: i32) -> Date {
    match days {
        i32::MAX => Date::INFINITY,
        i32::MIN => Date::NEG_INFINITY,
        days => Date::from_epoch_days(i64::from(days) + DAYS_TO_2000),
    }
}

fn days(date: Date) -> Option<i32> {
    match date {
        Date::INFINITY => Some(i32::MAX),
        Date::NEG_INFINITY => Some(i32::MIN),
        date => i32::try_from(date.to_epoch_days()? - DAYS_TO_2000).ok(),
    }
}

fn time(micros: i64) -> Time {
    Time {
        nanos: micros.saturating_mul(1000),
    }
}

fn moment(micros: i64) -> DateTime {
    match micros {
        i64::MAX => DateTime::INFINITY,
        i64::MIN => DateTime::NEG_INFINITY,
        micros => {
            let days = micros.div_euclid(MICROS_PER_DAY) + DAYS_TO_2000;
            let rest = micros.rem_euclid(MICROS_PER_DAY);
            DateTime::new(Date::from_epoch_days(days), time(rest))
        }
    }
}

fn micros(moment: DateTime) -> Option<i64> {
    match moment {
        DateTime::INFINITY => Some(i64::MAX),
        DateTime::NEG_INFINITY => Some(i64::MIN),
        DateTime { date, time } => {
            let days = date.to_epoch_days()?.checked_sub(DAYS_TO_2000)?;
            days.checked_mul(MICROS_PER_DAY)?
                .checked_add(time.nanos.div_euclid(1000))
        }
    }
}

/// From 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const DAYS_TO_2000: i64 = 10_957;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The other way round from [`numeric`].
fn encode_numeric(number: &Decimal) -> Option<Vec<u8>> {
    let text = number.to_string();
    let sign: u16 = match text.as_str() {
        "NaN" => 0xC000,
        "Infinity" => 0xD000,
        "-Infinity" => 0xF000,
        text if text.starts_with('-') => 0x4000,
        _ => 0,
    };
    let mut digits: Vec<u16> = Vec::new();
    let (mut weight, mut scale) = (0, 0);
    if sign & 0x8000 == 0 {
        let plain = text.trim_start_matches('-');
        let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
        scale = u16::try_from(fraction.len()).ok()?;
        let whole = format!("{whole:0>width$}", width = whole.len().next_multiple_of(4));
        let fraction = format!(
            "{fraction:0<width$}",
            width = fraction.len().next_multiple_of(4)
        );
        weight = i16::try_from(whole.len() / 4).ok()? - 1;
        let all = [whole, fraction].concat();
        for group in 0..all.len() / 4 {
            digits.push(all[group * 4..group * 4 + 4].parse().ok()?);
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..leading);
        weight -= i16::try_from(leading).ok()?;
        if digits.is_empty() {
            weight = 0;
        }
    }
    let count = u16::try_from(digits.len()).ok()?;
    let head = [count, weight.cast_unsigned(), sign, scale];
    let words = head.into_iter().chain(digits);
    Some(words.flat_map(u16::to_be_bytes).collect())
}

/// The other way round from [`bits`].
fn encode_bits(text: &str) -> Option<Vec<u8>> {
    let mut bytes = i32::try_from(text.len()).ok()?.to_be_bytes().to_vec();
    for chunk in text.as_bytes().chunks(8) {
        let mut byte = 0;
        for (place, digit) in chunk.iter().enumerate() {
            match digit {
                b'0' => {}
                b'1' => byte |= 0x80 >> place,
                _ => return None,
            }
        }
        bytes.push(byte);
    }
    Some(bytes)
}

/// NUMERIC as text with its display scale: base-10000 digits, of which the first has the weight 10000^weight.
fn numeric(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let count = usize::from(word(0)?);
    let weight = i32::from(word(2)?.cast_signed());
    let sign = word(4)?;
    let scale = usize::from(word(6)?);
    match sign {
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let digits: Vec<u16> = (0..count)
        .map(|index| word(8 + index * 2))
        .collect::<Option<_>>()?;
    let group = |place: i32| {
        usize::try_from(weight - place)
            .ok()
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    match weight {
        ..0 => text.push('0'),
        0.. => {
            text.push_str(&group(weight).to_string());
            for place in (0..weight).rev() {
                text.push_str(&format!("{:04}", group(place)));
            }
        }
    }
    if scale > 0 {
        let mut fraction = String::with_capacity(scale + 4);
        let mut place = -1;
        while fraction.len() < scale {
            fraction.push_str(&format!("{:04}", group(place)));
            place -= 1;
        }
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

/// A bit string as digits 0 and 1: a count, then the bits from the left.
fn bits(bytes: &[u8]) -> Option<String> {
    let (count, bytes) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    if bytes.len() * 8 < count {
        return None;
    }
    let bit = |index: usize| match bytes[index / 8] & (0x80 >> (index % 8)) {
        0 => '0',
        _ => '1',
    };
    Some((0..count).map(bit).collect())
}

/// INTERVAL as months, days and microseconds.
fn interval(bytes: &[u8]) -> Option<(i32, i32, i64)> {
    let micros = i64::from_be_bytes(bytes.get(0..8)?.try_into().ok()?);
    let days = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
    let months = i32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
    Some((months, days, micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).expect("few");
        let mut bytes = Vec::new();
        for word in [count, weight.cast_unsigned(), sign, scale] {
            bytes.extend(word.to_be_bytes());
        }
        for digit in digits {
            bytes.extend(digit.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn numbers_keep_their_scale() {
        let text = |weight, sign, scale, digits: &[u16]| {
            numeric(&encoded(weight, sign, scale, digits)).expect("a number")
        };
        assert_eq!(text(0, 0, 2, &[1, 5000]), "1.50");
        assert_eq!(text(0, 0x4000, 0, &[7]), "-7");
        assert_eq!(text(0, 0, 3, &[]), "0.000");
        assert_eq!(text(1, 0, 0, &[10]), "100000");
        assert_eq!(text(-2, 0, 10, &[12, 3400]), "0.0000001234");
        assert_eq!(text(2, 0, 1, &[1, 2, 3, 4000]), "100020003.4");
        assert_eq!(numeric(&encoded(0, 0xC000, 0, &[])), Some("NaN".to_owned()));
        assert_eq!(numeric(&[0, 1]), None);
    }

    #[test]
    fn bits_are_counted_from_the_left() {
        assert_eq!(bits(&[0, 0, 0, 3, 0b1010_0000]), Some("101".to_owned()));
        assert_eq!(bits(&[0, 0, 0, 9, 0]), None);
    }

    #[test]
    fn every_value_comes_back() {
        let decimal = |text: &str| Value::Decimal(text.parse().expect(text));
        let when = |text: &str| text.parse::<DateTime>().expect(text);
        let object = |type_name: &str, text: &str| {
            Value::PgObject(PgObject {
                type_name: type_name.to_owned(),
                text: text.to_owned(),
            })
        };
        let values = [
            (16, Value::Bool(true)),
            (20, Value::BigInt(i64::MIN)),
            (21, Value::Int(-7)),
            (26, Value::BigInt(4_000_000_000)),
            (701, Value::Double(f64::NEG_INFINITY)),
            (1082, Value::Date(Date::new(-43, 3, 15))),
            (1082, Value::Date(Date::INFINITY)),
            (1083, Value::Time(Time::new(24, 0, 0, 0))),
            (1114, Value::DateTime(when("1999-12-31 23:59:59.999999"))),
            (1184, Value::Timestamp(DateTime::NEG_INFINITY)),
            (1186, Value::Interval(Interval::new(-1, 2, -3))),
            (
                1266,
                Value::TimeTz {
                    time: Time::new(1, 2, 3, 4000),
                    offset_s: -19_800,
                },
            ),
            (1560, Value::Bool(false)),
            (1560, object("bit", "101010101")),
            (1562, object("varbit", "")),
            (3802, object("jsonb", "{}")),
            (2950, Value::Uuid([7; 16])),
            (1700, decimal("NaN")),
            (1700, decimal("0")),
            (1700, decimal("0.00")),
            (1700, decimal("1.50")),
            (1700, decimal("-12345678901234567890.123456789")),
            (1700, decimal("0.0000000001")),
            (1700, decimal("100000000")),
        ];
        for (oid, value) in values {
            let bytes = encode(&value, oid).unwrap_or_else(|| panic!("{value:?}"));
            assert_eq!(decode(oid, &bytes), Some(value));
        }
    }

    #[test]
    fn javas_numbers_that_are_none_are_numerics() {
        let nan = encode(&Value::Double(f64::NAN), 1700).expect("NaN");
        assert_eq!(nan, encoded(0, 0xC000, 0, &[]));
        assert_eq!(encode(&Value::Double(1.5), 1700), None);
    }

    #[test]
    fn arrays_keep_their_dimensions_and_holes() {
        let ints = |elements: Vec<Value>| {
            Value::Array(Array {
                element_jdbc_type: 4,
                element_type: "int4".to_owned(),
                elements,
            })
        };
        let flat = ints(vec![Value::Int(1), Value::Null, Value::Int(3)]);
        let row = |a, b| ints(vec![Value::Int(a), Value::Int(b)]);
        for array in [flat, ints(vec![]), ints(vec![row(1, 2), row(3, 4)])] {
            let bytes = encode(&array, 1007).expect("an array");
            assert_eq!(decode(1007, &bytes), Some(array));
        }
        let uneven = ints(vec![row(1, 2), ints(vec![Value::Int(3)])]);
        assert_eq!(encode(&uneven, 1007), None);
        // A lower bound of 0 would be lost.
        let mut bytes = encode(&ints(vec![Value::Int(1)]), 1007).expect("an array");
        bytes[19] = 0;
        assert_eq!(decode(1007, &bytes), None);
    }
}
