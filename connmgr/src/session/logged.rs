//! Outbound entries that are records of the account's log: those not yet written, and those that were of late.

use hearth_wire::limits::{RECENT_MAX, UNWRITTEN_MAX};
use hearth_wire::to_core::LoggedEntry;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// In the order of both numbers' entries.
    unwritten: VecDeque<LoggedEntry>,
    /// Log ids, oldest first.
    recent: VecDeque<u64>,
    /// One of them was written, or all were told to another core, since the last [`Logged::age`].
    fresh: bool,
}

impl Logged {
    /// False if the core has sent more than it may.
    pub(super) fn push(&mut self, entry: u64, log: u64) -> bool {
        self.unwritten.push_back(LoggedEntry { entry, log });
        self.unwritten.len() <= UNWRITTEN_MAX
    }

    /// Entries up to `mark` are written.
    pub(super) fn written(&mut self, mark: u64) {
        while let Some(first) = self.unwritten.front().filter(|first| first.entry <= mark) {
            if self.recent.len() >= RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(first.log);
            self.unwritten.pop_front();
            self.fresh = true;
        }
    }

    /// [`RECENT_MS`](crate::limits::RECENT_MS) have passed: if nothing was written meanwhile, all is forgotten.
    pub(super) fn age(&mut self) {
        if !std::mem::take(&mut self.fresh) {
            self.recent = VecDeque::new();
        }
    }

    /// Another core was told, which has to store it first.
    pub(super) fn told_anew(&mut self) {
        self.fresh = !self.recent.is_empty();
    }

    /// Something is to be forgotten in a while.
    pub(super) fn has_recent(&self) -> bool {
        !self.recent.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unwritten.is_empty() && self.recent.is_empty()
    }

    pub(super) fn unwritten(&self) -> Vec<LoggedEntry> {
        self.unwritten.iter().copied().collect()
    }

    pub(super) fn recent(&self) -> Vec<u64> {
        self.recent.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_unwritten_then_recent_then_forgotten() {
        let mut logged = Logged::default();
        for entry in 1..=100 {
            assert!(logged.push(entry * 2, entry));
        }
        logged.written(1);
        assert_eq!((logged.unwritten().len(), logged.recent().len()), (100, 0));
        logged.written(199);
        assert_eq!(logged.unwritten(), [LoggedEntry { entry: 200, log: 100 }]);
        assert_eq!(logged.recent(), (36..=99).collect::<Vec<_>>(), "the latest of them");
        logged.age();
        logged.written(200);
        logged.age();
        assert!(logged.has_recent(), "counted from the last");
        logged.age();
        assert!(logged.is_empty());
    }

    #[test]
    fn a_core_that_sends_too_many_is_noticed() {
        let mut logged = Logged::default();
        let max = u64::try_from(UNWRITTEN_MAX).unwrap();
        assert!((1..=max).all(|entry| logged.push(entry, entry)));
        assert!(!logged.push(max + 1, 1));
    }
}
