//! The image queries on real databases: they show exactly the rows that the statement then changes, as they were.
//!
//! SQLite always; MariaDB or MySQL where `SEAMIO_MYSQL_URL`, PostgreSQL where `SEAMIO_POSTGRES_URL` names a server. All tables
//! are temporary.

mod table;

use std::collections::{BTreeMap, BTreeSet};

use seamio::client::at::statement::{
    Binding, Derived, Dialect, ImageColumns, Insert, InsertedKeys, MayCount, Parameters, Returning,
    Statement, rows_by_key,
};
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, Connection as _, Row as _};
use table::{Given, Given::Null, Given::Number, Given::Text, Stock};

/// Statements that change rows, with their parameters.
const CHANGES: &[(&str, &[Given])] = &[
    (
        "UPDATE stock SET qty = qty - ? WHERE id = ?",
        &[Number(2), Number(3)],
    ),
    ("UPDATE stock SET qty = 5", &[]),
    ("UPDATE stock SET note = ?, qty = 2", &[Text("all")]),
    (
        "UPDATE stock SET note = ?, qty = ? WHERE sku = ? OR note LIKE ?",
        &[Text("new"), Number(9), Text("b"), Text("%o%")],
    ),
    (
        "UPDATE stock SET qty = ? /* WHERE ? */ WHERE id IN (?, 5) AND NOT (qty < ?) -- or?\n AND note <> '?'",
        &[Number(1), Number(4), Number(2)],
    ),
    (
        "UPDATE stock SET qty = (SELECT max(qty) FROM other WHERE id < ?) WHERE CASE WHEN id > ? THEN qty ELSE 0 END > 3",
        &[Number(9), Number(2)],
    ),
    ("UPDATE stock SET qty = 1 WHERE id = ?", &[Number(99)]),
    (
        "DELETE FROM stock WHERE qty BETWEEN ? AND ?",
        &[Number(2), Number(4)],
    ),
    (
        "DELETE FROM stock WHERE note IS NULL OR sku = 'it''s ?'",
        &[],
    ),
    (
        "DELETE FROM stock WHERE id = ? OR ? IS NULL",
        &[Number(1), Text("x")],
    ),
    ("DELETE FROM stock", &[]),
];

const MYSQL_CHANGES: &[(&str, &[Given])] = &[
    (
        "UPDATE stock s SET s.qty = ? WHERE s.qty > ? ORDER BY s.qty DESC, id LIMIT ?",
        &[Number(0), Number(1), Number(3)],
    ),
    ("UPDATE stock SET qty = ? ORDER BY id LIMIT 2", &[Number(0)]),
    (
        "DELETE FROM stock WHERE sku <> \"a ' ?\" ORDER BY sku LIMIT ?",
        &[Number(2)],
    ),
    (
        "UPDATE stock JOIN other ON other.id = stock.id AND other.qty > ? SET stock.qty = ? WHERE stock.id < ?",
        &[Number(10), Number(77), Number(6)],
    ),
    (
        "UPDATE stock s LEFT JOIN other o USING (id), other2 SET s.note = ? WHERE o.id IS NULL AND s.id > ?",
        &[Text("lonely"), Number(1)],
    ),
];

/// Statements that insert, with the number of new rows.
const INSERTS: &[(&str, &[Given], usize)] = &[
    (
        "INSERT INTO stock (sku, qty) VALUES ('n1', ?), (?, 7)",
        &[Number(4), Text("n2")],
        2,
    ),
    (
        "INSERT INTO stock (sku, id) VALUES (?, ?), ('n2', 102), (?, ?)",
        &[Text("n1"), Number(101), Text("n3"), Number(103)],
        3,
    ),
    (
        "INSERT INTO stock (note, sku, id) VALUES (?, 'n1', -5)",
        &[Text("far")],
        1,
    ),
];

const MYSQL_INSERTS: &[(&str, &[Given], usize)] = &[
    (
        "INSERT stock SET sku = ?, qty = lower(?)",
        &[Text("n1"), Text("3")],
        1,
    ),
    (
        "INSERT INTO stock (id, sku) VALUES (?, ?), (?, ?)",
        &[Null, Text("n1"), Null, Text("n2")],
        2,
    ),
    (
        "INSERT INTO stock (id, sku) VALUES (0, 'n1'), (DEFAULT, 'n2')",
        &[],
        2,
    ),
];

const RETURNING_INSERTS: &[(&str, &[Given], usize)] = &[
    (
        "INSERT INTO stock (sku, qty) VALUES (?, 1), ('n1', 2) ON CONFLICT DO NOTHING",
        &[Text("a")],
        1,
    ),
    (
        "INSERT INTO stock (sku) VALUES ('n1') RETURNING id AS x, qty",
        &[],
        1,
    ),
];

/// Statements that insert and update, with the numbers of both.
type UpsertCase = (&'static str, &'static [Given], usize, usize);

const MYSQL_UPSERTS: &[UpsertCase] = &[
    (
        "INSERT INTO stock (sku, qty) VALUES (?, ?), ('n1', 3) ON DUPLICATE KEY UPDATE qty = qty + ?",
        &[Text("b"), Number(1), Number(100)],
        1,
        1,
    ),
    (
        "INSERT INTO stock (id, sku, qty) VALUES (?, ?, 1) ON DUPLICATE KEY UPDATE note = ?",
        &[Number(3), Text("n1"), Text("met")],
        0,
        1,
    ),
];

const ON_CONFLICT_UPSERTS: &[UpsertCase] = &[
    (
        "INSERT INTO stock (sku, qty) VALUES (?, ?), ('n1', 3) ON CONFLICT (sku) DO UPDATE SET qty = excluded.qty + 100",
        &[Text("b"), Number(1)],
        1,
        1,
    ),
    (
        "INSERT INTO stock AS s (sku, qty) VALUES ('a', 1), ('b', ?) ON CONFLICT (sku) DO UPDATE SET qty = 55 WHERE s.id = 2",
        &[Number(4)],
        0,
        1,
    ),
];

macro_rules! database {
    ($module:ident, $database:ty, $dialect:expr, $create:expr) => {
        mod $module {
            use super::*;

            type Connection = <$database as sqlx::Database>::Connection;
            type Arguments = <$database as sqlx::Database>::Arguments;
            const DIALECT: Dialect = $dialect;

            /// A fresh set of tables in a connection of their own.
            pub(super) async fn connect(url: &str) -> Connection {
                let mut conn = Connection::connect(url)
                    .await
                    .expect("the database answers");
                for sql in $create {
                    let query = sqlx::query(AssertSqlSafe(*sql));
                    query
                        .execute(&mut conn)
                        .await
                        .unwrap_or_else(|e| panic!("{sql}: {e}"));
                }
                conn
            }

            fn arguments(given: &[Given], order: &[usize]) -> Arguments {
                let mut arguments = Arguments::default();
                for at in order {
                    match given[*at] {
                        Number(number) => arguments.add(number),
                        Text(text) => arguments.add(text),
                        Null => arguments.add(None::<i64>),
                    }
                    .expect("a value of the database");
                }
                arguments
            }

            async fn run(
                conn: &mut Connection,
                sql: &str,
                given: &[Given],
                order: &[usize],
            ) -> Vec<<$database as sqlx::Database>::Row> {
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments(given, order));
                let rows = query.fetch_all(conn).await;
                rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
            }

            async fn derived(
                conn: &mut Connection,
                query: &Derived,
                given: &[Given],
            ) -> Vec<<$database as sqlx::Database>::Row> {
                let all: Vec<usize> = (0..given.len()).collect();
                let order = match &query.binding {
                    Binding::Whole => &all,
                    Binding::Picked(positions) => positions,
                };
                run(conn, &query.sql, given, order).await
            }

            /// The table as it is.
            async fn contents(conn: &mut Connection) -> BTreeMap<i64, Stock> {
                let sql = "SELECT id, sku, qty, note FROM stock";
                let rows = run(conn, sql, &[], &[]).await;
                rows.iter()
                    .map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3))))
                    .collect()
            }

            /// The rows of an image, which must be as the table has them.
            fn image(
                rows: &[<$database as sqlx::Database>::Row],
                contents: &BTreeMap<i64, Stock>,
                sql: &str,
            ) -> BTreeSet<i64> {
                let mut keys = BTreeSet::new();
                for row in rows {
                    let id: i64 = row.get("id");
                    let (sku, qty, note) = &contents[&id];
                    for column in row.columns() {
                        match column.name() {
                            "id" => {}
                            "sku" => assert_eq!(&row.get::<String, _>("sku"), sku, "{sql}"),
                            "qty" => assert_eq!(&row.get::<Option<i64>, _>("qty"), qty, "{sql}"),
                            "note" => {
                                assert_eq!(&row.get::<Option<String>, _>("note"), note, "{sql}");
                            }
                            other => panic!("{sql}: there is no column {other}"),
                        }
                    }
                    assert!(keys.insert(id), "{sql}: row {id} is there twice");
                }
                keys
            }

            fn changed(
                before: &BTreeMap<i64, Stock>,
                after: &BTreeMap<i64, Stock>,
            ) -> BTreeSet<i64> {
                let rows = before.iter().filter(|(id, row)| after.get(id) != Some(row));
                rows.map(|(id, _)| *id).collect()
            }

            pub(super) async fn check_change(conn: &mut Connection, sql: &str, given: &[Given]) {
                let sql = &table::numbered(sql, DIALECT);
                let statement = Statement::recognise(sql, DIALECT).expect(sql);
                let meta = table::meta(DIALECT);
                let all: Vec<usize> = (0..given.len()).collect();
                for parameters in [Parameters::Whole, Parameters::Picked] {
                    let columns = ImageColumns::Written;
                    let query = match &statement {
                        Statement::Update(update) => {
                            update.before(&meta, columns, parameters).expect(sql).query
                        }
                        Statement::Delete(delete) => {
                            delete.before(&meta, parameters).expect(sql).query
                        }
                        Statement::UpdateJoin(update) => {
                            let other = table::other();
                            let mut metas = vec![&other; statement.tables().len()];
                            metas[0] = &meta;
                            let images = update.before(&metas, columns, parameters).expect(sql);
                            assert_eq!(images.len(), 1, "{sql}");
                            images[0].before.query.clone()
                        }
                        other => panic!("{sql} is taken for {other:?}"),
                    };
                    assert!(parameters == Parameters::Picked || query.binding == Binding::Whole);
                    let mut conn = conn.begin().await.expect("a transaction");
                    let before = contents(&mut conn).await;
                    let rows = derived(&mut conn, &query, given).await;
                    let keys = image(&rows, &before, sql);
                    let done =
                        sqlx::query_with(AssertSqlSafe(sql.as_str()), arguments(given, &all));
                    let done = done.execute(&mut *conn).await.expect(sql);
                    assert_eq!(
                        done.rows_affected(),
                        keys.len() as u64,
                        "{sql}: {}",
                        query.sql
                    );
                    let changed = changed(&before, &contents(&mut conn).await);
                    assert!(changed.is_subset(&keys), "{sql}: {changed:?} of {keys:?}");
                    conn.rollback().await.expect("rolled back");
                }
            }

            pub(super) async fn check_insert(
                conn: &mut Connection,
                sql: &str,
                given: &[Given],
                new: usize,
                returning: Returning,
            ) {
                let sql = &table::numbered(sql, DIALECT);
                let Ok(Statement::Insert(insert)) = Statement::recognise(sql, DIALECT) else {
                    panic!("{sql} is no INSERT");
                };
                for parameters in [Parameters::Whole, Parameters::Picked] {
                    let mut conn = conn.begin().await.expect("a transaction");
                    let before = contents(&mut conn).await;
                    let rows =
                        inserted(&mut conn, &insert, sql, given, returning, parameters).await;
                    let after = contents(&mut conn).await;
                    let keys = image(&rows, &after, sql);
                    let new_keys = after.keys().filter(|id| !before.contains_key(id));
                    assert_eq!(new_keys.copied().collect::<BTreeSet<_>>(), keys, "{sql}");
                    assert_eq!(keys.len(), new, "{sql}");
                    conn.rollback().await.expect("rolled back");
                }
            }

            /// Executes the statement and gives its image.
            async fn inserted(
                conn: &mut Connection,
                insert: &Insert,
                sql: &str,
                given: &[Given],
                returning: Returning,
                parameters: Parameters,
            ) -> Vec<<$database as sqlx::Database>::Row> {
                let meta = table::meta(DIALECT);
                let plan = insert.plan(&meta, returning, ImageColumns::Written, parameters);
                let plan = plan.expect("undoable");
                let all: Vec<usize> = (0..given.len()).collect();
                let (query, may_count) = match &plan.keys {
                    InsertedKeys::Returned(returned) => {
                        let rows = run(conn, &returned.sql, given, &all).await;
                        let keys: Vec<Given> = rows
                            .iter()
                            .map(|row| Number(row.get(row.len() - returned.keys)))
                            .collect();
                        return by_keys(conn, &plan.columns, &keys).await;
                    }
                    InsertedKeys::ReadBack { query, counted } => (Some(query), *counted),
                    InsertedKeys::Counted => (None, MayCount::Yes),
                };
                let first = table::first_number(conn, sql.to_owned(), arguments(given, &all)).await;
                if let Some(query) = query {
                    let rows = derived(conn, query, given).await;
                    if !rows.is_empty() || may_count == MayCount::No {
                        return rows;
                    }
                }
                let query = insert.counted(&meta, &plan.columns, first, 1, parameters);
                derived(conn, &query.expect("numbers"), given).await
            }

            async fn by_keys(
                conn: &mut Connection,
                columns: &[usize],
                keys: &[Given],
            ) -> Vec<<$database as sqlx::Database>::Row> {
                let mut rows = Vec::new();
                let meta = table::meta(DIALECT);
                for query in rows_by_key(DIALECT, &meta, columns, keys.len()).expect("a key") {
                    let order: Vec<usize> = query.keys.collect();
                    rows.extend(run(conn, &query.sql, keys, &order).await);
                }
                rows
            }

            pub(super) async fn check_upsert(
                conn: &mut Connection,
                (sql, given, new, met): UpsertCase,
            ) {
                let sql = &table::numbered(sql, DIALECT);
                let Ok(Statement::Upsert(upsert)) = Statement::recognise(sql, DIALECT) else {
                    panic!("{sql} is no upsert");
                };
                let all: Vec<usize> = (0..given.len()).collect();
                for parameters in [Parameters::Whole, Parameters::Picked] {
                    let plan = upsert.plan(&table::meta(DIALECT), parameters).expect(sql);
                    let mut conn = conn.begin().await.expect("a transaction");
                    let before = contents(&mut conn).await;
                    let rows = derived(&mut conn, &plan.probe, given).await;
                    let there = image(&rows, &before, sql);
                    let executed = plan.returned.as_ref().map_or(sql, |returned| &returned.sql);
                    let rows = run(&mut conn, executed, given, &all).await;
                    let after = contents(&mut conn).await;
                    let changed = changed(&before, &after);
                    assert_eq!(changed.len(), met, "{sql}");
                    assert!(changed.is_subset(&there), "{sql}: {changed:?} of {there:?}");
                    let probed = derived(&mut conn, &plan.probe, given).await;
                    let mut shown = image(&probed, &after, sql);
                    shown.retain(|id| !there.contains(id));
                    let new_keys = after.keys().filter(|id| !before.contains_key(id));
                    assert_eq!(new_keys.copied().collect::<BTreeSet<_>>(), shown, "{sql}");
                    assert_eq!(shown.len(), new, "{sql}");
                    if plan.returned.is_some() {
                        let is_new = |row: &&<$database as sqlx::Database>::Row| {
                            row.get::<bool, _>(row.len() - 1)
                        };
                        assert_eq!(rows.iter().filter(is_new).count(), new, "{sql}");
                        assert_eq!(rows.len(), new + met, "{sql}");
                    }
                    conn.rollback().await.expect("rolled back");
                }
            }
        }
    };
}

database!(on_sqlite, sqlx::Sqlite, Dialect::Sqlite, table::SQLITE);
database!(on_mysql, sqlx::MySql, Dialect::MySql, table::MYSQL);
database!(
    on_postgres,
    sqlx::Postgres,
    Dialect::Postgres,
    table::POSTGRES
);

#[tokio::test]
async fn images_on_sqlite() {
    let mut conn = on_sqlite::connect("sqlite::memory:").await;
    for (sql, given) in CHANGES {
        on_sqlite::check_change(&mut conn, sql, given).await;
    }
    for (sql, given, new) in INSERTS.iter().chain(RETURNING_INSERTS) {
        on_sqlite::check_insert(&mut conn, sql, given, *new, Returning::Supported).await;
    }
    for case in ON_CONFLICT_UPSERTS {
        on_sqlite::check_upsert(&mut conn, *case).await;
    }
}

#[tokio::test]
async fn images_on_mysql() {
    let Some(url) = table::url("SEAMIO_MYSQL_URL") else {
        return;
    };
    let mut conn = on_mysql::connect(&url).await;
    for (sql, given) in CHANGES.iter().chain(MYSQL_CHANGES) {
        on_mysql::check_change(&mut conn, sql, given).await;
    }
    let returning = table::returning(&mut conn).await;
    for returning in [Returning::Unsupported, returning] {
        for (sql, given, new) in INSERTS.iter().chain(MYSQL_INSERTS) {
            on_mysql::check_insert(&mut conn, sql, given, *new, returning).await;
        }
    }
    for case in MYSQL_UPSERTS {
        on_mysql::check_upsert(&mut conn, *case).await;
    }
}

#[tokio::test]
async fn images_on_postgres() {
    let Some(url) = table::url("SEAMIO_POSTGRES_URL") else {
        return;
    };
    let mut conn = on_postgres::connect(&url).await;
    for (sql, given) in CHANGES {
        on_postgres::check_change(&mut conn, sql, given).await;
    }
    for (sql, given, new) in INSERTS.iter().chain(RETURNING_INSERTS) {
        on_postgres::check_insert(&mut conn, sql, given, *new, Returning::Supported).await;
    }
    for case in ON_CONFLICT_UPSERTS {
        on_postgres::check_upsert(&mut conn, *case).await;
    }
}
