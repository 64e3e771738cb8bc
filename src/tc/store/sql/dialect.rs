//! How the three databases differ: literals, clocks, row locks, transactions.

use std::fmt::Write;

/// Which SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// MySQL 8 and MariaDB 10.6, and later ones.
    MySql,
    /// PostgreSQL 14 and later.
    Postgres,
    /// SQLite, for one coordinator.
    Sqlite,
}

impl Dialect {
    /// Adds a text as a literal. Whatever is not plainly harmless is written as the hexadecimal of its UTF-8 bytes, so it
    /// does not matter how the session reads quotes and backslashes.
    pub(crate) fn text(self, sql: &mut String, text: &str) {
        let harmless =
            |b: u8| b.is_ascii_alphanumeric() || b" .,:;/_-#$@=+*()[]{}^!<>|&~".contains(&b);
        if text.bytes().all(harmless) {
            sql.push('\'');
            sql.push_str(text);
            sql.push('\'');
            return;
        }
        if self == Self::Postgres && text.contains('\0') {
            // No column can hold it, so none is equal to it.
            return sql.push_str("NULL");
        }
        let (before, after) = match self {
            Self::MySql => ("_utf8mb4 x'", "'"),
            Self::Postgres => ("convert_from(decode('", "','hex'),'UTF8')"),
            Self::Sqlite => ("cast(x'", "' as text)"),
        };
        sql.push_str(before);
        for byte in text.bytes() {
            // Writing to a String cannot fail.
            let _ = write!(sql, "{byte:02x}");
        }
        sql.push_str(after);
    }

    /// A text as a literal.
    pub(crate) fn literal(self, text: &str) -> String {
        let mut sql = String::with_capacity(text.len() + 2);
        self.text(&mut sql, text);
        sql
    }

    /// What a new session is told. Ends with asking it for its number, and for something that tells it from another of that number.
    pub(crate) fn session(self) -> &'static str {
        match self {
            // READ COMMITTED: rows are locked, the gaps between them are not. Nothing is cut to fit a column.
            Self::MySql => {
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), \
                 SESSION innodb_lock_wait_timeout = 5, SESSION autocommit = 1, \
                 SESSION wait_timeout = 60; \
                 SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()"
            }
            Self::Postgres => {
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET lock_timeout = '5s'; SET synchronous_commit = on; \
                 SET idle_in_transaction_session_timeout = '30s'; \
                 SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            }
            Self::Sqlite => "",
        }
    }

    /// Ends a session from another one. What it had begun and not committed is undone.
    pub(crate) fn end_of_session(self, id: &str, proof: &str) -> Option<String> {
        let proof = self.literal(proof);
        match self {
            // KILL takes a number alone, so it is given one that is perhaps none.
            Self::MySql => Some(format!(
                "SET @seamio_session = (SELECT MAX(ID) FROM information_schema.PROCESSLIST WHERE ID = {} AND HOST = {proof}); \
                 SET @seamio_kill = IF(@seamio_session IS NULL, 'DO 0', CONCAT('KILL ', @seamio_session)); \
                 PREPARE seamio_kill FROM @seamio_kill; EXECUTE seamio_kill; DEALLOCATE PREPARE seamio_kill",
                id.parse::<u64>().ok()?
            )),
            Self::Postgres => Some(format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {} AND backend_start = {proof}",
                id.parse::<u32>().ok()?
            )),
            Self::Sqlite => None,
        }
    }

    /// Begins a transaction that will write.
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::MySql => "START TRANSACTION",
            Self::Postgres => "BEGIN",
            Self::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// What stands in an xid before the number of its transaction, without the colon between; nothing in one that is
    /// shorter than its number.
    pub(crate) fn address_of_xid(self) -> String {
        let text = match self {
            Self::MySql => "CHAR",
            Self::Postgres | Self::Sqlite => "TEXT",
        };
        let length = format!("LENGTH(xid) - LENGTH(CAST(transaction_id AS {text})) - 1");
        // PostgreSQL refuses a negative length.
        format!("SUBSTR(xid, 1, {})", self.greater(&length, "0"))
    }

    /// Behind the values of a SELECT that reads no table and has a condition.
    pub(crate) fn no_table(self) -> &'static str {
        match self {
            Self::MySql => " FROM DUAL",
            Self::Postgres | Self::Sqlite => "",
        }
    }

    /// Behind a SELECT whose rows will be written.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Self::MySql | Self::Postgres => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }

    /// The database's clock: ms since 1970.
    pub(crate) fn clock_ms(self) -> &'static str {
        match self {
            Self::MySql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
            Self::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        }
    }

    /// The value of a `gmt_` column for now, as a Java coordinator writes it, with the microseconds that order branches.
    pub(crate) fn now(self) -> &'static str {
        match self {
            Self::MySql => "NOW(6)",
            Self::Postgres => "clock_timestamp()",
            Self::Sqlite => "strftime('%Y-%m-%d %H:%M:%f','now')",
        }
    }

    /// The value of a `gmt_` column that keeps whole seconds.
    pub(crate) fn now_in_seconds(self) -> &'static str {
        match self {
            Self::MySql => "NOW()",
            Self::Postgres => "date_trunc('second', clock_timestamp())",
            Self::Sqlite => "strftime('%Y-%m-%d %H:%M:%S','now')",
        }
    }

    /// The greater of two numbers.
    pub(crate) fn greater(self, one: &str, other: &str) -> String {
        match self {
            Self::MySql | Self::Postgres => format!("GREATEST({one}, {other})"),
            Self::Sqlite => format!("MAX({one}, {other})"),
        }
    }

    /// A `gmt_` column as ms since 1970.
    pub(crate) fn time_ms(self, column: &str) -> String {
        match self {
            Self::MySql => format!("CAST(UNIX_TIMESTAMP({column}) * 1000 AS SIGNED)"),
            Self::Postgres => {
                format!("CAST(EXTRACT(EPOCH FROM CAST({column} AS TIMESTAMPTZ)) * 1000 AS BIGINT)")
            }
            Self::Sqlite => {
                format!("CAST((julianday({column}) - 2440587.5) * 86400000 AS INTEGER)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_text_is_written_as_it_is() {
        let mysql = |text: &str| Dialect::MySql.literal(text);
        assert_eq!(mysql("10.0.0.1:8091:42"), "'10.0.0.1:8091:42'");
        assert_eq!(mysql(""), "''");
        assert_eq!(mysql("a'b"), "_utf8mb4 x'612762'");
        assert_eq!(mysql("\\"), "_utf8mb4 x'5c'");
        assert_eq!(mysql("ä"), "_utf8mb4 x'c3a4'");
        assert_eq!(
            Dialect::Postgres.literal("a'b"),
            "convert_from(decode('612762','hex'),'UTF8')"
        );
        assert_eq!(Dialect::Sqlite.literal("\"q\""), "cast(x'227122' as text)");
        assert_eq!(Dialect::Postgres.literal("a\0b"), "NULL");
    }
}
