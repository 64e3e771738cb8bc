//! The life of the connections: introduced when they open, kept awake, looked after when they end.

use std::time::{Duration, Instant};

use super::roster::{LinkId, LinkState, Role};
use super::{Announcement, Asked, Exchange, Output, Timer, later};
use crate::client::Error;
use crate::client::ticket::Sink;
use crate::net::SessionId;
use crate::proto::Text;
use crate::proto::codec::Rpc;
use crate::proto::frame::FrameHead;
use crate::proto::message::{Message, RegisterResponse, RegisterRm, RegisterTm};
use crate::proto::version::PeerVersion;

impl Exchange {
    /// The list of coordinators is this one from now on.
    pub(crate) fn handle_addresses(&mut self, now: Instant, addresses: &[String]) {
        let (came, left) = self.roster.set_addresses(now, addresses);
        for link in came {
            let address = self.roster.address(link).to_owned();
            self.outputs.push_back(Output::Connect { link, address });
        }
        for link in left {
            self.outputs.push_back(Output::Disconnect { link });
        }
    }

    /// A connection is there. `extra_data` is what a TM says about itself.
    pub(crate) fn handle_open(
        &mut self,
        now: Instant,
        id: LinkId,
        session: SessionId,
        extra_data: Text,
    ) {
        if !self.roster.is_wanted(id) {
            return self.outputs.push_back(Output::Abort { session });
        }
        let message_id = self.message_id();
        let (role, patience) = match self.roster.link(id).role {
            Role::Tm => (Role::Tm, self.options.tm_request_timeout),
            Role::Rm => (Role::Rm, self.options.rm_request_timeout),
        };
        let message = match role {
            Role::Tm => Message::RegisterTm(RegisterTm {
                version: Text::from_static(CLIENT_VERSION),
                application_id: self.identity.application.clone(),
                transaction_service_group: self.identity.group.clone(),
                extra_data,
            }),
            Role::Rm => {
                let all: Vec<&str> = self.resources.iter().map(|id| id.as_str()).collect();
                self.register_rm(all.join(",").into())
            }
        };
        self.roster.open(id, session);
        self.roster.link_mut(id).state = LinkState::Registering(message_id);
        self.set_link_due(id, Some(later(now, patience)));
        self.push_send(now, session, Rpc::request(message_id, message));
    }

    /// A connection is gone.
    pub(crate) fn handle_closed(&mut self, now: Instant, session: SessionId, reason: &str) {
        let Some(id) = self.roster.of_session(session) else {
            return;
        };
        let state = self.roster.link(id).state;
        self.set_link_due(id, None);
        self.roster.close(session);
        let link = self.roster.link_mut(id);
        if state != LinkState::Refused {
            link.failure = Some(reason.to_owned());
        }
        if state == LinkState::Ready {
            self.counters.lost_connections.increment();
            let (role, address) = (link.role.name(), self.roster.address(id));
            log::warn!("coordinator={address} role={role} event=connection-lost reason={reason}");
        }
        self.fail_all_on(now, id, reason);
        for announcement in &mut self.announcements {
            announcement.waiting.retain(|_, link| *link != id);
        }
        self.roster.forget_idle(id);
        self.check_announcements();
        self.check_start();
    }

    /// An attempt to connect failed.
    pub(crate) fn handle_connect_failed(&mut self, id: LinkId, error: &str) {
        if self.roster.is_wanted(id) {
            self.roster.link_mut(id).failure = Some(error.to_owned());
        }
        self.check_start();
    }

    /// A message came.
    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        session: SessionId,
        head: FrameHead,
        message: Message,
    ) {
        let Some(link) = self.roster.of_session(session) else {
            return;
        };
        match message {
            Message::HeartbeatPing => {
                self.push_send(
                    now,
                    session,
                    Rpc::response_to(&head, Message::HeartbeatPong),
                );
            }
            Message::HeartbeatPong => {}
            Message::RegisterTmResponse(response) | Message::RegisterRmResponse(response) => {
                self.registered(now, link, head.id, &response);
            }
            Message::MergeResult(results) => {
                let Some(ids) = self.merges.by_position(head.id, session) else {
                    self.counters.late_answers.increment();
                    return;
                };
                let mut messages = results.messages.into_iter();
                for id in ids {
                    match messages.next() {
                        Some(message) => self.answered(now, session, id, message),
                        None => self.unanswered(now, id),
                    }
                }
            }
            Message::BatchResult(results) => {
                for (id, message) in results.ids.into_iter().zip(results.messages) {
                    self.answered(now, session, id, message);
                }
            }
            Message::BranchCommit(end) => self.serve(session, head, Asked::Commit(end)),
            Message::BranchRollback(end) => self.serve(session, head, Asked::Rollback(end)),
            Message::UndoLogDelete(delete) => {
                self.serve(session, head, Asked::DeleteUndoLog(delete));
            }
            request if is_request(&request) => log::warn!(
                "coordinator={} event=unexpected-request type={}",
                self.roster.address(link),
                request.type_code()
            ),
            answer => self.answered(now, session, head.id, answer),
        }
    }

    /// A resource was added: told over every connection that is open, and over every one that will be. Answers `sink` when
    /// those that are open have confirmed it.
    pub(crate) fn handle_resource(
        &mut self,
        now: Instant,
        resource: Text,
        sink: Sink<Result<(), Error>>,
    ) {
        self.resources.insert(resource.clone());
        let mut waiting = std::collections::BTreeMap::new();
        let ids: Vec<LinkId> = self.roster.ids().collect();
        for id in ids {
            let link = self.roster.link(id);
            let open = matches!(link.state, LinkState::Registering(_) | LinkState::Ready);
            let Some(session) = link.session.filter(|_| open && link.role == Role::Rm) else {
                continue;
            };
            let message_id = self.message_id();
            waiting.insert(message_id, id);
            let message = self.register_rm(resource.clone());
            self.push_send(now, session, Rpc::request(message_id, message));
        }
        let until = later(now, self.options.rm_request_timeout);
        self.timers.insert((until, Timer::Announcements));
        self.announcements.push(Announcement {
            sink,
            waiting,
            until,
        });
        self.check_announcements();
    }

    /// A deadline of a connection.
    pub(super) fn link_due(&mut self, now: Instant, id: LinkId) {
        let link = self.roster.link_mut(id);
        link.due = None;
        let Some(session) = link.session else {
            return;
        };
        match link.state {
            LinkState::Registering(_) => {
                link.failure = Some("the registration was not answered".to_owned());
                self.outputs.push_back(Output::Abort { session });
            }
            LinkState::Refused => self.outputs.push_back(Output::Abort { session }),
            LinkState::Ready => {
                let Some(heartbeat) = self.options.heartbeat else {
                    return;
                };
                if later(link.last_sent, heartbeat) <= now {
                    let id = self.message_id();
                    self.push_send(now, session, Rpc::ping(id));
                }
                let due = later(self.roster.link(id).last_sent, heartbeat);
                self.set_link_due(id, Some(due));
            }
            LinkState::Down | LinkState::Removed => {}
        }
    }

    fn registered(&mut self, now: Instant, id: LinkId, message: i32, answer: &RegisterResponse) {
        let link = self.roster.link_mut(id);
        if link.state != LinkState::Registering(message) {
            return self.confirmed(message, answer);
        }
        let role = link.role;
        if !answer.identified {
            link.state = LinkState::Refused;
            link.failure = Some("the coordinator refused the registration".to_owned());
            self.set_link_due(id, Some(now + REFUSED_PAUSE));
            let address = self.roster.address(id);
            log::error!(
                "coordinator={address} role={} event=registration-refused version={}",
                role.name(),
                answer.version
            );
            return self.check_start();
        }
        link.state = LinkState::Ready;
        link.failure = None;
        link.table = PeerVersion::parse(&answer.version).exception_table();
        let due = self
            .options
            .heartbeat
            .map(|period| later(link.last_sent, period));
        self.set_link_due(id, due);
        log::info!(
            "coordinator={} role={} event=registered version={}",
            self.roster.address(id),
            role.name(),
            answer.version
        );
        self.unpark(now, role);
        self.check_start();
    }

    fn confirmed(&mut self, message: i32, answer: &RegisterResponse) {
        for at in 0..self.announcements.len() {
            if self.announcements[at].waiting.remove(&message).is_none() {
                continue;
            }
            if answer.identified {
                return self.check_announcements();
            }
            let sink = self.announcements.swap_remove(at).sink;
            let what = "a coordinator refused the registration of the resource";
            let result = Err(Error::Invalid(what.to_owned()));
            return self.outputs.push_back(Output::Done { sink, result });
        }
    }

    fn check_announcements(&mut self) {
        let (done, waiting) = std::mem::take(&mut self.announcements)
            .into_iter()
            .partition(|announcement| announcement.waiting.is_empty());
        self.announcements = waiting;
        for Announcement { sink, .. } in done {
            let result = Ok(());
            self.outputs.push_back(Output::Done { sink, result });
        }
    }

    /// Resources that were not confirmed in time. They stay registered.
    pub(super) fn announcements_due(&mut self, now: Instant) {
        let (late, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.announcements)
            .into_iter()
            .partition(|announcement| announcement.until <= now);
        self.announcements = waiting;
        for Announcement { sink, waiting, .. } in late {
            let link = waiting.values().next();
            let error = Error::Timeout {
                coordinator: link
                    .map_or("", |link| self.roster.address(*link))
                    .to_owned(),
                after: self.options.rm_request_timeout,
            };
            let result = Err(error);
            self.outputs.push_back(Output::Done { sink, result });
        }
    }

    fn unanswered(&mut self, now: Instant, message: i32) {
        if let Some(call) = self.by_message.get(&message).copied() {
            let what = "the merged answer has fewer answers than there were requests";
            self.attempt_failed(now, call, Err(Error::Protocol(what.to_owned())));
        }
    }

    fn serve(&mut self, session: SessionId, head: FrameHead, asked: Asked) {
        self.counters.phase_two.increment();
        self.serving += 1;
        self.outputs.push_back(Output::Serve {
            session,
            head,
            asked,
        });
    }

    fn register_rm(&self, resource_ids: Text) -> Message {
        Message::RegisterRm(RegisterRm {
            version: Text::from_static(CLIENT_VERSION),
            application_id: self.identity.application.clone(),
            transaction_service_group: self.identity.group.clone(),
            extra_data: Text::new(),
            resource_ids,
        })
    }

    fn set_link_due(&mut self, id: LinkId, due: Option<Instant>) {
        let link = self.roster.link_mut(id);
        if let Some(before) = std::mem::replace(&mut link.due, due) {
            self.timers.remove(&(before, Timer::Link(id)));
        }
        if let Some(due) = due {
            self.timers.insert((due, Timer::Link(id)));
        }
    }
}

/// Whether only clients send such a message.
fn is_request(message: &Message) -> bool {
    message.is_transaction_request()
        || matches!(
            message,
            Message::MergedWarp(_)
                | Message::RegisterTm(_)
                | Message::RegisterRm(_)
                | Message::BranchCommitResponse(_)
                | Message::BranchRollbackResponse(_)
        )
}

/// The release whose messages and numbers this client reads and writes.
const CLIENT_VERSION: &str = "2.5.0";

/// How long a refused connection is kept before it is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
