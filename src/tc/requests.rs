//! Requests of clients: from the message to the store's question, from its outcome to the answer.

use super::admission::{Shown, Topic};
use super::answers::{self, Asked, Refusal, Shape, failed};
use super::application_data;
use super::coordinator::{ChannelId, CloseReason, Coordinator, Now};
use super::global::{Birth, Entry, Pending, Work};
use super::lock;
use super::outbox::Reply;
use super::store::{Global, Operation, Outcome, Seq, Tombstone};
use crate::proto::codec::Rpc;
use crate::proto::message::{
    BranchRegister, BranchReport, GlobalBegin, GlobalEnd, MergeResult, Message, RegisterResponse,
    TxResult,
};
use crate::proto::status::{BranchStatus, BranchType, ExceptionCode, GlobalStatus};
use crate::proto::{HeadMap, Text};
use crate::xid::{BranchId, Xid};

impl Coordinator {
    /// A TM or RM introduces itself, for the first time or again.
    pub(super) fn take_registration(&mut self, now: Now, channel: ChannelId, rpc: &Rpc) {
        let (version, application, group, resources) = match &rpc.message {
            Message::RegisterTm(tm) => (
                &tm.version,
                &tm.application_id,
                &tm.transaction_service_group,
                None,
            ),
            Message::RegisterRm(rm) => (
                &rm.version,
                &rm.application_id,
                &rm.transaction_service_group,
                Some(&rm.resource_ids),
            ),
            _ => return,
        };
        let names = || {
            let listed = resources.into_iter().flat_map(|ids| ids.split(','));
            listed.filter(|id| !id.trim().is_empty())
        };
        let fault = self.registration_fault(channel, application, group, names());
        match &fault {
            None => {
                self.roster.introduce(channel, version, application, group);
                for id in names() {
                    self.serve(now, channel, id);
                }
            }
            Some(reason) => {
                if let Some(skipped) = self.gates.admit(Topic::RegistrationRefused, now.instant) {
                    log::warn!(
                        "channel={} event=registration_refused skipped={skipped} reason={reason}",
                        channel.0
                    );
                }
            }
        }
        let response = RegisterResponse {
            identified: fault.is_none(),
            version: Text::from(self.config.server_version.as_str()),
        };
        let answer = match resources {
            None => Message::RegisterTmResponse(response),
            Some(_) => Message::RegisterRmResponse(response),
        };
        self.send(Seq(0), channel, rpc.reply(answer));
    }

    fn serve(&mut self, now: Now, channel: ChannelId, resource_id: &str) {
        let at = resource_id.starts_with("jdbc:");
        if self.roster.serve(channel, resource_id, at) {
            log::debug!(
                "channel={} event=resource_served resource={}",
                channel.0,
                Shown(resource_id)
            );
            self.wake(now, resource_id);
        }
    }

    /// Several requests in one frame: done in their order, answered as the client's version wants it (wire.md 6.6).
    pub(super) fn take_merged(&mut self, now: Now, channel: ChannelId, rpc: Rpc) {
        let Message::MergedWarp(merged) = &rpc.message else {
            return;
        };
        if !merged.messages.iter().all(Message::is_transaction_request) {
            return self.close(now, channel, CloseReason::BadMerge);
        }
        let count = merged.messages.len();
        if count == 0 {
            let messages = Vec::new();
            let answer = rpc.reply(Message::MergeResult(MergeResult { messages }));
            return self.send(Seq(0), channel, answer);
        }
        let outer = Reply::to(channel, &rpc, now.instant);
        let version = self.reader(&outer).version;
        let Message::MergedWarp(merged) = rpc.message else {
            return;
        };
        let ids = (merged.ids.len() == count).then_some(merged.ids);
        let each = |id: i32, merge| Reply { id, merge, ..outer };
        match ids {
            Some(ids) if version.at_least(2, 3) => {
                for (id, message) in ids.into_iter().zip(merged.messages) {
                    self.take_request(now, each(id, None), message);
                }
            }
            ids => {
                let batch = self.config.batch_responses && version.at_least(1, 5);
                let ids = ids.filter(|_| batch);
                let key = self.outbox.open_merge(count, ids);
                for (place, message) in merged.messages.into_iter().enumerate() {
                    self.take_request(now, each(outer.id, Some((key, place))), message);
                }
            }
        }
    }

    /// One request of a registered client. What is no request is dropped; the connection stays.
    pub(super) fn take_request(&mut self, now: Now, reply: Reply, message: Message) {
        if message.is_transaction_request() {
            self.hold(reply.channel);
        }
        match message {
            Message::GlobalBegin(begin) => self.take_begin(now, reply, begin),
            Message::GlobalCommit(end) => self.take_end(now, reply, Asked::Commit, end),
            Message::GlobalRollback(end) => self.take_end(now, reply, Asked::Rollback, end),
            Message::GlobalStatus(end) => self.take_end(now, reply, Asked::Status, end),
            Message::GlobalReport(report) => match Xid::parse(&report.xid) {
                Some(xid) => self.enqueue(now, &xid, Work::GlobalReport(reply, Box::new(report))),
                None => self.echo(reply, report.global_status, Seq(0)),
            },
            Message::BranchRegister(request) => self.take_register(now, reply, request),
            Message::BranchReport(report) => match Xid::parse(&report.xid) {
                Some(xid) => self.enqueue(now, &xid, report_work(reply, report)),
                None => {
                    let refusal = Refusal::no_global(&report.xid);
                    self.answer_report(reply, Seq(0), Some(refusal));
                }
            },
            Message::GlobalLockQuery(request) => self.take_lock_query(now, reply, request),
            _ => {}
        }
    }

    fn take_begin(&mut self, now: Now, reply: Reply, request: GlobalBegin) {
        if let Some(reason) = self.begin_refusal(reply.channel) {
            return self.refuse_begin(now, reply, ExceptionCode::BeginFailed, &reason);
        }
        let Some(context) = self.roster.context(reply.channel) else {
            return;
        };
        let birth = Birth {
            application_id: context.application_id.clone(),
            transaction_service_group: context.transaction_service_group.clone(),
            name: request.transaction_name,
            timeout_ms: request.timeout_ms,
            begin_ms: now.wall_ms,
        };
        self.beginning += 1;
        self.begin(now, reply, Box::new(birth), 0);
    }

    /// Offers the store a new transaction under the next id.
    pub(super) fn begin(&mut self, now: Now, reply: Reply, birth: Box<Birth>, tries: u32) {
        let xid = Xid::new(&self.config.advertised, self.ids.next_id());
        let entry = Entry {
            busy: true,
            ..Entry::default()
        };
        let earlier = self.globals.insert(xid.clone(), entry);
        // A request for an xid that nobody was told yet may be at the store: it has to stay in order.
        if let Some(earlier) = earlier {
            self.globals.insert(xid, earlier);
            return self.begin(now, reply, birth, tries);
        }
        self.start(now, xid, Work::Begin(reply, birth), tries);
    }

    fn refuse_begin(&mut self, now: Now, reply: Reply, code: ExceptionCode, reason: &str) {
        self.stats.begins_refused += 1;
        if let Some(skipped) = self.gates.admit(Topic::BeginRefused, now.instant) {
            log::warn!("event=begin_refused skipped={skipped} reason={reason}");
        }
        self.answer(reply, Seq(0), answers::begin_refused(code, reason));
    }

    fn take_end(&mut self, now: Now, reply: Reply, asked: Asked, request: GlobalEnd) {
        let Some(xid) = Xid::parse(&request.xid) else {
            return self.answer_ended(reply, asked, None, Seq(0));
        };
        let work = match asked {
            Asked::Commit => Work::Commit(reply),
            Asked::Rollback => Work::Rollback(reply),
            Asked::Status => Work::Status(reply),
        };
        self.enqueue(now, &xid, work);
    }

    fn take_register(&mut self, now: Now, reply: Reply, request: BranchRegister) {
        let Some(xid) = Xid::parse(&request.xid) else {
            let refusal = Refusal::no_global(&request.xid);
            return self.refuse_register(reply, Seq(0), refusal);
        };
        let request = Box::new(request);
        let work = match self.register_fault(&xid, &request) {
            Some(fault) => Work::RegisterBad(reply, request, fault),
            None => {
                let context = self.roster.context(reply.channel);
                let client_id = context.map(|c| c.client_id.clone()).unwrap_or_default();
                Work::Register(reply, request, client_id)
            }
        };
        self.enqueue(now, &xid, work);
    }

    /// What is wrong with a registration whatever the state of its transaction.
    fn register_fault(&self, xid: &Xid, request: &BranchRegister) -> Option<String> {
        let data_max = self.config.application_data_max;
        let branches_max = self.config.branches_per_global_max;
        let data = request.application_data.len();
        if data > data_max {
            return Some(format!(
                "application data of {data} bytes, application_data_max={data_max}"
            ));
        }
        if self
            .globals
            .get(xid)
            .is_some_and(|e| e.branches >= branches_max)
        {
            return Some(format!(
                "limit branches_per_global_max={branches_max} is met"
            ));
        }
        match request.branch_type {
            BranchType::At => lock::parse(&request.lock_key).err().map(|e| e.to_string()),
            _ => None,
        }
    }

    fn take_lock_query(&mut self, now: Now, reply: Reply, request: BranchRegister) {
        if request.branch_type != BranchType::At {
            let answer = answers::lockable(TxResult::Success, true);
            return self.answer(reply, Seq(0), answer);
        }
        if let Err(malformed) = lock::parse(&request.lock_key) {
            let result = failed(ExceptionCode::LockableCheckFailed, &malformed.to_string());
            return self.answer(reply, Seq(0), answers::lockable(result, false));
        }
        match Xid::parse(&request.xid) {
            Some(xid) => self.enqueue(now, &xid, Work::LockQuery(reply, Box::new(request))),
            None => {
                let operation = Operation::QueryLocks {
                    xid: request.xid,
                    resource_id: request.resource_id,
                    lock_key: request.lock_key,
                    now_ms: now.wall_ms,
                };
                self.submit(Pending::LockQuery(reply), operation);
            }
        }
    }

    /// The store's outcome of a piece of work on an xid. Gives what has to follow before anything else on it.
    pub(super) fn conclude(
        &mut self,
        now: Now,
        xid: &Xid,
        work: Work,
        branch_id: BranchId,
        outcome: Outcome,
        after: Seq,
    ) -> Option<Work> {
        match work {
            Work::Begin(reply, global) => {
                self.conclude_begin(now, xid, reply, &global, outcome, after);
            }
            Work::Commit(reply) => {
                self.conclude_end(now, xid, reply, Asked::Commit, outcome, after);
            }
            Work::Rollback(reply) => {
                self.conclude_end(now, xid, reply, Asked::Rollback, outcome, after);
            }
            Work::Status(reply) => self.conclude_status(xid, reply, outcome, after),
            Work::Register(reply, request, _) => {
                self.conclude_register(now, xid, reply, &request, branch_id, outcome, after);
            }
            Work::RegisterBad(reply, request, fault) => {
                self.conclude_register_bad(xid, reply, &request, fault, outcome, after);
            }
            Work::Report(reply, report) => {
                self.conclude_report(now, xid, reply, &report, outcome, after);
            }
            Work::ReportOdd(reply, report) => {
                return self.conclude_report_odd(now, xid, reply, report, outcome, after);
            }
            Work::LockQuery(reply, _) => self.conclude_lock_query(reply, outcome, after),
            Work::GlobalReport(reply, report) => {
                return self.conclude_global_report(now, xid, reply, &report, outcome, after);
            }
            Work::SagaSet(reply, to, global) => {
                self.conclude_saga_set(now, xid, reply, to, *global, outcome, after);
            }
            Work::SagaEnd(reply, end) => {
                self.conclude_saga_end(now, xid, reply, end, outcome, after);
            }
            Work::Timeout => self.conclude_timeout(now, xid, outcome, after),
            Work::EndBranch(branch) => self.conclude_end_branch(now, xid, branch, outcome, after),
            Work::SetStatus { to, unreachable } => {
                self.conclude_set_status(now, xid, to, unreachable, outcome, after);
            }
            Work::Finish(_) => self.conclude_finish(now, xid, outcome, after),
            Work::ReleaseLocks => self.conclude_release(xid, &outcome),
            Work::Offer(resource_id) => self.conclude_offer(now, xid, &resource_id, outcome, after),
            Work::Adopt(claim) => self.conclude_adopt(now, xid, claim, outcome),
        }
        None
    }

    fn conclude_begin(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        birth: &Birth,
        outcome: Outcome,
        after: Seq,
    ) {
        self.beginning -= 1;
        let code = match &outcome {
            Outcome::Done => {
                self.stats.begun += 1;
                self.note_status(xid, Some(GlobalStatus::Begin));
                self.arm_deadline(now, xid, birth.begin_ms, birth.timeout_ms);
                log::debug!("xid={xid} event=begun timeout_ms={}", birth.timeout_ms);
                return self.answer(reply, after, answers::begun(xid.as_text().clone()));
            }
            Outcome::Limit(_) => ExceptionCode::BeginFailed,
            _ => ExceptionCode::FailedStore,
        };
        self.refuse_begin(now, reply, code, &reason(&outcome));
    }

    fn conclude_end(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        asked: Asked,
        outcome: Outcome,
        after: Seq,
    ) {
        match outcome {
            Outcome::Decided(global) => {
                match asked {
                    Asked::Commit => self.stats.commits_decided += 1,
                    _ => self.stats.rollbacks_decided += 1,
                }
                self.decided(now, xid, global, after, Some((reply, asked)));
            }
            Outcome::Finished(tombstone) => {
                match asked {
                    Asked::Commit => self.stats.commits_decided += 1,
                    _ => self.stats.rollbacks_decided += 1,
                }
                let told = self.reader(&reply).driven_to(asked, tombstone.end);
                self.ended(now, xid, tombstone.end, after);
                self.answer_global(reply, asked.into(), after, told);
            }
            // To a commit, Begin would read as success; no store answers it.
            Outcome::Status(status) if status != GlobalStatus::Begin => {
                self.answer_live(reply, asked, status, after);
            }
            Outcome::Ended(tombstone) => self.answer_ended(reply, asked, Some(tombstone), after),
            Outcome::Unknown => self.answer_ended(reply, asked, None, after),
            outcome => {
                if let Some(skipped) = self.gates.admit(Topic::Undecidable, now.instant) {
                    let reason = reason(&outcome);
                    log::error!(
                        "xid={} event=undecidable skipped={skipped} reason={reason}",
                        Shown(xid.as_text())
                    );
                }
                self.abandon(now, reply);
            }
        }
    }

    fn conclude_status(&mut self, xid: &Xid, reply: Reply, outcome: Outcome, after: Seq) {
        match outcome {
            Outcome::Status(status) => self.answer_live(reply, Asked::Status, status, after),
            Outcome::Ended(tombstone) => {
                self.answer_ended(reply, Asked::Status, Some(tombstone), after);
            }
            Outcome::Unknown => self.answer_ended(reply, Asked::Status, None, after),
            outcome => {
                let refusal = Refusal::store("globalStatus", xid.as_text(), &reason(&outcome));
                let result = failed(refusal.code, &refusal.text);
                let answer = answers::global(Shape::Status, result, GlobalStatus::Unknown);
                self.answer(reply, Seq(0), answer);
            }
        }
    }

    #[expect(clippy::too_many_arguments)]
    fn conclude_register(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        request: &BranchRegister,
        branch_id: BranchId,
        outcome: Outcome,
        after: Seq,
    ) {
        let refusal = match outcome {
            Outcome::Done => {
                self.stats.branches_registered += 1;
                if let Some(entry) = self.globals.get_mut(xid) {
                    entry.branches += 1;
                }
                if request.branch_type == BranchType::At {
                    self.roster.mark_at(&request.resource_id);
                }
                log::debug!("xid={xid} branch={branch_id} event=registered");
                return self.answer(reply, after, answers::registered(branch_id));
            }
            Outcome::Conflict(held) => {
                let fast =
                    held.rolling_back && !application_data::auto_commit(&request.application_data);
                self.stats.conflicts += 1;
                self.stats.conflicts_fail_fast += u64::from(fast);
                if let Some(skipped) = self.gates.admit(Topic::Conflict, now.instant) {
                    log::info!(
                        "xid={xid} event=lock_conflict row={} holder={} holder_branch={} \
                         since_ms={} fail_fast={fast} skipped={skipped}",
                        Shown(&held.row),
                        held.xid,
                        held.branch_id,
                        held.since_ms
                    );
                }
                let refusal = Refusal::conflict(xid.as_text(), branch_id, &held, fast);
                return self.answer(reply, after, answers::register_refused(refusal));
            }
            Outcome::Limit(name) => Refusal::new(
                ExceptionCode::FailedToAddBranch,
                format!("limit of {name} is met, xid = {xid}"),
            ),
            outcome => register_refusal(xid, &outcome),
        };
        self.refuse_register(reply, after, refusal);
    }

    fn conclude_register_bad(
        &mut self,
        xid: &Xid,
        reply: Reply,
        request: &BranchRegister,
        fault: String,
        outcome: Outcome,
        after: Seq,
    ) {
        let refusal = match outcome {
            Outcome::Found(global) if takes_branch(&global, request.branch_type) => {
                Refusal::new(ExceptionCode::FailedToAddBranch, fault)
            }
            Outcome::Found(global) => register_refusal(xid, &Outcome::Status(global.status)),
            outcome => register_refusal(xid, &outcome),
        };
        self.refuse_register(reply, after, refusal);
    }

    fn refuse_register(&mut self, reply: Reply, after: Seq, refusal: Refusal) {
        self.stats.branches_refused += 1;
        self.answer(reply, after, answers::register_refused(refusal));
    }

    fn conclude_report(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        report: &BranchReport,
        outcome: Outcome,
        after: Seq,
    ) {
        let refusal = match outcome {
            Outcome::Done => None,
            Outcome::Status(GlobalStatus::Finished) | Outcome::Ended(_) | Outcome::Unknown => {
                Some(Refusal::no_global(xid.as_text()))
            }
            Outcome::Status(status) => {
                self.ignore_report(now, xid, report, status);
                None
            }
            Outcome::NoBranch => Some(Refusal::no_branch(xid.as_text(), report.branch_id)),
            Outcome::Limit(name) => Some(Refusal::new(
                ExceptionCode::BranchReportFailed,
                format!("limit of {name} is met, xid = {xid}"),
            )),
            outcome => {
                let reason = reason(&outcome);
                Some(Refusal::store("branchReport", xid.as_text(), &reason))
            }
        };
        self.answer_report(reply, after, refusal);
    }

    fn conclude_report_odd(
        &mut self,
        now: Now,
        xid: &Xid,
        reply: Reply,
        report: Box<BranchReport>,
        outcome: Outcome,
        after: Seq,
    ) -> Option<Work> {
        let outcome = match outcome {
            Outcome::Found(global) => match global.branches.first().map(|b| b.branch_type) {
                Some(BranchType::Saga) => return Some(Work::Report(reply, report)),
                Some(_) => Outcome::Status(global.status),
                None => Outcome::NoBranch,
            },
            outcome => outcome,
        };
        self.conclude_report(now, xid, reply, &report, outcome, after);
        None
    }

    fn ignore_report(&mut self, now: Now, xid: &Xid, report: &BranchReport, status: GlobalStatus) {
        self.stats.reports_ignored += 1;
        if let Some(skipped) = self.gates.admit(Topic::ReportIgnored, now.instant) {
            log::info!(
                "xid={xid} branch={} event=report_ignored reported={} status={status} \
                 skipped={skipped}",
                report.branch_id,
                report.status
            );
        }
    }

    pub(super) fn conclude_lock_query(&mut self, reply: Reply, outcome: Outcome, after: Seq) {
        let answer = match outcome {
            Outcome::Done => answers::lockable(TxResult::Success, true),
            Outcome::Conflict(_) => {
                self.stats.lock_queries_held += 1;
                answers::lockable(TxResult::Success, false)
            }
            outcome => {
                let refusal = Refusal::store("globalLockQuery", "", &reason(&outcome));
                answers::lockable(failed(refusal.code, &refusal.text), false)
            }
        };
        self.answer(reply, after, answer);
    }

    fn answer_report(&mut self, reply: Reply, after: Seq, refusal: Option<Refusal>) {
        let result = match refusal {
            None => TxResult::Success,
            Some(refusal) => failed(refusal.code, &refusal.text),
        };
        self.answer(reply, after, answers::reported(result));
    }

    /// Answers a report of a SAGA whose transaction is not there.
    pub(super) fn echo(&mut self, reply: Reply, reported: Option<GlobalStatus>, after: Seq) {
        let told = reported.unwrap_or(GlobalStatus::Unknown);
        self.answer_global(reply, Shape::Report, after, told);
    }

    pub(super) fn answer_live(
        &mut self,
        reply: Reply,
        asked: Asked,
        status: GlobalStatus,
        after: Seq,
    ) {
        let told = self.reader(&reply).live(asked, status);
        self.answer_global(reply, asked.into(), after, told);
    }

    pub(super) fn answer_ended(
        &mut self,
        reply: Reply,
        asked: Asked,
        tombstone: Option<Tombstone>,
        after: Seq,
    ) {
        let told = self.reader(&reply).ended(asked, tombstone);
        self.answer_global(reply, asked.into(), after, told);
    }

    pub(super) fn answer_global(
        &mut self,
        reply: Reply,
        shape: Shape,
        after: Seq,
        told: GlobalStatus,
    ) {
        let answer = answers::global(shape, TxResult::Success, told);
        self.answer(reply, after, answer);
    }

    /// Tells an RM something it does not answer.
    pub(super) fn tell(&mut self, to: ChannelId, message: Message) {
        let id = self.calls.next_id();
        let rpc = Rpc {
            head_map: HeadMap::new(),
            ..Rpc::one_way(id, message)
        };
        self.send(Seq(0), to, rpc);
    }
}

/// Statuses of phase one are stored; others only where they mean something, in a SAGA.
fn report_work(reply: Reply, report: BranchReport) -> Work {
    use BranchStatus::*;
    let report = Box::new(report);
    match report.status {
        Registered
        | PhaseOneDone
        | PhaseOneFailed
        | PhaseOneTimeout
        | PhaseOneRdonly
        | PhaseOnePrepareFailed => Work::Report(reply, report),
        _ => Work::ReportOdd(reply, report),
    }
}

/// Whether a branch of this type could be registered now.
fn takes_branch(global: &Global, branch_type: BranchType) -> bool {
    use GlobalStatus::*;
    match global.status {
        Begin => true,
        Committed | Rollbacked | TimeoutRollbacked | Finished | Deleting => false,
        _ => global.saga && branch_type == BranchType::Saga,
    }
}

fn register_refusal(xid: &Xid, outcome: &Outcome) -> Refusal {
    let text = xid.as_text();
    match outcome {
        Outcome::Status(GlobalStatus::Finished) | Outcome::Ended(_) | Outcome::Unknown => {
            Refusal::no_global(text)
        }
        Outcome::Status(status) => Refusal::not_begin(text, *status),
        outcome => Refusal::store("branchRegister", text, &reason(outcome)),
    }
}

/// Why the store did not do what was asked, in words.
pub(super) fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(reason) => reason.clone(),
        Outcome::Limit(name) => format!("limit of {name} is met"),
        outcome => format!("unexpected outcome of the store: {outcome:?}"),
    }
}
