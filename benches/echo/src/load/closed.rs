//! The closed mode: a fixed number of messages under way on every connection.

use std::io;

use seamio_echo::{Ready, now};

use crate::histogram::Histogram;
use crate::report::Fields;
use crate::watch::Watch;
use crate::wire::Wire;
use crate::{Plan, fields_of};

/// Warms up, measures, reports.
pub(crate) fn run(plan: &Plan, wire: &mut impl Wire) -> io::Result<Fields> {
    let mut load = Load::new(plan);
    let start = now();
    for connection in 0..plan.connections {
        load.request(wire, connection, plan.depth_of(connection), now())?;
    }
    load.until(wire, start + plan.warm_nanos)?;
    let watch = Watch::look(plan.server);
    load.begin(now());
    let began = now();
    load.until(wire, began + plan.nanos)?;
    let seconds = (now() - began) as f64 / 1e9;
    let messages = load.messages;
    let seen = watch.since(messages);
    let mut fields = fields_of(plan, "closed");
    fields.number("messages", messages as f64);
    fields.number("per_second", messages as f64 / seconds);
    fields.number(
        "mb_per_second",
        (messages as usize * plan.payload) as f64 / seconds / 1e6,
    );
    fields.part("latency", &load.histogram.fields());
    fields.part("use", &seen);
    Ok(fields)
}

struct Load<'a> {
    plan: &'a Plan,
    connections: Vec<Connection>,
    runs: Vec<Run>,
    /// Runs kept for each connection: as many as it can have under way.
    room: usize,
    histogram: Histogram,
    messages: u64,
    /// Messages sent before this moment are no part of the latencies.
    since: u64,
}

#[derive(Clone, Copy, Default)]
struct Connection {
    /// Bytes of the frame that is arriving.
    partial: usize,
    /// Bytes not taken by the socket yet.
    unsent: usize,
    /// Where in a frame the next byte to be sent stands.
    at: usize,
    /// First run, and number of runs.
    first: usize,
    count: usize,
}

/// Frames sent at the same moment.
#[derive(Clone, Copy, Default)]
struct Run {
    sent: u64,
    frames: u64,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan) -> Self {
        let room = plan.depth.max(plan.hog) + 1;
        Load {
            plan,
            connections: vec![Connection::default(); plan.connections],
            runs: vec![Run::default(); plan.connections * room],
            room,
            histogram: Histogram::new(),
            messages: 0,
            since: u64::MAX,
        }
    }

    fn begin(&mut self, at: u64) {
        self.messages = 0;
        self.since = at;
    }

    fn until(&mut self, wire: &mut impl Wire, end: u64) -> io::Result<()> {
        while now() < end {
            for index in 0..wire.wait()? {
                let ready = wire.ready(index);
                self.serve(wire, ready)?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, wire: &mut impl Wire, ready: Ready) -> io::Result<()> {
        let connection = ready.token as usize;
        if self.plan.is_mute(connection) {
            // It sends as long as the other side takes anything.
            self.connections[connection].unsent += self.plan.frame() * self.plan.depth;
            return self.send(wire, connection);
        }
        let mut back = 0;
        if ready.readable {
            let count = wire.receive(connection)?;
            let frame = self.plan.frame();
            let state = &mut self.connections[connection];
            state.partial += count;
            back = state.partial / frame;
            state.partial %= frame;
        }
        if back > 0 {
            let time = now();
            self.note(connection, back as u64, time);
            self.request(wire, connection, back, time)
        } else {
            self.send(wire, connection)
        }
    }

    /// `frames` have come back.
    fn note(&mut self, connection: usize, frames: u64, time: u64) {
        let counts = self.plan.counts(connection);
        let state = &mut self.connections[connection];
        self.messages += frames;
        let mut left = frames;
        while left > 0 {
            let run = &mut self.runs[connection * self.room + state.first];
            let part = run.frames.min(left);
            if counts && run.sent >= self.since {
                self.histogram.note(time - run.sent, part);
            }
            run.frames -= part;
            left -= part;
            if run.frames == 0 {
                state.first = (state.first + 1) % self.room;
                state.count -= 1;
            }
        }
    }

    /// Sends `frames` more.
    fn request(
        &mut self,
        wire: &mut impl Wire,
        connection: usize,
        frames: usize,
        time: u64,
    ) -> io::Result<()> {
        let state = &mut self.connections[connection];
        let run = (state.first + state.count) % self.room;
        state.count += 1;
        state.unsent += frames * self.plan.frame();
        self.runs[connection * self.room + run] = Run {
            sent: time,
            frames: frames as u64,
        };
        self.send(wire, connection)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Memory;
    use seamio_echo::Arguments;

    #[test]
    fn counts_every_message_of_a_memory_echo() {
        let mut plan = Plan::of(&Arguments::of_process());
        (plan.connections, plan.depth) = (3, 5);
        let mut wire = Memory::new(3);
        let mut load = Load::new(&plan);
        load.begin(0);
        for connection in 0..3 {
            load.request(&mut wire, connection, 5, now())
                .expect("memory");
        }
        for round in 1..=10 {
            assert_eq!(wire.wait().expect("memory"), 3);
            for index in 0..3 {
                let ready = wire.ready(index);
                load.serve(&mut wire, ready).expect("memory");
            }
            assert_eq!(load.messages, round * 15);
        }
        assert_eq!(load.histogram.at(0.0) > 0, true);
    }
}
