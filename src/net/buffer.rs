//! Emptied buffers kept for reuse, so that the steady state of the loop allocates nothing and idle sessions hold nothing
//! (network.md B.13).

use std::collections::VecDeque;

use bytes::BytesMut;

use super::driver::PacketSpace;

/// All pools of a reactor.
#[derive(Debug)]
pub(crate) struct Pools {
    /// What sockets are read into.
    pub(crate) scratches: BufferPool,
    /// Unfinished frames.
    pub(crate) spares: BufferPool,
    /// Beginnings of frames.
    pub(crate) chunks: BufferPool,
    /// Outboxes.
    pub(crate) tails: BufferPool,
    /// Datagrams.
    pub(crate) packets: PacketPool,
}

impl Pools {
    /// Pools that keep about `bytes` in all.
    pub(crate) fn new(bytes: usize) -> Self {
        Pools {
            scratches: BufferPool::new(SCRATCH, bytes / 2),
            spares: BufferPool::new(SPARE, bytes / 8),
            chunks: BufferPool::new(CHUNK, bytes / 8),
            tails: BufferPool::new(TAIL, bytes / 4),
            packets: PacketPool::default(),
        }
    }
}

/// Room for batches of datagrams: a session has one only while datagrams wait in it.
#[derive(Debug, Default)]
pub(crate) struct PacketPool {
    free: Vec<PacketSpace>,
}

impl PacketPool {
    pub(crate) fn take(&mut self) -> PacketSpace {
        self.free.pop().unwrap_or_default()
    }

    pub(crate) fn give(&mut self, space: PacketSpace) {
        if self.free.len() < PACKET_SPACES_KEPT {
            self.free.push(space);
        }
    }
}

impl Pools {
    /// Fills each pool with `buffers` buffers, as far as it may keep them.
    pub(crate) fn prepare(&mut self, buffers: usize) {
        for pool in [
            &mut self.scratches,
            &mut self.spares,
            &mut self.chunks,
            &mut self.tails,
        ] {
            pool.prepare(buffers);
        }
    }
}

/// Buffers of one size class.
#[derive(Debug)]
pub(crate) struct BufferPool {
    free: VecDeque<BytesMut>,
    /// What a buffer of this pool has at least.
    capacity: usize,
    /// Buffers kept at most.
    limit: usize,
}

impl BufferPool {
    /// A pool of buffers of `capacity` bytes that keeps about `bytes` in all.
    pub(crate) fn new(capacity: usize, bytes: usize) -> Self {
        BufferPool {
            free: VecDeque::new(),
            capacity,
            limit: bytes / capacity,
        }
    }

    fn prepare(&mut self, buffers: usize) {
        let buffers = buffers.min(self.limit);
        self.free.reserve(buffers);
        while self.free.len() < buffers {
            let mut buffer = BytesMut::with_capacity(self.capacity);
            // The first piece split off makes the header that all later ones share.
            drop(buffer.split_to(0));
            self.give(buffer);
        }
    }

    /// An empty buffer with room for at least the capacity of the pool.
    pub(crate) fn take(&mut self) -> BytesMut {
        // A buffer whose pieces are still held elsewhere cannot be reused yet: it goes to the end of the line.
        for _ in 0..self.free.len().min(TRIES) {
            let Some(mut buffer) = self.free.pop_front() else {
                break;
            };
            if buffer.try_reclaim(self.capacity) {
                return buffer;
            }
            self.free.push_back(buffer);
        }
        BytesMut::with_capacity(self.capacity)
    }

    /// Takes a buffer back. One that grew far beyond its class is freed.
    pub(crate) fn give(&mut self, mut buffer: BytesMut) {
        if self.free.len() < self.limit && buffer.capacity() <= self.capacity * GROWN_MAX {
            buffer.clear();
            // Front: the memory used last is the one still in the cache.
            self.free.push_front(buffer);
        }
    }
}

/// Room for a read of 64 KiB behind what the last one left.
pub(crate) const SCRATCH: usize = 80 << 10;
pub(crate) const SPARE: usize = 32 << 10;
pub(crate) const CHUNK: usize = 4 << 10;
pub(crate) const TAIL: usize = 16 << 10;

const TRIES: usize = 4;
const PACKET_SPACES_KEPT: usize = 2;
const GROWN_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuses_what_is_free_and_skips_what_is_held() {
        let mut pool = BufferPool::new(1024, 4096);
        let mut a = pool.take();
        a.extend_from_slice(&[1; 100]);
        let held = a.split_to(50).freeze();
        pool.give(a);
        let mut b = pool.take();
        b.extend_from_slice(&[2; 1024]);
        assert_eq!(
            &held[..],
            &[1; 50],
            "memory still held is not given out again"
        );
        let at = b.as_ptr();
        pool.give(b);
        assert_eq!(pool.take().as_ptr(), at);
        drop(held);
        let c = pool.take();
        assert!(c.capacity() >= 1024 && c.is_empty());
        assert!(
            pool.free.is_empty(),
            "the buffer that was held is free again and was taken"
        );
    }

    #[test]
    fn keeps_no_more_than_its_limit_and_nothing_huge() {
        let mut pool = BufferPool::new(1024, 2048);
        for _ in 0..5 {
            pool.give(BytesMut::with_capacity(1024));
        }
        pool.give(BytesMut::with_capacity(1 << 20));
        assert_eq!(pool.free.len(), 2);
    }
}
