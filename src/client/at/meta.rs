//! What a table looks like, as far as images, lock keys and undo need it (client.md 3.10).

/// A table as the database describes it. Names have the database's spelling, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// The schema, where it has to be named to find the table: PostgreSQL's other than `public`, MySQL's and SQLite's where the
    /// statement named one.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
    /// In the order of the table.
    pub columns: Vec<ColumnMeta>,
    /// The primary key and the unique indexes.
    pub keys: Vec<KeyMeta>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMeta {
    /// Its name.
    pub name: String,
    /// The number that a JDBC driver reports in `getColumns().DATA_TYPE`: undo logs carry it, and Java compares it.
    pub jdbc_type: i32,
    /// The database's own name of the type, in lower case, with its length or precision where that tells types apart (`bit(1)`).
    pub type_name: String,
    /// Whether it may be NULL.
    pub nullability: Nullability,
    /// The default as an expression of the database, if there is one.
    pub default: Option<String>,
    /// Who gives it a value.
    pub source: ColumnSource,
}

/// Whether a column may be NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nullability {
    /// It may.
    Nullable,
    /// It may not.
    NotNull,
}

/// Who gives a column its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// Statements and the default.
    Statement,
    /// The database counts where a statement gives nothing: MySQL's AUTO_INCREMENT, serial and identity columns, SQLite's
    /// INTEGER PRIMARY KEY.
    AutoIncrement,
    /// The database counts and takes no value without `OVERRIDING SYSTEM VALUE`: PostgreSQL's GENERATED ALWAYS AS IDENTITY.
    AlwaysIdentity,
    /// The database sets it to the time of each update: MySQL's ON UPDATE CURRENT_TIMESTAMP.
    OnUpdate,
    /// Computed from other columns: never written.
    Generated,
}

/// The primary key or a unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    /// Its name.
    pub name: String,
    /// Which of the two.
    pub kind: KeyKind,
    /// Positions in [`TableMeta::columns`], in the order of the index.
    pub columns: Vec<usize>,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The primary key.
    Primary,
    /// A unique index over whole columns and all rows.
    Unique,
}

impl TableMeta {
    /// Columns of the primary key in the order of the index; empty when the table has none.
    pub fn primary_key(&self) -> impl Iterator<Item = &ColumnMeta> {
        self.keys
            .iter()
            .find(|key| key.kind == KeyKind::Primary)
            .into_iter()
            .flat_map(|key| &key.columns)
            .filter_map(|index| self.columns.get(*index))
    }

    /// The column of this name, whatever its case.
    pub fn column(&self, name: &str) -> Option<&ColumnMeta> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The name as lock keys and images have it: with the schema where there is one.
    pub fn qualified_name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}
