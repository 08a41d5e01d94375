//! Coarse timers: one small entry per connection that waits for anything.
//!
//! A connection has one entry that counts, the earliest. A deadline that moves later costs nothing: the entry fires, finds
//! a later deadline and is put back. So a stanza never touches the wheel, and who comes and goes at one place of the table
//! leaves one entry behind, not one each.

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
    /// The entry that counts of each key, or [`NEVER`].
    next: Vec<Tick>,
    /// All ticks up to here have fired.
    done: Tick,
    len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        Wheel { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), next: Vec::new(), done: 0, len: 0 }
    }

    /// Fires `key` at `tick`, or with the next advance if that has passed; sooner if it is to fire sooner anyway.
    pub(crate) fn insert(&mut self, tick: Tick, key: u32) {
        let place = key as usize;
        if place >= self.next.len() {
            self.next.resize(place.saturating_add(1), NEVER);
        }
        let Some(next) = self.next.get_mut(place).filter(|next| tick < **next) else { return };
        *next = tick;
        let at = tick.max(self.done.saturating_add(1));
        if let Some(bucket) = self.buckets.get_mut(at as usize % BUCKETS) {
            bucket.push((tick, key));
            self.len = self.len.saturating_add(1);
        }
    }

    /// Moves what is due at `now` into `fired`, each key once.
    pub(crate) fn advance(&mut self, now: Tick, fired: &mut Vec<u32>) {
        let steps = now.saturating_sub(self.done).min(Tick::try_from(BUCKETS).unwrap_or(NEVER));
        for step in 0..steps {
            let bucket = (now - step) as usize % BUCKETS;
            let Some(bucket) = self.buckets.get_mut(bucket) else { continue };
            let before = bucket.len();
            bucket.retain(|(tick, key)| {
                if *tick > now {
                    return true;
                }
                if let Some(next) = self.next.get_mut(*key as usize).filter(|next| *next == tick) {
                    *next = NEVER;
                    fired.push(*key);
                }
                false
            });
            self.len = self.len.saturating_sub(before.saturating_sub(bucket.len()));
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

    fn fired(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(now, &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn entries_fire_once_at_their_tick_even_after_a_long_sleep() {
        let mut wheel = Wheel::new();
        for (tick, key) in [(5, 1), (5, 2), (300, 3), (261, 4), (1000, 5)] {
            wheel.insert(tick, key);
        }
        assert!(fired(&mut wheel, 4).is_empty());
        assert_eq!(fired(&mut wheel, 5), [1, 2]);
        assert!(fired(&mut wheel, 260).is_empty());
        wheel.insert(7, 6);
        assert_eq!(fired(&mut wheel, 999), [3, 4, 6]);
        assert_eq!(fired(&mut wheel, 1000), [5]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn threat_003_a_place_has_one_entry_whoever_comes_and_goes() {
        let mut wheel = Wheel::new();
        for tick in 100..1_100 {
            wheel.insert(tick, 7);
        }
        assert_eq!(wheel.len, 1);
        // Sooner than that counts, and what it replaces fires no more.
        wheel.insert(50, 7);
        assert_eq!(fired(&mut wheel, 60), [7]);
        wheel.insert(300, 7);
        assert!(fired(&mut wheel, 200).is_empty());
        assert_eq!(fired(&mut wheel, 300), [7]);
        assert!(wheel.is_empty());
    }
}
