//! What the application's threads ask of the client's thread. Closed with it, so that nobody waits for a thread that is gone.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::Error;
use super::exchange::{Answer, CallId, Request};
use super::resource::Resource;
use super::ticket::Sink;
use super::wire::{Event, LANE, Wire};
use crate::net::{Handle, Lanes, SessionId};
use crate::proto::frame::FrameHead;
use crate::proto::message::Message;

/// Asked of the client's thread.
pub(crate) enum Command {
    /// The first: with whom to connect.
    Start {
        handle: Handle<Wire>,
        addresses: Vec<String>,
        /// How long to wait for a first coordinator, and whom to tell.
        ready: Option<(Duration, Sink<Result<(), Error>>)>,
    },
    /// A request to a coordinator.
    Ask {
        id: CallId,
        request: Request,
        sink: Option<Sink<Answer>>,
    },
    /// Its caller went away.
    Forget(CallId),
    /// A new resource.
    Resource {
        resource: Arc<dyn Resource>,
        sink: Sink<Result<(), Error>>,
    },
    /// Another list of coordinators.
    Addresses(Vec<String>),
    /// A coordinator's request has been worked on.
    Served {
        session: SessionId,
        head: FrameHead,
        answer: Option<Message>,
    },
    /// Something runs that an orderly end waits for.
    Hold,
    /// It is over.
    Release,
    /// Finish what is under way.
    Close {
        grace: Duration,
        sink: Option<Sink<Result<(), Error>>>,
    },
}

/// A queue into the client's thread.
#[derive(Default)]
pub(crate) struct Inbox {
    /// None once the thread is gone.
    commands: Mutex<State>,
    lanes: OnceLock<Lanes<Wire>>,
    /// Of the first connection, this end.
    local: OnceLock<IpAddr>,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Command>,
    closed: bool,
}

impl Inbox {
    /// The way to wake the thread.
    pub(crate) fn connect(&self, lanes: Lanes<Wire>) {
        let _ = self.lanes.set(lanes);
    }

    /// A connection has this address at this end.
    pub(crate) fn note_local(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            let _ = self.local.set(address);
        }
    }

    /// The machine's address, as the first connection had it.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.local.get().copied()
    }

    /// Asks. Never blocks for longer than another push takes. A command that comes too late is dropped, and with it its sink,
    /// which tells its caller.
    pub(crate) fn push(&self, command: Command) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return drop(command);
        }
        state.commands.push_back(command);
        let first = state.commands.len() == 1;
        drop(state);
        if first && let Some(lanes) = self.lanes.get() {
            // Refused only when the thread is about to close this inbox.
            let _ = lanes.complete(LANE, Event::Asked);
        }
    }

    /// Gives everything that was asked since, for an empty queue whose room is used again.
    pub(crate) fn swap(&self, empty: &mut VecDeque<Command>) {
        debug_assert!(empty.is_empty(), "what was taken before is done");
        if empty.capacity() > ROOM_KEPT {
            *empty = VecDeque::new();
        }
        std::mem::swap(&mut self.lock().commands, empty);
    }

    /// Everything that was asked since.
    #[cfg(test)]
    pub(crate) fn take(&self) -> VecDeque<Command> {
        let mut commands = VecDeque::new();
        self.swap(&mut commands);
        commands
    }

    /// The thread is gone.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let commands = std::mem::take(&mut state.commands);
        drop(state);
        drop(commands);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commands for which room is kept between two turns: some hundred kilobytes.
const ROOM_KEPT: usize = 1024;
