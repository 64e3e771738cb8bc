//! What must hold inside a coordinator between two inputs (proof.md 2, 14, 18, 32). For tests and the simulation: it
//! looks at everything.

use super::branch::{Direction, State};
use super::coordinator::Coordinator;
use super::global::Entry;
use crate::proto::status::GlobalStatus;
use crate::xid::Xid;

impl Coordinator {
    /// Checks every invariant that can be seen from inside.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub fn audit(&self) -> Result<(), String> {
        let stats = self.stats();
        let ended = stats.committed + stats.rolled_back + stats.timed_out + stats.finished;
        let ended = ended + stats.passed_on;
        if stats.begun + stats.recovered != ended + stats.live as u64 {
            return Err(format!("the books do not balance: {stats:?}"));
        }
        for (resource, xid) in self.calls.waiting() {
            let drive = self.globals.get(xid).and_then(|entry| entry.drive.as_ref());
            let mut steps = drive.into_iter().flat_map(|drive| &drive.steps);
            if !steps.any(|step| step.waits && step.resource_id == *resource) {
                return Err(format!("{xid}: in line for {resource}, and waits no more"));
            }
        }
        let (mut live, mut drives, mut calling) = (0, 0, 0);
        for (xid, entry) in &self.globals {
            live += usize::from(entry.status.is_some());
            drives += usize::from(entry.drive.is_some());
            calling += self.audit_entry(xid, entry)?;
        }
        for (name, seen, counted) in [
            ("live", live, stats.live),
            ("by status", live, stats.live_by_status.iter().sum()),
            ("drives", drives, stats.drives),
            ("calls", calling, stats.calls_in_flight),
        ] {
            if seen != counted {
                return Err(format!("{name}: {seen} seen, {counted} counted"));
            }
        }
        Ok(())
    }

    /// One xid: it goes on by itself, or waits for a human. Gives its calls in flight.
    fn audit_entry(&self, xid: &Xid, entry: &Entry) -> Result<usize, String> {
        if entry.busy {
            // An operation is at the store: its completion goes on with everything.
            return Ok(calls_of(entry));
        }
        if !entry.waiting.is_empty() {
            return Err(format!("{xid}: work waits for nothing"));
        }
        let Some(status) = entry.status else {
            return Err(format!("{xid}: remembered for nothing"));
        };
        let Some(drive) = &entry.drive else {
            let kept = match status {
                GlobalStatus::Begin => entry.deadline.is_some(),
                GlobalStatus::CommitFailed
                | GlobalStatus::RollbackFailed
                | GlobalStatus::TimeoutRollbackFailed => true,
                status => Direction::of(status).is_none(),
            };
            let why = format!("{xid}: nobody drives {status}");
            return kept.then_some(0).ok_or(why);
        };
        if status != drive.global.status {
            return Err(format!(
                "{xid}: {status} here, {} there",
                drive.global.status
            ));
        }
        if entry.deadline.is_some() {
            return Err(format!("{xid}: decided, and has a deadline"));
        }
        for step in &drive.steps {
            if let State::Calling(id) = step.state
                && !self.calls.matches(id, xid.as_text(), step.branch_id.0)
            {
                return Err(format!(
                    "{xid} {}: call {id} is not in the books",
                    step.branch_id
                ));
            }
            if let Some(behind) = step.behind
                && step.is_active()
                && drive.steps[behind].state != State::Done
            {
                return Err(format!("{xid} {}: overtook its order", step.branch_id));
            }
        }
        let moves =
            |step: &super::branch::Step| step.is_active() || matches!(step.state, State::Queued(_));
        let goes_on = drive.timer.is_some() || drive.finishing || self.share.rests(xid);
        if !goes_on && !drive.steps.iter().any(moves) {
            return Err(format!("{xid}: {status} will never go on"));
        }
        Ok(calls_of(entry))
    }
}

fn calls_of(entry: &Entry) -> usize {
    let steps = entry.drive.iter().flat_map(|drive| &drive.steps);
    steps
        .filter(|step| matches!(step.state, State::Calling(_)))
        .count()
}
