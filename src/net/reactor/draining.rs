//! The orderly end (network.md B.20): stop accepting, tell the handler, stop reading requests, wait for lanes and elastic
//! pool, flush and close the sessions, close the listeners, stop the workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Reactor, Slot};
use crate::net::driver::{Clock, Driver};
use crate::net::engine::{Timer, later};
use crate::net::error::CloseReason;
use crate::net::handler::Handler;
use crate::net::id::ConnectorId;
use crate::net::lane::Lanes;
use crate::net::lifecycle::Incident;
use crate::net::slots::Key;
use crate::net::turning::Turning;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// Waiting for what is being worked on.
    Working(Instant),
    /// Waiting for sessions to close.
    Closing(Instant),
    /// Waiting for the workers to end.
    Stopping(Instant),
    Done,
}

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    pub(super) fn start_drain(&mut self, deadline: Duration) {
        let _turning = Turning::enter();
        if !matches!(self.drain, Drain::No) {
            return self.cut_off();
        }
        log::info!(
            "event=drain sessions={} deadline={deadline:?}",
            self.sessions
        );
        let until = later(self.clock_now(), deadline);
        self.drain = Drain::Working(until);
        self.engine.set_timer_at(until, Timer::Drain);
        // And one turn now, in which the first steps are taken.
        self.engine.set_timer(Duration::ZERO, Timer::Drain);
        self.engine.draining = true;
        let shared = Arc::clone(&self.engine.shared);
        shared.lanes.start_drain();
        self.engine.blocking.start_drain();
        let connectors: Vec<ConnectorId> = self.connectors.keys().copied().collect();
        for id in connectors {
            self.end_attempts(id);
        }
        self.end_handshakes();
        let lanes = Lanes {
            table: Arc::clone(&shared.lanes),
        };
        self.guarded(|_| shared.handler.on_drain(&lanes));
    }

    /// Takes the next steps of the drain as far as they can be taken now.
    pub(super) fn advance_drain(&mut self) {
        match self.drain {
            Drain::No | Drain::Done => {}
            Drain::Working(until) | Drain::Closing(until) if self.clock_now() >= until => {
                self.cut_off();
            }
            Drain::Working(until) => {
                if self.is_quiet() {
                    self.drain = Drain::Closing(until);
                    let close = Incident::Close(CloseReason::Shutdown);
                    self.for_each_session(close);
                    self.advance_drain();
                }
            }
            Drain::Closing(until) => {
                if self.sessions == 0 {
                    self.stop(until.max(self.clock_now() + STOP_PATIENCE));
                }
            }
            Drain::Stopping(until) => {
                // Nobody wakes us when a thread has ended completely, so look again soon.
                if self.workers.finished() || self.clock_now() >= until {
                    self.workers.join(Duration::ZERO);
                    self.drain = Drain::Done;
                } else {
                    self.engine.set_timer(LOOK_AGAIN, Timer::Drain);
                }
            }
        }
    }

    /// Ends everything now: sessions are aborted, listeners closed, lanes stopped.
    pub(super) fn end(&mut self) {
        let _turning = Turning::enter();
        self.engine.draining = true;
        let connectors: Vec<ConnectorId> = self.connectors.keys().copied().collect();
        for id in connectors {
            self.disconnect(id, CloseReason::Shutdown);
        }
        self.end_handshakes();
        self.for_each_session(Incident::Abort(CloseReason::Shutdown));
        self.reap();
        self.close_listeners();
        self.engine.shared.lanes.stop();
        self.drain = Drain::Done;
    }

    fn cut_off(&mut self) {
        if matches!(self.drain, Drain::Stopping(_) | Drain::Done) {
            return;
        }
        log::warn!("event=drain-cut-off sessions={}", self.sessions);
        self.for_each_session(Incident::Abort(CloseReason::Shutdown));
        self.reap();
        self.stop(self.clock_now() + STOP_PATIENCE);
    }

    fn stop(&mut self, until: Instant) {
        self.close_listeners();
        self.connectors.clear();
        // Posts of the last callbacks go with the lanes they were for.
        self.engine.gather.hand_over();
        self.engine.shared.lanes.stop();
        self.drain = Drain::Stopping(until);
        self.engine.set_timer(Duration::ZERO, Timer::Drain);
    }

    /// Whether everything that was read has been answered.
    fn is_quiet(&self) -> bool {
        // The queue after those who fill it: a lane is quiet once its answers are in there.
        self.engine.gather.is_empty()
            && self.engine.shared.lanes.is_quiet()
            && self.engine.blocking.is_quiet()
            && self.remote.is_empty()
            && !self.any_session(|session| session.has_calls() || session.is_stalled())
    }

    fn for_each_session(&mut self, incident: Incident) {
        for key in self.slots.keys() {
            if let Some(Slot::Session(session)) = self.slots.get_mut(key) {
                session.incident(&mut self.engine, incident);
            }
        }
    }

    fn any_session(
        &self,
        f: impl Fn(&crate::net::connection::Connection<H, D::Stream>) -> bool,
    ) -> bool {
        self.slots
            .keys()
            .iter()
            .any(|key| match self.slots.get(*key) {
                Some(Slot::Session(session)) => f(session),
                _ => false,
            })
    }

    fn close_listeners(&mut self) {
        let keys: Vec<Key> = std::mem::take(&mut self.listeners).into_values().collect();
        for key in keys {
            self.slots.remove(key);
        }
    }
}

/// How long workers get to end at least, however late it is.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

const LOOK_AGAIN: Duration = Duration::from_millis(1);
