//! The dialect `jackson` of the Java clients, both ways (client.md 4.4 and 13).

mod read;
mod write;

pub(super) use read::{read, read_fastjson};
pub(super) use write::write;

/// Names of the classes behind the package.
mod class {
    pub(super) const BRANCH_UNDO_LOG: &str = "rm.datasource.undo.BranchUndoLog";
    pub(super) const SQL_UNDO_LOG: &str = "rm.datasource.undo.SQLUndoLog";
    pub(super) const TABLE_RECORDS: &str = "rm.datasource.sql.struct.TableRecords";
    pub(super) const EMPTY_TABLE_RECORDS: &str =
        "rm.datasource.sql.struct.TableRecords$EmptyTableRecords";
    pub(super) const ROW: &str = "rm.datasource.sql.struct.Row";
    pub(super) const FIELD: &str = "rm.datasource.sql.struct.Field";
    pub(super) const SERIAL_ARRAY: &str = "rm.datasource.sql.serial.SerialArray";
    /// Of ours, and of nobody else.
    pub(super) const EXACT: &str = "seamio.Exact";
}

/// JDBC numbers of types whose form differs from that of their value.
mod jdbc {
    pub(super) const BIT: i32 = -7;
    pub(super) const NUMERIC: i32 = 2;
    pub(super) const DECIMAL: i32 = 3;
    pub(super) const REAL: i32 = 7;
    pub(super) const FLOAT: i32 = 6;
    pub(super) const DOUBLE: i32 = 8;
    pub(super) const BOOLEAN: i32 = 16;
    pub(super) const DATE: i32 = 91;
    pub(super) const TIME: i32 = 92;
    pub(super) const TIMESTAMP: i32 = 93;
    pub(super) const BIGINT: i32 = -5;
    pub(super) const BLOB: i32 = 2004;
    pub(super) const CLOB: i32 = 2005;
    pub(super) const NCLOB: i32 = 2011;

    /// Whether Jackson 2.9 writes a number that is none in a column of this type as this bare text.
    pub(super) fn is_special(text: &str, jdbc_type: i32) -> bool {
        matches!(text, "NaN" | "Infinity" | "-Infinity")
            && matches!(jdbc_type, NUMERIC | DECIMAL | FLOAT | REAL | DOUBLE)
    }
}

/// What Java holds for PostgreSQL's infinite dates and timestamps, in milliseconds.
const INFINITY_MS: i64 = 9_223_372_036_825_200_000;
const NEG_INFINITY_MS: i64 = -9_223_372_036_832_400_000;
