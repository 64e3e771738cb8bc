//! A listening socket and what to do when accepting fails (network.md B.6).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::config::{ListenOptions, SessionConfig};
use super::id::ListenerId;
use super::transport::plan::Plan;
use super::wheel::TimerId;

/// A listener as the reactor sees it.
pub(crate) struct ListenerSlot<L> {
    pub(crate) id: ListenerId,
    pub(crate) socket: L,
    pub(crate) name: Arc<str>,
    pub(crate) session: SessionConfig,
    /// Most open sessions.
    limit: usize,
    pub(crate) open: usize,
    /// On the ready list.
    pub(crate) queued: bool,
    /// Left alone until fewer handshakes are under way.
    pub(crate) held: bool,
    pub(crate) plan: Plan,
    /// Waiting before the next attempt, since descriptors or memory ran out.
    stall: Option<Duration>,
    /// Of that attempt.
    pub(crate) timer: Option<TimerId>,
}

impl<L> ListenerSlot<L> {
    pub(crate) fn new(
        id: ListenerId,
        socket: L,
        options: &ListenOptions,
        session: SessionConfig,
        plan: Plan,
    ) -> Self {
        ListenerSlot {
            id,
            socket,
            name: options.name.as_str().into(),
            session,
            limit: options.connections,
            open: 0,
            queued: false,
            held: false,
            plan,
            stall: None,
            timer: None,
        }
    }

    /// Whether one more session is allowed.
    pub(crate) fn has_room(&self) -> bool {
        self.open < self.limit
    }

    /// Resources ran out: how long to wait. Logged once, until accepting works again.
    pub(crate) fn exhausted(&mut self, error: &io::Error) -> Duration {
        let wait = match self.stall {
            None => {
                log::warn!("listener={} event=accept-stalled error={error}", self.name);
                STALL_MIN
            }
            Some(before) => (before * 2).min(STALL_MAX),
        };
        self.stall = Some(wait);
        wait
    }

    /// Accepting works.
    pub(crate) fn recovered(&mut self) {
        if self.stall.take().is_some() {
            log::info!("listener={} event=accept-recovered", self.name);
        }
    }
}

/// What a failed accept means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// Nobody waits.
    Empty,
    /// That connection is lost, the next may be fine.
    Transient,
    /// Descriptors or memory ran out. No edge will announce the connections that wait.
    Exhausted,
    /// The listener itself is broken.
    Broken,
}

/// Sorts an error of accept.
pub(crate) fn classify(error: &io::Error) -> AcceptFailure {
    if error.kind() == io::ErrorKind::WouldBlock {
        return AcceptFailure::Empty;
    }
    match error.raw_os_error() {
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENOPROTOOPT
            | libc::EPERM,
        ) => AcceptFailure::Transient,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            AcceptFailure::Exhausted
        }
        Some(_) => AcceptFailure::Broken,
        // A simulated network has kinds only.
        None => match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {
                AcceptFailure::Transient
            }
            io::ErrorKind::OutOfMemory | io::ErrorKind::QuotaExceeded => AcceptFailure::Exhausted,
            _ => AcceptFailure::Broken,
        },
    }
}

const STALL_MIN: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::endpoint::Endpoint;

    #[test]
    fn accept_errors_are_sorted() {
        let sorted = |code| classify(&io::Error::from_raw_os_error(code));
        assert_eq!(sorted(libc::EAGAIN), AcceptFailure::Empty);
        assert_eq!(sorted(libc::ECONNABORTED), AcceptFailure::Transient);
        assert_eq!(sorted(libc::EPERM), AcceptFailure::Transient);
        assert_eq!(sorted(libc::EMFILE), AcceptFailure::Exhausted);
        assert_eq!(sorted(libc::ENOBUFS), AcceptFailure::Exhausted);
        assert_eq!(sorted(libc::EBADF), AcceptFailure::Broken);
    }

    #[test]
    fn waiting_for_resources_doubles_and_starts_again() {
        let options = ListenOptions::default();
        let plan = Plan::serve(
            &Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
            &options,
        )
        .expect("plain");
        let mut slot =
            ListenerSlot::new(ListenerId(1), (), &options, SessionConfig::default(), plan);
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let waits: Vec<_> = (0..9).map(|_| slot.exhausted(&error).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        slot.recovered();
        assert_eq!(slot.exhausted(&error), STALL_MIN);
    }
}
