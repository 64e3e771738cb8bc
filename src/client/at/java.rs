//! How Java holds and writes values: what another client must agree with, to the letter, to share row locks and undo logs with one.
//!
//! Classes depend on the JDBC driver. These are those of MySQL Connector/J and pgjdbc (client.md 13.2 to 13.4).

use super::value::{Date, DateTime};
use super::zone::{Api, Zone};

/// What the Java clients of a resource look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Java {
    /// Their package, which names the classes of the undo log.
    pub package: Package,
    /// The zone their virtual machines run in.
    pub zone: Zone,
    /// What their driver makes of date and time without a zone.
    pub date_time: DateTimeClass,
    /// How they write timestamps.
    pub timestamps: TimestampForm,
    /// How they write arrays.
    pub arrays: ArrayForm,
}

/// Java clients of version 2.1 and later in UTC, with pgjdbc or a Connector/J older than 8.0.23.
impl Default for Java {
    fn default() -> Java {
        Java {
            package: Package::OrgApacheSeata,
            zone: Zone::UTC,
            date_time: DateTimeClass::Timestamp,
            timestamps: TimestampForm::Shortest,
            arrays: ArrayForm::List,
        }
    }
}

/// The package of a Java client. Neither reads the other's undo logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Package {
    /// `io.seata`, up to version 2.0.
    IoSeata,
    /// `org.apache.seata`, from version 2.1 on.
    OrgApacheSeata,
}

impl Package {
    /// As it stands in front of class names.
    pub fn name(self) -> &'static str {
        match self {
            Package::IoSeata => "io.seata",
            Package::OrgApacheSeata => "org.apache.seata",
        }
    }
}

/// The class of a date and time without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateTimeClass {
    /// `java.sql.Timestamp`: pgjdbc, MariaDB's driver, Connector/J before 8.0.23.
    Timestamp,
    /// `java.time.LocalDateTime`: Connector/J from 8.0.23 on.
    LocalDateTime,
}

/// How timestamps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampForm {
    /// Milliseconds, and nanoseconds beside them where there are any below: clients of version 2.
    Shortest,
    /// Always both: clients of version 1, which read nothing else.
    Pair,
}

/// How arrays are written. A client of the later form takes the earlier one for other elements, without a word; a client of the
/// earlier form refuses the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArrayForm {
    /// The elements twice, each time behind the class of the array: clients up to version 2.2.
    Bean,
    /// The elements alone: clients of version 2.6.
    List,
}

/// An instant as Java's classes hold it: seconds and nanoseconds of the second after 1970-01-01 00:00:00 UTC.
pub(super) type Instant = (i64, u32);

impl Java {
    /// What `java.sql.Timestamp` holds for a date and time without a zone. None for what it cannot hold.
    pub(super) fn timestamp_of_local(&self, local: DateTime) -> Option<Instant> {
        let (seconds, nanos) = local.to_epoch_hybrid()?;
        Some((self.zone.instant_of(seconds, Api::Util), nanos))
    }

    /// What `java.sql.Timestamp` holds for an instant in UTC. Drivers read the text that the database writes in the zone; before
    /// 1582-10-15 they take it for the Julian calendar, which the database does not use.
    pub(super) fn timestamp_of_utc(&self, utc: DateTime) -> Option<Instant> {
        let (seconds, nanos) = utc.to_epoch()?;
        let local = DateTime::from_epoch(seconds + self.zone.offset_at(seconds, Api::Util), 0);
        let shift = local.to_epoch_hybrid()?.0 - local.to_epoch()?.0;
        Some((seconds + shift, nanos))
    }

    /// Both readings of a `java.sql.Timestamp`: in UTC, and in the zone.
    pub(super) fn readings(&self, instant: Instant) -> (DateTime, DateTime) {
        let (seconds, nanos) = instant;
        let offset = self.zone.offset_at(seconds, Api::Util);
        let local = DateTime::from_epoch_hybrid(seconds + offset, nanos);
        let utc = match local.to_epoch() {
            Some((local_s, _)) => DateTime::from_epoch(local_s - offset, nanos),
            None => DateTime::from_epoch(seconds, nanos),
        };
        (utc, local)
    }

    /// What `java.time.LocalDateTime` is written as: the instant in the zone.
    pub(super) fn instant_of_local_date_time(&self, local: DateTime) -> Option<Instant> {
        let (seconds, nanos) = local.to_epoch()?;
        Some((self.zone.instant_of(seconds, Api::Time), nanos))
    }

    /// The `java.time.LocalDateTime` of an instant.
    pub(super) fn local_date_time(&self, instant: Instant) -> DateTime {
        let (seconds, nanos) = instant;
        DateTime::from_epoch(seconds + self.zone.offset_at(seconds, Api::Time), nanos)
    }

    /// What `java.sql.Date` holds: seconds to midnight in the zone.
    pub(super) fn midnight_of(&self, date: Date) -> Option<i64> {
        let midnight = date.to_epoch_days_hybrid()? * 86_400;
        Some(self.zone.instant_of(midnight, Api::Util))
    }

    /// The date of a `java.sql.Date`.
    pub(super) fn date_at(&self, instant_s: i64) -> Date {
        let local = instant_s + self.zone.offset_at(instant_s, Api::Util);
        Date::from_epoch_days_hybrid(local.div_euclid(86_400))
    }
}

/// `java.sql.Timestamp.toString`: at least one digit of the fraction.
pub(super) fn timestamp_text(local: DateTime) -> String {
    match local.time.nanosecond() {
        0 => format!("{local}.0"),
        _ => local.to_string(),
    }
}

/// `java.time.LocalDateTime.toString`: seconds only when there are any, the fraction in groups of three digits.
pub(super) fn local_date_time_text(local: DateTime) -> String {
    let mut text = format!(
        "{}T{:02}:{:02}",
        local.date,
        local.time.hours(),
        local.time.minute()
    );
    let (second, nanos) = (local.time.second(), local.time.nanosecond());
    if second == 0 && nanos == 0 {
        return text;
    }
    text.push_str(&format!(":{second:02}"));
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        let kept = match (nanos % 1_000_000, nanos % 1000) {
            (0, _) => 3,
            (_, 0) => 6,
            _ => 9,
        };
        text.push('.');
        text.push_str(&digits[..kept]);
    }
    text
}

/// `Double.toString`: plain from a thousandth up to ten million, always with a digit behind the point. Virtual machines before 19 write
/// some numbers with more digits than they need.
pub(super) fn double_text(number: f64) -> String {
    let plain = (1e-3..1e7).contains(&number.abs()) || number == 0.0;
    number_text(
        number.is_finite(),
        plain,
        || number.to_string(),
        || format!("{number:e}"),
    )
}

/// `Float.toString`.
pub(super) fn float_text(number: f32) -> String {
    let plain = (1e-3..1e7).contains(&number.abs()) || number == 0.0;
    number_text(
        number.is_finite(),
        plain,
        || number.to_string(),
        || format!("{number:e}"),
    )
}

fn number_text(
    finite: bool,
    plain: bool,
    decimal: impl Fn() -> String,
    scientific: impl Fn() -> String,
) -> String {
    if !finite {
        return match decimal().as_str() {
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            _ => "NaN".to_owned(),
        };
    }
    if plain {
        let text = decimal();
        return if text.contains('.') {
            text
        } else {
            text + ".0"
        };
    }
    let text = scientific();
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// The order in which a Java `HashMap` with these names as keys is walked, as positions in `names`; they were put in in their order.
pub(super) fn hash_order(names: &[&str]) -> Vec<usize> {
    let mut buckets: u32 = 16;
    while names.len() as u64 * 4 > u64::from(buckets) * 3 {
        buckets *= 2;
    }
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|at| {
        let hash = string_hash(names[*at]);
        (hash ^ (hash >> 16)) & (buckets - 1)
    });
    order
}

/// `String.hashCode`.
fn string_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::super::value::Time;
    use super::*;

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (1e7, "1.0E7"),
            (9_999_999.5, "9999999.5"),
            (-12_345_678.12, "-1.234567812E7"),
            (-1e300, "-1.0E300"),
            (1e-3, "0.001"),
            (9.9e-4, "9.9E-4"),
            (4.9e-324, "5.0E-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            // The least double is the best known of those that older virtual machines write otherwise: 4.9E-324.
            assert_eq!(double_text(number), text);
        }
        for (number, text) in [
            (1e10, "1.0E10"),
            (2.75_f32, "2.75"),
            (-1234.567, "-1234.567"),
            (0.001, "0.001"),
            (1e-5, "1.0E-5"),
        ] {
            assert_eq!(float_text(number), text);
        }
    }

    #[test]
    fn maps_are_walked_in_the_order_of_their_buckets() {
        let walked = |names: &[&str]| {
            hash_order(names)
                .iter()
                .map(|at| names[*at].to_owned())
                .collect::<Vec<_>>()
                .join("_")
        };
        assert_eq!(walked(&["tenant", "region", "code"]), "code_region_tenant");
        assert_eq!(walked(&["a", "zeta", "b"]), "zeta_a_b");
        let many: Vec<String> = (1..=13).map(|n| format!("c{n:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            walked(&many),
            "c11_c10_c02_c13_c01_c12_c04_c03_c06_c05_c08_c07_c09"
        );
        assert_eq!(string_hash("polygenelubricants"), i32::MIN as u32);
        assert_eq!(string_hash("你"), 0x4f60);
    }

    #[test]
    fn texts_of_times() {
        let at = |nanos| DateTime::new(Date::new(2024, 2, 29), Time::new(12, 34, 56, nanos));
        assert_eq!(timestamp_text(at(0)), "2024-02-29 12:34:56.0");
        assert_eq!(timestamp_text(at(120_000_000)), "2024-02-29 12:34:56.12");
        assert_eq!(local_date_time_text(at(0)), "2024-02-29T12:34:56");
        assert_eq!(
            local_date_time_text(at(120_000_000)),
            "2024-02-29T12:34:56.120"
        );
        assert_eq!(
            local_date_time_text(at(123_456_000)),
            "2024-02-29T12:34:56.123456"
        );
        assert_eq!(local_date_time_text(at(1)), "2024-02-29T12:34:56.000000001");
        let minute = DateTime::new(Date::new(2024, 1, 1), Time::MIDNIGHT);
        assert_eq!(local_date_time_text(minute), "2024-01-01T00:00");
    }

    #[test]
    fn both_readings_of_a_timestamp_lead_back_to_it() {
        let java = Java {
            zone: Zone::fixed(28_800).expect("an offset"),
            ..Java::default()
        };
        for instant in [
            (0, 0),
            (-1, 999_999_999),
            (1_709_181_296, 123_456_000),
            (-12_219_292_800, 0),
            (-12_219_379_200, 0),
            (-62_135_798_400, 0),
        ] {
            let (utc, local) = java.readings(instant);
            assert_eq!(java.timestamp_of_utc(utc), Some(instant), "{utc}");
            assert_eq!(java.timestamp_of_local(local), Some(instant), "{local}");
        }
    }
}
