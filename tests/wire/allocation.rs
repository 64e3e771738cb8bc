//! Counts what a closure allocates on its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Allocations, among them growth in place, and the bytes asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Runs `work` and tells what it allocated.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    let before = SPENT.get();
    let result = work();
    let after = SPENT.get();
    let spent = Spent {
        count: after.count - before.count,
        bytes: after.bytes - before.bytes,
    };
    (spent, result)
}

struct Counting;

thread_local! {
    static SPENT: Cell<Spent> = const { Cell::new(Spent { count: 0, bytes: 0 }) };
}

fn count(bytes: usize) {
    // A thread that is going away has no counter any more, and nobody who reads it.
    let _ = SPENT.try_with(|spent| {
        let Spent { count, bytes: sum } = spent.get();
        spent.set(Spent {
            count: count + 1,
            bytes: sum + bytes,
        });
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
