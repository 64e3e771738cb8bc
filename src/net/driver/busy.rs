//! Asks the kernel to poll network devices instead of waiting for their interrupts (network.md B.35). Linux only; the
//! poller's part needs Linux 6.9.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::net::config::BusyPoll;

/// Sets up the poller, and finds out whether sockets may be set up too.
pub(super) fn set_up(poller: RawFd, options: &BusyPoll) -> io::Result<()> {
    let trial = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    set_socket(&trial, options.time)?;
    let params = libc::epoll_params {
        busy_poll_usecs: micros(options.time),
        busy_poll_budget: options.packets,
        prefer_busy_poll: u8::from(options.prefer),
        __pad: 0,
    };
    // SAFETY: this request reads one structure of this type, which lives as long as the call.
    let outcome = unsafe { libc::ioctl(poller, libc::EPIOCSPARAMS, &raw const params) };
    if outcome < 0 {
        return Err(said(
            "busy polling of the poller",
            &io::Error::last_os_error(),
        ));
    }
    Ok(())
}

/// Sets up one socket; those it accepts inherit that.
pub(super) fn set_socket(socket: &Socket, time: Duration) -> io::Result<()> {
    let outcome = socket.set_busy_poll(micros(time));
    outcome.map_err(|e| said("busy polling of a socket", &e))
}

fn said(what: &str, error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EPERM) => "more than the system allows needs the capability CAP_NET_ADMIN",
        Some(libc::ENOTTY) => "the kernel is older than 6.9",
        _ => "the kernel does not take these values",
    };
    io::Error::new(error.kind(), format!("{what}: {why} ({error})"))
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(i32::MAX as u32)
}
