//! Dates, times of day, date-times and intervals, as databases hold them: with zero dates, lengths beyond a day and infinities.
//!
//! Nothing here knows a zone or a clock, and nothing is checked against a calendar: 2024-02-31 is a date that MySQL can hold.

use std::fmt;
use std::str::FromStr;

/// A date of the proleptic Gregorian calendar; year 0 is 1 BC. Month and day may be zero (MySQL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    /// The year.
    pub year: i32,
    /// The month, 1 to 12, or 0.
    pub month: u8,
    /// The day, 1 to 31, or 0.
    pub day: u8,
}

impl Date {
    /// MySQL's `0000-00-00`.
    pub const ZERO: Date = Date::new(0, 0, 0);
    /// PostgreSQL's `infinity`.
    pub const INFINITY: Date = Date::new(i32::MAX, 12, 31);
    /// PostgreSQL's `-infinity`.
    pub const NEG_INFINITY: Date = Date::new(i32::MIN, 1, 1);

    /// This day.
    pub const fn new(year: i32, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    /// The day so many days after 1970-01-01.
    pub fn from_epoch_days(days: i64) -> Date {
        // Years begin in March here, so that the leap day is the last of its year.
        let days = days + DAYS_TO_EPOCH;
        let era = days.div_euclid(DAYS_PER_ERA);
        let day_of_era = days.rem_euclid(DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        from_march(year_of_era + era * 400, day_of_year)
    }

    /// Days after 1970-01-01. None for a date with zero parts, an infinite one, and a month above 12; a day beyond the end of its
    /// month counts on into the next.
    pub fn to_epoch_days(self) -> Option<i64> {
        let (year, day_of_year) = self.to_march()?;
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH)
    }

    /// The day so many days after 1970-01-01 in the calendar of Java's `java.sql.Date`: before 1582-10-15 the Julian one.
    pub fn from_epoch_days_hybrid(days: i64) -> Date {
        if days >= GREGORIAN_FROM {
            return Date::from_epoch_days(days);
        }
        let days = days + DAYS_TO_EPOCH_JULIAN;
        let cycle = days.div_euclid(1461);
        let day_of_cycle = days.rem_euclid(1461);
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1460) / 365;
        from_march(
            cycle * 4 + year_of_cycle,
            day_of_cycle - 365 * year_of_cycle,
        )
    }

    /// Days after 1970-01-01 in the calendar of Java's `java.sql.Date`; None as for [`Date::to_epoch_days`].
    pub fn to_epoch_days_hybrid(self) -> Option<i64> {
        if (self.year, self.month, self.day) >= (1582, 10, 15) {
            return self.to_epoch_days();
        }
        let (year, day_of_year) = self.to_march()?;
        let (cycle, year_of_cycle) = (year.div_euclid(4), year.rem_euclid(4));
        Some(cycle * 1461 + year_of_cycle * 365 + day_of_year - DAYS_TO_EPOCH_JULIAN)
    }

    /// Whether a part of it is zero, as MySQL allows.
    pub fn has_zero(self) -> bool {
        self.month == 0 || self.day == 0
    }

    /// Whether it is one of PostgreSQL's infinities.
    pub fn is_infinite(self) -> bool {
        self == Date::INFINITY || self == Date::NEG_INFINITY
    }

    /// The year that begins in March, and the day of it.
    fn to_march(self) -> Option<(i64, i64)> {
        if self.has_zero() || self.is_infinite() || self.month > 12 {
            return None;
        }
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let month = (i64::from(self.month) + 9) % 12;
        Some((year, (153 * month + 2) / 5 + i64::from(self.day) - 1))
    }
}

fn from_march(year: i64, day_of_year: i64) -> Date {
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + i64::from(month <= 2);
    let bounded = i32::try_from(year).unwrap_or(if year > 0 { i32::MAX } else { i32::MIN });
    Date::new(bounded, month as u8, day as u8)
}

/// `2024-02-29`, `-0043-03-15` for the ides of March in 44 BC, `infinity`, `-infinity`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Date::INFINITY => f.write_str("infinity"),
            Date::NEG_INFINITY => f.write_str("-infinity"),
            Date { year, month, day } => {
                let sign = if year < 0 { "-" } else { "" };
                write!(f, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
            }
        }
    }
}

impl FromStr for Date {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "infinity" => return Ok(Date::INFINITY),
            "-infinity" => return Ok(Date::NEG_INFINITY),
            _ => {}
        }
        let parse = || {
            let (negative, rest) = signed(text);
            let mut parts = rest.split('-');
            let year = i64::from(digits(parts.next()?, 4..=10)?);
            let month = digits(parts.next()?, 1..=2)?.try_into().ok()?;
            let day = digits(parts.next()?, 1..=2)?.try_into().ok()?;
            let year = i32::try_from(if negative { -year } else { year }).ok()?;
            let fine = month <= 12 && day <= 31 && parts.next().is_none();
            fine.then_some(Date::new(year, month, day))
        };
        parse().ok_or(NotAMoment)
    }
}

/// A time of day with its fraction, or a length of time, also beyond a day and below zero (MySQL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time {
    /// Nanoseconds.
    pub nanos: i64,
}

impl Time {
    /// 00:00:00.
    pub const MIDNIGHT: Time = Time { nanos: 0 };

    /// So many hours, minutes, seconds and nanoseconds. No part is bounded; together they must fit 64 bits of nanoseconds, which
    /// are 292 years.
    pub const fn new(hours: u32, minutes: u32, seconds: u32, nanos: u32) -> Time {
        let seconds = hours as i64 * 3600 + minutes as i64 * 60 + seconds as i64;
        Time {
            nanos: seconds
                .saturating_mul(NANOS_PER_SECOND)
                .saturating_add(nanos as i64),
        }
    }

    /// The same length below zero.
    pub const fn negated(self) -> Time {
        Time {
            nanos: self.nanos.saturating_neg(),
        }
    }

    /// Whole hours, without the sign.
    pub fn hours(self) -> u32 {
        (self.nanos.unsigned_abs() / NANOS_PER_SECOND as u64 / 3600) as u32
    }

    /// The minute, without the sign.
    pub fn minute(self) -> u32 {
        (self.nanos.unsigned_abs() / NANOS_PER_SECOND as u64 / 60 % 60) as u32
    }

    /// The second, without the sign.
    pub fn second(self) -> u32 {
        (self.nanos.unsigned_abs() / NANOS_PER_SECOND as u64 % 60) as u32
    }

    /// Nanoseconds of the second, without the sign.
    pub fn nanosecond(self) -> u32 {
        (self.nanos.unsigned_abs() % NANOS_PER_SECOND as u64) as u32
    }

    /// Whether it lies within a day: 00:00:00 up to but not including 24:00:00.
    pub fn is_of_day(self) -> bool {
        (0..NANOS_PER_DAY).contains(&self.nanos)
    }
}

/// `12:34:56`, `-838:59:59`, `00:00:00.000001`: the fraction without trailing zeros.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        write!(
            f,
            "{:02}:{:02}:{:02}",
            self.hours(),
            self.minute(),
            self.second()
        )?;
        match self.nanosecond() {
            0 => Ok(()),
            nanos => write!(f, ".{}", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Time {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (negative, rest) = signed(text);
            let (rest, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
            let nanos = digits(fraction, 1..=9)? * 10_u32.pow(9 - fraction.len() as u32);
            let mut parts = rest.split(':');
            let hours = digits(parts.next()?, 1..=7)?;
            let minutes = digits(parts.next()?, 1..=2).filter(|m| *m < 60)?;
            let seconds = digits(parts.next().unwrap_or("0"), 1..=2).filter(|s| *s < 60)?;
            if parts.next().is_some() {
                return None;
            }
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
            let nanos = seconds
                .checked_mul(NANOS_PER_SECOND)?
                .checked_add(i64::from(nanos))?;
            Some(Time {
                nanos: if negative { -nanos } else { nanos },
            })
        };
        parse().ok_or(NotAMoment)
    }
}

/// A date with a time of day, in no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DateTime {
    /// The date; infinite for PostgreSQL's infinite timestamps.
    pub date: Date,
    /// The time of day.
    pub time: Time,
}

impl DateTime {
    /// PostgreSQL's `infinity`.
    pub const INFINITY: DateTime = DateTime::new(Date::INFINITY, Time::MIDNIGHT);
    /// PostgreSQL's `-infinity`.
    pub const NEG_INFINITY: DateTime = DateTime::new(Date::NEG_INFINITY, Time::MIDNIGHT);

    /// This time of this day.
    pub const fn new(date: Date, time: Time) -> DateTime {
        DateTime { date, time }
    }

    /// So many seconds, and nanoseconds of a second, after 1970-01-01 00:00:00.
    pub fn from_epoch(seconds: i64, nanos: u32) -> DateTime {
        let date = Date::from_epoch_days(seconds.div_euclid(SECONDS_PER_DAY));
        DateTime::new(date, time_of_day(seconds, nanos))
    }

    /// The same with the date of [`Date::from_epoch_days_hybrid`].
    pub fn from_epoch_hybrid(seconds: i64, nanos: u32) -> DateTime {
        let date = Date::from_epoch_days_hybrid(seconds.div_euclid(SECONDS_PER_DAY));
        DateTime::new(date, time_of_day(seconds, nanos))
    }

    /// Seconds after 1970-01-01 00:00:00, and nanoseconds of the second. None as for [`Date::to_epoch_days`], and for a time that
    /// is none of a day.
    pub fn to_epoch(self) -> Option<(i64, u32)> {
        self.after_days(self.date.to_epoch_days()?)
    }

    /// The same with the date of [`Date::to_epoch_days_hybrid`].
    pub fn to_epoch_hybrid(self) -> Option<(i64, u32)> {
        self.after_days(self.date.to_epoch_days_hybrid()?)
    }

    fn after_days(self, days: i64) -> Option<(i64, u32)> {
        if !self.time.is_of_day() {
            return None;
        }
        let seconds = days * SECONDS_PER_DAY + self.time.nanos / NANOS_PER_SECOND;
        Some((seconds, self.time.nanosecond()))
    }
}

fn time_of_day(seconds: i64, nanos: u32) -> Time {
    Time {
        nanos: seconds.rem_euclid(SECONDS_PER_DAY) * NANOS_PER_SECOND + i64::from(nanos),
    }
}

/// `2024-02-29 12:34:56.12`, `infinity`, `-infinity`.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date.fmt(f)?;
        if self.date.is_infinite() {
            return Ok(());
        }
        write!(f, " {}", self.time)
    }
}

/// Reads a blank or a `T` between date and time.
impl FromStr for DateTime {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once([' ', 'T']) {
            Some((date, time)) => Ok(DateTime::new(date.parse()?, time.parse()?)),
            None => {
                let date: Date = text.parse()?;
                if date.is_infinite() {
                    Ok(DateTime::new(date, Time::MIDNIGHT))
                } else {
                    Err(NotAMoment)
                }
            }
        }
    }
}

/// PostgreSQL's interval: three numbers that are not converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Months; twelve make a year.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// So many months, days and microseconds.
    pub const fn new(months: i32, days: i32, micros: i64) -> Interval {
        Interval {
            months,
            days,
            micros,
        }
    }
}

/// `1 mons 2 days 03:04:05.6`, which PostgreSQL reads.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mons {} days ", self.months, self.days)?;
        let (sign, micros) = if self.micros < 0 {
            ("-", self.micros.unsigned_abs())
        } else {
            ("", self.micros as u64)
        };
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        write!(
            f,
            "{sign}{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        match fraction {
            0 => Ok(()),
            some => write!(f, ".{}", format!("{some:06}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Interval {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split(' ');
            let months = parts.next()?.parse().ok()?;
            let days = (parts.next()? == "mons")
                .then(|| parts.next())??
                .parse()
                .ok()?;
            let time = (parts.next()? == "days").then(|| parts.next())??;
            if parts.next().is_some() {
                return None;
            }
            Some(Interval::new(months, days, micros(time)?))
        };
        parse().ok_or(NotAMoment)
    }
}

/// Microseconds of a text like `-03:04:05.6`, over the whole range of 64 bits.
fn micros(text: &str) -> Option<i64> {
    let (negative, rest) = signed(text);
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    let fraction = i128::from(digits(fraction, 1..=6)? * 10_u32.pow(6 - fraction.len() as u32));
    let mut parts = rest.split(':');
    let mut part = || parts.next().and_then(|part| digits(part, 1..=10));
    let (hours, minutes, seconds) = (part()?, part()?, part()?);
    let seconds = i128::from(hours) * 3600 + i128::from(minutes) * 60 + i128::from(seconds);
    let micros = seconds * 1_000_000 + fraction;
    i64::try_from(if negative { -micros } else { micros }).ok()
}

/// Whether a minus stands in front, and what stands behind it.
fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<u32> {
    if !length.contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The text is no date, time or interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMoment;

impl fmt::Display for NotAMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a date, time or interval")
    }
}

impl std::error::Error for NotAMoment {}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_DAY: i64 = SECONDS_PER_DAY * NANOS_PER_SECOND;
/// Days of 400 Gregorian years.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
/// The same, with 0000-03-01 in the Julian calendar.
const DAYS_TO_EPOCH_JULIAN: i64 = 719_470;
/// 1582-10-15, the first day of the Gregorian calendar, in days after 1970-01-01.
const GREGORIAN_FROM: i64 = -141_427;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        for (date, days) in [
            (Date::new(1970, 1, 1), 0),
            (Date::new(1969, 12, 31), -1),
            (Date::new(2000, 2, 29), 11_016),
            (Date::new(2024, 2, 29), 19_782),
            (Date::new(1582, 10, 15), GREGORIAN_FROM),
            (Date::new(0, 3, 1), -DAYS_TO_EPOCH),
            (Date::new(-4713, 11, 24), -2_440_588),
        ] {
            assert_eq!(date.to_epoch_days(), Some(days), "{date}");
            assert_eq!(Date::from_epoch_days(days), date);
        }
        for days in (-1_000_000..1_000_000).step_by(7) {
            assert_eq!(Date::from_epoch_days(days).to_epoch_days(), Some(days));
            assert_eq!(
                Date::from_epoch_days_hybrid(days).to_epoch_days_hybrid(),
                Some(days)
            );
        }
        assert_eq!(Date::ZERO.to_epoch_days(), None);
        assert_eq!(Date::new(2024, 0, 1).to_epoch_days(), None);
        assert_eq!(Date::INFINITY.to_epoch_days(), None);
        assert_eq!(Date::new(2024, 13, 1).to_epoch_days_hybrid(), None);
    }

    #[test]
    fn java_counts_in_the_julian_calendar_before_1582_10_15() {
        for (date, days) in [
            (Date::new(1582, 10, 15), GREGORIAN_FROM),
            (Date::new(1582, 10, 4), GREGORIAN_FROM - 1),
            (Date::new(1, 1, 1), -719_164),
            (Date::new(1500, 2, 29), -171_596),
        ] {
            assert_eq!(date.to_epoch_days_hybrid(), Some(days), "{date}");
            assert_eq!(Date::from_epoch_days_hybrid(days), date);
        }
    }

    #[test]
    fn texts_are_read_as_they_are_written() {
        for text in [
            "2024-02-29",
            "0000-00-00",
            "2024-02-00",
            "-0043-03-15",
            "123456-01-02",
            "infinity",
            "-infinity",
        ] {
            assert_eq!(text.parse::<Date>().map(|d| d.to_string()), Ok(text.into()));
        }
        for text in [
            "12:34:56",
            "00:00:00",
            "-838:59:59.999999",
            "838:59:59",
            "00:00:00.000001",
            "24:00:00",
            "-00:00:01",
        ] {
            assert_eq!(text.parse::<Time>().map(|t| t.to_string()), Ok(text.into()));
        }
        for text in [
            "2024-02-29 12:34:56.12",
            "0000-00-00 00:00:00",
            "infinity",
            "-infinity",
        ] {
            assert_eq!(
                text.parse::<DateTime>().map(|d| d.to_string()),
                Ok(text.into())
            );
        }
        for text in [
            "0 mons 0 days 00:00:00",
            "-10 mons 1 days -02:03:04.5",
            "1 mons -2 days 2562047788:00:54.775807",
        ] {
            assert_eq!(
                text.parse::<Interval>().map(|i| i.to_string()),
                Ok(text.into())
            );
        }
        let least = Interval::new(i32::MIN, i32::MIN, i64::MIN);
        assert_eq!(least.to_string().parse(), Ok(least));
        assert_eq!(
            "2024-02-29T12:34".parse(),
            Ok(DateTime::new(
                Date::new(2024, 2, 29),
                Time::new(12, 34, 0, 0)
            ))
        );
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2024",
            "2024-2",
            "24-02-03",
            "2024-13-01",
            "2024-01-32",
            "2024-01-01-01",
            "2024-01-+1",
            "２０２４-01-01",
        ] {
            assert_eq!(text.parse::<Date>(), Err(NotAMoment), "{text}");
        }
        for text in [
            "",
            "12",
            "12:60",
            "12:34:60",
            "12:34:56:78",
            "12:34:56.",
            "12:34:56.1234567890",
            "--1:00",
            "9999999:00",
            "12345678:00",
        ] {
            assert_eq!(text.parse::<Time>(), Err(NotAMoment), "{text}");
        }
        for text in ["2024-02-29", "2024-02-29 ", " 12:00", "12:00"] {
            assert_eq!(text.parse::<DateTime>(), Err(NotAMoment), "{text}");
        }
        for text in [
            "",
            "1 mons",
            "1 mons 2 days",
            "1 mons 2 days 3",
            "1 days 2 mons 03:04:05",
            "1 mons 2 days 2562047788:00:54.775808",
        ] {
            assert_eq!(text.parse::<Interval>(), Err(NotAMoment), "{text}");
        }
    }

    #[test]
    fn instants_are_seconds_with_nanoseconds() {
        let moment = DateTime::from_epoch(-1, 999_999_999);
        assert_eq!(moment.to_string(), "1969-12-31 23:59:59.999999999");
        assert_eq!(moment.to_epoch(), Some((-1, 999_999_999)));
        let old = DateTime::from_epoch_hybrid(-62_135_769_600, 0);
        assert_eq!(old.to_string(), "0001-01-01 00:00:00");
        assert_eq!(old.to_epoch_hybrid(), Some((-62_135_769_600, 0)));
        let long = DateTime::new(Date::new(2024, 1, 1), Time::new(24, 0, 0, 0));
        assert_eq!(long.to_epoch(), None);
    }
}
