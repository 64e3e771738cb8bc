//! The tables as data: what stands in each, and how narrow it may be.
//!
//! The first five are Java Seata's (coordinator.md 4.2): the same names and meanings, with columns that are wider where
//! Java's are too narrow for what clients send. The others are ours and stand beside them.

use super::super::dialect::Dialect;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) owner: Owner,
    pub(super) columns: &'static [Column],
    /// The primary key.
    pub(super) key: &'static [&'static str],
    /// Java's script for MySQL has these as a unique key, and no primary key.
    pub(super) unique_on_mysql: &'static [&'static str],
    pub(super) indexes: &'static [Index],
    /// Rows that are there from the beginning, as the texts between the parentheses.
    pub(super) seeds: &'static [&'static str],
    /// The coordinator works without it.
    pub(super) optional: bool,
    /// For people, in the text of the definitions.
    pub(super) meaning: &'static str,
}

/// Whose table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Java coordinators use it too.
    Java,
    /// Only seamio coordinators do.
    Seamio,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) rule: Rule,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many characters.
    Text(u32),
    /// A text that is as long as the database sensibly allows.
    Document,
    /// A code of one byte.
    Code,
    /// 16 bits.
    Short,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// A date with a time.
    Moment,
}

/// Whether a value must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Needed,
    Optional,
    /// Needed, and 0 unless it is said.
    Zero,
}

/// An index for speed. Java's scripts for MySQL name it `idx_` and the columns; elsewhere the table comes between.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) columns: &'static [&'static str],
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that tell rows apart.
    pub(super) fn identity(&self, dialect: Dialect) -> &'static [&'static str] {
        match dialect {
            Dialect::MySql if !self.unique_on_mysql.is_empty() => self.unique_on_mysql,
            _ => self.key,
        }
    }
}

impl Index {
    pub(super) fn name(&self, table: &Table, dialect: Dialect) -> String {
        let columns = self.columns.join("_");
        match dialect {
            Dialect::MySql => format!("idx_{columns}"),
            // Names of indexes are not of a table but of its schema.
            Dialect::Postgres | Dialect::Sqlite => format!("idx_{}_{columns}", table.name),
        }
    }
}

const fn column(name: &'static str, kind: Kind, rule: Rule) -> Column {
    Column { name, kind, rule }
}

const fn needed(name: &'static str, kind: Kind) -> Column {
    column(name, kind, Rule::Needed)
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    column(name, kind, Rule::Optional)
}

const fn on(columns: &'static [&'static str]) -> Index {
    Index { columns }
}

const XID: Kind = Kind::Text(128);
const ROW_KEY: Kind = Kind::Text(512);
const RESOURCE: Kind = Kind::Text(512);

const JAVA: Table = Table {
    name: "",
    owner: Owner::Java,
    columns: &[],
    key: &[],
    unique_on_mysql: &[],
    indexes: &[],
    seeds: &[],
    optional: false,
    meaning: "",
};
const SEAMIO: Table = Table {
    owner: Owner::Seamio,
    ..JAVA
};

/// All tables, in the order in which they are made.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "global_table",
        columns: &[
            needed("xid", XID),
            optional("transaction_id", Kind::Long),
            needed("status", Kind::Code),
            optional("application_id", Kind::Text(128)),
            optional("transaction_service_group", Kind::Text(128)),
            optional("transaction_name", Kind::Text(512)),
            optional("timeout", Kind::Int),
            optional("begin_time", Kind::Long),
            optional("application_data", Kind::Document),
            optional("gmt_create", Kind::Moment),
            optional("gmt_modified", Kind::Moment),
        ],
        key: &["xid"],
        indexes: &[on(&["status", "gmt_modified"]), on(&["transaction_id"])],
        meaning: "live global transactions",
        ..JAVA
    },
    Table {
        name: "branch_table",
        columns: &[
            needed("branch_id", Kind::Long),
            needed("xid", XID),
            optional("transaction_id", Kind::Long),
            optional("resource_group_id", Kind::Text(32)),
            optional("resource_id", RESOURCE),
            optional("branch_type", Kind::Text(8)),
            optional("status", Kind::Code),
            optional("client_id", Kind::Text(255)),
            optional("application_data", Kind::Document),
            optional("gmt_create", Kind::Moment),
            optional("gmt_modified", Kind::Moment),
        ],
        key: &["branch_id"],
        indexes: &[on(&["xid"])],
        meaning: "their branches",
        ..JAVA
    },
    Table {
        name: "lock_table",
        columns: &[
            needed("row_key", ROW_KEY),
            optional("xid", XID),
            optional("transaction_id", Kind::Long),
            needed("branch_id", Kind::Long),
            optional("resource_id", RESOURCE),
            optional("table_name", Kind::Text(128)),
            optional("pk", Kind::Text(512)),
            column("status", Kind::Code, Rule::Zero),
            optional("gmt_create", Kind::Moment),
            optional("gmt_modified", Kind::Moment),
        ],
        key: &["row_key"],
        indexes: &[on(&["status"]), on(&["branch_id"]), on(&["xid"])],
        meaning: "locked rows",
        ..JAVA
    },
    Table {
        name: "distributed_lock",
        columns: &[
            needed("lock_key", Kind::Text(64)),
            needed("lock_value", Kind::Text(64)),
            column("expire", Kind::Long, Rule::Zero),
        ],
        key: &["lock_key"],
        seeds: &[
            "'AsyncCommitting', ' ', 0",
            "'RetryCommitting', ' ', 0",
            "'RetryRollbacking', ' ', 0",
            "'TxTimeoutCheck', ' ', 0",
        ],
        meaning: "which coordinator runs a loop of Java's",
        ..JAVA
    },
    Table {
        name: "vgroup_table",
        columns: &[
            optional("vGroup", Kind::Text(255)),
            optional("namespace", Kind::Text(255)),
            optional("cluster", Kind::Text(255)),
        ],
        key: &["vGroup"],
        unique_on_mysql: &["vGroup", "namespace", "cluster"],
        optional: true,
        meaning: "groups and clusters, for Java's naming server; seamio does not use it",
        ..JAVA
    },
    Table {
        name: "seamio_node",
        columns: &[
            needed("node_id", Kind::Short),
            needed("token", Kind::Text(40)),
            needed("address", Kind::Text(255)),
            needed("lease_until", Kind::Long),
            needed("ids_until", Kind::Long),
        ],
        key: &["node_id"],
        meaning: "coordinators: who has which node, and until when it counts as alive (ms, by the clock of the database)",
        ..SEAMIO
    },
    Table {
        name: "seamio_writer",
        columns: &[
            needed("node_id", Kind::Short),
            needed("writer", Kind::Short),
            needed("batch", Kind::Long),
        ],
        key: &["node_id", "writer"],
        meaning: "the last batch of each writer, so that a lost connection leaves no doubt",
        ..SEAMIO
    },
    Table {
        name: "seamio_decision",
        columns: &[
            needed("xid", XID),
            needed("transaction_id", Kind::Long),
            needed("decided_ms", Kind::Long),
            needed("saga", Kind::Short),
            optional("driver", Kind::Short),
            optional("wanted", RESOURCE),
        ],
        key: &["xid"],
        indexes: &[on(&["driver"])],
        meaning: "decided transactions that have not ended, and the node that drives each",
        ..SEAMIO
    },
    Table {
        name: "seamio_ended",
        columns: &[
            needed("xid", XID),
            needed("transaction_id", Kind::Long),
            needed("outcome", Kind::Short),
            needed("decided_ms", Kind::Long),
            needed("ended_ms", Kind::Long),
        ],
        key: &["xid"],
        indexes: &[on(&["transaction_id"]), on(&["ended_ms"])],
        meaning: "how transactions ended, for a while",
        ..SEAMIO
    },
    Table {
        name: "seamio_share",
        columns: &[
            needed("row_key", ROW_KEY),
            needed("branch_id", Kind::Long),
            needed("xid", XID),
        ],
        key: &["row_key", "branch_id"],
        indexes: &[on(&["xid"])],
        meaning: "further branches of a transaction that listed a row which an earlier one holds",
        ..SEAMIO
    },
];

/// A table by its name.
#[cfg(test)]
pub(super) fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}
