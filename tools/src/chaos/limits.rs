//! Every bound of a run, with its unit and its reason.

use std::time::Duration;

/// Clients of one run: each has a descriptor here and one at an edge.
pub(super) const CLIENTS_MAX: u32 = 19_000;

/// Messages of one run: what came of each is held in memory.
pub(super) const MESSAGES_MAX: u64 = 20_000_000;

/// Logins under way at once: what waits at an edge for a core that is away must not pass its login's time.
pub(super) const LOGINS_MAX: usize = 128;

/// How long a login or resumption may take before its connection is given up and made again. Longer than an edge
/// lets one last, so that it is the edge that ends it.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(40);

/// Pause before a connection that was lost or refused is made again: at least, and up to twice as long by jitter.
pub(super) const AGAIN: Duration = Duration::from_millis(150);

/// Longest sleep of the loop: faults, sends and deadlines are as exact as that.
pub(super) const TURN: Duration = Duration::from_millis(5);

/// How long the servers may take to serve the first client.
pub(super) const START: Duration = Duration::from_secs(60);

/// How long it may take until everybody is logged in, at the start and after the last fault.
pub(super) const LOGGED_IN: Duration = Duration::from_secs(180);

/// After the last fault: how long what is under way may take to arrive. Reached: what is missing counts as lost.
pub(super) const REST: Duration = Duration::from_secs(120);

/// So long without a message means that there are no more.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// The core returns what a session had that did not come back after ten seconds (its `LINK_GRACE_MS`). If
/// something has not come, the rest lasts at least so long.
pub(super) const GRACE: Duration = Duration::from_secs(14);

/// How long a stopping process may take before it is killed.
pub(super) const STOP: Duration = Duration::from_secs(30);

/// Source addresses of clients, 127.0.0.2 and on: each has its own ephemeral ports.
pub(super) const SOURCES: u8 = 8;

/// Bytes that a relay copies at once.
pub(super) const RELAY_BYTES: usize = 64 << 10;

/// How soon a relay notices that it is to cut, stall or end.
pub(super) const RELAY_TURN: Duration = Duration::from_millis(20);

/// Lines of the report that name what went wrong, of each kind.
pub(super) const EXAMPLES_MAX: usize = 10;
