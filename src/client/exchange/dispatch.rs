//! The way of a request: chosen connection, attempt, answer, next attempt, end.

use std::time::Instant;

use super::balance::Candidate;
use super::calls::{Answer, Call, CallId, Place, Reply, Request};
use super::roster::{LinkId, Role};
use super::{Exchange, Output, Timer, later, merge, retry};
use crate::client::ticket::Sink;
use crate::client::{Error, Sending};
use crate::net::SessionId;
use crate::proto::codec::Rpc;
use crate::proto::message::{MergedWarp, Message, TxResult};

impl Exchange {
    /// The application asks. `sink` is None when nobody waits for the answer.
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        id: CallId,
        request: Request,
        sink: Option<Sink<Answer>>,
    ) {
        let refusal = if self.is_closing() && request.opens_work() {
            Some(Error::Closed)
        } else if self.calls.len() >= self.options.calls_max && sink.is_some() {
            Some(Error::Limit("calls_max"))
        } else {
            None
        };
        match (refusal, sink) {
            (Some(error), Some(sink)) => {
                let answer = Err(error);
                self.outputs.push_back(Output::Answer { sink, answer });
            }
            (Some(_), None) => {}
            (None, sink) => {
                let until = later(now, request.retry.total);
                let call = Call {
                    request,
                    sink,
                    place: Place::Paused,
                    asked: now,
                    tries: 1,
                    sent: 0,
                    due: now,
                    until,
                    lost: None,
                    abandoned: false,
                };
                self.calls.insert(id, call);
                self.dispatch(now, id);
            }
        }
    }

    /// The caller of a request went away.
    pub(crate) fn handle_forget(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.sink = None;
        let under_way = match call.place {
            Place::Sent { id, link, .. } => !self.roster.link(link).waiting.contains(&id),
            Place::Parked | Place::Paused => false,
        };
        match &call.request.message {
            Message::GlobalRollback(_) => {}
            Message::GlobalBegin(_) if under_way => call.abandoned = true,
            Message::GlobalCommit(end) if under_way => {
                log::warn!("xid={} event=commit-abandoned", end.xid);
                call.abandoned = true;
            }
            Message::GlobalCommit(end) => {
                log::warn!("xid={} event=commit-dropped", end.xid);
                self.replace_with_rollback(now, id);
            }
            _ => self.remove(id),
        }
    }

    /// An answer that came at the moment its caller went away: a transaction that nobody knows is rolled back.
    pub(crate) fn handle_unclaimed(&mut self, now: Instant, answer: Answer) {
        if let Ok(reply) = answer
            && let Message::GlobalBeginResponse(begin) = reply.message
            && begin.result == TxResult::Success
        {
            log::info!("xid={} event=begin-abandoned", begin.xid);
            let rollback = self.own_rollback(begin.xid);
            self.ask_detached(now, rollback);
        }
    }

    /// A message could not be written: it fits neither the format nor the limits.
    pub(crate) fn handle_unsent(&mut self, message: i32, why: &str) {
        let ids = self.merges.unsent(message).unwrap_or_else(|| vec![message]);
        for id in ids {
            if let Some(call) = self.by_message.get(&id).copied() {
                let what = format!("the request cannot be written: {why}");
                self.finish(call, Err(Error::Invalid(what)));
            }
        }
    }

    /// Lets the requests leave that wait for company.
    pub(crate) fn flush(&mut self, now: Instant) {
        let ids = self.roster.ids();
        let waited: Vec<LinkId> = ids
            .filter(|id| !self.roster.link(*id).waiting.is_empty())
            .collect();
        for id in waited {
            let waiting = std::mem::take(&mut self.roster.link_mut(id).waiting);
            let Some(session) = self.roster.link(id).session else {
                continue;
            };
            let mut requests = Vec::new();
            for message_id in waiting {
                let call = self.by_message.get(&message_id);
                if let Some(call) = call.and_then(|call| self.calls.get(call)) {
                    requests.push((message_id, call.request.message.clone()));
                }
            }
            self.send_merged(now, session, requests);
        }
    }

    /// A message came that answers request `id`, over this connection.
    pub(super) fn answered(&mut self, now: Instant, session: SessionId, id: i32, message: Message) {
        let waiting = self.by_message.get(&id).copied();
        let call = waiting.and_then(|call| Some((call, self.calls.get(&call)?)));
        let Some((
            call,
            Call {
                request,
                asked,
                place,
                abandoned,
                ..
            },
        )) = call
        else {
            self.counters.late_answers.increment();
            return log::debug!("id={id} event=late-answer");
        };
        let Place::Sent { link, .. } = *place else {
            return self.counters.late_answers.increment();
        };
        if self.roster.link(link).session != Some(session) {
            self.counters.late_answers.increment();
            return log::warn!("id={id} event=answer-over-another-connection");
        }
        if !request.is_answered_by(&message) {
            let (asked, got) = (request.message.type_code(), message.type_code());
            let what = format!("message type {got} answers type {asked}");
            log::error!("id={id} event=wrong-answer {what}");
            return self.finish(call, Err(Error::Protocol(what)));
        }
        let elsewhere = retry::is_unknown_transaction(&message) && self.home_is_away(link, request);
        let again = elsewhere || retry::is_undone(&message);
        let abandoned = *abandoned;
        let reply = Reply {
            asked: *asked,
            message,
        };
        if let Message::GlobalBeginResponse(begin) = &reply.message
            && begin.result == TxResult::Success
        {
            self.roster.learn_home(&begin.xid, link);
            if abandoned {
                log::info!("xid={} event=begin-abandoned", begin.xid);
                let rollback = self.own_rollback(begin.xid.clone());
                self.remove(call);
                return self.ask_detached(now, rollback);
            }
        }
        match again {
            true => self.attempt_failed(now, call, Ok(reply)),
            false => self.finish(call, Ok(reply)),
        }
    }

    /// An attempt came to nothing: another one, or `last` is the answer.
    pub(super) fn attempt_failed(&mut self, now: Instant, id: CallId, last: Answer) {
        self.release(id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        // Once an attempt has left, it is no more certain that nothing was done.
        let last = match last {
            Err(Error::Unreachable(why)) => {
                Err(call.lost.clone().unwrap_or(Error::Unreachable(why)))
            }
            Err(error) => {
                call.lost = Some(error.clone());
                Err(error)
            }
            answer => {
                let what = "the coordinator's last answer decided nothing";
                call.lost = Some(Error::Protocol(what.to_owned()));
                answer
            }
        };
        if call.abandoned {
            return match call.request.message {
                Message::GlobalCommit(_) => self.replace_with_rollback(now, id),
                _ => self.remove(id),
            };
        }
        let pause = retry::pause(&call.request.retry, call.tries, &mut self.chance);
        match pause.map(|pause| later(now, pause)) {
            Some(at) if at < call.until => {
                log::debug!(
                    "xid={} event=retry tries={} last={:?}",
                    call.request.xid().map_or("", |xid| xid.as_str()),
                    call.tries,
                    last.as_ref().err()
                );
                self.counters.retries.increment();
                self.place(id, Place::Paused, at);
            }
            _ => self.finish(id, last),
        }
    }

    /// A deadline of a request.
    pub(super) fn call_due(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match call.place {
            Place::Paused => {
                call.tries += 1;
                self.dispatch(now, id);
            }
            Place::Parked => {
                let why = self.roster.missing(call.request.role);
                self.attempt_failed(now, id, Err(Error::Unreachable(why)));
            }
            Place::Sent { link, .. } => {
                self.counters.timeouts.increment();
                let error = Error::Timeout {
                    coordinator: self.roster.address(link).to_owned(),
                    after: call.request.attempt,
                };
                self.attempt_failed(now, id, Err(error));
            }
        }
    }

    /// A connection may be used from now on.
    pub(super) fn unpark(&mut self, now: Instant, role: Role) {
        let parked = |call: &Call| call.place == Place::Parked && call.request.role == role;
        let ids: Vec<CallId> = self
            .calls
            .iter()
            .filter_map(|(id, call)| parked(call).then_some(*id))
            .collect();
        for id in ids {
            self.dispatch(now, id);
        }
    }

    /// What was under way on a connection that ended fails at once.
    pub(super) fn fail_all_on(&mut self, now: Instant, lost: LinkId, reason: &str) {
        let on_it = |call: &Call| matches!(call.place, Place::Sent { link, .. } if link == lost);
        let ids: Vec<CallId> = self
            .calls
            .iter()
            .filter_map(|(id, call)| on_it(call).then_some(*id))
            .collect();
        for id in ids {
            let error = Error::Lost {
                coordinator: self.roster.address(lost).to_owned(),
                reason: reason.to_owned(),
            };
            self.attempt_failed(now, id, Err(error));
        }
    }

    fn dispatch(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.sent == 0 && call.request.not_after.is_some_and(|at| now > at) {
            return self.finish(id, Err(Error::Expired));
        }
        let (role, until) = (call.request.role, call.until);
        match self.choose(id, role) {
            Some(link) => self.send(now, id, link),
            None => {
                let due = until.min(later(now, self.options.connection_patience));
                self.place(id, Place::Parked, due);
            }
        }
    }

    fn choose(&mut self, id: CallId, role: Role) -> Option<LinkId> {
        let mut ready = self.roster.ready(role);
        let first = ready.next()?;
        let Some(second) = ready.next() else {
            // Most groups have one coordinator.
            return Some(first);
        };
        let ready: Vec<LinkId> = [first, second].into_iter().chain(ready).collect();
        let xid = self.calls.get(&id).and_then(|call| call.request.xid());
        let home = xid.and_then(|xid| self.roster.home(xid));
        let home = ready
            .iter()
            .position(|link| Some(self.roster.link(*link).coordinator) == home);
        let candidates: Vec<Candidate<'_>> = ready
            .iter()
            .map(|link| Candidate {
                address: self.roster.address(*link),
                active: self.roster.link(*link).active,
            })
            .collect();
        let chosen = self
            .balancer
            .choose(&candidates, xid.map(|x| x.as_str()), home)?;
        Some(ready[chosen])
    }

    fn send(&mut self, now: Instant, id: CallId, link: LinkId) {
        let message_id = self.message_id();
        let (Some(session), Some(call)) = (self.roster.link(link).session, self.calls.get_mut(&id))
        else {
            return;
        };
        call.sent += 1;
        let due = call.until.min(later(now, call.request.attempt));
        let sending = match call.request.role {
            Role::Tm => self.options.tm_sending,
            Role::Rm => self.options.rm_sending,
        };
        let share = sending == Sending::Merged && call.request.message.is_transaction_request();
        let message = (!share).then(|| call.request.message.clone());
        self.counters.requests.increment();
        self.by_message.insert(message_id, id);
        let place = Place::Sent {
            id: message_id,
            link,
            outer: None,
        };
        self.place(id, place, due);
        let link = self.roster.link_mut(link);
        link.active += 1;
        match message {
            None => link.waiting.push(message_id),
            Some(message) => self.push_send(now, session, Rpc::request(message_id, message)),
        }
    }

    fn send_merged(&mut self, now: Instant, session: SessionId, mut requests: Vec<(i32, Message)>) {
        let sizes: Vec<usize> = requests.iter().map(|(_, m)| merge::text_bytes(m)).collect();
        let (most, bytes) = (
            self.options.merge_requests_max,
            self.options.merge_bytes_max,
        );
        for range in merge::cut(&sizes, most, bytes) {
            let (ids, mut messages): (Vec<i32>, Vec<Message>) =
                requests.drain(..range.len()).unzip();
            if let ([id], Some(message)) = (&ids[..], messages.pop_if(|_| ids.len() == 1)) {
                self.push_send(now, session, Rpc::request(*id, message));
                continue;
            }
            let outer = self.message_id();
            for id in &ids {
                let call = self
                    .by_message
                    .get(id)
                    .and_then(|call| self.calls.get_mut(call));
                if let Some(Place::Sent { outer: place, .. }) = call.map(|call| &mut call.place) {
                    *place = Some(outer);
                }
            }
            self.counters.merged_messages.increment();
            self.counters.merged_requests.add(ids.len() as u64);
            self.merges.sent(outer, session, ids.clone());
            let merged = Message::MergedWarp(MergedWarp { messages, ids });
            self.push_send(now, session, Rpc::one_way(outer, merged));
        }
    }

    /// Whether the coordinator that began this transaction is another one than asked, and not connected.
    fn home_is_away(&self, asked: LinkId, request: &Request) -> bool {
        let Some(home) = request.xid().and_then(|xid| self.roster.home(xid)) else {
            return false;
        };
        if self.roster.link(asked).coordinator == home {
            return false;
        }
        let mut ready = self.roster.ready(request.role);
        !ready.any(|id| self.roster.link(id).coordinator == home)
    }

    fn replace_with_rollback(&mut self, now: Instant, id: CallId) {
        let xid = self
            .calls
            .get(&id)
            .and_then(|call| call.request.xid().cloned());
        self.remove(id);
        if let Some(xid) = xid {
            let rollback = self.own_rollback(xid);
            self.ask_detached(now, rollback);
        }
    }

    fn own_rollback(&self, xid: crate::proto::Text) -> Request {
        let options = &self.options;
        Request::rollback(xid, options.tm_request_timeout, options.rollback_retry)
    }

    fn ask_detached(&mut self, now: Instant, request: Request) {
        self.next_own += 1;
        self.handle_request(now, CallId(self.next_own), request, None);
    }

    pub(super) fn finish(&mut self, id: CallId, answer: Answer) {
        self.release(id);
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.timers.remove(&(call.due, Timer::Call(id)));
        match call.sink {
            Some(sink) => self.outputs.push_back(Output::Answer { sink, answer }),
            None => {
                let xid = call.request.xid().map_or("", |xid| xid.as_str());
                match answer {
                    Ok(_) => log::debug!("xid={xid} event=detached-answered"),
                    Err(error) => log::warn!("xid={xid} event=detached-failed error={error}"),
                }
            }
        }
        self.check_closing();
    }

    fn remove(&mut self, id: CallId) {
        self.release(id);
        if let Some(call) = self.calls.remove(&id) {
            self.timers.remove(&(call.due, Timer::Call(id)));
        }
        self.check_closing();
    }

    /// Takes a request out of what is sent.
    fn release(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if let Place::Sent {
            id: message,
            link,
            outer,
        } = call.place
        {
            call.place = Place::Paused;
            self.by_message.remove(&message);
            let link = self.roster.link_mut(link);
            link.active = link.active.saturating_sub(1);
            link.waiting.retain(|waiting| *waiting != message);
            if let Some(outer) = outer {
                self.merges.done(outer);
            }
        }
    }

    fn place(&mut self, id: CallId, place: Place, due: Instant) {
        if let Some(call) = self.calls.get_mut(&id) {
            self.timers.remove(&(call.due, Timer::Call(id)));
            call.place = place;
            call.due = due;
            self.timers.insert((due, Timer::Call(id)));
        }
    }
}
