//! The tables of these tests, and what differs between the databases.

use seamio::client::at::meta::{
    ColumnMeta, ColumnSource, KeyKind, KeyMeta, Nullability, TableMeta,
};
use seamio::client::at::statement::{Dialect, Returning};
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

/// What a row has besides its key: sku, qty, note.
pub(crate) type Stock = (String, Option<i64>, Option<String>);

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given {
    Number(i64),
    Text(&'static str),
    Null,
}

const FILL: &str = "INSERT INTO stock (sku, qty, note) VALUES ('a', 1, 'one'), ('b', 2, 'two'), ('c', 3, NULL), ('d', 4, 'four'), ('e', 5, '?'), ('f', 6, 'six')";
const FILL_OTHER: &str = "INSERT INTO other (id, qty) VALUES (1, 5), (2, 15), (3, 25), (9, 35)";
const FILL_OTHER2: &str = "INSERT INTO other2 (id, qty) VALUES (1, 1), (2, 2)";

pub(crate) const SQLITE: &[&str] = &[
    "CREATE TABLE stock (id INTEGER PRIMARY KEY, sku VARCHAR(20) NOT NULL UNIQUE, qty BIGINT, note TEXT)",
    "CREATE TABLE other (id BIGINT PRIMARY KEY, qty BIGINT)",
    FILL,
    FILL_OTHER,
];

pub(crate) const MYSQL: &[&str] = &[
    "CREATE TEMPORARY TABLE stock (id BIGINT AUTO_INCREMENT PRIMARY KEY, sku VARCHAR(20) NOT NULL UNIQUE, qty BIGINT, note TEXT) ENGINE = InnoDB",
    "CREATE TEMPORARY TABLE other (id BIGINT PRIMARY KEY, qty BIGINT) ENGINE = InnoDB",
    "CREATE TEMPORARY TABLE other2 (id BIGINT PRIMARY KEY, qty BIGINT) ENGINE = InnoDB",
    FILL,
    FILL_OTHER,
    FILL_OTHER2,
];

pub(crate) const POSTGRES: &[&str] = &[
    "CREATE TEMPORARY TABLE stock (id BIGSERIAL PRIMARY KEY, sku VARCHAR(20) NOT NULL UNIQUE, qty BIGINT, note TEXT)",
    "CREATE TEMPORARY TABLE other (id BIGINT PRIMARY KEY, qty BIGINT)",
    FILL,
    FILL_OTHER,
];

/// `stock` as the database would describe it.
pub(crate) fn meta(dialect: Dialect) -> TableMeta {
    let types = match dialect {
        Dialect::Postgres => ["bigint", "character varying(20)", "bigint", "text"],
        Dialect::MySql | Dialect::Sqlite => ["bigint", "varchar(20)", "bigint", "text"],
    };
    let mut table = describe("stock", &["id", "sku", "qty", "note"], &types);
    table.columns[0].source = ColumnSource::AutoIncrement;
    table.columns[1].nullability = Nullability::NotNull;
    table.keys.push(KeyMeta {
        name: "sku".to_owned(),
        kind: KeyKind::Unique,
        columns: vec![1],
    });
    table
}

/// `other` and `other2`.
pub(crate) fn other() -> TableMeta {
    describe("other", &["id", "amount"], &["bigint", "bigint"])
}

fn describe(name: &str, columns: &[&str], types: &[&str]) -> TableMeta {
    let columns = columns
        .iter()
        .zip(types)
        .map(|(name, type_name)| ColumnMeta {
            name: (*name).to_owned(),
            jdbc_type: 0,
            type_name: (*type_name).to_owned(),
            nullability: Nullability::Nullable,
            default: None,
            source: ColumnSource::Statement,
        });
    TableMeta {
        schema: None,
        name: name.to_owned(),
        columns: columns.collect(),
        keys: vec![KeyMeta {
            name: "PRIMARY".to_owned(),
            kind: KeyKind::Primary,
            columns: vec![0],
        }],
    }
}

/// The statement with PostgreSQL's parameters. Those in literals and comments become others as well, which is as good.
pub(crate) fn numbered(sql: &str, dialect: Dialect) -> String {
    if dialect != Dialect::Postgres {
        return sql.to_owned();
    }
    let mut text = String::new();
    let mut number = 0;
    let mut quoted = false;
    for piece in sql.split_inclusive(['?', '\'']) {
        match piece.strip_suffix('?') {
            // Comments end with a blank after the mark.
            Some(before) if !quoted && !before.ends_with("WHERE ") && !before.ends_with("or") => {
                number += 1;
                text.push_str(&format!("{before}${number}"));
            }
            _ => text.push_str(piece),
        }
        quoted ^= piece.ends_with('\'');
    }
    text
}

/// The server, if there is one.
pub(crate) fn url(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        println!("SKIPPED: {variable} names no server");
    }
    url
}

/// Whether this server returns what it inserts.
pub(crate) async fn returning(conn: &mut MySqlConnection) -> Returning {
    let version: String = sqlx::query_scalar("SELECT VERSION()")
        .fetch_one(conn)
        .await
        .expect("a version");
    match version.contains("MariaDB") {
        true => Returning::Supported,
        false => Returning::Unsupported,
    }
}

/// Executes an INSERT and gives the first number that the database has counted.
pub(crate) async fn first_number<C: Counting>(
    conn: &mut C,
    sql: String,
    arguments: C::Arguments,
) -> u64 {
    conn.insert(sql, arguments).await
}

/// A connection that says what it has counted.
pub(crate) trait Counting {
    type Arguments;
    async fn insert(&mut self, sql: String, arguments: Self::Arguments) -> u64;
}

impl Counting for MySqlConnection {
    type Arguments = MySqlArguments;
    async fn insert(&mut self, sql: String, arguments: MySqlArguments) -> u64 {
        let done = sqlx::query_with(AssertSqlSafe(sql), arguments);
        done.execute(self).await.expect("inserted").last_insert_id()
    }
}

impl Counting for PgConnection {
    type Arguments = PgArguments;
    async fn insert(&mut self, _: String, _: PgArguments) -> u64 {
        panic!("PostgreSQL returns its keys");
    }
}

impl Counting for SqliteConnection {
    type Arguments = SqliteArguments;
    async fn insert(&mut self, _: String, _: SqliteArguments) -> u64 {
        panic!("SQLite returns its keys");
    }
}
