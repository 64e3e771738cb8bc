//! Statements as people write them, and what becomes of them.

mod arbitrary;
mod changes;
mod inserts;
mod lexing;
mod manual;
mod queries;
mod refusals;
mod second_reader;
mod undoing;

use super::{BeforeImage, Binding, Derived, Dialect, ImageColumns, Parameters, Refused, Statement};
use crate::client::at::meta::{ColumnMeta, ColumnSource, KeyKind, KeyMeta, Nullability, TableMeta};

const ALL: [Dialect; 3] = [Dialect::MySql, Dialect::Postgres, Dialect::Sqlite];

/// `stock(id, sku, qty, price, note, changed)`: a counted key, a unique column, a default.
fn stock() -> TableMeta {
    let mut table = table(
        "stock",
        &["id", "sku", "qty", "price", "note", "changed"],
        &[0],
    );
    let types = [
        "int8",
        "varchar(20)",
        "int4",
        "numeric(10,2)",
        "text",
        "timestamp",
    ];
    for (column, name) in table.columns.iter_mut().zip(types) {
        column.type_name = name.to_owned();
    }
    table.columns[0].source = ColumnSource::AutoIncrement;
    table.columns[1].nullability = Nullability::NotNull;
    table.columns[3].default = Some("1.50".to_owned());
    unique(&mut table, "ux_sku", &[1]);
    table
}

/// `places(tenant, region, name, sum)`: a key of two columns, a computed column.
fn places() -> TableMeta {
    let mut table = table("places", &["tenant", "region", "name", "sum"], &[0, 1]);
    table.columns[3].source = ColumnSource::Generated;
    table
}

/// Names that need quotes.
fn odd() -> TableMeta {
    table("Order", &["Key", "a b", "q`\"x", "größe", "select"], &[0])
}

fn table(name: &str, columns: &[&str], key: &[usize]) -> TableMeta {
    let columns = columns.iter().enumerate().map(|(at, name)| ColumnMeta {
        name: (*name).to_owned(),
        jdbc_type: 0,
        type_name: String::new(),
        nullability: match key.contains(&at) {
            true => Nullability::NotNull,
            false => Nullability::Nullable,
        },
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
            columns: key.to_vec(),
        }],
    }
}

fn unique(table: &mut TableMeta, name: &str, columns: &[usize]) {
    table.keys.push(KeyMeta {
        name: name.to_owned(),
        kind: KeyKind::Unique,
        columns: columns.to_vec(),
    });
}

fn recognise(sql: &str, dialect: Dialect) -> Statement {
    Statement::recognise(sql, dialect).unwrap_or_else(|refused| panic!("{sql}: {refused}"))
}

fn refused(sql: &str, dialect: Dialect) -> Refused {
    match Statement::recognise(sql, dialect) {
        Ok(statement) => panic!("{dialect:?}: {sql} is taken for {statement:?}"),
        Err(refused) => refused,
    }
}

/// The image before an UPDATE or DELETE.
fn before(
    sql: &str,
    dialect: Dialect,
    meta: &TableMeta,
    parameters: Parameters,
) -> Result<BeforeImage, Refused> {
    match recognise(sql, dialect) {
        Statement::Update(update) => update.before(meta, ImageColumns::Written, parameters),
        Statement::Delete(delete) => delete.before(meta, parameters),
        other => panic!("{sql} is taken for {other:?}"),
    }
}

fn whole(sql: &str) -> Derived {
    Derived {
        sql: sql.to_owned(),
        binding: Binding::Whole,
    }
}

fn picked(sql: &str, positions: &[usize]) -> Derived {
    Derived {
        sql: sql.to_owned(),
        binding: Binding::Picked(positions.to_vec()),
    }
}
