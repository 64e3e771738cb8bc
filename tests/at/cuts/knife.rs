//! Every way from one client to the outside, through a knife that counts what the client says and cuts at a chosen step.
//!
//! What is cut is cut as a `kill -9` cuts it, seen from outside: the connections end, nothing that the client does afterwards
//! reaches anybody. So whatever the client's destructors do in this process repairs nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::speech::{Listener, Speech, Step, Unit};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request is carried out, and the client is gone before it hears so. All its connections end, for good.
    Kill,
    /// The connection ends before the request arrives. The client may connect again.
    LostBefore,
    /// The request is carried out, and the connection ends before the answer arrives. The client may connect again.
    LostBehind,
    /// The request arrives late: when [`Knife::release`] says so.
    Held,
}

/// Where to cut: at which step, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) step: usize,
    pub(super) fault: Fault,
}

/// Which steps count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    All,
    /// Those that are no [preparation](Step::is_preparation).
    Effective,
}

/// The ways of one client.
pub(super) struct Knife {
    shared: Arc<Shared>,
    doors: Vec<SocketAddr>,
}

struct Shared {
    state: Mutex<State>,
    /// An answer came to a mute connection, what was held is released, or it is over.
    changed: Condvar,
    struck: Notify,
}

#[derive(Default)]
struct State {
    /// None before it begins.
    counted: Option<Counted>,
    cut: Option<Cut>,
    steps: Vec<Step>,
    struck: Option<Step>,
    /// Nothing gets through any more.
    dead: bool,
    released: bool,
    links: Vec<Link>,
}

/// A connection and its continuation.
struct Link {
    client: TcpStream,
    server: TcpStream,
    listener: Listener,
    hears: Hears,
}

/// Whether the client hears answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    Everything,
    Nothing,
    /// Nothing, and something was said.
    Missed,
}

/// What becomes of a unit.
enum Verdict {
    Pass,
    Swallow,
    Strike(Fault, Step),
}

impl Knife {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changed: Condvar::new(),
                struck: Notify::new(),
            }),
            doors: Vec::new(),
        }
    }

    /// A way to this server.
    pub(super) fn door(&mut self, speech: Speech, server: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let door = listener.local_addr().expect("an address");
        let shared = self.shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.lock().dead {
                    return;
                }
                if let Ok(client) = client {
                    shared.lead(speech, client, &server);
                }
            }
        });
        self.doors.push(door);
        door
    }

    /// Counts steps of this kind from now on, and cuts at one of them.
    pub(super) fn count(&self, what: Counted, cut: Option<Cut>) {
        let mut state = self.shared.lock();
        state.counted = Some(what);
        state.cut = cut;
    }

    /// Waits until it has cut.
    pub(super) async fn struck(&self) {
        self.shared.struck.notified().await;
    }

    /// The step at which it has cut.
    pub(super) fn struck_at(&self) -> Option<Step> {
        self.shared.lock().struck.clone()
    }

    /// What the client has said so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.shared.lock().steps.clone()
    }

    /// Lets go what is held.
    pub(super) fn release(&self) {
        self.shared.lock().released = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Knife {
    fn drop(&mut self) {
        self.shared.cut_all();
        for door in &self.doors {
            // The accepting thread looks up.
            let _ = TcpStream::connect(door);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lead(self: &Arc<Self>, speech: Speech, client: TcpStream, server: &str) {
        let Ok(server) = TcpStream::connect(server) else {
            return;
        };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let twin = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        let (said, asked) = (twin(&client), twin(&server));
        let (answered, told) = (twin(&server), twin(&client));
        let mut state = self.lock();
        let link = state.links.len();
        state.links.push(Link {
            client,
            server,
            listener: Listener::new(speech),
            hears: Hears::Everything,
        });
        drop(state);
        let shared = self.clone();
        std::thread::spawn(move || shared.requests(link, said, asked));
        let shared = self.clone();
        std::thread::spawn(move || shared.answers(link, answered, told));
    }

    fn requests(&self, link: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            self.lock().links[link].listener.hear(&bytes[..n]);
            while let Some((unit, verdict)) = self.next(link) {
                match verdict {
                    Verdict::Pass => {
                        if to.write_all(&unit.bytes).is_err() {
                            return self.cut(link);
                        }
                    }
                    Verdict::Swallow => return self.cut(link),
                    Verdict::Strike(fault, step) => {
                        if !self.strike(link, fault, &step, &unit, &mut to) {
                            return;
                        }
                    }
                }
            }
        }
        self.cut(link);
    }

    /// The next unit, and whether it is the one.
    fn next(&self, link: usize) -> Option<(Unit, Verdict)> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let unit = state.links[link].listener.next()?;
        if state.dead {
            return Some((unit, Verdict::Swallow));
        }
        let counts = |step: &Step| match state.counted {
            Some(Counted::All) => true,
            Some(Counted::Effective) => !step.is_preparation(),
            None => false,
        };
        let Some(step) = unit.step.clone().filter(counts) else {
            return Some((unit, Verdict::Pass));
        };
        state.steps.push(step.clone());
        match state.cut {
            Some(cut) if cut.step == state.steps.len() => {
                state.dead = cut.fault == Fault::Kill;
                if matches!(cut.fault, Fault::Kill | Fault::LostBehind) {
                    state.links[link].hears = Hears::Nothing;
                }
                state.struck = Some(step.clone());
                Some((unit, Verdict::Strike(cut.fault, step)))
            }
            _ => Some((unit, Verdict::Pass)),
        }
    }

    /// Whether the connection lives on.
    fn strike(
        &self,
        link: usize,
        fault: Fault,
        step: &Step,
        unit: &Unit,
        to: &mut TcpStream,
    ) -> bool {
        match fault {
            Fault::Kill | Fault::LostBehind => {
                if to.write_all(&unit.bytes).is_ok() && step.is_answered {
                    self.wait(|state| state.links[link].hears == Hears::Missed);
                }
                match fault {
                    Fault::Kill => self.cut_all(),
                    _ => self.cut(link),
                }
                self.struck.notify_one();
                false
            }
            Fault::LostBefore => {
                self.cut(link);
                self.struck.notify_one();
                false
            }
            Fault::Held => {
                self.struck.notify_one();
                self.wait(|state| state.released || state.dead);
                to.write_all(&unit.bytes).is_ok()
            }
        }
    }

    fn wait(&self, until: impl Fn(&State) -> bool) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |state| !until(state));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn answers(&self, link: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            let mut state = self.lock();
            let heard = &mut state.links[link];
            heard.listener.hear_answer(&bytes[..n]);
            if heard.hears != Hears::Everything {
                heard.hears = Hears::Missed;
                drop(state);
                self.changed.notify_all();
                continue;
            }
            drop(state);
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let mut state = self.lock();
        state.links[link].cut();
        // Nothing comes any more, for whoever waits for it.
        state.links[link].hears = Hears::Missed;
        drop(state);
        self.changed.notify_all();
    }

    fn cut(&self, link: usize) {
        self.lock().links[link].cut();
    }

    fn cut_all(&self) {
        let mut state = self.lock();
        state.dead = true;
        for link in &state.links {
            link.cut();
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Link {
    fn cut(&self) {
        for stream in [&self.client, &self.server] {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Until the other end has done what it was asked. More than any statement here takes.
const PATIENCE: Duration = Duration::from_secs(10);
