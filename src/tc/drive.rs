//! Phase two of one transaction as a value: its branches, which of them may be called next, and who waits.
//!
//! Order (coordinator.md 2.1): commit in order of registration, rollback in reverse; on one resource a branch is rolled
//! back only when those registered after it are done. A branch that fails is put off by itself: it holds up earlier
//! branches of its own resource in a rollback, and nothing else.

use std::collections::HashMap;
use std::time::Instant;

use super::answers::Asked;
use super::branch::{Direction, State, Step};
use super::outbox::Reply;
use super::store::{End, Global, Seq};
use crate::net::wheel::TimerId;
use crate::proto::Text;
use crate::proto::status::GlobalStatus;

/// Phase two of one transaction.
#[derive(Debug)]
pub(super) struct Drive {
    /// The transaction; its branches are in `steps`.
    pub(super) global: Global,
    pub(super) direction: Direction,
    pub(super) steps: Vec<Step>,
    /// Indexes of steps in the order of first tries.
    order: Vec<usize>,
    /// Everything before this place of `order` is done.
    open_from: usize,
    done: usize,
    /// Indexes of the steps that the RM or the store is at work on: few, at most one of each resource.
    active: Vec<usize>,
    /// A branch answered that it never can.
    failed: bool,
    /// Steps a commit answer waits for; 0 unless the transaction is Committing.
    sync_left: usize,
    /// The status the store was asked to set last, or the present one.
    pub(super) aim: GlobalStatus,
    /// A status that could not be stored, and when it is tried again.
    pub(super) aim_again: Option<(Instant, GlobalStatus)>,
    /// Who asked for the decision and has no answer yet.
    pub(super) requester: Option<Requester>,
    /// When a branch is due.
    pub(super) timer: Option<(Instant, TimerId)>,
    /// A try failed, or it was going on before the start: the retry timeout counts.
    pub(super) retrying: bool,
    /// Given up: nothing more is called.
    pub(super) halted: bool,
    /// The store was asked to end it.
    pub(super) finishing: bool,
    /// The store was asked to let a sibling have it; how often RMs had joined by then.
    pub(super) offering: Option<u64>,
    /// Since when this coordinator has known of the decision.
    pub(super) since: Instant,
    /// When retries end.
    pub(super) give_up_at: Option<Instant>,
    /// What has to be durable before a branch may hear of the decision.
    pub(super) after: Seq,
}

/// Who waits for the outcome of a decision.
#[derive(Debug)]
pub(super) struct Requester {
    pub(super) reply: Reply,
    pub(super) asked: Asked,
    pub(super) timer: TimerId,
}

/// What a drive does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Call this step.
    Call(usize),
    /// This step is done without a call.
    End(usize),
    /// Every step is done and the store keeps the transaction: end it.
    Finish(End),
    /// Nothing before this instant, or before something happens.
    Later(Option<Instant>),
}

impl Drive {
    /// The drive of a decided transaction whose branches are due at `due`.
    pub(super) fn new(mut global: Global, direction: Direction, due: Instant, after: Seq) -> Self {
        let branches = std::mem::take(&mut global.branches);
        let mut steps: Vec<Step> = match global.saga {
            true => vec![Step::saga(&global, due)],
            false => branches
                .into_iter()
                .map(|branch| Step::new(branch, direction, due))
                .collect(),
        };
        let mut order: Vec<usize> = (0..steps.len()).collect();
        let waited_for = |step: &Step| step.silent || !step.commits_later;
        let mut sync_left = 0;
        match direction {
            Direction::Commit if global.status == GlobalStatus::Committing => {
                sync_left = steps.iter().filter(|step| waited_for(step)).count();
                order.sort_by_key(|i| !waited_for(&steps[*i]));
            }
            Direction::Commit => {}
            Direction::Rollback => {
                order.reverse();
                let mut later: HashMap<Text, usize> = HashMap::new();
                for i in order.iter().copied() {
                    steps[i].behind = later.insert(steps[i].resource_id.clone(), i);
                }
            }
        }
        Self {
            direction,
            steps,
            order,
            open_from: 0,
            done: 0,
            active: Vec::new(),
            failed: false,
            sync_left,
            aim: global.status,
            aim_again: None,
            requester: None,
            timer: None,
            retrying: false,
            halted: false,
            finishing: false,
            offering: None,
            since: due,
            give_up_at: None,
            after,
            global,
        }
    }

    /// Whether the step that ends now is the last one of a commit that was answered.
    pub(super) fn ends_unawaited(&self) -> bool {
        let answered = self.direction == Direction::Commit && self.requester.is_none();
        answered && !self.global.saga && self.done + 1 == self.steps.len()
    }

    /// What to do now. Without `parallel` one branch is called at a time, with it one of each resource.
    pub(super) fn next(&mut self, now: Instant, parallel: bool) -> Next {
        if self.halted || self.finishing || self.offering.is_some() {
            return Next::Later(None);
        }
        if self.done == self.steps.len() {
            return self.end().map_or(Next::Later(None), Next::Finish);
        }
        if !self.active.is_empty() && !parallel {
            return Next::Later(None);
        }
        while self.steps[self.order[self.open_from]].state == State::Done {
            self.open_from += 1;
        }
        let mut earliest: Option<(Instant, usize)> = None;
        for &i in &self.order[self.open_from..] {
            let step = &self.steps[i];
            let State::Due(at) = step.state else { continue };
            if !self.may_go(step) {
                continue;
            }
            if earliest.is_none_or(|(best, _)| at < best) {
                earliest = Some((at, i));
            }
            // First tries keep the order, and go before repeated ones.
            if at <= now && step.failures == 0 {
                earliest = Some((at, i));
                break;
            }
        }
        match earliest {
            Some((at, i)) if at <= now => match self.steps[i].silent {
                true => Next::End(i),
                false => Next::Call(i),
            },
            earliest => Next::Later(earliest.map(|(at, _)| at)),
        }
    }

    /// Moves a step to another state.
    pub(super) fn set_state(&mut self, i: usize, state: State) {
        let step = &mut self.steps[i];
        debug_assert!(step.state != State::Done, "a step is done once");
        let was_active = step.is_active();
        step.state = state;
        let is_active = step.is_active();
        match (was_active, is_active) {
            (false, true) => self.active.push(i),
            (true, false) => self.active.retain(|active| *active != i),
            _ => {}
        }
        self.failed |= state == State::Failed;
        if state == State::Done {
            self.done += 1;
            let waited_for = step.silent || !step.commits_later;
            if waited_for {
                self.sync_left = self.sync_left.saturating_sub(1);
            }
        }
    }

    /// Every branch that a commit waits for is done, others are not: the answer need not wait for those.
    pub(super) fn only_later_commits_left(&self) -> bool {
        self.aim == GlobalStatus::Committing
            && !self.failed
            && self.sync_left == 0
            && self.done < self.steps.len()
            && !self.global.saga
    }

    /// When retries will have gone on for too long, as far as that may happen now: a call in flight is waited for.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        let asked = self.halted || self.finishing || self.offering.is_some();
        let may = self.retrying && !asked && self.active.is_empty();
        self.give_up_at
            .filter(|_| may && self.given_up_status().is_some())
    }

    /// The status of a transaction whose retries end now.
    pub(super) fn given_up_status(&self) -> Option<GlobalStatus> {
        use GlobalStatus::*;
        match self.aim {
            Committing | CommitRetrying => Some(CommitRetryTimeout),
            Unknown
            | Rollbacking
            | RollbackRetrying
            | TimeoutRollbacking
            | TimeoutRollbackRetrying => Some(RollbackRetryTimeout),
            _ => None,
        }
    }

    /// The status after a try that failed. One that failed for good counts more, also if that could not be stored yet.
    pub(super) fn retrying_status(&self) -> Option<GlobalStatus> {
        use GlobalStatus::*;
        if self.failed {
            return self.failed_status();
        }
        match self.aim {
            Committing => Some(CommitRetrying),
            Unknown | Rollbacking => Some(RollbackRetrying),
            TimeoutRollbacking => Some(TimeoutRollbackRetrying),
            _ => None,
        }
    }

    /// The status after an answer that says never.
    pub(super) fn failed_status(&self) -> Option<GlobalStatus> {
        use GlobalStatus::*;
        match self.aim {
            Committing | CommitRetrying | AsyncCommitting => Some(CommitFailed),
            Unknown | Rollbacking | RollbackRetrying => Some(RollbackFailed),
            TimeoutRollbacking | TimeoutRollbackRetrying => Some(TimeoutRollbackFailed),
            _ => None,
        }
    }

    /// How the transaction ends when every step is done; none for statuses that wait for somebody.
    pub(super) fn end(&self) -> Option<End> {
        use GlobalStatus::*;
        match self.global.status {
            Committing | CommitRetrying | AsyncCommitting | Committed => Some(End::Committed),
            Unknown | Rollbacking | RollbackRetrying | Rollbacked => Some(End::RolledBack),
            TimeoutRollbacking | TimeoutRollbackRetrying | TimeoutRollbacked => Some(End::TimedOut),
            _ => None,
        }
    }

    /// Whether nothing will ever happen here again: what is left failed, or waits behind what failed.
    pub(super) fn is_over(&self) -> bool {
        let may_come = |step: &Step| match step.state {
            State::Due(_) => self.reachable(step),
            State::Queued(_) => true,
            _ => false,
        };
        !self.finishing
            && self.offering.is_none()
            && self.active.is_empty()
            && self.aim == self.global.status
            && self.aim_again.is_none()
            && self.end().is_none()
            && !self.steps.iter().any(may_come)
    }

    /// The first step that nobody here may be called for, when nothing else is under way: no call, no work of the store.
    pub(super) fn stranded(&self) -> Option<usize> {
        let asked = self.halted || self.finishing || self.offering.is_some();
        let settled = self.aim == self.global.status && self.aim_again.is_none();
        let queued = |step: &Step| matches!(step.state, State::Queued(_));
        if asked || !settled || !self.active.is_empty() || self.steps.iter().any(queued) {
            return None;
        }
        let open = self.order[self.open_from..].iter().copied();
        open.into_iter().find(|i| {
            let step = &self.steps[*i];
            let put_off = step.unrouted && matches!(step.state, State::Due(_));
            put_off && !step.resource_id.is_empty() && self.may_go(step)
        })
    }

    /// When a step that failed here, though somebody could be called, is tried again.
    pub(super) fn retries_at(&self) -> Option<Instant> {
        let due = |step: &Step| match step.state {
            State::Due(at) if !step.unrouted && step.failures > 0 => Some(at),
            _ => None,
        };
        self.steps.iter().filter_map(due).min()
    }

    /// A step is done: the resource that nothing else of this drive waits for, if it waited for it.
    pub(super) fn no_longer_waits(&mut self, i: usize) -> Option<Text> {
        if !std::mem::take(&mut self.steps[i].waits) {
            return None;
        }
        let resource = self.steps[i].resource_id.clone();
        let others = self.steps.iter();
        let waited_for = others
            .filter(|s| s.waits)
            .any(|s| s.resource_id == resource);
        (!waited_for).then_some(resource)
    }

    /// The step of a branch.
    pub(super) fn position(&self, branch: crate::xid::BranchId) -> Option<usize> {
        let is_it = |i: &usize| self.steps[*i].branch_id == branch;
        // A branch that is asked for is nearly always one that is at work.
        let at_work = self.active.iter().copied().find(is_it);
        at_work.or_else(|| (0..self.steps.len()).find(is_it))
    }

    /// Whether a step is neither behind another one nor beside an active one of its resource.
    fn may_go(&self, step: &Step) -> bool {
        let free = |other: &usize| self.steps[*other].resource_id != step.resource_id;
        step.behind
            .is_none_or(|b| self.steps[b].state == State::Done)
            && self.active.iter().all(free)
    }

    /// Whether no failed step stands before this one.
    fn reachable(&self, step: &Step) -> bool {
        let mut behind = step.behind;
        while let Some(i) = behind {
            match self.steps[i].state {
                State::Failed => return false,
                State::Done => return true,
                _ => behind = self.steps[i].behind,
            }
        }
        true
    }
}
