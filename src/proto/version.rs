//! What a peer can read, judged by the version text of its registration.
//!
//! There is no negotiation in Seata's protocol; the version a client registers with is all that is known of it. Numbers
//! of exception codes moved between releases, and a number that a client does not know makes it lose the whole frame, so
//! both are translated here (wire.md 5 and 6.2, coordinator.md 0 and 1.7).

use super::status::{ExceptionCode, GlobalStatus};

/// A product version, ordered. Text that is blank or cannot be read is older than every version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerVersion(u64);

impl PeerVersion {
    /// A peer that did not tell its version, or not in a readable way.
    pub const UNKNOWN: Self = Self(0);

    /// Reads `1.5.2`, `1.5` or `2.0.0-SNAPSHOT`; a qualifier after `-` does not count. Up to four parts, each weighted
    /// a hundred times the next, as Java compares them; a part that is no number counts as zero.
    pub fn parse(text: &str) -> Self {
        let mut value: u64 = 0;
        let mut parts = text.trim().split('.');
        for _ in 0..4 {
            let part = parts.next().unwrap_or_default();
            let number = part.split('-').next().unwrap_or_default();
            value = value * 100 + u64::from(number.parse::<u32>().unwrap_or(0));
        }
        match parts.next() {
            None => Self(value),
            Some(_) => Self::UNKNOWN,
        }
    }

    /// Whether this is `major.minor` or newer.
    pub const fn at_least(self, major: u32, minor: u32) -> bool {
        self.0 >= (major as u64 * 100 + minor as u64) * 10_000
    }

    /// The numbering of exception codes that this peer uses.
    pub const fn exception_table(self) -> ExceptionTable {
        if self.at_least(2, 0) {
            ExceptionTable::V2_0
        } else if self.at_least(1, 7) {
            ExceptionTable::V1_7
        } else if self.at_least(1, 5) {
            ExceptionTable::V1_5
        } else if self.at_least(1, 4) {
            ExceptionTable::V1_4
        } else {
            ExceptionTable::V1_2
        }
    }

    /// The status to send in place of `status`: itself, or the nearest one this peer can read. 16 and 17 came with 1.5,
    /// 18 to 20 with 2.4.
    pub const fn readable_status(self, status: GlobalStatus) -> GlobalStatus {
        match status {
            GlobalStatus::CommitRetryTimeout if !self.at_least(1, 5) => GlobalStatus::CommitFailed,
            GlobalStatus::RollbackRetryTimeout if !self.at_least(1, 5) => {
                GlobalStatus::RollbackFailed
            }
            GlobalStatus::Deleting if !self.at_least(2, 4) => GlobalStatus::Finished,
            GlobalStatus::StopCommitOrCommitRetry if !self.at_least(2, 4) => {
                GlobalStatus::CommitRetrying
            }
            GlobalStatus::StopRollbackOrRollbackRetry if !self.at_least(2, 4) => {
                GlobalStatus::RollbackRetrying
            }
            status => status,
        }
    }
}

/// What the SEATA serializer of a peer's release writes and reads differently from the others: the numbers of exception
/// codes, and how long a failure text may be. Each variant is named for the first release it holds for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExceptionTable {
    /// Up to 1.3, and peers of unknown version: codes up to 18, failure texts of at most 128 UTF-16 units.
    #[default]
    V1_2,
    /// 1.4: codes up to 18.
    V1_4,
    /// 1.5 and 1.6: 19 is fail-fast.
    V1_5,
    /// 1.7 and 1.8: also 20 to 22.
    V1_7,
    /// 2.0 and later: 19 became "not the raft leader" and all after it moved by one.
    V2_0,
}

impl ExceptionTable {
    /// Every table, oldest first.
    pub const ALL: [Self; 5] = [Self::V1_2, Self::V1_4, Self::V1_5, Self::V1_7, Self::V2_0];

    /// The number of a code in this table. A code that the table lacks becomes Unknown, except that fail-fast becomes
    /// the plain lock conflict it is a kind of.
    pub const fn number(self, code: ExceptionCode) -> u8 {
        let shared = code.code() <= ExceptionCode::FailedStore.code();
        match (self, code) {
            (Self::V2_0, _) => code.code(),
            _ if shared => code.code(),
            (Self::V1_5 | Self::V1_7, ExceptionCode::LockKeyConflictFailFast) => 19,
            (_, ExceptionCode::LockKeyConflictFailFast) => ExceptionCode::LockKeyConflict.code(),
            (Self::V1_7, ExceptionCode::TransactionTimeout) => 20,
            (Self::V1_7, ExceptionCode::CommitHeuristic) => 21,
            (Self::V1_7, ExceptionCode::Broken) => 22,
            _ => ExceptionCode::Unknown.code(),
        }
    }

    /// The code that has this number in this table.
    pub const fn code(self, number: u8) -> Option<ExceptionCode> {
        match (self, number) {
            (Self::V2_0, _) | (_, 0..=18) => ExceptionCode::from_code(number),
            (Self::V1_5 | Self::V1_7, 19) => Some(ExceptionCode::LockKeyConflictFailFast),
            (Self::V1_7, 20) => Some(ExceptionCode::TransactionTimeout),
            (Self::V1_7, 21) => Some(ExceptionCode::CommitHeuristic),
            (Self::V1_7, 22) => Some(ExceptionCode::Broken),
            _ => None,
        }
    }

    /// Longest failure text, in UTF-16 units.
    pub(super) const fn failure_text_units_max(self) -> usize {
        match self {
            Self::V1_2 => 128,
            _ => i16::MAX as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_java_orders_them() {
        let version = PeerVersion::parse;
        assert_eq!(version("1.5.0-SNAPSHOT"), version("1.5.0"));
        assert_eq!(version("1.5"), version("1.5.0"));
        assert_eq!(version(" 1.5.0 "), version("1.5.0.0"));
        assert!(version("1.4.2") < version("1.5.0"));
        assert!(version("1.10.0") > version("1.9.9"));
        assert!(version("2.0.0.1") > version("2.0.0"));
        assert_eq!(version("1.x.2"), version("1.0.2"));
        for unreadable in ["", "  ", "null", "seata", "1.2.3.4.5", "-", "..."] {
            assert_eq!(version(unreadable), PeerVersion::UNKNOWN, "{unreadable:?}");
        }
        assert!(version("99999999999.1").at_least(0, 1));
        assert!(version("4294967295.4294967295.4294967295.4294967295").at_least(2, 4));
    }

    #[test]
    fn at_least_compares_two_parts() {
        assert!(PeerVersion::parse("1.7.0").at_least(1, 7));
        assert!(!PeerVersion::parse("1.6.1").at_least(1, 7));
        assert!(PeerVersion::parse("2.0.0").at_least(1, 7));
        assert!(!PeerVersion::UNKNOWN.at_least(0, 1));
    }

    #[test]
    fn each_release_has_its_table() {
        for (text, table) in [
            ("", ExceptionTable::V1_2),
            ("1.1.0", ExceptionTable::V1_2),
            ("1.3.0", ExceptionTable::V1_2),
            ("1.4.2", ExceptionTable::V1_4),
            ("1.5.2", ExceptionTable::V1_5),
            ("1.6.1", ExceptionTable::V1_5),
            ("1.7.0", ExceptionTable::V1_7),
            ("1.8.0", ExceptionTable::V1_7),
            ("2.0.0", ExceptionTable::V2_0),
            ("2.6.0", ExceptionTable::V2_0),
        ] {
            assert_eq!(PeerVersion::parse(text).exception_table(), table, "{text}");
        }
    }

    #[test]
    fn tables_read_what_they_write() {
        for table in ExceptionTable::ALL {
            for number in 0..=u8::MAX {
                if let Some(code) = table.code(number) {
                    assert_eq!(table.number(code), number, "{table:?}");
                }
            }
            for code in ExceptionCode::ALL {
                let read = table.code(table.number(*code)).expect("readable");
                if read != *code {
                    let substitute = match code {
                        ExceptionCode::LockKeyConflictFailFast => ExceptionCode::LockKeyConflict,
                        _ => ExceptionCode::Unknown,
                    };
                    assert_eq!(read, substitute, "{table:?}");
                }
            }
        }
        let known = ExceptionTable::ALL
            .map(|table| (0..=u8::MAX).filter(|n| table.code(*n).is_some()).count());
        assert_eq!(known, [19, 19, 20, 23, 24]);
        assert_eq!(
            ExceptionTable::V2_0.code(19),
            Some(ExceptionCode::NotRaftLeader)
        );
        assert_eq!(ExceptionTable::V1_7.number(ExceptionCode::NotRaftLeader), 0);
    }

    #[test]
    fn statuses_are_replaced_for_clients_that_lack_them() {
        use GlobalStatus::*;
        let of = |version: &str, status| PeerVersion::parse(version).readable_status(status);
        assert_eq!(of("1.4.2", CommitRetryTimeout), CommitFailed);
        assert_eq!(of("", RollbackRetryTimeout), RollbackFailed);
        assert_eq!(of("1.5.0", CommitRetryTimeout), CommitRetryTimeout);
        assert_eq!(of("2.3.0", Deleting), Finished);
        assert_eq!(of("2.3.0", StopCommitOrCommitRetry), CommitRetrying);
        assert_eq!(of("1.4.2", StopRollbackOrRollbackRetry), RollbackRetrying);
        for status in GlobalStatus::ALL {
            assert_eq!(of("2.4.0", *status), *status);
            assert!(of("1.4.2", *status).code() <= 15);
            assert!(of("2.3.0", *status).code() <= 17);
        }
    }
}
