//! INSERT that updates the rows that are there already: `ON DUPLICATE KEY UPDATE`, `ON CONFLICT … DO UPDATE`.

use super::Dialect;
use super::change::{Assigned, assignments, writes_key};
use super::image::{Derived, Parameters, all_columns};
use super::insert::{Condition, Insert, Marker, Returned};
use super::name::{Name, TableName, find, primary_key};
use super::refused::{Cause, Refused};
use super::source::{Cursor, Source, Span};
use super::values::{Cell, CellKind};
use crate::client::at::meta::{ColumnSource, KeyMeta, Nullability, TableMeta};

/// INSERT that updates rows with the same unique key.
#[derive(Clone, Debug)]
pub struct Upsert {
    insert: Insert,
    update: ConflictUpdate,
}

/// How the images of an upsert are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpsertPlan {
    /// The columns of the images, all of them: positions in [`TableMeta::columns`].
    pub columns: Vec<usize>,
    /// How many rows the statement gives.
    pub rows: usize,
    /// The query of the rows that may be updated. Before: they and no others exist already. Behind the statement it is asked
    /// again, and for the rows that were there before also [`super::rows_by_key`]; those it shows for the first time are
    /// new.
    pub probe: Derived,
    /// PostgreSQL: the form of the statement to execute, which returns the keys and whether each row is new. Another
    /// transaction may have inserted a row between the probe and the statement.
    pub returned: Option<Returned>,
}

/// What happens to rows that are there.
#[derive(Clone, Debug)]
pub(super) enum Conflict {
    Nothing,
    Update(ConflictUpdate),
}

#[derive(Clone, Debug)]
pub(super) struct ConflictUpdate {
    target: Target,
    assigned: Vec<Assigned>,
}

/// Which unique keys decide that a row is there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Any,
    Columns(Vec<Name>),
    Constraint(Name),
}

impl Upsert {
    pub(super) fn new(insert: Insert, update: ConflictUpdate) -> Self {
        Self { insert, update }
    }

    pub(super) fn table(&self) -> &TableName {
        self.insert.table()
    }

    /// What to read before it is executed and behind it.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the table has no primary key, a column is not known, a column of the primary key is written, no unique
    /// key has all its values, or one of those values can only be told by the database.
    pub fn plan(&self, meta: &TableMeta, parameters: Parameters) -> Result<UpsertPlan, Refused> {
        let key = primary_key(meta)?;
        for assigned in &self.update.assigned {
            let column = find(meta, assigned.column())?;
            if key.contains(&column) {
                return Err(writes_key(meta, column));
            }
        }
        let listed = self.insert.listed(meta)?;
        let keys = self.keys(meta)?;
        let mut groups = Vec::new();
        for row in &self.insert.rows {
            for key in &keys {
                groups.extend(self.conditions(meta, &listed, row, key)?);
            }
        }
        if groups.is_empty() {
            return Err(Refused::new(
                format!(
                    "it gives no unique key of {} a value in all its columns",
                    meta.qualified_name()
                ),
                "use a plain INSERT, or give the values by which a row is found",
            )
            .cause(Cause::Key));
        }
        let columns = all_columns(meta);
        let probe = self
            .insert
            .select_groups(meta, &columns, groups, parameters);
        let returned = match self.insert.source.dialect() {
            Dialect::Postgres => Some(self.insert.returned(meta, key, Marker::IsNew)),
            Dialect::MySql | Dialect::Sqlite => None,
        };
        Ok(UpsertPlan {
            columns,
            rows: self.insert.rows.len(),
            probe,
            returned,
        })
    }

    /// The unique keys by which rows are found.
    fn keys<'m>(&self, meta: &'m TableMeta) -> Result<Vec<&'m KeyMeta>, Refused> {
        let known = |key: &&KeyMeta| key.columns.iter().all(|c| *c < meta.columns.len());
        let all = meta.keys.iter().filter(known);
        let keys: Vec<&KeyMeta> = match &self.update.target {
            Target::Any => all.collect(),
            Target::Constraint(name) => {
                let name = name.folded(Dialect::Postgres);
                all.filter(|key| key.name == name).collect()
            }
            Target::Columns(columns) => {
                let columns: Result<Vec<_>, _> = columns.iter().map(|c| find(meta, c)).collect();
                let columns = columns?;
                let same = |key: &&KeyMeta| {
                    key.columns.iter().all(|c| columns.contains(c))
                        && columns.iter().all(|c| key.columns.contains(c))
                };
                all.filter(same).take(1).collect()
            }
        };
        if keys.is_empty() {
            return Err(Refused::new(
                "its ON CONFLICT names no unique key over whole columns and all rows",
                "name the columns of the primary key or of a unique index without a condition",
            )
            .cause(Cause::Key));
        }
        Ok(keys)
    }

    /// The conditions under which a row with this key is there already; nothing when there can be none.
    fn conditions(
        &self,
        meta: &TableMeta,
        listed: &[usize],
        row: &[Cell],
        key: &KeyMeta,
    ) -> Result<Option<Vec<Condition>>, Refused> {
        let mut conditions = Vec::new();
        for column in &key.columns {
            match self.condition(meta, listed, row, *column)? {
                Some(condition) => conditions.push(condition),
                None => return Ok(None),
            }
        }
        Ok(Some(conditions))
    }

    /// Nothing when the value is NULL or a new one.
    fn condition(
        &self,
        meta: &TableMeta,
        listed: &[usize],
        row: &[Cell],
        column: usize,
    ) -> Result<Option<Condition>, Refused> {
        let dialect = self.insert.source.dialect();
        let untold = |what: &str| {
            Refused::new(
                format!(
                    "the value of the unique column {} is {what}",
                    meta.columns[column].name
                ),
                "compute the value first, and bind it as a parameter",
            )
            .cause(Cause::Key)
        };
        let cell = self.insert.cell(listed, row, column);
        match cell.map(|cell| (cell, cell.kind)) {
            Some((_, CellKind::Null)) => return Ok(None),
            Some((cell, CellKind::Literal | CellKind::Parameter)) => {
                return Ok(Some(Condition::cell(meta, column, dialect, cell)));
            }
            Some((_, CellKind::Expression)) => return Err(untold("an expression")),
            Some((_, CellKind::Default)) | None => {}
        }
        let described = &meta.columns[column];
        match described.source {
            ColumnSource::AutoIncrement | ColumnSource::AlwaysIdentity => return Ok(None),
            ColumnSource::Generated => return Err(untold("computed by the database")),
            ColumnSource::Statement | ColumnSource::OnUpdate => {}
        }
        let default = described.default.as_deref();
        match default.filter(|text| !text.trim().eq_ignore_ascii_case("null")) {
            None if dialect == Dialect::MySql && described.nullability == Nullability::NotNull => {
                Err(untold("not given"))
            }
            None => Ok(None),
            Some(text) => default_condition(meta, column, dialect, text)
                .ok_or_else(|| untold("a default that the database computes")),
        }
    }
}

/// Compares with the default, if that is a literal. The inner nothing is NULL.
fn default_condition(
    meta: &TableMeta,
    column: usize,
    dialect: Dialect,
    default: &str,
) -> Option<Option<Condition>> {
    if dialect == Dialect::MySql {
        let name = super::name::quote(&meta.columns[column].name, dialect);
        let computed = default.contains('(') || default.eq_ignore_ascii_case("CURRENT_TIMESTAMP");
        let text = format!("DEFAULT({name})");
        return (!computed).then(|| Some(Condition::text(meta, column, dialect, text)));
    }
    let source = Source::read(default, dialect).ok()?;
    match Cell::read(&source, source.all()).kind {
        CellKind::Literal => {
            let text = source.trimmed().to_owned();
            Some(Some(Condition::text(meta, column, dialect, text)))
        }
        CellKind::Null => Some(None),
        CellKind::Default | CellKind::Parameter | CellKind::Expression => None,
    }
}

/// What stands between the rows and RETURNING.
pub(super) fn read_conflict(
    cursor: &mut Cursor<'_>,
    source: &Source,
) -> Result<Option<Conflict>, Refused> {
    if !cursor.accept("ON") {
        return Ok(None);
    }
    if source.dialect() == Dialect::MySql {
        for word in ["DUPLICATE", "KEY", "UPDATE"] {
            cursor.expect(word)?;
        }
        let list = cursor.clause(&["RETURNING"]);
        return Ok(Some(Conflict::Update(ConflictUpdate {
            target: Target::Any,
            assigned: assignments(source, list)?,
        })));
    }
    cursor.expect("CONFLICT")?;
    let target = read_target(cursor, source)?;
    cursor.expect("DO")?;
    if cursor.accept("NOTHING") {
        one_conflict(cursor)?;
        return Ok(Some(Conflict::Nothing));
    }
    cursor.expect("UPDATE")?;
    cursor.expect("SET")?;
    let list = cursor.clause(&["WHERE", "RETURNING", "ON"]);
    let assigned = assignments(source, list)?;
    if cursor.accept("WHERE") {
        cursor.clause(&["RETURNING", "ON"]);
    }
    one_conflict(cursor)?;
    let target = target.filter(|target| *target != Target::Any);
    let target = target.ok_or_else(|| {
        Refused::new(
            "its ON CONFLICT names no columns, or an expression, or a part of the rows",
            "name the columns of the primary key or of a unique index without a condition",
        )
        .cause(Cause::Key)
    })?;
    Ok(Some(Conflict::Update(ConflictUpdate { target, assigned })))
}

fn one_conflict(cursor: &Cursor<'_>) -> Result<(), Refused> {
    if cursor.is("ON") {
        return Err(Refused::new(
            "it has several ON CONFLICT",
            "use one, for the key by which the row is found",
        ));
    }
    Ok(())
}

/// Nothing when the target is more than columns.
fn read_target(cursor: &mut Cursor<'_>, source: &Source) -> Result<Option<Target>, Refused> {
    if cursor.accept_all(&["ON", "CONSTRAINT"]) {
        let name = cursor.name();
        let name = name.ok_or_else(|| cursor.unexpected("the name of a constraint"))?;
        return Ok(Some(Target::Constraint(name)));
    }
    let Some(list) = cursor.group() else {
        return Ok(Some(Target::Any));
    };
    let columns = source
        .split(list)
        .into_iter()
        .map(|item| plain_column(source, item));
    let columns: Option<Vec<Name>> = columns.collect();
    let partial = cursor.accept("WHERE");
    if partial {
        cursor.clause(&["DO"]);
    }
    Ok(columns.filter(|_| !partial).map(Target::Columns))
}

fn plain_column(source: &Source, item: Span) -> Option<Name> {
    let mut cursor = Cursor::within(source, item);
    let name = cursor.name()?;
    cursor.is_end().then_some(name)
}
