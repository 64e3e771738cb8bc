//! SAGA: the engine in the client decides, and may change its mind (coordinator.md 1.4).

use super::answers;
use super::answers::{Asked, Refusal, Shape, failed};
use super::branch::{Crossing, Direction, State};
use super::coordinator::{Coordinator, Now};
use super::global::Work;
use super::outbox::Reply;
use super::requests::reason;
use super::shared::Claim;
use super::store::{End, Global, Outcome, Seq};
use crate::proto::message::GlobalReport;
use crate::proto::status::GlobalStatus;
use crate::xid::Xid;

/// What a reported status asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    End(End),
    Set(GlobalStatus),
}

impl Wish {
    fn of(reported: Option<GlobalStatus>, stored: GlobalStatus) -> Self {
        use GlobalStatus::*;
        let over = matches!(
            stored,
            Committed | Rollbacked | TimeoutRollbacked | Finished | Deleting
        );
        match reported {
            None | Some(Begin | Deleting) => Self::Nothing,
            Some(Committed) => Self::End(End::Committed),
            Some(Rollbacked | Finished) => Self::End(End::RolledBack),
            Some(TimeoutRollbacked) => Self::End(End::TimedOut),
            Some(_) if over => Self::Nothing,
            Some(Unknown) => Self::Set(RollbackRetrying),
            Some(status) => Self::Set(status),
        }
    }
}

impl Coordinator {
    /// The transaction that a report of an engine is about was looked up.
    pub(super) fn conclude_global_report(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        report: &GlobalReport,
        outcome: Outcome,
        after: Seq,
    ) -> Option<Work> {
        let global = match outcome {
            Outcome::Found(global) => global,
            Outcome::Ended(_) | Outcome::Unknown => {
                self.echo(reply, report.global_status, after);
                return None;
            }
            outcome => {
                self.refuse_global_report(xid, reply, report.global_status, &outcome);
                return None;
            }
        };
        let wish = match global.saga {
            true => Wish::of(report.global_status, global.status),
            false => Wish::Nothing,
        };
        match wish {
            Wish::End(end) => return Some(Work::SagaEnd(reply, end)),
            Wish::Set(to) if to != global.status => {
                return Some(Work::SagaSet(reply, to, Box::new(global)));
            }
            // A drive at work is left to it: the engine may report while it is being called.
            Wish::Set(_) if self.drive(xid).is_some() => {}
            // Nobody drives it, or a sibling does.
            Wish::Set(_) if self.config.shared => self.adopt(now, xid, Claim::Own),
            Wish::Set(_) => self.follow_engine(now, xid, global, after),
            Wish::Nothing if global.saga => {}
            Wish::Nothing => log::debug!("xid={xid} event=global_report_ignored: no SAGA"),
        }
        let status = self.globals.get(xid).and_then(|e| e.status);
        let status = status
            .or(report.global_status)
            .unwrap_or(GlobalStatus::Unknown);
        self.answer_report_status(reply, status, after);
        None
    }

    /// The status that an engine reported was to be stored.
    #[expect(clippy::too_many_arguments)]
    pub(super) fn conclude_saga_set(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        to: GlobalStatus,
        mut global: Global,
        outcome: Outcome,
        after: Seq,
    ) {
        let status = match outcome {
            Outcome::Done => {
                log::debug!(
                    "xid={xid} event=saga_reported from={} status={to}",
                    global.status
                );
                let decides = global.status == GlobalStatus::Begin;
                if decides {
                    global.decided_ms = now.wall_ms;
                }
                global.status = to;
                // Whoever takes it out of Begin drives it; later its driver does, who may be a sibling.
                let known = self.globals.get(xid).is_some_and(|e| e.status.is_some());
                match decides || known || !self.config.shared {
                    true => self.follow_engine(now, xid, global, after),
                    false => self.adopt(now, xid, Claim::Own),
                }
                to
            }
            Outcome::Status(status) => status,
            Outcome::Ended(_) | Outcome::Unknown => return self.echo(reply, Some(to), after),
            outcome => return self.refuse_global_report(xid, reply, Some(to), &outcome),
        };
        self.answer_report_status(reply, status, after);
    }

    /// The transaction that an engine reported as over was to be ended.
    pub(super) fn conclude_saga_end(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        end: End,
        outcome: Outcome,
        after: Seq,
    ) {
        let told = match end {
            End::Committed => GlobalStatus::Committed,
            End::RolledBack | End::Finished => GlobalStatus::Rollbacked,
            End::TimedOut => GlobalStatus::TimeoutRollbacked,
        };
        match outcome {
            Outcome::Finished(tombstone) => {
                log::debug!("xid={xid} event=saga_reported end={end:?}");
                self.ended(now, xid, tombstone.end, after);
                self.answer_report_status(reply, told, after);
            }
            Outcome::Ended(_) | Outcome::Unknown => self.echo(reply, Some(told), after),
            outcome => self.refuse_global_report(xid, reply, Some(told), &outcome),
        }
    }

    /// Drives a SAGA on from what its engine reported: at once after the pause of a retry, or, when the engine is at
    /// work itself, once it has been silent for long.
    fn follow_engine(&mut self, now: Now, xid: &Xid, global: Global, after: Seq) {
        use GlobalStatus::*;
        let requester = self.drop_drive(now, xid).and_then(|drive| drive.requester);
        if let Some(requester) = requester {
            self.answer_live(requester.reply, requester.asked, global.status, after);
        }
        // What the drive that is gone still wanted to tell the store would move the new one. An end stands: the engine said so.
        if let Some(entry) = self.globals.get_mut(xid) {
            let outdated =
                |work: &Work| matches!(work, Work::SetStatus { .. } | Work::EndBranch(_));
            entry.waiting.retain(|work| !outdated(work));
        }
        let wait = match global.status {
            Committing | Rollbacking => self.config.saga_silence,
            CommitRetrying | AsyncCommitting => self.config.commit_retry_first,
            RollbackRetrying | TimeoutRollbacking | TimeoutRollbackRetrying => {
                self.config.rollback_retry_first
            }
            _ => {
                self.disarm_deadline(xid);
                return self.note_status(xid, Some(global.status));
            }
        };
        self.drive_on(now, xid, global, now.instant + wait, after, None);
        if let Some(drive) = self.drive(xid) {
            drive.retrying = true;
        }
    }

    /// The engine answered a call with the other direction.
    pub(super) fn cross(&mut self, now: Now, xid: &Xid, step: usize, crossing: Crossing) {
        log::debug!("xid={xid} event=saga_crossed crossing={crossing:?}");
        let end = match crossing {
            Crossing::RolledBack => End::RolledBack,
            Crossing::Finished => End::Finished,
            Crossing::ToRollback => {
                return self.turn(now, xid, step, Direction::Rollback);
            }
            Crossing::ToCommit => return self.turn(now, xid, step, Direction::Commit),
        };
        if let Some(drive) = self.drive(xid) {
            drive.set_state(step, State::Ending);
            self.enqueue(now, xid, Work::Finish(end));
        }
    }

    fn turn(&mut self, now: Now, xid: &Xid, step: usize, direction: Direction) {
        let (first, to) = match direction {
            Direction::Commit => (self.config.commit_retry_first, GlobalStatus::CommitRetrying),
            Direction::Rollback => (
                self.config.rollback_retry_first,
                GlobalStatus::RollbackRetrying,
            ),
        };
        let pause = self.calls.pause(1, first, self.config.retry_pause_max);
        let Some(drive) = self.drive(xid) else { return };
        drive.set_state(step, State::Due(now.instant + pause));
        drive.steps[step].failures = 1;
        drive.retrying = true;
        self.aim(now, xid, Some(to), false);
    }

    fn answer_report_status(&mut self, reply: Reply, status: GlobalStatus, after: Seq) {
        let told = self.reader(&reply).live(Asked::Status, status);
        self.answer_global(reply, Shape::Report, after, told);
    }

    fn refuse_global_report(
        &mut self,
        xid: &Xid,
        reply: Reply,
        reported: Option<GlobalStatus>,
        outcome: &Outcome,
    ) {
        let refusal = Refusal::store("globalReport", xid.as_text(), &reason(outcome));
        let result = failed(refusal.code, &refusal.text);
        let told = reported.unwrap_or(GlobalStatus::Unknown);
        let told = self.reader(&reply).live(Asked::Status, told);
        self.answer(reply, Seq(0), answers::global(Shape::Report, result, told));
    }
}
