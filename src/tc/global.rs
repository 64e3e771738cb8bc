//! The work on one global transaction: what waits, what is at the store, and what the store's answer leads to.
//!
//! Work on one xid is done in the order it came, one store operation at a time. With a resident store nothing ever
//! waits; with a store across a network this queue is what keeps a commit and a registration from racing.

use std::collections::VecDeque;

use slab::Slab;

use super::admission::Topic;
use super::coordinator::{Coordinator, Now};
use super::drive::Drive;
use super::outbox::Reply;
use super::shared::Claim;
use super::store::{
    Decision, End, Global, NewBranch, NewGlobal, Operation, Outcome, Seq, Ticket, Urgency,
};
use super::timers::Timer;
use crate::net::wheel::TimerId;
use crate::proto::Text;
use crate::proto::message::{BranchRegister, BranchReport, GlobalReport};
use crate::proto::status::GlobalStatus;
use crate::xid::{BranchId, Xid};

/// What the coordinator remembers of an xid while it is live or worked on.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// An operation on it is at the store.
    pub(super) busy: bool,
    /// What comes after that.
    pub(super) waiting: VecDeque<Work>,
    /// The stored status, when it is known to be live.
    pub(super) status: Option<GlobalStatus>,
    /// When it is rolled back unless it is decided before.
    pub(super) deadline: Option<TimerId>,
    /// Branches registered through this coordinator.
    pub(super) branches: usize,
    /// It is to be taken on, if no sibling has it.
    pub(super) adopting: bool,
    /// Phase two.
    pub(super) drive: Option<Box<Drive>>,
}

/// Something to be done with one xid, in turn.
#[derive(Debug)]
pub(super) enum Work {
    Begin(Reply, Box<Birth>),
    Commit(Reply),
    Rollback(Reply),
    Status(Reply),
    /// With the client id of the connection, which may have closed when the turn comes.
    Register(Reply, Box<BranchRegister>, Text),
    /// A registration that is refused with this text if the transaction would have taken it.
    RegisterBad(Reply, Box<BranchRegister>, String),
    Report(Reply, Box<BranchReport>),
    /// A report of a status that is stored only for branches of a SAGA.
    ReportOdd(Reply, Box<BranchReport>),
    LockQuery(Reply, Box<BranchRegister>),
    GlobalReport(Reply, Box<GlobalReport>),
    /// The report of a SAGA engine sets a status; the transaction as it was before, without its branches.
    SagaSet(Reply, GlobalStatus, Box<Global>),
    /// The report of a SAGA engine ends the transaction.
    SagaEnd(Reply, End),
    /// The deadline has passed.
    Timeout,
    /// A branch is done.
    EndBranch(BranchId),
    /// Phase two comes into another status.
    SetStatus {
        to: GlobalStatus,
        /// Because a branch could not be reached.
        unreachable: bool,
    },
    /// Nothing is left to do.
    Finish(End),
    /// The locks of a rollback that was given up.
    ReleaseLocks,
    /// No RM of this resource is here: a sibling may drive on.
    Offer(Text),
    /// It may be driven here, if no sibling has it.
    Adopt(Claim),
}

impl Work {
    /// Whether it carries on a drive, and means nothing without that.
    pub(super) fn is_of_drive(&self) -> bool {
        matches!(
            self,
            Self::EndBranch(_) | Self::SetStatus { .. } | Self::Finish(_) | Self::Offer(_)
        )
    }
}

/// A transaction to begin, under whatever xid is free.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) application_id: Text,
    pub(super) transaction_service_group: Text,
    pub(super) name: Text,
    pub(super) timeout_ms: i32,
    pub(super) begin_ms: i64,
}

/// What a completion belongs to.
#[derive(Debug)]
pub(super) enum Pending {
    /// Work on one xid.
    Work {
        xid: Xid,
        work: Work,
        /// The branch id that was offered, when one was.
        branch_id: BranchId,
        /// The operation decided that the time is over; the work itself comes after.
        expiring: bool,
        /// How often the work was started.
        tries: u32,
    },
    /// A lock query outside of any transaction.
    LockQuery(Reply),
    /// Old tombstones.
    Forget,
}

/// Operations at the store. A ticket is a place here and a number that is never used again.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    places: Slab<(u32, Pending)>,
    issued: u32,
}

impl Tickets {
    pub(super) fn put(&mut self, pending: Pending) -> Ticket {
        self.issued = self.issued.wrapping_add(1);
        let place = self.places.insert((self.issued, pending));
        Ticket((place as u64) << 32 | u64::from(self.issued))
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Pending> {
        let place = usize::try_from(ticket.0 >> 32).ok()?;
        match self.places.get(place) {
            Some((issued, _)) if u64::from(*issued) == ticket.0 & u64::from(u32::MAX) => {
                Some(self.places.remove(place).1)
            }
            _ => None,
        }
    }
}

impl Coordinator {
    /// Does some work on an xid, now or in its turn.
    pub(super) fn enqueue(&mut self, now: Now, xid: &Xid, work: Work) {
        match self.globals.get_mut(xid) {
            Some(entry) if entry.busy => entry.waiting.push_back(work),
            Some(entry) => {
                entry.busy = true;
                self.start(now, xid.clone(), work, 0);
            }
            None => {
                let xid = xid.detached();
                let entry = Entry {
                    busy: true,
                    ..Entry::default()
                };
                self.globals.insert(xid.clone(), entry);
                self.start(now, xid, work, 0);
            }
        }
    }

    /// Submits the operation that a piece of work begins with. The entry is marked busy.
    pub(super) fn start(&mut self, now: Now, xid: Xid, work: Work, tries: u32) {
        let mut branch_id = BranchId(0);
        if let Work::Register(..) = work {
            branch_id = BranchId(self.ids.next_id());
        }
        let operation = self.operation(now, &xid, &work, branch_id);
        let pending = Pending::Work {
            xid,
            work,
            branch_id,
            expiring: false,
            tries,
        };
        self.submit(pending, operation);
    }

    /// The operation of a piece of work.
    fn operation(&self, now: Now, xid: &Xid, work: &Work, branch_id: BranchId) -> Operation {
        let now_ms = now.wall_ms;
        let decide = |decision| Operation::Decide {
            xid: xid.clone(),
            decision,
            now_ms,
        };
        let finish = |end| Operation::Finish {
            xid: xid.clone(),
            end,
            now_ms,
        };
        let set = |from, to| Operation::SetStatus {
            xid: xid.clone(),
            from,
            to,
            now_ms,
        };
        let xid = xid.clone();
        match work {
            Work::Begin(_, birth) => Operation::Begin(NewGlobal {
                xid,
                application_id: birth.application_id.clone(),
                transaction_service_group: birth.transaction_service_group.clone(),
                name: birth.name.clone(),
                timeout_ms: birth.timeout_ms,
                begin_ms: birth.begin_ms,
            }),
            Work::Commit(_) => decide(Decision::Commit),
            Work::Rollback(_) => decide(Decision::Rollback),
            Work::Timeout => decide(Decision::Timeout),
            Work::Status(_) => Operation::LookUp { xid, now_ms },
            Work::Register(_, request, client_id) => Operation::Register(NewBranch {
                xid,
                branch_id,
                branch_type: request.branch_type,
                resource_id: request.resource_id.clone(),
                client_id: client_id.clone(),
                application_data: request.application_data.clone(),
                lock_key: request.lock_key.clone(),
                now_ms,
            }),
            Work::RegisterBad(..) | Work::GlobalReport(..) => Operation::Fetch {
                xid,
                branch_id: None,
                now_ms,
            },
            Work::ReportOdd(_, report) => Operation::Fetch {
                xid,
                branch_id: Some(BranchId(report.branch_id)),
                now_ms,
            },
            Work::Report(_, report) => Operation::Report {
                xid,
                branch_id: BranchId(report.branch_id),
                status: report.status,
                application_data: report.application_data.clone(),
                now_ms,
            },
            Work::LockQuery(_, request) => Operation::QueryLocks {
                xid: request.xid.clone(),
                resource_id: request.resource_id.clone(),
                lock_key: request.lock_key.clone(),
                now_ms,
            },
            Work::SagaSet(_, to, global) => set(global.status, *to),
            Work::SetStatus { to, .. } => {
                let drive = self.globals.get(&xid).and_then(|e| e.drive.as_ref());
                set(drive.map_or(*to, |d| d.global.status), *to)
            }
            Work::SagaEnd(_, end) | Work::Finish(end) => finish(*end),
            Work::EndBranch(branch_id) => Operation::EndBranch {
                urgency: self.urgency(&xid),
                xid,
                branch_id: *branch_id,
                now_ms,
            },
            Work::ReleaseLocks => Operation::ReleaseLocks { xid },
            Work::Offer(resource_id) => Operation::Offer {
                xid,
                resource_id: resource_id.clone(),
            },
            Work::Adopt(_) => Operation::Adopt { xid },
        }
    }

    /// Nobody waits for the end of a transaction whose commit was answered, and whose rows are free.
    fn urgency(&self, xid: &Xid) -> Urgency {
        let drive = self.globals.get(xid).and_then(|e| e.drive.as_ref());
        match drive.is_some_and(|drive| drive.ends_unawaited()) {
            true => Urgency::Later,
            false => Urgency::Now,
        }
    }

    /// A completion came: goes on with the work it belongs to, then with what waits behind it.
    pub(super) fn complete(&mut self, now: Now, pending: Pending, outcome: Outcome, after: Seq) {
        if let Outcome::Failed(reason) = &outcome {
            self.stats.store_failures += 1;
            if let Some(skipped) = self.gates.admit(Topic::StoreFailed, now.instant) {
                log::error!("event=store_failed skipped={skipped} reason={reason}");
            }
        }
        let (xid, work, branch_id, expiring, tries) = match pending {
            Pending::Forget => return self.forgot(now, after),
            Pending::LockQuery(reply) => return self.conclude_lock_query(reply, outcome, after),
            Pending::Work {
                xid,
                work,
                branch_id,
                expiring,
                tries,
            } => (xid, work, branch_id, expiring, tries),
        };
        if self.config.shared {
            self.learn(now, &xid, &outcome);
        }
        if expiring {
            self.conclude_timeout(now, &xid, outcome, after);
            return self.start(now, xid, work, tries + 1);
        }
        let next = match outcome {
            Outcome::Expired if tries < TRIES_MAX => return self.expire(now, xid, work, tries),
            Outcome::Duplicate if tries < TRIES_MAX => match work {
                Work::Begin(reply, global) => {
                    self.begin(now, reply, global, tries + 1);
                    return self.settle(now, xid);
                }
                work => return self.start(now, xid, work, tries + 1),
            },
            Outcome::Expired | Outcome::Duplicate => {
                let reason = format!("{outcome:?} again and again");
                self.conclude(now, &xid, work, branch_id, Outcome::Failed(reason), after)
            }
            outcome => self.conclude(now, &xid, work, branch_id, outcome, after),
        };
        match next {
            Some(work) => self.start(now, xid, work, 0),
            None => self.settle(now, xid),
        }
    }

    /// Decides that the time is over before some other work is tried again.
    fn expire(&mut self, now: Now, xid: Xid, work: Work, tries: u32) {
        let operation = Operation::Decide {
            xid: xid.clone(),
            decision: Decision::Timeout,
            now_ms: now.wall_ms,
        };
        let pending = Pending::Work {
            xid,
            work,
            branch_id: BranchId(0),
            expiring: true,
            tries,
        };
        self.submit(pending, operation);
    }

    /// Work on an xid is done: the next, or the entry goes when nothing is left to remember.
    fn settle(&mut self, now: Now, xid: Xid) {
        let Some(entry) = self.globals.get_mut(&xid) else {
            return;
        };
        if let Some(work) = entry.waiting.pop_front() {
            return self.start(now, xid, work, 0);
        }
        entry.busy = false;
        if entry.status.is_none() && entry.drive.is_none() {
            let deadline = entry.deadline;
            self.timers.cancel(deadline);
            self.globals.remove(&xid);
        }
    }

    /// The deadline of a transaction may have passed.
    pub(super) fn deadline_passed(&mut self, now: Now, xid: Xid) {
        let Some(entry) = self.globals.get_mut(&xid) else {
            return;
        };
        entry.deadline = None;
        if entry.status == Some(GlobalStatus::Begin) {
            self.enqueue(now, &xid, Work::Timeout);
        }
    }

    /// Arms the deadline of a transaction that began at `begin_ms`. It passes when `now - begin > timeout`, at once for
    /// a timeout of 0 or less.
    pub(super) fn arm_deadline(&mut self, now: Now, xid: &Xid, begin_ms: i64, timeout_ms: i32) {
        let due_ms = begin_ms.saturating_add(i64::from(timeout_ms) + 1);
        let wait_ms = match timeout_ms {
            ..=0 => 0,
            _ => u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0),
        };
        self.arm_deadline_in(now, xid, wait_ms);
    }

    pub(super) fn arm_deadline_in(&mut self, now: Now, xid: &Xid, wait_ms: u64) {
        let at = now.instant + std::time::Duration::from_millis(wait_ms);
        let Some(entry) = self.globals.get_mut(xid) else {
            return;
        };
        // It may have been decided while a timeout waited for its turn.
        if entry.status != Some(GlobalStatus::Begin) {
            return;
        }
        let earlier = entry.deadline.take();
        entry.deadline = Some(self.timers.insert(at, Timer::Deadline(xid.clone())));
        self.timers.cancel(earlier);
    }
}

/// How often one piece of work may be started over: for an id that exists, or a deadline that has just passed.
const TRIES_MAX: u32 = 16;
