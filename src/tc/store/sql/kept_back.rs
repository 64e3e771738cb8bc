//! What nobody waits for is kept back for a moment and written together with others.
//!
//! The end of an AT transaction comes after its commit was answered, with its rows free. Written at once it is a database
//! transaction of its own, and the next begin of a lonely client stands behind it.

use std::time::{Duration, Instant};

use super::writer::Job;

/// Jobs that were kept back.
#[derive(Default)]
pub(super) struct KeptBack {
    jobs: Vec<Job>,
    /// When the first of them came.
    since: Option<Instant>,
}

impl KeptBack {
    /// When they are to be written though nothing else is; none when there are none.
    pub(super) fn until(&self) -> Option<Instant> {
        self.since.map(|since| since + KEPT_BACK_FOR)
    }

    /// What of these is to be written now: it may be less, or more by all that was kept back.
    pub(super) fn sort_out(&mut self, taken: Vec<Job>, now: Instant) -> Vec<Job> {
        let (later, mut due): (Vec<Job>, Vec<Job>) = taken.into_iter().partition(Job::may_be_later);
        if !later.is_empty() {
            self.since.get_or_insert(now);
            self.jobs.extend(later);
        }
        let is_time = self.until().is_some_and(|until| until <= now);
        if is_time || due.len() >= COMPANY || self.jobs.len() >= KEPT_BACK_MAX {
            due.append(&mut self.take());
        }
        due
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Job> {
        self.since = None;
        std::mem::take(&mut self.jobs)
    }
}

/// Short for who looks into the tables, long for who begins the next transaction.
const KEPT_BACK_FOR: Duration = Duration::from_millis(100);
/// So many go at once.
const KEPT_BACK_MAX: usize = 64;
/// A batch of so many takes them along.
const COMPANY: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tc::store::{Operation, Ticket, Urgency};
    use crate::xid::{BranchId, Xid};

    fn end(urgency: Urgency) -> Job {
        let operation = Operation::EndBranch {
            xid: Xid::new("10.0.0.1:8091", 1),
            branch_id: BranchId(2),
            urgency,
            now_ms: 0,
        };
        Job::new(Ticket(0), operation)
    }

    fn ends(urgency: Urgency, count: usize) -> Vec<Job> {
        (0..count).map(|_| end(urgency)).collect()
    }

    #[allow(clippy::disallowed_methods)] // any instant will do
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn what_somebody_waits_for_goes_at_once_and_alone() {
        let (mut kept, now) = (KeptBack::default(), start());
        assert!(kept.sort_out(ends(Urgency::Later, 3), now).is_empty());
        assert_eq!(kept.sort_out(ends(Urgency::Now, 1), now).len(), 1);
        assert_eq!(kept.until(), Some(now + KEPT_BACK_FOR));
    }

    #[test]
    fn the_rest_goes_when_its_time_is_over() {
        let (mut kept, now) = (KeptBack::default(), start());
        assert!(kept.sort_out(ends(Urgency::Later, 2), now).is_empty());
        let late = now + KEPT_BACK_FOR / 2;
        assert!(kept.sort_out(ends(Urgency::Later, 1), late).is_empty());
        assert_eq!(kept.sort_out(Vec::new(), now + KEPT_BACK_FOR).len(), 3);
        assert_eq!(kept.until(), None, "nothing is left");
    }

    #[test]
    fn or_with_company_or_when_there_is_much_of_it() {
        let (mut kept, now) = (KeptBack::default(), start());
        assert!(kept.sort_out(ends(Urgency::Later, 5), now).is_empty());
        let batch = kept.sort_out(ends(Urgency::Now, COMPANY), now);
        assert_eq!(batch.len(), COMPANY + 5);
        let many = kept.sort_out(ends(Urgency::Later, KEPT_BACK_MAX), now);
        assert_eq!(many.len(), KEPT_BACK_MAX);
        assert_eq!(kept.until(), None);
    }
}
