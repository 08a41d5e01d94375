//! How often a loop turns.
//!
//! Waking a sleeping thread costs more than most turns do: some 25 µs of CPU. Where things come one by one but
//! thick, a loop that begins no turn within [`TURN_MS`] of the last finds several at once and pays for one. Where
//! they come thinly it never waits, and where a turn takes that long by itself there is nothing to wait for.

use std::time::{Duration, Instant};

/// Milliseconds between the beginnings of two turns, at least, while things come thick. What it costs in delay at each
/// loop on the way: half of it on average.
const TURN_MS: u64 = 1;

/// Things expected within [`TURN_MS`] that make waiting worth it. Below it each is dealt with at once.
const THICK: u32 = 4;

/// Milliseconds over which they are counted, before the next are taken to come as thick.
const COUNTED_MS: u64 = 16;

/// See the module.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    since: Instant,
    count: u32,
    thick: bool,
}

impl Pace {
    /// Of a loop that begins now.
    #[must_use]
    pub fn new() -> Pace {
        Pace::from(Instant::now())
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// When the turn began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// This turn had so many things to do.
    pub fn did(&mut self, things: usize) {
        self.did_at(things, Instant::now());
    }

    /// Sleeps before the loop looks for the next things, if that is worth it.
    pub fn wait(&self) {
        if let Some(rest) = self.rest(Instant::now()) {
            std::thread::sleep(rest);
        }
    }

    fn from(now: Instant) -> Pace {
        Pace { began: now, since: now, count: 0, thick: false }
    }

    fn did_at(&mut self, things: usize, now: Instant) {
        self.count = self.count.saturating_add(u32::try_from(things).unwrap_or(u32::MAX));
        let counted = now.duration_since(self.since);
        if counted >= Duration::from_millis(COUNTED_MS) {
            let ms = u64::try_from(counted.as_millis()).unwrap_or(u64::MAX);
            let enough = ms.saturating_mul(u64::from(THICK)) / TURN_MS;
            (self.thick, self.since, self.count) = (u64::from(self.count) >= enough, now, 0);
        }
    }

    fn rest(&self, now: Instant) -> Option<Duration> {
        let past = now.duration_since(self.began);
        Duration::from_millis(TURN_MS).checked_sub(past).filter(|rest| self.thick && !rest.is_zero())
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_wait_only_while_things_come_thick() {
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        let turn = |pace: &mut Pace, things, now| {
            pace.began = now;
            pace.did_at(things, now);
        };
        let mut pace = Pace::from(start);
        let (mut now, whole) = (0, Duration::from_millis(TURN_MS));
        // One each millisecond, then five: told apart within the time counted.
        for (things, thick) in [(1, false), (5, true), (1, false)] {
            for _ in 0..2 * COUNTED_MS {
                now += 1000;
                turn(&mut pace, things, at(now));
            }
            assert_eq!(pace.rest(at(now)), thick.then_some(whole), "{things}");
        }
        // A turn that takes long is not followed by a rest.
        for _ in 0..2 * COUNTED_MS {
            now += 1000;
            turn(&mut pace, 50, at(now));
        }
        assert_eq!(pace.rest(at(now + 300)), Some(whole - Duration::from_micros(300)));
        assert_eq!(pace.rest(at(now + 1000)), None);
        // Nor is the first thing after a silence waited for long, nor what comes behind it.
        now += 1_000_000;
        turn(&mut pace, 1, at(now));
        assert_eq!(pace.rest(at(now)), None);
    }
}
