//! The definitions of the tables as text, in the words of each database.
//!
//! Texts compare by their characters, with case and with blanks at the end, as Java's strings do: on MySQL and MariaDB
//! that takes a collation which each of the two names differently, so it stands in comments that only one of them reads.

use std::fmt::Write;

use super::super::dialect::Dialect;
use super::tables::{Column, Index, Kind, Owner, Rule, TABLES, Table};

/// All definitions, ready for the command line of the database.
pub(super) fn script(dialect: Dialect) -> String {
    let mut text = format!(
        "-- The tables of a seamio coordinator, for {}.\n",
        name(dialect)
    );
    for table in TABLES {
        let owner = match table.owner {
            Owner::Java => "Seata's",
            Owner::Seamio => "seamio's own",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n-- {owner}: {}", table.meaning);
        for statement in create(table, dialect) {
            let _ = writeln!(text, "{statement};");
        }
    }
    text
}

/// What makes a table with its indexes and first rows; does nothing where they are.
pub(super) fn create(table: &Table, dialect: Dialect) -> Vec<String> {
    let mut text = format!("CREATE TABLE IF NOT EXISTS {} (\n", table.name);
    for column in table.columns {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {},", definition(column, dialect));
    }
    let identity = table.identity(dialect);
    if identity == table.key {
        let _ = write!(text, "  PRIMARY KEY ({})", identity.join(", "));
    } else {
        let name = identity.join("_").to_ascii_lowercase();
        let _ = write!(text, "  UNIQUE KEY idx_{name} ({})", identity.join(", "));
    }
    let mut statements = Vec::new();
    match dialect {
        Dialect::MySql => {
            for index in table.indexes {
                let name = index.name(table, dialect);
                let _ = write!(text, ",\n  KEY {name} ({})", index.columns.join(", "));
            }
            text.push_str("\n) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 ");
            text.push_str(MYSQL_COLLATION);
            statements.push(text);
        }
        Dialect::Postgres => {
            statements.push(text + "\n)");
            let indexes = table.indexes.iter();
            statements.extend(indexes.map(|index| create_index(table, index, dialect, None)));
        }
        Dialect::Sqlite => {
            statements.push(text + "\n) WITHOUT ROWID");
            let indexes = table.indexes.iter();
            statements.extend(indexes.map(|index| create_index(table, index, dialect, None)));
        }
    }
    statements.extend(seeds(table, dialect));
    statements
}

/// What puts the first rows into a table, each unless it is there.
pub(super) fn seeds(table: &Table, dialect: Dialect) -> Option<String> {
    if table.seeds.is_empty() {
        return None;
    }
    let (insert, keep) = match dialect {
        Dialect::MySql => ("INSERT IGNORE INTO", ""),
        Dialect::Postgres | Dialect::Sqlite => ("INSERT INTO", "\nON CONFLICT DO NOTHING"),
    };
    let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
    Some(format!(
        "{insert} {} ({}) VALUES\n  ({}){keep}",
        table.name,
        columns.join(", "),
        table.seeds.join("),\n  (")
    ))
}

/// What adds a column to a table that was made without it.
pub(super) fn add_column(table: &Table, column: &Column, dialect: Dialect) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {}",
        table.name,
        definition(column, dialect)
    )
}

/// What adds an index, under another name when its own is taken.
pub(super) fn create_index(
    table: &Table,
    index: &Index,
    dialect: Dialect,
    name: Option<String>,
) -> String {
    let keep = match dialect {
        // MySQL has no such clause; what is there was looked at before.
        Dialect::MySql => "",
        Dialect::Postgres | Dialect::Sqlite => "IF NOT EXISTS ",
    };
    let name = name.unwrap_or_else(|| index.name(table, dialect));
    format!(
        "CREATE INDEX {keep}{name} ON {} ({})",
        table.name,
        index.columns.join(", ")
    )
}

/// A column as it stands in a definition.
pub(super) fn definition(column: &Column, dialect: Dialect) -> String {
    let kind = type_name(column.kind, dialect);
    let rule = match column.rule {
        Rule::Needed => " NOT NULL",
        Rule::Optional => "",
        Rule::Zero => " NOT NULL DEFAULT 0",
    };
    format!("{} {kind}{rule}", column.name)
}

/// The database for people.
pub(super) fn name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "MySQL and MariaDB",
        Dialect::Postgres => "PostgreSQL",
        Dialect::Sqlite => "SQLite",
    }
}

/// A type as the database calls it.
pub(super) fn type_name(kind: Kind, dialect: Dialect) -> String {
    let word = match (kind, dialect) {
        (Kind::Text(characters), _) => return format!("VARCHAR({characters})"),
        (Kind::Document, Dialect::MySql) => "MEDIUMTEXT",
        (Kind::Document, _) => "TEXT",
        (Kind::Code, Dialect::MySql) => "TINYINT",
        (Kind::Code | Kind::Short, _) => "SMALLINT",
        (Kind::Int, Dialect::MySql) => "INT",
        (Kind::Int, _) => "INTEGER",
        (Kind::Long, _) => "BIGINT",
        (Kind::Moment, Dialect::MySql) => "DATETIME(6)",
        (Kind::Moment, Dialect::Postgres) => "TIMESTAMP(6)",
        (Kind::Moment, Dialect::Sqlite) => "DATETIME",
    };
    word.to_owned()
}

/// MySQL reads the first comment and takes the second for one; MariaDB the other way round.
const MYSQL_COLLATION: &str =
    "/*!80017 COLLATE = utf8mb4_0900_bin */ /*M!100202 COLLATE = utf8mb4_nopad_bin */";
