//! How unsteady the generator itself is.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use seamio_echo::{Epoll, now, receive, send, set_nonblocking};

use crate::histogram::Histogram;
use crate::report::Fields;

/// A byte to itself through an idle socket pair and an epoll, as often as `TRIPS`; and gaps of the clock for 200 ms.
pub(crate) fn measure() -> io::Result<Fields> {
    let (near, far) = UnixStream::pair()?;
    set_nonblocking(far.as_raw_fd())?;
    let mut epoll = Epoll::new(4)?;
    epoll.add(far.as_raw_fd(), 1)?;
    epoll.wait(0)?;
    let mut trips = Histogram::new();
    let mut byte = [0];
    for trip in 0..TRIPS + TRIPS / 10 {
        let start = now();
        send(near.as_raw_fd(), &[1])?;
        while epoll.wait(0)? == 0 {}
        receive(far.as_raw_fd(), &mut byte)?;
        if trip >= TRIPS / 10 {
            trips.note(now() - start, 1);
        }
    }
    let mut fields = Fields::default();
    fields.part("socket_pair", &trips.fields());
    fields.part("gaps", &gaps(200_000_000));
    Ok(fields)
}

/// Time between two readings of the clock, read without end: what it shows beyond some nanoseconds is the machine.
pub(crate) fn gaps(nanos: u64) -> Fields {
    let mut gaps = Histogram::new();
    let start = now();
    let mut last = start;
    while last - start < nanos {
        let time = now();
        gaps.note(time - last, 1);
        last = time;
    }
    gaps.fields()
}

const TRIPS: u32 = 20_000;
