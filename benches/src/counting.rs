//! The system's allocator, counting for each thread. A program that wants it says
//! `#[global_allocator] static ALLOCATOR: Counting = Counting;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// Allocations of this thread so far; a block that grows counts again.
#[must_use]
pub fn allocations() -> u64 {
    CALLS.get()
}

/// Bytes this thread has asked for and not given back.
#[must_use]
pub fn held_bytes() -> i64 {
    HELD.get()
}

fn note(calls: u64, asked: usize, returned: usize) {
    let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    CALLS.set(CALLS.get() + calls);
    HELD.set(HELD.get() + signed(asked) - signed(returned));
}

// SAFETY: each call is the system allocator's, with the arguments as they came.
#[allow(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size(), 0);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size, layout.size());
        // SAFETY: as above; `place` came from `System`.
        unsafe { System.realloc(place, layout, size) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, 0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
