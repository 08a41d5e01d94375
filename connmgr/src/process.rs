//! What an edge asks of the kernel for its whole process.
#![expect(unsafe_code, reason = "rlimits and prctl have no safe form in the libraries in use")]

/// Raises the soft limit of open files to the hard one; what the limit then is.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, exclusively borrowed rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the pointer is to a live rlimit that is only read.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
        limit.rlim_cur = limit.rlim_max;
    }
    limit.rlim_cur
}

/// Keeps the kernel from backing the heap with 2 MiB pages of which an idle edge uses a corner: they make
/// up two thirds of its memory before any client. Call it first in `main`; without it all works the same.
pub fn use_small_pages() {
    // SAFETY: takes integers only; changes how later page faults of this process are served.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}
