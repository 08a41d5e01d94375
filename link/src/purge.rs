//! Memory that nobody uses, given back to the system.
#![expect(unsafe_code, reason = "the allocator has no safe form of this")]

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of `mimalloc.h`, which its bindings do not name: milliseconds for which freed pages are kept.
const PURGE_DELAY: mi_option_t = 15;

/// Pages that are freed go back to the system at once. By itself the allocator keeps them for a second, and looks for them only when it is
/// asked for more: a server whose storm of logins is over asks for nothing, and kept a kilobyte for each session. Call it first
/// in `main`, before there are threads; without it all works the same.
pub fn give_back_at_once() {
    // SAFETY: takes integers only, and no other thread reads the option yet.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

#[test]
fn the_option_is_the_one_that_is_meant() {
    // SAFETY: takes an integer only. A second is what the allocator says of itself, 1,000 of no other option.
    let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
    give_back_at_once();
    // SAFETY: the same.
    let after = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
    assert_eq!((before, after), (1_000, 0));
}
