//! INSERT: what it writes, and how the keys of its rows become known.

use super::Dialect;
use super::change::on_update_columns;
use super::image::{Assembly, Derived, ImageColumns, Parameters, all_columns, in_image_order};
use super::name::{Name, TableName, find, primary_key, quote, quote_columns, quote_table};
use super::refused::{Cause, Refused};
use super::source::{Source, Span};
use super::values::{Cell, CellKind};
use crate::client::at::meta::{ColumnSource, TableMeta};

/// INSERT of rows that the statement itself gives.
#[derive(Clone, Debug)]
pub struct Insert {
    pub(super) source: Source,
    pub(super) table: TableName,
    /// The columns that are listed.
    pub(super) columns: Option<Vec<Name>>,
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) returning: Option<Span>,
    pub(super) skips: Skips,
}

/// Whether rows that would break a unique key are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skips {
    /// They are an error.
    Nothing,
    /// They are left out: `ON CONFLICT DO NOTHING`.
    Conflicts,
}

/// Whether the database can return what it has inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returning {
    /// `INSERT … RETURNING` works: PostgreSQL, SQLite from 3.35, MariaDB from 10.5.
    Supported,
    /// It does not: MySQL.
    Unsupported,
}

/// How an INSERT is run and its image read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertPlan {
    /// The columns of the image behind it: positions in [`TableMeta::columns`].
    pub columns: Vec<usize>,
    /// How many rows it gives. Exactly so many are inserted, or at most where `skips` says so.
    pub rows: usize,
    /// Whether rows may be left out.
    pub skips: Skips,
    /// How the keys become known.
    pub keys: InsertedKeys,
}

/// How the keys of inserted rows become known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertedKeys {
    /// The statement is executed in another form, which returns them. Then the image is read by them.
    Returned(Returned),
    /// The statement gives them. The image is read by this query: it has to give as many rows as were inserted.
    /// Where it gives none and `counted` allows it, the values may have been NULL or 0, and the database has counted.
    ReadBack {
        /// The query of the image.
        query: Derived,
        /// Whether the database may have counted.
        counted: MayCount,
    },
    /// The database counts. The image is read by [`Insert::counted`].
    Counted,
}

/// Whether a key that is a parameter may have come from AUTO_INCREMENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayCount {
    /// Then the image is read by [`Insert::counted`].
    Yes,
    /// Rows that are not found are an error.
    No,
}

/// A form of the user's statement that returns the keys. Its parameters are those of the user's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The text.
    pub sql: String,
    /// So many of the last columns of each row are the primary key in the order of the index, behind what the user returns.
    pub keys: usize,
    /// Whether a column with a boolean follows the key: true for a row that is new, false for one that was updated.
    pub marker: Marker,
}

/// Whether a returned row says that it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// All are new, or the probe before has told.
    None,
    /// The last column tells. A row that is not new and was not in the image before came from another transaction in
    /// between: the statement has to be taken back.
    IsNew,
}

impl Insert {
    pub(super) fn table(&self) -> &TableName {
        &self.table
    }

    /// Whether the user asked for what was inserted.
    pub fn returns_rows(&self) -> bool {
        self.returning.is_some()
    }

    /// Which columns its image has, and how the keys become known.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the table has no primary key, a column is not known, or the key of a row could not be told.
    pub fn plan(
        &self,
        meta: &TableMeta,
        returning: Returning,
        columns: ImageColumns,
        parameters: Parameters,
    ) -> Result<InsertPlan, Refused> {
        let key = primary_key(meta)?;
        let listed = self.listed(meta)?;
        let columns = match (&self.columns, columns) {
            (Some(_), ImageColumns::Written) => {
                let image = listed.iter().chain(key).copied();
                in_image_order(meta, image.chain(on_update_columns(meta)).collect())
            }
            _ => all_columns(meta),
        };
        let keys = match returning {
            Returning::Supported => InsertedKeys::Returned(self.returned(meta, key, Marker::None)),
            Returning::Unsupported => self.read_back(meta, key, &listed, &columns, parameters)?,
        };
        Ok(InsertPlan {
            columns,
            rows: self.rows.len(),
            skips: self.skips,
            keys,
        })
    }

    /// The query of the image when the database has counted: `first` is the first number, `step` the session's
    /// `auto_increment_increment`.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the numbers are no keys: `first` is 0, they do not fit, or the rest of the key is not given.
    pub fn counted(
        &self,
        meta: &TableMeta,
        columns: &[usize],
        first: u64,
        step: u64,
        parameters: Parameters,
    ) -> Result<Derived, Refused> {
        let key = primary_key(meta)?;
        let listed = self.listed(meta)?;
        let lost = || {
            Refused::new(
                "the database does not say which numbers it has given to the inserted rows",
                "give the rows their keys",
            )
            .cause(Cause::Key)
        };
        if first == 0 {
            return Err(lost());
        }
        let mut numbers = Vec::with_capacity(self.rows.len());
        for row in 0..self.rows.len() as u64 {
            let number = row
                .checked_mul(step)
                .and_then(|behind| first.checked_add(behind));
            numbers.push(number.ok_or_else(lost)?);
        }
        let dialect = self.source.dialect();
        let mut groups = Vec::new();
        if let [column] = key {
            let list: Vec<String> = numbers.iter().map(u64::to_string).collect();
            groups.push(vec![Condition {
                left: format!("{} IN ", quote(&meta.columns[*column].name, dialect)),
                right: Operand::Text(format!("({})", list.join(", "))),
            }]);
        } else {
            for (row, number) in self.rows.iter().zip(numbers) {
                let mut group = Vec::new();
                for column in key {
                    group.push(match self.cell(&listed, row, *column) {
                        _ if is_counted(meta, *column) => {
                            Condition::text(meta, *column, dialect, number.to_string())
                        }
                        Some(cell) => Condition::cell(meta, *column, dialect, cell),
                        None => return Err(lost()),
                    });
                }
                groups.push(group);
            }
        }
        Ok(self.select_groups(meta, columns, groups, parameters))
    }

    /// Positions of the columns that each row gives, in the row's order.
    pub(super) fn listed(&self, meta: &TableMeta) -> Result<Vec<usize>, Refused> {
        let dialect = self.source.dialect();
        let width = self.rows.first().map_or(0, Vec::len);
        let columns = match &self.columns {
            Some(columns) => {
                let columns: Result<Vec<_>, _> = columns.iter().map(|c| find(meta, c)).collect();
                columns?
            }
            // Rows without any value get only defaults.
            None if width == 0 => Vec::new(),
            None => {
                let takes = |column: &usize| {
                    let computed = meta.columns[*column].source == ColumnSource::Generated;
                    !computed || dialect != Dialect::Sqlite
                };
                let all: Vec<usize> = (0..meta.columns.len()).filter(takes).collect();
                let short = dialect == Dialect::Postgres && width < all.len();
                if !short && width != all.len() {
                    return Err(Refused::new(
                        format!(
                            "it gives {width} values for the {} columns of {}",
                            all.len(),
                            meta.qualified_name()
                        ),
                        "list the columns; if the table was altered just now, try again",
                    )
                    .cause(Cause::UnknownColumn));
                }
                all[..width].to_vec()
            }
        };
        if columns.len() != width && width > 0 {
            return Err(Refused::unread(format!(
                "it lists {} columns and gives {width} values",
                columns.len()
            )));
        }
        Ok(columns)
    }

    /// What a row gives to a column.
    pub(super) fn cell(&self, listed: &[usize], row: &[Cell], column: usize) -> Option<Cell> {
        let at = listed.iter().position(|c| *c == column)?;
        row.get(at).copied()
    }

    /// The statement with the key behind what it returns.
    pub(super) fn returned(&self, meta: &TableMeta, key: &[usize], marker: Marker) -> Returned {
        let dialect = self.source.dialect();
        let mut list: Vec<String> = Vec::new();
        for (at, column) in key.iter().enumerate() {
            let name = quote(&meta.columns[*column].name, dialect);
            // Names of our own, so that columns of the user are still found by theirs.
            let alias = quote(&format!("seamio_key_{}", at + 1), dialect);
            list.push(format!("{name} AS {alias}"));
        }
        if marker == Marker::IsNew {
            list.push("(xmax = 0) AS \"seamio_is_new\"".to_owned());
        }
        let glue = match self.returning {
            Some(_) => ", ",
            None => " RETURNING ",
        };
        Returned {
            sql: format!("{}{glue}{}", self.source.trimmed(), list.join(", ")),
            keys: key.len(),
            marker,
        }
    }

    fn read_back(
        &self,
        meta: &TableMeta,
        key: &[usize],
        listed: &[usize],
        columns: &[usize],
        parameters: Parameters,
    ) -> Result<InsertedKeys, Refused> {
        let mut may_count = MayCount::No;
        let mut counted = false;
        for column in key {
            match self.key_source(meta, listed, *column)? {
                KeySource::Counted => counted = true,
                KeySource::Given { parameter } => {
                    if parameter && is_counted(meta, *column) {
                        may_count = MayCount::Yes;
                    }
                }
            }
        }
        if counted {
            return Ok(InsertedKeys::Counted);
        }
        let dialect = self.source.dialect();
        let groups = self.rows.iter().map(|row| {
            let cells = key.iter().filter_map(|column| {
                let cell = self.cell(listed, row, *column)?;
                Some(Condition::cell(meta, *column, dialect, cell))
            });
            cells.collect()
        });
        let query = self.select_groups(meta, columns, groups.collect(), parameters);
        Ok(InsertedKeys::ReadBack {
            query,
            counted: may_count,
        })
    }

    /// Where the values of a column of the key come from: for all rows from the same place.
    fn key_source(
        &self,
        meta: &TableMeta,
        listed: &[usize],
        column: usize,
    ) -> Result<KeySource, Refused> {
        let name = &meta.columns[column].name;
        let mut source = None;
        for row in &self.rows {
            let cell = self.cell(listed, row, column);
            let this = match cell.map(|cell| (cell, cell.kind)) {
                Some((_, CellKind::Parameter)) => KeySource::Given { parameter: true },
                Some((cell, CellKind::Literal))
                    if !self.is_zero(cell) || !is_counted(meta, column) =>
                {
                    KeySource::Given { parameter: false }
                }
                Some((_, CellKind::Expression)) => {
                    return Err(Refused::new(
                        format!("the value of the key's column {name} is an expression"),
                        "compute the value first, and bind it as a parameter",
                    )
                    .cause(Cause::Key));
                }
                _ if is_counted(meta, column) => KeySource::Counted,
                _ => {
                    return Err(Refused::new(
                        format!("it gives no value for the key's column {name}, and the database does not count it"),
                        "give the value as a literal or a parameter",
                    )
                    .cause(Cause::Key));
                }
            };
            let (same, all) = match (source, this) {
                (None, _) => (true, this),
                (Some(KeySource::Given { parameter: a }), KeySource::Given { parameter: b }) => {
                    (true, KeySource::Given { parameter: a && b })
                }
                (Some(before), _) => (before == this, this),
            };
            source = Some(all);
            if !same {
                return Err(Refused::new(
                    format!("its rows get their values of the key's column {name} in different ways"),
                    "insert the rows with given keys and those with counted ones in statements of their own",
                )
                .cause(Cause::Key));
            }
        }
        source.ok_or_else(|| Refused::unread("it has no rows"))
    }

    fn is_zero(&self, cell: Cell) -> bool {
        let text = self.source.text(cell.span);
        let number = text.trim_matches(['\'', '"']).trim();
        number.parse::<f64>().is_ok_and(|number| number == 0.0)
    }

    /// The query of the rows for which all conditions of one of the groups hold.
    pub(super) fn select_groups(
        &self,
        meta: &TableMeta,
        columns: &[usize],
        mut groups: Vec<Vec<Condition>>,
        parameters: Parameters,
    ) -> Derived {
        let dialect = self.source.dialect();
        // In the order of their parameters, which MySQL may not be able to change.
        let first = |condition: &Condition| match &condition.right {
            Operand::Cell { span, .. } => self.source.first_parameter(*span),
            Operand::Text(_) => None,
        };
        for group in &mut groups {
            group.sort_by_key(|condition| first(condition));
        }
        groups.sort_by_key(|group| group.iter().find_map(first));
        let mut query = Assembly::new(&self.source);
        query.text(format!(
            "SELECT {} FROM {} WHERE ",
            quote_columns(meta, columns, "", dialect),
            quote_table(meta, dialect)
        ));
        for (at, group) in groups.into_iter().enumerate() {
            query.text(if at == 0 { "(" } else { " OR (" });
            for (at, condition) in group.into_iter().enumerate() {
                if at > 0 {
                    query.text(" AND ");
                }
                query.before_condition();
                query.text(condition.left);
                match condition.right {
                    Operand::Text(text) => query.text(text),
                    Operand::Cell { span, cast } if cast.is_empty() => query.span(span),
                    Operand::Cell { span, cast } => {
                        query.text("(");
                        query.span(span);
                        query.text(format!(")::{cast}"));
                    }
                }
                query.behind_condition();
            }
            query.text(")");
        }
        query.text(dialect.lock_rows());
        query.finish(parameters)
    }
}

/// Where a column of a key has its value from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeySource {
    /// By the statement; as parameters in all rows, or not in all.
    Given {
        parameter: bool,
    },
    Counted,
}

/// A comparison of a column.
pub(super) struct Condition {
    /// The column and the operator.
    left: String,
    right: Operand,
}

enum Operand {
    /// What the statement gives, cast to the type where it is not empty.
    Cell {
        span: Span,
        cast: String,
    },
    Text(String),
}

impl Condition {
    pub(super) fn cell(meta: &TableMeta, column: usize, dialect: Dialect, cell: Cell) -> Self {
        let cast = match dialect {
            Dialect::Postgres => meta.columns[column].type_name.clone(),
            Dialect::MySql | Dialect::Sqlite => String::new(),
        };
        let span = cell.span;
        let mut condition = Self::text(meta, column, dialect, String::new());
        condition.right = Operand::Cell { span, cast };
        condition
    }

    pub(super) fn text(meta: &TableMeta, column: usize, dialect: Dialect, text: String) -> Self {
        Self {
            left: format!("{} = ", quote(&meta.columns[column].name, dialect)),
            right: Operand::Text(text),
        }
    }
}

fn is_counted(meta: &TableMeta, column: usize) -> bool {
    matches!(
        meta.columns[column].source,
        ColumnSource::AutoIncrement | ColumnSource::AlwaysIdentity
    )
}
