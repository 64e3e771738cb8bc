//! Content larger than a packet of MySQL, in pieces: the row of the branch has the first, rows that continue it the others
//! (client.md 4.3).

use std::collections::HashMap;

use super::context::Context;
use super::{Encoded, Error};

/// A row of `undo_log`, as far as its content is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoRow {
    /// Its branch id: that of the branch, or one of its own where it continues another row.
    pub branch_id: i64,
    /// The column `context`.
    pub context: String,
    /// The column `rollback_info`.
    pub rollback_info: Vec<u8>,
}

/// Largest piece for a server with this `max_allowed_packet`: the statement around it needs room too.
pub fn piece_bytes_max(max_allowed_packet: u64) -> usize {
    usize::try_from(max_allowed_packet / 10 * 8).unwrap_or(usize::MAX)
}

/// Cuts content into rows of at most `piece_bytes_max` bytes, in the order in which they have to be inserted: the row of the branch
/// is the last. `next_id` gives ids that no branch has.
///
/// Fails when the ids do not fit the column, and when `piece_bytes_max` is 0.
pub fn split(
    encoded: Encoded,
    branch_id: i64,
    piece_bytes_max: usize,
    mut next_id: impl FnMut() -> i64,
) -> Result<Vec<UndoRow>, Error> {
    let Encoded {
        mut context,
        content,
    } = encoded;
    if piece_bytes_max == 0 {
        return Err(Error::Continuation {
            what: "pieces of 0 bytes were asked for; max_allowed_packet is too small".to_owned(),
        });
    }
    let mut pieces = content.chunks(piece_bytes_max);
    let first = pieces.next().unwrap_or_default().to_vec();
    let mut rows = Vec::new();
    for piece in pieces {
        let id = next_id();
        context.continued_by.push(id);
        // Fails before a content of a thousand pieces is copied.
        context.to_column()?;
        rows.push(UndoRow {
            branch_id: id,
            context: Context {
                continues: Some(branch_id),
                ..Context::default()
            }
            .to_column()?,
            rollback_info: piece.to_vec(),
        });
    }
    rows.push(UndoRow {
        branch_id,
        context: context.to_column()?,
        rollback_info: first,
    });
    Ok(rows)
}

/// Puts content together again: that of the row of the branch, and that of the rows that its context names, which may come in any
/// order. Fails when one is missing.
pub fn join(
    context: &Context,
    rollback_info: Vec<u8>,
    continuations: impl IntoIterator<Item = (i64, Vec<u8>)>,
) -> Result<Vec<u8>, Error> {
    let mut content = rollback_info;
    if context.continued_by.is_empty() {
        return Ok(content);
    }
    let mut pieces: HashMap<i64, Vec<u8>> = continuations.into_iter().collect();
    for id in &context.continued_by {
        let piece = pieces.remove(id).ok_or_else(|| Error::Continuation {
            what: format!("the continuation row with the branch id {id} is missing"),
        })?;
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(length: usize) -> Encoded {
        Encoded {
            context: Context::parse("serializer=jackson&compressorType=NONE&map=1024")
                .expect("a context"),
            content: (0..length).map(|at| at as u8).collect(),
        }
    }

    fn rows(length: usize, bytes_max: usize) -> Result<Vec<UndoRow>, Error> {
        let mut id = 100;
        split(encoded(length), 7, bytes_max, || {
            id += 1;
            id
        })
    }

    #[test]
    fn content_that_fits_is_one_row() {
        for length in [0, 1, 10] {
            let rows = rows(length, 10).expect("fits");
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0].branch_id, 7);
            assert_eq!(
                rows[0].context,
                "serializer=jackson&compressorType=NONE&map=1024"
            );
            assert_eq!(rows[0].rollback_info, encoded(length).content);
        }
    }

    #[test]
    fn pieces_are_put_together_in_their_order() {
        let mut rows = rows(35, 10).expect("fits");
        let owner = rows.pop().expect("the owner is the last");
        assert_eq!(owner.branch_id, 7);
        assert_eq!(
            owner.context,
            "serializer=jackson&compressorType=NONE&map=1024&subId=101,102,103,"
        );
        assert!(
            rows.iter()
                .all(|row| row.context == "branchId=7" && row.rollback_info.len() <= 10)
        );
        let context = Context::parse(&owner.context).expect("a context");
        let backwards = rows
            .iter()
            .rev()
            .map(|row| (row.branch_id, row.rollback_info.clone()));
        assert_eq!(
            join(&context, owner.rollback_info.clone(), backwards),
            Ok(encoded(35).content)
        );
        let error = join(
            &context,
            owner.rollback_info,
            [(101, vec![]), (103, vec![])],
        )
        .expect_err("a hole");
        assert!(
            error.to_string().contains("branch id 102 is missing"),
            "{error}"
        );
    }

    #[test]
    fn what_the_column_cannot_name_is_refused() {
        let mut id = i64::MAX - 100;
        let result = split(encoded(50), 7, 10, || {
            id += 1;
            id
        });
        assert!(
            matches!(
                result,
                Err(Error::TooLongForColumn {
                    column: "context",
                    ..
                })
            ),
            "{result:?}"
        );
        assert!(rows(1, 0).is_err());
        assert_eq!(piece_bytes_max(1 << 20), 838_856);
    }
}
