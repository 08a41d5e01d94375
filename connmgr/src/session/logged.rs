//! Outbound entries that are records of the account's log: those not yet written, and those that were, of which the core
//! has not said that it is stored.

use hearth_wire::limits::{RECENT_ATTACH_MAX, RECENT_MAX, UNWRITTEN_MAX};
use hearth_wire::to_core::LoggedEntry;
use std::collections::VecDeque;

/// See the module. All in the entries' order, which need not be the log's.
#[derive(Debug, Default)]
pub(super) struct Logged {
    unwritten: VecDeque<LoggedEntry>,
    recent: VecDeque<LoggedEntry>,
}

impl Logged {
    /// False if the core has sent more than it may.
    pub(super) fn push(&mut self, entry: u64, log: u64) -> bool {
        self.unwritten.push_back(LoggedEntry { entry, log });
        self.unwritten.len() <= UNWRITTEN_MAX
    }

    /// Entries up to `mark` are written.
    pub(super) fn written(&mut self, mark: u64) {
        while let Some(entry) = take_first(&mut self.unwritten, mark) {
            if self.recent.len() >= RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(entry);
        }
    }

    /// That entries up to `mark` are written is stored.
    pub(super) fn stored(&mut self, mark: u64) {
        while take_first(&mut self.recent, mark).is_some() {}
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unwritten.is_empty() && self.recent.is_empty()
    }

    pub(super) fn unwritten(&self) -> Vec<LoggedEntry> {
        self.unwritten.iter().copied().collect()
    }

    /// Log ids of what was written, in two parts: what goes ahead, and the latest.
    pub(super) fn recent(&self) -> (Vec<u64>, Vec<u64>) {
        let mut ahead: Vec<_> = self.recent.iter().map(|entry| entry.log).collect();
        let latest = ahead.split_off(ahead.len().saturating_sub(RECENT_ATTACH_MAX));
        (ahead, latest)
    }
}

/// The first, if it is one up to `mark`.
fn take_first(entries: &mut VecDeque<LoggedEntry>, mark: u64) -> Option<LoggedEntry> {
    entries.front().filter(|first| first.entry <= mark)?;
    entries.pop_front()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_unwritten_then_recent_until_that_is_stored() {
        let mut logged = Logged::default();
        for entry in 1..=100 {
            assert!(logged.push(entry * 2, 101 - entry));
        }
        logged.written(1);
        assert_eq!((logged.unwritten().len(), logged.recent()), (100, (vec![], vec![])));
        logged.written(199);
        assert_eq!(logged.unwritten(), [LoggedEntry { entry: 200, log: 1 }]);
        let latest = (2..=65).rev().collect::<Vec<_>>();
        assert_eq!(logged.recent(), ((66..=100).rev().collect(), latest.clone()), "the earlier ones go ahead");
        logged.stored(71);
        assert_eq!(logged.recent(), (vec![], latest.clone()));
        logged.written(200);
        logged.stored(199);
        assert_eq!(logged.recent(), (vec![], vec![1]));
        logged.stored(200);
        assert!(logged.is_empty());
    }

    #[test]
    fn a_core_that_sends_too_many_is_noticed() {
        let mut logged = Logged::default();
        let max = u64::try_from(UNWRITTEN_MAX).unwrap();
        assert!((1..=max).all(|entry| logged.push(entry, entry)));
        assert!(!logged.push(max + 1, 1));
    }

    /// One from before it bounded them never says what is stored.
    #[test]
    fn of_an_older_core_only_the_latest_are_remembered() {
        let mut logged = Logged::default();
        let max = u64::try_from(RECENT_MAX).unwrap();
        (1..=max + 5).for_each(|entry| assert!(logged.push(entry, entry)));
        logged.written(max + 5);
        let (ahead, latest) = logged.recent();
        assert_eq!((ahead.len() + latest.len(), ahead.first()), (RECENT_MAX, Some(&6)));
    }
}
