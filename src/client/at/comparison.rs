//! Whether rows may be undone: what a branch left, compared with what is there now (client.md 5.3).
//!
//! Rows are matched by the fields of their key, and of each row only the recorded columns are compared, by
//! [`Value::same_as`]. JDBC numbers of types are not compared: they depend on the driver of the client that wrote the undo log, while
//! the same value in a column of another type is the same content still. Java compares them, and calls such rows dirty.

use std::collections::HashMap;
use std::fmt;

use super::image::{Field, Image, Row, UndoItem};
use super::value::Value;

/// What to do with an item of an undo log.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing: the statement changed nothing.
    Unchanged,
    /// Undo it: the rows are as the statement left them.
    Undo,
    /// Nothing: the rows are as they were before.
    AlreadyUndone,
    /// Nothing, ever: somebody outside of global transactions changed the rows.
    Dirty(Difference),
}

/// Where the rows are not as the statement left them.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// The key of the row, for messages: `id = 7`.
    pub row: String,
    /// What differs.
    pub what: What,
}

/// What differs in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The row is gone.
    Gone,
    /// The row is there, but the statement had removed it.
    There,
    /// A column holds something else.
    Column {
        /// The column.
        name: String,
        /// What the statement left.
        left: Value,
        /// What is there now; none when there is no such column.
        found: Option<Value>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { table, row, what } = self;
        write!(
            f,
            "the row {row} of the table {table} was changed outside of the transaction: "
        )?;
        match what {
            What::Gone => f.write_str("it is gone"),
            What::There => f.write_str("it was removed and is there again"),
            What::Column {
                name,
                left,
                found: Some(found),
            } => {
                write!(
                    f,
                    "the transaction left {left} in the column {name}, now it holds {found}"
                )
            }
            What::Column {
                name,
                left,
                found: None,
            } => {
                write!(
                    f,
                    "the transaction left {left} in the column {name}, now there is no such column"
                )
            }
        }
    }
}

/// Compares the rows that are there now, read by the keys of the images, with an item of the undo log.
pub fn compare(item: &UndoItem, current: &Image) -> Verdict {
    let (before, after) = (&item.before, &item.after);
    if difference(before, after, &item.table_name).is_none() {
        return Verdict::Unchanged;
    }
    let Some(dirty) = difference(after, current, &item.table_name) else {
        return Verdict::Undo;
    };
    if difference(before, current, &item.table_name).is_none() {
        return Verdict::AlreadyUndone;
    }
    Verdict::Dirty(dirty)
}

/// The first difference between recorded rows and others.
fn difference(recorded: &Image, found: &Image, table: &str) -> Option<Difference> {
    let at = |row: &Row, what| {
        let row = row
            .key()
            .map(|field| format!("{} = {}", field.name, field.value));
        Some(Difference {
            table: table.to_owned(),
            row: row.collect::<Vec<_>>().join(", "),
            what,
        })
    };
    let mut by_key: HashMap<String, Vec<&Row>> = HashMap::new();
    for row in &found.rows {
        by_key.entry(bucket(row.key())).or_default().push(row);
    }
    for row in &recorded.rows {
        let candidates = by_key.get_mut(&bucket(row.key()));
        let position = |rows: &mut Vec<&Row>| rows.iter().position(|found| same_key(row, found));
        let other =
            candidates.and_then(|rows| position(rows).map(|position| rows.swap_remove(position)));
        let Some(other) = other else {
            return at(row, What::Gone);
        };
        for field in &row.fields {
            let found = other.field(&field.name);
            if !found.is_some_and(|found| field.value.same_as(&found.value)) {
                return at(
                    row,
                    What::Column {
                        name: field.name.clone(),
                        left: field.value.clone(),
                        found: found.map(|found| found.value.clone()),
                    },
                );
            }
        }
    }
    // In the order of the rows, for the message not to depend on that of the map.
    let left: Vec<&Row> = by_key.into_values().flatten().collect();
    let first = found
        .rows
        .iter()
        .find(|row| left.iter().any(|left| std::ptr::eq(*left, *row)));
    first.and_then(|row| at(row, What::There))
}

fn same_key(recorded: &Row, found: &Row) -> bool {
    let mut key = recorded.key().peekable();
    key.peek().is_some()
        && key.all(|field| {
            found
                .field(&field.name)
                .is_some_and(|found| field.value.same_as(&found.value))
        })
}

/// Rows of the same key are in the same bucket; others may be too, where equality is no matter of text.
fn bucket<'a>(key: impl Iterator<Item = &'a Field>) -> String {
    let mut parts: Vec<String> = key
        .map(|field| {
            let value = match &field.value {
                Value::Text(text) => text.to_lowercase(),
                // What is the same as a floating-point number, or as a year.
                Value::Decimal(number) if number.to_special().is_some() => String::new(),
                Value::Date(_) => value_of_year(&field.value),
                value @ (Value::Decimal(_) | Value::Bytes(_) | Value::Uuid(_)) => value.to_string(),
                value => value
                    .to_integer()
                    .map(|number| number.to_string())
                    .unwrap_or_default(),
            };
            format!("{}\0{value}", field.name.to_ascii_lowercase())
        })
        .collect();
    // Clients of version 2.0 name a column twice at times.
    parts.sort();
    parts.dedup();
    parts.join("\0\0")
}

fn value_of_year(date: &Value) -> String {
    date.to_year()
        .map(|year| year.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::image::{FieldKey, SqlType};
    use super::super::value::{Date, DateTime, parse_uuid};
    use super::*;

    fn row(id: i64, columns: &[(&str, Value)]) -> Row {
        let field = |name: &str, key, value: &Value| Field {
            name: name.into(),
            key,
            jdbc_type: 4,
            value: value.clone(),
        };
        let mut fields = vec![field("id", FieldKey::Primary, &Value::BigInt(id))];
        fields.extend(
            columns
                .iter()
                .map(|(name, value)| field(name, FieldKey::None, value)),
        );
        Row { fields }
    }

    fn image(rows: &[Row]) -> Image {
        Image {
            table_name: "stock".into(),
            rows: rows.to_vec(),
        }
    }

    fn quantities(quantities: &[(i64, i32)]) -> Image {
        let rows = quantities
            .iter()
            .map(|(id, n)| row(*id, &[("qty", Value::Int(*n))]));
        image(&rows.collect::<Vec<_>>())
    }

    fn item(before: &[(i64, i32)], after: &[(i64, i32)]) -> UndoItem {
        UndoItem {
            sql_type: SqlType::Update,
            table_name: "stock".into(),
            before: quantities(before),
            after: quantities(after),
        }
    }

    fn message(verdict: Verdict) -> String {
        match verdict {
            Verdict::Dirty(difference) => difference.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_update_is_undone_when_its_rows_are_as_it_left_them() {
        let item = item(&[(1, 10), (2, 20)], &[(1, 11), (2, 21)]);
        assert_eq!(
            compare(&item, &quantities(&[(2, 21), (1, 11)])),
            Verdict::Undo
        );
        assert_eq!(
            compare(&item, &quantities(&[(2, 20), (1, 10)])),
            Verdict::AlreadyUndone
        );
        for (current, expected) in [
            (
                quantities(&[(1, 12), (2, 21)]),
                "the row id = 1 of the table stock was changed outside of the transaction: the transaction left 11 in the column qty, now it holds 12",
            ),
            // One row as before and one as after is neither.
            (
                quantities(&[(1, 10), (2, 21)]),
                "the row id = 1 of the table stock was changed outside of the transaction: the transaction left 11 in the column qty, now it holds 10",
            ),
            (
                quantities(&[(1, 11)]),
                "the row id = 2 of the table stock was changed outside of the transaction: it is gone",
            ),
            (
                image(&[row(1, &[]), row(2, &[])]),
                "the row id = 1 of the table stock was changed outside of the transaction: the transaction left 11 in the column qty, now there is no such column",
            ),
        ] {
            assert_eq!(message(compare(&item, &current)), expected);
        }
    }

    #[test]
    fn inserted_rows_and_deleted_ones() {
        let inserted = item(&[], &[(1, 11)]);
        assert_eq!(compare(&inserted, &quantities(&[(1, 11)])), Verdict::Undo);
        assert_eq!(compare(&inserted, &quantities(&[])), Verdict::AlreadyUndone);
        assert!(message(compare(&inserted, &quantities(&[(1, 12)]))).ends_with("now it holds 12"));
        let deleted = item(&[(1, 10)], &[]);
        assert_eq!(compare(&deleted, &quantities(&[])), Verdict::Undo);
        assert_eq!(
            compare(&deleted, &quantities(&[(1, 10)])),
            Verdict::AlreadyUndone
        );
        assert!(
            message(compare(&deleted, &quantities(&[(1, 12)])))
                .ends_with("it was removed and is there again")
        );
    }

    #[test]
    fn what_changed_nothing_is_left_alone() {
        let same = item(&[(1, 10)], &[(1, 10)]);
        assert_eq!(compare(&same, &quantities(&[(1, 99)])), Verdict::Unchanged);
        assert_eq!(
            compare(&item(&[], &[]), &quantities(&[])),
            Verdict::Unchanged
        );
    }

    #[test]
    fn only_recorded_columns_count_and_their_content_not_their_class() {
        let item = item(&[(1, 10)], &[(1, 11)]);
        let mut current = row(
            1,
            &[
                ("note", Value::Text("x".into())),
                ("QTY", Value::BigInt(11)),
            ],
        );
        current.fields[0].value = Value::Int(1);
        current.fields[2].jdbc_type = -5;
        assert_eq!(compare(&item, &image(&[current])), Verdict::Undo);
    }

    #[test]
    fn rows_are_found_by_keys_that_java_holds_otherwise() {
        let keyed = |key: Value| {
            let mut row = row(1, &[]);
            row.fields[0].value = key;
            image(&[row])
        };
        let moment: DateTime = "2024-02-29 12:34:56".parse().expect("a moment");
        let uuid = "3f06af63-a93c-11e4-9797-00505690773f";
        for (recorded, found) in [
            (Value::Date(Date::new(1999, 1, 1)), Value::Year(1999)),
            (Value::Int(7), Value::UnsignedBigInt(7)),
            (Value::Bool(true), Value::Int(1)),
            (
                Value::Double(f64::NAN),
                Value::Decimal("NaN".parse().expect("a decimal")),
            ),
            (
                Value::Text(uuid.to_uppercase()),
                Value::Uuid(parse_uuid(uuid).expect("a UUID")),
            ),
            (
                Value::JavaTimestamp {
                    utc: moment,
                    local: moment,
                },
                Value::DateTime(moment),
            ),
        ] {
            let item = UndoItem {
                before: image(&[]),
                after: keyed(recorded.clone()),
                ..item(&[], &[])
            };
            assert_eq!(compare(&item, &keyed(found)), Verdict::Undo, "{recorded:?}");
        }
    }

    #[test]
    fn rows_without_a_key_are_never_undone() {
        let mut item = item(&[(1, 10)], &[(1, 11)]);
        for row in item.before.rows.iter_mut().chain(&mut item.after.rows) {
            row.fields[0].key = FieldKey::None;
        }
        assert!(matches!(
            compare(&item, &quantities(&[(1, 11)])),
            Verdict::Dirty(_)
        ));
    }
}
