//! What a reactor did, in plain counters it alone writes. A copy is published once per turn, so reading costs it nothing
//! (network.md B.37).

use std::time::Duration;

/// Counters of one reactor since its creation. Gauges are marked as such.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    pub turns: u64,
    /// Waits for readiness, each one system call.
    pub polls: u64,
    /// Readiness reports.
    pub events: u64,
    /// Reports and reads that brought nothing.
    pub spurious: u64,
    /// Reads of sockets, each one system call.
    pub reads: u64,
    /// Writes of sockets, each one system call.
    pub writes: u64,
    /// Slices in those writes.
    pub write_slices: u64,
    /// Attempts to take a connection, each one system call.
    pub accept_calls: u64,
    /// Connections taken.
    pub accepts: u64,
    /// Connections taken and closed at once, because a limit was met or the handler refused.
    pub refused: u64,
    /// Connections closed because descriptors ran out.
    pub shed: u64,
    /// Times accepting stopped for want of descriptors or memory.
    pub accept_stalls: u64,
    /// Connection attempts started.
    pub connects: u64,
    /// Connection attempts that failed.
    pub connect_failures: u64,
    /// Registrations with the poller, each one system call. None in the steady state.
    pub registrations: u64,
    /// Wake-ups received from other threads.
    pub wakes: u64,
    /// Wake-ups other threads sent, each one system call of theirs.
    pub wakes_sent: u64,
    /// Wake-ups other threads did not have to send, since the reactor was awake.
    pub wakes_saved: u64,
    /// Items other threads sent.
    pub remote_items: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took.
    pub bytes_out: u64,
    /// Frames decoded.
    pub frames_in: u64,
    /// Frames queued for sending.
    pub frames_out: u64,
    /// Frames decoded per visit of a session.
    pub frames_per_visit: Histogram,
    /// Bytes per write.
    pub bytes_per_write: Histogram,
    /// Frames queued per flush of a session, which is one write as a rule.
    pub frames_per_flush: Histogram,
    /// Duration of turns without their wait, in microseconds. Measured for one turn in sixteen.
    pub turn_micros: Histogram,
    /// Most sessions that waited for their turn at once.
    pub ready_max: u64,
    /// Uses of an id whose session was gone.
    pub stale: u64,
    /// Times a session stopped being read because its lane was full.
    pub lane_pauses: u64,
    /// Times a session stopped being read because its peer did not read.
    pub congestion_pauses: u64,
    /// Times a session ran out of its budget and had to wait for the next turn.
    pub budget_stops: u64,
    /// Batches handed to lanes.
    pub lane_batches: u64,
    /// Messages handed to lanes.
    pub lane_messages: u64,
    /// Replies whose call was no longer waiting.
    pub late_replies: u64,
    /// Calls that got no reply in time.
    pub call_timeouts: u64,
    /// Timers set.
    pub timer_inserts: u64,
    /// Timers fired.
    pub timer_fires: u64,
    /// How late timers fired, in milliseconds.
    pub timer_lateness: Histogram,
    /// Messages of a transport that keeps them apart which could not be decoded and were dropped.
    pub dropped_messages: u64,
    /// Handshakes of encryption or WebSocket begun.
    pub handshakes: u64,
    /// Of these, how many failed or took too long.
    pub handshake_failures: u64,
    /// Times a listener waited because too many handshakes were under way.
    pub handshake_pauses: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Sessions closed.
    pub closed: u64,
    /// Panics caught in codecs and handlers.
    pub panics: u64,
    /// Gauge: open sessions.
    pub sessions: u64,
    /// Gauge: bytes waiting to be sent.
    pub buffered: u64,
    /// Gauge: messages in all lanes, queued or held.
    pub lane_depth: u64,
    /// Gauge: items of other threads that wait for the reactor.
    pub remote_depth: u64,
    /// Gauge: messages that wait for the elastic pool or are being worked on there.
    pub blocking_depth: u64,
    /// Gauge: timers set and not fired yet.
    pub timers: u64,
}

impl Metrics {
    /// System calls the reactor itself made for sockets, its own sleep and wake-ups included.
    pub fn system_calls(&self) -> u64 {
        self.polls
            + self.reads
            + self.writes
            + self.accept_calls
            + self.registrations
            + self.wakes
            + 2 * self.connects
    }

    /// System calls per frame received. `None` before the first frame.
    pub fn system_calls_per_frame(&self) -> Option<f64> {
        (self.frames_in > 0).then(|| self.system_calls() as f64 / self.frames_in as f64)
    }

    pub(crate) fn note_lateness(&mut self, late: Duration) {
        self.timer_lateness.note(late.as_millis() as u64);
    }
}

/// Counts by power of two: bucket 0 holds zeros, bucket i values from 2^(i-1) to 2^i - 1, the last one everything above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
}

impl Histogram {
    pub(crate) fn note(&mut self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }

    /// The counts.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// How many values were noted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

const BUCKETS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_counts_by_power_of_two() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 7, 8, u64::MAX] {
            histogram.note(value);
        }
        assert_eq!(histogram.buckets()[..5], [1, 1, 2, 2, 1]);
        assert_eq!(
            (histogram.buckets()[BUCKETS - 1], histogram.count()),
            (1, 8)
        );
    }

    #[test]
    fn system_calls_per_frame_needs_a_frame() {
        let mut metrics = Metrics {
            reads: 3,
            writes: 3,
            ..Metrics::default()
        };
        assert_eq!(metrics.system_calls_per_frame(), None);
        metrics.frames_in = 12;
        assert_eq!(metrics.system_calls_per_frame(), Some(0.5));
    }
}
