//! What PostgreSQL says of itself: `pg_catalog`, for the tables that the search path leads to.

use super::TABLES;
use super::{Alphabet, Class, Comparison, FoundColumn, FoundTable, Server, cell, length, on, rows};
use crate::tc::store::sql::connection::{Fault, Link};

pub(super) async fn server(link: &mut Link) -> Result<Server, Fault> {
    let mut server = Server::default();
    let Some(row) = rows(link.run(SERVER).await?).pop() else {
        return Ok(server);
    };
    server.product = format!("PostgreSQL {}", cell(&row, 0));
    let number: u32 = cell(&row, 1).parse().unwrap_or(0);
    if number < LEAST * 10_000 {
        server.too_old = Some(format!("PostgreSQL {LEAST} or later is needed"));
    }
    if on(cell(&row, 2)) {
        let standby = "it is a standby (pg_is_in_recovery)";
        server.read_only.push(standby.to_owned());
    } else if on(cell(&row, 3)) {
        let setting = "default_transaction_read_only = on";
        server.read_only.push(setting.to_owned());
    }
    if cell(&row, 4).is_empty() {
        let path = "the search path names no schema that exists: make it, or set another with \
                    ?options[search_path]=SCHEMA";
        server.nowhere = Some(path.to_owned());
    }
    for (name, at) in [("fsync", 5), ("full_page_writes", 6)] {
        if !on(cell(&row, at)) {
            server.forgetful.push(format!("{name} is off"));
        }
    }
    Ok(server)
}

pub(super) async fn tables(link: &mut Link) -> Result<Vec<FoundTable>, Fault> {
    let oids: Vec<_> = TABLES
        .iter()
        .map(|t| format!("to_regclass('{}')", t.name))
        .collect();
    let oids = oids.join(", ");
    let sql = format!(
        "SELECT relname, relkind, relpersistence FROM pg_catalog.pg_class WHERE oid IN ({oids})"
    );
    let mut tables = Vec::new();
    for row in rows(link.run(&sql).await?) {
        let mut table = FoundTable::new(cell(&row, 0).to_owned());
        if !matches!(cell(&row, 1), "r" | "p") {
            table.unfit = Some("is a view or a foreign table, and must be a table".to_owned());
        } else if cell(&row, 2) != "p" {
            table.unfit = Some(format!(
                "is unlogged, and so empty after a crash: ALTER TABLE {} SET LOGGED",
                table.name
            ));
        }
        tables.push(table);
    }
    let sql = format!(
        "SELECT c.relname, a.attname, t.typname, format_type(a.atttypid, a.atttypmod), \
         CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END, \
         a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', \
         pg_catalog.current_setting('server_encoding'), o.collname, o.collisdeterministic \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation \
         WHERE a.attrelid IN ({oids}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    for row in rows(link.run(&sql).await?) {
        if let Some(table) = tables.iter_mut().find(|table| table.name == cell(&row, 0)) {
            table.columns.push(column(&row));
        }
    }
    let sql = format!(
        "SELECT c.relname, i.relname, x.indisunique, a.attname \
         FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indrelid \
         JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
         CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum \
         WHERE x.indrelid IN ({oids}) AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL \
         AND k.place <= x.indnkeyatts ORDER BY i.relname, k.place"
    );
    for row in rows(link.run(&sql).await?) {
        if let Some(table) = tables.iter_mut().find(|table| table.name == cell(&row, 0)) {
            table.index(cell(&row, 1), on(cell(&row, 2)), cell(&row, 3).to_owned());
        }
    }
    Ok(tables)
}

fn column(row: &[Option<String>]) -> FoundColumn {
    let class = match cell(row, 2) {
        "varchar" | "text" | "bpchar" => Class::Text,
        "int2" => Class::Whole(16),
        "int4" => Class::Whole(32),
        "int8" => Class::Whole(64),
        "timestamp" | "timestamptz" => Class::Moment,
        _ => Class::Other,
    };
    let collation = cell(row, 7);
    let deterministic = collation.is_empty() || on(cell(row, 8));
    FoundColumn {
        name: cell(row, 1).to_owned(),
        type_name: cell(row, 3).to_owned(),
        class,
        characters: length(row, 4),
        bytes: None,
        alphabet: match cell(row, 6) {
            "UTF8" => Alphabet::Full,
            _ => Alphabet::Ascii,
        },
        comparison: match (deterministic, cell(row, 2)) {
            (false, _) => Comparison::Folded(collation.to_owned()),
            (true, "bpchar") => Comparison::Padded(cell(row, 3).to_owned()),
            (true, _) => Comparison::Exact,
        },
        demanded: on(cell(row, 5)),
    }
}

const LEAST: u32 = 14;
const SERVER: &str = "SELECT current_setting('server_version'), current_setting('server_version_num'), \
                      pg_is_in_recovery(), current_setting('default_transaction_read_only'), current_schema(), \
                      current_setting('fsync'), current_setting('full_page_writes')";
