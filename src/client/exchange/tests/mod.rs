//! Tests of the exchange: coordinators are scripted, time is a number.

mod connections;
mod forgetting;
mod homes;
mod merging;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::client::ticket::{Ticket, ticket};
use crate::client::{RetryPolicy, Sending, Start};
use crate::proto::frame::MessageKind;
use crate::proto::message::{
    BatchResult, BranchRegister, BranchRegisterResponse, GlobalBegin, GlobalBeginResponse,
    GlobalEnd, GlobalEndResponse, MergeResult, RegisterResponse,
};
use crate::proto::status::{BranchType, GlobalStatus};

const SECOND: Duration = Duration::from_secs(1);

/// An exchange with connections that answer what the test says.
struct World {
    exchange: Exchange,
    now: Instant,
    next_call: u64,
    next_session: u64,
    /// What left and was not looked at yet.
    sent: Vec<(SessionId, Rpc)>,
    aborted: Vec<SessionId>,
    serve: Vec<(SessionId, FrameHead, Asked)>,
    links: Vec<(LinkId, String)>,
    disconnected: Vec<LinkId>,
    sessions: BTreeMap<LinkId, SessionId>,
}

impl World {
    /// Nothing is connected yet.
    fn new(options: ClientOptions, addresses: &[&str]) -> Self {
        let identity = Identity {
            application: "app".into(),
            group: "group".into(),
        };
        let options = ClientOptions { seed: 3, ..options };
        let mut world = Self {
            exchange: Exchange::new(options, identity, Arc::default()),
            now: start(),
            next_call: 0,
            next_session: 0,
            sent: Vec::new(),
            aborted: Vec::new(),
            serve: Vec::new(),
            links: Vec::new(),
            disconnected: Vec::new(),
            sessions: BTreeMap::new(),
        };
        world.set_addresses(addresses);
        world
    }

    /// All connections are registered.
    fn connected(options: ClientOptions, addresses: &[&str]) -> Self {
        let mut world = Self::new(options, addresses);
        for (link, _) in world.links.clone() {
            world.register(link);
        }
        world
    }

    fn set_addresses(&mut self, addresses: &[&str]) {
        let addresses: Vec<String> = addresses.iter().map(|a| (*a).to_owned()).collect();
        self.exchange.handle_addresses(self.now, &addresses);
        self.turn();
    }

    fn turn(&mut self) {
        self.exchange.handle_timeout(self.now);
        self.exchange.flush(self.now);
        while let Some(output) = self.exchange.poll_output() {
            match output {
                Output::Connect { link, address } => self.links.push((link, address)),
                Output::Disconnect { link } => self.disconnected.push(link),
                Output::Send { session, rpc, .. } => self.sent.push((session, rpc)),
                Output::Abort { session } => self.aborted.push(session),
                Output::Answer { sink, answer } => {
                    if let Err(answer) = sink.send(answer) {
                        self.exchange.handle_unclaimed(self.now, answer);
                    }
                }
                Output::Done { sink, result } => drop(sink.send(result)),
                Output::Serve {
                    session,
                    head,
                    asked,
                } => self.serve.push((session, head, asked)),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    /// Lets time pass from deadline to deadline.
    fn pass_stepwise(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.exchange.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.turn();
        }
        self.now = until;
        self.turn();
    }

    /// Opens a connection; its registration is not answered.
    fn open(&mut self, link: LinkId) -> (SessionId, Rpc) {
        self.next_session += 1;
        let session = SessionId::from_u64(self.next_session);
        self.sessions.insert(link, session);
        self.exchange
            .handle_open(self.now, link, session, "extra".into());
        self.turn();
        let (to, registration) = self.sent.pop().expect("a registration");
        assert_eq!(to, session);
        (session, registration)
    }

    fn register(&mut self, link: LinkId) -> SessionId {
        let (session, registration) = self.open(link);
        self.answer_registration(session, &registration, true);
        session
    }

    fn answer_registration(&mut self, session: SessionId, registration: &Rpc, identified: bool) {
        let response = RegisterResponse {
            identified,
            version: "2.3.0".into(),
        };
        let message = match registration.message {
            Message::RegisterTm(_) => Message::RegisterTmResponse(response),
            _ => Message::RegisterRmResponse(response),
        };
        self.receive(session, registration.id, message);
    }

    fn close(&mut self, link: LinkId) {
        let session = self.sessions.remove(&link).expect("it is open");
        self.exchange
            .handle_closed(self.now, session, "closed by peer");
        self.turn();
    }

    fn receive(&mut self, session: SessionId, id: i32, message: Message) {
        let head = FrameHead {
            kind: MessageKind::Response,
            serializer: 1,
            compressor: 0,
            id,
            head_map: Default::default(),
        };
        self.exchange
            .handle_message(self.now, session, head, message);
        self.turn();
    }

    fn ask(&mut self, request: Request) -> (CallId, Ticket<Answer>) {
        let asked = self.post(request);
        self.turn();
        asked
    }

    /// Asks without letting anything leave yet.
    fn post(&mut self, request: Request) -> (CallId, Ticket<Answer>) {
        self.next_call += 1;
        let (sink, ticket) = ticket();
        let id = CallId(self.next_call);
        self.exchange
            .handle_request(self.now, id, request, Some(sink));
        (id, ticket)
    }

    fn forget(&mut self, id: CallId) {
        self.exchange.handle_forget(self.now, id);
        self.turn();
    }

    fn take_sent(&mut self) -> Vec<(SessionId, Rpc)> {
        std::mem::take(&mut self.sent)
    }

    /// The one message that left.
    fn only_sent(&mut self) -> (SessionId, Rpc) {
        let mut sent = self.take_sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.pop().expect("one")
    }

    fn link(&self, role: Role, address: &str) -> LinkId {
        let roster = &self.exchange.roster;
        let of_role = |link: LinkId| roster.is_wanted(link) && roster.link(link).role == role;
        let found = self.links.iter().find(|(l, a)| a == address && of_role(*l));
        found.expect("a link").0
    }

    /// Nothing is left behind.
    fn assert_empty(&self) {
        assert!(self.exchange.calls.is_empty());
        assert!(self.exchange.by_message.is_empty());
        assert_eq!(self.exchange.merges.len(), 0);
        let of_calls = |timer: &&(Instant, Timer)| matches!(timer.1, Timer::Call(_));
        assert_eq!(self.exchange.timers.iter().filter(of_calls).count(), 0);
        for link in self.exchange.roster.ids() {
            let link = self.exchange.roster.link(link);
            assert_eq!((link.active, link.waiting.len()), (0, 0));
        }
    }
}

#[allow(clippy::disallowed_methods)] // any instant will do
fn start() -> Instant {
    Instant::now()
}

fn begin() -> Request {
    Request {
        role: Role::Tm,
        message: Message::GlobalBegin(GlobalBegin {
            timeout_ms: 60_000,
            transaction_name: "a".into(),
        }),
        attempt: 30 * SECOND,
        retry: RetryPolicy::once(30 * SECOND),
        not_after: None,
    }
}

fn begun(xid: &str) -> Message {
    Message::GlobalBeginResponse(GlobalBeginResponse {
        result: TxResult::Success,
        xid: xid.into(),
        extra_data: Text::new(),
    })
}

fn commit(xid: &str) -> Request {
    Request {
        message: Message::GlobalCommit(GlobalEnd {
            xid: xid.into(),
            extra_data: Text::new(),
        }),
        retry: ClientOptions::default().commit_retry,
        ..begin()
    }
}

fn ended(result: TxResult, status: GlobalStatus) -> GlobalEndResponse {
    GlobalEndResponse {
        result,
        global_status: status,
    }
}

fn committed() -> Message {
    Message::GlobalCommitResponse(ended(TxResult::Success, GlobalStatus::Committed))
}

fn branch(xid: &str, lock_key: &str) -> Request {
    Request {
        role: Role::Rm,
        message: Message::BranchRegister(BranchRegister {
            xid: xid.into(),
            branch_type: BranchType::At,
            resource_id: "db".into(),
            lock_key: lock_key.into(),
            application_data: Text::new(),
        }),
        ..begin()
    }
}

fn registered(branch_id: i64) -> Message {
    Message::BranchRegisterResponse(BranchRegisterResponse {
        result: TxResult::Success,
        branch_id,
    })
}

fn branch_of(answer: Option<Answer>) -> i64 {
    match answer {
        Some(Ok(Reply {
            message: Message::BranchRegisterResponse(response),
            ..
        })) => response.branch_id,
        other => panic!("{other:?}"),
    }
}

fn is_rollback_of(rpc: &Rpc, xid: &str) -> bool {
    matches!(&rpc.message, Message::GlobalRollback(end) if end.xid == xid)
}

const HERE: &str = "10.0.0.1:8091";
const THERE: &str = "10.0.0.2:8091";

#[test]
fn a_request_is_answered_once_with_its_answer() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(begin());
    let (session, rpc) = world.only_sent();
    assert_eq!(rpc.kind, MessageKind::Request);
    assert!(answer.try_take().is_none());
    world.receive(session, rpc.id, begun("10.0.0.1:8091:1"));
    assert!(answer.try_take().expect("an answer").is_ok());
    world.receive(session, rpc.id, begun("10.0.0.1:8091:2"));
    assert_eq!(world.exchange.counters.snapshot().late_answers, 1);
    world.assert_empty();
}

#[test]
fn what_is_under_way_on_a_lost_connection_fails_at_once() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(begin());
    world.take_sent();
    let tm = world.link(Role::Tm, HERE);
    world.close(tm);
    let error = answer.try_take().expect("at once").expect_err("lost");
    assert!(error.is_retryable() && error.is_unknown(), "{error:?}");
    world.assert_empty();
}

#[test]
fn a_commit_on_a_lost_connection_is_asked_again_over_the_next_one() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(commit("10.0.0.1:8091:1"));
    let (old, first) = world.only_sent();
    let tm = world.link(Role::Tm, HERE);
    world.close(tm);
    assert!(answer.try_take().is_none(), "it is tried again");
    world.pass_stepwise(SECOND);
    assert!(world.take_sent().is_empty(), "there is no connection");
    let new = world.register(tm);
    let (session, again) = world.only_sent();
    assert_eq!(session, new);
    // An answer of the old connection is not taken for one of the new.
    world.receive(old, again.id, committed());
    assert!(answer.try_take().is_none());
    assert_ne!(first.id, again.id);
    world.receive(new, again.id, committed());
    assert!(answer.try_take().expect("an answer").is_ok());
    world.assert_empty();
}

#[test]
fn an_answer_over_another_connection_is_not_taken() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(begin());
    let (session, rpc) = world.only_sent();
    let rm = world.sessions[&world.link(Role::Rm, HERE)];
    world.receive(rm, rpc.id, begun("10.0.0.1:8091:1"));
    assert!(answer.try_take().is_none());
    world.receive(session, rpc.id, begun("10.0.0.1:8091:1"));
    assert!(answer.try_take().expect("an answer").is_ok());
}

#[test]
fn an_answer_of_the_wrong_type_is_an_error() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(begin());
    let (session, rpc) = world.only_sent();
    world.receive(session, rpc.id, committed());
    let error = answer.try_take().expect("an answer").expect_err("wrong");
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    world.assert_empty();
}

#[test]
fn many_timeouts_leave_nothing_behind() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let mut ids = Vec::new();
    for _ in 0..50 {
        for _ in 0..2_000 {
            world.post(begin());
        }
        world.turn();
        for (session, rpc) in world.take_sent() {
            if matches!(rpc.message, Message::GlobalBegin(_)) {
                ids.push((session, rpc.id));
            }
        }
        world.pass(31 * SECOND);
        world.assert_empty();
    }
    assert_eq!(ids.len(), 100_000);
    assert_eq!(world.exchange.counters.snapshot().timeouts, 100_000);
    for (session, id) in ids {
        world.receive(session, id, begun("10.0.0.1:8091:1"));
    }
    world.assert_empty();
}

#[test]
fn retries_end_with_their_attempts_and_with_their_time() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(commit("10.0.0.1:8091:1"));
    let began = world.now;
    while answer.try_take().is_none() {
        let at = world.exchange.next_deadline().expect("something is due");
        world.now = at;
        world.turn();
        assert!(world.now <= began + 61 * SECOND, "beyond its time");
    }
    // Two attempts of 30 s are all that fits.
    let commits = world.take_sent();
    let commits = commits
        .iter()
        .filter(|(_, rpc)| matches!(rpc.message, Message::GlobalCommit(_)));
    assert_eq!(commits.count(), 2);
    world.assert_empty();
}

#[test]
fn a_failure_without_a_decision_is_asked_again_and_told_in_the_end() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(commit("10.0.0.1:8091:1"));
    let failed = TxResult::Failed {
        code: ExceptionCode::FailedStore,
        message: "disk".into(),
    };
    let mut attempts = 0;
    let told = loop {
        for (session, rpc) in world.take_sent() {
            if matches!(rpc.message, Message::GlobalCommit(_)) {
                attempts += 1;
                let open = ended(failed.clone(), GlobalStatus::Begin);
                world.receive(session, rpc.id, Message::GlobalCommitResponse(open));
            }
        }
        if let Some(told) = answer.try_take() {
            break told.expect("the last answer");
        }
        world.pass(SECOND);
    };
    assert_eq!(attempts, 5);
    assert!(matches!(told.message, Message::GlobalCommitResponse(_)));
}

#[test]
fn requests_wait_for_a_connection_for_a_while() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let (_, mut early) = world.ask(begin());
    let (_, mut late) = world.ask(begin());
    world.pass(SECOND);
    let tm = world.link(Role::Tm, HERE);
    let session = world.register(tm);
    let sent = world.take_sent();
    assert_eq!(sent.len(), 2);
    world.receive(session, sent[0].1.id, begun("10.0.0.1:8091:1"));
    assert!(early.try_take().expect("an answer").is_ok());
    world.close(tm);
    assert!(late.try_take().expect("lost").is_err());
    let (_, mut answer) = world.ask(begin());
    world.pass(2 * SECOND);
    assert!(answer.try_take().is_none());
    world.pass(SECOND);
    let error = answer.try_take().expect("given up").expect_err("nobody");
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(error.is_retryable() && !error.is_unknown());
    world.assert_empty();
}

#[test]
fn once_an_attempt_has_left_nothing_is_certain_any_more() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(commit("10.0.0.1:8091:1"));
    let tm = world.link(Role::Tm, HERE);
    world.close(tm);
    let (_, mut never) = world.ask(commit("10.0.0.1:8091:2"));
    world.pass_stepwise(60 * SECOND);
    let lost = answer.try_take().expect("given up").expect_err("lost");
    assert!(matches!(lost, Error::Lost { .. }), "{lost:?}");
    let unsent = never.try_take().expect("given up").expect_err("nobody");
    assert!(matches!(unsent, Error::Unreachable(_)), "{unsent:?}");
}

#[test]
fn what_is_too_late_does_not_leave() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let request = Request {
        not_after: Some(world.now),
        ..commit("10.0.0.1:8091:1")
    };
    world.pass(SECOND);
    let (_, mut answer) = world.ask(request);
    let error = answer.try_take().expect("at once").expect_err("too late");
    assert_eq!(error, Error::Expired);
    assert!(world.take_sent().is_empty());
}

#[test]
fn one_more_than_the_limit_is_refused() {
    let options = ClientOptions {
        calls_max: 2,
        ..ClientOptions::default()
    };
    let mut world = World::connected(options, &[HERE]);
    let (_, _first) = world.ask(begin());
    let (_, _second) = world.ask(begin());
    let (_, mut third) = world.ask(begin());
    let error = third.try_take().expect("at once").expect_err("too many");
    assert_eq!(error, Error::Limit("calls_max"));
}

#[test]
fn message_ids_stay_unique_when_they_wrap() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    world.exchange.next_message = i32::MAX - 1;
    let _first = world.ask(begin());
    let (_, first) = world.only_sent();
    assert_eq!(first.id, i32::MAX);
    world.exchange.next_message = i32::MAX - 1;
    let _second = world.ask(begin());
    let (_, second) = world.only_sent();
    assert_eq!(second.id, 0, "the one that waits is passed over");
}
