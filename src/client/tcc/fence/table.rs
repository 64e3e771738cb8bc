//! The table of a fence: its definition and the statements on it, in the words of each database.

use std::sync::Arc;

use super::FenceError;
use super::state::State;
use crate::client::tcc::Isolation;

/// A database's words for what a fence needs.
#[cfg_attr(
    not(all(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code)
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// MySQL and MariaDB.
    MySql,
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// How a transaction of a phase begins.
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code)
)]
pub(super) fn begin(dialect: Dialect, level: Option<Isolation>) -> &'static str {
    use Isolation::{ReadCommitted, ReadUncommitted, RepeatableRead, Serializable};
    match (dialect, level) {
        // A transaction that reads first and writes later may find that another wrote in between.
        (Dialect::Sqlite, _) => "BEGIN IMMEDIATE",
        (_, None) => "BEGIN",
        (Dialect::MySql, Some(ReadUncommitted)) => {
            "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; BEGIN"
        }
        (Dialect::MySql, Some(ReadCommitted)) => {
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN"
        }
        (Dialect::MySql, Some(RepeatableRead)) => {
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN"
        }
        (Dialect::MySql, Some(Serializable)) => {
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN"
        }
        (Dialect::Postgres, Some(ReadUncommitted)) => "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
        (Dialect::Postgres, Some(ReadCommitted)) => "BEGIN ISOLATION LEVEL READ COMMITTED",
        (Dialect::Postgres, Some(RepeatableRead)) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        (Dialect::Postgres, Some(Serializable)) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
    }
}

/// The statements on one table. `?` stands for a parameter, on PostgreSQL `$1` and so on.
#[derive(Debug)]
pub(super) struct Statements {
    /// xid, branch id, action, state.
    pub(super) insert: Arc<str>,
    /// The same, but a row that is there stays as it is, and locked.
    pub(super) insert_absent: Arc<str>,
    /// xid, branch id.
    pub(super) find: Arc<str>,
    /// New state, xid, branch id, old state.
    pub(super) advance: Arc<str>,
    /// Age in microseconds.
    pub(super) clean: Arc<str>,
}

impl Statements {
    /// The statements on the table of this name.
    pub(super) fn new(dialect: Dialect, table: &str) -> Self {
        let now = dialect.now();
        let insert = format!(
            "INSERT INTO {table} (xid, branch_id, action_name, status, gmt_create, gmt_modified) \
             VALUES (?, ?, ?, ?, {now}, {now})"
        );
        let keep = match dialect {
            Dialect::MySql => "ON DUPLICATE KEY UPDATE action_name = action_name",
            Dialect::Postgres | Dialect::Sqlite => "ON CONFLICT (xid, branch_id) DO NOTHING",
        };
        let lock = match dialect {
            Dialect::MySql | Dialect::Postgres => " FOR UPDATE",
            // A transaction that writes has the whole database.
            Dialect::Sqlite => "",
        };
        let text = |sql: String| dialect.numbered(&sql);
        Self {
            insert_absent: text(format!("{insert} {keep}")),
            insert: text(insert),
            find: text(format!(
                "SELECT status FROM {table} WHERE xid = ? AND branch_id = ?{lock}"
            )),
            advance: text(format!(
                "UPDATE {table} SET status = ?, gmt_modified = {now} \
                 WHERE xid = ? AND branch_id = ? AND status = ?"
            )),
            clean: text(dialect.clean(table)),
        }
    }
}

impl Dialect {
    /// The definition of the table, Java's for the databases that it has one for.
    pub(super) fn ddl(self, table: &str) -> String {
        let columns = |integer: &str, status: &str, text: [&str; 2], time: &str| {
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (\n  xid {} NOT NULL,\n  branch_id {integer} NOT NULL,\n  \
                 action_name {} NOT NULL,\n  status {status} NOT NULL,\n  gmt_create {time} NOT NULL,\n  \
                 gmt_modified {time} NOT NULL,\n  ",
                text[0], text[1]
            )
        };
        let texts = ["VARCHAR(128)", "VARCHAR(64)"];
        // Names of indexes and constraints are not of a table but of its schema.
        let (schema, short) = match table.split_once('.') {
            Some((schema, short)) => (format!("{schema}."), short),
            None => (String::new(), table),
        };
        let indexes = |schema: &str, on: &str| {
            let columns = ["gmt_modified", "status"];
            let index = columns.map(|column| {
                format!(
                    ";\nCREATE INDEX IF NOT EXISTS {schema}idx_{short}_{column} ON {on} ({column})"
                )
            });
            index.concat()
        };
        match self {
            Self::MySql => format!(
                "{}PRIMARY KEY (xid, branch_id),\n  KEY idx_gmt_modified (gmt_modified),\n  KEY idx_status (status)\n\
                 ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4",
                columns("BIGINT", "TINYINT", texts, "DATETIME(3)")
            ),
            Self::Postgres => format!(
                "{}CONSTRAINT pk_{short} PRIMARY KEY (xid, branch_id)\n){}",
                columns("BIGINT", "SMALLINT", texts, "TIMESTAMP(3)"),
                indexes("", table)
            ),
            Self::Sqlite => format!(
                "{}PRIMARY KEY (xid, branch_id)\n) WITHOUT ROWID{}",
                columns("INTEGER", "INTEGER", ["TEXT", "TEXT"], "INTEGER"),
                indexes(&schema, short)
            ),
        }
    }

    /// The present moment, by the database's clock.
    fn now(self) -> &'static str {
        match self {
            Self::MySql => "NOW(3)",
            Self::Postgres => "LOCALTIMESTAMP(3)",
            Self::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        }
    }

    /// Each row is judged by itself: other branches of its transaction may still be needed.
    fn clean(self, table: &str) -> String {
        let now = self.now();
        let ended = ended();
        let old = match self {
            Self::MySql => format!("gmt_modified < {now} - INTERVAL ? MICROSECOND"),
            Self::Postgres => {
                format!(
                    "gmt_modified < {now} - CAST(? AS DOUBLE PRECISION) * INTERVAL '1 microsecond'"
                )
            }
            Self::Sqlite => format!("gmt_modified < {now} - ? / 1000"),
        };
        match self {
            Self::MySql => {
                format!(
                    "DELETE FROM {table} WHERE status IN {ended} AND {old} LIMIT {CLEANED_AT_ONCE}"
                )
            }
            Self::Postgres | Self::Sqlite => format!(
                "DELETE FROM {table} WHERE status IN {ended} AND (xid, branch_id) IN (SELECT xid, branch_id \
                 FROM {table} WHERE status IN {ended} AND {old} LIMIT {CLEANED_AT_ONCE})"
            ),
        }
    }

    fn numbered(self, sql: &str) -> Arc<str> {
        if self != Self::Postgres {
            return Arc::from(sql);
        }
        let mut numbered = String::with_capacity(sql.len() + 8);
        for (index, part) in sql.split('?').enumerate() {
            if index > 0 {
                numbered.push('$');
                numbered.push_str(&index.to_string());
            }
            numbered.push_str(part);
        }
        Arc::from(numbered)
    }
}

/// The name of a table, which goes into statements as it is.
pub(super) fn checked_name(name: &str) -> Result<String, FenceError> {
    let is_part = |part: &str| {
        let mut characters = part.chars();
        let first = characters.next();
        first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match name.split('.').count() <= 2 && name.split('.').all(is_part) {
        true => Ok(name.to_owned()),
        false => Err(FenceError::TableName(name.to_owned())),
    }
}

fn ended() -> String {
    let codes = [State::Committed, State::Rollbacked, State::Suspended].map(State::code);
    format!("({}, {}, {})", codes[0], codes[1], codes[2])
}

/// How many rows one statement deletes.
pub(super) const CLEANED_AT_ONCE: u64 = 1000;
/// Java's name of the table.
pub(super) const TABLE: &str = "tcc_fence_log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_go_into_statements() {
        for name in [TABLE, "_f1", "fences.tcc_fence_log"] {
            assert_eq!(checked_name(name).ok().as_deref(), Some(name));
        }
        for name in ["", "a b", "a;b", "a.b.c", "1a", "a.", "`a`", "é"] {
            assert!(
                matches!(checked_name(name), Err(FenceError::TableName(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn parameters_are_numbered_where_the_database_wants_it() {
        let statements = Statements::new(Dialect::Postgres, TABLE);
        assert_eq!(
            &*statements.find,
            "SELECT status FROM tcc_fence_log WHERE xid = $1 AND branch_id = $2 FOR UPDATE"
        );
        let statements = Statements::new(Dialect::Sqlite, TABLE);
        assert!(statements.find.ends_with("xid = ? AND branch_id = ?"));
    }

    #[test]
    fn the_definition_is_javas() {
        let ddl = Dialect::MySql.ddl(TABLE);
        for part in [
            "xid VARCHAR(128) NOT NULL",
            "branch_id BIGINT NOT NULL",
            "status TINYINT NOT NULL",
            "gmt_create DATETIME(3) NOT NULL",
            "PRIMARY KEY (xid, branch_id)",
            "KEY idx_status (status)",
        ] {
            assert!(ddl.contains(part), "{ddl}");
        }
        assert!(
            Dialect::Postgres
                .ddl("s.fence")
                .contains("CONSTRAINT pk_fence PRIMARY KEY")
        );
        assert!(Dialect::Sqlite.ddl(TABLE).contains("WITHOUT ROWID"));
    }
}
