//! Layers on a stream: drives them, keeps what does not fit, writes what they send.
//!
//! Bytes go up on demand: the top layer is asked first, and only when it is hungry the one below, and last the socket. So
//! nothing is read that nobody has room for. What a layer says by itself goes down through those below it and waits,
//! like everything written, in one buffer for the socket; that buffer is filled only while it holds less than 64 KiB, so
//! the watermarks of the session see a peer that takes no bytes. Memory is held only while bytes wait.

use std::convert::Infallible;

use bytes::{Buf, BytesMut};

use super::layer::{Layer, LayerError, Progress};
use super::wire::Wire;
use super::{Received, Transmitted};
use crate::net::buffer::Pools;
use crate::net::driver::Stream;
use crate::net::inbox::Inbox;
use crate::net::outbox::{Outbox, Written};

/// One or more layers on a stream.
#[derive(Default)]
pub(crate) struct Stack {
    /// From the bottom up; never empty.
    layers: Vec<Level>,
    /// What waits for the socket.
    out: BytesMut,
    /// What the top layer understood before there was a session to read it.
    early: BytesMut,
    early_message: bool,
    /// The top layer may have more without a further read.
    pending: bool,
    /// The last read emptied the socket.
    dry: bool,
    /// Bytes the socket gave during the last read, whatever they meant.
    filled: usize,
    /// Reads of the socket since they were asked for.
    reads: u64,
    /// The socket has ended.
    eof: bool,
    /// How it ended, to be told once what came before it has been taken.
    end: Option<Result<(), LayerError>>,
    /// The lowest layer that can be used no more; those above it cannot either.
    broken: Option<usize>,
    /// Nothing more is understood, but what waits can still be sent.
    deaf: bool,
    said_goodbye: bool,
    started: bool,
}

struct Level {
    layer: Box<dyn Layer>,
    /// What has come from below and is not understood yet.
    below: Inbox,
}

/// What the arithmetic of a handshake came to; see [`Stack::advance`].
pub(crate) type Advance = Result<Progress, LayerError>;

/// How far a handshake is.
#[derive(Debug)]
pub(crate) enum Establish {
    Done,
    /// More of the peer is needed.
    Waiting,
    /// It failed; the layers may have a last word to say.
    Broken(LayerError),
    Failed(std::io::Error),
}

impl Stack {
    /// Layers from the bottom up; at least one.
    pub(super) fn new(layers: Vec<Box<dyn Layer>>) -> Self {
        let mut stack = Stack::default();
        for layer in layers {
            stack.cover(layer);
        }
        stack
    }

    /// Puts a layer on top.
    pub(super) fn cover(&mut self, layer: Box<dyn Layer>) {
        let mut below = Inbox::default();
        if !self.early.is_empty() {
            below.bytes = self.early.split();
            self.pending = true;
        }
        // The layers below will say it again when this one has used what came before.
        self.end = None;
        self.layers.push(Level { layer, below });
    }

    /// Goes on with the handshakes, lowest layer first. What they have to say is written.
    pub(crate) fn establish<S: Stream>(
        &mut self,
        wire: &mut Wire<S>,
        pools: &mut Pools,
    ) -> Establish {
        loop {
            let advance = self.advance(pools);
            if let Some(outcome) = self.conclude(wire, advance, pools) {
                return outcome;
            }
            if let Some(outcome) = self.feed(wire, pools) {
                return outcome;
            }
        }
    }

    /// The arithmetic of the handshakes, as far as the bytes that have come go. Any thread may do it.
    pub(crate) fn advance(&mut self, pools: &mut Pools) -> Advance {
        if !std::mem::replace(&mut self.started, true) {
            self.start(0, pools)?;
        }
        let mut early = std::mem::take(&mut self.early);
        let progress = self.ascend(&mut early, EARLY, pools);
        self.early = early;
        progress
    }

    /// Writes what the arithmetic left to be written. `None`: more of the peer is needed.
    pub(super) fn conclude<S: Stream>(
        &mut self,
        wire: &mut Wire<S>,
        advance: Advance,
        pools: &mut Pools,
    ) -> Option<Establish> {
        if let Err(e) = self.push(wire, pools) {
            return Some(Establish::Failed(e));
        }
        let established = self.layers.iter().all(|l| l.layer.is_established());
        match advance {
            Err(e) => Some(Establish::Broken(e)),
            Ok(Progress::Finished) if !established => {
                Some(Establish::Broken(LayerError::Truncated))
            }
            Ok(progress) if established => {
                if progress == Progress::Finished {
                    self.end = Some(Ok(()));
                }
                self.early_message = progress == Progress::Message;
                self.pending = true;
                Some(Establish::Done)
            }
            Ok(_) if self.eof => Some(match self.ended(0) {
                Received::Broken(e) => Establish::Broken(e),
                _ => Establish::Broken(LayerError::Truncated),
            }),
            Ok(_) => None,
        }
    }

    /// Reads more of the peer. `None`: there is more, or its end.
    pub(super) fn feed<S: Stream>(
        &mut self,
        wire: &mut Wire<S>,
        pools: &mut Pools,
    ) -> Option<Establish> {
        match self.fill(wire, pools) {
            Filled::Some | Filled::End => None,
            Filled::Nothing => {
                self.settle(pools);
                Some(Establish::Waiting)
            }
            Filled::Failed(e) => Some(Establish::Failed(e)),
        }
    }

    pub(super) fn read<S: Stream>(
        &mut self,
        wire: &mut Wire<S>,
        buffer: &mut BytesMut,
        limit: usize,
        pools: &mut Pools,
    ) -> Received {
        self.filled = 0;
        if !self.early.is_empty() || self.early_message {
            return self.hand_early(buffer);
        }
        if let Some(end) = self.end.take() {
            return end.map_or_else(Received::Broken, |()| Received::Finished);
        }
        if self.broken.is_some() || self.deaf {
            return self.skip(wire, pools);
        }
        let before = buffer.len();
        loop {
            let fresh = !self.pending;
            if fresh {
                match self.fill(wire, pools) {
                    Filled::Some | Filled::End => {}
                    Filled::Nothing => return Received::Nothing,
                    Filled::Failed(e) => return Received::Failed(e),
                }
            }
            let progress = self.ascend(buffer, limit, pools);
            self.settle(pools);
            self.pending = matches!(progress, Ok(Progress::More | Progress::Message));
            let count = buffer.len() - before;
            match progress {
                Ok(Progress::Message) => return Received::Message { count },
                Ok(Progress::More) => {
                    return Received::Bytes {
                        count,
                        drained: false,
                    };
                }
                Ok(Progress::Hungry) if count > 0 || fresh && !self.eof => {
                    // Only a read tells whether the socket has more.
                    let drained = fresh && self.dry && !self.eof;
                    return Received::Bytes { count, drained };
                }
                Ok(Progress::Hungry) if self.eof => return self.ended(0),
                Ok(Progress::Hungry) => {}
                Ok(Progress::Finished) => return self.end(Ok(()), count),
                Err(e) => return self.end(Err(e), count),
            }
        }
    }

    /// The end, or first what came with it: of a stream that is something to be read, of a message only a part.
    fn end(&mut self, end: Result<(), LayerError>, count: usize) -> Received {
        if count == 0 || self.keeps_messages() {
            return end.map_or_else(Received::Broken, |()| Received::Finished);
        }
        self.end = Some(end);
        Received::Bytes {
            count,
            drained: false,
        }
    }

    pub(super) fn write<S: Stream>(
        &mut self,
        wire: &mut Wire<S>,
        outbox: &mut Outbox,
        pools: &mut Pools,
    ) -> Transmitted {
        if self.broken.is_some() && !outbox.is_empty() {
            return Transmitted::Discarded(discard(outbox, pools));
        }
        let offered = outbox.len() + self.out.len();
        let waited = self.out.len();
        let before = outbox.len();
        if self.broken.is_some() {
            // Nobody can wrap it any more, and whoever waits for it to leave would wait for ever.
            while !outbox.is_empty() {
                let Ok(()) = outbox.with_front(&mut pools.tails, |_| Ok::<(), Infallible>(()));
            }
        } else if let Err(e) = self.descend_from(outbox, pools) {
            return Transmitted::Broken(e);
        }
        let taken = before - outbox.len();
        let bytes = if self.broken.is_some() { 0 } else { taken };
        let written = Written {
            bytes,
            offered,
            slices: 1,
        };
        match self.push(wire, pools) {
            Ok(0) if taken == 0 && waited > 0 => Transmitted::Nothing,
            Ok(_) => Transmitted::Bytes {
                written,
                full: !self.out.is_empty(),
            },
            Err(e) => Transmitted::Failed(e),
        }
    }

    pub(super) fn take_reads(&mut self) -> u64 {
        std::mem::take(&mut self.reads)
    }

    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    pub(super) fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Whether so much waits for the socket that nothing should be read which may have to be answered.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= OUT_FULL
    }

    pub(super) fn keeps_messages(&self) -> bool {
        self.layers.iter().any(|l| l.layer.keeps_messages())
    }

    /// Whether the peer's answer to the goodbye will be understood.
    pub(super) fn awaits_answer(&self) -> bool {
        self.keeps_messages() && self.broken.is_none() && !self.deaf
    }

    pub(super) fn say_goodbye(&mut self, pools: &mut Pools) {
        if std::mem::replace(&mut self.said_goodbye, true) {
            return;
        }
        let usable = self.broken.unwrap_or(self.layers.len());
        for at in (0..usable).rev() {
            let mut said = self.take_out(at, pools);
            self.layers[at].layer.finish(&mut said);
            if self.descend(at, said, pools).is_err() {
                return;
            }
        }
    }

    pub(super) fn probe(&mut self, pools: &mut Pools) -> Result<(), LayerError> {
        for at in 0..self.layers.len() {
            let mut said = self.take_out(at, pools);
            let outcome = self.layers[at].layer.probe(&mut said);
            self.descend(at, said, pools)?;
            outcome?;
        }
        Ok(())
    }

    pub(super) fn retire(&mut self, pools: &mut Pools) {
        for level in &mut self.layers {
            level.below.clear(pools);
        }
        pools.tails.give(std::mem::take(&mut self.out));
    }

    /// The layers, from the bottom up.
    pub(super) fn layers(&self) -> impl Iterator<Item = &dyn Layer> {
        self.layers.iter().map(|level| &*level.layer)
    }

    /// The same, to be changed.
    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Layer>> {
        self.layers.iter_mut().map(|level| &mut level.layer)
    }

    /// Writes what waits. How much the socket took.
    pub(crate) fn push<S: Stream>(
        &mut self,
        wire: &mut Wire<S>,
        pools: &mut Pools,
    ) -> std::io::Result<usize> {
        if self.out.is_empty() {
            return Ok(0);
        }
        let taken = wire.write_bytes(&self.out)?.unwrap_or(0);
        if taken == self.out.len() {
            pools.tails.give(std::mem::take(&mut self.out));
        } else {
            self.out.advance(taken);
        }
        Ok(taken)
    }

    fn hand_early(&mut self, buffer: &mut BytesMut) -> Received {
        let count = self.early.len();
        buffer.extend_from_slice(&self.early);
        self.early = BytesMut::new();
        if std::mem::take(&mut self.early_message) {
            Received::Message { count }
        } else {
            Received::Bytes {
                count,
                drained: false,
            }
        }
    }

    /// Reads once from the socket.
    fn fill<S: Stream>(&mut self, wire: &mut Wire<S>, pools: &mut Pools) -> Filled {
        if self.eof {
            return Filled::End;
        }
        let below = &mut self.layers[0].below;
        below.make_room(below.bytes.len() + 1, pools);
        self.reads += 1;
        let outcome = wire.read(&mut below.bytes, usize::MAX);
        match outcome {
            Received::Bytes { count, drained } => {
                self.filled += count;
                self.dry = drained;
                Filled::Some
            }
            Received::Finished => {
                self.eof = true;
                Filled::End
            }
            other => {
                self.layers[0].below.settle(pools);
                match other {
                    Received::Failed(e) => Filled::Failed(e),
                    _ => Filled::Nothing,
                }
            }
        }
    }

    /// Lets bytes rise until the top layer has something or the socket has to be asked.
    fn ascend(
        &mut self,
        buffer: &mut BytesMut,
        limit: usize,
        pools: &mut Pools,
    ) -> Result<Progress, LayerError> {
        let top = self.layers.len() - 1;
        let ready = |level: &Level| level.layer.is_established();
        // Whoever stands on an unfinished handshake has nothing to read.
        let mut at = self.layers[..top].iter().take_while(|l| ready(l)).count();
        loop {
            let was = ready(&self.layers[at]);
            let (grew, progress) = match self.step(at, buffer, limit, pools) {
                Ok(stepped) => stepped,
                Err(e) => {
                    self.failed(at);
                    return Err(e);
                }
            };
            if at < top && !was && ready(&self.layers[at]) {
                self.start(at + 1, pools)?;
            }
            if at == top {
                if progress != Progress::Hungry {
                    return Ok(progress);
                }
            } else if grew && ready(&self.layers[at]) {
                at += 1;
                continue;
            }
            match progress {
                Progress::Hungry if at == 0 => return Ok(Progress::Hungry),
                Progress::Hungry => at -= 1,
                Progress::More | Progress::Message => {}
                Progress::Finished => {
                    return match self.ended(at + 1) {
                        Received::Broken(e) => Err(e),
                        _ => Ok(Progress::Finished),
                    };
                }
            }
        }
    }

    /// Lets one layer receive. Whether what lies above it grew, and what it says.
    fn step(
        &mut self,
        at: usize,
        buffer: &mut BytesMut,
        limit: usize,
        pools: &mut Pools,
    ) -> Result<(bool, Progress), LayerError> {
        let mut said = self.take_out(at, pools);
        let (lower, upper) = self.layers.split_at_mut(at + 1);
        let level = &mut lower[at];
        let (above, limit) = match upper.first_mut() {
            Some(next) => {
                next.below.make_room(1, pools);
                (&mut next.below.bytes, LEVEL)
            }
            None => (buffer, limit),
        };
        let before = above.len();
        let below = &mut level.below.bytes;
        let outcome = level.layer.receive(below, above, limit, &mut said);
        let grew = above.len() > before;
        if self.said_goodbye && at > 0 {
            // Those below have said theirs: nothing goes through them any more.
            said.clear();
        }
        self.descend(at, said, pools)?;
        Ok((grew, outcome?))
    }

    fn start(&mut self, at: usize, pools: &mut Pools) -> Result<(), LayerError> {
        let mut said = self.take_out(at, pools);
        let outcome = self.layers[at].layer.start(&mut said);
        self.descend(at, said, pools)?;
        if outcome.is_err() {
            self.broken.get_or_insert(at);
        }
        outcome
    }

    /// Tells the layers from `from` on that what is below them has ended.
    fn ended(&mut self, from: usize) -> Received {
        for at in from..self.layers.len() {
            if let Err(e) = self.layers[at].layer.ended() {
                self.failed(at);
                return Received::Broken(e);
            }
        }
        Received::Finished
    }

    /// Layer `at` has not understood something.
    fn failed(&mut self, at: usize) {
        if self.broken.is_none() && self.layers[at].layer.sends_after_failure() {
            self.deaf = true;
        } else {
            self.broken.get_or_insert(at);
        }
    }

    /// A buffer for layer `at` to write into: the last one writes where it is sent from.
    fn take_out(&mut self, at: usize, pools: &mut Pools) -> BytesMut {
        if at > 0 {
            return BytesMut::new();
        }
        let out = std::mem::take(&mut self.out);
        if out.capacity() == 0 {
            pools.tails.take()
        } else {
            out
        }
    }

    /// Takes the messages and bytes of the outbox through the layers, as long as there is room.
    fn descend_from(&mut self, outbox: &mut Outbox, pools: &mut Pools) -> Result<(), LayerError> {
        if outbox.is_empty() || self.out.len() >= OUT_FULL {
            return Ok(());
        }
        let top = self.layers.len() - 1;
        let mut said = self.take_out(top, pools);
        if top > 0 {
            said = pools.tails.take();
        }
        let mut outcome = Ok(());
        let least = outbox.len().saturating_sub(IN_FULL);
        while outcome.is_ok()
            && said.len() < OUT_FULL
            && !outbox.is_empty()
            && (least == 0 || outbox.len() > least)
        {
            let layer = &mut self.layers[top].layer;
            outcome = outbox.with_front(&mut pools.tails, |piece| layer.send(piece, &mut said));
        }
        if outcome.is_ok() && outbox.is_empty() {
            outcome = self.layers[top].layer.flush(&mut said);
        }
        if outcome.is_err() {
            self.broken.get_or_insert(top);
        }
        self.descend(top, said, pools)?;
        outcome
    }

    /// Takes what layer `at` said through those below it.
    fn descend(
        &mut self,
        at: usize,
        mut said: BytesMut,
        pools: &mut Pools,
    ) -> Result<(), LayerError> {
        for under in (0..at).rev() {
            if said.is_empty() {
                pools.tails.give(said);
                return Ok(());
            }
            let mut wrapped = self.take_out(under, pools);
            let layer = &mut self.layers[under].layer;
            let outcome = layer
                .send(&said, &mut wrapped)
                .and_then(|()| layer.flush(&mut wrapped));
            pools.tails.give(said);
            said = wrapped;
            if let Err(e) = outcome {
                self.broken.get_or_insert(under);
                if under == 0 {
                    self.out = said;
                }
                return Err(e);
            }
        }
        if said.is_empty() {
            pools.tails.give(said);
        } else {
            self.out = said;
        }
        Ok(())
    }

    /// Reads and forgets: there is nobody left who would understand.
    fn skip<S: Stream>(&mut self, wire: &mut Wire<S>, pools: &mut Pools) -> Received {
        for level in &mut self.layers {
            level.below.clear(pools);
        }
        match self.fill(wire, pools) {
            Filled::Some => {
                self.layers[0].below.clear(pools);
                Received::Bytes {
                    count: 0,
                    drained: self.dry,
                }
            }
            Filled::End => Received::Finished,
            Filled::Nothing => Received::Nothing,
            Filled::Failed(e) => Received::Failed(e),
        }
    }

    fn settle(&mut self, pools: &mut Pools) {
        for level in &mut self.layers {
            level.below.settle(pools);
        }
    }
}

/// Drops everything that waits. How many bytes that was.
fn discard(outbox: &mut Outbox, pools: &mut Pools) -> usize {
    let before = outbox.len();
    while !outbox.is_empty() {
        let Ok(()) = outbox.with_front(&mut pools.tails, |_| Ok::<(), Infallible>(()));
    }
    before
}

/// What a read of the socket brought.
enum Filled {
    Some,
    End,
    Nothing,
    Failed(std::io::Error),
}

/// Application bytes taken in before there is a session for them.
const EARLY: usize = 16 << 10;

/// Bytes between two layers.
const LEVEL: usize = 32 << 10;

/// With this much waiting for the socket nothing more is taken from the outbox.
const OUT_FULL: usize = 64 << 10;

/// No more than about this much is taken from the outbox at once, however little compression makes of it.
const IN_FULL: usize = 64 << 10;
