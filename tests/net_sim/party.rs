//! Both sides of the simulated runs: numbered frames, the handler that sends or echoes them, and the ledger in which it
//! notes what it saw and what was wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamio::net::{
    CloseReason, Codec, CodecError, ConnectorId, Cx, Decoded, Error, Handler, Input, Lane, LaneId,
    LaneInput, Lanes, Outbound, Output, Peer, Refused, Route, SendError, Session, SessionConfig,
    SessionId,
};
use seamio::sim::Rng;

/// One numbered frame of one client session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    /// The client session that made it.
    tag: u32,
    number: u32,
    payload: Bytes,
}

impl Numbered {
    pub(crate) fn new(tag: u32, number: u32, sizes: &Rng) -> Self {
        let mut rng = Rng::new(u64::from(tag) << 32 | u64::from(number));
        // Sizes differ from run to run, contents only from frame to frame.
        let most = if sizes.clone().chance(200) {
            40_000
        } else {
            600
        };
        let payload = (0..rng.size(most))
            .map(|at| (at as u8) ^ (number as u8))
            .collect();
        Numbered {
            tag,
            number,
            payload,
        }
    }

    pub(crate) fn is_intact(&self) -> bool {
        let mut bytes = self.payload.iter().enumerate();
        bytes.all(|(at, &byte)| byte == (at as u8) ^ (self.number as u8))
    }
}

/// Length, tag, number, payload.
pub(crate) struct Frames;

impl Codec for Frames {
    type In = Numbered;
    type Out = Numbered;
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn decode(
        &self,
        _state: &mut (),
        input: &mut Input<'_>,
    ) -> Result<Decoded<Numbered>, CodecError> {
        let word = |at: usize| {
            input
                .as_slice()
                .get(at..at + 4)?
                .try_into()
                .ok()
                .map(u32::from_be_bytes)
        };
        let Some(length) = word(0) else {
            return Ok(Decoded::Need(4));
        };
        let total = 4 + length as usize;
        if length < 8 {
            return Err(CodecError::malformed("a frame without a head"));
        }
        if input.len() < total {
            return Ok(Decoded::Need(total));
        }
        let (Some(tag), Some(number)) = (word(4), word(8)) else {
            return Ok(Decoded::Need(total));
        };
        input.advance(12);
        Ok(Decoded::Message(Numbered {
            tag,
            number,
            payload: input.take(total - 12),
        }))
    }

    fn encode(&self, message: &Numbered, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.put_u32(8 + message.payload.len() as u32);
        output.put_u32(message.tag);
        output.put_u32(message.number);
        output.append(message.payload.clone());
        Ok(())
    }
}

/// What one side saw of one session.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) closed: Option<CloseReason>,
    /// Frames a client handed to the session.
    pub(crate) sent: u32,
    /// The client session at the other end, or this one.
    pub(crate) tag: Option<u32>,
    pub(crate) received: u32,
    /// The server broke off: nothing is echoed any more, though requests may still come until the close takes effect.
    quit: bool,
}

/// What one reactor saw, and what it found wrong.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sessions: BTreeMap<SessionId, Seen>,
    pub(crate) wrong: Vec<String>,
    /// Client sessions that brought everything home.
    pub(crate) finished: BTreeSet<u32>,
    next_tag: u32,
    pub(crate) timers_fired: u32,
}

impl Ledger {
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    /// The session, which must be open.
    pub(crate) fn open(&mut self, id: SessionId, event: &str) -> &mut Seen {
        let known = self.sessions.get(&id).map(|seen| seen.closed);
        if known != Some(None) {
            self.wrong(format!("{event} of session {id} that is {known:?}"));
        }
        self.sessions.entry(id).or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    EchoInline,
    EchoInLanes,
}

/// What a runtime gone wrong would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    CloseTwice,
    NoClose,
    AfterClose,
    Leak,
}

/// The handler of both sides.
pub(crate) struct Party {
    pub(crate) role: Role,
    /// Of its reactor, so that no two clients use the same tags.
    pub(crate) number: u32,
    pub(crate) seed: u64,
    /// Frames each client session sends, and how many of them at once.
    pub(crate) frames: u32,
    pub(crate) depth: u32,
    /// How often, in thousandths, the server breaks off when it gets a frame.
    pub(crate) quits: u32,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    /// How it misrepresents what the runtime tells it.
    pub(crate) lie: Option<Lie>,
}

impl Party {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the depth allows. What does not fit now goes with the next echo or the next room.
    fn send_more(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        loop {
            let (tag, number) = {
                let mut ledger = self.ledger();
                let seen = ledger.open(session.id(), "sending");
                if seen.sent >= self.frames.min(seen.received + self.depth) {
                    return;
                }
                (seen.tag.unwrap_or(0), seen.sent)
            };
            match cx.send(&Numbered::new(
                tag,
                number,
                &Rng::new(self.seed ^ u64::from(number)),
            )) {
                Ok(_) => self.ledger().open(session.id(), "sent").sent += 1,
                Err(SendError::Full | SendError::Closed) => return,
                Err(error) => return self.ledger().wrong(format!("send: {error}")),
            }
        }
    }

    fn echo_arrived(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: Numbered) {
        let done = {
            let mut ledger = self.ledger();
            let seen = ledger.open(session.id(), "echo");
            let expected = (seen.tag, seen.received);
            seen.received += 1;
            let done = seen.received == self.frames;
            if expected != (Some(message.tag), message.number) || !message.is_intact() {
                let got = (message.tag, message.number);
                ledger.wrong(format!("echo {got:?} where {expected:?} was due"));
            }
            if done {
                ledger.finished.insert(message.tag);
            }
            done
        };
        match done {
            true => session.close(),
            false => self.send_more(cx, session),
        }
    }

    /// Counts a request; `false` when the server breaks off here.
    fn request_arrived(&self, session: &Session<Self>, message: &Numbered) -> bool {
        let mut ledger = self.ledger();
        let seen = ledger.open(session.id(), "request");
        let expected = (*seen.tag.get_or_insert(message.tag), seen.received);
        seen.received += 1;
        if expected != (message.tag, message.number) || !message.is_intact() {
            let got = (message.tag, message.number);
            ledger.wrong(format!("request {got:?} where {expected:?} was due"));
        }
        let mut rng =
            Rng::new(self.seed ^ u64::from(message.tag) << 20 ^ u64::from(message.number));
        let seen = ledger.open(session.id(), "request");
        if seen.quit || !rng.chance(self.quits) {
            return !seen.quit;
        }
        seen.quit = true;
        drop(ledger);
        match rng.chance(500) {
            true => session.abort(),
            false => session.close(),
        }
        false
    }
}

impl Handler for Party {
    type Codec = Frames;
    type Lane = EchoLane;
    type Event = Life;

    fn codec(&self) -> &Frames {
        &Frames
    }

    fn lane(&self, id: LaneId, _lanes: Lanes<Self>) -> EchoLane {
        EchoLane {
            rng: Rng::new(self.seed ^ id.0 as u64),
            live: BTreeSet::new(),
            parked: VecDeque::new(),
            ledger: Arc::clone(&self.ledger),
        }
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        {
            let mut ledger = self.ledger();
            ledger.next_tag += 1;
            let tag = (self.role == Role::Client).then_some(self.number << 16 | ledger.next_tag);
            let seen = Seen {
                tag,
                ..Seen::default()
            };
            if ledger.sessions.insert(session.id(), seen).is_some() {
                ledger.wrong(format!("session {} opened twice", session.id()));
            }
        }
        match self.role {
            Role::Client => self.send_more(cx, session),
            Role::EchoInline => {}
            Role::EchoInLanes => {
                let lane = lane_of(session);
                cx.post(lane, Life::Opened(session.id()))
                    .map_err(|_| Refused("lane is full".into()))?;
            }
        }
        Ok(())
    }

    fn route(&self, session: &Session<Self>, _message: &Numbered) -> Route {
        match self.role {
            Role::EchoInLanes => Route::Lane(lane_of(session)),
            Role::Client | Role::EchoInline => Route::Inline,
        }
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: Numbered) {
        if self.role == Role::Client {
            return self.echo_arrived(cx, session, message);
        }
        if self.request_arrived(session, &message) {
            match cx.send(&message) {
                Ok(_) | Err(SendError::Closed) => {}
                Err(error) => self.ledger().wrong(format!("echo: {error}")),
            }
        }
    }

    fn on_tick(&self, _cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        self.ledger().open(session.id(), "tick");
    }

    fn on_writable(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        self.ledger().open(session.id(), "writable");
        if self.role == Role::Client {
            self.send_more(cx, session);
        }
    }

    fn on_error(&self, _cx: &mut Cx<'_, Self>, session: &Session<Self>, error: &Error) {
        let mut ledger = self.ledger();
        ledger.open(session.id(), "error");
        if is_ours(error) {
            ledger.wrong(format!("session {}: {error}", session.id()));
        }
    }

    fn on_connect_error(&self, _: ConnectorId, error: &Error, _: Option<Instant>) {
        if is_ours(error) {
            self.ledger().wrong(format!("connecting: {error}"));
        }
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        if self.lie != Some(Lie::NoClose) {
            self.ledger().open(session.id(), "close").closed = Some(reason);
        }
        match self.lie {
            Some(Lie::CloseTwice) => {
                self.ledger().open(session.id(), "close");
            }
            Some(Lie::AfterClose) => self.on_tick(cx, session),
            Some(Lie::Leak) => std::mem::forget(vec![0u8; 10]),
            Some(Lie::NoClose) | None => {}
        }
        if self.role == Role::EchoInLanes
            && cx
                .post(lane_of(session), Life::Closed(session.id()))
                .is_err()
        {
            self.ledger().wrong("a closed event found no place");
        }
    }
}

/// Whether an error cannot be the network's doing: it cuts streams off, but it changes no byte.
fn is_ours(error: &Error) -> bool {
    match error {
        Error::Codec(_) | Error::Panic(_) => true,
        Error::Transport(text) => !CUT_OFF.iter().any(|end| text.contains(end)),
        _ => false,
    }
}

/// What a layer says of a stream that was cut off or fell silent.
const CUT_OFF: [&str; 2] = ["without a goodbye", "no answer to a probe"];

pub(crate) fn lane_of(session: &Session<Party>) -> LaneId {
    LaneId(session.id().as_u64() as usize % LANES)
}

/// What a lane is told about sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    Opened(SessionId),
    Closed(SessionId),
}

/// Echoes at once or later, in order, as a store that syncs would let it.
pub(crate) struct EchoLane {
    rng: Rng,
    live: BTreeSet<SessionId>,
    parked: VecDeque<(Instant, SessionId, Numbered)>,
    ledger: Arc<Mutex<Ledger>>,
}

impl EchoLane {
    fn take(&mut self, now: Instant, input: LaneInput<Party>) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        match input {
            LaneInput::Event(Life::Opened(id)) => {
                if !self.live.insert(id) {
                    ledger.wrong(format!("lane: session {id} opened twice"));
                }
            }
            LaneInput::Event(Life::Closed(id)) => {
                self.live.remove(&id);
            }
            LaneInput::Message(id, message) => {
                if !self.live.contains(&id) {
                    ledger.wrong(format!(
                        "lane: a message of session {id}, which is not open"
                    ));
                }
                let seen = ledger.sessions.entry(id).or_default();
                let expected = (*seen.tag.get_or_insert(message.tag), seen.received);
                seen.received += 1;
                if expected != (message.tag, message.number) || !message.is_intact() {
                    let got = (message.tag, message.number);
                    ledger.wrong(format!("lane: request {got:?} where {expected:?} was due"));
                }
                let ripe = match self.rng.chance(300) {
                    true => now + Duration::from_millis(self.rng.between(0, 40)),
                    false => now,
                };
                let ripe = self
                    .parked
                    .back()
                    .map_or(ripe, |(last, ..)| ripe.max(*last));
                self.parked.push_back((ripe, id, message));
            }
        }
    }
}

impl Lane<Party> for EchoLane {
    fn on_batch(
        &mut self,
        now: Instant,
        batch: &mut VecDeque<LaneInput<Party>>,
        out: &mut Outbound<Party>,
    ) {
        while let Some(input) = batch.pop_front() {
            self.take(now, input);
        }
        while self.parked.front().is_some_and(|(ripe, ..)| *ripe <= now) {
            if let Some((_, id, message)) = self.parked.pop_front() {
                out.send(id, &message)
                    .expect("the codec takes every message");
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.parked.front().map(|(ripe, ..)| *ripe)
    }

    fn held(&self) -> usize {
        self.parked.len()
    }
}

pub(crate) const LANES: usize = 3;
