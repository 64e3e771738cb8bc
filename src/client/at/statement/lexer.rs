//! Where the tokens of a statement begin and end, by the rules of each database.
//!
//! Every byte belongs to exactly one token, so the tokens put together are the statement. Clauses are cut out of the
//! statement at these positions, and a `?` inside a literal or a comment is none. Read as with the databases' own settings:
//! MySQL without `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`, PostgreSQL with `standard_conforming_strings`.

use super::Dialect;
use super::refused::Refused;

/// A piece of the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// The first byte.
    pub(super) start: usize,
    /// The byte behind the last one.
    pub(super) end: usize,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Space,
    Comment,
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Quoted,
    /// A literal in quotes: text, bytes or bits.
    Text,
    Number,
    Parameter,
    /// One character of an operator or of punctuation.
    Symbol,
}

/// All tokens of a statement.
pub(super) fn tokens(sql: &str, dialect: Dialect) -> Result<Vec<Token>, Refused> {
    let mut lexer = Lexer {
        bytes: sql.as_bytes(),
        at: 0,
        dialect,
    };
    let mut tokens = Vec::with_capacity(sql.len() / 4);
    while lexer.at < lexer.bytes.len() {
        let start = lexer.at;
        let kind = lexer.advance()?;
        let end = lexer.at;
        assert!(end > start, "a token has at least one byte");
        tokens.push(Token { kind, start, end });
    }
    Ok(tokens)
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl Lexer<'_> {
    /// Goes behind the token that begins here, and says what it is.
    fn advance(&mut self) -> Result<Kind, Refused> {
        let dialect = self.dialect;
        match self.byte(0) {
            0 => Err(Refused::unread("the statement contains a NUL character")),
            byte if is_space(byte, dialect) => {
                self.skip(|byte| is_space(byte, dialect));
                Ok(Kind::Space)
            }
            b'-' if self.begins_line_comment() => self.line_comment(),
            b'#' if dialect == Dialect::MySql => self.line_comment(),
            b'/' if self.byte(1) == b'*' => self.block_comment(),
            b'\'' => self.text(dialect == Dialect::MySql),
            b'"' if dialect == Dialect::MySql => self.text(true),
            b'"' => self.quoted(b'"'),
            b'`' if dialect != Dialect::Postgres => self.quoted(b'`'),
            b'[' if dialect == Dialect::Sqlite => self.quoted(b']'),
            b'?' if dialect != Dialect::Postgres => {
                self.at += 1;
                if dialect == Dialect::Sqlite {
                    self.skip(|byte| byte.is_ascii_digit());
                }
                Ok(Kind::Parameter)
            }
            b'$' if dialect == Dialect::Postgres => self.dollar(),
            b'$' | b':' | b'@' | b'#'
                if dialect == Dialect::Sqlite && continues_word(self.byte(1), dialect) =>
            {
                self.at += 1;
                self.skip(|byte| continues_word(byte, dialect));
                Ok(Kind::Parameter)
            }
            b'.' if self.byte(1).is_ascii_digit() => Ok(self.number()),
            byte if byte.is_ascii_digit() => Ok(self.number()),
            byte if begins_word(byte, dialect) => self.word(),
            _ => {
                self.at += 1;
                Ok(Kind::Symbol)
            }
        }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip(&mut self, belongs: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|byte| belongs(*byte)) {
            self.at += 1;
        }
    }

    fn begins_line_comment(&self) -> bool {
        let behind = self.byte(2);
        // MySQL takes `5--3` for a subtraction.
        self.byte(1) == b'-' && (self.dialect != Dialect::MySql || behind <= b' ' || behind == 0x7f)
    }

    fn line_comment(&mut self) -> Result<Kind, Refused> {
        let dialect = self.dialect;
        self.skip(|byte| byte != b'\n' && (byte != b'\r' || dialect != Dialect::Postgres));
        Ok(Kind::Comment)
    }

    fn block_comment(&mut self) -> Result<Kind, Refused> {
        self.at += 2;
        if self.dialect == Dialect::MySql
            && (self.byte(0) == b'!' || (self.byte(0) == b'M' && self.byte(1) == b'!'))
        {
            return Err(Refused::new(
                "it has a comment that some servers execute (`/*! … */`)",
                "write what the comment says into the statement, or leave it out",
            ));
        }
        let mut depth = 1;
        while self.at < self.bytes.len() {
            if self.byte(0) == b'*' && self.byte(1) == b'/' {
                self.at += 2;
                depth -= 1;
                if depth == 0 {
                    return Ok(Kind::Comment);
                }
            } else if self.dialect == Dialect::Postgres
                && self.byte(0) == b'/'
                && self.byte(1) == b'*'
            {
                self.at += 2;
                depth += 1;
            } else {
                self.at += 1;
            }
        }
        Err(Refused::unread("a comment has no end"))
    }

    /// A literal in the quotes that stand here.
    fn text(&mut self, backslash: bool) -> Result<Kind, Refused> {
        let quote = self.byte(0);
        self.at += 1;
        while self.at < self.bytes.len() {
            let byte = self.byte(0);
            self.at += 1;
            let escapes = byte == b'\\' && backslash;
            if escapes || (byte == quote && self.byte(0) == quote) {
                self.at += 1;
            } else if byte == quote && !self.continues_text() {
                return Ok(Kind::Text);
            }
        }
        self.at = self.bytes.len();
        Err(Refused::unread("a literal has no closing quote"))
    }

    /// PostgreSQL reads `'a'`, a line break and `'b'` as one literal. Goes into the next part if there is one.
    fn continues_text(&mut self) -> bool {
        if self.dialect != Dialect::Postgres {
            return false;
        }
        let end = self.at;
        let mut line_break = false;
        while self.at < self.bytes.len() {
            match self.byte(0) {
                b'\'' if line_break => {
                    self.at += 1;
                    return true;
                }
                b'-' if self.byte(1) == b'-' => {
                    self.skip(|byte| byte != b'\n' && byte != b'\r');
                }
                byte if is_space(byte, Dialect::Postgres) => {
                    line_break |= byte == b'\n' || byte == b'\r';
                    self.at += 1;
                }
                _ => break,
            }
        }
        self.at = end;
        false
    }

    fn quoted(&mut self, close: u8) -> Result<Kind, Refused> {
        self.at += 1;
        while self.at < self.bytes.len() {
            let byte = self.byte(0);
            self.at += 1;
            if byte == close {
                if close == b']' || self.byte(0) != close {
                    return Ok(Kind::Quoted);
                }
                self.at += 1;
            }
        }
        Err(Refused::unread("a name has no closing quote"))
    }

    /// PostgreSQL: a parameter, or a literal between two equal tags.
    fn dollar(&mut self) -> Result<Kind, Refused> {
        let start = self.at;
        self.at += 1;
        if self.byte(0).is_ascii_digit() {
            self.skip(|byte| byte.is_ascii_digit());
            return Ok(Kind::Parameter);
        }
        if begins_word(self.byte(0), Dialect::Postgres) {
            self.skip(|byte| byte != b'$' && continues_word(byte, Dialect::Postgres));
        }
        if self.byte(0) != b'$' {
            self.at = start + 1;
            return Ok(Kind::Symbol);
        }
        self.at += 1;
        let tag = &self.bytes[start..self.at];
        let rest = &self.bytes[self.at..];
        match rest.windows(tag.len()).position(|window| window == tag) {
            Some(end) => {
                self.at += end + tag.len();
                Ok(Kind::Text)
            }
            None => Err(Refused::unread("a literal in dollar quotes has no end")),
        }
    }

    fn number(&mut self) -> Kind {
        let dialect = self.dialect;
        let start = self.at;
        if self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X' | b'b' | b'B' | b'o' | b'O') {
            self.skip(|byte| continues_word(byte, dialect));
            return Kind::Number;
        }
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        self.skip(is_digit);
        let whole = self.byte(0) != b'.';
        if !whole {
            self.at += 1;
            self.skip(is_digit);
        }
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if self.byte(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.skip(|byte| byte.is_ascii_digit());
            }
        }
        if continues_word(self.byte(0), dialect) {
            self.skip(|byte| continues_word(byte, dialect));
            // MySQL's names may begin with digits.
            let word = self.bytes[start..self.at].iter();
            if dialect == Dialect::MySql
                && whole
                && word.clone().all(|b| continues_word(*b, dialect))
            {
                return Kind::Word;
            }
        }
        Kind::Number
    }

    /// A word, or a literal or a name that a letter in front of the quote marks.
    fn word(&mut self) -> Result<Kind, Refused> {
        let first = self.byte(0).to_ascii_lowercase();
        let prefixes: &[u8] = match self.dialect {
            Dialect::MySql => b"nxb",
            Dialect::Postgres => b"nxbe",
            Dialect::Sqlite => b"x",
        };
        if self.byte(1) == b'\'' && prefixes.contains(&first) {
            self.at += 1;
            let backslash = match self.dialect {
                Dialect::MySql => true,
                Dialect::Postgres => first == b'e',
                Dialect::Sqlite => false,
            };
            return self.text(backslash);
        }
        if self.dialect == Dialect::Postgres && first == b'u' && self.byte(1) == b'&' {
            match self.byte(2) {
                b'\'' => {
                    self.at += 2;
                    return self.text(false);
                }
                b'"' => {
                    self.at += 2;
                    return self.quoted(b'"');
                }
                _ => {}
            }
        }
        let dialect = self.dialect;
        self.skip(|byte| continues_word(byte, dialect));
        Ok(Kind::Word)
    }
}

fn is_space(byte: u8, dialect: Dialect) -> bool {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0c => true,
        0x0b => dialect != Dialect::Sqlite,
        _ => false,
    }
}

fn begins_word(byte: u8, dialect: Dialect) -> bool {
    byte.is_ascii_alphabetic()
        || byte == b'_'
        || byte >= 0x80
        || (byte == b'$' && dialect == Dialect::MySql)
}

fn continues_word(byte: u8, dialect: Dialect) -> bool {
    begins_word(byte, dialect) || byte.is_ascii_digit() || byte == b'$'
}
