//! UPDATE and DELETE.

use super::image::{BeforeImage, ImageColumns, Parameters, all_columns, in_image_order, qualified};
use super::name::{Name, TableName, find, primary_key, quote, quote_columns};
use super::refused::{Cause, Refused};
use super::rows::{Factor, Rows, Selection};
use super::source::{Cursor, Source, Span};
use super::{Dialect, Statement};
use crate::client::at::meta::{ColumnSource, TableMeta};

/// UPDATE of one table.
#[derive(Clone, Debug)]
pub struct Update {
    source: Source,
    factor: Factor,
    assigned: Vec<Assigned>,
    rows: Rows,
}

/// MySQL's UPDATE of joined tables.
#[derive(Clone, Debug)]
pub struct UpdateJoin {
    source: Source,
    factors: Vec<Factor>,
    assigned: Vec<Assigned>,
    rows: Rows,
}

/// DELETE from one table.
#[derive(Clone, Debug)]
pub struct Delete {
    source: Source,
    factor: Factor,
    rows: Rows,
}

/// The image of one of the tables that an UPDATE of joined tables changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedImage {
    /// Which of the statement's tables.
    pub table: usize,
    /// The image before.
    pub before: BeforeImage,
}

/// A column that gets a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// Table and schema in front of the column; empty where it is not qualified.
    qualifier: Vec<Name>,
    column: Name,
}

impl Update {
    pub(super) fn table(&self) -> &TableName {
        &self.factor.table
    }

    /// What to read before it is executed. The image behind it is read with [`super::rows_by_key`], with the same columns.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the table has no primary key, a column is not known, a column of the primary key is written, or a
    /// limit chooses rows that cannot be told again.
    pub fn before(
        &self,
        meta: &TableMeta,
        columns: ImageColumns,
        parameters: Parameters,
    ) -> Result<BeforeImage, Refused> {
        let dialect = self.source.dialect();
        self.rows.check_limit(&self.source, meta)?;
        let columns = update_columns(meta, self.assigned.iter().map(|a| &a.column), columns)?;
        let selection = Selection {
            list: &quote_columns(meta, &columns, "", dialect),
            and: "",
            lock: dialect.lock_rows(),
        };
        let query = self.rows.select(&self.source, &selection, parameters);
        Ok(BeforeImage { columns, query })
    }
}

impl UpdateJoin {
    pub(super) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.factors.iter().map(|factor| &factor.table)
    }

    /// What to read before it is executed, for each table that it changes: one undo item each. `metas` are the tables of the
    /// statement, in its order.
    ///
    /// # Errors
    ///
    /// [`Refused`] as for [`Update::before`], and when a column may be of several tables.
    ///
    /// # Panics
    ///
    /// Unless there is a description for each table.
    pub fn before(
        &self,
        metas: &[&TableMeta],
        columns: ImageColumns,
        parameters: Parameters,
    ) -> Result<Vec<JoinedImage>, Refused> {
        assert_eq!(
            metas.len(),
            self.factors.len(),
            "one description for each table"
        );
        let dialect = self.source.dialect();
        let mut written: Vec<Vec<&Name>> = vec![Vec::new(); metas.len()];
        for assigned in &self.assigned {
            written[self.table_of(assigned, metas)?].push(&assigned.column);
        }
        let mut images = Vec::new();
        for (table, written) in written.into_iter().enumerate() {
            if written.is_empty() {
                continue;
            }
            let meta = metas[table];
            let columns = update_columns(meta, written, columns)?;
            let prefix = self.factors[table].prefix(dialect);
            // Each row once, however many rows it was joined with; a row that an outer join made up has no key.
            let key = qualified(meta, primary_key(meta)?[0], &prefix, dialect);
            let selection = Selection {
                list: &format!(
                    "DISTINCT {}",
                    quote_columns(meta, &columns, &prefix, dialect)
                ),
                and: &format!("{key} IS NOT NULL"),
                lock: dialect.lock_rows(),
            };
            let query = self.rows.select(&self.source, &selection, parameters);
            let before = BeforeImage { columns, query };
            images.push(JoinedImage { table, before });
        }
        Ok(images)
    }

    fn table_of(&self, assigned: &Assigned, metas: &[&TableMeta]) -> Result<usize, Refused> {
        let fits = |table: &usize| match assigned.qualifier.as_slice() {
            [] => find(metas[*table], &assigned.column).is_ok(),
            [.., name] => self.factors[*table].is_called(name),
        };
        let tables: Vec<usize> = (0..metas.len()).filter(fits).collect();
        let column = &assigned.column.value;
        match tables.as_slice() {
            [table] => Ok(*table),
            [] => Err(Refused::new(
                format!("it sets the column {column} of a table that is not known"),
                "check the name of the column and the alias in front of it; if a table was altered just now, try again",
            )
            .cause(Cause::UnknownColumn)),
            _ => Err(Refused::new(
                format!("the column {column} may be of several tables"),
                "write the table's alias in front of the column, and give each table another",
            )),
        }
    }
}

impl Delete {
    pub(super) fn table(&self) -> &TableName {
        &self.factor.table
    }

    /// What to read before it is executed: all columns. Nothing is read behind it.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the table has no primary key, or a limit chooses rows that cannot be told again.
    pub fn before(&self, meta: &TableMeta, parameters: Parameters) -> Result<BeforeImage, Refused> {
        let dialect = self.source.dialect();
        primary_key(meta)?;
        self.rows.check_limit(&self.source, meta)?;
        let columns = all_columns(meta);
        let selection = Selection {
            list: &quote_columns(meta, &columns, "", dialect),
            and: "",
            lock: dialect.lock_rows(),
        };
        let query = self.rows.select(&self.source, &selection, parameters);
        Ok(BeforeImage { columns, query })
    }
}

/// A statement that begins with UPDATE.
pub(super) fn read_update(source: Source) -> Result<Statement, Refused> {
    let dialect = source.dialect();
    let mut cursor = Cursor::new(&source);
    cursor.expect("UPDATE")?;
    skip_modifiers(&mut cursor, dialect)?;
    let from = cursor.at();
    let mut factors = vec![Factor::read(&mut cursor, dialect)?];
    if dialect == Dialect::MySql {
        read_joins(&mut cursor, &source, &mut factors)?;
    }
    let from = Span {
        from,
        to: cursor.at(),
    };
    cursor.expect("SET")?;
    let ends: &[&str] = match dialect {
        Dialect::MySql => &[],
        _ => &["FROM", "RETURNING"],
    };
    let stops = [&["WHERE", "ORDER", "LIMIT"], ends].concat();
    let list = cursor.clause(&stops);
    let assigned = assignments(&source, list)?;
    if cursor.is("FROM") {
        return Err(Refused::not_undoable(
            "UPDATE … FROM takes its rows from several tables",
        ));
    }
    let rows = read_rows(&mut cursor, from, ends)?;
    rows.check(&source)?;
    if factors.len() > 1 {
        if !rows.tail.is_empty() {
            return Err(Refused::new(
                "an UPDATE of joined tables has an order or a limit",
                "read the keys first with SELECT … FOR UPDATE, and name them in the condition",
            ));
        }
        return Ok(Statement::UpdateJoin(UpdateJoin {
            factors,
            assigned,
            rows,
            source,
        }));
    }
    Ok(Statement::Update(Update {
        factor: factors.remove(0),
        assigned,
        rows,
        source,
    }))
}

/// A statement that begins with DELETE.
pub(super) fn read_delete(source: Source) -> Result<Statement, Refused> {
    let dialect = source.dialect();
    let several = || Refused::not_undoable("DELETE takes its rows from several tables");
    let mut cursor = Cursor::new(&source);
    cursor.expect("DELETE")?;
    skip_modifiers(&mut cursor, dialect)?;
    if !cursor.accept("FROM") {
        return Err(several());
    }
    let from = cursor.at();
    let factor = Factor::read(&mut cursor, dialect)?;
    let from = Span {
        from,
        to: cursor.at(),
    };
    let joins = cursor.is_any(&JOINS) || cursor.is_any(&["FROM", "USING"]);
    if joins || cursor.is_symbol(',') || cursor.is_symbol('.') {
        return Err(several());
    }
    let rows = read_rows(&mut cursor, from, &["RETURNING"])?;
    rows.check(&source)?;
    Ok(Statement::Delete(Delete {
        factor,
        rows,
        source,
    }))
}

/// WHERE, ORDER BY, LIMIT and RETURNING to the end. SQLite has RETURNING in front of ORDER BY.
fn read_rows(cursor: &mut Cursor<'_>, from: Span, ends: &[&str]) -> Result<Rows, Refused> {
    if !cursor.is_end() && !cursor.is_any(&["WHERE", "ORDER", "LIMIT"]) && !cursor.is_any(ends) {
        return Err(cursor.unexpected("WHERE"));
    }
    let mut rows = Rows::read(cursor, from, ends)?;
    if cursor.accept("RETURNING") && rows.tail.is_empty() {
        let list = cursor.clause(&["ORDER", "LIMIT"]);
        if list.is_empty() {
            return Err(cursor.unexpected("what to return"));
        }
        rows.tail = cursor.clause(&[]);
    } else {
        cursor.clause(&[]);
    }
    cursor.expect_end()?;
    Ok(rows)
}

/// Words between the verb and the table.
pub(super) fn skip_modifiers(cursor: &mut Cursor<'_>, dialect: Dialect) -> Result<(), Refused> {
    let ignore =
        |what: &str| Refused::not_undoable(format!("{what} leaves out rows without saying which"));
    match dialect {
        Dialect::MySql => {
            while cursor.is_any(&["LOW_PRIORITY", "HIGH_PRIORITY", "QUICK", "IGNORE"]) {
                if cursor.is("IGNORE") {
                    return Err(ignore("IGNORE"));
                }
                cursor.step();
            }
        }
        Dialect::Sqlite => {
            if cursor.accept("OR") && !cursor.accept("ABORT") {
                return Err(ignore("OR with another way out than ABORT"));
            }
        }
        Dialect::Postgres => {}
    }
    Ok(())
}

/// The tables behind the first, up to SET.
fn read_joins(
    cursor: &mut Cursor<'_>,
    source: &Source,
    factors: &mut Vec<Factor>,
) -> Result<(), Refused> {
    while !cursor.is_end() && !cursor.is("SET") {
        if cursor.is_any(&["NATURAL", "RIGHT", "FULL"]) {
            let kind = source.token(cursor.at()).to_uppercase();
            return Err(Refused::new(
                format!("it joins its tables with {kind} JOIN"),
                "use an inner join or LEFT JOIN, with ON",
            ));
        }
        if !cursor.accept_symbol(',') {
            while cursor.is_any(&["INNER", "CROSS", "LEFT", "OUTER"]) {
                cursor.step();
            }
            if !cursor.accept("STRAIGHT_JOIN") {
                cursor.expect("JOIN")?;
            }
        }
        factors.push(Factor::read(cursor, source.dialect())?);
        if cursor.accept("ON") {
            // `LEFT(a, 3)` is a function.
            let joins = |cursor: &Cursor<'_>| {
                cursor.is_symbol(',')
                    || (cursor.is_any(&JOINS) && !source.is_symbol(cursor.at() + 1, '('))
            };
            while !cursor.is_end() && !cursor.is("SET") && !joins(cursor) {
                cursor.step();
            }
        } else if cursor.accept("USING") && cursor.group().is_none() {
            return Err(cursor.unexpected("a list of columns"));
        }
    }
    Ok(())
}

/// The columns that a list of assignments writes.
pub(super) fn assignments(source: &Source, list: Span) -> Result<Vec<Assigned>, Refused> {
    let mut assigned = Vec::new();
    for item in source.split(list) {
        let mut cursor = Cursor::within(source, item);
        if let Some(columns) = cursor.group() {
            for column in source.split(columns) {
                let mut cursor = Cursor::within(source, column);
                assigned.push(Assigned::read(&mut cursor, source.dialect())?);
                cursor.expect_end()?;
            }
        } else {
            assigned.push(Assigned::read(&mut cursor, source.dialect())?);
        }
        // MySQL has `:=` as well.
        cursor.accept_symbol(':');
        if !cursor.accept_symbol('=') {
            return Err(cursor.unexpected("="));
        }
        if cursor.is_end() {
            return Err(cursor.unexpected("a value"));
        }
    }
    Ok(assigned)
}

impl Assigned {
    pub(super) fn read(cursor: &mut Cursor<'_>, dialect: Dialect) -> Result<Self, Refused> {
        let Some(mut path) = cursor.path() else {
            return Err(cursor.unexpected("the name of a column"));
        };
        // PostgreSQL: a field of the column, or an element of it.
        if dialect == Dialect::Postgres {
            path.truncate(1);
            while cursor.is_symbol('[') {
                cursor.step();
            }
        }
        let Some(column) = path.pop() else {
            return Err(cursor.unexpected("the name of a column"));
        };
        Ok(Self {
            qualifier: path,
            column,
        })
    }

    pub(super) fn column(&self) -> &Name {
        &self.column
    }
}

impl Factor {
    /// What stands in front of its columns.
    fn prefix(&self, dialect: Dialect) -> String {
        match (&self.alias, &self.table.schema) {
            (Some(alias), _) => format!("{}.", quote(&alias.value, dialect)),
            (None, Some(schema)) => format!(
                "{}.{}.",
                quote(&schema.value, dialect),
                quote(&self.table.name.value, dialect)
            ),
            (None, None) => format!("{}.", quote(&self.table.name.value, dialect)),
        }
    }

    fn is_called(&self, name: &Name) -> bool {
        let own = self.alias.as_ref().unwrap_or(&self.table.name);
        own.value.eq_ignore_ascii_case(&name.value)
    }
}

/// The columns of an image of updated rows. Refuses to write the primary key.
pub(super) fn update_columns<'a>(
    meta: &TableMeta,
    written: impl IntoIterator<Item = &'a Name>,
    columns: ImageColumns,
) -> Result<Vec<usize>, Refused> {
    let key = primary_key(meta)?;
    let mut image = Vec::new();
    for column in written {
        let column = find(meta, column)?;
        if key.contains(&column) {
            return Err(writes_key(meta, column));
        }
        image.push(column);
    }
    if columns == ImageColumns::All {
        return Ok(all_columns(meta));
    }
    image.extend(key);
    image.extend(on_update_columns(meta));
    Ok(in_image_order(meta, image))
}

pub(super) fn on_update_columns(meta: &TableMeta) -> impl Iterator<Item = usize> {
    let written = |column: &usize| meta.columns[*column].source == ColumnSource::OnUpdate;
    (0..meta.columns.len()).filter(written)
}

pub(super) fn writes_key(meta: &TableMeta, column: usize) -> Refused {
    Refused::new(
        format!(
            "it writes the column {} of the primary key of {}",
            meta.columns[column].name,
            meta.qualified_name()
        ),
        "delete the row and insert it with its new key",
    )
    .cause(Cause::Key)
}

const JOINS: [&str; 9] = [
    "CROSS",
    "FULL",
    "INNER",
    "JOIN",
    "LEFT",
    "NATURAL",
    "OUTER",
    "RIGHT",
    "STRAIGHT_JOIN",
];
