//! The time zone of the Java virtual machines that share undo logs: Java holds dates and times without a zone as instants.
//!
//! It has to be the zone that every Java client of the resource runs in, or be UTC where there is none. Fixed offsets are exact. Named
//! zones come from the system's tz database, as far as it agrees with the one that Java brings along.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Fixed {
        offset_s: i32,
    },
    Named {
        zone: TimeZone,
        /// Without daylight saving, as of today.
        standard_s: i64,
    },
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(Kind::Fixed { offset_s: 0 });

    /// A fixed offset in seconds east of Greenwich. None from 18 hours on, which is beyond what Java has.
    pub fn fixed(offset_s: i32) -> Option<Zone> {
        (offset_s.unsigned_abs() <= OFFSET_S_MAX).then_some(Zone(Kind::Fixed { offset_s }))
    }

    /// A zone of the tz database, like `Asia/Shanghai`.
    pub fn named(name: &str) -> Result<Zone, UnknownZone> {
        let zone = TimeZone::get(name).map_err(|error| UnknownZone {
            name: name.to_owned(),
            reason: error.to_string(),
        })?;
        let standard_s = SEASONS_S.map(|season| offset_of(&zone, season));
        let standard_s = standard_s[0].min(standard_s[1]);
        Ok(Zone(Kind::Named { zone, standard_s }))
    }

    /// Seconds east of Greenwich at an instant, in seconds after 1970-01-01 00:00:00 UTC.
    pub(super) fn offset_at(&self, instant_s: i64, api: Api) -> i64 {
        match &self.0 {
            Kind::Fixed { offset_s } => i64::from(*offset_s),
            Kind::Named { standard_s, .. } if api == Api::Util && instant_s < UTIL_FROM_S => {
                *standard_s
            }
            Kind::Named { zone, .. } => offset_of(zone, instant_s),
        }
    }

    /// The instant at which clocks show a time, both in seconds after 1970-01-01 00:00:00. A time that clocks skip counts on from
    /// the offset before.
    pub(super) fn instant_of(&self, local_s: i64, api: Api) -> i64 {
        let (zone, standard_s) = match &self.0 {
            Kind::Fixed { offset_s } => return local_s - i64::from(*offset_s),
            Kind::Named { zone, standard_s } => (zone, *standard_s),
        };
        let offset = match zone
            .to_ambiguous_timestamp(civil_time(known(local_s)))
            .offset()
        {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { before, after } => match api {
                Api::Util => after,
                Api::Time => before,
            },
        };
        let instant_s = local_s - i64::from(offset.seconds());
        let before = instant_s.min(local_s - standard_s) < UTIL_FROM_S;
        if api == Api::Util && before {
            local_s - standard_s
        } else {
            instant_s
        }
    }
}

/// The two ways in which Java knows zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `java.util.Calendar`, behind the classes of `java.sql`: before 1900 each zone has its standard offset of today, and a time
    /// that clocks show twice means the second.
    Util,
    /// `java.time`: offsets of all times, and the first.
    Time,
}

fn offset_of(zone: &TimeZone, instant_s: i64) -> i64 {
    let instant = jiff::Timestamp::from_second(known(instant_s));
    instant.map_or(0, |instant| i64::from(zone.to_offset(instant).seconds()))
}

/// Moves a time into the years that the tz database's reader knows, by whole cycles of the calendar.
fn known(seconds: i64) -> i64 {
    if seconds > KNOWN_S_MAX {
        seconds
            - (seconds - KNOWN_S_MAX).div_euclid(SECONDS_PER_CYCLE) * SECONDS_PER_CYCLE
            - SECONDS_PER_CYCLE
    } else {
        // So long ago there is one offset only.
        seconds.max(KNOWN_S_MIN)
    }
}

fn civil_time(local_s: i64) -> civil::DateTime {
    let day = super::value::Date::from_epoch_days(local_s.div_euclid(86_400));
    let second = local_s.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let year = i16::try_from(day.year).unwrap_or(i16::MAX);
    civil::DateTime::new(
        year,
        day.month as i8,
        day.day as i8,
        hour as i8,
        minute as i8,
        second as i8,
        0,
    )
    .unwrap_or(civil::DateTime::MIN)
}

/// `UTC`, `+08:00` or a name of the tz database.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Fixed { offset_s: 0 } => f.write_str("UTC"),
            Kind::Fixed { offset_s } => {
                let sign = if *offset_s < 0 { '-' } else { '+' };
                let seconds = offset_s.unsigned_abs();
                write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
                match seconds % 60 {
                    0 => Ok(()),
                    second => write!(f, ":{second:02}"),
                }
            }
            Kind::Named { zone, .. } => {
                f.write_str(zone.iana_name().unwrap_or("a zone without a name"))
            }
        }
    }
}

/// Reads `UTC`, `Z`, `GMT`, `+08:00`, `GMT+08:00`, `UTC-3`, and names of the tz database.
impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let offset = text
            .strip_prefix("UTC")
            .or_else(|| text.strip_prefix("GMT"))
            .unwrap_or(text);
        let fixed = match offset {
            "" if !text.is_empty() => Some(Zone::UTC),
            "Z" => Some(Zone::UTC),
            _ => parse_offset(offset).and_then(Zone::fixed),
        };
        match fixed {
            Some(zone) => Ok(zone),
            None => Zone::named(text),
        }
    }
}

/// `+08:00`, `-3`, `+08:05:43`.
fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in rest.split(':') {
        if unit == 0 {
            return None;
        }
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let number: i32 = part
            .parse()
            .ok()
            .filter(|n| digits && (unit == 3600 || *n < 60))?;
        seconds += number * unit;
        unit /= 60;
    }
    Some(sign * seconds)
}

/// The tz database does not know the zone, or there is no tz database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownZone {
    name: String,
    reason: String,
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "time zone {:?} is not known ({}); give an offset like \"+08:00\", or install the system's tz database (package tzdata)",
            self.name, self.reason
        )
    }
}

impl std::error::Error for UnknownZone {}

/// 1900-01-01 00:00:00 UTC.
const UTIL_FROM_S: i64 = -2_208_988_800;
/// January and July of 2037, the last year that all tz databases write out.
const SEASONS_S: [i64; 2] = [2_114_380_800, 2_130_019_200];
const OFFSET_S_MAX: u32 = 18 * 3600;
/// The year 9500 and the year -9500.
const KNOWN_S_MAX: i64 = 237_600_000_000;
const KNOWN_S_MIN: i64 = -361_900_000_000;
/// 400 years, after which the calendar repeats.
const SECONDS_PER_CYCLE: i64 = 146_097 * 86_400;

#[cfg(test)]
mod tests {
    use super::super::value::DateTime;
    use super::*;

    #[test]
    fn offsets_are_read_and_written() {
        for (text, shown, offset) in [
            ("UTC", "UTC", 0),
            ("Z", "UTC", 0),
            ("GMT", "UTC", 0),
            ("+08:00", "+08:00", 28_800),
            ("GMT+8", "+08:00", 28_800),
            ("UTC-03:30", "-03:30", -12_600),
            ("+08:05:43", "+08:05:43", 29_143),
        ] {
            let zone: Zone = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(zone.to_string(), shown, "{text}");
            for api in [Api::Util, Api::Time] {
                assert_eq!(zone.offset_at(0, api), offset, "{text}");
                assert_eq!(zone.instant_of(offset, api), 0, "{text}");
            }
        }
        for text in [
            "",
            "+",
            "+8:60",
            "+99:00",
            "+08:00:00:00",
            "+-8",
            "Nowhere/City",
        ] {
            let error = text.parse::<Zone>().expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("time zone {text:?} is not known")),
                "{error}"
            );
        }
    }

    fn shanghai() -> Option<Zone> {
        let zone = Zone::named("Asia/Shanghai").ok();
        if zone.is_none() {
            println!("skipped: this system has no tz database");
        }
        zone
    }

    /// Each line is what a Java virtual machine answered.
    #[test]
    fn named_zones_are_those_of_java() {
        let Some(zone) = shanghai() else { return };
        assert_eq!(zone.to_string(), "Asia/Shanghai");
        for (instant, util, time) in [
            (-62_135_596_800, 28_800, 29_143),
            (-2_208_988_801, 28_800, 29_143),
            (-2_208_988_800, 29_143, 29_143),
            (-2_177_481_600, 28_800, 28_800),
            (521_000_000, 32_400, 32_400),
            (1_709_181_296, 28_800, 28_800),
        ] {
            assert_eq!(zone.offset_at(instant, Api::Util), util, "{instant}");
            assert_eq!(zone.offset_at(instant, Api::Time), time, "{instant}");
        }
        for (local, util, time) in [
            ("1986-05-04 02:30:00", 515_529_000, 515_529_000),
            ("1986-09-14 00:30:00", 527_009_400, 527_009_400),
            ("1986-09-14 01:30:00", 527_016_600, 527_013_000),
            ("1900-01-01 00:00:00", -2_209_017_600, -2_209_017_943),
            ("1900-01-01 08:03:00", -2_208_988_620, -2_208_988_963),
            ("1900-01-01 08:05:42", -2_208_988_458, -2_208_988_801),
            ("1900-01-01 08:05:43", -2_208_988_800, -2_208_988_800),
            ("1900-06-01 00:00:00", -2_195_971_543, -2_195_971_543),
            ("1900-12-31 23:57:00", -2_177_481_780, -2_177_482_123),
            ("1901-01-01 00:00:00", -2_177_481_600, -2_177_481_600),
        ] {
            let moment: DateTime = local.parse().expect("a moment");
            let (seconds, _) = moment.to_epoch().expect("a day");
            assert_eq!(zone.instant_of(seconds, Api::Util), util, "{local}");
            assert_eq!(zone.instant_of(seconds, Api::Time), time, "{local}");
        }
    }

    #[test]
    fn zones_have_offsets_in_all_years() {
        let Some(zone) = shanghai() else { return };
        for year in [-20_000, 20_000, 290_000] {
            let local = (year - 1970) * 31_556_952;
            let offset = local - zone.instant_of(local, Api::Time);
            assert_eq!(offset, if year < 0 { 29_143 } else { 28_800 }, "{year}");
            assert_eq!(zone.offset_at(local, Api::Time), offset, "{year}");
        }
    }
}
