//! Carrying out decisions: branches are called as events allow, never by polling (design.md 5, coordinator.md 2).
//!
//! A decision starts a [`Drive`]. It calls one branch after another; a branch that fails is put off with a pause of its
//! own that doubles, and is called at once when an RM of its resource registers. Room per connection and resource is
//! bounded: what finds none waits in line there. Whoever asked for the decision is answered when the outcome is known,
//! at the first failure, or after 25 s, whatever comes first; the drive goes on until the store has ended the
//! transaction, a human is needed, or the retry timeout is over.

use std::time::Instant;

use super::admission::{Shown, Topic};
use super::answers::Asked;
use super::branch::{Direction, State, Verdict};
use super::calls::Call;
use super::coordinator::{ChannelId, Coordinator, Now};
use super::drive::{Drive, Next, Requester};
use super::global::Work;
use super::outbox::Reply;
use super::roster::Choice;
use super::store::{Global, Seq};
use super::timers::Timer;
use crate::proto::Text;
use crate::proto::codec::Rpc;
use crate::proto::message::{BranchEnd, BranchEndResponse, Message, UndoLogDelete};
use crate::proto::status::{BranchType, GlobalStatus};
use crate::xid::Xid;

impl Coordinator {
    /// A decision was made just now: whoever asked waits, unless nobody has to.
    pub(super) fn decided(
        &mut self,
        now: Now,
        xid: &Xid,
        global: Global,
        after: Seq,
        requester: Option<(Reply, Asked)>,
    ) {
        log::debug!("xid={xid} event=decided status={}", global.status);
        let requester = match requester {
            Some((reply, asked)) if global.status == GlobalStatus::AsyncCommitting => {
                self.answer_live(reply, asked, global.status, after);
                None
            }
            requester => requester,
        };
        self.drive_on(now, xid, global, now.instant, after, requester);
    }

    /// Drives a transaction from its present status. Its branches are due at `due`.
    pub(super) fn drive_on(
        &mut self,
        now: Now,
        xid: &Xid,
        global: Global,
        due: Instant,
        after: Seq,
        requester: Option<(Reply, Asked)>,
    ) {
        self.disarm_deadline(xid);
        if self.globals.get(xid).is_some_and(|e| e.status.is_none()) {
            self.stats.recovered += 1;
        }
        self.note_status(xid, Some(global.status));
        let Some(direction) = Direction::of(global.status) else {
            return;
        };
        let mut drive = Drive::new(global, direction, due, after);
        let (timeout, keeps_rows) = match direction {
            Direction::Commit => (self.config.commit_retry_timeout, false),
            Direction::Rollback => (
                self.config.rollback_retry_timeout,
                self.config.rollback_retry_timeout_unlock,
            ),
        };
        if !keeps_rows {
            drive
                .steps
                .iter_mut()
                .for_each(|step| step.lock_key = Text::new());
        }
        drive.give_up_at = timeout.and_then(|timeout| {
            let gone_ms = now.wall_ms.saturating_sub(drive.global.decided_ms);
            let gone = std::time::Duration::from_millis(u64::try_from(gone_ms).unwrap_or(0));
            let rest = (timeout + ONE_MS).saturating_sub(gone);
            now.instant.checked_add(rest)
        });
        drive.since = self.share.offered_since(xid).unwrap_or(now.instant);
        drive.requester = requester.map(|(reply, asked)| Requester {
            timer: self.timers.insert(
                reply.taken + self.config.answer_within,
                Timer::Requester(xid.clone()),
            ),
            reply,
            asked,
        });
        if let Some(entry) = self.globals.get_mut(xid) {
            entry.drive = Some(Box::new(drive));
            self.stats.drives += 1;
            self.run(now, xid);
        }
    }

    /// Calls whatever may be called now, and arms the timer for the rest.
    pub(super) fn run(&mut self, now: Now, xid: &Xid) {
        let parallel = self.config.parallel_branches;
        while let Some(drive) = self.globals.get_mut(xid).and_then(|e| e.drive.as_mut()) {
            if self.config.shared && !self.share.may_drive(now) {
                return self.share.rest(xid);
            }
            if let Some((at, to)) = drive.aim_again
                && at <= now.instant
            {
                drive.aim_again = None;
                self.aim(now, xid, Some(to), false);
                continue;
            }
            if drive.gives_up_at().is_some_and(|at| at <= now.instant) {
                return self.give_up(now, xid);
            }
            match drive.next(now.instant, parallel) {
                Next::Call(step) => self.call(now, xid, step),
                Next::End(step) => self.end_step(now, xid, step),
                Next::Finish(end) => {
                    drive.finishing = true;
                    self.enqueue(now, xid, Work::Finish(end));
                }
                Next::Later(at) => {
                    if drive.is_over() && drive.requester.is_none() {
                        self.drop_drive(now, xid);
                        return;
                    }
                    if !self.config.shared || !self.offer(now, xid) {
                        self.arm_drive(xid, at);
                    }
                    return;
                }
            }
        }
    }

    /// Calls a branch, or puts it off when nobody may be called.
    fn call(&mut self, now: Now, xid: &Xid, step: usize) {
        let takeover = self.config.xa_takeover;
        let Some(drive) = self.globals.get_mut(xid).and_then(|e| e.drive.as_mut()) else {
            return;
        };
        let branch = &drive.steps[step];
        let resource_id = branch.resource_id.clone();
        let client = &branch.client_id;
        let kind = branch.branch_type;
        let unseen = self.config.shared.then_some(drive.since);
        let choice = self
            .roster
            .choose(&resource_id, client, kind, now.instant, takeover, unseen);
        let channel = match choice {
            Choice::Channel(channel) => channel,
            Choice::NotBefore(at) => {
                // A sibling may have the client itself.
                let unseen = self.config.shared && !self.roster.saw_leave(client);
                drive.steps[step].unrouted = unseen;
                return self.unrouted(now, xid, step, Some(at));
            }
            Choice::Nobody => {
                drive.steps[step].unrouted = true;
                return self.unrouted(now, xid, step, None);
            }
        };
        let max = self.config.calls_per_route_max;
        if !self.roster.enter(channel, &resource_id, max, xid) {
            return drive.set_state(step, State::Queued(channel));
        }
        if kind == BranchType::At {
            self.roster.mark_at(&resource_id);
        }
        let id = self.calls.next_id();
        drive.set_state(step, State::Calling(id));
        let branch = &mut drive.steps[step];
        branch.unrouted = false;
        branch.calls += 1;
        self.stats.calls += 1;
        self.stats.calls_repeated += u64::from(branch.calls > 1);
        let call = Call {
            xid: xid.clone(),
            branch_id: branch.branch_id,
            step,
            channel,
            resource_id,
            timer: self
                .timers
                .insert(now.instant + self.config.call_timeout, Timer::Call(id)),
        };
        let message = branch_message(drive, step);
        let after = drive.after;
        log::debug!(
            "xid={xid} branch={} event=called channel={} call={id}",
            call.branch_id,
            channel.0
        );
        self.roster.attach(channel, id);
        self.calls.insert(id, call);
        self.send(after, channel, Rpc::request(id, message));
    }

    fn unrouted(&mut self, now: Now, xid: &Xid, step: usize, not_before: Option<Instant>) {
        self.stats.calls_unrouted += 1;
        self.put_off(now, xid, step, Verdict::Unreachable, not_before);
    }

    /// An RM answered a branch call, or something that looks like it.
    pub(super) fn take_branch_answer(
        &mut self,
        now: Now,
        channel: ChannelId,
        id: i32,
        answer: &BranchEndResponse,
    ) {
        if !self.calls.matches(id, &answer.xid, answer.branch_id) {
            self.stats.answers_unexpected += 1;
            if let Some(skipped) = self.gates.admit(Topic::AnswerUnexpected, now.instant) {
                log::info!(
                    "xid={} branch={} event=answer_unexpected channel={} call={id} status={} \
                     skipped={skipped}",
                    Shown(&answer.xid),
                    answer.branch_id,
                    channel.0,
                    answer.branch_status
                );
            }
            return;
        }
        let Some(call) = self.end_call(id) else {
            return;
        };
        let verdict = match self.drive(&call.xid) {
            Some(drive) => Verdict::of(drive.direction, drive.global.saga, answer.branch_status),
            None => return,
        };
        log::debug!(
            "xid={} branch={} event=answered status={}",
            call.xid,
            call.branch_id,
            answer.branch_status
        );
        self.judge(now, &call.xid, call.step, verdict);
        self.run(now, &call.xid);
        self.pump(now, call.channel, &call.resource_id);
    }

    /// A call got no answer in time.
    pub(super) fn call_timed_out(&mut self, now: Now, id: i32) {
        self.stats.calls_timed_out += 1;
        self.call_failed(now, id, "timeout");
    }

    /// The connection of a call is gone.
    pub(super) fn call_lost(&mut self, now: Now, id: i32) {
        self.stats.calls_lost += 1;
        self.call_failed(now, id, "connection_lost");
    }

    fn call_failed(&mut self, now: Now, id: i32, event: &str) {
        let Some(call) = self.end_call(id) else {
            return;
        };
        log::debug!(
            "xid={} branch={} event={event} call={id}",
            call.xid,
            call.branch_id
        );
        let lost = !self.roster.is_open(call.channel);
        match self.drive(&call.xid) {
            // To another RM of the database at once, if there is one: only one of them can undo or delete the undo log, whatever
            // the first is still at.
            Some(drive) if lost && drive.steps[call.step].branch_type == BranchType::At => {
                drive.set_state(call.step, State::Due(now.instant));
            }
            _ => self.judge(now, &call.xid, call.step, Verdict::Unreachable),
        }
        self.run(now, &call.xid);
        self.pump(now, call.channel, &call.resource_id);
    }

    /// Takes a call out of the books.
    fn end_call(&mut self, id: i32) -> Option<Call> {
        let call = self.calls.remove(id)?;
        self.timers.cancel(Some(call.timer));
        self.roster.leave(call.channel, &call.resource_id, id);
        Some(call)
    }

    /// There may be room on a route: those that wait in line there go on.
    fn pump(&mut self, now: Now, channel: ChannelId, resource_id: &Text) {
        let max = self.config.calls_per_route_max;
        while let Some(xid) = self.roster.next_queued(channel, resource_id, max) {
            self.unqueue(now, &xid, channel, Some(resource_id));
        }
    }

    /// Branches that waited for room on a connection, for one resource or any, look for it again.
    pub(super) fn unqueue(
        &mut self,
        now: Now,
        xid: &Xid,
        channel: ChannelId,
        resource_id: Option<&Text>,
    ) {
        if let Some(drive) = self.drive(xid) {
            for i in 0..drive.steps.len() {
                let step = &drive.steps[i];
                let fits = resource_id.is_none_or(|id| step.resource_id == *id);
                if fits && step.state == State::Queued(channel) {
                    drive.set_state(i, State::Due(now.instant));
                }
            }
            self.run(now, xid);
        }
    }

    /// Acts on what came of calling a branch. [`Coordinator::run`] has to follow.
    fn judge(&mut self, now: Now, xid: &Xid, step: usize, verdict: Verdict) {
        match verdict {
            Verdict::Success => self.end_step(now, xid, step),
            Verdict::NotKnown => match self.not_known_for_long(now, xid, step) {
                true => self.end_step(now, xid, step),
                false => self.put_off(now, xid, step, Verdict::Retryable, None),
            },
            Verdict::Retryable | Verdict::Unreachable => {
                self.put_off(now, xid, step, verdict, None);
            }
            Verdict::Unretryable => self.fail_step(now, xid, step),
            Verdict::Crossed(crossing) => self.cross(now, xid, step, crossing),
        }
    }

    /// A branch is done: the store is told, and the whole is ended with the one call of a SAGA.
    fn end_step(&mut self, now: Now, xid: &Xid, step: usize) {
        let Some(drive) = self.drive(xid) else { return };
        drive.set_state(step, State::Ending);
        let branch = drive.steps[step].branch_id;
        let work = match (drive.global.saga, drive.end()) {
            (true, Some(end)) => Work::Finish(end),
            _ => Work::EndBranch(branch),
        };
        self.enqueue(now, xid, work);
    }

    /// A branch answered that it never can: the rest goes on without it.
    fn fail_step(&mut self, now: Now, xid: &Xid, step: usize) {
        let admitted = self.gates.admit(Topic::BranchFailed, now.instant);
        let Some(drive) = self.drive(xid) else { return };
        drive.set_state(step, State::Failed);
        let to = drive.failed_status();
        let branch = &drive.steps[step];
        if let Some(skipped) = admitted {
            log::error!(
                "xid={xid} branch={} event=branch_failed status={} resource={} client={} \
                 skipped={skipped}: it needs a human",
                branch.branch_id,
                drive.global.status,
                Shown(&branch.resource_id),
                Shown(&branch.client_id)
            );
        }
        self.stats.branches_unretryable += 1;
        self.aim(now, xid, to, false);
    }

    /// A branch is tried again later.
    pub(super) fn put_off(
        &mut self,
        now: Now,
        xid: &Xid,
        step: usize,
        verdict: Verdict,
        not_before: Option<Instant>,
    ) {
        let (commit_first, rollback_first, max) = (
            self.config.commit_retry_first,
            self.config.rollback_retry_first,
            self.config.retry_pause_max,
        );
        let Some(drive) = self.globals.get_mut(xid).and_then(|e| e.drive.as_mut()) else {
            return;
        };
        let first = match drive.direction {
            Direction::Commit => commit_first,
            Direction::Rollback => rollback_first,
        };
        let failures = drive.steps[step].failures.saturating_add(1);
        let pause = self.calls.pause(failures, first, max);
        let mut due = now.instant + pause;
        if let Some(at) = not_before {
            due = due.min(at.max(now.instant + ONE_MS));
        }
        drive.set_state(step, State::Due(due));
        drive.retrying = true;
        let branch = &mut drive.steps[step];
        branch.failures = failures;
        branch.waits = true;
        self.calls.wait_for(&branch.resource_id, xid);
        if let Some(skipped) = self.gates.admit(Topic::RetryLater, now.instant) {
            log::info!(
                "xid={xid} branch={} event=retry_later cause={verdict:?} failures={failures} \
                 pause_ms={} resource={} skipped={skipped}",
                branch.branch_id,
                pause.as_millis(),
                Shown(&branch.resource_id)
            );
        }
        let to = drive.retrying_status();
        self.aim(now, xid, to, verdict == Verdict::Unreachable);
    }

    /// Brings phase two into another status, once.
    pub(super) fn aim(&mut self, now: Now, xid: &Xid, to: Option<GlobalStatus>, unreachable: bool) {
        let Some(drive) = self.drive(xid) else { return };
        if let Some(to) = to.filter(|to| *to != drive.aim) {
            drive.aim = to;
            drive.aim_again = None;
            // A SAGA without a channel is retried, that is no failure of the request (coordinator.md 1.4).
            let unreachable = unreachable && !drive.global.saga;
            self.enqueue(now, xid, Work::SetStatus { to, unreachable });
        }
    }

    /// An XA branch that its database does not know counts as done after a grace time (coordinator.md 2.2).
    fn not_known_for_long(&mut self, now: Now, xid: &Xid, step: usize) -> bool {
        let grace = i64::try_from(self.config.xaer_nota_grace.as_millis()).unwrap_or(i64::MAX);
        let Some(drive) = self.drive(xid) else {
            return false;
        };
        let timeout = i64::from(drive.global.timeout_ms);
        let until = drive
            .global
            .begin_ms
            .saturating_add(timeout)
            .saturating_add(grace.max(timeout));
        if now.wall_ms <= until {
            return false;
        }
        let branch = &drive.steps[step];
        log::warn!(
            "xid={xid} branch={} event=xaer_nota_accepted status={} resource={}: the database \
             knows nothing of this branch, it is taken for done",
            branch.branch_id,
            drive.global.status,
            Shown(&branch.resource_id)
        );
        self.stats.xaer_nota_accepted += 1;
        true
    }

    /// Retries have gone on for too long.
    fn give_up(&mut self, now: Now, xid: &Xid) {
        let Some(drive) = self.drive(xid) else { return };
        drive.halted = true;
        let to = drive.given_up_status();
        self.aim(now, xid, to, false);
    }

    /// The timer of a drive fired.
    pub(super) fn drive_due(&mut self, now: Now, xid: &Xid) {
        if let Some(drive) = self.drive(xid) {
            drive.timer = None;
            self.run(now, xid);
        }
    }

    /// Whoever asked for a decision waited as long as anyone should.
    pub(super) fn requester_waited(&mut self, now: Now, xid: &Xid) {
        let Some(drive) = self.drive(xid) else { return };
        let (status, after) = (drive.global.status, drive.after);
        if let Some(requester) = drive.requester.take() {
            self.answer_live(requester.reply, requester.asked, status, after);
            self.run(now, xid);
        }
    }

    /// Forgets the drive of a transaction with its calls and timers. Its requester is the caller's to answer.
    pub(super) fn drop_drive(&mut self, now: Now, xid: &Xid) -> Option<Box<Drive>> {
        let entry = self.globals.get_mut(xid)?;
        let drive = entry.drive.take()?;
        // What it still wanted of the store must not meet a drive that takes its place.
        entry.waiting.retain(|work| !work.is_of_drive());
        self.stats.drives -= 1;
        self.timers.cancel(drive.timer.map(|(_, timer)| timer));
        self.timers
            .cancel(drive.requester.as_ref().map(|r| r.timer));
        for step in &drive.steps {
            if step.waits {
                self.calls.wait_no_more(&step.resource_id, xid);
            }
            if let State::Calling(id) = step.state
                && let Some(call) = self.end_call(id)
            {
                self.pump(now, call.channel, &call.resource_id);
            }
        }
        Some(drive)
    }

    pub(super) fn drive(&mut self, xid: &Xid) -> Option<&mut Drive> {
        self.globals.get_mut(xid)?.drive.as_deref_mut()
    }

    pub(super) fn arm_drive(&mut self, xid: &Xid, at: Option<Instant>) {
        let Some(drive) = self.globals.get_mut(xid).and_then(|e| e.drive.as_mut()) else {
            return;
        };
        let again = drive.aim_again.map(|(at, _)| at);
        let at = [at, drive.gives_up_at(), again].into_iter().flatten().min();
        if drive.timer.map(|(at, _)| at) == at {
            return;
        }
        let earlier = drive.timer.take();
        drive.timer = at.map(|at| (at, self.timers.insert(at, Timer::Drive(xid.clone()))));
        self.timers.cancel(earlier.map(|(_, timer)| timer));
    }

    pub(super) fn disarm_deadline(&mut self, xid: &Xid) {
        let deadline = self.globals.get_mut(xid).and_then(|e| e.deadline.take());
        self.timers.cancel(deadline);
    }

    /// An RM serves a resource that it did not serve before: whoever waits for it is called soon.
    pub(super) fn wake(&mut self, now: Now, resource_id: &str) {
        if self.calls.wake(resource_id) && !self.calls.waking {
            self.calls.waking = true;
            self.timers.insert(now.instant, Timer::Woken);
        }
    }

    /// Lets some of those go on whose resource came back. True when there are more, for another time: other work has
    /// its turn in between.
    pub(super) fn woken(&mut self, now: Now) -> bool {
        for _ in 0..WOKEN_AT_ONCE {
            let Some((resource, xid)) = self.calls.woken.pop_front() else {
                break;
            };
            // A try that failed meanwhile may have put it in line again.
            self.calls.wait_no_more(&resource, &xid);
            if let Some(drive) = self.drive(&xid) {
                for i in 0..drive.steps.len() {
                    let step = &mut drive.steps[i];
                    if step.waits && step.resource_id == resource {
                        step.waits = false;
                        if let State::Due(_) = step.state {
                            drive.set_state(i, State::Due(now.instant));
                        }
                    }
                }
                self.run(now, &xid);
            }
        }
        self.calls.waking = !self.calls.woken.is_empty();
        if self.calls.waking {
            self.timers.insert(now.instant, Timer::Woken);
        }
        self.calls.waking
    }

    /// Old undo logs may go: one RM of each resource that has any is told.
    pub(super) fn announce_undo_logs(&mut self, now: Now) {
        let next = now.instant + self.config.undo_log_period;
        self.timers.insert(next, Timer::UndoLogs);
        for (resource_id, channel) in self.roster.undo_log_channels() {
            let message = Message::UndoLogDelete(UndoLogDelete {
                branch_type: BranchType::At,
                resource_id,
                save_days: self.config.undo_log_days,
            });
            self.tell(channel, message);
        }
    }
}

/// The request to an RM.
fn branch_message(drive: &Drive, step: usize) -> Message {
    let step = &drive.steps[step];
    let application_data = match drive.global.saga {
        true => Text::from_static(drive.global.status.name()),
        false => step.application_data.clone(),
    };
    let end = BranchEnd {
        xid: drive.global.xid.as_text().clone(),
        branch_id: step.branch_id.0,
        branch_type: step.branch_type,
        resource_id: step.resource_id.clone(),
        application_data,
    };
    match drive.direction {
        Direction::Commit => Message::BranchCommit(end),
        Direction::Rollback => Message::BranchRollback(end),
    }
}

/// How many transactions go on at once when their resource comes back.
const WOKEN_AT_ONCE: usize = 256;
const ONE_MS: std::time::Duration = std::time::Duration::from_millis(1);
