//! What SQLite says of itself: its pragmas.
//!
//! SQLite does not hold texts to the length in their type; the store does, so that all databases take the same.

use super::{Alphabet, Class, Comparison, FoundColumn, FoundTable, Server, cell, names, on, rows};
use crate::tc::store::sql::connection::{Fault, Link};

pub(super) async fn server(link: &mut Link) -> Result<Server, Fault> {
    let mut server = Server::default();
    let row = rows(link.run("SELECT sqlite_version()").await?).pop();
    server.product = format!("SQLite {}", row.as_deref().map_or("", |row| cell(row, 0)));
    let row = rows(link.run("PRAGMA query_only").await?).pop();
    if row.is_some_and(|row| on(cell(&row, 0))) {
        server.read_only.push("query_only = 1".to_owned());
    }
    Ok(server)
}

pub(super) async fn tables(link: &mut Link) -> Result<Vec<FoundTable>, Fault> {
    let names = names();
    let sql = format!(
        "SELECT lower(name), type FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) IN ({names})"
    );
    let mut tables = Vec::new();
    for row in rows(link.run(&sql).await?) {
        let mut table = FoundTable::new(cell(&row, 0).to_owned());
        if cell(&row, 1) == "view" {
            table.unfit = Some("is a view, and must be a table".to_owned());
        }
        let name = table.name.clone();
        let sql = format!(
            "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{name}') ORDER BY cid"
        );
        let mut key = Vec::new();
        for row in rows(link.run(&sql).await?) {
            if let Ok(place @ 1..) = cell(&row, 4).parse::<u32>() {
                key.push((place, cell(&row, 0).to_owned()));
            }
            table.columns.push(column(&row));
        }
        let sql = format!(
            "SELECT i.name, i.\"unique\" = 1 AND i.partial = 0, x.name, x.coll FROM pragma_index_list('{name}') i, \
             pragma_index_xinfo(i.name) x WHERE x.key = 1 AND x.name IS NOT NULL ORDER BY i.name, x.seqno"
        );
        for row in rows(link.run(&sql).await?) {
            table.index(cell(&row, 0), on(cell(&row, 1)), cell(&row, 2).to_owned());
            collate(&mut table, cell(&row, 2), cell(&row, 3));
        }
        // A key of one whole number is the table itself and has no index.
        key.sort();
        for (_, column) in key {
            table.index("primary key", true, column);
        }
        tables.push(table);
    }
    Ok(tables)
}

/// Columns say nothing of their collation, the indexes on them do.
fn collate(table: &mut FoundTable, column: &str, collation: &str) {
    let comparison = match collation.to_ascii_uppercase().as_str() {
        "BINARY" => return,
        "RTRIM" => Comparison::Padded(collation.to_owned()),
        _ => Comparison::Folded(collation.to_owned()),
    };
    if let Some(column) = table.columns.iter_mut().find(|c| c.name == column) {
        column.comparison = comparison;
    }
}

fn column(row: &[Option<String>]) -> FoundColumn {
    let type_name = cell(row, 1).to_owned();
    let upper = type_name.to_ascii_uppercase();
    let is = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    let class = match () {
        () if is(&["INT"]) => Class::Whole(64),
        () if is(&["CHAR", "CLOB", "TEXT"]) => Class::Text,
        () if is(&["DATE", "TIME"]) => Class::Moment,
        () => Class::Other,
    };
    let length = upper
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    FoundColumn {
        name: cell(row, 0).to_owned(),
        class,
        characters: length.and_then(|(length, _)| length.trim().parse().ok()),
        bytes: None,
        alphabet: Alphabet::Full,
        comparison: Comparison::Exact,
        demanded: on(cell(row, 2)) && row.get(3).is_none_or(Option::is_none),
        type_name,
    }
}
