//! Wakes the poll at an instant: open-loop load sends every fraction of a millisecond, and a poll's own
//! timeout counts whole milliseconds.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// Deadlines nearer than this go to the timer descriptor, others to the poll's timeout.
const FINE: Duration = Duration::from_millis(20);

pub(crate) struct Timer {
    descriptor: OwnedFd,
    armed: Option<Instant>,
}

impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { descriptor, armed: None })
    }

    /// Sees to it that a poll ends by `deadline`, perhaps early; returns the timeout to poll with.
    pub(crate) fn arm(&mut self, deadline: Instant) -> io::Result<Option<Duration>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || left > FINE {
            return Ok(Some(left.saturating_sub(FINE / 2))); // the rest is the timer's
        }
        if self.armed != Some(deadline) {
            let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            timerfd_settime(
                &self.descriptor,
                TimerfdTimerFlags::empty(),
                &Itimerspec { it_interval: nothing, it_value: value },
            )?;
            self.armed = Some(deadline);
        }
        Ok(None)
    }

    /// The timer's token was ready. Its count need not be read: it is registered for edges, and setting it
    /// anew makes the next one.
    pub(crate) fn fired(&mut self) {
        self.armed = None;
    }
}
