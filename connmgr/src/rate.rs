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
}

/// What [`Rates`] make of a client's bucket, computed once: there is a look at it for every stanza.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// What leaks in a tick; 0 if there is no limit.
    leak: u64,
    /// What a stanza counts at least.
    least: u64,
    /// What the bucket holds.
    size: u64,
    /// Bytes are limited.
    by_length: bool,
}

impl From<Rates> for Bucket {
    fn from(rates: Rates) -> Bucket {
        /// Stands for the bytes of a stanza where bytes are not limited.
        const STANZA: u64 = 1024;
        let (bytes, stanzas) = (u64::from(rates.bytes_per_s), u64::from(rates.stanzas_per_s));
        let per_s = if bytes > 0 { bytes } else { stanzas.saturating_mul(STANZA) };
        let leak = per_s.saturating_mul(TICK_MS) / 1000;
        Bucket {
            leak,
            least: per_s.checked_div(stanzas).unwrap_or(0),
            size: leak.saturating_mul(1000 / TICK_MS).saturating_mul(u64::from(rates.burst_s)),
            by_length: bytes > 0,
        }
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
    pub fn charge(&mut self, bucket: &Bucket, bytes: usize, stanza: bool, now: Tick) {
        if bucket.leak == 0 {
            return;
        }
        self.owed = self.left(bucket, now);
        self.since = now;
        let length = if bucket.by_length { bytes as u64 } else { 0 };
        let cost = if stanza { length.max(bucket.least) } else { length };
        self.owed = self.owed.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
    }

    /// Whether more may be read at `now`.
    pub fn may_read(&self, bucket: &Bucket, now: Tick) -> bool {
        self.owed == 0 || bucket.leak == 0 || u64::from(self.left(bucket, now)) <= bucket.size
    }

    /// The first tick at which more may be read, if nothing is till then.
    pub fn ready_at(&self, bucket: &Bucket, now: Tick) -> Tick {
        if self.may_read(bucket, now) {
            return now;
        }
        let beyond = u64::from(self.left(bucket, now)).saturating_sub(bucket.size);
        let ticks = beyond.div_ceil(bucket.leak.max(1));
        now.saturating_add(Tick::try_from(ticks).unwrap_or(Tick::MAX))
    }

    /// What is owed at `now`.
    fn left(&self, bucket: &Bucket, now: Tick) -> u32 {
        let gone = bucket.leak.saturating_mul(u64::from(now.saturating_sub(self.since)));
        u32::try_from(u64::from(self.owed).saturating_sub(gone)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads as fast as it may until `until`; what it read.
    fn flood(rates: Rates, bytes: usize, until: Tick) -> u64 {
        let bucket = Bucket::from(rates);
        let (mut rate, mut now, mut stanzas) = (Rate::default(), 1, 0u64);
        while now < until {
            if rate.may_read(&bucket, now) {
                rate.charge(&bucket, bytes, true, now);
                stanzas += 1;
            } else {
                let ready = rate.ready_at(&bucket, now);
                assert!(ready > now && !rate.may_read(&bucket, ready - 1) && rate.may_read(&bucket, ready));
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
        let (mut rate, bucket) = (Rate::default(), Bucket::from(rates));
        for _ in 0..500 {
            assert!(rate.may_read(&bucket, 1), "a burst waits for nothing");
            rate.charge(&bucket, 80, true, 1);
        }
        assert!(rate.may_read(&bucket, 1));
        rate.charge(&bucket, 80, true, 1);
        assert!(!rate.may_read(&bucket, 1));
    }

    #[test]
    fn either_rate_may_be_none() {
        let stanzas = Rates { bytes_per_s: 0, stanzas_per_s: 100, burst_s: 1 };
        assert!(flood(stanzas, 100_000, 41).abs_diff(1_100) <= 30);
        let bytes = Rates { bytes_per_s: 100_000, stanzas_per_s: 0, burst_s: 1 };
        assert!(flood(bytes, 10, 41).abs_diff(110_000) <= 3_000);
        let (mut rate, none) = (Rate::default(), Bucket::from(Rates::NONE));
        rate.charge(&none, usize::MAX, true, 1);
        assert!(rate.may_read(&none, 1) && rate == Rate::default());
    }

    proptest! {
        /// Whoever owes is read again in time, whatever it sent and whatever is configured meanwhile.
        #[test]
        fn nobody_waits_for_ever(
            charges in proptest::collection::vec((0usize..600_000, any::<bool>(), 0u32..50), 1..40),
            rates in (10_000u32..10_000_000, 1u32..10_000, 1u32..60),
        ) {
            let rates = Rates { bytes_per_s: rates.0, stanzas_per_s: rates.1, burst_s: rates.2 };
            let bucket = Bucket::from(rates);
            let (mut rate, mut now) = (Rate::default(), 1);
            for (bytes, stanza, later) in charges {
                now += later;
                if rate.may_read(&bucket, now) {
                    rate.charge(&bucket, bytes, stanza, now);
                }
                let wait = u64::from(rate.ready_at(&bucket, now) - now) * TICK_MS;
                // The longest piece, or a stanza's least.
                let most = (600_000_000 / u64::from(rates.bytes_per_s)).max(1000) + TICK_MS;
                prop_assert!(wait <= most, "{} ms", wait);
            }
        }
    }
}
