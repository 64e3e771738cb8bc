//! Tokens: where they begin and end.

use super::super::lexer::{Kind, tokens};
use super::super::{Dialect, TableName};
use super::ALL;
use Dialect::{MySql, Postgres, Sqlite};

/// The tokens that are not space, each with a letter for its kind.
fn lexed(sql: &str, dialect: Dialect) -> Vec<(char, &str)> {
    let tokens = tokens(sql, dialect).unwrap_or_else(|refused| panic!("{sql}: {refused}"));
    let joined: String = tokens.iter().map(|t| &sql[t.start..t.end]).collect();
    assert_eq!(joined, sql, "the tokens are the statement");
    let letter = |kind| match kind {
        Kind::Space => ' ',
        Kind::Comment => 'c',
        Kind::Word => 'w',
        Kind::Quoted => 'q',
        Kind::Text => 't',
        Kind::Number => 'n',
        Kind::Parameter => 'p',
        Kind::Symbol => 's',
    };
    let pairs = tokens
        .iter()
        .map(|t| (letter(t.kind), &sql[t.start..t.end]));
    pairs.filter(|(kind, _)| *kind != ' ').collect()
}

#[test]
fn literals_are_read_by_the_rules_of_their_database() {
    for (dialect, sql, expected) in CASES {
        assert_eq!(&lexed(sql, *dialect), expected, "{dialect:?}: {sql}");
    }
}

#[test]
fn what_has_no_end_is_refused() {
    for dialect in ALL {
        for sql in ["'a", "/* a", "\"a", "a\0b"] {
            assert!(tokens(sql, dialect).is_err(), "{dialect:?}: {sql}");
        }
    }
    assert!(tokens("`a", Dialect::MySql).is_err());
    assert!(tokens("'a\\", Dialect::MySql).is_err());
    assert!(tokens("$a$ $b$", Dialect::Postgres).is_err());
    assert!(tokens("[a", Dialect::Sqlite).is_err());
}

#[test]
fn comments_that_servers_execute_are_refused() {
    for sql in [
        "SELECT 1 /*! , 2 */",
        "SELECT 1 /*!50000 , 2 */",
        "SELECT 1 /*M! , 2 */",
    ] {
        let refused = tokens(sql, Dialect::MySql).expect_err("it is executed");
        assert!(refused.reason.contains("execute"), "{refused}");
        assert!(tokens(sql, Dialect::Postgres).is_ok());
    }
}

#[test]
fn names_lose_their_quotes() {
    let cases = [
        (Dialect::MySql, "`a``b` . `Order`", Some("a`b"), "Order"),
        (Dialect::MySql, "Stock", None, "Stock"),
        (
            Dialect::Postgres,
            "Public.\"a\"\"b\"",
            Some("Public"),
            "a\"b",
        ),
        (Dialect::Sqlite, "main.[a \"b]", Some("main"), "a \"b"),
        (Dialect::Sqlite, "`x`.\"y\"", Some("x"), "y"),
    ];
    for (dialect, text, schema, name) in cases {
        let table = TableName::parse(text, dialect).expect("a table");
        assert_eq!(table.schema.map(|s| s.value).as_deref(), schema, "{text}");
        assert_eq!(table.name.value, name, "{text}");
        assert_eq!(table.text, text);
    }
    for text in ["", "a b", "a.b.c", "1", "'a'", "U&\"a\"", "a;b", "a --"] {
        let read = TableName::parse(text, Dialect::Postgres);
        assert_eq!(read.is_ok(), text == "a --", "{text}");
    }
}

#[test]
fn postgres_folds_names_without_quotes() {
    let table = TableName::parse("Sch.\"Tab\"", Dialect::Postgres).expect("a table");
    assert_eq!(
        table.schema.expect("a schema").folded(Dialect::Postgres),
        "sch"
    );
    assert_eq!(table.name.folded(Dialect::Postgres), "Tab");
    let table = TableName::parse("Tab", Dialect::MySql).expect("a table");
    assert_eq!(table.name.folded(Dialect::MySql), "Tab");
}

type Case = (Dialect, &'static str, &'static [(char, &'static str)]);

const CASES: &[Case] = &[
    (MySql, r"'it\'s ?'", &[('t', r"'it\'s ?'")]),
    (MySql, r#""a\"b?" ?"#, &[('t', r#""a\"b?""#), ('p', "?")]),
    (MySql, "'a''?'?", &[('t', "'a''?'"), ('p', "?")]),
    (MySql, "`a``?`?", &[('q', "`a``?`"), ('p', "?")]),
    (
        MySql,
        "N'a' x'ff' B'01'",
        &[('t', "N'a'"), ('t', "x'ff'"), ('t', "B'01'")],
    ),
    (
        MySql,
        "0xFF 1e5 .5 1.5e-3",
        &[('n', "0xFF"), ('n', "1e5"), ('n', ".5"), ('n', "1.5e-3")],
    ),
    (MySql, "1st 2a", &[('w', "1st"), ('w', "2a")]),
    (
        MySql,
        "$a _b c$d",
        &[('w', "$a"), ('w', "_b"), ('w', "c$d")],
    ),
    (
        MySql,
        "5--3",
        &[('n', "5"), ('s', "-"), ('s', "-"), ('n', "3")],
    ),
    (
        MySql,
        "5 -- ? \n?",
        &[('n', "5"), ('c', "-- ? "), ('p', "?")],
    ),
    (
        MySql,
        "5 # ' ?\n?",
        &[('n', "5"), ('c', "# ' ?"), ('p', "?")],
    ),
    (MySql, "/* ? /* */ ?", &[('c', "/* ? /* */"), ('p', "?")]),
    (
        MySql,
        "/*+ NO_INDEX(t) */ ?",
        &[('c', "/*+ NO_INDEX(t) */"), ('p', "?")],
    ),
    (Postgres, r"'a\' $1", &[('t', r"'a\'"), ('p', "$1")]),
    (Postgres, r"E'a\'$1' $2", &[('t', r"E'a\'$1'"), ('p', "$2")]),
    (
        Postgres,
        "'a'\n  'b$1' $2",
        &[('t', "'a'\n  'b$1'"), ('p', "$2")],
    ),
    (
        Postgres,
        "E'a' -- c\n'\\'$1' $2",
        &[('t', "E'a' -- c\n'\\'$1'"), ('p', "$2")],
    ),
    (Postgres, "'a' 'b'", &[('t', "'a'"), ('t', "'b'")]),
    (
        Postgres,
        "$$ $1 ' $$ $2",
        &[('t', "$$ $1 ' $$"), ('p', "$2")],
    ),
    (
        Postgres,
        "$q$ $$ $1 $q$ $2",
        &[('t', "$q$ $$ $1 $q$"), ('p', "$2")],
    ),
    (Postgres, "a$1$2", &[('w', "a$1$2")]),
    (
        Postgres,
        "U&'\\0041' U&\"a\"",
        &[('t', "U&'\\0041'"), ('q', "U&\"a\"")],
    ),
    (
        Postgres,
        "/* /* $1 */ $2 */ $3",
        &[('c', "/* /* $1 */ $2 */"), ('p', "$3")],
    ),
    (Postgres, "--$1\r$2", &[('c', "--$1"), ('p', "$2")]),
    (Postgres, "a ? b", &[('w', "a"), ('s', "?"), ('w', "b")]),
    (Postgres, "\"a\"\"$1\"", &[('q', "\"a\"\"$1\"")]),
    (Sqlite, r"'a\' ?1", &[('t', r"'a\'"), ('p', "?1")]),
    (
        Sqlite,
        "[a?] `b` \"c\" ?",
        &[('q', "[a?]"), ('q', "`b`"), ('q', "\"c\""), ('p', "?")],
    ),
    (Sqlite, ":a @b $c", &[('p', ":a"), ('p', "@b"), ('p', "$c")]),
    (Sqlite, "x'00' ?", &[('t', "x'00'"), ('p', "?")]),
    (Sqlite, "--?\n?", &[('c', "--?"), ('p', "?")]),
];
