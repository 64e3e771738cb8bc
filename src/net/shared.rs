//! What every handle of one reactor shares, whatever thread holds it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::config::Limits;
use super::handler::Handler;
use super::lane::LaneTable;
use super::metrics::Metrics;
use super::outbound::OutBatch;
use super::remote::Remote;
use super::wake::Producer;

/// The shared part of a reactor.
pub(crate) struct Shared<H: Handler> {
    pub(crate) handler: H,
    pub(crate) remote: Producer<Remote<H>>,
    pub(crate) lanes: Arc<LaneTable<H>>,
    pub(crate) limits: Limits,
    /// Zero of the reactor's time.
    pub(crate) epoch: Instant,
    metrics: Published,
    /// Some session sends each message by itself.
    keeps_messages: AtomicBool,
    serial: AtomicU64,
    buffers: (Sender<BytesMut>, Receiver<BytesMut>),
    batches: (Sender<OutBatch>, Receiver<OutBatch>),
}

impl<H: Handler> Shared<H> {
    pub(crate) fn new(
        handler: H,
        remote: Producer<Remote<H>>,
        lanes: Arc<LaneTable<H>>,
        limits: Limits,
        epoch: Instant,
    ) -> Self {
        Shared {
            handler,
            remote,
            lanes,
            limits,
            epoch,
            metrics: Published::default(),
            keeps_messages: AtomicBool::new(false),
            serial: AtomicU64::new(0),
            buffers: bounded(POOLED_BUFFERS),
            batches: bounded(POOLED_BATCHES),
        }
    }

    /// A number never given before.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on there may be sessions that send each message by itself.
    pub(crate) fn keep_messages(&self) {
        self.keeps_messages.store(true, Ordering::Release);
    }

    /// Whether messages to one session must not run together.
    pub(crate) fn keeps_messages(&self) -> bool {
        self.keeps_messages.load(Ordering::Acquire)
    }

    /// An empty buffer to encode into.
    pub(crate) fn buffer(&self) -> BytesMut {
        self.buffers.1.try_recv().unwrap_or_default()
    }

    /// Takes a buffer back that was encoded into.
    pub(crate) fn recycle_buffer(&self, mut buffer: BytesMut) {
        if buffer.capacity() <= POOLED_BYTES_MAX {
            buffer.clear();
            let _ = self.buffers.0.try_send(buffer);
        }
    }

    pub(crate) fn recycled_batch(&self) -> OutBatch {
        self.batches.1.try_recv().unwrap_or_default()
    }

    pub(crate) fn recycle_batch(&self, batch: OutBatch) {
        if let Some(batch) = batch.recycle() {
            let _ = self.batches.0.try_send(batch);
        }
    }

    /// Publishes the counters. Never waits.
    pub(crate) fn publish(&self, metrics: &Metrics) {
        self.metrics.set(metrics);
    }

    /// The counters as of the last turn.
    pub(crate) fn metrics(&self) -> Metrics {
        self.metrics.get()
    }
}

/// Two copies of the counters: readers, one at a time, lock the later one, so the writer always finds one it can have.
#[derive(Debug, Default)]
struct Published {
    copies: [Mutex<Metrics>; 2],
    /// Which copy is the later one.
    later: AtomicUsize,
    reader: Mutex<()>,
}

impl Published {
    /// For one thread only.
    fn set(&self, metrics: &Metrics) {
        let later = self.later.load(Ordering::Relaxed);
        for copy in [1 - later, later] {
            if let Ok(mut published) = self.copies[copy].try_lock() {
                published.clone_from(metrics);
                self.later.store(copy, Ordering::Release);
                return;
            }
        }
    }

    fn get(&self) -> Metrics {
        let _alone = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.copies[self.later.load(Ordering::Acquire)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

const POOLED_BUFFERS: usize = 256;
const POOLED_BATCHES: usize = 64;
const POOLED_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_makes_the_counters_stale() {
        let published = Published::default();
        for held in [0, 1] {
            for turns in 1..4 {
                let reading = published.copies[held].lock().expect("not poisoned");
                let metrics = Metrics {
                    turns,
                    ..Metrics::default()
                };
                published.set(&metrics);
                drop(reading);
                assert_eq!(published.get().turns, turns, "copy {held} was being read");
            }
        }
    }
}
