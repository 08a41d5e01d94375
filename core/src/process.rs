//! What a core asks of the kernel for its whole process.
#![expect(unsafe_code, reason = "prctl has no safe form in the libraries in use")]

/// Keeps the kernel from backing the heap with 2 MiB pages of which an idle core uses a corner: they
/// make up two thirds of its memory before any client. Call it first in `main`; without it all works
/// the same.
pub fn use_small_pages() {
    // SAFETY: takes integers only; changes how later page faults of this process are served.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}
