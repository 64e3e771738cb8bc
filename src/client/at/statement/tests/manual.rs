//! The manual's table of statements, made by asking.

use super::super::{Dialect, ImageColumns, Parameters, Refused, Returning, Statement};
use super::{ALL, places, stock};

const MANUAL: &str = include_str!("../../../../manual/at_statements.md");

/// The table in the manual is what the code does. `SEAMIO_WRITE_MANUAL=1` writes it anew.
#[test]
fn the_manual_says_what_is_undone() {
    let table = table();
    if std::env::var_os("SEAMIO_WRITE_MANUAL").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/at_statements.md");
        std::fs::write(path, &table).expect("the manual can be written");
        return;
    }
    let differ = table
        .lines()
        .zip(MANUAL.lines())
        .find(|(ours, manual)| ours != manual);
    assert!(
        table == MANUAL,
        "src/manual/at_statements.md is not what the code does, first at {differ:?}: run this test with SEAMIO_WRITE_MANUAL=1"
    );
}

#[test]
fn every_kind_of_verdict_is_in_the_manual() {
    for verdict in ["undone", "passes", "checked", "followed", "refused"] {
        assert!(MANUAL.contains(&format!("| {verdict} |")), "{verdict}");
    }
}

fn table() -> String {
    let mut text = String::from(
        "| statement | MySQL, MariaDB | PostgreSQL | SQLite | why it is refused | what to do |\n|---|---|---|---|---|---|\n",
    );
    for (sql, databases) in ROWS {
        let mut cells = String::new();
        let mut refusal: Option<Refused> = None;
        for dialect in ALL {
            let cell = match databases.contains(letter(dialect)) {
                false => "–",
                true => match verdict(sql, dialect) {
                    Ok(verdict) => verdict,
                    Err(refused) => {
                        refusal = refusal.or(Some(refused));
                        "refused"
                    }
                },
            };
            cells.push_str(&format!(" {cell} |"));
        }
        let (reason, what_to_do) = match refusal {
            Some(refused) => (refused.reason.into_owned(), refused.what_to_do.into_owned()),
            None => Default::default(),
        };
        text.push_str(&format!("| `{sql}` |{cells} {reason} | {what_to_do} |\n"));
    }
    text
}

fn letter(dialect: Dialect) -> char {
    match dialect {
        Dialect::MySql => 'm',
        Dialect::Postgres => 'p',
        Dialect::Sqlite => 's',
    }
}

/// What becomes of a statement about the table `stock`, or `places` of the same tests.
fn verdict(sql: &str, dialect: Dialect) -> Result<&'static str, Refused> {
    let statement = Statement::recognise(sql, dialect)?;
    let (columns, parameters) = (ImageColumns::Written, Parameters::Picked);
    let (stock, places) = (stock(), places());
    Ok(match &statement {
        Statement::PassThrough => "passes",
        Statement::Savepoint(_) => "followed",
        Statement::SelectForUpdate(select) => {
            select.keys(&stock, parameters)?;
            "checked"
        }
        Statement::Insert(insert) => {
            let returning = match dialect {
                Dialect::MySql => Returning::Unsupported,
                Dialect::Postgres | Dialect::Sqlite => Returning::Supported,
            };
            insert.plan(&stock, returning, columns, parameters)?;
            "undone"
        }
        Statement::Upsert(upsert) => {
            upsert.plan(&stock, parameters)?;
            "undone"
        }
        Statement::Update(update) => {
            update.before(&stock, columns, parameters)?;
            "undone"
        }
        Statement::UpdateJoin(update) => {
            update.before(&[&stock, &places], columns, parameters)?;
            "undone"
        }
        Statement::Delete(delete) => {
            delete.before(&stock, parameters)?;
            "undone"
        }
    })
}

/// A statement, and the databases that know it.
const ROWS: &[(&str, &str)] = &[
    ("SELECT * FROM stock WHERE qty > 1", "mps"),
    ("SELECT * FROM stock WHERE id = 1 FOR UPDATE", "mp"),
    ("SELECT * FROM stock ORDER BY id LIMIT 1 FOR UPDATE", "mp"),
    ("SELECT * FROM stock LIMIT 1 FOR UPDATE", "mp"),
    (
        "SELECT * FROM stock JOIN places USING (id) FOR UPDATE",
        "mp",
    ),
    ("SELECT * FROM stock WHERE id = 1 FOR SHARE", "mp"),
    ("SELECT * INTO copy FROM stock", "p"),
    (
        "WITH gone AS (DELETE FROM stock RETURNING *) SELECT * FROM gone",
        "p",
    ),
    (
        "INSERT INTO stock (id, sku) VALUES (1, 'a'), (2, 'b')",
        "mps",
    ),
    ("INSERT INTO stock (sku) VALUES ('a'), ('b')", "mps"),
    ("INSERT INTO stock SET sku = 'a'", "m"),
    ("INSERT INTO stock DEFAULT VALUES", "ps"),
    ("INSERT INTO stock (id, sku) VALUES (5 + 5, 'a')", "mps"),
    ("INSERT INTO stock (sku) VALUES ('a') RETURNING *", "ps"),
    ("INSERT INTO stock SELECT * FROM other", "mps"),
    ("INSERT IGNORE INTO stock (id) VALUES (1)", "m"),
    ("INSERT OR IGNORE INTO stock (id) VALUES (1)", "s"),
    ("INSERT OR REPLACE INTO stock (id) VALUES (1)", "s"),
    ("REPLACE INTO stock (id) VALUES (1)", "ms"),
    (
        "INSERT INTO stock (id, sku) VALUES (1, 'a') ON DUPLICATE KEY UPDATE qty = qty + 1",
        "m",
    ),
    (
        "INSERT INTO stock (id, sku) VALUES (1, 'a') ON DUPLICATE KEY UPDATE id = 2",
        "m",
    ),
    (
        "INSERT INTO stock (id, sku) VALUES (1, 'a') ON CONFLICT DO NOTHING",
        "ps",
    ),
    (
        "INSERT INTO stock (id, sku) VALUES (1, 'a') ON CONFLICT (sku) DO UPDATE SET qty = 2",
        "ps",
    ),
    (
        "INSERT INTO stock (sku) VALUES ('a') ON CONFLICT (id) DO UPDATE SET qty = 2",
        "ps",
    ),
    ("UPDATE stock SET qty = qty - 1 WHERE id = 1", "mps"),
    ("UPDATE stock SET qty = 1 WHERE id = 1 RETURNING *", "ps"),
    ("UPDATE stock SET qty = 1 ORDER BY id LIMIT 5", "ms"),
    ("UPDATE stock SET qty = 1 LIMIT 5", "ms"),
    (
        "UPDATE stock SET qty = (SELECT max(qty) FROM other) WHERE id = 1",
        "mps",
    ),
    (
        "UPDATE stock SET qty = 1 WHERE id IN (SELECT id FROM other)",
        "mps",
    ),
    ("UPDATE stock SET qty = 1 WHERE note < random()", "mps"),
    ("UPDATE stock SET id = 2 WHERE id = 1", "mps"),
    (
        "UPDATE stock JOIN places ON tenant = id SET qty = 1, name = 'a'",
        "m",
    ),
    (
        "UPDATE stock SET qty = 1 FROM other WHERE other.id = stock.id",
        "ps",
    ),
    ("DELETE FROM stock WHERE id = 1", "mps"),
    ("DELETE FROM stock ORDER BY id LIMIT 5", "ms"),
    (
        "DELETE FROM stock WHERE EXISTS (SELECT 1 FROM other)",
        "mps",
    ),
    (
        "DELETE FROM stock USING other WHERE other.id = stock.id",
        "mp",
    ),
    ("DELETE stock FROM stock JOIN other USING (id)", "m"),
    ("WITH few AS (SELECT 1) DELETE FROM stock", "mps"),
    (
        "MERGE INTO stock USING other ON true WHEN MATCHED THEN DELETE",
        "p",
    ),
    ("TRUNCATE TABLE stock", "mp"),
    ("CALL restock(1)", "mp"),
    ("COPY stock FROM STDIN", "p"),
    ("LOAD DATA INFILE 'stock' INTO TABLE stock", "m"),
    ("CREATE TABLE more (id int)", "mps"),
    ("UPDATE stock SET qty = 1; UPDATE stock SET qty = 2", "mps"),
    ("BEGIN", "mps"),
    ("COMMIT", "mps"),
    ("SAVEPOINT here", "mps"),
    ("ROLLBACK TO here", "mps"),
    ("SET SESSION lock_timeout = 5", "mp"),
    ("SET sql_mode = ''", "m"),
    ("SET search_path = other", "p"),
    ("EXPLAIN UPDATE stock SET qty = 1", "mps"),
    ("EXPLAIN ANALYZE UPDATE stock SET qty = 1", "mp"),
    ("SELECT 1 /*!80000 + 1 */", "m"),
];
