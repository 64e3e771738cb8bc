//! What the store's outcomes mean for phase two: branches that are done, statuses that are set, transactions that end,
//! and who is told (coordinator.md 1.2, 1.5, 1.7).

use super::admission::{Shown, Topic};
use super::answers::{self, failed};
use super::branch::{Direction, State, Verdict};
use super::coordinator::{Coordinator, Now};
use super::drive::Requester;
use super::global::Work;
use super::store::{End, Outcome, Seq};
use crate::proto::status::{ExceptionCode, GlobalStatus};
use crate::xid::{BranchId, Xid};

impl Coordinator {
    /// The store was told that a branch is done.
    pub(super) fn conclude_end_branch(
        &mut self,
        now: Now,
        xid: &Xid,
        branch: BranchId,
        outcome: Outcome,
        after: Seq,
    ) {
        let step = self.drive(xid).and_then(|drive| drive.position(branch));
        match (outcome, step) {
            // The drive went while the store was at it.
            (Outcome::Done | Outcome::NoBranch | Outcome::Failed(_), None) => {}
            (Outcome::Done | Outcome::NoBranch, Some(step)) => {
                if let Some(drive) = self.drive(xid) {
                    drive.set_state(step, State::Done);
                    let waited_for = drive.no_longer_waits(step);
                    let later = drive.only_later_commits_left();
                    if let Some(resource) = waited_for {
                        self.calls.wait_no_more(&resource, xid);
                    }
                    if later {
                        self.aim(now, xid, Some(GlobalStatus::AsyncCommitting), false);
                    }
                }
            }
            (Outcome::Finished(tombstone), _) => self.ended(now, xid, tombstone.end, after),
            (Outcome::Failed(_), Some(step)) => {
                self.put_off(now, xid, step, Verdict::Retryable, None);
            }
            (outcome, _) => self.overtaken(now, xid, outcome, after),
        }
        self.run(now, xid);
    }

    /// The store was asked to set a status.
    pub(super) fn conclude_set_status(
        &mut self,
        now: Now,
        xid: &Xid,
        to: GlobalStatus,
        unreachable: bool,
        outcome: Outcome,
        after: Seq,
    ) {
        match outcome {
            // The drive went while the store was at it.
            Outcome::Done if self.drive(xid).is_none() => return,
            Outcome::Done => {}
            Outcome::Failed(_) => {
                // What is stored is still true.
                let later = now.instant + self.config.retry_pause_max;
                if let Some(drive) = self.drive(xid) {
                    // Something else may be on its way to the store already.
                    if drive.aim == to {
                        drive.aim = drive.global.status;
                        drive.aim_again = Some((later, to));
                    }
                    drive.halted = false;
                    drive.give_up_at = drive.give_up_at.map(|at| at.max(later));
                    let status = drive.global.status;
                    self.answer_requester(xid, status, false, after);
                    self.run(now, xid);
                }
                return;
            }
            // The store forbids the move; the drive goes on under the status it has.
            Outcome::Status(status)
                if self.drive(xid).is_some_and(|d| d.global.status == status) =>
            {
                log::error!("xid={xid} event=status_refused status={status} refused={to}");
                if let Some(drive) = self.drive(xid) {
                    drive.halted = false;
                    drive.give_up_at = None;
                }
                self.answer_requester(xid, status, unreachable, after);
                return self.run(now, xid);
            }
            outcome => return self.overtaken(now, xid, outcome, after),
        }
        self.note_status(xid, Some(to));
        let Some(drive) = self.drive(xid) else { return };
        drive.global.status = to;
        drive.after = drive.after.max(after);
        drive.direction = Direction::of(to).unwrap_or(drive.direction);
        log::debug!("xid={xid} event=status status={to}");
        self.answer_requester(xid, to, unreachable, after);
        match to {
            GlobalStatus::CommitRetryTimeout | GlobalStatus::RollbackRetryTimeout => {
                self.given_up(now, xid, to);
            }
            _ => self.run(now, xid),
        }
    }

    /// The retries of a transaction have ended, durably.
    fn given_up(&mut self, now: Now, xid: &Xid, status: GlobalStatus) {
        self.stats.retries_given_up += 1;
        let Some(drive) = self.drop_drive(now, xid) else {
            return;
        };
        log::error!("xid={xid} event=given_up status={status}: it needs a human");
        if drive.direction == Direction::Rollback && self.config.rollback_retry_timeout_unlock {
            for step in drive.steps.iter().filter(|s| s.state != State::Done) {
                log::warn!(
                    "xid={xid} branch={} event=rows_freed resource={} rows={}",
                    step.branch_id,
                    Shown(&step.resource_id),
                    step.lock_key.escape_debug()
                );
            }
            self.enqueue(now, xid, Work::ReleaseLocks);
        }
    }

    pub(super) fn conclude_release(&mut self, xid: &Xid, outcome: &Outcome) {
        if *outcome != Outcome::Done {
            log::error!("xid={xid} event=rows_not_freed outcome={outcome:?}");
        }
    }

    /// The store was asked to end a transaction.
    pub(super) fn conclude_finish(&mut self, now: Now, xid: &Xid, outcome: Outcome, after: Seq) {
        match outcome {
            Outcome::Finished(tombstone) => self.ended(now, xid, tombstone.end, after),
            Outcome::Failed(_) => {
                let Some(drive) = self.drive(xid) else { return };
                drive.finishing = false;
                match drive.steps.iter().position(|s| s.state == State::Ending) {
                    Some(step) => {
                        self.put_off(now, xid, step, Verdict::Retryable, None);
                        self.run(now, xid);
                    }
                    None => self.arm_drive(xid, Some(now.instant + self.config.retry_pause_max)),
                }
            }
            outcome => self.overtaken(now, xid, outcome, after),
        }
    }

    /// The store was asked to time a transaction out.
    pub(super) fn conclude_timeout(&mut self, now: Now, xid: &Xid, outcome: Outcome, after: Seq) {
        match outcome {
            Outcome::Decided(global) => {
                self.stats.timeouts_decided += 1;
                self.log_timeout(now, xid, global.branches.len());
                self.decided(now, xid, global, after, None);
            }
            Outcome::Finished(tombstone) => {
                self.stats.timeouts_decided += 1;
                self.log_timeout(now, xid, 0);
                self.ended(now, xid, tombstone.end, after);
            }
            Outcome::Status(GlobalStatus::Begin) => self.arm_deadline_in(now, xid, 1),
            Outcome::Failed(_) => self.arm_deadline_in(now, xid, 1000),
            _ => {}
        }
    }

    fn log_timeout(&mut self, now: Now, xid: &Xid, branches: usize) {
        if let Some(skipped) = self.gates.admit(Topic::TimedOut, now.instant) {
            log::info!("xid={xid} event=timed_out branches={branches} skipped={skipped}");
        }
    }

    /// Somebody else took the transaction further than this coordinator knew (a shared store, an operator).
    fn overtaken(&mut self, now: Now, xid: &Xid, outcome: Outcome, after: Seq) {
        let Some(mut drive) = self.drop_drive(now, xid) else {
            return;
        };
        if let Some(skipped) = self.gates.admit(Topic::Overtaken, now.instant) {
            log::warn!("xid={xid} event=overtaken skipped={skipped} outcome={outcome:?}");
        }
        let requester = drive.requester.take();
        match outcome {
            Outcome::Status(status) => {
                match self.config.shared {
                    true => self.drive_anew(now, xid),
                    false => self.note_status(xid, Some(status)),
                }
                if let Some(requester) = requester {
                    self.answer_live(requester.reply, requester.asked, status, after);
                }
            }
            outcome => {
                let tombstone = match outcome {
                    Outcome::Ended(tombstone) => Some(tombstone),
                    _ => None,
                };
                match self.config.shared {
                    true => self.pass_on(xid),
                    false => self.count_end(xid, tombstone.map_or(End::Finished, |t| t.end)),
                }
                if let Some(requester) = requester {
                    self.answer_ended(requester.reply, requester.asked, tombstone, after);
                }
            }
        }
    }

    /// A transaction has ended.
    pub(super) fn ended(&mut self, now: Now, xid: &Xid, end: End, after: Seq) {
        log::debug!("xid={xid} event=ended end={end:?}");
        self.disarm_deadline(xid);
        self.count_end(xid, end);
        let requester = self.drop_drive(now, xid).and_then(|drive| drive.requester);
        if let Some(Requester { reply, asked, .. }) = requester {
            let told = self.reader(&reply).driven_to(asked, end);
            self.answer_global(reply, asked.into(), after, told);
        }
    }

    fn count_end(&mut self, xid: &Xid, end: End) {
        if self.globals.get(xid).is_some_and(|e| e.status.is_none()) {
            self.stats.recovered += 1;
        }
        self.note_status(xid, None);
        match end {
            End::Committed => self.stats.committed += 1,
            End::RolledBack => self.stats.rolled_back += 1,
            End::TimedOut => self.stats.timed_out += 1,
            End::Finished => self.stats.finished += 1,
        }
    }

    /// Answers whoever waits for the outcome, with the status that has been stored.
    fn answer_requester(&mut self, xid: &Xid, status: GlobalStatus, unreachable: bool, after: Seq) {
        let requester = self.drive(xid).and_then(|drive| drive.requester.take());
        let Some(Requester {
            reply,
            asked,
            timer,
        }) = requester
        else {
            return;
        };
        self.timers.cancel(Some(timer));
        if !unreachable {
            return self.answer_live(reply, asked, status, after);
        }
        let told = self.reader(&reply).live(asked, status);
        let text = format!("a branch could not be reached, it is tried again. xid={xid}");
        let result = failed(ExceptionCode::Unknown, &text);
        self.answer(reply, after, answers::global(asked.into(), result, told));
    }
}
