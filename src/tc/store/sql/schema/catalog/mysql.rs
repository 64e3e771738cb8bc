//! What MySQL and MariaDB say of themselves: `information_schema` and the variables of the server.

use super::{
    Alphabet, Class, Comparison, FoundColumn, FoundTable, Server, cell, length, names, on, rows,
};
use crate::tc::store::sql::connection::{Fault, Link};

pub(super) async fn server(link: &mut Link) -> Result<Server, Fault> {
    let mut server = Server::default();
    let own = rows(link.run("SELECT VERSION(), DATABASE()").await?);
    let (version, database) = own
        .first()
        .map_or(("", ""), |row| (cell(row, 0), cell(row, 1)));
    (server.product, server.too_old) = product(version);
    if database.is_empty() {
        server.nowhere = Some("the URL names no database: mysql://HOST:PORT/DATABASE".to_owned());
    }
    for row in rows(link.run(VARIABLES).await?) {
        setting(&mut server, cell(&row, 0), cell(&row, 1));
    }
    Ok(server)
}

/// What a variable of the server means for the store.
fn setting(server: &mut Server, name: &str, value: &str) {
    let name = name.to_ascii_lowercase();
    let off = matches!(value.to_ascii_lowercase().as_str(), "0" | "off" | "");
    if name == "innodb_flush_log_at_trx_commit" {
        if value != "1" {
            server.forgetful.push(format!("{name} = {value}, not 1"));
        }
    } else if !off {
        server.read_only.push(format!("{name} = {value}"));
    }
}

pub(super) async fn tables(link: &mut Link) -> Result<Vec<FoundTable>, Fault> {
    let names = names();
    let sql = format!(
        "SELECT t.table_name, t.table_type, t.engine, e.transactions FROM information_schema.tables t \
         LEFT JOIN information_schema.engines e ON e.engine = t.engine \
         WHERE t.table_schema = DATABASE() AND LOWER(t.table_name) IN ({names})"
    );
    let mut tables = Vec::new();
    for row in rows(link.run(&sql).await?) {
        let mut table = FoundTable::new(cell(&row, 0).to_ascii_lowercase());
        let (kind, engine) = (cell(&row, 1), cell(&row, 2));
        if kind.eq_ignore_ascii_case("VIEW") {
            table.unfit = Some("is a view, and must be a table".to_owned());
        } else if !on(cell(&row, 3)) {
            table.unfit = Some(format!(
                "has the engine {engine}, which has no transactions: ALTER TABLE {} ENGINE = InnoDB",
                table.name
            ));
        }
        tables.push(table);
    }
    let sql = format!(
        "SELECT LOWER(table_name), column_name, data_type, column_type, character_maximum_length, \
         character_octet_length, character_set_name, collation_name, is_nullable, column_default, extra \
         FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND LOWER(table_name) IN ({names}) ORDER BY ordinal_position"
    );
    for row in rows(link.run(&sql).await?) {
        if let Some(table) = tables.iter_mut().find(|table| table.name == cell(&row, 0)) {
            table.columns.push(column(&row));
        }
    }
    let sql = format!(
        "SELECT LOWER(table_name), index_name, non_unique, column_name, sub_part FROM information_schema.statistics \
         WHERE table_schema = DATABASE() AND LOWER(table_name) IN ({names}) AND column_name IS NOT NULL \
         ORDER BY index_name, seq_in_index"
    );
    for row in rows(link.run(&sql).await?) {
        if let Some(table) = tables.iter_mut().find(|table| table.name == cell(&row, 0)) {
            // An index on the beginning of a text says nothing of the whole.
            let unique = cell(&row, 2) == "0" && cell(&row, 4).is_empty();
            table.index(cell(&row, 1), unique, cell(&row, 3).to_owned());
        }
    }
    Ok(tables)
}

fn column(row: &[Option<String>]) -> FoundColumn {
    let kind = cell(row, 2).to_ascii_lowercase();
    let class = match kind.as_str() {
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Class::Text,
        "tinyint" => Class::Whole(8),
        "smallint" => Class::Whole(16),
        "mediumint" => Class::Whole(24),
        "int" => Class::Whole(32),
        "bigint" => Class::Whole(64),
        "datetime" | "timestamp" => Class::Moment,
        _ => Class::Other,
    };
    let collation = cell(row, 7);
    // MariaDB writes the text NULL where a column may be null and has no default.
    let no_default = row.get(9).is_none_or(Option::is_none);
    let made = cell(row, 10).to_ascii_lowercase();
    let filled = made.contains("auto_increment") || made.contains("generated");
    FoundColumn {
        name: cell(row, 1).to_owned(),
        type_name: cell(row, 3).to_owned(),
        class,
        characters: length(row, 4),
        bytes: length(row, 5),
        alphabet: match cell(row, 6) {
            "utf8mb4" => Alphabet::Full,
            "utf8" | "utf8mb3" => Alphabet::Basic,
            _ => Alphabet::Ascii,
        },
        comparison: comparison(collation),
        demanded: !on(cell(row, 8)) && no_default && !filled,
    }
}

/// By the name: there is a table of collations, but only MySQL's says which pad.
fn comparison(collation: &str) -> Comparison {
    let padded = !(collation.contains("nopad") || collation.contains("_0900_"));
    let exact = collation.ends_with("_bin") || collation.ends_with("_cs");
    match (exact, padded) {
        _ if collation.is_empty() || collation == "binary" => Comparison::Exact,
        (false, _) => Comparison::Folded(collation.to_owned()),
        (true, true) => Comparison::Padded(collation.to_owned()),
        (true, false) => Comparison::Exact,
    }
}

/// The product for people, and what it is too old for.
fn product(version: &str) -> (String, Option<String>) {
    let numbers: Vec<u32> = version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .take(3)
        .collect();
    let (name, least) = if version.to_ascii_lowercase().contains("mariadb") {
        ("MariaDB", MARIADB_LEAST)
    } else {
        ("MySQL", MYSQL_LEAST)
    };
    let needed: Vec<String> = least.iter().map(u32::to_string).collect();
    let too_old = (numbers.as_slice() < least)
        .then(|| format!("{name} {} or later is needed", needed.join(".")));
    (format!("{name} {version}"), too_old)
}

/// The first with a collation in which only equal texts are equal.
const MYSQL_LEAST: &[u32] = &[8, 0, 17];
const MARIADB_LEAST: &[u32] = &[10, 6];
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', \
                         'innodb_read_only', 'transaction_read_only', 'tx_read_only', \
                         'innodb_flush_log_at_trx_commit')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_told_what_is_needed() {
        for fine in [
            "8.0.17",
            "8.4.3",
            "10.6.1-MariaDB",
            "11.4.2-MariaDB-ubu2404",
            "9.1.0-commercial",
        ] {
            assert_eq!(product(fine).1, None, "{fine}");
        }
        for (old, needed) in [
            ("5.7.44-log", "MySQL 8.0.17 or later is needed"),
            ("8.0.16", "MySQL 8.0.17 or later is needed"),
            ("10.5.9-MariaDB-1", "MariaDB 10.6 or later is needed"),
        ] {
            assert_eq!(product(old).1.as_deref(), Some(needed));
        }
    }

    #[test]
    fn variables_tell_a_replica_and_a_forgetful_server() {
        let mut server = Server::default();
        for (name, value) in [
            ("read_only", "OFF"),
            ("super_read_only", "0"),
            ("innodb_read_only", "OFF"),
            ("transaction_read_only", "OFF"),
            ("innodb_flush_log_at_trx_commit", "1"),
        ] {
            setting(&mut server, name, value);
        }
        assert!(server.read_only.is_empty() && server.forgetful.is_empty());
        for name in [
            "read_only",
            "super_read_only",
            "innodb_read_only",
            "tx_read_only",
        ] {
            setting(&mut server, name, "ON");
        }
        setting(&mut server, "innodb_flush_log_at_trx_commit", "2");
        assert_eq!(server.read_only.len(), 4, "{server:?}");
        assert_eq!(
            server.forgetful,
            ["innodb_flush_log_at_trx_commit = 2, not 1"]
        );
    }

    #[test]
    fn collations_tell_when_texts_are_the_same() {
        for exact in [
            "utf8mb4_0900_bin",
            "utf8mb4_nopad_bin",
            "utf8mb4_0900_as_cs",
            "binary",
        ] {
            assert_eq!(comparison(exact), Comparison::Exact, "{exact}");
        }
        for padded in ["utf8mb4_bin", "utf8mb3_bin", "latin1_general_cs"] {
            assert_eq!(comparison(padded), Comparison::Padded(padded.into()));
        }
        for folded in [
            "utf8mb4_general_ci",
            "utf8mb4_0900_ai_ci",
            "utf8mb4_uca1400_ai_ci",
        ] {
            assert_eq!(comparison(folded), Comparison::Folded(folded.into()));
        }
    }
}
