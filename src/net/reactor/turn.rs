//! The steps of a turn.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Listening, Reactor, Slot};
use crate::net::driver::{Clock, Driver, Event};
use crate::net::endpoint::Origin;
use crate::net::engine::{Engine, Timer, later};
use crate::net::error::{CloseReason, Error};
use crate::net::handler::Handler;
use crate::net::id::SessionId;
use crate::net::lane::{LaneRunner, panic_text};
use crate::net::lifecycle::Incident;
use crate::net::outbound::{Entry, OutBatch};
use crate::net::pending::Completion;
use crate::net::remote::{Remote, TimerFn};
use crate::net::slots::Key;
use crate::net::turning::Turning;
use crate::net::wheel::Tick;

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    /// Waits for something to do. Whether another thread ended the wait.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let next = self.time_left();
        let mut limit = match (timeout, next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if limit != Some(Duration::ZERO) && !self.remote.try_sleep() {
            limit = Some(Duration::ZERO);
        }
        self.engine.metrics.polls += 1;
        self.events.clear();
        let outcome = self.driver.poll(&mut self.events, limit);
        self.remote.wake();
        let woken = outcome?;
        self.engine.metrics.wakes += u64::from(woken);
        Ok(woken)
    }

    /// Everything a turn does after the wait. Whether there was anything.
    pub(super) fn turn(&mut self) -> bool {
        let _turning = Turning::enter();
        let now = self.clock_now();
        self.engine.begin_turn(now);
        self.engine.metrics.turns += 1;
        let began = self.engine.now;
        let mut worked = !self.events.is_empty();
        self.note_events();
        worked |= self.visit_ready();
        worked |= self.take_remote();
        worked |= self.fire_timers();
        worked |= self.reap();
        worked |= self.run_lanes();
        worked |= self.flush();
        worked |= self.reap();
        self.feed_starved();
        self.advance_drain();
        self.publish(began);
        worked
    }

    /// Buries the sessions whose life has ended. Whether there were any.
    pub(super) fn reap(&mut self) -> bool {
        let any = !self.engine.dead.is_empty();
        while let Some(key) = self.engine.dead.pop_front() {
            let Some(Slot::Session(_)) = self.slots.get(key) else {
                continue;
            };
            let Some(Slot::Session(session)) = self.slots.remove(key) else {
                continue;
            };
            self.sessions -= 1;
            let origin = session.session.peer().origin;
            let heard = session.heard;
            let reason = session.bury(&mut self.engine);
            match origin {
                Origin::Accepted(listener) => {
                    if let Some(key) = self.listeners.get(&listener) {
                        self.left_listener(*key);
                    }
                }
                Origin::Bound(listener) => _ = self.listeners.remove(&listener),
                Origin::Connected(connector) => self.link_closed(connector, key, reason, heard),
            }
        }
        any
    }

    /// Runs application code outside of any session.
    pub(super) fn guarded(&mut self, f: impl FnOnce(&mut Engine<H>)) {
        let engine = &mut self.engine;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| f(engine))) {
            engine.metrics.panics += 1;
            log::error!("event=panicked error={}", panic_text(&*panic));
        }
    }

    fn note_events(&mut self) {
        let events = std::mem::take(&mut self.events);
        self.engine.metrics.events += events.len() as u64;
        for event in &events {
            self.note(event);
        }
        self.events = events;
    }

    fn note(&mut self, event: &Event) {
        let key = Key::from(event.token);
        match self.slots.get_mut(key) {
            Some(Slot::Session(session)) => session.note(&mut self.engine, event),
            Some(Slot::Listener(listener)) => {
                if !listener.queued {
                    listener.queued = true;
                    self.engine.ready.push_back(key);
                }
            }
            Some(Slot::Connecting(_)) => self.connecting_ready(key, event),
            Some(Slot::Handshake(_)) => self.note_handshake(key, event),
            None => self.engine.metrics.stale += 1,
        }
    }

    /// Visits who is ready now; who becomes ready meanwhile waits for the next turn.
    fn visit_ready(&mut self) -> bool {
        let ready = self.engine.ready.len();
        let metrics = &mut self.engine.metrics;
        metrics.ready_max = metrics.ready_max.max(ready as u64);
        let visits = ready.min(self.engine.budget.visits);
        let home = Arc::clone(&self.engine.shared);
        for visit in 1..=visits {
            let Some(key) = self.engine.ready.pop_front() else {
                break;
            };
            let engine = &mut self.engine;
            match self.slots.get_mut(key) {
                Some(Slot::Session(session)) => {
                    session.queued = false;
                    let visited = catch_unwind(AssertUnwindSafe(|| session.visit(&home, engine)));
                    if let Err(panic) = visited {
                        session.panicked(engine, panic_text(&*panic));
                    }
                }
                Some(Slot::Listener(_)) => self.accept(key),
                Some(Slot::Handshake(_)) => self.visit_handshake(key),
                _ => {}
            }
            let budget = self.engine.budget.slice;
            if visit % CLOCK_EVERY == 0 && self.clock_now() >= later(self.engine.now, budget) {
                break;
            }
        }
        ready > 0
    }

    fn take_remote(&mut self) -> bool {
        let mut taken = 0;
        while taken < self.engine.budget.remote {
            let Some(item) = self.remote.drain(1).next() else {
                break;
            };
            taken += 1;
            self.obey(item);
        }
        self.engine.metrics.remote_items += taken as u64;
        taken > 0
    }

    fn obey(&mut self, item: Remote<H>) {
        match item {
            Remote::Bytes(to, payload) => match self.slots.get_mut(to.into()) {
                Some(Slot::Session(session)) => session.accept_payload(&mut self.engine, payload),
                _ => self.engine.metrics.stale += 1,
            },
            Remote::Call(to, payload, call) => match self.slots.get_mut(to.into()) {
                Some(Slot::Session(session)) => {
                    session.accept_call(&mut self.engine, payload, call);
                }
                _ => {
                    self.engine.metrics.stale += 1;
                    let gone = Err(Error::Closed(CloseReason::Local));
                    self.guarded(|_| call.completion.complete(gone));
                }
            },
            Remote::ForgetCall(of, serial) => {
                self.with_session(of, |session, engine| session.forget_call(engine, serial));
            }
            Remote::Batch(batch) => self.apply_batch(batch),
            Remote::Close(id) => self.tell(id, Incident::Close(CloseReason::Local)),
            Remote::Abort(id, reason) => self.tell(id, Incident::Abort(reason)),
            Remote::Panicked(id, text) => {
                self.with_session(id, |session, engine| session.panicked(engine, text));
            }
            Remote::Tick(id, period) => {
                self.with_session(id, |session, engine| session.set_tick(engine, period));
            }
            Remote::Socket(id, f) => {
                if let Some(Slot::Session(session)) = self.slots.get_mut(id.into())
                    && let Some(socket) = session.transport.socket()
                {
                    let _ = catch_unwind(AssertUnwindSafe(|| f(&socket)));
                }
            }
            Remote::LaneRoom(lane) => {
                let waiters = self.engine.gather.take_waiters(lane);
                self.resume(waiters);
            }
            Remote::BlockingRoom => {
                let waiters = self.engine.blocking.take_waiters();
                self.resume(waiters);
            }
            Remote::LaneWork => {}
            Remote::Handshaken(key, stack, advance) => self.handshaken(key, stack, advance),
            Remote::LaneFailed(lane, text) => {
                self.failure
                    .get_or_insert_with(|| format!("lane {lane} panicked: {text}"));
            }
            Remote::Listen(request) => {
                let (at, options, completion) = *request;
                let outcome = self.listen(at, options);
                let outcome = outcome.map_err(Error::Io).and_then(|id| {
                    let address = self.address(id).ok_or(Error::ReactorGone)?;
                    Ok(Listening { id, address })
                });
                self.guarded(|_| Completion::complete(completion, outcome));
            }
            Remote::Connect(request) => {
                let (id, to, options) = *request;
                self.start_connector(id, to, options);
            }
            Remote::Disconnect(id) => self.disconnect(id, CloseReason::Local),
            Remote::Resolved(resolved) => self.resolved(resolved),
            Remote::SetTimer(id, delay, f) => self.set_app_timer(id, delay, f),
            Remote::CancelTimer(id) => {
                if let Some((timer, _)) = self.engine.app_timers.remove(&id) {
                    self.engine.wheel.cancel(timer);
                }
            }
            Remote::Drain(deadline) => self.start_drain(deadline),
        }
    }

    fn with_session(
        &mut self,
        id: SessionId,
        f: impl FnOnce(&mut crate::net::connection::Connection<H, D::Stream>, &mut Engine<H>),
    ) {
        match self.slots.get_mut(id.into()) {
            Some(Slot::Session(session)) => f(session, &mut self.engine),
            _ => self.engine.metrics.stale += 1,
        }
    }

    fn tell(&mut self, id: SessionId, incident: Incident) {
        self.with_session(id, |session, engine| session.incident(engine, incident));
    }

    /// Sessions that were paused may read again.
    fn resume(&mut self, keys: Vec<Key>) {
        for key in keys {
            if let Some(Slot::Session(session)) = self.slots.get_mut(key) {
                session.unblock(&mut self.engine);
            }
        }
    }

    /// Puts what a lane sent into the outboxes.
    fn apply_batch(&mut self, mut batch: OutBatch) {
        let mut at = 0;
        while let Some(entry) = batch.entries.pop_front() {
            match entry {
                Entry::Piece { to, bytes, frames } => {
                    let piece = &batch.bytes[at..at + bytes];
                    at += bytes;
                    self.with_session(to, |session, engine| {
                        session.accept_piece(engine, piece, frames);
                    });
                }
                Entry::Packet { to, bytes, address } => {
                    let piece = &batch.bytes[at..at + bytes];
                    at += bytes;
                    self.with_session(to, |session, engine| {
                        session.accept_packet(engine, piece, address);
                    });
                }
                Entry::Linked { to, bytes } => {
                    self.with_session(to, |session, engine| session.accept_linked(engine, bytes));
                }
                Entry::Close(id) => self.tell(id, Incident::Close(CloseReason::Local)),
                Entry::Abort(id) => self.tell(id, Incident::Abort(CloseReason::Aborted)),
            }
        }
        self.engine.shared.recycle_batch(batch);
    }

    fn set_app_timer(&mut self, id: u64, delay: Duration, f: TimerFn) {
        if self.engine.app_timers.len() >= self.engine.limits.timers {
            log::error!("event=limit what=timers");
            return;
        }
        // The turn's time was read before the timer was asked for; counted from there it could be early.
        let at = later(self.clock_now(), delay);
        let timer = self.engine.set_timer_at(at, Timer::App(id));
        self.engine.app_timers.insert(id, (timer, f));
    }

    fn fire_timers(&mut self) -> bool {
        let now = self.engine.tick();
        let mut fired = 0;
        while fired < self.engine.budget.timers {
            let Some((_, (due, timer))) = self.engine.wheel.pop_expired(now) else {
                break;
            };
            fired += 1;
            self.engine.metrics.note_lateness(now.since(due));
            self.fire(timer, due);
        }
        self.engine.metrics.timer_fires += fired as u64;
        fired > 0
    }

    fn fire(&mut self, timer: Timer, due: Tick) {
        match timer {
            Timer::Session(key, which) => {
                self.with_session(key.session(), |session, engine| {
                    session.timer(engine, which)
                });
            }
            Timer::Call(key, id) => {
                self.with_session(key.session(), |session, engine| {
                    session.call_expired(engine, id)
                });
            }
            Timer::Connecting(key) => self.connect_timed_out(key),
            Timer::Handshake(key) => self.handshake_timed_out(key),
            Timer::Listener(key) => {
                if let Some(Slot::Listener(listener)) = self.slots.get_mut(key) {
                    listener.timer = None;
                    if !listener.queued {
                        listener.queued = true;
                        self.engine.ready.push_back(key);
                    }
                }
            }
            Timer::Connector(id, link) => {
                self.start_round(crate::net::id::ConnectorId(id), link);
            }
            Timer::App(id) => self.fire_app(id, due),
            Timer::Drain => {}
        }
    }

    fn fire_app(&mut self, id: u64, due: Tick) {
        let Some((_, waiting)) = self.engine.app_timers.get_mut(&id) else {
            return;
        };
        // Its place stays while it runs: to give it up and take it again would allocate.
        match std::mem::replace(waiting, TimerFn::Running) {
            TimerFn::Once(f) => {
                self.engine.app_timers.remove(&id);
                self.guarded(|_| f());
            }
            TimerFn::Every(period, mut f) => {
                // From the moment it was due, so that it does not drift; a late one is not made up for.
                let due = self.engine.shared.epoch + Duration::from_millis(due.0);
                let next = later(due, period);
                let next = next.max(self.engine.now);
                let timer = self.engine.set_timer_at(next, Timer::App(id));
                self.guarded(|_| f());
                if let Some(place) = self.engine.app_timers.get_mut(&id) {
                    *place = (timer, TimerFn::Every(period, f));
                }
            }
            TimerFn::Running => {}
        }
    }

    /// Hands each lane its batch, and runs the lanes that are ours.
    fn run_lanes(&mut self) -> bool {
        let (batches, messages) = self.engine.gather.hand_over();
        self.engine.metrics.lane_batches += batches;
        self.engine.metrics.lane_messages += messages;
        if self.inline.is_empty() {
            return batches > 0;
        }
        let shared = std::sync::Arc::clone(&self.engine.shared);
        let mut inline = std::mem::take(&mut self.inline);
        let now = self.engine.now;
        let has_work = |runner: &LaneRunner<H>| runner.has_work(&shared.lanes, now);
        let mut ready = std::mem::take(&mut self.lanes_ready);
        ready.clear();
        ready.extend((0..inline.len()).filter(|i| has_work(&inline[*i])));
        self.driver.schedule_lanes(&mut ready);
        for lane in &ready {
            let runner = &mut inline[*lane];
            let max = self.driver.batch_size(shared.lanes.waiting(runner.index()));
            if let Err(text) = runner.run(&shared.lanes, now, max, |_| {}) {
                log::error!("lane={} event=panicked error={text}", runner.index());
                self.failure
                    .get_or_insert_with(|| format!("lane {} panicked: {text}", runner.index()));
            }
            if let Some(batch) = runner.out.take() {
                self.apply_batch(batch);
            }
        }
        self.inline = inline;
        let worked = batches > 0 || !ready.is_empty();
        self.lanes_ready = ready;
        worked
    }

    /// Writes each session that has something, once.
    fn flush(&mut self) -> bool {
        let mut dirty = std::mem::take(&mut self.engine.dirty);
        let any = !dirty.is_empty();
        for key in dirty.drain(..) {
            if let Some(Slot::Session(session)) = self.slots.get_mut(key) {
                session.out.dirty = false;
                session.flush(&mut self.engine);
            }
        }
        // Whoever became dirty meanwhile waits for the next turn.
        dirty.append(&mut self.engine.dirty);
        self.engine.dirty = dirty;
        any
    }

    /// Lets those read again who were not read because too many bytes waited in all. After the burials: a session that
    /// is gone takes its bytes along.
    fn feed_starved(&mut self) {
        if !self.engine.starved.is_empty() && !self.engine.is_overfull() {
            let starved = std::mem::take(&mut self.engine.starved);
            self.resume(starved);
        }
    }

    fn publish(&mut self, began: Instant) {
        let wake = self.remote.stats();
        let sessions = self.sessions as u64;
        let engine = &mut self.engine;
        let metrics = &mut engine.metrics;
        metrics.wakes_saved = wake.suppressed();
        metrics.wakes_sent = wake.wakes;
        metrics.remote_depth = wake.pushed.saturating_sub(wake.drained);
        metrics.blocking_depth = engine.blocking.pending() as u64;
        metrics.timers = engine.wheel.len() as u64;
        metrics.sessions = sessions;
        metrics.buffered = engine.buffered as u64;
        metrics.lane_depth = engine.shared.lanes.occupancy() as u64;
        if metrics.turns.is_multiple_of(TIMED_EVERY) {
            let took = self.clock.now().saturating_duration_since(began);
            self.engine
                .metrics
                .turn_micros
                .note(took.as_micros() as u64);
        }
        self.engine.shared.publish(&self.engine.metrics);
    }
}

/// Visits between two looks at the clock.
const CLOCK_EVERY: usize = 16;

/// One turn in this many is timed.
const TIMED_EVERY: u64 = 16;
