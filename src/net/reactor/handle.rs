//! The reactor's operations from any thread, and timers of the application.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::net::address::Address;
use crate::net::config::{ConnectOptions, ListenOptions};
use crate::net::endpoint::Endpoint;
use crate::net::handler::Handler;
use crate::net::id::{ConnectorId, ListenerId};
use crate::net::lane::Lanes;
use crate::net::metrics::Metrics;
use crate::net::pending::Pending;
use crate::net::remote::{Remote, TimerFn};
use crate::net::shared::Shared;

/// A reactor seen from anywhere: cheap to clone, usable from any thread and from callbacks, never blocking. What is asked
/// of a reactor that is gone does nothing.
pub struct Handle<H: Handler> {
    shared: Arc<Shared<H>>,
}

/// A listener that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Its id.
    pub id: ListenerId,
    /// The bound address, with the port that was chosen.
    pub address: Address,
}

impl<H: Handler> Handle<H> {
    pub(crate) fn new(shared: &Arc<Shared<H>>) -> Self {
        Handle {
            shared: Arc::clone(shared),
        }
    }

    /// Binds and listens; the answer comes when the reactor has done it. Dropping the answer leaves the listener where it is.
    pub fn listen(&self, at: Endpoint, options: ListenOptions) -> Pending<Listening> {
        let (completion, pending) = Pending::new();
        self.push(Remote::Listen(Box::new((at, options, completion))));
        pending
    }

    /// Connects, and stays connected until [`Handle::disconnect`]. Sessions are told to `on_open`, failed attempts to
    /// `on_connect_error`.
    pub fn connect(&self, to: Endpoint, options: ConnectOptions) -> ConnectorId {
        let id = ConnectorId(self.shared.next_serial());
        self.push(Remote::Connect(Box::new((id, to, options))));
        id
    }

    /// Ends a connector: its sessions are closed gracefully, its attempts given up.
    pub fn disconnect(&self, connector: ConnectorId) {
        self.push(Remote::Disconnect(connector));
    }

    /// As [`super::Reactor::drain`].
    pub fn drain(&self, deadline: Duration) {
        self.push(Remote::Drain(deadline));
    }

    /// Calls `f` once on the reactor's thread, not before `delay` has passed. `f` must not block. Beyond
    /// [`Limits::timers`](crate::net::Limits::timers), or when the reactor ends before, it is dropped without being called.
    ///
    /// ```
    /// use std::time::Duration;
    /// use seamio::net::{Callbacks, Config, Lines, Reactor};
    ///
    /// let mut reactor = Reactor::new(Config::default(), Callbacks::new(Lines))?;
    /// let handle = reactor.handle();
    /// let tick = handle.every(Duration::from_millis(2), || println!("tick"));
    /// let stop = handle.clone();
    /// handle.after(Duration::from_millis(10), move || {
    ///     tick.cancel();
    ///     stop.drain(Duration::ZERO);
    /// });
    /// reactor.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn after(&self, delay: Duration, f: impl FnOnce() + Send + 'static) -> Timer<H> {
        self.timer(delay, TimerFn::Once(Box::new(f)))
    }

    /// Calls `f` again and again on the reactor's thread, `period` apart, at least 1 ms. `f` must not block. Calls that a busy
    /// reactor missed are not made up for. See [`Handle::after`] for when it is dropped.
    pub fn every(&self, period: Duration, f: impl FnMut() + Send + 'static) -> Timer<H> {
        let period = period.max(Duration::from_millis(1));
        self.timer(period, TimerFn::Every(period, Box::new(f)))
    }

    /// The reactor's counters as of its last turn.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// The way into the lanes for events without a socket.
    pub fn lanes(&self) -> Lanes<H> {
        Lanes {
            table: Arc::clone(&self.shared.lanes),
        }
    }

    /// Whether the reactor is still there.
    pub fn is_alive(&self) -> bool {
        !self.shared.remote.is_closed()
    }

    fn timer(&self, delay: Duration, f: TimerFn) -> Timer<H> {
        let id = self.shared.next_serial();
        self.push(Remote::SetTimer(id, delay, f));
        Timer {
            id,
            shared: Arc::clone(&self.shared),
        }
    }

    fn push(&self, item: Remote<H>) {
        // A reactor that is gone has nobody to tell.
        let _ = self.shared.remote.push_always(item);
    }
}

// By hand: a derive would ask for `H: Clone`.
impl<H: Handler> Clone for Handle<H> {
    fn clone(&self) -> Self {
        Handle::new(&self.shared)
    }
}

impl<H: Handler> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("alive", &self.is_alive())
            .finish()
    }
}

/// A timer of the application. Dropping it changes nothing; it fires all the same.
pub struct Timer<H: Handler> {
    id: u64,
    shared: Arc<Shared<H>>,
}

impl<H: Handler> Timer<H> {
    /// Takes the timer back, if it has not fired yet.
    pub fn cancel(self) {
        let _ = self.shared.remote.push_always(Remote::CancelTimer(self.id));
    }
}

impl<H: Handler> fmt::Debug for Timer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("id", &self.id).finish()
    }
}
