//! A plain byte stream, and the short-transfer rule (network.md B.2).

use std::io::{self, IoSlice};

use bytes::BytesMut;

use super::{Received, Transmitted};
use crate::net::buffer::BufferPool;
use crate::net::driver::{ReadSpace, Stream};
use crate::net::outbox::{Outbox, Sink};

#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    hung_up: bool,
}

impl<S: Stream> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Wire {
            stream,
            hung_up: false,
        }
    }

    pub(super) fn read(&mut self, buffer: &mut BytesMut, limit: usize) -> Received {
        let before = buffer.len();
        let room = buffer.spare_capacity_mut();
        let asked = room.len().min(limit);
        debug_assert!(
            asked > 0,
            "a read without room would look like the end of the stream"
        );
        let mut space = ReadSpace::new(&mut room[..asked]);
        let outcome = retry(|| self.stream.read(&mut space));
        let count = space.filled();
        // SAFETY: ReadSpace counts only bytes that were initialised, and they lie right behind the buffer's end.
        unsafe { buffer.set_len(before + count) };
        match outcome {
            Ok(_) if count > 0 => Received::Bytes {
                count,
                drained: is_drained(count, asked, self.hung_up),
            },
            Ok(_) => Received::Finished,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(e) => Received::Failed(e),
        }
    }

    pub(super) fn write(&mut self, outbox: &mut Outbox, pool: &mut BufferPool) -> Transmitted {
        match outbox.write(&mut StreamSink(&mut self.stream), pool) {
            Ok(written) => Transmitted::Bytes {
                written,
                full: written.bytes < written.offered,
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Transmitted::Nothing,
            Err(e) => Transmitted::Failed(e),
        }
    }

    /// Writes bytes that lie in one piece. How many were taken, or `None` when none could be.
    pub(super) fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match retry(|| self.stream.write(bytes)) {
            Ok(count) => Ok(Some(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn hang_up(&mut self) {
        self.hung_up = true;
    }

    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

struct StreamSink<'a, S>(&'a mut S);

impl<S: Stream> Sink for StreamSink<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.0.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| self.0.write_vectored(slices))
    }
}

/// An interrupted call is made again.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Whether a stream read of `count` out of `asked` bytes has emptied the socket, so that the next edge will announce
/// more. Holds for epoll and kqueue; after a hang-up no further edge comes, so nothing but the end itself counts.
fn is_drained(count: usize, asked: usize, hung_up: bool) -> bool {
    const EDGES: bool = cfg!(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    ));
    EDGES && !hung_up && count < asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_drains_unless_the_end_was_announced() {
        assert!(is_drained(10, 11, false));
        assert!(!is_drained(11, 11, false));
        assert!(!is_drained(10, 11, true));
    }

    #[test]
    fn interrupted_calls_are_repeated() {
        let mut left = 3;
        let outcome = retry(|| {
            left -= 1;
            if left > 0 {
                Err(io::ErrorKind::Interrupted.into())
            } else {
                Ok(5)
            }
        });
        assert_eq!((outcome.expect("in the end"), left), (5, 0));
    }
}
