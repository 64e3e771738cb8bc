//! How long texts may be: the widths that the columns really have.

use super::super::dialect::Dialect;
use super::catalog::{Alphabet, Catalog};
use super::tables::TABLES;

/// The longest text of each kind that every column it is written to keeps whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In every table.
    pub xid: Width,
    /// `global_table.application_id`.
    pub application_id: Width,
    /// `global_table.transaction_service_group`.
    pub transaction_service_group: Width,
    /// `global_table.transaction_name`.
    pub transaction_name: Width,
    /// `branch_table.resource_id`, `lock_table.resource_id`, `seamio_decision.wanted`.
    pub resource_id: Width,
    /// `branch_table.client_id`.
    pub client_id: Width,
    /// `branch_table.application_data`.
    pub application_data: Width,
    /// `lock_table.row_key`, `seamio_share.row_key`: `resource^^^table^^^pk`.
    pub row_key: Width,
    /// `lock_table.table_name`.
    pub table_name: Width,
    /// `lock_table.pk`.
    pub pk: Width,
    /// `distributed_lock.lock_value`: the address of a coordinator.
    pub lock_value: Width,
    /// `seamio_node.address`.
    pub address: Width,
}

/// What a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// Characters; `usize::MAX` is no limit.
    pub characters: usize,
    /// Bytes of UTF-8; `usize::MAX` is no limit.
    pub bytes: usize,
    alphabet: Alphabet,
    /// PostgreSQL takes no character of number 0.
    nul: Nul,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nul {
    Taken,
    Refused,
}

impl Limits {
    /// The narrowest of the columns that a text is written to.
    pub(super) fn of(catalog: &Catalog, dialect: Dialect) -> Self {
        let width = |places: &[(&str, &str)]| {
            let columns = places.iter().filter_map(|(table, column)| {
                let column = catalog.table(table)?.column(column)?;
                Some(Width {
                    characters: column.characters.unwrap_or(usize::MAX),
                    bytes: column.bytes.unwrap_or(usize::MAX),
                    alphabet: column.alphabet,
                    nul: match dialect {
                        Dialect::Postgres => Nul::Refused,
                        Dialect::MySql | Dialect::Sqlite => Nul::Taken,
                    },
                })
            });
            columns.reduce(Width::narrower).unwrap_or(Width::NOTHING)
        };
        let with_xid = TABLES.iter().filter(|table| table.column("xid").is_some());
        let xids: Vec<_> = with_xid.map(|table| (table.name, "xid")).collect();
        let global = |column| width(&[("global_table", column)]);
        Self {
            xid: width(&xids),
            application_id: global("application_id"),
            transaction_service_group: global("transaction_service_group"),
            transaction_name: global("transaction_name"),
            resource_id: width(&[
                ("branch_table", "resource_id"),
                ("lock_table", "resource_id"),
                ("seamio_decision", "wanted"),
            ]),
            client_id: width(&[("branch_table", "client_id")]),
            application_data: width(&[("branch_table", "application_data")]),
            row_key: width(&[("lock_table", "row_key"), ("seamio_share", "row_key")]),
            table_name: width(&[("lock_table", "table_name")]),
            pk: width(&[("lock_table", "pk")]),
            lock_value: width(&[("distributed_lock", "lock_value")]),
            address: width(&[("seamio_node", "address")]),
        }
    }
}

impl Width {
    /// What a column that is not there takes.
    const NOTHING: Self = Self {
        characters: 0,
        bytes: 0,
        alphabet: Alphabet::Ascii,
        nul: Nul::Refused,
    };

    /// Whether the text is kept whole and as it is.
    pub fn fits(&self, text: &str) -> bool {
        let short = text.len() <= self.characters || text.chars().count() <= self.characters;
        let known = match self.alphabet {
            Alphabet::Full => true,
            Alphabet::Basic => text.bytes().all(|byte| byte < FIRST_OF_FOUR),
            Alphabet::Ascii => text.is_ascii(),
        };
        let nul = self.nul == Nul::Refused && text.as_bytes().contains(&0);
        short && text.len() <= self.bytes && known && !nul
    }

    fn narrower(self, other: Self) -> Self {
        Self {
            characters: self.characters.min(other.characters),
            bytes: self.bytes.min(other.bytes),
            alphabet: self.alphabet.min(other.alphabet),
            nul: match (self.nul, other.nul) {
                (Nul::Taken, Nul::Taken) => Nul::Taken,
                _ => Nul::Refused,
            },
        }
    }
}

/// A character of four bytes of UTF-8 begins with this byte or a greater one.
const FIRST_OF_FOUR: u8 = 0xf0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_whole_and_as_it_is() {
        let width = Width {
            characters: 4,
            bytes: 12,
            alphabet: Alphabet::Full,
            nul: Nul::Taken,
        };
        assert!(width.fits("") && width.fits("abcd") && width.fits("äöüß") && width.fits("a\0"));
        assert!(!width.fits("abcde"));
        assert!(!width.fits("😀😀😀😀"), "16 bytes");
        let basic = Width {
            alphabet: Alphabet::Basic,
            ..width
        };
        assert!(basic.fits("€") && !basic.fits("😀"));
        let ascii = Width {
            alphabet: Alphabet::Ascii,
            nul: Nul::Refused,
            ..width
        };
        assert!(ascii.fits("~") && !ascii.fits("ä") && !ascii.fits("a\0"));
        assert_eq!(width.narrower(basic).narrower(ascii), ascii);
        assert!(Width::NOTHING.fits("") && !Width::NOTHING.fits("a"));
    }
}
