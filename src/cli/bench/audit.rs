//! The correctness check of a run: what each branch was told against what its transaction was answered.
//!
//! Every branch of a committed transaction must have been told to commit at least once and never to roll back, and the
//! reverse; a branch whose transaction had no clear answer may be told either, never both; branches of one transaction
//! on one resource are rolled back in reverse order of registration (proof.md 3, 4, 14, 16).

use std::collections::HashMap;

/// What the answer to the transaction promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// It was not answered, or not clearly.
    Unclear,
    /// Commit.
    Commit,
    /// Rollback.
    Rollback,
}

/// All branches of a run.
#[derive(Debug, Default)]
pub(super) struct Audit {
    branches: HashMap<i64, Branch>,
    /// Branches with a promise that nobody has called yet.
    waiting: usize,
    repeats: u64,
    strangers: u64,
    out_of_order: u64,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    promise: Promise,
    committed: bool,
    rolled_back: bool,
    /// The branch registered after it in the same transaction; 0 is none.
    next: i64,
}

/// What the check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Branches that were registered.
    pub(super) branches: usize,
    /// Promised and never called.
    pub(super) missing: usize,
    /// Called against the promise, or both ways.
    pub(super) wrong: usize,
    /// Rolled back before a branch registered later.
    pub(super) out_of_order: u64,
    /// Calls for branches that no transaction registered.
    pub(super) strangers: u64,
    /// Calls that came more than once: allowed, at least once is the promise.
    pub(super) repeats: u64,
}

impl Verdict {
    /// Nothing is wrong. `strangers` may be of another run.
    pub(super) fn passed(&self) -> bool {
        self.missing == 0 && self.wrong == 0 && self.out_of_order == 0
    }
}

impl Audit {
    /// A branch was registered, `previous` before it in the same transaction (0 is none).
    pub(super) fn registered(&mut self, branch: i64, previous: i64) {
        let new = Branch {
            promise: Promise::Unclear,
            committed: false,
            rolled_back: false,
            next: 0,
        };
        self.branches.insert(branch, new);
        if let Some(previous) = self.branches.get_mut(&previous) {
            previous.next = branch;
        }
    }

    /// The transaction of a branch was answered.
    pub(super) fn answered(&mut self, branch: i64, promise: Promise) {
        if let Some(branch) = self.branches.get_mut(&branch) {
            branch.promise = promise;
            self.waiting += usize::from(branch.is_missing());
        }
    }

    /// An RM was told to commit or to roll back a branch.
    pub(super) fn called(&mut self, id: i64, commit: bool) {
        let Some(branch) = self.branches.get_mut(&id) else {
            self.strangers += 1;
            return;
        };
        let was_missing = branch.is_missing();
        let told = if commit {
            &mut branch.committed
        } else {
            &mut branch.rolled_back
        };
        self.repeats += u64::from(*told);
        let first = !*told;
        *told = true;
        self.waiting -= usize::from(was_missing && !branch.is_missing());
        let next = branch.next;
        if first
            && !commit
            && self
                .branches
                .get(&next)
                .is_some_and(|next| !next.rolled_back)
        {
            self.out_of_order += 1;
        }
    }

    /// Branches that are promised a call which has not come.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The result.
    pub(super) fn verdict(&self) -> Verdict {
        let branches = self.branches.values();
        Verdict {
            branches: self.branches.len(),
            missing: self.waiting,
            wrong: branches.filter(|branch| branch.is_wrong()).count(),
            out_of_order: self.out_of_order,
            strangers: self.strangers,
            repeats: self.repeats,
        }
    }
}

impl Branch {
    fn is_missing(&self) -> bool {
        match self.promise {
            Promise::Unclear => false,
            Promise::Commit => !self.committed,
            Promise::Rollback => !self.rolled_back,
        }
    }

    fn is_wrong(&self) -> bool {
        match self.promise {
            Promise::Unclear => self.committed && self.rolled_back,
            Promise::Commit => self.rolled_back,
            Promise::Rollback => self.committed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_promise_is_checked_both_ways() {
        let mut audit = Audit::default();
        for branch in 1..=6 {
            audit.registered(branch, 0);
        }
        audit.answered(1, Promise::Commit);
        audit.called(1, true);
        audit.called(2, false);
        audit.answered(2, Promise::Rollback);
        assert_eq!((audit.waiting(), audit.verdict().passed()), (0, true));
        audit.answered(3, Promise::Commit);
        assert_eq!((audit.waiting(), audit.verdict().missing), (1, 1));
        audit.called(3, false);
        assert_eq!((audit.waiting(), audit.verdict().wrong), (1, 1));
        audit.called(3, true);
        assert_eq!((audit.waiting(), audit.verdict().wrong), (0, 1));
        audit.called(4, true);
        audit.called(4, false);
        assert_eq!(audit.verdict().wrong, 2, "unclear, but told both");
        audit.called(5, true);
        audit.called(5, true);
        audit.called(99, true);
        assert_eq!((audit.verdict().repeats, audit.verdict().strangers), (1, 1));
        assert!(!audit.verdict().passed());
    }

    #[test]
    fn rollbacks_must_come_in_reverse_order() {
        let mut audit = Audit::default();
        for (first, second) in [(1, 2), (3, 4)] {
            audit.registered(first, 0);
            audit.registered(second, first);
        }
        for branch in [2, 1, 2, 1] {
            audit.called(branch, false);
        }
        assert_eq!(audit.verdict().out_of_order, 0);
        audit.called(3, false);
        assert_eq!(audit.verdict().out_of_order, 1);
    }
}
