//! Coarse timers: one small entry per connection that waits for anything.
//!
//! A connection has at most one entry that counts. It keeps the tick of that entry; an entry that
//! fires at another tick is stale and ignored. A deadline that moves later costs nothing: the old
//! entry fires, finds a later deadline and is put back. So a stanza never touches the wheel.

use crate::limits::TICK_MS;

/// A moment in units of [`TICK_MS`] since the loop started, from 1. 34 years fit.
pub(crate) type Tick = u32;

/// No entry.
pub(crate) const NEVER: Tick = Tick::MAX;

/// One turn of the wheel is 256 ticks, about a minute; entries further away go round again.
const BUCKETS: usize = 256;

/// The tick that has begun at `mono_ms`.
pub(crate) fn tick_of(mono_ms: u64) -> Tick {
    Tick::try_from(mono_ms / TICK_MS).unwrap_or(NEVER - 1).saturating_add(1)
}

/// The first tick that ends `after_ms` or later.
pub(crate) fn tick_after(now: Tick, after_ms: u64) -> Tick {
    now.saturating_add(Tick::try_from(after_ms.div_ceil(TICK_MS)).unwrap_or(NEVER)).min(NEVER - 1)
}

pub(crate) struct Wheel {
    buckets: Vec<Vec<(Tick, u32)>>,
    /// All ticks up to here have fired.
    done: Tick,
    len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        Wheel { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), done: 0, len: 0 }
    }

    /// Fires `key` at `tick`, or with the next advance if that has passed.
    pub(crate) fn insert(&mut self, tick: Tick, key: u32) {
        let at = tick.max(self.done.saturating_add(1));
        if let Some(bucket) = self.buckets.get_mut(at as usize % BUCKETS) {
            bucket.push((tick, key));
            self.len = self.len.saturating_add(1);
        }
    }

    /// Moves what is due at `now` into `fired`, each with the tick it was inserted for.
    pub(crate) fn advance(&mut self, now: Tick, fired: &mut Vec<(Tick, u32)>) {
        let steps = now.saturating_sub(self.done).min(Tick::try_from(BUCKETS).unwrap_or(NEVER));
        for step in 0..steps {
            let bucket = (now - step) as usize % BUCKETS;
            let Some(bucket) = self.buckets.get_mut(bucket) else { continue };
            let before = fired.len();
            bucket.retain(|entry| {
                let due = entry.0 <= now;
                if due {
                    fired.push(*entry);
                }
                !due
            });
            self.len = self.len.saturating_sub(fired.len().saturating_sub(before));
            if bucket.is_empty() && bucket.capacity() > 1024 {
                *bucket = Vec::new();
            }
        }
        self.done = self.done.max(now);
    }

    /// Whether anything waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fire_once_at_their_tick_even_after_a_long_sleep() {
        let mut wheel = Wheel::new();
        let mut fired = Vec::new();
        for (tick, key) in [(5, 1), (5, 2), (300, 3), (261, 4), (1000, 5)] {
            wheel.insert(tick, key);
        }
        wheel.advance(4, &mut fired);
        assert!(fired.is_empty());
        wheel.advance(5, &mut fired);
        fired.sort_unstable();
        assert_eq!(std::mem::take(&mut fired), [(5, 1), (5, 2)]);
        wheel.advance(260, &mut fired);
        assert!(fired.is_empty());
        wheel.insert(7, 6);
        wheel.advance(999, &mut fired);
        fired.sort_unstable();
        assert_eq!(std::mem::take(&mut fired), [(7, 6), (261, 4), (300, 3)]);
        wheel.advance(1000, &mut fired);
        assert_eq!(fired, [(1000, 5)]);
        assert!(wheel.is_empty());
    }
}
