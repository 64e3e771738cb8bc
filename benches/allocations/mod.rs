//! Counts the allocations of a process, by thread, and says which code asked for them.
//!
//! The benchmark that uses it makes [`Counting`] its global allocator, and switches it on and off; what other threads allocate
//! meanwhile counts too.

#![allow(dead_code)] // Each benchmark uses its part.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The system's allocator with counters.
pub(crate) struct Counting;

/// Allocations and bytes asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocations {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

static COUNTS: AtomicBool = AtomicBool::new(false);
static TRACES: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static CALLERS: Mutex<Option<HashMap<String, Allocations>>> = Mutex::new(None);

thread_local! {
    /// Set while a trace is taken, which allocates itself.
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// Counts from now on; gives what [`switch_off`] wants.
pub(crate) fn switch_on() -> Allocations {
    let before = so_far();
    COUNTS.store(true, Ordering::Relaxed);
    before
}

/// Counts no more; gives what was counted since.
pub(crate) fn switch_off(before: Allocations) -> Allocations {
    COUNTS.store(false, Ordering::Relaxed);
    let after = so_far();
    Allocations {
        count: after.count - before.count,
        bytes: after.bytes - before.bytes,
    }
}

/// Keeps the caller of each allocation from now on, which makes it slow: its thread's name, and the innermost functions of this
/// crate, so many.
pub(crate) fn trace_on(frames: u64) {
    *CALLERS.lock().unwrap_or_else(PoisonError::into_inner) = Some(HashMap::new());
    FRAMES.store(frames, Ordering::Relaxed);
    TRACES.store(true, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
}

/// Gives the callers since, the most frequent first.
pub(crate) fn trace_off() -> Vec<(String, Allocations)> {
    COUNTS.store(false, Ordering::Relaxed);
    TRACES.store(false, Ordering::Relaxed);
    let mut callers = CALLERS.lock().unwrap_or_else(PoisonError::into_inner);
    let callers = callers.take().unwrap_or_default();
    let mut callers: Vec<_> = callers.into_iter().collect();
    callers.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
    callers
}

fn so_far() -> Allocations {
    Allocations {
        count: COUNT.load(Ordering::Relaxed),
        bytes: BYTES.load(Ordering::Relaxed),
    }
}

static FRAMES: AtomicU64 = AtomicU64::new(1);

fn note(bytes: usize) {
    if !COUNTS.load(Ordering::Relaxed) {
        return;
    }
    // Not while the thread is being torn down.
    let _ = TRACING.try_with(|tracing| {
        if tracing.get() {
            return;
        }
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
        if TRACES.load(Ordering::Relaxed) {
            tracing.set(true);
            trace(bytes);
            tracing.set(false);
        }
    });
}

fn trace(bytes: usize) {
    let text = Backtrace::force_capture().to_string();
    let thread = std::thread::current();
    let frames = FRAMES.load(Ordering::Relaxed) as usize;
    let ours: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start().split_once(": ").map(|(_, name)| name))
        .filter(|name| name.contains("seamio::"))
        .take(frames)
        .collect();
    let caller = format!("{} {}", thread.name().unwrap_or("-"), ours.join(" < "));
    let mut callers = CALLERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(callers) = callers.as_mut() {
        let caller = callers.entry(caller).or_default();
        caller.count += 1;
        caller.bytes += bytes as u64;
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator; what the counters allocate is not counted and not traced
// again.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
