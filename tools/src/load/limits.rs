//! Every bound of the load program, with its unit and its reason.

use std::time::Duration;

/// Most messages, flips or sessions of one run: the bookkeeping of a run is held in memory.
pub(crate) const OPERATIONS_MAX: u64 = 20_000_000;

/// Descriptors kept for everything that is not a connection (epoll, timer, standard streams, /proc files).
pub(crate) const DESCRIPTORS_RESERVED: u64 = 64;

/// Most bytes of one element that a server may send before the connection is given up: rosters of
/// thousands of contacts pass, a runaway stream does not.
pub(crate) const ELEMENT_BYTES_MAX: usize = 8 << 20;

/// PBKDF2 iterations a server may ask for: above it the load program would only measure itself.
pub(crate) const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// Bytes read from a socket at once; one buffer serves all connections.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// Events taken from the poll at once.
pub(crate) const POLL_EVENTS: usize = 1024;

/// A login that takes longer is counted as failed.
pub(crate) const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A run in which nothing arrives for so long, though something is awaited, ends with an error.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// After a phase: so long without any traffic means the server has done all its work.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// Waiting for [`QUIET`] ends after this in any case.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(60);

/// How long closing streams may take at the end of a run before the sockets are just closed.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(20);

/// Failed logins after which a run is given up: one bad account is a finding, twenty are a bad set-up.
pub(crate) const LOGIN_FAILURES_MAX: u64 = 20;

/// Loopback source addresses used at most (127.0.0.2 and on): each has its own ephemeral ports.
pub(crate) const SOURCES_MAX: u8 = 200;
