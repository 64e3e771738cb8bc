//! The thread that turns everything in a kit, and moves its clock when told to.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::history::History;
use crate::client::seata::Unturned;
use crate::net::{Handler, Reactor, Turn};
use crate::sim::{Network, SimClock, SimDriver};

/// Something that is turned: a reactor with what belongs to it.
pub(crate) trait Part: Send {
    /// Does what there is to do now. None when it is over.
    fn turn(&mut self) -> io::Result<Option<bool>>;

    /// How long there is nothing to do if nothing happens. From now on whoever asks something of it wakes the thread.
    fn rest(&mut self) -> Option<Duration>;
}

/// The thread's handle. Dropped, it ends the thread and everything on it.
pub(super) struct Stage {
    commands: Mutex<Option<Sender<Command>>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Add(Box<dyn Part>),
    Advance(Duration, Sender<()>),
}

struct Crew {
    network: Network,
    history: Arc<History>,
    commands: Receiver<Command>,
    parts: Vec<Box<dyn Part>>,
    over: bool,
}

impl Stage {
    pub(super) fn start(network: &Network, history: &Arc<History>) -> io::Result<Self> {
        let (sender, commands) = channel();
        let mut crew = Crew {
            network: network.clone(),
            history: history.clone(),
            commands,
            parts: Vec::new(),
            over: false,
        };
        let thread = thread::Builder::new().name("seamio-kit".to_owned());
        let thread = thread.spawn(move || crew.run())?;
        let crew = thread.thread().clone();
        network.on_wake(move || crew.unpark());
        Ok(Self {
            commands: Mutex::new(Some(sender)),
            thread: Some(thread),
        })
    }

    pub(super) fn add(&self, part: Box<dyn Part>) {
        self.send(Command::Add(part));
    }

    /// Returns when the clock has moved so far and everything rests.
    pub(super) fn advance(&self, by: Duration) {
        let (done, arrived) = channel();
        self.send(Command::Advance(by, done));
        // A thread that is gone has said why.
        let _ = arrived.recv();
    }

    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn send(&self, command: Command) {
        let sender = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // A thread that is gone has said why.
            let _ = sender.send(command);
        }
        self.wake();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let sender = self.commands.get_mut();
        *sender.unwrap_or_else(PoisonError::into_inner) = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic on it was printed.
            let _ = thread.join();
        }
    }
}

impl Crew {
    fn run(&mut self) {
        while !self.over {
            if let Err(error) = self.live() {
                log::error!("event=kit-failed error={error}");
                return;
            }
        }
    }

    fn live(&mut self) -> io::Result<()> {
        self.settle()?;
        match self.commands.try_recv() {
            Ok(Command::Add(part)) => self.parts.push(part),
            Ok(Command::Advance(by, done)) => {
                self.advance(by)?;
                // Whoever waited may have gone.
                let _ = done.send(());
            }
            Err(TryRecvError::Empty) => thread::park(),
            Err(TryRecvError::Disconnected) => self.over = true,
        }
        Ok(())
    }

    /// Turns until nobody has anything to do at this moment. How long that lasts if nobody asks for anything.
    fn settle(&mut self) -> io::Result<Option<Duration>> {
        loop {
            let mut worked = false;
            let mut failed = None;
            self.parts.retain_mut(|part| match part.turn() {
                Ok(Some(did)) => {
                    worked |= did;
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if worked {
                continue;
            }
            let rests = self.parts.iter_mut().filter_map(|part| part.rest()).min();
            let next = [rests, self.network.next_arrival()];
            let next = next.into_iter().flatten().min();
            if next != Some(Duration::ZERO) {
                return Ok(next);
            }
        }
    }

    fn advance(&mut self, by: Duration) -> io::Result<()> {
        let mut left = by;
        loop {
            let next = self.settle()?;
            let next = self.wait_for_work(next)?;
            let step = next.filter(|next| *next <= left);
            self.network.clock().advance(step.unwrap_or(left));
            left = left.saturating_sub(step.unwrap_or(left));
            if left.is_zero() {
                let next = self.settle()?;
                self.wait_for_work(next)?;
                return Ok(());
            }
        }
    }

    /// Lets the application finish the second phases that it was asked for, as long as it needs and not for ever.
    fn wait_for_work(&mut self, mut next: Option<Duration>) -> io::Result<Option<Duration>> {
        for _ in 0..PAUSES_MAX {
            if self.history.at_work() == 0 {
                break;
            }
            thread::park_timeout(PAUSE);
            next = self.settle()?;
        }
        Ok(next)
    }
}

impl<H: Handler> Part for Reactor<H, SimDriver, SimClock> {
    fn turn(&mut self) -> io::Result<Option<bool>> {
        Ok(match self.poll_once(None)? {
            Turn::Worked => Some(true),
            Turn::Idle => Some(false),
            Turn::Drained => None,
        })
    }

    fn rest(&mut self) -> Option<Duration> {
        self.next_timeout()
    }
}

impl Part for Unturned<SimDriver, SimClock> {
    fn turn(&mut self) -> io::Result<Option<bool>> {
        Part::turn(&mut self.reactor)
    }

    fn rest(&mut self) -> Option<Duration> {
        Part::rest(&mut self.reactor)
    }
}

/// How long the application is left alone at a time.
const PAUSE: Duration = Duration::from_millis(50);
/// How often, for one step of the clock.
const PAUSES_MAX: u32 = 100;
