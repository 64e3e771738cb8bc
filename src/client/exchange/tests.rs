//! Tests of the exchange: coordinators are scripted, time is a number.

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
        let of_role = |link: LinkId| self.exchange.roster.link(link).role == role;
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

mod merging {
    use super::*;

    fn three(world: &mut World) -> (Vec<Ticket<Answer>>, SessionId, Rpc) {
        let answers = (0..3)
            .map(|row| world.post(branch("10.0.0.1:8091:1", &format!("t:{row}"))).1)
            .collect();
        world.turn();
        let (session, rpc) = world.only_sent();
        (answers, session, rpc)
    }

    fn ids(rpc: &Rpc) -> Vec<i32> {
        match &rpc.message {
            Message::MergedWarp(merged) => merged.ids.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_of_one_turn_share_a_message_and_are_answered_by_position() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (mut answers, session, rpc) = three(&mut world);
        assert_eq!(rpc.kind, MessageKind::OneWay);
        assert_eq!(ids(&rpc).len(), 3);
        let messages = (1..=3).map(registered).collect();
        world.receive(
            session,
            rpc.id,
            Message::MergeResult(MergeResult { messages }),
        );
        let branches: Vec<i64> = answers
            .iter_mut()
            .map(|a| branch_of(a.try_take()))
            .collect();
        assert_eq!(branches, [1, 2, 3]);
        world.assert_empty();
    }

    #[test]
    fn answers_with_ids_are_matched_by_them_in_any_grouping() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (mut answers, session, rpc) = three(&mut world);
        // Another merge is under way meanwhile, and is answered by position afterwards.
        let (mut others, _, other) = three(&mut world);
        let ids = ids(&rpc);
        let batch = |ids: &[i32], branches: &[i64]| {
            Message::BatchResult(BatchResult {
                messages: branches.iter().copied().map(registered).collect(),
                ids: ids.to_vec(),
            })
        };
        world.receive(session, rpc.id, batch(&[ids[2], ids[0]], &[3, 1]));
        world.receive(session, rpc.id, batch(&ids[1..2], &[2]));
        let branches: Vec<i64> = answers
            .iter_mut()
            .map(|a| branch_of(a.try_take()))
            .collect();
        assert_eq!(branches, [1, 2, 3]);
        let messages = (4..=6).map(registered).collect();
        world.receive(
            session,
            other.id,
            Message::MergeResult(MergeResult { messages }),
        );
        let branches: Vec<i64> = others.iter_mut().map(|a| branch_of(a.try_take())).collect();
        assert_eq!(branches, [4, 5, 6]);
        world.assert_empty();
    }

    #[test]
    fn plain_answers_are_matched_too() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (mut answers, session, rpc) = three(&mut world);
        for (at, id) in ids(&rpc).into_iter().enumerate().rev() {
            world.receive(session, id, registered(at as i64));
        }
        let branches: Vec<i64> = answers
            .iter_mut()
            .map(|a| branch_of(a.try_take()))
            .collect();
        assert_eq!(branches, [0, 1, 2]);
        world.assert_empty();
    }

    #[test]
    fn a_list_that_is_too_short_fails_the_rest() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (mut answers, session, rpc) = three(&mut world);
        let messages = vec![registered(1)];
        world.receive(
            session,
            rpc.id,
            Message::MergeResult(MergeResult { messages }),
        );
        assert_eq!(branch_of(answers[0].try_take()), 1);
        for answer in &mut answers[1..] {
            let error = answer.try_take().expect("an answer").expect_err("missing");
            assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        }
        world.assert_empty();
    }

    #[test]
    fn a_list_that_is_too_long_or_of_another_connection_harms_nobody() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (mut answers, session, rpc) = three(&mut world);
        let tm = world.sessions[&world.link(Role::Tm, HERE)];
        let messages = |n: i64| {
            Message::MergeResult(MergeResult {
                messages: (0..n).map(registered).collect(),
            })
        };
        world.receive(tm, rpc.id, messages(3));
        assert!(answers[0].try_take().is_none());
        world.receive(session, rpc.id, messages(9));
        assert_eq!(branch_of(answers[2].try_take()), 2);
        world.receive(session, rpc.id, messages(3));
        world.assert_empty();
    }

    #[test]
    fn one_request_travels_alone_and_too_many_travel_in_several_messages() {
        let options = ClientOptions {
            merge_requests_max: 2,
            ..ClientOptions::default()
        };
        let mut world = World::connected(options, &[HERE]);
        for row in 0..5 {
            world.post(branch("10.0.0.1:8091:1", &format!("t:{row}")));
        }
        world.turn();
        let kinds: Vec<i16> = world
            .take_sent()
            .iter()
            .map(|(_, rpc)| rpc.message.type_code())
            .collect();
        assert_eq!(kinds, [59, 59, 11]);
    }

    #[test]
    fn what_is_forgotten_or_lost_before_it_left_does_not_leave() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (first, _gone) = world.post(branch("10.0.0.1:8091:1", "t:1"));
        let (_, mut kept) = world.post(branch("10.0.0.1:8091:1", "t:2"));
        world.forget(first);
        let (_, rpc) = world.only_sent();
        assert!(matches!(rpc.message, Message::BranchRegister(b) if b.lock_key == "t:2"));
        let rm = world.link(Role::Rm, HERE);
        world.close(rm);
        assert!(kept.try_take().expect("at once").is_err());
        world.assert_empty();
    }

    #[test]
    fn a_message_that_cannot_be_written_fails_all_that_are_in_it() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (mut answers, _, rpc) = three(&mut world);
        world.exchange.handle_unsent(rpc.id, "too long");
        world.turn();
        for answer in &mut answers {
            let error = answer.try_take().expect("at once").expect_err("unsent");
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        }
        world.assert_empty();
    }

    #[test]
    fn a_tm_sends_one_by_one_unless_it_is_told_to_merge() {
        for (sending, messages) in [(Sending::OneByOne, 2), (Sending::Merged, 1)] {
            let options = ClientOptions {
                tm_sending: sending,
                ..ClientOptions::default()
            };
            let mut world = World::connected(options, &[HERE]);
            world.post(begin());
            world.post(begin());
            world.turn();
            assert_eq!(world.take_sent().len(), messages, "{sending:?}");
        }
    }
}

mod connections {
    use super::*;

    fn resources(rpc: &Rpc) -> Text {
        match &rpc.message {
            Message::RegisterRm(register) => register.resource_ids.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn add(world: &mut World, resource: &str) -> Ticket<Result<(), Error>> {
        let (sink, done) = ticket();
        world
            .exchange
            .handle_resource(world.now, resource.into(), sink);
        world.turn();
        done
    }

    #[test]
    fn every_connection_introduces_itself_with_everything() {
        let mut world = World::new(ClientOptions::default(), &[HERE]);
        assert_eq!(
            add(&mut world, "b").try_take(),
            Some(Ok(())),
            "nobody to tell"
        );
        add(&mut world, "a");
        let (tm, rm) = (world.link(Role::Tm, HERE), world.link(Role::Rm, HERE));
        let (_, registration) = world.open(tm);
        let Message::RegisterTm(register) = &registration.message else {
            panic!("{registration:?}");
        };
        assert_eq!(register.application_id, "app");
        assert_eq!(register.extra_data, "extra");
        let (session, registration) = world.open(rm);
        assert_eq!(resources(&registration), "a,b");
        // Added while the registration is under way: told right behind it.
        let mut done = add(&mut world, "c");
        let (to, added) = world.only_sent();
        assert_eq!((to, resources(&added)), (session, "c".into()));
        world.answer_registration(session, &registration, true);
        assert!(done.try_take().is_none());
        world.answer_registration(session, &added, true);
        assert_eq!(done.try_take(), Some(Ok(())));
        world.close(rm);
        let (_, registration) = world.open(rm);
        assert_eq!(resources(&registration), "a,b,c", "all of them again");
    }

    #[test]
    fn a_resource_is_confirmed_by_those_that_stay() {
        let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
        let mut done = add(&mut world, "a");
        let sent = world.take_sent();
        assert_eq!(sent.len(), 2, "the RM connections");
        world.answer_registration(sent[0].0, &sent[0].1, true);
        assert!(done.try_take().is_none());
        let lost = world.exchange.roster.of_session(sent[1].0).expect("open");
        world.close(lost);
        assert_eq!(done.try_take(), Some(Ok(())));
        let mut refused = add(&mut world, "b");
        let (session, rpc) = world.only_sent();
        world.answer_registration(session, &rpc, false);
        assert!(refused.try_take().expect("an answer").is_err());
    }

    #[test]
    fn a_resource_that_is_not_confirmed_in_time_stays_registered() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let mut done = add(&mut world, "a");
        world.take_sent();
        world.pass(15 * SECOND);
        let error = done.try_take().expect("in time").expect_err("unconfirmed");
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
        let rm = world.link(Role::Rm, HERE);
        world.take_sent();
        world.close(rm);
        let (_, registration) = world.open(rm);
        assert_eq!(resources(&registration), "a");
    }

    #[test]
    fn unregistered_connections_carry_no_requests() {
        let mut world = World::new(ClientOptions::default(), &[HERE]);
        let tm = world.link(Role::Tm, HERE);
        world.open(tm);
        let _waiting = world.ask(begin());
        assert!(world.take_sent().is_empty());
    }

    #[test]
    fn a_refused_connection_is_tried_again_later() {
        let mut world = World::new(ClientOptions::default(), &[HERE]);
        let tm = world.link(Role::Tm, HERE);
        let (session, registration) = world.open(tm);
        world.answer_registration(session, &registration, false);
        world.pass(5 * SECOND);
        assert!(world.aborted.is_empty(), "not at once");
        world.pass(5 * SECOND);
        assert_eq!(world.aborted, [session]);
    }

    #[test]
    fn a_registration_without_an_answer_ends_its_connection() {
        let mut world = World::new(ClientOptions::default(), &[HERE]);
        let tm = world.link(Role::Tm, HERE);
        let (session, _) = world.open(tm);
        world.pass_stepwise(30 * SECOND);
        assert_eq!(world.aborted, [session]);
    }

    #[test]
    fn heartbeats_follow_silence_of_ours_only() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        world.pass(3 * SECOND);
        let _asked = world.ask(begin());
        world.take_sent();
        world.pass_stepwise(4 * SECOND);
        let pings: Vec<_> = world.take_sent();
        assert_eq!(pings.len(), 1, "the RM's; the TM spoke: {pings:?}");
        assert_eq!(pings[0].1.kind, MessageKind::Ping);
        world.pass_stepwise(SECOND);
        let (_, ping) = world.only_sent();
        assert_eq!(ping.kind, MessageKind::Ping);
        let silent = ClientOptions {
            heartbeat: None,
            ..ClientOptions::default()
        };
        let mut world = World::connected(silent, &[HERE]);
        world.pass_stepwise(60 * SECOND);
        assert!(world.take_sent().is_empty());
    }

    #[test]
    fn the_start_fails_only_when_nobody_can_be_reached() {
        let begin = |world: &mut World| {
            let (sink, ready) = ticket();
            world.exchange.handle_start(world.now, 10 * SECOND, sink);
            world.turn();
            ready
        };
        let mut world = World::new(ClientOptions::default(), &[HERE, THERE]);
        assert!(matches!(
            ClientOptions::default().start,
            Start::WithinOrFail(_)
        ));
        let mut ready = begin(&mut world);
        let (here, there) = (world.link(Role::Tm, HERE), world.link(Role::Tm, THERE));
        world.exchange.handle_connect_failed(here, "refused");
        world.turn();
        assert!(ready.try_take().is_none(), "one is left");
        world.register(there);
        assert!(ready.try_take().is_none(), "the RM is missing");
        let rm = world.link(Role::Rm, THERE);
        world.register(rm);
        assert_eq!(ready.try_take(), Some(Ok(())));

        let mut world = World::new(ClientOptions::default(), &[HERE, THERE]);
        let mut ready = begin(&mut world);
        for address in [HERE, THERE] {
            let link = world.link(Role::Rm, address);
            world.exchange.handle_connect_failed(link, "refused");
        }
        world.turn();
        let error = ready.try_take().expect("at once").expect_err("nobody");
        let Error::Unreachable(text) = &error else {
            panic!("{error:?}");
        };
        assert!(text.contains(HERE) && text.contains(THERE), "{text}");

        let mut world = World::new(ClientOptions::default(), &[HERE]);
        let mut ready = begin(&mut world);
        world.pass(10 * SECOND);
        assert!(ready.try_take().expect("in time").is_err());
    }

    #[test]
    fn a_new_list_connects_who_came_and_disconnects_who_left() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        world.set_addresses(&[THERE]);
        assert_eq!(world.links.len(), 4);
        assert_eq!(world.disconnected.len(), 2);
        let _waits = world.ask(begin());
        assert!(world.take_sent().is_empty(), "nobody is asked who left");
        let tm = world.link(Role::Tm, THERE);
        world.register(tm);
        assert_eq!(world.take_sent().len(), 1);
        world.set_addresses(&[THERE, HERE]);
        assert_eq!(world.links.len(), 6, "it came back with new connections");
    }

    #[test]
    fn a_coordinators_request_is_answered_over_its_own_connection() {
        let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
        let rm = world.sessions[&world.link(Role::Rm, THERE)];
        let end = BranchEnd {
            xid: "x:1:1".into(),
            branch_id: 5,
            branch_type: BranchType::At,
            resource_id: "db".into(),
            application_data: Text::new(),
        };
        world.receive(rm, 77, Message::BranchCommit(end));
        let (session, mut head, asked) = world.serve.pop().expect("something to do");
        head.serializer = 1;
        let answer = asked.answer(TxResult::Success, BranchStatus::PhaseTwoCommitted);
        world
            .exchange
            .handle_served(world.now, session, &head, answer);
        world.turn();
        let (to, rpc) = world.only_sent();
        assert_eq!((to, rpc.id, rpc.kind), (rm, 77, MessageKind::Response));
        assert!(matches!(rpc.message, Message::BranchCommitResponse(_)));
    }

    #[test]
    fn closing_waits_for_what_is_under_way_and_refuses_what_is_new() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (_, mut answer) = world.ask(commit("10.0.0.1:8091:1"));
        let (session, rpc) = world.only_sent();
        let (sink, mut closed) = ticket();
        world
            .exchange
            .handle_close(world.now, 13 * SECOND, Some(sink));
        let (_, mut refused) = world.ask(begin());
        let error = refused.try_take().expect("at once").expect_err("closed");
        assert_eq!(error, Error::Closed);
        assert!(closed.try_take().is_none() && !world.exchange.is_closed());
        world.receive(session, rpc.id, committed());
        assert!(answer.try_take().expect("an answer").is_ok());
        assert_eq!(closed.try_take(), Some(Ok(())));
        assert!(world.exchange.is_closed());

        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let _never = world.ask(commit("10.0.0.1:8091:1"));
        let (sink, mut closed) = ticket();
        world
            .exchange
            .handle_close(world.now, 13 * SECOND, Some(sink));
        world.pass(13 * SECOND);
        assert_eq!(closed.try_take(), Some(Ok(())));
    }
}

mod homes {
    use super::*;

    fn address_of(world: &World, session: SessionId) -> String {
        let link = world.exchange.roster.of_session(session).expect("open");
        world.exchange.roster.address(link).to_owned()
    }

    #[test]
    fn a_transaction_stays_where_it_began() {
        let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
        for home in [HERE, THERE] {
            for number in 0..10 {
                let _waits = world.ask(branch(&format!("{home}:{number}"), "t:1"));
                let (session, _) = world.only_sent();
                assert_eq!(address_of(&world, session), home);
            }
        }
    }

    #[test]
    fn a_home_with_another_name_is_learned_from_its_begins() {
        let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
        let _waits = world.ask(begin());
        let (session, rpc) = world.only_sent();
        let home = address_of(&world, session);
        world.receive(session, rpc.id, begun("tc.example:9000:5"));
        for _ in 0..10 {
            let _waits = world.ask(commit("tc.example:9000:5"));
            let (session, _) = world.only_sent();
            assert_eq!(address_of(&world, session), home);
        }
    }

    #[test]
    fn others_are_asked_while_the_home_is_away_and_not_believed_that_it_is_unknown() {
        let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
        let tm = world.link(Role::Tm, HERE);
        world.close(tm);
        let xid = format!("{HERE}:7");
        let (_, mut answer) = world.ask(commit(&xid));
        let (session, rpc) = world.only_sent();
        assert_eq!(address_of(&world, session), THERE);
        let unknown = TxResult::Failed {
            code: ExceptionCode::GlobalTransactionNotExist,
            message: "?".into(),
        };
        let finished = ended(unknown, GlobalStatus::Finished);
        world.receive(session, rpc.id, Message::GlobalCommitResponse(finished));
        assert!(answer.try_take().is_none());
        let back = world.register(tm);
        world.pass_stepwise(SECOND);
        let (session, rpc) = world.only_sent();
        assert_eq!(session, back);
        world.receive(session, rpc.id, committed());
        assert!(answer.try_take().expect("an answer").is_ok());
        world.assert_empty();
    }
}

mod forgetting {
    use super::*;

    const XID: &str = "10.0.0.1:8091:1";

    #[test]
    fn a_begin_that_was_not_sent_leaves_nothing() {
        let mut world = World::new(ClientOptions::default(), &[HERE]);
        let (id, _gone) = world.ask(begin());
        world.forget(id);
        world.assert_empty();
        let tm = world.link(Role::Tm, HERE);
        world.register(tm);
        assert!(world.take_sent().is_empty());
    }

    #[test]
    fn a_begin_under_way_is_rolled_back_when_it_is_answered() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (id, _gone) = world.ask(begin());
        let (session, rpc) = world.only_sent();
        world.forget(id);
        assert!(world.take_sent().is_empty());
        world.receive(session, rpc.id, begun(XID));
        let (session, rpc) = world.only_sent();
        assert!(is_rollback_of(&rpc, XID));
        let done = ended(TxResult::Success, GlobalStatus::Rollbacked);
        world.receive(session, rpc.id, Message::GlobalRollbackResponse(done));
        world.assert_empty();
    }

    /// Found by dropping begins in a loop: the answer came between the caller's last look and its word to forget the request,
    /// and the transaction lived until its timeout.
    #[test]
    fn a_begin_answered_while_its_caller_goes_away_is_rolled_back() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (id, waiting) = world.ask(begin());
        let (session, rpc) = world.only_sent();
        assert!(waiting.close().is_none(), "it has not come yet");
        world.receive(session, rpc.id, begun(XID));
        world.forget(id);
        let (_, rpc) = world.only_sent();
        assert!(is_rollback_of(&rpc, XID));
    }

    #[test]
    fn a_commit_that_was_not_sent_becomes_a_rollback() {
        let mut world = World::new(ClientOptions::default(), &[HERE]);
        let (id, _gone) = world.ask(commit(XID));
        world.forget(id);
        let tm = world.link(Role::Tm, HERE);
        world.register(tm);
        let (_, rpc) = world.only_sent();
        assert!(is_rollback_of(&rpc, XID));

        // The same while it waits for company.
        let merged = ClientOptions {
            tm_sending: Sending::Merged,
            ..ClientOptions::default()
        };
        let mut world = World::connected(merged, &[HERE]);
        let (id, _gone) = world.post(commit(XID));
        world.forget(id);
        let (_, rpc) = world.only_sent();
        assert!(is_rollback_of(&rpc, XID));
    }

    #[test]
    fn a_commit_under_way_is_left_to_the_coordinator() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (id, _gone) = world.ask(commit(XID));
        let (session, rpc) = world.only_sent();
        world.forget(id);
        world.receive(session, rpc.id, committed());
        assert!(world.take_sent().is_empty(), "decided");
        world.assert_empty();
    }

    #[test]
    fn a_commit_that_came_to_nothing_is_rolled_back_when_nobody_waits() {
        // Lost while it was under way, and forgotten before or after.
        for forget_first in [true, false] {
            let mut world = World::connected(ClientOptions::default(), &[HERE]);
            let (id, _gone) = world.ask(commit(XID));
            world.take_sent();
            let tm = world.link(Role::Tm, HERE);
            if forget_first {
                world.forget(id);
                world.close(tm);
            } else {
                world.close(tm);
                world.forget(id);
            }
            world.register(tm);
            world.pass_stepwise(SECOND);
            let (_, rpc) = world.only_sent();
            assert!(is_rollback_of(&rpc, XID), "{rpc:?}");
        }
    }

    #[test]
    fn a_rollback_goes_on_without_its_caller() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let options = ClientOptions::default();
        let (id, _gone) = world.ask(Request::rollback(
            XID.into(),
            SECOND,
            options.rollback_retry,
        ));
        world.take_sent();
        world.forget(id);
        let tm = world.link(Role::Tm, HERE);
        world.close(tm);
        world.register(tm);
        world.pass_stepwise(SECOND / 2);
        let (_, rpc) = world.only_sent();
        assert!(is_rollback_of(&rpc, XID));
    }

    #[test]
    fn everything_else_is_dropped() {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (id, _gone) = world.ask(branch(XID, "t:1"));
        let (session, rpc) = world.only_sent();
        world.forget(id);
        world.assert_empty();
        world.receive(session, rpc.id, registered(5));
        world.assert_empty();
    }
}
