//! Reading JSON text.

use std::fmt;

use super::{Json, Members};

/// Why a text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Malformed {
    what: &'static str,
    at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no JSON: {} at byte {}", self.what, self.at)
    }
}

/// Reads one value and nothing after it.
pub(super) fn parse(text: &str) -> Result<Json, Malformed> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let value = parser.value()?;
    parser.skip_blanks();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.malformed("something after the value")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn value(&mut self) -> Result<Json, Malformed> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.malformed("no value")),
            None => Err(self.malformed("the end where a value should be")),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Json, Malformed>,
    ) -> Result<Json, Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(self.malformed("nested too deep"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Json, Malformed> {
        let mut members = Members::new();
        if self.takes(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.malformed("no name of a member"));
            }
            let key = self.string()?;
            if !self.takes(b':') {
                return Err(self.malformed("no colon after a name"));
            }
            members.push((key, self.value()?));
            if self.takes(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.takes(b',') {
                return Err(self.malformed("neither comma nor end of an object"));
            }
        }
    }

    fn array(&mut self) -> Result<Json, Malformed> {
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.takes(b']') {
                return Ok(Json::Array(items));
            }
            if !self.takes(b',') {
                return Err(self.malformed("neither comma nor end of an array"));
            }
        }
    }

    fn word(&mut self, word: &'static str, value: Json) -> Result<Json, Malformed> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.malformed("no value"))
    }

    fn number(&mut self) -> Result<Json, Malformed> {
        let start = self.at;
        let _ = self.takes_here(b'-');
        self.digits()?;
        if self.takes_here(b'.') {
            self.digits()?;
        }
        if self.takes_here(b'e') || self.takes_here(b'E') {
            let _ = self.takes_here(b'+') || self.takes_here(b'-');
            self.digits()?;
        }
        Ok(Json::Number(self.text[start..self.at].to_owned()))
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(()),
            false => Err(self.malformed("no digit in a number")),
        }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(plain) = rest.find(['"', '\\']) else {
                return Err(self.malformed("a string without end"));
            };
            text.push_str(&rest[..plain]);
            self.at += plain + 1;
            if rest.as_bytes()[plain] == b'"' {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<char, Malformed> {
        let byte = self.peek().unwrap_or_default();
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.escaped_character(),
            _ => {
                self.at -= 1;
                return Err(self.malformed("an unknown escape in a string"));
            }
        })
    }

    /// UTF-16 in hexadecimal. Half a pair becomes the replacement character: Java can hold one, Rust cannot.
    fn escaped_character(&mut self) -> Result<char, Malformed> {
        let unit = self.hex()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        if self.takes_here(b'\\') && self.takes_here(b'u') {
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = before;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|text| u32::from_str_radix(text, 16).ok()) {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => Err(self.malformed("no four hexadecimal digits in an escape")),
        }
    }

    /// Takes this byte if it comes next, blanks before it or not.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        self.takes_here(byte)
    }

    fn takes_here(&mut self, byte: u8) -> bool {
        let takes = self.peek() == Some(byte);
        self.at += usize::from(takes);
        takes
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }
}

/// More is no context but an attack on the stack.
const DEPTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        let text = r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx\ude00""#;
        let read = "\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x\u{fffd}";
        assert_eq!(parse(text), Ok(Json::Text(read.to_owned())));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, what, at) in [
            ("", "the end where a value should be", 0),
            ("{", "no name of a member", 1),
            (r#"{"a"}"#, "no colon after a name", 4),
            (r#"{"a":1"#, "neither comma nor end of an object", 6),
            ("[1 2]", "neither comma nor end of an array", 3),
            ("[1] x", "something after the value", 4),
            ("-", "no digit in a number", 1),
            ("1.e5", "no digit in a number", 2),
            ("nul", "no value", 0),
            ("\"abc", "a string without end", 1),
            (r#""\x""#, "an unknown escape in a string", 2),
            (r#""\u12g4""#, "no four hexadecimal digits in an escape", 3),
            (r#""\u你""#, "no four hexadecimal digits in an escape", 3),
        ] {
            assert_eq!(parse(text), Err(Malformed { what, at }), "{text}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        let error = parse(&nested(DEPTH_MAX + 1)).expect_err("too deep");
        assert_eq!(error.what, "nested too deep");
    }
}
