//! JSON as undo logs and the contexts of TCC need it: numbers keep their text, nesting and size are bounded, and what Java's
//! libraries add to it or leave out can be read.
//!
//! A general JSON reader turns `1.50` into a floating-point number. Whether serde_json does is a switch that any crate of the
//! host's build can turn, so neither depends on it.

#![cfg_attr(not(feature = "sql"), allow(dead_code))] // Undo logs need more of it than contexts.

use std::borrow::Cow;
use std::fmt;

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// RFC 8259.
    Json,
    /// The same, and what fastjson writes with class names: numbers with a letter behind them (`1L`), bytes (`x'01FF'`), and
    /// escapes like `\x01` and `\v`.
    Fastjson,
    /// Texts with control characters, halves of surrogate pairs, which become the replacement character since Java can hold one
    /// and Rust cannot, and numbers with zeros in front: what a context may hold that an application of any language wrote.
    Forgiving,
}

impl Grammar {
    /// Levels of nesting. An undo log of Java has 12, and an array of PostgreSQL at most 6 dimensions of two levels each; more
    /// than a context may have is no context but an attack on the stack.
    pub(super) fn depth_max(self) -> u32 {
        match self {
            Self::Json | Self::Fastjson => 64,
            Self::Forgiving => 128,
        }
    }
}

/// A value of a document, as long as its meaning is not known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// Fastjson's bytes.
    Bytes(Vec<u8>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// The member of an object.
    pub(super) fn member(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a number.
    pub(super) fn as_number(&self) -> Option<&'a str> {
        match self {
            Json::Number(number) => Some(number),
            _ => None,
        }
    }

    /// What is wrong with it, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a truth value",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::Bytes(_) => "bytes",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// Writes it again, without blanks.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        write(self, &mut out);
        f.write_str(&out)
    }
}

fn write(json: &Json<'_>, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) => out.push_str(number),
        Json::Text(text) => write_text(text, out),
        Json::Bytes(bytes) => {
            out.push_str("x'");
            for byte in bytes {
                for half in [byte >> 4, byte & 15] {
                    out.push(char::from(HEX[usize::from(half)]));
                }
            }
            out.push('\'');
        }
        Json::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(element, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Writes a text with its quotes, escaped as Jackson does: quote, backslash, control characters, and as two escapes each what
/// UTF-16 needs two units for.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut written = 0;
    for (at, character) in text.char_indices() {
        let escape = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\u{C}' => "\\f",
            '\r' => "\\r",
            '\0'..='\u{1F}' | '\u{1_0000}'.. => "",
            _ => continue,
        };
        out.push_str(&text[written..at]);
        written = at + character.len_utf8();
        out.push_str(escape);
        if escape.is_empty() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(char::from(HEX[usize::from(*unit >> shift & 15)]));
                }
            }
        }
    }
    out.push_str(&text[written..]);
    out.push('"');
}

/// Where a document is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The byte of the document.
    pub(super) at: usize,
    /// What is there, or should be.
    pub(super) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

/// Reads a document from its start: each method reads one value and stands behind it.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    grammar: Grammar,
    values_left: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, grammar: Grammar) -> Reader<'a> {
        Reader {
            text,
            at: 0,
            depth: 0,
            grammar,
            values_left: VALUES_MAX,
        }
    }

    /// Reads an object. `member` is called behind the colon of each member and has to read its value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.members(|reader, name| member(reader, &name))
    }

    /// Reads an object whose names may be kept.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.open(b'{', "an object")?;
        if !self.closes(b'}')? {
            loop {
                let name = self.string()?;
                self.expect(b':', "a colon")?;
                member(self, name)?;
                if self.closes(b'}')? {
                    break;
                }
                self.expect(b',', "a comma or the end of the object")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array. `element` is called before each element, with its number, and has to read it.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.open(b'[', "an array")?;
        if !self.closes(b']')? {
            for number in 0.. {
                element(self, number)?;
                if self.closes(b']')? {
                    break;
                }
                self.expect(b',', "a comma or the end of the array")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a text.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("a text was expected"));
        }
        self.count()?;
        self.at += 1;
        let start = self.at;
        let end = self.plain();
        if self.peek_raw() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let mut text = self.text[start..end].to_owned();
        loop {
            match self.peek_raw() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(_) => return Err(self.fault("a control character stands in a text")),
                None => return Err(self.fault("the document ends within a text")),
            }
            let start = self.at;
            let end = self.plain();
            text.push_str(&self.text[start..end]);
        }
    }

    /// Reads a number, as it is written.
    pub(super) fn number(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        self.count()?;
        let start = self.at;
        self.skip_byte(b'-');
        let whole = self.digits();
        let padded = whole > 1 && self.text[start..].trim_start_matches('-').starts_with('0');
        let mut fine = whole > 0 && (!padded || self.grammar == Grammar::Forgiving);
        if self.skip_byte(b'.') {
            fine &= self.digits() > 0;
        }
        if self.skip_byte(b'e') || self.skip_byte(b'E') {
            let _ = self.skip_byte(b'+') || self.skip_byte(b'-');
            fine &= self.digits() > 0;
        }
        if self.grammar == Grammar::Fastjson {
            let _ = matches!(self.peek_raw(), Some(b'L' | b'D' | b'F' | b'S' | b'B')) && {
                self.at += 1;
                true
            };
        }
        if fine {
            Ok(&self.text[start..self.at])
        } else {
            self.at = start;
            Err(self.fault("a number was expected"))
        }
    }

    /// Reads `null`, if it stands here.
    pub(super) fn null(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.word("null")?;
        Ok(true)
    }

    /// Reads `true` or `false`, if one of them stands here.
    pub(super) fn boolean(&mut self) -> Result<Option<bool>, Fault> {
        match self.peek() {
            Some(b't') => self.word("true").map(|()| Some(true)),
            Some(b'f') => self.word("false").map(|()| Some(false)),
            _ => Ok(None),
        }
    }

    /// Reads whatever stands here.
    pub(super) fn value(&mut self) -> Result<Json<'a>, Fault> {
        match self.peek() {
            Some(b'{') => {
                let mut members = Vec::new();
                self.members(|reader, name| {
                    members.push((name, reader.value()?));
                    Ok(())
                })?;
                Ok(Json::Object(members))
            }
            Some(b'[') => {
                let mut elements = Vec::new();
                self.array(|reader, _| {
                    elements.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Json::Array(elements))
            }
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'n') => self.word("null").map(|()| Json::Null),
            Some(b'x') if self.grammar == Grammar::Fastjson => self.bytes(),
            _ => match self.boolean()? {
                Some(flag) => Ok(Json::Bool(flag)),
                None => self.number().map(Json::Number),
            },
        }
    }

    /// Reads whatever stands here and forgets it.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip()),
            Some(b'[') => self.array(|reader, _| reader.skip()),
            _ => self.value().map(|_| ()),
        }
    }

    /// Nothing but blanks may be left.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("something stands behind the end of the document")),
        }
    }

    /// A fault at this place.
    pub(super) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            at: self.at,
            what: what.into(),
        }
    }

    /// The first byte of what stands here, behind blanks.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek_raw() {
            self.at += 1;
        }
        self.peek_raw()
    }

    /// `x'01FF'`.
    fn bytes(&mut self) -> Result<Json<'a>, Fault> {
        self.count()?;
        self.at += 1;
        let rest = &self.text[self.at..];
        let inner = rest
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''));
        let Some((hex, _)) = inner else {
            return Err(self.fault("bytes were expected"));
        };
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let bytes = hex.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let Some(bytes) = bytes.collect() else {
            return Err(self.fault("bytes are pairs of hexadecimal digits"));
        };
        self.at += hex.len() + 2;
        Ok(Json::Bytes(bytes))
    }

    fn open(&mut self, byte: u8, what: &str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(self.fault(format!("{what} was expected")));
        }
        self.count()?;
        let most = self.grammar.depth_max();
        if self.depth == most {
            return Err(self.fault(format!("nested deeper than {most} levels")));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn closes(&mut self, byte: u8) -> Result<bool, Fault> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Err(self.fault("the document ends too early")),
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Fault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.fault(format!("{what} was expected")))
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        self.count()?;
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.fault(format!("`{word}` was expected")))
    }

    /// Stands behind the characters of a text that stand for themselves, and says where they end.
    fn plain(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let raw = self.grammar == Grammar::Forgiving;
        let length = rest.iter().position(|byte| match byte {
            b'"' | b'\\' => true,
            0..=0x1F => !raw,
            _ => false,
        });
        self.at += length.unwrap_or(rest.len());
        self.at
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let byte = self
            .peek_raw()
            .ok_or_else(|| self.fault("the document ends within a text"))?;
        self.at += 1;
        let fastjson = self.grammar == Grammar::Fastjson;
        match byte {
            b'"' | b'\\' | b'/' => Ok(char::from(byte)),
            b'b' => Ok('\u{8}'),
            b't' => Ok('\t'),
            b'n' => Ok('\n'),
            b'f' => Ok('\u{C}'),
            b'r' => Ok('\r'),
            b'v' if fastjson => Ok('\u{B}'),
            b'\'' if fastjson => Ok('\''),
            b'0'..=b'7' if fastjson => Ok(char::from(byte - b'0')),
            b'x' if fastjson => self.code_unit(2).map(|unit| char::from(unit as u8)),
            b'u' => self.code_point(),
            _ => Err(self.fault("no such escape")),
        }
    }

    fn code_point(&mut self) -> Result<char, Fault> {
        let high = self.code_unit(4)?;
        let behind = self.at;
        let unit = match high {
            0xD800..=0xDBFF => {
                let low = if self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    self.code_unit(4)?
                } else {
                    0
                };
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return self.half_of_a_pair(behind);
                }
                0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)
            }
            unit => unit,
        };
        match char::from_u32(unit) {
            Some(character) => Ok(character),
            None => self.half_of_a_pair(behind),
        }
    }

    /// What stands behind the half, if anything, is read by itself.
    fn half_of_a_pair(&mut self, behind: usize) -> Result<char, Fault> {
        if self.grammar != Grammar::Forgiving {
            return Err(self.fault("half of a surrogate pair"));
        }
        self.at = behind;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn code_unit(&mut self, length: usize) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + length);
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.fault("hexadecimal digits were expected"))?;
        self.at += length;
        Ok(unit)
    }

    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        self.at += length;
        length
    }

    fn skip_byte(&mut self, byte: u8) -> bool {
        let found = self.peek_raw() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek_raw(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn count(&mut self) -> Result<(), Fault> {
        match self.values_left.checked_sub(1) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(self.fault(format!("more than {VALUES_MAX} values"))),
        }
    }
}

/// Values and names of a document, so that no document takes many times its length in memory; Java's have 13 for each column of a row.
pub(super) const VALUES_MAX: u32 = 16 << 20;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, grammar: Grammar) -> Result<String, String> {
        let mut reader = Reader::new(text, grammar);
        let value = reader.value().map_err(|fault| fault.to_string())?;
        reader.end().map_err(|fault| fault.to_string())?;
        let mut skipping = Reader::new(text, grammar);
        skipping.skip().expect("what can be read can be skipped");
        skipping.end().expect("all of it");
        Ok(value.to_string())
    }

    #[test]
    fn documents_are_written_as_they_were_read() {
        for text in [
            "null",
            "[true,false,null]",
            "[]",
            "{}",
            r#"{"a":{"b":[1.50,-0,1E-30,0E-10,-1.0E300,100000000000000000000]},"c":""}"#,
            r#""it's \"quoted\" \\ back\t\n\r\b\f\u0000\u001A 你好 \uD83D\uDE00""#,
        ] {
            assert_eq!(read(text, Grammar::Json).as_deref(), Ok(text));
        }
        assert_eq!(
            read(" [ 1 , 2 ]\r\n", Grammar::Json).as_deref(),
            Ok("[1,2]")
        );
        assert_eq!(
            read(r#""\u4f60😀\/""#, Grammar::Json).as_deref(),
            Ok(r#""你\uD83D\uDE00/""#)
        );
        assert_eq!(
            read("\"\u{7f}\u{2028}\"", Grammar::Json).as_deref(),
            Ok("\"\u{7f}\u{2028}\"")
        );
    }

    #[test]
    fn fastjson_adds_letters_and_bytes() {
        for text in ["[1L,2.5D,3.5F,1S,1B,-1L]", "x'01FF'", "x''"] {
            assert_eq!(read(text, Grammar::Fastjson).as_deref(), Ok(text));
            assert!(read(text, Grammar::Json).is_err(), "{text}");
        }
        assert_eq!(
            read(r#""\x1F\v\0\'""#, Grammar::Fastjson).as_deref(),
            Ok(r#""\u001F\u000B\u0000'""#)
        );
        for text in ["x'0'", "x'0g'", "x'01", "x", "1X"] {
            assert!(read(text, Grammar::Fastjson).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_context_may_hold_is_forgiven() {
        for (text, written) in [
            ("\"a\nb\"", r#""a\nb""#),
            (r#""\ud83dx\ude00""#, "\"\u{fffd}x\u{fffd}\""),
            (r#""\ud83d\u0041""#, "\"\u{fffd}A\""),
            ("[007,-01.5]", "[007,-01.5]"),
        ] {
            assert_eq!(read(text, Grammar::Forgiving).as_deref(), Ok(written));
            assert!(read(text, Grammar::Json).is_err(), "{text}");
        }
        for text in ["1L", "x'01'", r#""\x1F""#, r#""\ud83d\uzz""#, "[1,]"] {
            assert!(read(text, Grammar::Forgiving).is_err(), "{text}");
        }
    }

    #[test]
    fn a_fault_says_where() {
        for (text, fault) in [
            ("", "byte 0: a number was expected"),
            ("[1,]", "byte 3: a number was expected"),
            (
                "[1 2]",
                "byte 3: a comma or the end of the array was expected",
            ),
            ("[1", "byte 2: the document ends too early"),
            ("{\"a\"}", "byte 4: a colon was expected"),
            ("{a:1}", "byte 1: a text was expected"),
            ("{\"a\":1,}", "byte 7: a text was expected"),
            ("nul", "byte 0: `null` was expected"),
            ("01", "byte 0: a number was expected"),
            ("-", "byte 0: a number was expected"),
            ("1.", "byte 0: a number was expected"),
            ("1e", "byte 0: a number was expected"),
            (
                "1 2",
                "byte 2: something stands behind the end of the document",
            ),
            ("\"a", "byte 2: the document ends within a text"),
            ("\"a\nb\"", "byte 2: a control character stands in a text"),
            ("\"\\q\"", "byte 3: no such escape"),
            ("\"\\u12\"", "byte 3: hexadecimal digits were expected"),
            ("\"\\u+123\"", "byte 3: hexadecimal digits were expected"),
            ("\"\\ud83d\"", "byte 7: half of a surrogate pair"),
            ("\"\\ude00\"", "byte 7: half of a surrogate pair"),
        ] {
            assert_eq!(read(text, Grammar::Json), Err(fault.into()), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (grammar, most) in [(Grammar::Json, 64), (Grammar::Forgiving, 128)] {
            assert!(read(&deep(most), grammar).is_ok());
            let fault = read(&deep(100_000), grammar).expect_err("too deep");
            assert_eq!(
                fault,
                format!("byte {most}: nested deeper than {most} levels")
            );
        }
    }
}
