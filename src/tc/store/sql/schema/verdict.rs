//! The judgement on what a database says of itself: what a coordinator cannot work with, and what its operator should
//! know.

use super::super::connection::{Fault, Link};
use super::super::dialect::Dialect;
use super::catalog::{Alphabet, Catalog, Class, Comparison, FoundColumn, FoundTable};
use super::tables::{Column, Kind, Owner, Rule, TABLES, Table};
use super::{Problem, RowKeys, ddl};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// A coordinator cannot work.
    pub(super) problems: Vec<Problem>,
    /// It can, but.
    pub(super) warnings: Vec<Problem>,
}

/// Judges everything that can be read.
pub(super) fn judge(catalog: &Catalog, dialect: Dialect) -> Verdict {
    let mut verdict = Verdict::default();
    let server = &catalog.server;
    if let Some(needed) = &server.too_old {
        verdict.problem(format!("the server is {}, and {needed}", server.product));
    }
    if let Some(nowhere) = &server.nowhere {
        verdict.problem(nowhere.clone());
    }
    for setting in &server.read_only {
        verdict.problem(format!(
            "the server takes no writes, {setting}: give the URL of the primary server"
        ));
    }
    if !verdict.problems.is_empty() {
        return verdict;
    }
    for setting in &server.forgetful {
        verdict.warning(format!(
            "the server may lose what it has committed when it crashes: {setting}"
        ));
    }
    for table in TABLES {
        match catalog.table(table.name) {
            Some(found) => judge_table(table, found, dialect, &mut verdict),
            None if table.optional => {}
            None => verdict.problem(format!("table {} is missing: {APPLY} makes it", table.name)),
        }
    }
    verdict
}

/// Whether rows are told apart by all their characters.
pub(super) fn row_keys(catalog: &Catalog) -> RowKeys {
    let column = catalog
        .table("lock_table")
        .and_then(|table| table.column("row_key"));
    match column.map(|column| &column.comparison) {
        Some(Comparison::Exact) => RowKeys::Exact,
        _ => RowKeys::Folded,
    }
}

/// Tries every kind of write on each table, on no row.
pub(super) async fn probe(link: &mut Link) -> Result<Vec<Problem>, Fault> {
    let mut problems = Vec::new();
    for table in TABLES.iter().filter(|table| !table.optional) {
        let name = table.name;
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        let (first, columns) = (columns[0], columns.join(", "));
        let sql = format!(
            "{}; INSERT INTO {name} ({columns}) SELECT {columns} FROM {name} WHERE 1 = 0; \
             UPDATE {name} SET {first} = {first} WHERE 1 = 0; DELETE FROM {name} WHERE 1 = 0; ROLLBACK",
            link.dialect().begin()
        );
        match link.run(&sql).await {
            Ok(_) => {}
            Err(Fault::Refused(text) | Fault::Duplicate(text)) => {
                // A statement before the ROLLBACK failed.
                link.run("ROLLBACK").await?;
                problems.push(Problem::new(format!(
                    "table {name} cannot be written: {text}: grant SELECT, INSERT, UPDATE and DELETE on it"
                )));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(problems)
}

fn judge_table(table: &Table, found: &FoundTable, dialect: Dialect, verdict: &mut Verdict) {
    let name = table.name;
    if let Some(why) = &found.unfit {
        verdict.problem(format!("table {name} {why}"));
        return;
    }
    let before = verdict.problems.len();
    for column in table.columns {
        match found.column(column.name) {
            None => verdict.problem(missing(table, column)),
            Some(found) if !holds(found, column.kind) => verdict.problem(format!(
                "column {} of {name} has the type {}: change it to {}",
                column.name,
                found.type_name,
                ddl::type_name(column.kind, dialect)
            )),
            Some(_) => {}
        }
    }
    for extra in &found.columns {
        if extra.demanded
            && table
                .columns
                .iter()
                .all(|c| !c.name.eq_ignore_ascii_case(&extra.name))
        {
            verdict.problem(format!(
                "column {} of {name} is unknown to seamio, and no row can be written without it: give it a default",
                extra.name
            ));
        }
    }
    if verdict.problems.len() > before || table.optional {
        return;
    }
    let identity = table.identity(dialect);
    if !found.has_unique(identity) {
        let columns = identity.join(", ");
        verdict.problem(format!(
            "table {name} lets two rows have the same {columns}: ALTER TABLE {name} ADD PRIMARY KEY ({columns})"
        ));
    }
    for index in table.indexes {
        if !found.has_index(index.columns) {
            let columns = index.columns.join(", ");
            verdict.warning(format!(
                "table {name} has no index on ({columns}) and is slow without: {APPLY} makes it"
            ));
        }
    }
    judge_texts(table, found, dialect, verdict);
}

/// How the texts of a table compare, which characters they take and how many.
fn judge_texts(table: &Table, found: &FoundTable, dialect: Dialect, verdict: &mut Verdict) {
    let name = table.name;
    for key in table.key {
        let Some(column) = found.column(key) else {
            continue;
        };
        let (collation, differ) = match &column.comparison {
            Comparison::Exact => continue,
            Comparison::Padded(collation) => (collation, "in blanks at the end"),
            Comparison::Folded(collation) => (collation, "in case"),
        };
        let remedy = exact(name, dialect);
        match table.owner {
            Owner::Java if *key == "row_key" => verdict.warning(format!(
                "column {key} of {name} compares by {collation}, so rows whose keys differ only {differ} are one lock, \
                 as with Java coordinators; to tell them apart, while no coordinator runs{remedy}"
            )),
            // Xids that differ only so are not made, and names of loops are all known.
            Owner::Java => {}
            Owner::Seamio => verdict.problem(format!(
                "column {key} of {name} compares by {collation}, and keys that differ only {differ} would be \
                 one{remedy}"
            )),
        }
    }
    let texts = || {
        let pairs = table
            .columns
            .iter()
            .filter_map(|c| Some((c, found.column(c.name)?)));
        pairs.filter(|(_, found)| found.class == Class::Text)
    };
    let poor = texts()
        .map(|(_, found)| found.alphabet)
        .min()
        .unwrap_or(Alphabet::Full);
    if poor != Alphabet::Full {
        let which = match poor {
            Alphabet::Ascii => "only ASCII for certain",
            _ => "no characters of four bytes of UTF-8",
        };
        verdict.warning(format!(
            "texts of {name} take {which}, and others are refused: change the character set{}",
            match dialect {
                Dialect::MySql => " to utf8mb4",
                Dialect::Postgres | Dialect::Sqlite => " of the database to UTF8",
            }
        ));
    }
    let narrow = texts().filter_map(|(column, found)| {
        let wanted = match column.kind {
            Kind::Text(characters) => characters as usize,
            _ => DOCUMENT_LEAST,
        };
        let characters = found.characters.filter(|characters| *characters < wanted)?;
        Some(format!("{} ({characters})", column.name))
    });
    let narrow: Vec<_> = narrow.collect();
    if !narrow.is_empty() {
        verdict.warning(format!(
            "longer texts than these columns of {name} take are refused: {}",
            narrow.join(", ")
        ));
    }
}

fn missing(table: &Table, column: &Column) -> String {
    let (name, table) = (column.name, table.name);
    let old = if (table, name) == ("lock_table", "status") {
        " (the schema is of Seata 1.4 or earlier)"
    } else {
        ""
    };
    match column.rule {
        Rule::Needed => format!(
            "column {name} of {table} is missing and has no value for the rows that are there: is this the table of \
             something else?"
        ),
        Rule::Optional | Rule::Zero => {
            format!("column {name} of {table} is missing{old}: {APPLY} adds it")
        }
    }
}

/// Whether every value fits that is not a text.
fn holds(found: &FoundColumn, kind: Kind) -> bool {
    match kind {
        Kind::Text(_) | Kind::Document => found.class == Class::Text,
        Kind::Code => matches!(found.class, Class::Whole(_)),
        Kind::Short => matches!(found.class, Class::Whole(16..)),
        Kind::Int => matches!(found.class, Class::Whole(32..)),
        Kind::Long => matches!(found.class, Class::Whole(64..)),
        Kind::Moment => found.class == Class::Moment,
    }
}

/// What makes the texts of a table compare by all their characters.
fn exact(table: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::MySql => format!(
            ": ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin (MariaDB: \
             utf8mb4_nopad_bin)"
        ),
        Dialect::Postgres => ": give the column a deterministic collation".to_owned(),
        Dialect::Sqlite => ": make the table anew without COLLATE".to_owned(),
    }
}

impl Verdict {
    fn problem(&mut self, text: String) {
        self.problems.push(Problem::new(text));
    }

    fn warning(&mut self, text: String) {
        self.warnings.push(Problem::new(text));
    }
}

const APPLY: &str = "`seamio schema apply URL`";
/// The coordinator's own limit of application data, unless it is set.
const DOCUMENT_LEAST: usize = 64_000;

#[cfg(test)]
mod tests {
    use super::super::catalog::Server;
    use super::*;

    fn judged(server: Server) -> Vec<String> {
        let catalog = Catalog {
            server,
            tables: Vec::new(),
        };
        let problems = judge(&catalog, Dialect::MySql).problems;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_that_cannot_serve_is_told_before_any_table() {
        let old = judged(Server {
            product: "MySQL 5.7.44".to_owned(),
            too_old: Some("MySQL 8.0.17 or later is needed".to_owned()),
            ..Server::default()
        });
        assert_eq!(
            old,
            ["the server is MySQL 5.7.44, and MySQL 8.0.17 or later is needed"]
        );
        let replica = judged(Server {
            read_only: vec!["read_only = ON".to_owned()],
            ..Server::default()
        });
        assert_eq!(replica.len(), 1, "{replica:?}");
        assert!(replica[0].contains("read_only = ON") && replica[0].contains("primary"));
        let fine = judged(Server::default());
        assert_eq!(fine.len(), 9, "then the tables that are missing: {fine:?}");
    }

    #[test]
    fn whole_numbers_need_their_bits() {
        let column = |class| FoundColumn {
            name: String::new(),
            type_name: String::new(),
            class,
            characters: None,
            bytes: None,
            alphabet: Alphabet::Full,
            comparison: Comparison::Exact,
            demanded: false,
        };
        assert!(holds(&column(Class::Whole(8)), Kind::Code));
        assert!(!holds(&column(Class::Whole(8)), Kind::Short));
        assert!(holds(&column(Class::Whole(64)), Kind::Int));
        assert!(!holds(&column(Class::Whole(32)), Kind::Long));
        assert!(!holds(&column(Class::Other), Kind::Text(8)));
    }
}
