//! A statement with the positions of its tokens, and a reader that goes through them.

use super::Dialect;
use super::lexer::{self, Kind};
use super::name::{Name, TableName};
use super::refused::Refused;

/// The text of one statement, cut into tokens.
#[derive(Clone, Debug)]
pub(super) struct Source {
    sql: Box<str>,
    dialect: Dialect,
    /// Without space, comments and the semicolons at the end.
    tokens: Vec<Token>,
    /// How many values the statement needs.
    parameters: usize,
}

/// A token that means something.
#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
    /// Of an opening bracket: the token that closes it. Of a parameter: its position in the list, from 0. Else 0.
    partner: usize,
}

/// Tokens that follow each other: from the first, to the one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Span {
    pub(super) fn is_empty(self) -> bool {
        self.from >= self.to
    }
}

/// A part of a span: text as it was written, or a parameter by its position in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Parameter(usize),
}

impl Source {
    pub(super) fn read(sql: &str, dialect: Dialect) -> Result<Self, Refused> {
        let mut numbering = Numbering::new(dialect);
        let mut tokens: Vec<Token> = Vec::new();
        let mut open: Vec<(u8, usize)> = Vec::new();
        for token in lexer::tokens(sql, dialect)? {
            let (kind, start, end) = (token.kind, token.start, token.end);
            let mut partner = 0;
            match (kind, sql.as_bytes()[start]) {
                (Kind::Space | Kind::Comment, _) => continue,
                (Kind::Parameter, _) => partner = numbering.position(&sql[start..end])?,
                (Kind::Symbol, byte @ (b'(' | b'[')) => open.push((byte, tokens.len())),
                (Kind::Symbol, byte @ (b')' | b']')) => {
                    let pair = if byte == b')' { b'(' } else { b'[' };
                    match open.pop() {
                        Some((opened, at)) if opened == pair => tokens[at].partner = tokens.len(),
                        _ => return Err(Refused::unread("a bracket is closed that is not open")),
                    }
                }
                _ => {}
            }
            tokens.push(Token {
                kind,
                start,
                end,
                partner,
            });
        }
        if !open.is_empty() {
            return Err(Refused::unread("a bracket is not closed"));
        }
        let is_end = |token: &Token| sql.as_bytes()[token.start] == b';';
        while tokens.last().is_some_and(is_end) {
            tokens.pop();
        }
        if tokens.iter().any(is_end) {
            return Err(Refused::new(
                "there are several statements in one text",
                "run them one by one",
            ));
        }
        Ok(Self {
            sql: sql.into(),
            dialect,
            tokens,
            parameters: numbering.highest,
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How many values have to be bound.
    pub(super) fn parameters(&self) -> usize {
        self.parameters
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn all(&self) -> Span {
        Span {
            from: 0,
            to: self.tokens.len(),
        }
    }

    /// The statement without what stands behind its last token.
    pub(super) fn trimmed(&self) -> &str {
        match self.tokens.last() {
            Some(last) => &self.sql[..last.end],
            None => "",
        }
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    /// The token as it was written; empty behind the end.
    pub(super) fn token(&self, at: usize) -> &str {
        match self.tokens.get(at) {
            Some(token) => &self.sql[token.start..token.end],
            None => "",
        }
    }

    /// Whether this is the keyword. What follows a dot is a name.
    pub(super) fn is_word(&self, at: usize, word: &str) -> bool {
        self.kind(at) == Some(Kind::Word)
            && self.token(at).eq_ignore_ascii_case(word)
            && (at == 0 || !self.is_symbol(at - 1, '.'))
    }

    pub(super) fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(at, word))
    }

    pub(super) fn is_symbol(&self, at: usize, symbol: char) -> bool {
        self.kind(at) == Some(Kind::Symbol) && self.token(at).starts_with(symbol)
    }

    /// The token behind the bracket that opens here; the next token where none does.
    pub(super) fn behind(&self, at: usize) -> usize {
        let opens = self.is_symbol(at, '(') || self.is_symbol(at, '[');
        match self.tokens.get(at) {
            Some(token) if opens => token.partner + 1,
            _ => at + 1,
        }
    }

    /// The text of these tokens, with what stands between them.
    pub(super) fn text(&self, span: Span) -> &str {
        if span.is_empty() {
            return "";
        }
        &self.sql[self.tokens[span.from].start..self.tokens[span.to - 1].end]
    }

    /// The text of these tokens, cut at the parameters.
    pub(super) fn parts(&self, span: Span) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let Some(first) = self.tokens.get(span.from).filter(|_| !span.is_empty()) else {
            return parts;
        };
        let mut at = first.start;
        for token in &self.tokens[span.from..span.to] {
            if token.kind == Kind::Parameter {
                if token.start > at {
                    parts.push(Part::Text(&self.sql[at..token.start]));
                }
                parts.push(Part::Parameter(token.partner));
                at = token.end;
            }
        }
        let end = self.tokens[span.to - 1].end;
        if end > at {
            parts.push(Part::Text(&self.sql[at..end]));
        }
        parts
    }

    /// The position in the list of the first parameter in there.
    pub(super) fn first_parameter(&self, span: Span) -> Option<usize> {
        let tokens = self.tokens.get(span.from..span.to)?;
        let parameter = tokens.iter().find(|token| token.kind == Kind::Parameter)?;
        Some(parameter.partner)
    }

    /// The pieces between the commas that stand in no bracket.
    pub(super) fn split(&self, span: Span) -> Vec<Span> {
        let mut pieces = Vec::new();
        let mut from = span.from;
        let mut at = span.from;
        while at < span.to {
            if self.is_symbol(at, ',') {
                pieces.push(Span { from, to: at });
                from = at + 1;
            }
            at = self.behind(at);
        }
        pieces.push(Span { from, to: span.to });
        pieces
    }

    /// The name at this token, if it is one.
    pub(super) fn name(&self, at: usize) -> Option<Name> {
        match self.kind(at)? {
            Kind::Word => Some(Name::plain(self.token(at))),
            Kind::Quoted => Name::unquoted(self.token(at)),
            _ => None,
        }
    }
}

/// Goes through the tokens of a statement.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    source: &'a Source,
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self::within(source, source.all())
    }

    pub(super) fn within(source: &'a Source, span: Span) -> Self {
        Self {
            source,
            at: span.from,
            end: span.to,
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    pub(super) fn is_end(&self) -> bool {
        self.at >= self.end
    }

    pub(super) fn is(&self, word: &str) -> bool {
        !self.is_end() && self.source.is_word(self.at, word)
    }

    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    pub(super) fn is_symbol(&self, symbol: char) -> bool {
        !self.is_end() && self.source.is_symbol(self.at, symbol)
    }

    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    /// Accepts all these words, or none.
    pub(super) fn accept_all(&mut self, words: &[&str]) -> bool {
        let mut ahead = self.clone();
        let found = words.iter().all(|word| ahead.accept(word));
        if found {
            *self = ahead;
        }
        found
    }

    pub(super) fn accept_symbol(&mut self, symbol: char) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), Refused> {
        if self.accept(word) {
            return Ok(());
        }
        Err(self.unexpected(word))
    }

    pub(super) fn expect_end(&self) -> Result<(), Refused> {
        if self.is_end() {
            return Ok(());
        }
        Err(self.unexpected("the end of the statement"))
    }

    pub(super) fn unexpected(&self, expected: &str) -> Refused {
        let found = if self.is_end() {
            "the end of the statement"
        } else {
            self.source.token(self.at)
        };
        Refused::unread(format!("where {expected} was expected there is {found}"))
    }

    /// What is inside the round brackets that open here.
    pub(super) fn group(&mut self) -> Option<Span> {
        if !self.is_symbol('(') {
            return None;
        }
        let behind = self.source.behind(self.at);
        let span = Span {
            from: self.at + 1,
            to: behind - 1,
        };
        self.at = behind;
        Some(span)
    }

    /// All up to one of these words that stands in no bracket, or to the end.
    pub(super) fn clause(&mut self, ends: &[&str]) -> Span {
        let from = self.at;
        while !self.is_end() && !self.ends_clause(ends) {
            self.at = self.source.behind(self.at);
        }
        Span { from, to: self.at }
    }

    fn ends_clause(&self, ends: &[&str]) -> bool {
        // `a IS DISTINCT FROM b` is an expression.
        let operator =
            self.is("FROM") && self.at > 0 && self.source.is_word(self.at - 1, "DISTINCT");
        self.is_any(ends) && !operator
    }

    /// Steps over a token, or over a bracket with all that is in it.
    pub(super) fn step(&mut self) {
        self.at = self.source.behind(self.at);
    }

    pub(super) fn name(&mut self) -> Option<Name> {
        let name = self.source.name(self.at).filter(|_| !self.is_end())?;
        self.at += 1;
        Some(name)
    }

    /// Names with dots between them.
    pub(super) fn path(&mut self) -> Option<Vec<Name>> {
        let mut path = vec![self.name()?];
        while self.is_symbol('.') {
            self.at += 1;
            path.push(self.name()?);
        }
        Some(path)
    }

    pub(super) fn table(&mut self) -> Result<TableName, Refused> {
        let from = self.at;
        let Some(mut path) = self.path() else {
            return Err(self.unexpected("the name of a table"));
        };
        let text = self.source.text(Span { from, to: self.at }).to_owned();
        let name = path.pop();
        let schema = path.pop();
        match name {
            Some(name) if path.is_empty() => Ok(TableName { schema, name, text }),
            _ => Err(Refused::new(
                format!("the name {text} has too many parts"),
                "name the table alone or with its schema",
            )),
        }
    }
}

/// Which value each parameter stands for.
struct Numbering {
    dialect: Dialect,
    highest: usize,
    style: Option<Style>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Counted,
    Numbered,
}

impl Numbering {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            highest: 0,
            style: None,
        }
    }

    /// The position in the list of the values, from 0.
    fn position(&mut self, token: &str) -> Result<usize, Refused> {
        let style = match token {
            "?" => Style::Counted,
            _ => Style::Numbered,
        };
        if *self.style.get_or_insert(style) != style {
            return Err(Refused::new(
                "it mixes parameters with and without a number",
                "use `?` for all parameters, or numbers for all",
            ));
        }
        let number = match style {
            Style::Counted => self.highest + 1,
            Style::Numbered => self.number(token)?,
        };
        self.highest = self.highest.max(number);
        Ok(number - 1)
    }

    fn number(&self, token: &str) -> Result<usize, Refused> {
        let digits = token.trim_start_matches(['?', '$']);
        // No database takes more parameters than this.
        let number = digits
            .parse()
            .ok()
            .filter(|number| (1..=65_535).contains(number));
        number.ok_or_else(|| {
            let what_to_do = match self.dialect {
                Dialect::Postgres => "number parameters from `$1` on",
                _ => "use `?`, or numbers from `?1` on",
            };
            Refused::new(format!("the parameter {token} cannot be bound"), what_to_do)
        })
    }
}
