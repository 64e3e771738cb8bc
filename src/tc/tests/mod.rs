//! The coordinator over the memory store, driven as a server drives it, with a clock that jumps.

mod begin;
mod channels;
mod clock;
mod decisions;
mod failures;
mod load;
mod phase_two;
mod random;
mod restarts;
mod retries;
mod sagas;
mod shared;
mod siblings;
mod timeouts;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::store::{Global, MemoryStore, Operation, Store, StoreLimits};
use super::{
    ChannelId, CloseReason, Coordinator, CoordinatorConfig, CoordinatorStats, Now, Output,
};
use crate::proto::Text;
use crate::proto::codec::Rpc;
use crate::proto::message::*;
use crate::proto::status::*;
use crate::xid::{IdGenerator, Xid};

/// Versions that are told things differently, as they stand in a registration.
const VERSIONS: [&str; 6] = ["", "1.4.2", "1.6.1", "1.7.1", "2.2.0", "2.6.0"];
const START_MS: i64 = 1_700_000_000_000;

/// A coordinator, its store, and everything it has said.
struct World {
    coordinator: Coordinator,
    store: MemoryStore,
    start: Instant,
    elapsed: Duration,
    outputs: VecDeque<Output>,
    channels: u64,
    requests: i32,
    /// Added to the wall clock.
    wall_ahead_ms: i64,
    /// Operations that the store is to refuse, by their name.
    failing: Option<fn(&Operation) -> bool>,
    /// The store answers nothing for the time being.
    asleep: bool,
    /// The store's disk takes its time: nothing becomes durable.
    unsynced: bool,
    /// Operations in the order they were submitted.
    log: Vec<Operation>,
}

/// A call to an RM: the id of the request and what it asks.
#[derive(Clone, Debug, PartialEq)]
struct Called {
    to: ChannelId,
    id: i32,
    commit: bool,
    end: BranchEnd,
}

impl World {
    fn new() -> Self {
        Self::with(CoordinatorConfig::default())
    }

    fn with(config: CoordinatorConfig) -> Self {
        Self::over(config, MemoryStore::new(StoreLimits::default()))
    }

    /// A coordinator that starts over a store with something in it.
    fn over(config: CoordinatorConfig, store: MemoryStore) -> Self {
        Self::later(config, store, Duration::ZERO)
    }

    /// A coordinator that starts so long after the beginning of the test.
    #[allow(clippy::disallowed_methods)]
    fn later(config: CoordinatorConfig, store: MemoryStore, elapsed: Duration) -> Self {
        let start = Instant::now();
        let mut ids = IdGenerator::new(1, START_MS);
        ids.not_below(store.highest_id());
        let now = Now {
            instant: start + elapsed,
            wall_ms: START_MS + elapsed.as_millis() as i64,
        };
        let mut coordinator = Coordinator::new(config, ids, now);
        store.scan(&mut |global| coordinator.handle_recovered(now, global));
        let mut world = Self {
            coordinator,
            store,
            start,
            elapsed,
            outputs: VecDeque::new(),
            channels: 0,
            requests: 0,
            wall_ahead_ms: 0,
            failing: None,
            asleep: false,
            unsynced: false,
            log: Vec::new(),
        };
        world.pump();
        world
    }

    fn now(&self) -> Now {
        Now {
            instant: self.start + self.elapsed,
            wall_ms: START_MS + self.wall_ahead_ms + self.elapsed.as_millis() as i64,
        }
    }

    /// Carries out what the coordinator asks of the store and collects what it says.
    fn pump(&mut self) {
        let now = self.now();
        while !self.asleep
            && let Some((ticket, operation)) = self.coordinator.poll_operation()
        {
            self.log.push(operation.clone());
            if self.failing.is_some_and(|failing| failing(&operation)) {
                self.coordinator.handle_completion(
                    now,
                    super::store::Completion {
                        ticket,
                        outcome: super::store::Outcome::Failed("disk full".to_owned()),
                        after: super::store::Seq(0),
                    },
                );
                continue;
            }
            self.store.submit(ticket, operation);
            while let Some(completion) = self.store.poll_completion() {
                self.coordinator.handle_completion(now, completion);
            }
        }
        self.store.flush();
        if !self.unsynced {
            self.coordinator.handle_durable(self.store.durable());
        }
        while let Some(output) = self.coordinator.poll_output() {
            self.outputs.push_back(output);
        }
        self.check();
    }

    /// What must hold at every moment.
    fn check(&self) {
        let s = self.coordinator.stats();
        if s.live < 30 {
            self.coordinator.audit().unwrap();
        }
        if !self.asleep && !self.coordinator.config.shared {
            assert_eq!(s.live, self.store.stats().globals);
        }
    }

    /// Lets time pass, stopping at every deadline.
    fn advance(&mut self, time: Duration) {
        let target = self.elapsed + time;
        while let Some(next) = self.coordinator.next_deadline() {
            let next = next.saturating_duration_since(self.start);
            if next > target {
                break;
            }
            self.elapsed = self.elapsed.max(next);
            let now = self.now();
            self.coordinator.handle_timeout(now);
            self.pump();
        }
        self.elapsed = target;
    }

    fn connect(&mut self, ip: &str, port: u16) -> ChannelId {
        self.channels += 1;
        let channel = ChannelId(self.channels);
        let peer = SocketAddr::new(ip.parse().unwrap(), port);
        let now = self.now();
        self.coordinator.handle_open(now, channel, peer);
        channel
    }

    /// A connection registered as TM.
    fn tm(&mut self, application: &str, version: &str) -> ChannelId {
        let channel = self.connect("10.0.0.1", 1000 + self.channels as u16);
        self.register_tm(channel, application, version);
        channel
    }

    fn register_tm(&mut self, channel: ChannelId, application: &str, version: &str) {
        let request = Message::RegisterTm(RegisterTm {
            version: version.into(),
            application_id: application.into(),
            transaction_service_group: "group".into(),
            extra_data: Text::new(),
        });
        match self.ask(channel, request) {
            Message::RegisterTmResponse(r) => assert!(r.identified && !r.version.is_empty()),
            other => panic!("{other:?}"),
        }
    }

    /// A connection registered as RM.
    fn rm(&mut self, application: &str, resources: &str) -> ChannelId {
        self.rm_at("10.0.0.2", application, resources)
    }

    fn rm_at(&mut self, ip: &str, application: &str, resources: &str) -> ChannelId {
        let channel = self.connect(ip, 2000 + self.channels as u16);
        self.register_rm(channel, application, resources);
        channel
    }

    fn register_rm(&mut self, channel: ChannelId, application: &str, resources: &str) {
        let request = Message::RegisterRm(RegisterRm {
            version: "2.2.0".into(),
            application_id: application.into(),
            transaction_service_group: "group".into(),
            extra_data: Text::new(),
            resource_ids: resources.into(),
        });
        match self.ask(channel, request) {
            Message::RegisterRmResponse(r) => assert!(r.identified && !r.version.is_empty()),
            other => panic!("{other:?}"),
        }
        // Whoever waited for the resource is called now.
        self.advance(Duration::from_millis(1));
    }

    fn close(&mut self, channel: ChannelId) {
        let now = self.now();
        self.coordinator.handle_closed(now, channel);
        self.pump();
    }

    fn deliver(&mut self, channel: ChannelId, rpc: Rpc) {
        let now = self.now();
        self.coordinator.handle_message(now, channel, rpc);
        self.pump();
    }

    /// Sends a request and gives its id.
    fn send(&mut self, channel: ChannelId, message: Message) -> i32 {
        self.requests += 1;
        self.deliver(channel, Rpc::request(self.requests, message));
        self.requests
    }

    /// The answer to a request, if there is one.
    fn answer(&mut self, channel: ChannelId, id: i32) -> Option<Message> {
        let fits = |output: &Output| match output {
            Output::Send { to, rpc, .. } => *to == channel && rpc.id == id,
            Output::Close { .. } => false,
        };
        let place = self.outputs.iter().position(fits)?;
        match self.outputs.remove(place)? {
            Output::Send { rpc, .. } => Some(rpc.message),
            Output::Close { .. } => None,
        }
    }

    /// Sends a request and takes its answer, which has to come at once.
    fn ask(&mut self, channel: ChannelId, message: Message) -> Message {
        let id = self.send(channel, message.clone());
        self.answer(channel, id)
            .unwrap_or_else(|| panic!("no answer to {message:?}"))
    }

    fn begin(&mut self, channel: ChannelId) -> Text {
        self.begin_with(channel, "name", 60_000)
    }

    fn begin_with(&mut self, channel: ChannelId, name: &str, timeout_ms: i32) -> Text {
        let request = Message::GlobalBegin(GlobalBegin {
            timeout_ms,
            transaction_name: name.into(),
        });
        match self.ask(channel, request) {
            Message::GlobalBeginResponse(r) if r.result == TxResult::Success => r.xid,
            other => panic!("{other:?}"),
        }
    }

    /// Registers a branch; panics when it is refused.
    fn register(&mut self, channel: ChannelId, request: BranchRegister) -> i64 {
        match self.try_register(channel, request) {
            Ok(branch) => branch,
            Err((code, text)) => panic!("{code:?}: {text}"),
        }
    }

    fn try_register(
        &mut self,
        channel: ChannelId,
        request: BranchRegister,
    ) -> Result<i64, (ExceptionCode, Text)> {
        match self.ask(channel, Message::BranchRegister(request)) {
            Message::BranchRegisterResponse(r) => match r.result {
                TxResult::Success => Ok(r.branch_id),
                TxResult::Failed { code, message } => {
                    assert_eq!(r.branch_id, 0);
                    Err((code, message))
                }
            },
            other => panic!("{other:?}"),
        }
    }

    fn report(
        &mut self,
        channel: ChannelId,
        xid: &Text,
        branch_id: i64,
        status: BranchStatus,
        data: &str,
    ) -> Result<(), ExceptionCode> {
        let request = Message::BranchReport(BranchReport {
            xid: xid.clone(),
            branch_id,
            status,
            resource_id: "r".into(),
            application_data: data.into(),
            branch_type: BranchType::At,
        });
        match self.ask(channel, request) {
            Message::BranchReportResponse(r) => match r.result {
                TxResult::Success => Ok(()),
                TxResult::Failed { code, .. } => Err(code),
            },
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, channel: ChannelId, xid: &Text) -> GlobalStatus {
        told(self.ask(channel, Message::GlobalCommit(end(xid))))
    }

    fn rollback(&mut self, channel: ChannelId, xid: &Text) -> GlobalStatus {
        told(self.ask(channel, Message::GlobalRollback(end(xid))))
    }

    fn status(&mut self, channel: ChannelId, xid: &Text) -> GlobalStatus {
        told(self.ask(channel, Message::GlobalStatus(end(xid))))
    }

    /// The calls that went to RMs since the last time, in their order.
    fn calls(&mut self) -> Vec<Called> {
        let (calls, rest) = std::mem::take(&mut self.outputs)
            .into_iter()
            .partition::<Vec<_>, _>(|output| called(output).is_some());
        self.outputs = rest.into();
        calls.iter().filter_map(called).collect()
    }

    /// The only call that went out since the last time.
    fn call(&mut self) -> Called {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// Sends a commit and gives the id of the request: the answer may come later.
    fn start_commit(&mut self, channel: ChannelId, xid: &Text) -> i32 {
        self.send(channel, Message::GlobalCommit(end(xid)))
    }

    fn start_rollback(&mut self, channel: ChannelId, xid: &Text) -> i32 {
        self.send(channel, Message::GlobalRollback(end(xid)))
    }

    /// The successful answer to a request that waited, if there is one by now.
    fn told(&mut self, channel: ChannelId, id: i32) -> Option<GlobalStatus> {
        self.answer(channel, id).map(told)
    }

    /// The status in a failed answer with code Unknown.
    fn told_failed(&mut self, channel: ChannelId, id: i32) -> GlobalStatus {
        match self.answer(channel, id).map(outcome) {
            Some((TxResult::Failed { code, message }, status)) => {
                assert_eq!(code, ExceptionCode::Unknown);
                assert!(message.starts_with("TransactionException["), "{message}");
                status
            }
            other => panic!("{other:?}"),
        }
    }

    /// An RM answers a call.
    fn reply(&mut self, call: &Called, status: BranchStatus) {
        self.reply_on(call.to, call, status);
    }

    fn reply_on(&mut self, channel: ChannelId, call: &Called, branch_status: BranchStatus) {
        let response = BranchEndResponse {
            result: TxResult::Success,
            xid: call.end.xid.clone(),
            branch_id: call.end.branch_id,
            branch_status,
        };
        let message = match call.commit {
            true => Message::BranchCommitResponse(response),
            false => Message::BranchRollbackResponse(response),
        };
        let mut rpc = Rpc::request(call.id, message);
        rpc.kind = crate::proto::frame::MessageKind::Response;
        self.deliver(channel, rpc);
    }

    /// Answers every call with success until there are none, and gives them in their order.
    fn reply_all(&mut self) -> Vec<Called> {
        let mut all = Vec::new();
        loop {
            let calls = self.calls();
            if calls.is_empty() {
                return all;
            }
            for call in calls {
                let status = match call.commit {
                    true => BranchStatus::PhaseTwoCommitted,
                    false => BranchStatus::PhaseTwoRollbacked,
                };
                self.reply(&call, status);
                all.push(call);
            }
        }
    }

    fn closed(&mut self) -> Vec<(ChannelId, CloseReason)> {
        let closes = |output: &Output| match output {
            Output::Close { channel, reason } => Some((*channel, *reason)),
            Output::Send { .. } => None,
        };
        let closed = self.outputs.iter().filter_map(closes).collect();
        self.outputs.retain(|output| closes(output).is_none());
        closed
    }

    fn stored(&self, xid: &Text) -> Option<Global> {
        let mut found = None;
        self.store.scan(&mut |global| {
            if global.xid.as_text() == xid {
                found = Some(global.clone());
            }
        });
        found
    }

    fn stored_status(&self, xid: &Text) -> Option<GlobalStatus> {
        self.stored(xid).map(|global| global.status)
    }

    fn locks(&self) -> usize {
        self.store.stats().locks
    }

    fn stats(&self) -> CoordinatorStats {
        self.coordinator.stats()
    }
}

fn called(output: &Output) -> Option<Called> {
    let Output::Send { to, rpc, .. } = output else {
        return None;
    };
    let (commit, end) = match &rpc.message {
        Message::BranchCommit(end) => (true, end.clone()),
        Message::BranchRollback(end) => (false, end.clone()),
        _ => return None,
    };
    Some(Called {
        to: *to,
        id: rpc.id,
        commit,
        end,
    })
}

fn end(xid: &Text) -> GlobalEnd {
    GlobalEnd {
        xid: xid.clone(),
        extra_data: Text::new(),
    }
}

/// The status of an answer that has to be a success.
fn told(message: Message) -> GlobalStatus {
    match outcome(message) {
        (TxResult::Success, status) => status,
        failed => panic!("{failed:?}"),
    }
}

fn outcome(message: Message) -> (TxResult, GlobalStatus) {
    match message {
        Message::GlobalCommitResponse(r)
        | Message::GlobalRollbackResponse(r)
        | Message::GlobalStatusResponse(r)
        | Message::GlobalReportResponse(r) => (r.result, r.global_status),
        other => panic!("{other:?}"),
    }
}

fn branch(xid: &Text, branch_type: BranchType, resource: &str, lock_key: &str) -> BranchRegister {
    BranchRegister {
        xid: xid.clone(),
        branch_type,
        resource_id: resource.into(),
        lock_key: lock_key.into(),
        application_data: Text::new(),
    }
}

fn at(xid: &Text, resource: &str, lock_key: &str) -> BranchRegister {
    branch(xid, BranchType::At, resource, lock_key)
}

fn tcc(xid: &Text, resource: &str) -> BranchRegister {
    branch(xid, BranchType::Tcc, resource, "")
}

fn parsed(xid: &Text) -> Xid {
    Xid::parse(xid).unwrap()
}
