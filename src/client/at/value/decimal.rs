//! Exact decimal numbers with their scale: as many digits as the database has.

use std::fmt;
use std::str::FromStr;

/// A decimal number with its scale: 1.50 and 1.5 are two. PostgreSQL's NaN and infinities are among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    NotANumber,
    Infinity {
        negative: bool,
    },
    Finite {
        /// Never with zero.
        negative: bool,
        /// Decimal digits without leading zeros; zero is `0`.
        digits: String,
        /// Digits after the point; below zero, zeros in front of it that are not written out.
        scale: i32,
    },
}

impl Decimal {
    /// The number `digits · 10^-scale`. None when `digits` is empty or holds anything but decimal digits after an optional `-`,
    /// or the scale is beyond [`SCALE_MAX`] or below its negative.
    pub fn from_unscaled(digits: &str, scale: i32) -> Option<Decimal> {
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, digits),
        };
        if digits.is_empty()
            || !digits.bytes().all(|b| b.is_ascii_digit())
            || !(-SCALE_MAX..=SCALE_MAX).contains(&scale)
        {
            return None;
        }
        let digits = match digits.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        Some(Decimal(Repr::Finite {
            negative: negative && digits != "0",
            digits: digits.to_owned(),
            scale,
        }))
    }

    /// Digits after the point; None for what is no number.
    pub fn scale(&self) -> Option<i32> {
        match &self.0 {
            Repr::Finite { scale, .. } => Some(*scale),
            _ => None,
        }
    }

    /// NaN or an infinity as a floating-point number; None for numbers.
    pub fn to_special(&self) -> Option<f64> {
        match &self.0 {
            Repr::NotANumber => Some(f64::NAN),
            Repr::Infinity { negative: false } => Some(f64::INFINITY),
            Repr::Infinity { negative: true } => Some(f64::NEG_INFINITY),
            Repr::Finite { .. } => None,
        }
    }

    /// As Java's `BigDecimal.toString` writes it: plain, but with an exponent below 10⁻⁶ and for scales below zero.
    pub fn java_text(&self) -> String {
        let Repr::Finite {
            negative,
            digits,
            scale,
        } = &self.0
        else {
            return self.to_string();
        };
        let exponent = digits.len() as i64 - 1 - i64::from(*scale);
        if *scale >= 0 && exponent >= -6 {
            return self.to_string();
        }
        let sign = if *negative { "-" } else { "" };
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{point}{rest}E{exponent:+}")
    }
}

/// Plain, without an exponent: what every database reads.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, digits, scale) = match &self.0 {
            Repr::NotANumber => return f.write_str("NaN"),
            Repr::Infinity { negative: false } => return f.write_str("Infinity"),
            Repr::Infinity { negative: true } => return f.write_str("-Infinity"),
            Repr::Finite {
                negative,
                digits,
                scale,
            } => (*negative, digits, *scale),
        };
        if negative {
            f.write_str("-")?;
        }
        if scale <= 0 {
            f.write_str(digits)?;
            let zeros = if digits == "0" {
                0
            } else {
                scale.unsigned_abs()
            };
            return (0..zeros).try_for_each(|_| f.write_str("0"));
        }
        let scale = scale as usize;
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            return write!(f, "{whole}.{fraction}");
        }
        f.write_str("0.")?;
        (digits.len()..scale).try_for_each(|_| f.write_str("0"))?;
        f.write_str(digits)
    }
}

/// Reads plain and scientific notation, `NaN`, `Infinity` and `-Infinity`. The scale is that of the text, as Java's `BigDecimal`
/// has it: `1.50` has 2, `1E+3` has -3.
impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "NaN" => return Ok(Decimal(Repr::NotANumber)),
            "Infinity" => return Ok(Decimal(Repr::Infinity { negative: false })),
            "-Infinity" => return Ok(Decimal(Repr::Infinity { negative: true })),
            _ => {}
        }
        parse(text).ok_or(NotADecimal)
    }
}

fn parse(text: &str) -> Option<Decimal> {
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    // A sign inside the fraction is none of the digits, so it is found below.
    if whole.trim_start_matches('-').is_empty() && fraction.is_empty() {
        return None;
    }
    Decimal::from_unscaled(&format!("{whole}{fraction}"), scale)
}

/// The text is no decimal number, or its exponent is beyond [`SCALE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADecimal;

impl fmt::Display for NotADecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a decimal number, or one with too large an exponent")
    }
}

impl std::error::Error for NotADecimal {}

/// The largest scale; PostgreSQL's `numeric` has at most 16,383 digits after the point and 131,072 in front of it. It bounds what a
/// small text can write out to.
pub const SCALE_MAX: i32 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn the_text_keeps_its_digits() {
        for text in [
            "0",
            "1",
            "-1",
            "1.50",
            "0.00",
            "-12345678.90",
            "100000000000000000000",
            "0.000000000000000000000000000001",
            "-123456789012345678901234567890.10",
            "0.0000000000",
            "NaN",
            "Infinity",
            "-Infinity",
        ] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("1E+3").to_string(), "1000");
        assert_eq!(decimal("0E+3").to_string(), "0");
        assert_eq!(decimal("-0.0").to_string(), "0.0");
        assert_eq!(decimal("007.5").to_string(), "7.5");
        assert_eq!(decimal(".5").to_string(), "0.5");
        assert_eq!(decimal("5.").to_string(), "5");
    }

    #[test]
    fn java_writes_an_exponent_below_a_millionth() {
        for (text, java) in [
            ("1.50", "1.50"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1E-7"),
            ("0.00000012", "1.2E-7"),
            ("0.000000000000000000000000000001", "1E-30"),
            ("0.0000000000", "0E-10"),
            ("0.000000", "0.000000"),
            ("-0.00000015", "-1.5E-7"),
            ("1E+3", "1E+3"),
            ("12E+3", "1.2E+4"),
            ("0E+3", "0E+3"),
            ("100000000000000000000", "100000000000000000000"),
        ] {
            assert_eq!(decimal(text).java_text(), java, "{text}");
            assert_eq!(decimal(java), decimal(text), "{text}");
        }
    }

    #[test]
    fn the_scale_tells_numbers_apart() {
        assert_ne!(decimal("1.50"), decimal("1.5"));
        assert_ne!(decimal("1E+3"), decimal("1000"));
        assert_eq!(
            decimal("1.50"),
            Decimal::from_unscaled("150", 2).expect("a number")
        );
        assert_eq!(decimal("-0"), decimal("0"));
        assert_eq!(decimal("1.50").scale(), Some(2));
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "1.2.3",
            "1-2",
            "1.-2",
            "abc",
            "1e",
            "1e99999999999",
            "1e-999999",
            "1E+300000",
            "0x10",
            " 1",
            "--1",
            "nan",
        ] {
            assert_eq!(text.parse::<Decimal>(), Err(NotADecimal), "{text}");
        }
    }
}
