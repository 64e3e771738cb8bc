//! What goes wrong in a simulated network, and how often.

use std::time::Duration;

use super::rng::Rng;

/// Chances in thousandths, and the sizes of things. [`Faults::none`] is a quick and perfect network; change fields from
/// there, or let a seed choose with [`Faults::storm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Shortest time a segment is under way.
    pub latency_min: Duration,
    /// Longest time a segment is under way.
    pub latency_max: Duration,
    /// Smallest number of bytes one direction of a connection holds, from the send to the read.
    pub window_min: usize,
    /// Largest number of bytes one direction of a connection holds.
    pub window_max: usize,
    /// A transfer moves only a part, down to 1 byte; a written piece travels as several.
    pub split: u32,
    /// A transfer would block though it need not; readiness is reported again later.
    pub would_block: u32,
    /// A poll reports readiness of a source that has none, or of one that has been dropped.
    pub spurious: u32,
    /// A poll keeps a report for a later poll, or returns early with nothing.
    pub defer: u32,
    /// A connection is reset after a random number of bytes.
    pub reset: u32,
    /// A connection falls silent after a random number of bytes: what is sent is taken and never arrives.
    pub silence: u32,
    /// Within how many bytes of both directions a connection is lost, if it is.
    pub loss_within: u64,
    /// A connection attempt is refused.
    pub refuse: u32,
    /// A connection attempt is never decided.
    pub hang: u32,
    /// A connection attempt to an own port where nobody listens reaches itself.
    pub self_connect: u32,
    /// An accept fails with an error that passes.
    pub accept_error: u32,
    /// Descriptors run out for a while at an accept or a connect.
    pub no_descriptors: u32,
    /// A datagram is lost.
    pub packet_loss: u32,
    /// A datagram arrives twice.
    pub packet_copy: u32,
    /// A datagram is overtaken by later ones.
    pub packet_late: u32,
    /// Time jumps ahead of the next event.
    pub clock_jump: u32,
    /// How far time jumps at most.
    pub jump_max: Duration,
    /// An inline lane with work waits for a later turn, or takes only a part of it.
    pub lanes: u32,
}

impl Faults {
    /// A network without faults: 50 to 150 µs one way, 64 KiB in flight. Ready events still come in any order.
    pub fn none() -> Self {
        Faults {
            latency_min: Duration::from_micros(50),
            latency_max: Duration::from_micros(150),
            window_min: 64 << 10,
            window_max: 64 << 10,
            split: 0,
            would_block: 0,
            spurious: 0,
            defer: 0,
            reset: 0,
            silence: 0,
            loss_within: 100_000,
            refuse: 0,
            hang: 0,
            self_connect: 0,
            accept_error: 0,
            no_descriptors: 0,
            packet_loss: 0,
            packet_copy: 0,
            packet_late: 0,
            clock_jump: 0,
            jump_max: Duration::from_secs(2),
            lanes: 0,
        }
    }

    /// A choice of faults, each with an intensity. About half of the kinds are left out, because a fault that happens
    /// all the time hides what another would show.
    pub fn storm(rng: &mut Rng) -> Self {
        let mut level = |most: u64| {
            if rng.chance(500) {
                rng.between(1, most) as u32
            } else {
                0
            }
        };
        let mut faults = Faults {
            split: level(1000),
            would_block: level(300),
            spurious: level(500),
            defer: level(500),
            reset: level(300),
            silence: level(100),
            refuse: level(300),
            hang: level(200),
            self_connect: level(1000),
            accept_error: level(300),
            no_descriptors: level(100),
            clock_jump: level(50),
            lanes: level(500),
            ..Faults::none()
        };
        if rng.chance(500) {
            faults.latency_min = Duration::from_micros(rng.between(0, 1000));
            faults.latency_max = Duration::from_micros(1 << rng.between(4, 18));
        }
        if rng.chance(500) {
            // A window of a few bytes would only make long runs: splitting cuts down to one byte anyway.
            faults.window_min = 64 + rng.size(4096);
            faults.window_max = faults.window_min + rng.size(64 << 10);
        }
        faults.packet_loss = if rng.chance(500) {
            rng.between(1, 400) as u32
        } else {
            0
        };
        faults.packet_copy = if rng.chance(500) {
            rng.between(1, 400) as u32
        } else {
            0
        };
        faults.packet_late = if rng.chance(500) {
            rng.between(1, 700) as u32
        } else {
            0
        };
        faults.loss_within = 1 << rng.between(0, 17);
        faults.jump_max = Duration::from_millis(1 << rng.between(0, 16));
        faults
    }
}

/// A rule that no network may break: a test that does not notice is not worth running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Neighbouring bytes change places.
    Swap,
    /// Bytes arrive twice.
    Repeat,
    /// Bytes never arrive, and the connection goes on.
    Lose,
    /// Readiness is not reported.
    Deaf,
    /// A socket that was dropped stays.
    Keep,
}

impl Default for Faults {
    fn default() -> Self {
        Faults::none()
    }
}
