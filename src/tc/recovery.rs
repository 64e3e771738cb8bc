//! Going on after a start, and forgetting what ended long ago (coordinator.md 1.5, 2.5, 4.1).
//!
//! Every status has its rule, those included that only a Java coordinator or an operator leaves:
//!
//! | stored status | after the start |
//! |---|---|
//! | Begin | keeps its locks and its original deadline |
//! | 2 to 8, 0 | driven as soon as an RM of the resource registers; 0 is what Java leaves of a SAGA to roll back |
//! | 9, 11, 13 | left-overs: what branches remain are called, then the row goes |
//! | 15 | the row goes |
//! | 10, 12, 14 with several branches | every branch is called again, since which one failed is not stored and every one has to be called at least once; no status changes |
//! | 10, 12, 14 with one branch; 16 to 20 | kept as they are for the operator |

use std::time::Duration;

use super::branch::Direction;
use super::coordinator::{Coordinator, Now};
use super::global::{Pending, Work};
use super::store::{End, Global, Operation, Seq};
use super::timers::Timer;
use crate::proto::status::GlobalStatus;

/// When the branches of a transaction that is taken on are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// When an RM registers, or after the pause of a retry: a start comes before its clients.
    AfterPause,
    /// Now.
    AtOnce,
}

impl Coordinator {
    /// A live transaction was found at start. To be told once for each, before any message.
    pub fn handle_recovered(&mut self, now: Now, global: &Global) {
        self.not_before(now, global.begin_ms.max(global.decided_ms));
        let now = self.dated(now);
        let known = self.globals.contains_key(&global.xid);
        debug_assert!(!known, "{} recovered twice", global.xid);
        self.take_on(now, global, Resume::AfterPause);
    }

    /// From now on a live transaction is this coordinator's to finish. No drive of it is here.
    pub(super) fn take_on(&mut self, now: Now, global: &Global, resume: Resume) {
        use GlobalStatus::*;
        let xid = global.xid.clone();
        let entry = self.globals.entry(xid.clone()).or_default();
        entry.branches = entry.branches.max(global.branches.len());
        match global.status {
            Begin => {
                self.note_kept(&xid, Begin);
                self.arm_deadline(now, &xid, global.begin_ms, global.timeout_ms);
            }
            Finished => {
                self.note_kept(&xid, Finished);
                self.disarm_deadline(&xid);
                self.enqueue(now, &xid, Work::Finish(End::Finished));
            }
            CommitFailed | RollbackFailed | TimeoutRollbackFailed
                if global.branches.len() < 2 || global.saga =>
            {
                self.keep(&xid, global);
            }
            status if Direction::of(status).is_none() => self.keep(&xid, global),
            _ => self.resume(now, global.clone(), resume),
        }
    }

    fn keep(&mut self, xid: &crate::xid::Xid, global: &Global) {
        self.note_kept(xid, global.status);
        self.disarm_deadline(xid);
        log::warn!(
            "xid={xid} event=kept status={} branches={}: it waits for an operator",
            global.status,
            global.branches.len()
        );
    }

    fn note_kept(&mut self, xid: &crate::xid::Xid, status: GlobalStatus) {
        if self.globals.get(xid).is_some_and(|e| e.status.is_none()) {
            self.stats.recovered += 1;
        }
        self.note_status(xid, Some(status));
    }

    /// Phase two goes on, at once, or when an RM registers or after the pause of a retry.
    fn resume(&mut self, now: Now, global: Global, resume: Resume) {
        let xid = global.xid.clone();
        let first = match Direction::of(global.status) {
            Some(Direction::Commit) => self.config.commit_retry_first,
            _ => self.config.rollback_retry_first,
        };
        let pause = match resume {
            Resume::AfterPause => self.calls.pause(1, first, self.config.retry_pause_max),
            Resume::AtOnce => Duration::ZERO,
        };
        self.drive_on(now, &xid, global, now.instant + pause, Seq(0), None);
        let Some(drive) = self.globals.get_mut(&xid).and_then(|e| e.drive.as_mut()) else {
            return;
        };
        drive.retrying = true;
        if resume == Resume::AtOnce {
            return;
        }
        for step in drive.steps.iter_mut().filter(|step| !step.silent) {
            step.waits = true;
            self.calls.wait_for(&step.resource_id, &xid);
        }
    }

    /// Old tombstones go.
    pub(super) fn forget(&mut self, now: Now) {
        self.forget_offers(now);
        let life = i64::try_from(self.config.tombstone_life.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now.wall_ms.saturating_sub(life);
        self.submit(Pending::Forget, Operation::Forget { before_ms });
    }

    /// Old tombstones were forgotten up to `after`: at once on to the next, if there were any, behind what waits meanwhile.
    pub(super) fn forgot(&mut self, now: Now, after: Seq) {
        let wait = match after > self.forgot {
            true => NEXT_FORGOTTEN_AFTER,
            false => self.config.tombstone_sweep,
        };
        self.forgot = self.forgot.max(after);
        self.timers.insert(now.instant + wait, Timer::Forget);
    }
}

/// A pause between two shares of tombstones.
const NEXT_FORGOTTEN_AFTER: Duration = Duration::from_millis(10);
