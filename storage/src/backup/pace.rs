//! How fast a copy goes, how far it is, and whether it goes on.

use super::{BackupError, Progress};
use crate::limits;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Told now and then how far it is; answers whether anybody still wants it.
pub type Report<'r> = &'r mut dyn FnMut(Progress) -> bool;

pub(super) struct Pace<'r> {
    /// `None`: as fast as it can.
    bytes_per_s: Option<u64>,
    stop: Option<&'r AtomicBool>,
    report: Report<'r>,
    began: Instant,
    /// Of which the rate is kept.
    spent: u64,
    progress: Progress,
    reported: Instant,
}

impl<'r> Pace<'r> {
    pub(super) fn new(
        bytes_per_s: Option<u64>,
        total: u64,
        stop: Option<&'r AtomicBool>,
        report: Report<'r>,
    ) -> Pace<'r> {
        let now = Instant::now();
        let progress = Progress { done: 0, total };
        Pace { bytes_per_s, stop, report, began: now, spent: 0, progress, reported: now }
    }

    /// So many bytes were copied, which is `of` the whole. Waits until the next ones may be.
    pub(super) fn spend(&mut self, bytes: u64, of: u64) -> Result<(), BackupError> {
        self.spent = self.spent.saturating_add(bytes);
        self.progress.done = self.progress.done.saturating_add(of).min(self.progress.total);
        loop {
            if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(BackupError::Stopped);
            }
            let now = Instant::now();
            if now.duration_since(self.reported) >= Duration::from_millis(limits::PROGRESS_MS) {
                self.reported = now;
                if !(self.report)(self.progress) {
                    return Err(BackupError::Stopped);
                }
            }
            let left = self.due().saturating_sub(now.duration_since(self.began));
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(limits::COPY_SLEEP_MS)));
        }
    }

    /// How long what was copied takes at this rate.
    fn due(&self) -> Duration {
        match self.bytes_per_s {
            Some(rate) => Duration::from_micros(self.spent.saturating_mul(1_000_000) / rate.max(1)),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_it_can_be_stopped() {
        let stop = AtomicBool::new(false);
        let mut said = Vec::new();
        let mut report = |progress: Progress| {
            said.push(progress);
            said.len() < 2
        };
        let mut pace = Pace::new(Some(1_000_000), 3_000_000, Some(&stop), &mut report);
        let began = Instant::now();
        pace.spend(100_000, 100_000).unwrap();
        pace.spend(100_000, 50_000).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        // Nobody listens any more.
        assert!(matches!(pace.spend(5_000_000, 0), Err(BackupError::Stopped)));
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(pace.spend(0, 0), Err(BackupError::Stopped)));
        assert_eq!(said, [Progress { done: 150_000, total: 3_000_000 }; 2]);
    }
}
