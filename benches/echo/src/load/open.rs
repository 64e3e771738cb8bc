//! The open mode: messages leave by a schedule, and their latency counts from when they should have left.

use std::io;

use seamio_echo::{Ready, now};

use crate::histogram::Histogram;
use crate::report::Fields;
use crate::watch::Watch;
use crate::wire::Wire;
use crate::{Plan, fields_of};

/// Warms up, measures, waits for the last answers, reports.
pub(crate) fn run(plan: &Plan, wire: &mut impl Wire) -> io::Result<Fields> {
    let mut load = Load::new(plan, now());
    load.until(wire, load.start + plan.warm_nanos)?;
    let watch = Watch::look(plan.server);
    load.since = now();
    load.messages = 0;
    let (began, scheduled) = (load.since, load.next);
    load.until(wire, began + plan.nanos)?;
    let end = now();
    let messages = load.messages;
    let seen = watch.since(messages);
    load.last = load.next;
    load.settle(wire, end + GRACE_NANOS)?;
    let unanswered = load.count_unanswered(now());
    let seconds = (end - began) as f64 / 1e9;
    let mut fields = fields_of(plan, "open");
    fields.number("rate", plan.rate);
    fields.number("offered", (load.last - scheduled) as f64 / seconds);
    fields.number("messages", messages as f64);
    fields.number("per_second", messages as f64 / seconds);
    fields.number("unanswered", unanswered as f64);
    fields.part("latency", &load.histogram.fields());
    fields.part("use", &seen);
    Ok(fields)
}

/// Message `n` of all is due at `start + n * interval`, on connection `n` modulo their number.
struct Load<'a> {
    plan: &'a Plan,
    connections: Vec<Connection>,
    histogram: Histogram,
    start: u64,
    interval: f64,
    /// Next message to fall due, and the first that never will.
    next: u64,
    last: u64,
    messages: u64,
    /// Messages due before this moment are no part of the latencies.
    since: u64,
}

#[derive(Clone, Copy, Default)]
struct Connection {
    partial: usize,
    unsent: usize,
    at: usize,
    /// Messages due, and messages that came back.
    due: u64,
    back: u64,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan, start: u64) -> Self {
        Load {
            plan,
            connections: vec![Connection::default(); plan.connections],
            histogram: Histogram::new(),
            start,
            interval: 1e9 / plan.rate.max(1e-3),
            next: 0,
            last: u64::MAX,
            messages: 0,
            since: u64::MAX,
        }
    }

    fn until(&mut self, wire: &mut impl Wire, end: u64) -> io::Result<()> {
        loop {
            let time = now();
            if time >= end {
                return Ok(());
            }
            self.send_due(wire, time)?;
            self.take_ready(wire)?;
        }
    }

    /// Waits for what is under way.
    fn settle(&mut self, wire: &mut impl Wire, end: u64) -> io::Result<()> {
        while now() < end && self.connections.iter().any(|c| c.back < c.due) {
            self.take_ready(wire)?;
        }
        Ok(())
    }

    fn due_at(&self, message: u64) -> u64 {
        self.start + (message as f64 * self.interval) as u64
    }

    fn send_due(&mut self, wire: &mut impl Wire, time: u64) -> io::Result<()> {
        let mut burst = 0;
        while self.due_at(self.next) <= time && self.next < self.last && burst < BURST {
            let connection = (self.next % self.plan.connections as u64) as usize;
            self.next += 1;
            burst += 1;
            let state = &mut self.connections[connection];
            state.due += 1;
            state.unsent += self.plan.frame();
            self.send(wire, connection)?;
        }
        Ok(())
    }

    fn take_ready(&mut self, wire: &mut impl Wire) -> io::Result<()> {
        for index in 0..wire.wait()? {
            let ready = wire.ready(index);
            self.serve(wire, ready)?;
        }
        Ok(())
    }

    fn serve(&mut self, wire: &mut impl Wire, ready: Ready) -> io::Result<()> {
        let connection = ready.token as usize;
        if ready.readable {
            let count = wire.receive(connection)?;
            let frame = self.plan.frame();
            let time = now();
            let all = self.plan.connections as u64;
            let state = &mut self.connections[connection];
            state.partial += count;
            let frames = (state.partial / frame) as u64;
            state.partial %= frame;
            let first = state.back;
            state.back += frames;
            self.messages += frames;
            for message in first..first + frames {
                let due = self.due_at(message * all + connection as u64);
                if due >= self.since {
                    self.histogram.note(time.saturating_sub(due), 1);
                }
            }
        }
        self.send(wire, connection)
    }

    /// What never came back is as late as it is by now.
    fn count_unanswered(&mut self, time: u64) -> u64 {
        let all = self.plan.connections as u64;
        let mut unanswered = 0;
        for connection in 0..self.plan.connections {
            let Connection { back, due, .. } = self.connections[connection];
            for message in back..due {
                unanswered += 1;
                let due = self.due_at(message * all + connection as u64);
                if due >= self.since {
                    self.histogram.note(time.saturating_sub(due), 1);
                }
            }
        }
        unanswered
    }

    fn send(&mut self, wire: &mut impl Wire, connection: usize) -> io::Result<()> {
        let state = &mut self.connections[connection];
        while state.unsent > 0 {
            let most = self.plan.template.len() - state.at;
            let len = state.unsent.min(most);
            let count = wire.send(connection, &self.plan.template[state.at..state.at + len])?;
            state.unsent -= count;
            state.at = (state.at + count) % self.plan.frame();
            if count < len {
                break;
            }
        }
        Ok(())
    }
}

/// Messages that leave before the next look at what came back.
const BURST: u32 = 256;
/// How long the last answers are waited for.
const GRACE_NANOS: u64 = 2_000_000_000;
