//! Rows as they were before and after a statement, and what of them an undo log keeps.

use std::fmt;
use std::str::FromStr;

use super::value::Value;

/// What one branch did to one resource: the content of a row of `undo_log`.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchUndoLog {
    /// The global transaction.
    pub xid: String,
    /// The branch.
    pub branch_id: i64,
    /// One for each statement that changed rows, in the order of execution. They are undone in reverse.
    pub items: Vec<UndoItem>,
}

/// What one statement did to one table.
#[derive(Clone, Debug, PartialEq)]
pub struct UndoItem {
    /// What kind of change it was.
    pub sql_type: SqlType,
    /// The table as the statement wrote it, with quotes and schema.
    pub table_name: String,
    /// The rows before; empty for an INSERT.
    pub before: Image,
    /// The rows after; empty for a DELETE.
    pub after: Image,
}

/// Rows of one table at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The table as its description names it ([`super::meta::TableMeta::qualified_name`]).
    pub table_name: String,
    /// In the order in which the database returned them.
    pub rows: Vec<Row>,
}

/// A row of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The columns that the image cares for.
    pub fields: Vec<Field>,
}

/// A column of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The column, in the database's spelling.
    pub name: String,
    /// Whether it belongs to the primary key.
    pub key: FieldKey,
    /// The JDBC number of its type ([`super::meta::ColumnMeta::jdbc_type`]).
    pub jdbc_type: i32,
    /// What it holds.
    pub value: Value,
}

/// Whether a column belongs to the primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKey {
    /// It does not.
    None,
    /// It does.
    Primary,
}

/// The kind of a change that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// Rows were added.
    Insert,
    /// Rows were changed.
    Update,
    /// Rows were removed.
    Delete,
    /// Rows were changed through a join.
    UpdateJoin,
}

impl Image {
    /// An image without rows.
    pub fn empty(table_name: impl Into<String>) -> Image {
        Image {
            table_name: table_name.into(),
            rows: Vec::new(),
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Row {
    /// The column of this name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let exact = self.fields.iter().find(|field| field.name == name);
        exact.or_else(|| {
            self.fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name))
        })
    }

    /// The columns of the primary key, in the order of the image.
    pub fn key(&self) -> impl Iterator<Item = &Field> {
        self.fields
            .iter()
            .filter(|field| field.key == FieldKey::Primary)
    }
}

/// As undo logs name it.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SqlType::Insert => "INSERT",
            SqlType::Update => "UPDATE",
            SqlType::Delete => "DELETE",
            SqlType::UpdateJoin => "UPDATE_JOIN",
        })
    }
}

impl FromStr for SqlType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "INSERT" => Ok(SqlType::Insert),
            "UPDATE" => Ok(SqlType::Update),
            "DELETE" => Ok(SqlType::Delete),
            "UPDATE_JOIN" => Ok(SqlType::UpdateJoin),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_whatever_their_case() {
        let field = |name: &str, key| Field {
            name: name.into(),
            key,
            jdbc_type: 4,
            value: Value::Int(name.len() as i32),
        };
        let row = Row {
            fields: vec![
                field("Id", FieldKey::Primary),
                field("n", FieldKey::None),
                field("N", FieldKey::None),
            ],
        };
        assert_eq!(row.field("id").map(|f| f.name.as_str()), Some("Id"));
        assert_eq!(row.field("N").map(|f| f.name.as_str()), Some("N"));
        assert_eq!(row.field("m"), None);
        assert_eq!(row.key().count(), 1);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in [
            SqlType::Insert,
            SqlType::Update,
            SqlType::Delete,
            SqlType::UpdateJoin,
        ] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("INSERT_ON_UPDATE".parse::<SqlType>(), Err(()));
    }
}
