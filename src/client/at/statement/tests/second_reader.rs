//! Another reader of SQL must see the same statement, and the same condition in the query made out of it.
//!
//! sqlparser knows less of each database's language and does not keep positions of clauses, but it builds the whole tree of
//! an expression: a clause that was cut at the wrong place would give another tree.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sqlparser::ast;
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;

use super::super::{Dialect, ImageColumns, Parameters, Statement};
use super::{ALL, stock};

fn parse(sql: &str, dialect: Dialect) -> Option<ast::Statement> {
    let mut statements = match dialect {
        Dialect::MySql => Parser::parse_sql(&MySqlDialect {}, sql),
        Dialect::Postgres => Parser::parse_sql(&PostgreSqlDialect {}, sql),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, sql),
    }
    .ok()?;
    match statements.len() {
        1 => statements.pop(),
        _ => None,
    }
}

/// The condition and the order of a query.
fn choice(query: &ast::Statement) -> (Option<ast::Expr>, Vec<ast::OrderByExpr>) {
    let ast::Statement::Query(query) = query else {
        panic!("a query, not {query}");
    };
    let ast::SetExpr::Select(select) = query.body.as_ref() else {
        panic!("a simple query, not {query}");
    };
    let condition = select.selection.clone().map(|condition| match condition {
        ast::Expr::Nested(inner) => *inner,
        other => other,
    });
    let order = query.order_by.clone().map(|order| match order.kind {
        ast::OrderByKind::Expressions(list) => list,
        other @ ast::OrderByKind::All(_) => panic!("no {other:?} was asked for"),
    });
    (condition, order.unwrap_or_default())
}

/// Compares both readings; says whether there was anything to compare.
fn compare(sql: &str, dialect: Dialect) -> bool {
    let Some(theirs) = parse(sql, dialect) else {
        return false;
    };
    let Ok(ours) = Statement::recognise(sql, dialect) else {
        return false;
    };
    let meta = stock();
    let derived = match (&ours, &theirs) {
        (Statement::Update(update), ast::Statement::Update(their)) => {
            assert!(
                their.table.joins.is_empty() && their.from.is_none(),
                "{sql}"
            );
            let before = update.before(&meta, ImageColumns::Written, Parameters::Picked);
            before.map(|image| (image.query, their.selection.clone(), their.order_by.clone()))
        }
        (Statement::Delete(delete), ast::Statement::Delete(their)) => {
            assert!(their.tables.is_empty() && their.using.is_none(), "{sql}");
            let before = delete.before(&meta, Parameters::Picked);
            before.map(|image| (image.query, their.selection.clone(), their.order_by.clone()))
        }
        (Statement::SelectForUpdate(select), ast::Statement::Query(their)) => {
            assert!(!their.locks.is_empty(), "{sql}");
            let (condition, order) = choice(&theirs);
            let keys = select.keys(&meta, Parameters::Picked);
            keys.map(|query| (query, condition, order))
        }
        (Statement::UpdateJoin(_), ast::Statement::Update(their)) => {
            assert!(!their.table.joins.is_empty(), "{sql}");
            return true;
        }
        (Statement::Insert(_) | Statement::Upsert(_), ast::Statement::Insert(their)) => {
            let updates = match &their.on {
                Some(ast::OnInsert::DuplicateKeyUpdate(_)) => true,
                Some(ast::OnInsert::OnConflict(conflict)) => {
                    !matches!(conflict.action, ast::OnConflictAction::DoNothing)
                }
                _ => false,
            };
            assert_eq!(updates, matches!(ours, Statement::Upsert(_)), "{sql}");
            return true;
        }
        (Statement::PassThrough, ast::Statement::Query(their)) => {
            let changes = |lock: &ast::LockClause| lock.lock_type == ast::LockType::Update;
            assert!(!their.locks.iter().any(changes), "{sql}");
            return true;
        }
        (Statement::PassThrough, ast::Statement::Set(_) | ast::Statement::Explain { .. }) => {
            return true;
        }
        _ => panic!("{dialect:?}: {sql} is taken for {ours:?}, by the other reader for {theirs:?}"),
    };
    let Ok((query, condition, order)) = derived else {
        return false;
    };
    let read = parse(&query.sql, dialect);
    let read = read.unwrap_or_else(|| panic!("{sql} became {}, which is no query", query.sql));
    let condition = condition.map(|condition| match condition {
        ast::Expr::Nested(inner) if choice(&read).0 == Some((*inner).clone()) => *inner,
        other => other,
    });
    assert_eq!(
        choice(&read),
        (condition, order),
        "{sql} became {}",
        query.sql
    );
    true
}

#[test]
fn both_readers_see_the_same() {
    let statements = [
        "UPDATE stock SET qty = 1 WHERE id = 2 AND note LIKE 'WHERE%' OR qty IN (1, 2)",
        "UPDATE stock SET note = CASE WHEN qty > 1 THEN 'ORDER' ELSE 'LIMIT' END WHERE id BETWEEN 1 AND 2",
        "UPDATE stock AS s SET qty = (SELECT max(x) FROM t WHERE y = 1) WHERE s.id = 1",
        "UPDATE stock SET qty = qty IS DISTINCT FROM 3 WHERE note IS NOT DISTINCT FROM 'x'",
        "DELETE FROM stock WHERE NOT (id = 1) AND substring(note FROM 2 FOR 3) = 'x'",
        "DELETE FROM stock",
        "INSERT INTO stock (id, sku) VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO stock VALUES (1, 'a', 3, 4, 5, 6) ON CONFLICT (id) DO UPDATE SET qty = excluded.qty WHERE stock.qty > 1",
        "INSERT INTO stock (id) VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO stock (id) VALUES (1) ON DUPLICATE KEY UPDATE qty = VALUES(qty) + 1",
        "UPDATE stock s JOIN places p ON s.id = p.x LEFT JOIN c USING (y) SET s.qty = 1 WHERE p.z = 3",
        "SELECT * FROM stock WHERE id = 1 ORDER BY id DESC FOR UPDATE",
        "SELECT * FROM stock WHERE id = 1 FOR SHARE",
        "SELECT extract(year FROM changed) FROM stock WHERE id = 1 FOR UPDATE NOWAIT",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "EXPLAIN SELECT 1",
    ];
    let mut compared = 0;
    for sql in statements {
        let count = ALL.iter().filter(|dialect| compare(sql, **dialect)).count();
        assert!(count > 0, "no dialect of both readers knows {sql}");
        compared += count;
    }
    assert!(compared >= 30, "{compared} comparisons");
}

fn operand(dialect: Dialect) -> impl Strategy<Value = String> {
    let quoted = match dialect {
        Dialect::MySql => "`note`",
        Dialect::Postgres | Dialect::Sqlite => "\"note\"",
    };
    let own = match dialect {
        Dialect::MySql => ["'it\\'s ?'", "\"a ' b\"", "x'3f'", "?"],
        Dialect::Postgres => ["E'it\\'s $1'", "$a$ ' WHERE $a$", "'\\'", "$2"],
        Dialect::Sqlite => ["'it''s ?'", "[qty]", "x'3f'", "?2"],
    };
    let shared = [
        "id",
        "stock.qty",
        quoted,
        "'a ORDER BY b'",
        "''''",
        "-1",
        "1.5e3",
        "NULL",
        "lower(note)",
        "(qty + 1)",
        "CASE WHEN qty = 1 THEN 'LIMIT 1' ELSE note END",
        "/* WHERE ? */ 7",
        "coalesce(note, 'FOR UPDATE')",
        "-- ORDER BY ' x\n 8",
    ];
    prop::sample::select([&shared[..], &own[..]].concat()).prop_map(str::to_owned)
}

fn condition(dialect: Dialect) -> impl Strategy<Value = String> {
    let operators = [
        "=",
        "<>",
        "<=",
        "LIKE",
        "AND",
        "OR",
        "IS NOT DISTINCT FROM",
        "+",
        "||",
    ];
    let pair = (
        operand(dialect),
        prop::sample::select(operators.to_vec()),
        operand(dialect),
    );
    let leaf = prop_oneof![
        4 => pair.prop_map(|(a, operator, b)| format!("{a} {operator} {b}")),
        1 => (operand(dialect), operand(dialect)).prop_map(|(a, b)| format!("{a} IN ({b}, 1)")),
        1 => operand(dialect).prop_map(|a| format!("{a} IS NOT NULL")),
        1 => (operand(dialect), operand(dialect)).prop_map(|(a, b)| format!("{a} BETWEEN 1 AND {b}")),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} AND {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR {b}")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

fn statement() -> impl Strategy<Value = (Dialect, String)> {
    prop::sample::select(&ALL[..]).prop_flat_map(|dialect| {
        let tail = match dialect {
            Dialect::MySql => vec!["", " ORDER BY id", " ORDER BY qty, id DESC LIMIT 5", ";"],
            Dialect::Postgres => vec!["", " RETURNING id, note", ";", " -- end"],
            Dialect::Sqlite => vec!["", " RETURNING *", ";"],
        };
        let verb = prop::sample::select(vec!["UPDATE stock SET", "DELETE FROM stock"]);
        (
            verb,
            operand(dialect),
            condition(dialect),
            prop::sample::select(tail),
        )
            .prop_map(move |(verb, value, condition, tail)| {
                let list = match verb.starts_with("UPDATE") {
                    true => format!(" qty = {value}, note = {value}"),
                    false => String::new(),
                };
                (dialect, format!("{verb}{list} WHERE {condition}{tail}"))
            })
    })
}

#[test]
fn both_readers_see_the_same_in_made_up_statements() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let compared = Cell::new(0);
    let run = runner.run(&statement(), |(dialect, sql)| {
        compared.set(compared.get() + usize::from(compare(&sql, dialect)));
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    // The other reader does not know all of them.
    assert!(compared.get() > 700, "{} comparisons", compared.get());
}
