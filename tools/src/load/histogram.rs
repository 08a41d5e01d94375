//! Latencies in buckets less than one percent wide.

use std::time::Duration;

/// Buckets per doubling: 128, so a bucket spans at most 1/128 of its value.
const FINE_BITS: u32 = 7;
const FINE: u64 = 1 << FINE_BITS;

#[derive(Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        let bucket = bucket_of(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(latency);
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.max.as_secs_f64() * 1e3
    }

    /// The latency that `share` (0 to 1) of all stay at or below, in milliseconds; 0 if there are none.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(bucket).min(self.max.as_secs_f64() * 1e9) / 1e6;
            }
        }
        0.0
    }
}

fn bucket_of(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(FINE_BITS + 1);
    usize::try_from(u64::from(shift) * FINE + (nanos >> shift)).unwrap_or(usize::MAX)
}

/// Nanoseconds at which a bucket ends.
fn upper_bound(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    let shift = (bucket / FINE).saturating_sub(1);
    (bucket - shift * FINE + 1) as f64 * 2f64.powf(shift as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let mut ramp = Histogram::default();
        for micros in 1..=1000 {
            ramp.record(Duration::from_micros(micros));
        }
        for (share, wanted) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = ramp.quantile_ms(share);
            assert!((found / wanted - 1.0).abs() < 0.01, "{share}: {found}");
        }
        assert_eq!(Histogram::default().quantile_ms(0.5), 0.0);
    }

    proptest! {
        #[test]
        fn buckets_are_narrow_and_ordered(nanos in any::<u32>()) {
            let nanos = u64::from(nanos);
            let end = upper_bound(bucket_of(nanos));
            prop_assert!(end > nanos as f64 && end <= nanos as f64 * 1.01 + 1.0);
            prop_assert!(bucket_of(nanos + 1) >= bucket_of(nanos));
        }
    }
}
