//! How fast one client may send: a bucket of debts that leaks. Pure.
//!
//! What is read of a client is counted as bytes; a small stanza counts as if it were as long as an average one would
//! be who uses both rates up. Who owes more than the bucket holds is not read until enough has leaked, and its own TCP
//! holds it back; it is not told, nothing is refused or lost. The largest stanza always fits: it is counted once it is read.

use crate::limits::TICK_MS;
use crate::wheel::Tick;
use serde::Deserialize;

/// What a client may send, on average and at once. Rates of 0 are none: everything passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Bytes of XML a second.
    pub bytes_per_s: u32,
    /// Stanzas a second.
    pub stanzas_per_s: u32,
    /// Seconds' worth of both that may come at once.
    pub burst_s: u32,
}

impl Default for Rates {
    /// A desktop that logs in sends some dozen kilobytes, a client that fetches keys of a large room some hundred
    /// stanzas, one that sends a file in-band a hundred kilobytes a second.
    fn default() -> Rates {
        Rates { bytes_per_s: 256 * 1024, stanzas_per_s: 200, burst_s: 10 }
    }
}

impl Rates {
    /// No limit.
    pub const NONE: Rates = Rates { bytes_per_s: 0, stanzas_per_s: 0, burst_s: 1 };

    /// What leaks in a tick, and what a stanza counts at least; either rate may be none.
    fn leak_and_least(self) -> (u64, u64) {
        /// Stands for the bytes of a stanza where bytes are not limited.
        const STANZA: u64 = 1024;
        let (bytes, stanzas) = (u64::from(self.bytes_per_s), u64::from(self.stanzas_per_s));
        let per_s = if bytes > 0 { bytes } else { stanzas.saturating_mul(STANZA) };
        let least = per_s.checked_div(stanzas).unwrap_or(0);
        (per_s.saturating_mul(TICK_MS) / 1000, least)
    }

    fn bucket(self) -> u64 {
        let (leak, _) = self.leak_and_least();
        leak.saturating_mul(1000 / TICK_MS).saturating_mul(u64::from(self.burst_s))
    }

    fn is_none(self) -> bool {
        self.bytes_per_s == 0 && self.stanzas_per_s == 0
    }
}

/// One client's bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    owed: u32,
    since: Tick,
}

impl Rate {
    /// A piece of `bytes` was read at `now`.
    pub fn charge(&mut self, rates: Rates, bytes: usize, stanza: bool, now: Tick) {
        if rates.is_none() {
            return;
        }
        self.leak(rates, now);
        let (_, least) = rates.leak_and_least();
        let length = if rates.bytes_per_s > 0 { bytes as u64 } else { 0 };
        let cost = if stanza { length.max(least) } else { length };
        self.owed = self.owed.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
    }

    /// Whether more may be read at `now`.
    pub fn may_read(&self, rates: Rates, now: Tick) -> bool {
        self.ready_at(rates, now) <= now
    }

    /// The first tick at which more may be read, if nothing is till then.
    pub fn ready_at(&self, rates: Rates, now: Tick) -> Tick {
        if rates.is_none() || self.owed == 0 {
            return now;
        }
        let mut at = *self;
        at.leak(rates, now);
        let (leak, _) = rates.leak_and_least();
        let beyond = u64::from(at.owed).saturating_sub(rates.bucket());
        let ticks = beyond.div_ceil(leak.max(1));
        now.saturating_add(Tick::try_from(ticks).unwrap_or(Tick::MAX))
    }

    fn leak(&mut self, rates: Rates, now: Tick) {
        let (leak, _) = rates.leak_and_least();
        let gone = leak.saturating_mul(u64::from(now.saturating_sub(self.since)));
        self.owed = u32::try_from(u64::from(self.owed).saturating_sub(gone)).unwrap_or(0);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads as fast as it may until `until`; what it read.
    fn flood(rates: Rates, bytes: usize, until: Tick) -> u64 {
        let (mut rate, mut now, mut stanzas) = (Rate::default(), 1, 0u64);
        while now < until {
            if rate.may_read(rates, now) {
                rate.charge(rates, bytes, true, now);
                stanzas += 1;
            } else {
                let ready = rate.ready_at(rates, now);
                assert!(ready > now && !rate.may_read(rates, ready - 1) && rate.may_read(rates, ready));
                now = ready;
            }
        }
        stanzas
    }

    #[test]
    fn threat_004_a_flood_comes_at_the_rate_and_a_burst_at_once() {
        let rates = Rates { bytes_per_s: 10_000, stanzas_per_s: 100, burst_s: 5 };
        let seconds = 60;
        let ticks = seconds * 1000 / u32::try_from(TICK_MS).unwrap();
        let all = u64::from(seconds + rates.burst_s);
        for (bytes, wanted) in [(1, 100 * all), (100, 100 * all), (1_000, 10 * all), (250_000, 3)] {
            let read = flood(rates, bytes, 1 + ticks);
            assert!(read.abs_diff(wanted) <= wanted / 50 + 1, "{bytes}: {read}, not {wanted}");
        }
        let mut rate = Rate::default();
        for _ in 0..500 {
            assert!(rate.may_read(rates, 1), "a burst waits for nothing");
            rate.charge(rates, 80, true, 1);
        }
        assert!(rate.may_read(rates, 1));
        rate.charge(rates, 80, true, 1);
        assert!(!rate.may_read(rates, 1));
    }

    #[test]
    fn either_rate_may_be_none() {
        let stanzas = Rates { bytes_per_s: 0, stanzas_per_s: 100, burst_s: 1 };
        assert!(flood(stanzas, 100_000, 41).abs_diff(1_100) <= 30);
        let bytes = Rates { bytes_per_s: 100_000, stanzas_per_s: 0, burst_s: 1 };
        assert!(flood(bytes, 10, 41).abs_diff(110_000) <= 3_000);
        let mut rate = Rate::default();
        rate.charge(Rates::NONE, usize::MAX, true, 1);
        assert!(rate.may_read(Rates::NONE, 1) && rate == Rate::default());
    }

    proptest! {
        /// Whoever owes is read again in time, whatever it sent and whatever is configured meanwhile.
        #[test]
        fn nobody_waits_for_ever(
            charges in proptest::collection::vec((0usize..600_000, any::<bool>(), 0u32..50), 1..40),
            rates in (10_000u32..10_000_000, 1u32..10_000, 1u32..60),
        ) {
            let rates = Rates { bytes_per_s: rates.0, stanzas_per_s: rates.1, burst_s: rates.2 };
            let (mut rate, mut now) = (Rate::default(), 1);
            for (bytes, stanza, later) in charges {
                now += later;
                if rate.may_read(rates, now) {
                    rate.charge(rates, bytes, stanza, now);
                }
                let wait = u64::from(rate.ready_at(rates, now) - now) * TICK_MS;
                // The longest piece, or a stanza's least.
                let most = (600_000_000 / u64::from(rates.bytes_per_s)).max(1000) + TICK_MS;
                prop_assert!(wait <= most, "{} ms", wait);
            }
        }
    }
}
