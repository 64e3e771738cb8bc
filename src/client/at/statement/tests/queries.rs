//! Queries: what passes, and what FOR UPDATE asks for.

use super::super::{Cause, Dialect, Parameters, Savepoint, SelectForUpdate, Statement};
use super::{ALL, places, recognise, refused, stock, whole};
use Dialect::{MySql, Postgres, Sqlite};

fn for_update(sql: &str, dialect: Dialect) -> SelectForUpdate {
    match recognise(sql, dialect) {
        Statement::SelectForUpdate(select) => select,
        other => panic!("{sql} is taken for {other:?}"),
    }
}

#[test]
fn reads_pass() {
    let everywhere = [
        "",
        "  ; ",
        "-- nothing\n",
        "SELECT 1",
        "select * from stock where id in (select id from other) order by 1 limit 2;",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1), b(x) AS (SELECT 2) SELECT * FROM a, b",
        "WITH RECURSIVE c AS (SELECT 1 UNION ALL SELECT 2) SELECT * FROM c",
        "SELECT replace(a, 'x', 'y'), (replace(b, 'x', 'y')) FROM t",
        "SELECT 'DELETE FROM t', \"update\" FROM t -- FOR UPDATE",
        "VALUES (1), (2)",
        "EXPLAIN SELECT 1",
        "EXPLAIN DELETE FROM stock",
    ];
    let one: &[(Dialect, &str)] = &[
        (MySql, "SHOW TABLES"),
        (MySql, "DESC stock"),
        (MySql, "SELECT 1 INTO @a"),
        (MySql, "SELECT * FROM t LOCK IN SHARE MODE"),
        (MySql, "SELECT * FROM t FOR SHARE"),
        (MySql, "SET lock_wait_timeout = 3"),
        (MySql, "SET @a = 1, SESSION lock_wait_timeout = 3"),
        (MySql, "SELECT * FROM t USE INDEX FOR ORDER BY (ix)"),
        (Postgres, "SET LOCAL statement_timeout = 5"),
        (Postgres, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        (Postgres, "SELECT * FROM t FOR KEY SHARE"),
        (Postgres, "SHOW search_path"),
        (Postgres, "TABLE stock"),
        (Postgres, "LOCK TABLE stock IN SHARE MODE"),
        (Postgres, "EXPLAIN (ANALYZE, BUFFERS) SELECT 1"),
        (Sqlite, "PRAGMA table_info(stock)"),
        (Sqlite, "PRAGMA main.user_version"),
        (Sqlite, "EXPLAIN QUERY PLAN UPDATE stock SET qty = 1"),
    ];
    let each = everywhere
        .iter()
        .flat_map(|sql| ALL.map(|dialect| (dialect, *sql)));
    for (dialect, sql) in each.chain(one.iter().copied()) {
        let statement = recognise(sql, dialect);
        assert!(
            matches!(statement, Statement::PassThrough),
            "{dialect:?}: {sql}: {statement:?}"
        );
        assert!(statement.tables().is_empty());
    }
}

#[test]
fn for_update_asks_for_keys() {
    let t = "(? IS NULL OR TRUE)";
    let cases = [
        (
            MySql,
            "SELECT qty, ? FROM stock s FORCE INDEX (PRIMARY) WHERE s.id = ? ORDER BY id LIMIT 5 FOR UPDATE NOWAIT",
            format!(
                "SELECT `id` FROM stock s FORCE INDEX (PRIMARY) WHERE {t} AND (s.id = ?) ORDER BY id LIMIT 5 FOR UPDATE NOWAIT"
            ),
        ),
        (MySql, "SELECT * FROM stock FOR UPDATE", "SELECT `id` FROM stock FOR UPDATE".to_owned()),
        (
            MySql,
            "SELECT ? FROM stock FOR UPDATE",
            format!("SELECT `id` FROM stock WHERE TRUE AND {t} FOR UPDATE"),
        ),
        (
            MySql,
            "SELECT qty, (SELECT 1 FROM x) FROM stock WHERE id > ? FOR UPDATE WAIT 5",
            "SELECT `id` FROM stock WHERE (id > ?) FOR UPDATE WAIT 5".to_owned(),
        ),
        (
            Postgres,
            "SELECT $1, qty FROM public.stock AS s WHERE note = $2 FOR NO KEY UPDATE OF s SKIP LOCKED",
            "SELECT \"id\" FROM public.stock AS s WHERE (note = $2) FOR NO KEY UPDATE OF s SKIP LOCKED".to_owned(),
        ),
    ];
    for (dialect, sql, expected) in cases {
        let select = for_update(sql, dialect);
        let keys = select.keys(&stock(), Parameters::Whole).expect("keys");
        assert_eq!(keys, whole(&expected), "{sql}");
    }
    let select = for_update("SELECT * FROM places FOR UPDATE", Postgres);
    let keys = select.keys(&places(), Parameters::Whole).expect("keys");
    assert_eq!(
        keys.sql,
        "SELECT \"tenant\", \"region\" FROM places FOR UPDATE"
    );
}

#[test]
fn for_update_of_other_rows_each_time_is_refused() {
    let select = for_update("SELECT * FROM stock LIMIT 1 FOR UPDATE", MySql);
    let refused = select
        .keys(&stock(), Parameters::Whole)
        .expect_err("any row");
    assert_eq!(refused.cause, Cause::Key);
}

#[test]
fn for_update_of_more_than_a_table_is_refused() {
    let cases = [
        (MySql, "SELECT * FROM a, b FOR UPDATE", "one table"),
        (
            MySql,
            "SELECT * FROM a JOIN b USING (id) FOR UPDATE",
            "one table",
        ),
        (MySql, "SELECT DISTINCT x FROM a FOR UPDATE", "DISTINCT"),
        (
            MySql,
            "SELECT x, count(*) FROM a GROUP BY x FOR UPDATE",
            "GROUP",
        ),
        (MySql, "SELECT 1 FOR UPDATE", "no FROM"),
        (MySql, "SELECT * FROM (SELECT 1) x FOR UPDATE", "sub-query"),
        (
            MySql,
            "SELECT * FROM a WHERE id IN (SELECT 1) FOR UPDATE",
            "sub-query",
        ),
        (
            MySql,
            "SELECT * FROM (SELECT * FROM a FOR UPDATE) x",
            "sub-query",
        ),
        (MySql, "(SELECT * FROM a) FOR UPDATE", "no simple SELECT"),
        (
            Postgres,
            "WITH x AS (SELECT 1) SELECT * FROM a FOR UPDATE",
            "no simple SELECT",
        ),
        (
            Postgres,
            "SELECT * FROM a UNION SELECT * FROM b FOR UPDATE",
            "UNION",
        ),
        (
            Postgres,
            "SELECT * FROM a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
            "SKIP LOCKED",
        ),
        (
            Postgres,
            "SELECT * FROM a FOR UPDATE OF a FOR SHARE OF b",
            "expected",
        ),
        (Sqlite, "SELECT * FROM a FOR UPDATE", "SQLite"),
    ];
    for (dialect, sql, reason) in cases {
        let refused = refused(sql, dialect);
        assert!(refused.reason.contains(reason), "{sql}: {refused}");
    }
}

#[test]
fn savepoints_are_told() {
    for dialect in ALL {
        let savepoint = |sql| match recognise(sql, dialect) {
            Statement::Savepoint(savepoint) => savepoint,
            other => panic!("{sql} is taken for {other:?}"),
        };
        let name = "a".to_owned();
        assert_eq!(savepoint("SAVEPOINT A"), Savepoint::Set(name.clone()));
        assert_eq!(
            savepoint("release savepoint a;"),
            Savepoint::Release(name.clone())
        );
        assert_eq!(savepoint("RELEASE a"), Savepoint::Release(name.clone()));
        assert_eq!(
            savepoint("ROLLBACK TO A"),
            Savepoint::RollBackTo(name.clone())
        );
        let sql = "ROLLBACK WORK TO SAVEPOINT a";
        assert_eq!(savepoint(sql), Savepoint::RollBackTo(name));
    }
    let quoted = recognise("SAVEPOINT \"A b\"", Postgres);
    assert!(matches!(quoted, Statement::Savepoint(Savepoint::Set(name)) if name == "A b"));
}
