//! Values of configuration keys: what may stand in a file, a variable or a flag, and how it is shown.
//!
//! Every value arrives as text, since variables and flags have nothing else; a number or a boolean of a file is turned
//! into its text first. Parsing refuses what is out of range, so that a typed configuration is always usable.

use std::fmt;
use std::time::Duration;

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number of bytes; `KiB`, `MiB` and `GiB` may follow.
    Bytes {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A time; a plain number counts milliseconds, as Seata's keys do.
    Time {
        /// The least, in ms.
        min_ms: i64,
    },
    /// A time, or -1 for no end.
    TimeOrForever,
    /// Free text.
    Text,
    /// One of these words, whatever their case.
    Word(&'static [&'static str]),
    /// A word, or a URL, which may hold a password.
    Place,
    /// A password.
    Secret,
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Count`] and [`Kind::Bytes`].
    Number(i64),
    /// Of [`Kind::Time`] and [`Kind::TimeOrForever`]; None has no end.
    Time(Option<Duration>),
    /// Of [`Kind::Text`] and [`Kind::Word`].
    Text(String),
    /// Of [`Kind::Place`] and [`Kind::Secret`].
    Guarded(Guarded),
}

/// A text that is never shown as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Guarded {
    text: String,
    shown: String,
}

impl Guarded {
    fn place(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            shown: shown(text),
        }
    }

    fn secret(text: &str) -> Self {
        let shown = if text.is_empty() { "" } else { HIDDEN };
        Self {
            text: text.to_owned(),
            shown: shown.to_owned(),
        }
    }

    /// The text as it was written, password included.
    pub fn revealed(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.shown.is_empty() {
            "\"\""
        } else {
            &self.shown
        })
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Kind {
    /// Reads a value. The error says what was expected; the caller adds the key and where it stood.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match *self {
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "1" => Ok(Value::Switch(true)),
                "false" | "off" | "0" => Ok(Value::Switch(false)),
                _ => Err(format!("expected true or false, got \"{text}\"")),
            },
            Self::Count { min, max } => number(text)
                .filter(|n| (min..=max).contains(n))
                .map(Value::Number)
                .ok_or_else(|| {
                    format!("expected a whole number from {min} to {max}, got \"{text}\"")
                }),
            Self::Bytes { min, max } => scaled(text, BYTE_UNITS)
                .filter(|n| (min..=max).contains(n))
                .map(Value::Number)
                .ok_or_else(|| {
                    let (min, max) = (Bytes(min), Bytes(max));
                    format!("expected a size from {min} to {max} such as 64KiB, got \"{text}\"")
                }),
            Self::Time { min_ms } => time(text, min_ms),
            Self::TimeOrForever if number(text).is_some_and(|n| n < 0) => Ok(Value::Time(None)),
            Self::TimeOrForever => {
                time(text, 0).map_err(|e| format!("{e}; -1 would mean without end"))
            }
            Self::Text => Ok(Value::Text(text.to_string())),
            Self::Word(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Value::Text((*word).to_string()))
                .ok_or_else(|| format!("expected {}, got \"{text}\"", words.join(" or "))),
            Self::Place => Ok(Value::Guarded(Guarded::place(text))),
            Self::Secret => Ok(Value::Guarded(Guarded::secret(text))),
        }
    }

    /// What the values are, in a word or two, for listings.
    pub fn describe(&self) -> String {
        match self {
            Self::Switch => "true or false".into(),
            Self::Count { min, max } if *max == i64::MAX => format!("number, at least {min}"),
            Self::Count { min, max } => format!("number, {min} to {max}"),
            Self::Bytes { .. } => "size in bytes".into(),
            Self::Time { .. } => "time".into(),
            Self::TimeOrForever => "time, -1 for ever".into(),
            Self::Text => "text".into(),
            Self::Word(words) => words.join(" or "),
            Self::Place => "word or URL".into(),
            Self::Secret => "password".into(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Time(None) => f.write_str("-1"),
            Self::Time(Some(time)) => {
                let ms = time.as_millis();
                let (per, unit) = TIME_UNITS
                    .iter()
                    .rev()
                    .find(|(_, per)| ms >= *per as u128 && ms % *per as u128 == 0)
                    .map_or((1, "ms"), |(unit, per)| (*per as u128, *unit));
                write!(f, "{}{unit}", ms / per)
            }
            Self::Text(text) if text.is_empty() => f.write_str("\"\""),
            Self::Text(text) => f.write_str(text),
            Self::Guarded(text) => text.fmt(f),
        }
    }
}

struct Bytes(i64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS
            .iter()
            .rev()
            .find(|(_, per)| self.0 >= *per && self.0 % per == 0);
        let (name, per) = unit.copied().unwrap_or(("", 1));
        write!(f, "{}{name}", self.0 / per)
    }
}

/// A URL without the user, the password and the parameters, which may hold both. A password may hold any character that
/// divides URLs, so everything up to the last `@` is left out, wherever that is.
fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("//") else {
        // jdbc:postgresql:database?password=…
        return match text.split_once(['?', '@']) {
            Some((before, _)) => format!("{before}…"),
            None => text.to_owned(),
        };
    };
    let (more, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", rest),
    };
    match rest.split_once(['?', '#', ';']) {
        Some((place, _)) => format!("{scheme}//{more}{place}?…"),
        None => format!("{scheme}//{more}{rest}"),
    }
}

fn number(text: &str) -> Option<i64> {
    text.replace('_', "").parse().ok()
}

fn time(text: &str, min_ms: i64) -> Result<Value, String> {
    let ms = scaled(text, TIME_UNITS)
        .ok_or_else(|| format!("expected a time such as 100ms, 5s or 1m, got \"{text}\""))?;
    if ms < min_ms {
        return Err(format!(
            "expected a time of at least {min_ms} ms, got \"{text}\""
        ));
    }
    if ms > TIME_MS_MAX {
        return Err(format!(
            "expected a time of at most 10 years, got \"{text}\""
        ));
    }
    Ok(Value::Time(Some(Duration::from_millis(ms.unsigned_abs()))))
}

/// A number that is not negative with a unit behind it; without a unit the first of the list counts.
fn scaled(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim();
    let per = match unit {
        "" => 1,
        _ => {
            units
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
                .1
        }
    };
    number(digits)?.checked_mul(per)
}

const HIDDEN: &str = "(hidden)";
const TIME_MS_MAX: i64 = 10 * 366 * 86_400_000;
const TIME_UNITS: &[(&str, i64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const BYTE_UNITS: &[(&str, i64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Value {
        Value::Time(Some(Duration::from_millis(ms)))
    }

    #[test]
    fn times_have_units_and_plain_numbers_are_milliseconds() {
        let kind = Kind::Time { min_ms: 1 };
        for (text, value) in [
            ("100ms", 100),
            ("5s", 5000),
            (" 1m ", 60_000),
            ("2 h", 7_200_000),
            ("1d", 86_400_000),
            ("1500", 1500),
        ] {
            assert_eq!(kind.parse(text), Ok(ms(value)), "{text}");
        }
        for text in [
            "",
            "s",
            "-5",
            "1.5s",
            "5 weeks",
            "0",
            "9223372036854775807d",
        ] {
            assert!(kind.parse(text).is_err(), "{text}");
        }
        assert_eq!(Kind::TimeOrForever.parse("-1"), Ok(Value::Time(None)));
        assert_eq!(Kind::TimeOrForever.parse("0"), Ok(ms(0)));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["1ms", "1500ms", "90s", "2m", "5h", "3d", "-1", "0ms"] {
            let value = Kind::TimeOrForever.parse(text).expect(text);
            assert_eq!(
                Kind::TimeOrForever.parse(&value.to_string()),
                Ok(value),
                "{text}"
            );
        }
        assert_eq!(ms(90_000).to_string(), "90s");
    }

    #[test]
    fn passwords_are_not_shown() {
        let secret = "s3cr3t";
        for (text, shown) in [
            ("journal", "journal"),
            ("mysql://h:3306/d", "mysql://h:3306/d"),
            ("mysql://u:s3cr3t@h:3306/d", "mysql://…@h:3306/d"),
            ("mysql://u:s3cr3t/@s3cr3t?@h/d", "mysql://…@h/d"),
            ("postgres://h/d?password=s3cr3t", "postgres://h/d?…"),
            ("postgres://h/d?password=s3cr3t@x", "postgres://…@x"),
            (
                "jdbc:mysql://h/d?user=u&password=s3cr3t",
                "jdbc:mysql://h/d?…",
            ),
            ("jdbc:postgresql:d?password=s3cr3t", "jdbc:postgresql:d…"),
            ("sqlite://a/b.db", "sqlite://a/b.db"),
        ] {
            let value = Kind::Place.parse(text).expect(text);
            assert_eq!(value.to_string(), shown);
            assert!(!format!("{value:?}").contains(secret), "{text}");
            assert!(matches!(value, Value::Guarded(guarded) if guarded.revealed() == text));
        }
        let value = Kind::Secret.parse(secret).expect("any text");
        assert!(!format!("{value} {value:?}").contains(secret));
        assert_eq!(Kind::Secret.parse("").expect("none").to_string(), "\"\"");
    }

    #[test]
    fn sizes_and_counts_keep_their_ranges() {
        let size = Kind::Bytes {
            min: 1024,
            max: 8 << 20,
        };
        assert_eq!(size.parse("8MiB"), Ok(Value::Number(8 << 20)));
        assert_eq!(size.parse("8388608"), Ok(Value::Number(8 << 20)));
        assert!(
            size.parse("9MiB")
                .is_err_and(|e| e.contains("1KiB to 8MiB"))
        );
        let count = Kind::Count { min: 0, max: 1023 };
        assert_eq!(count.parse("1_023"), Ok(Value::Number(1023)));
        assert!(count.parse("1024").is_err());
        assert!(count.parse("-1").is_err());
        assert_eq!(
            Kind::Word(&["TCP"]).parse("tcp"),
            Ok(Value::Text("TCP".into()))
        );
    }
}
