//! A timer with a descriptor, so that an embedding host need not know the reactor's timers (network.md B.34). Linux only.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// A timer of the operating system. Its descriptor becomes readable when it goes off; setting it again takes that back.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes no memory of ours.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        let timer = unsafe { OwnedFd::from_raw_fd(timer) };
        Ok(Alarm { timer })
    }

    /// Goes off once after `delay`, or not at all.
    pub(crate) fn set(&mut self, delay: Option<Duration>) -> io::Result<()> {
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = match delay {
            None => zero,
            // Zero would mean never.
            Some(delay) => libc::timespec {
                tv_sec: libc::time_t::try_from(delay.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(delay.subsec_nanos() as i32)
                    .max(i64::from(delay < Duration::from_secs(1))),
            },
        };
        let setting = libc::itimerspec {
            it_interval: zero,
            it_value: value,
        };
        // SAFETY: `setting` lives as long as the call, and the old setting may be refused with a null pointer.
        let outcome =
            unsafe { libc::timerfd_settime(self.as_raw_fd(), 0, &setting, ptr::null_mut()) };
        if outcome < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}
