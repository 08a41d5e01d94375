//! How many descriptors this process may have.
#![expect(unsafe_code, reason = "getrlimit and setrlimit have no safe form in the libraries in use")]

/// Raises the soft limit of open files to the hard one; what the limit then is.
pub(crate) fn raise_limit() -> u64 {
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
