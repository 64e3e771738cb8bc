//! How AT works on one database.

use std::time::Duration;

use super::java::Java;
use super::lock_key::{KeyForm, KeyRules};
use super::statement::ImageColumns;
use super::undo_log::{Format, Serializer};
use super::undo_table::Purge;

/// How AT works on one database. Start from [`AtOptions::new`] and change what is not to your liking.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AtOptions {
    /// What coordinator and other services know the database by. Java services that share its rows must use the same:
    /// `jdbc:mysql://HOST:PORT/DATABASE`, `jdbc:postgresql://HOST:PORT/DATABASE`; for SQLite `jdbc:sqlite:PATH`. No commas.
    pub resource_id: String,
    /// The undo log's table, in a schema where there is a dot. Default `undo_log`.
    pub undo_table: String,
    /// What to do when that table is missing.
    pub missing_undo_table: MissingUndoTable,
    /// How long a global lock that another transaction holds is waited for.
    pub lock_retry: LockRetry,
    /// Whether an image has all columns or only those that an UPDATE names.
    pub image_columns: ImageColumns,
    /// Whether rollback looks first if somebody else changed the rows since.
    pub validation: Validation,
    /// How undo logs are written. Default: as Java clients of version 2.1 and later do.
    pub format: Format,
    /// How lock keys are written. Default: as Java clients do.
    pub keys: KeyRules,
    /// Whether a phase one that succeeded is reported too. The coordinator does not need it.
    pub report_success: ReportSuccess,
    /// How long the description of a table is believed. Default 15 min; an error that hints at a changed table ends it.
    pub table_expiry: Duration,
    /// Which old rows the coordinator's request deletes.
    pub purge: Purge,
}

/// What to do when the undo log's table is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MissingUndoTable {
    /// Refuse to start, and say how to create it.
    #[default]
    Refuse,
    /// Create it.
    Create,
}

/// Whether rollback looks first if somebody else changed the rows since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Validation {
    /// It does, and gives up when the rows are neither as they were before nor after.
    #[default]
    Checked,
    /// It overwrites whatever is there.
    Unchecked,
}

/// Whether a phase one that succeeded is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReportSuccess {
    /// It is not.
    #[default]
    Silent,
    /// It is.
    Reported,
}

/// How long a global lock that another transaction holds is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRetry {
    /// The pause before the next attempt.
    pub interval: Duration,
    /// Attempts after the first.
    pub times: u32,
}

/// How one call deals with global locks, other than the resource does: what `lockRetryInterval`, `lockRetryTimes` and
/// `lockStrategyMode` of an annotation are to Java. The default changes nothing but what [`LockCall::strategy`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LockCall {
    /// The pause before the next attempt; None: the resource's.
    pub interval: Option<Duration>,
    /// Attempts after the first; None: the resource's.
    pub times: Option<u32>,
    /// What is expected of the locks.
    pub strategy: LockStrategy,
}

/// What is expected of the locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LockStrategy {
    /// Others may hold them. The coordinator looks before it takes them, unless all rows are new.
    #[default]
    Pessimistic,
    /// They are free. The coordinator need not look before it takes them, at the first attempt; one that keeps its locks in a
    /// database saves a query.
    Optimistic,
}

impl LockCall {
    /// What holds where the resource has this.
    pub(super) fn retry(&self, resource: LockRetry) -> LockRetry {
        LockRetry {
            interval: self.interval.unwrap_or(resource.interval),
            times: self.times.unwrap_or(resource.times),
        }
    }

    /// Whether the coordinator is told not to look: one that then finds a lock held is asked again, so there has to be a next
    /// attempt.
    pub(super) fn skips_check(&self, all_new: bool) -> bool {
        self.times.is_none_or(|times| times > 1)
            && (self.strategy == LockStrategy::Optimistic || all_new)
    }
}

impl Default for LockRetry {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(10),
            times: 30,
        }
    }
}

impl AtOptions {
    /// The defaults, which are Java's, for the database that services know by this id.
    pub fn new(resource_id: impl Into<String>) -> Self {
        Self {
            resource_id: resource_id.into(),
            undo_table: "undo_log".to_owned(),
            missing_undo_table: MissingUndoTable::default(),
            lock_retry: LockRetry::default(),
            image_columns: ImageColumns::Written,
            validation: Validation::default(),
            format: Format::default(),
            keys: KeyRules::default(),
            report_success: ReportSuccess::default(),
            table_expiry: Duration::from_secs(900),
            purge: Purge::default(),
        }
    }

    /// For resources that no Java client has: undo logs in our own dialect, and lock keys of every type and text.
    pub fn only_seamio(mut self) -> Self {
        self.format.serializer = Serializer::Native;
        self.keys.form = KeyForm::Strict;
        self
    }

    /// Says what the Java clients of the resource are like, for undo logs and for lock keys: where the two disagree about a zone,
    /// rows whose keys are moments are locked under names that Java does not know.
    pub fn java(mut self, java: Java) -> Self {
        self.keys.java = java.clone();
        self.format.java = java;
        self
    }

    /// Creates the undo log's table where it is missing.
    pub fn create_undo_log(mut self) -> Self {
        self.missing_undo_table = MissingUndoTable::Create;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::at::java::DateTimeClass;

    #[test]
    fn a_call_overrides_what_it_names() {
        let resource = LockRetry::default();
        assert_eq!(LockCall::default().retry(resource), resource);
        let call = LockCall {
            times: Some(3),
            ..LockCall::default()
        };
        assert_eq!(call.retry(resource).times, 3);
        assert_eq!(call.retry(resource).interval, resource.interval);
    }

    #[test]
    fn locks_are_taken_unseen_only_where_there_is_another_attempt() {
        let call = |times, strategy| LockCall {
            interval: None,
            times,
            strategy,
        };
        use LockStrategy::{Optimistic, Pessimistic};
        for (times, strategy, all_new, skips) in [
            (None, Pessimistic, true, true),
            (None, Pessimistic, false, false),
            (None, Optimistic, false, true),
            (Some(2), Optimistic, false, true),
            (Some(1), Optimistic, true, false),
            (Some(0), Pessimistic, true, false),
        ] {
            let call = call(times, strategy);
            assert_eq!(call.skips_check(all_new), skips, "{call:?} {all_new}");
        }
    }

    #[test]
    fn undo_logs_and_lock_keys_agree_about_java() {
        let java = Java {
            date_time: DateTimeClass::LocalDateTime,
            ..Java::default()
        };
        let options = AtOptions::new("jdbc:mysql://db:3306/stock").java(java.clone());
        assert_eq!(options.format.java, java);
        assert_eq!(options.keys.java, java);
    }
}
