//! Any tokens in any order: nothing panics, and the tokens are the statement.

use proptest::prelude::*;

use super::super::lexer::{Kind, tokens};
use super::super::{Binding, Dialect, ImageColumns, Parameters, Returning, Statement};
use super::{ALL, stock};

/// Pieces that mean something somewhere.
const PIECES: [&str; 74] = [
    "SELECT",
    "INSERT",
    "INTO",
    "UPDATE",
    "DELETE",
    "FROM",
    "WHERE",
    "SET",
    "VALUES",
    "(",
    ")",
    ",",
    "?",
    "$1",
    "$2",
    "?1",
    ":a",
    "=",
    ".",
    ";",
    "stock",
    "id",
    "sku",
    "qty",
    "NULL",
    "DEFAULT",
    "'a'",
    "'?'",
    "\"a\"",
    "`b`",
    "[c]",
    "-- x\n",
    "/* ? */",
    "ON",
    "DUPLICATE",
    "KEY",
    "CONFLICT",
    "DO",
    "NOTHING",
    "RETURNING",
    "*",
    "FOR",
    "LIMIT",
    "ORDER",
    "BY",
    "AS",
    "JOIN",
    "USING",
    "WITH",
    "AND",
    "IN",
    "1",
    "-",
    "0x1",
    "$$",
    "E'\\'",
    "E'",
    "'",
    "SAVEPOINT",
    "ROLLBACK",
    "TO",
    "EXPLAIN",
    "PRAGMA",
    "IGNORE",
    "INDEX",
    "OR",
    "[",
    "]",
    "::",
    "é",
    "\u{feff}",
    "\0",
    "N'x'",
    "REPLACE",
];

fn check(sql: &str) {
    for dialect in ALL {
        if let Ok(tokens) = tokens(sql, dialect) {
            let joined: String = tokens.iter().map(|t| &sql[t.start..t.end]).collect();
            assert_eq!(joined, sql);
        }
        if let Ok(statement) = Statement::recognise(sql, dialect) {
            for parameters in [Parameters::Whole, Parameters::Picked] {
                derive(sql, &statement, dialect, parameters);
            }
        }
    }
}

/// Derives all there is. A query that takes the whole list needs exactly as many values as the statement.
fn derive(sql: &str, statement: &Statement, dialect: Dialect, parameters: Parameters) {
    let meta = stock();
    let mut derived = Vec::new();
    match statement {
        Statement::PassThrough | Statement::Savepoint(_) => {}
        Statement::SelectForUpdate(select) => derived.extend(select.keys(&meta, parameters)),
        Statement::Update(update) => {
            let image = update.before(&meta, ImageColumns::Written, parameters);
            derived.extend(image.map(|image| image.query));
        }
        Statement::UpdateJoin(update) => {
            let metas = vec![&meta; statement.tables().len()];
            if let Ok(images) = update.before(&metas, ImageColumns::All, parameters) {
                derived.extend(images.into_iter().map(|image| image.before.query));
            }
        }
        Statement::Delete(delete) => {
            derived.extend(delete.before(&meta, parameters).map(|image| image.query));
        }
        Statement::Insert(insert) => {
            for returning in [Returning::Supported, Returning::Unsupported] {
                let _ = insert.plan(&meta, returning, ImageColumns::Written, parameters);
            }
            derived.extend(insert.counted(&meta, &[0], 5, 3, parameters));
        }
        Statement::Upsert(upsert) => {
            derived.extend(upsert.plan(&meta, parameters).map(|plan| plan.probe));
        }
    }
    for query in derived {
        let marks = parameters_of(&query.sql, dialect);
        match (dialect, &query.binding) {
            (Dialect::MySql, Binding::Picked(positions)) => {
                assert_eq!(marks, positions.len(), "{}", query.sql);
            }
            (Dialect::MySql, Binding::Whole) => {
                assert_eq!(marks, parameters_of(sql, dialect), "{sql}: {}", query.sql);
            }
            (_, binding) => assert_eq!(*binding, Binding::Whole),
        }
    }
}

fn parameters_of(sql: &str, dialect: Dialect) -> usize {
    let tokens = tokens(sql, dialect).unwrap_or_else(|refused| panic!("{sql}: {refused}"));
    tokens.iter().filter(|t| t.kind == Kind::Parameter).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_in_any_order(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
        glue in prop::sample::select(vec!["", " ", "\n"]),
    ) {
        check(&pieces.join(glue));
    }

    #[test]
    fn statements_with_pieces_put_in(
        statement in prop::sample::select(vec![
            "UPDATE stock SET qty = ? WHERE id = ? ORDER BY id LIMIT ?",
            "INSERT INTO stock (id, sku) VALUES (?, ?), (?, ?) ON DUPLICATE KEY UPDATE qty = ?",
            "INSERT INTO stock (id, sku) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET qty = 1",
            "DELETE FROM stock AS s WHERE s.id IN ($1, $2) RETURNING *",
            "SELECT ? FROM stock WHERE id = ? FOR UPDATE",
            "UPDATE stock s JOIN stock t ON s.id = ? SET s.qty = ? WHERE t.id = ?",
        ]),
        places in prop::collection::vec((0.0..1.0f64, prop::sample::select(&PIECES[..])), 0..4),
    ) {
        let mut words: Vec<&str> = statement.split(' ').collect();
        for (place, piece) in places {
            let at = (place * words.len() as f64) as usize;
            words.insert(at, piece);
        }
        check(&words.join(" "));
    }

    #[test]
    fn any_text(sql in "\\PC{0,80}") {
        check(&sql);
    }
}
