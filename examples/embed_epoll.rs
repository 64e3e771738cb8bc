//! The runtime inside a host's own epoll loop, both ways. `cargo run --example embed_epoll`; takes two seconds.
//!
//! The host sleeps in its own `epoll_wait` on a timer of its own and on the reactor's descriptor. First the descriptor alone
//! decides when the reactor gets a turn (`Config::descriptor_tells_all`: timers and leftover work make it readable too).
//! Then, without that option, the host asks `next_timeout` before each sleep: no extra descriptor, one call more.
//! Either way the reactor starts no thread and the host wakes only when there is something to do.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seamio::net::*;

/// What the host's loop watches.
const REACTOR: u64 = 1;
const OWN_TIMER: u64 = 2;

/// Who decides how long the host may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    DescriptorTellsAll,
    HostAsks,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for way in [Way::DescriptorTellsAll, Way::HostAsks] {
        println!("-- {way:?}");
        serve_for_a_second(way)?;
    }
    Ok(())
}

/// The host's loop.
fn serve_for_a_second(way: Way) -> Result<(), Box<dyn std::error::Error>> {
    let answers = Arc::new(AtomicU64::new(0));
    let config = Config {
        descriptor_tells_all: way == Way::DescriptorTellsAll,
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, chatter(Arc::clone(&answers)))?;
    let id = reactor.listen("127.0.0.1:0".parse()?, ListenOptions::default())?;
    let address = reactor.local_addr(id).ok_or("not listening")?;
    reactor.connect(address.into(), ConnectOptions::default());

    let epoll = Epoll::new()?;
    let timer = timer_every(Duration::from_millis(250))?;
    epoll.watch(reactor.as_raw_fd(), REACTOR)?;
    epoll.watch(timer.as_raw_fd(), OWN_TIMER)?;

    let (mut own, mut turns) = (0, 0);
    reactor.poll_once(Some(Duration::ZERO))?; // from here on the descriptor speaks for the reactor
    while own < 4 {
        let sleep = match way {
            Way::DescriptorTellsAll => None,
            Way::HostAsks => reactor.next_timeout(),
        };
        let mut reactor_is_due = way == Way::HostAsks;
        for ready in epoll.wait(sleep)? {
            match ready {
                REACTOR => reactor_is_due = true,
                _ => {
                    own += drain_timer(&timer)?;
                    println!(
                        "host's own timer {own}, answers so far {}",
                        answers.load(Ordering::Relaxed)
                    );
                }
            }
        }
        if reactor_is_due {
            reactor.poll_once(Some(Duration::ZERO))?; // never sleeps itself
            turns += 1;
        }
    }
    println!(
        "{turns} turns for {} answers",
        answers.load(Ordering::Relaxed)
    );
    Ok(())
}

/// Both ends in one reactor: each session says something every 50 ms, by the reactor's own timers, and the accepting end
/// answers.
fn chatter(answers: Arc<AtomicU64>) -> Callbacks<Lines> {
    Callbacks::new(Lines)
        .on_open(|_, session, config| {
            if matches!(session.peer().origin, Origin::Connected(_)) {
                config.tick = Duration::from_millis(50);
            }
            Ok(())
        })
        .on_tick(|cx, _| drop(cx.send(&"anyone there?".into())))
        .on_message(move |cx, session, line| match session.peer().origin {
            Origin::Accepted(_) | Origin::Bound(_) => drop(cx.send(&line.to_uppercase())),
            Origin::Connected(_) => drop(answers.fetch_add(1, Ordering::Relaxed)),
        })
}

/// A level-triggered epoll set, as a host would have it.
struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: a plain call; the result is checked before it is owned.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is fresh and belongs to nobody else.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn watch(&self, fd: RawFd, name: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: name,
        };
        // SAFETY: `event` lives for the call, which copies it.
        checked(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event)
        })?;
        Ok(())
    }

    /// Names of what is ready. `None` sleeps for ever.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<u64>> {
        // Rounded up: waking too early would only mean to sleep again.
        let millis = timeout.map_or(-1, |t| t.as_micros().div_ceil(1000).min(60_000) as i32);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: the array lives for the call and its length is passed along.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 16, millis) };
        match checked(n) {
            Ok(n) => Ok(events[..n as usize].iter().map(|e| e.u64).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

fn timer_every(period: Duration) -> io::Result<OwnedFd> {
    let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
    // SAFETY: a plain call; the result is checked before it is owned.
    let fd = checked(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let step = libc::timespec {
        tv_sec: 0,
        tv_nsec: period.subsec_nanos().into(),
    };
    let times = libc::itimerspec {
        it_interval: step,
        it_value: step,
    };
    // SAFETY: `times` lives for the call; no old value is asked for.
    checked(unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &times, std::ptr::null_mut()) })?;
    Ok(fd)
}

/// How often the timer fired since the last look.
fn drain_timer(timer: &OwnedFd) -> io::Result<u64> {
    let mut fired = 0u64;
    // SAFETY: reads eight bytes into a variable of eight bytes.
    let n = unsafe { libc::read(timer.as_raw_fd(), (&raw mut fired).cast(), 8) };
    if n == 8 {
        Ok(fired)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
