//! The statements on the undo log's own table, per database (client.md 4.1).

use super::statement::Dialect;

/// Rows that one statement of [`UndoTable::delete_old`] takes at most.
pub(super) const PURGE_ROWS: u64 = 3000;

/// `log_status` of a row that can undo its branch.
pub(super) const NORMAL: i64 = 0;

/// `log_status` of a row that keeps a late phase one from committing.
pub(super) const GLOBAL_FINISHED: i64 = 1;

/// The undo log's table in one database.
#[derive(Clone, Debug)]
pub(super) struct UndoTable {
    dialect: Dialect,
    quoted: String,
}

impl UndoTable {
    /// The table of this name, which may have a schema before a dot.
    pub(super) fn new(dialect: Dialect, name: &str) -> Self {
        let quote = match dialect {
            Dialect::MySql => '`',
            Dialect::Postgres | Dialect::Sqlite => '"',
        };
        let parts: Vec<String> = name
            .split('.')
            .map(|part| {
                format!(
                    "{quote}{}{quote}",
                    part.replace(quote, &format!("{quote}{quote}"))
                )
            })
            .collect();
        Self {
            dialect,
            quoted: parts.join("."),
        }
    }

    /// Fails when there is no such table.
    pub(super) fn probe(&self) -> String {
        format!("SELECT 1 FROM {} LIMIT 1", self.quoted)
    }

    /// Takes branch id, xid, context, content, status.
    pub(super) fn insert(&self) -> String {
        let (values, now) = match self.dialect {
            Dialect::MySql => ("?, ?, ?, ?, ?", "NOW(6)"),
            Dialect::Postgres => ("$1, $2, $3, $4, $5::int8::int4", "now()"),
            Dialect::Sqlite => ("?1, ?2, ?3, ?4, ?5", "strftime('%Y-%m-%d %H:%M:%f','now')"),
        };
        format!(
            "INSERT INTO {} (branch_id, xid, context, rollback_info, log_status, log_created, log_modified) \
             VALUES ({values}, {now}, {now})",
            self.quoted
        )
    }

    /// Takes xid and branch id; gives context, content, status, and keeps the row locked.
    pub(super) fn select(&self) -> String {
        let (key, status, lock) = match self.dialect {
            Dialect::MySql => ("xid = ? AND branch_id = ?", "log_status", " FOR UPDATE"),
            Dialect::Postgres => (
                "xid = $1 AND branch_id = $2",
                "log_status::int8",
                " FOR UPDATE",
            ),
            Dialect::Sqlite => ("xid = ?1 AND branch_id = ?2", "log_status", ""),
        };
        format!(
            "SELECT context, rollback_info, {status} FROM {} WHERE {key}{lock}",
            self.quoted
        )
    }

    /// Deletes the rows of so many branches, with those they are continued in. Takes xid, branch id and the context of the
    /// continuation for each.
    pub(super) fn delete(&self, branches: usize) -> String {
        let mut text = format!("DELETE FROM {} WHERE ", self.quoted);
        for branch in 0..branches {
            if branch > 0 {
                text.push_str(" OR ");
            }
            let [xid, id, context] = [1, 2, 3].map(|place| self.placeholder(branch * 3 + place));
            text.push_str(&format!(
                "(xid = {xid} AND (branch_id = {id} OR context = {context}))"
            ));
        }
        text
    }

    /// Deletes up to [`PURGE_ROWS`] rows that are older than so many days; takes the days. Without `undoable` only those that
    /// keep a late phase one out.
    pub(super) fn delete_old(&self, which: Purge) -> String {
        let table = &self.quoted;
        let which = match which {
            Purge::Finished => format!(" AND log_status = {GLOBAL_FINISHED}"),
            Purge::All => String::new(),
        };
        match self.dialect {
            Dialect::MySql => format!(
                "DELETE FROM {table} WHERE log_created <= NOW(6) - INTERVAL ? DAY{which} LIMIT {PURGE_ROWS}"
            ),
            Dialect::Postgres => format!(
                "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} \
                 WHERE log_created <= now() - make_interval(days => $1::int8::int4){which} LIMIT {PURGE_ROWS}))"
            ),
            Dialect::Sqlite => format!(
                "DELETE FROM {table} WHERE (xid, branch_id) IN (SELECT xid, branch_id FROM {table} \
                 WHERE log_created <= strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?1 || ' days'){which} LIMIT {PURGE_ROWS})"
            ),
        }
    }

    /// The statements that create the table with its indexes, where it is missing.
    pub(super) fn definition(&self) -> Vec<String> {
        let table = &self.quoted;
        match self.dialect {
            Dialect::MySql => vec![format!(
                "CREATE TABLE IF NOT EXISTS {table} (\n  \
                 `branch_id` BIGINT NOT NULL,\n  `xid` VARCHAR(128) NOT NULL,\n  `context` VARCHAR(128) NOT NULL,\n  \
                 `rollback_info` LONGBLOB NOT NULL,\n  `log_status` INT NOT NULL,\n  `log_created` DATETIME(6) NOT NULL,\n  \
                 `log_modified` DATETIME(6) NOT NULL,\n  UNIQUE KEY `ux_undo_log` (`xid`, `branch_id`),\n  \
                 KEY `ix_log_created` (`log_created`)\n) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4"
            )],
            Dialect::Postgres => vec![
                format!(
                    "CREATE TABLE IF NOT EXISTS {table} (\n  id SERIAL NOT NULL PRIMARY KEY,\n  branch_id BIGINT NOT NULL,\n  \
                     xid VARCHAR(128) NOT NULL,\n  context VARCHAR(128) NOT NULL,\n  rollback_info BYTEA NOT NULL,\n  \
                     log_status INT NOT NULL,\n  log_created TIMESTAMP(0) NOT NULL,\n  log_modified TIMESTAMP(0) NOT NULL,\n  \
                     CONSTRAINT ux_undo_log UNIQUE (xid, branch_id))"
                ),
                format!("CREATE INDEX IF NOT EXISTS ix_log_created ON {table} (log_created)"),
            ],
            Dialect::Sqlite => vec![
                format!(
                    "CREATE TABLE IF NOT EXISTS {table} (\n  branch_id INTEGER NOT NULL,\n  xid TEXT NOT NULL,\n  \
                     context TEXT NOT NULL,\n  rollback_info BLOB NOT NULL,\n  log_status INTEGER NOT NULL,\n  \
                     log_created TEXT NOT NULL,\n  log_modified TEXT NOT NULL,\n  PRIMARY KEY (xid, branch_id)) WITHOUT ROWID"
                ),
                format!("CREATE INDEX IF NOT EXISTS ix_log_created ON {table} (log_created)"),
            ],
        }
    }

    fn placeholder(&self, number: usize) -> String {
        match self.dialect {
            Dialect::MySql => "?".to_owned(),
            Dialect::Postgres => format!("${number}"),
            Dialect::Sqlite => format!("?{number}"),
        }
    }
}

/// Which old rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Purge {
    /// Those that keep a late phase one out; rows that can still undo a branch stay, however old.
    #[default]
    Finished,
    /// All, as Java does: what is unresolved that long can never be undone.
    All,
}

/// The context of the rows in which the undo log of a branch is continued.
pub(super) fn continuation_context(branch_id: i64) -> String {
    format!("branchId={branch_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_part_by_part() {
        let table = UndoTable::new(Dialect::MySql, "my`db.undo_log");
        assert_eq!(table.probe(), "SELECT 1 FROM `my``db`.`undo_log` LIMIT 1");
    }

    #[test]
    fn branches_are_deleted_by_exact_pairs() {
        let table = UndoTable::new(Dialect::Postgres, "undo_log");
        assert_eq!(
            table.delete(2),
            "DELETE FROM \"undo_log\" WHERE (xid = $1 AND (branch_id = $2 OR context = $3)) OR \
             (xid = $4 AND (branch_id = $5 OR context = $6))"
        );
    }
}
