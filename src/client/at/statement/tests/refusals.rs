//! What is refused, with the texts that people read.

use super::super::Dialect;
use super::{ALL, refused};
use Dialect::{MySql, Postgres, Sqlite};

#[test]
fn statements_that_no_rollback_could_undo() {
    let each = EVERYWHERE
        .iter()
        .flat_map(|(sql, reason)| ALL.map(|dialect| (dialect, *sql, *reason)));
    for (dialect, sql, reason) in each.chain(SOMEWHERE.iter().copied()) {
        let refused = refused(sql, dialect);
        assert!(
            refused.reason.contains(reason),
            "{dialect:?}: {sql}: {refused}"
        );
        assert!(!refused.what_to_do.is_empty());
        for text in [&refused.reason, &refused.what_to_do] {
            assert!(!text.ends_with('.'), "no full stop: {text}");
        }
    }
}

#[test]
fn a_refusal_says_what_and_what_to_do() {
    let refused = refused("TRUNCATE stock", Postgres);
    assert_eq!(
        refused.to_string(),
        "not run in a global transaction: TRUNCATE keeps no image of the rows; \
         run it outside of the branch, or past it with `bypass()` if it needs no undo"
    );
}

/// Refused whatever the database.
const EVERYWHERE: &[(&str, &str)] = &[
    ("INSERT INTO a SELECT * FROM b", "INSERT … SELECT"),
    ("INSERT INTO a (x) (SELECT 1)", "INSERT … SELECT"),
    ("INSERT INTO a (SELECT 1)", "INSERT … SELECT"),
    (
        "INSERT INTO a WITH b AS (SELECT 1) SELECT * FROM b",
        "INSERT … SELECT",
    ),
    ("REPLACE INTO a VALUES (1)", "REPLACE"),
    (
        "MERGE INTO a USING b ON TRUE WHEN MATCHED THEN DELETE",
        "MERGE",
    ),
    ("TRUNCATE TABLE a", "TRUNCATE"),
    ("CALL p()", "CALL"),
    ("CREATE TABLE a (b int)", "CREATE"),
    ("ALTER TABLE a ADD b int", "ALTER"),
    ("DROP TABLE a", "DROP"),
    ("BEGIN", "BEGIN"),
    ("START TRANSACTION", "START"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("UPDATE a SET x = 1; DELETE FROM a", "several statements"),
    ("SELECT 1; SELECT 2", "several statements"),
    ("WITH b AS (SELECT 1) UPDATE a SET x = 1", "changes data"),
    ("WITH b AS (SELECT 1) DELETE FROM a", "changes data"),
    (
        "WITH b AS (SELECT 1) INSERT INTO a SELECT 1",
        "changes data",
    ),
    (
        "WITH b AS (DELETE FROM a RETURNING *) SELECT * FROM b",
        "changes data",
    ),
    ("SELECT * INTO b FROM a", "INTO"),
    (
        "UPDATE a SET x = 1 WHERE y IN (SELECT z FROM b)",
        "sub-query",
    ),
    ("DELETE FROM a WHERE EXISTS (SELECT 1)", "sub-query"),
    ("DELETE FROM a WHERE x = (VALUES (1))", "sub-query"),
    ("UPDATE a SET x = 1 WHERE y > random()", "random()"),
    ("EXPLAIN ANALYZE DELETE FROM a", "ANALYZE executes"),
    ("NONSENSE", "not known to only read"),
    ("UPDATE", "name of a table"),
    ("UPDATE a", "SET was expected"),
    ("UPDATE a SET", "name of a column"),
    ("UPDATE a SET x", "= was expected"),
    ("UPDATE a SET x =", "a value"),
    ("UPDATE a SET x = 1,", "name of a column"),
    ("UPDATE a SET x = 1 WHERE", "a condition"),
    ("DELETE FROM a WHERE", "a condition"),
    ("INSERT INTO a VALUES", "a row"),
    ("INSERT INTO a VALUES (1,)", "missing"),
    ("INSERT INTO a VALUES (1), (1, 2)", "different numbers"),
    ("INSERT INTO a VALUES (1) nonsense", "expected"),
    ("UPDATE a SET x = (1", "not closed"),
    ("UPDATE a SET x = 1)", "not open"),
    ("SELECT (1]", "not open"),
    ("SELECT 'a", "no closing quote"),
    ("DELETE FROM a.b.c.d", "too many parts"),
    ("DELETE FROM (a)", "bracket"),
    ("'a'", "a statement"),
];

/// Refused by one.
const SOMEWHERE: &[(Dialect, &str, &str)] = &[
    (MySql, "INSERT IGNORE INTO a VALUES (1)", "IGNORE"),
    (MySql, "UPDATE IGNORE a SET x = 1", "IGNORE"),
    (MySql, "DELETE LOW_PRIORITY IGNORE FROM a", "IGNORE"),
    (MySql, "DELETE a FROM a JOIN b", "several tables"),
    (MySql, "DELETE a.* FROM a", "several tables"),
    (MySql, "DELETE FROM a USING a JOIN b", "several tables"),
    (MySql, "DELETE FROM a, b USING a JOIN b", "several tables"),
    (MySql, "INSERT INTO a TABLE b", "INSERT … SELECT"),
    (MySql, "INSERT INTO a VALUES ROW(1)", "ROW"),
    (MySql, "INSERT INTO a PARTITION (p) VALUES (1)", "partition"),
    (MySql, "UPDATE a PARTITION (p) SET x = 1", "partition"),
    (MySql, "UPDATE a NATURAL JOIN b SET x = 1", "NATURAL"),
    (MySql, "UPDATE a RIGHT JOIN b ON TRUE SET x = 1", "RIGHT"),
    (MySql, "UPDATE a JOIN (SELECT 1) b SET x = 1", "sub-query"),
    (
        MySql,
        "UPDATE a JOIN b ON a.x IN (SELECT 1) SET x = 1",
        "sub-query",
    ),
    (MySql, "UPDATE a, b SET x = 1 LIMIT 1", "limit"),
    (MySql, "UPDATE a SET x = 1 WHERE (@v := x) > 1", "variable"),
    (MySql, "UPDATE a SET x = 1 WHERE y < UUID()", "UUID()"),
    (MySql, "SELECT 1 /*! ; DELETE FROM a */", "execute"),
    (MySql, "LOAD DATA INFILE 'x' INTO TABLE a", "LOAD"),
    (MySql, "SET autocommit = 1", "AUTOCOMMIT"),
    (MySql, "SET SESSION sql_mode = 'ANSI_QUOTES'", "SQL_MODE"),
    (MySql, "SET @@session.sql_mode = ''", "SQL_MODE"),
    (MySql, "SET `sql_mode` = ''", "SQL_MODE"),
    (MySql, "SET GLOBAL max_connections = 1", "GLOBAL"),
    (MySql, "SET NAMES latin1", "NAMES"),
    (MySql, "SET CHARACTER SET latin1", "CHARACTER"),
    (MySql, "SET @@session.time_zone = '+08:00'", "TIME_ZONE"),
    (MySql, "SET PASSWORD = 'x'", "PASSWORD"),
    (
        MySql,
        "SET STATEMENT max_statement_time = 1 FOR DELETE FROM a",
        "SET STATEMENT",
    ),
    (MySql, "ANALYZE DELETE FROM a", "ANALYZE"),
    (
        MySql,
        "UPDATE a FOR PORTION OF p FROM 1 TO 2 SET x = 1",
        "JOIN was expected",
    ),
    (MySql, "DELETE HISTORY FROM a", "several tables"),
    (MySql, "USE other", "USE"),
    (MySql, "LOCK TABLES a WRITE", "LOCK"),
    (MySql, "DO SLEEP(1)", "DO"),
    (MySql, "HANDLER a OPEN", "HANDLER"),
    (MySql, "XA START 'a'", "XA"),
    (MySql, "SELECT 1 INTO OUTFILE '/a'", "INTO"),
    (MySql, "DELETE FROM 'a'", "name of a table"),
    (MySql, "UPDATE \"a\" SET x = 1", "name of a table"),
    (Postgres, "UPDATE a SET x = 1 FROM b", "UPDATE … FROM"),
    (Postgres, "DELETE FROM a USING b", "several tables"),
    (Postgres, "UPDATE ONLY a SET x = 1", "ONLY"),
    (Postgres, "UPDATE a AS b (c, d) SET x = 1", "other names"),
    (Postgres, "UPDATE a SET x = 1 WHERE CURRENT OF c", "cursor"),
    (
        Postgres,
        "UPDATE a SET x = 1 WHERE y = ANY (TABLE b)",
        "sub-query",
    ),
    (Postgres, "UPDATE a, b SET x = 1", "SET was expected"),
    (
        Postgres,
        "WITH x AS MATERIALIZED (UPDATE a SET b = 1 RETURNING *) SELECT 1",
        "changes data",
    ),
    (
        Postgres,
        "SELECT * FROM (INSERT INTO a VALUES (1) RETURNING *) x",
        "changes data",
    ),
    (
        Postgres,
        "WITH x AS (WITH y AS (SELECT 1) DELETE FROM a RETURNING *) SELECT 1",
        "changes data",
    ),
    (
        Postgres,
        "SELECT * FROM (WITH RECURSIVE y AS (SELECT 1) SEARCH DEPTH FIRST BY c SET d UPDATE a SET b = 1 RETURNING *) x",
        "changes data",
    ),
    (Postgres, "COPY a FROM STDIN", "COPY"),
    (Postgres, "DO $$ BEGIN END $$", "DO"),
    (Postgres, "PREPARE x AS SELECT 1", "PREPARE"),
    (Postgres, "NOTIFY a", "NOTIFY"),
    (Postgres, "SET search_path = a", "SEARCH_PATH"),
    (Postgres, "SET LOCAL TIME ZONE 'UTC'", "TIMEZONE"),
    (Postgres, "SET DateStyle TO German", "DATESTYLE"),
    (Postgres, "SELECT set_config('a', 'b', true)", "set_config"),
    (Postgres, "SET \"search_path\" = a", "SEARCH_PATH"),
    (
        Postgres,
        "SET standard_conforming_strings = off",
        "STANDARD_CONFORMING",
    ),
    (
        Postgres,
        "EXPLAIN (ANALYZE) UPDATE a SET b = 1",
        "ANALYZE executes",
    ),
    (
        Postgres,
        "EXPLAIN ANALYZE WITH x AS (DELETE FROM a RETURNING *) SELECT 1",
        "changes data",
    ),
    (
        Postgres,
        "INSERT INTO a VALUES (1) ON CONFLICT (lower(x)) DO UPDATE SET y = 1",
        "expression",
    ),
    (
        Postgres,
        "INSERT INTO a VALUES (1) ON CONFLICT (x) WHERE z DO UPDATE SET y = 1",
        "part of the rows",
    ),
    (Postgres, "SELECT $0", "cannot be bound"),
    (Postgres, "SELECT $99999", "cannot be bound"),
    (Postgres, "UPDATE U&\"a\" SET x = 1", "name of a table"),
    (
        Sqlite,
        "INSERT OR REPLACE INTO a VALUES (1)",
        "leaves out rows",
    ),
    (
        Sqlite,
        "INSERT OR IGNORE INTO a VALUES (1)",
        "leaves out rows",
    ),
    (Sqlite, "UPDATE OR FAIL a SET x = 1", "leaves out rows"),
    (Sqlite, "UPDATE a SET x = 1 FROM b", "UPDATE … FROM"),
    (Sqlite, "DELETE FROM a WHERE x IN b", "sub-query"),
    (Sqlite, "PRAGMA user_version = 5", "PRAGMA"),
    (Sqlite, "PRAGMA journal_mode(delete)", "PRAGMA"),
    (Sqlite, "PRAGMA optimize", "PRAGMA"),
    (Sqlite, "ATTACH 'x' AS y", "ATTACH"),
    (
        Sqlite,
        "INSERT INTO a VALUES (1) ON CONFLICT DO UPDATE SET y = 1",
        "names no columns",
    ),
    (Sqlite, "SELECT :name", "cannot be bound"),
    (Sqlite, "SELECT ?, ?1", "mixes"),
    (
        Sqlite,
        "INSERT INTO a VALUES (1) ON CONFLICT (x) DO NOTHING ON CONFLICT DO UPDATE SET y = 1",
        "several ON CONFLICT",
    ),
];
