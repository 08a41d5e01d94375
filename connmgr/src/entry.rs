//! Who comes in: how much the core does at one time for clients on their way to their first presence. Without that a
//! storm of logins stands before the stanzas of all who are there.
//!
//! ```text
//!  a newcomer's question or stanza ──a place is free──▶ core ──answered, settled──▶ the place is free
//!                                  └──else: waits in the order they came ◀──────────┘
//! ```
//!
//! A place is taken only while the core has something to do, so that clients who are slow, or mean to be, hold none.

use crate::limits::{ENTRY_STUCK_MS, NEWCOMERS_AT_ONCE};
use crate::stream::Question;
use std::collections::VecDeque;

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// The core has nothing to do for it that counts.
    Idle,
    /// It waits for a place.
    Waiting,
    /// It has one.
    Inside,
}

/// One that waits: its place in the table, its counter, and what it is to ask; `None`: a stanza, which is read again.
pub(crate) struct Waiting {
    pub(crate) place: u32,
    pub(crate) counter: u64,
    pub(crate) question: Option<Question>,
}

/// Of one event loop.
#[derive(Default)]
pub(crate) struct Entrance {
    inside: usize,
    waiting: VecDeque<Waiting>,
    /// When the last place was taken or given back, `Now::mono_ms`.
    moved_ms: u64,
}

impl Entrance {
    /// Takes a place, if one is free and nobody waits for it.
    pub(crate) fn enter(&mut self, now_ms: u64) -> bool {
        let free = self.waiting.is_empty() && self.inside < NEWCOMERS_AT_ONCE;
        if free {
            self.inside = self.inside.saturating_add(1);
            self.moved_ms = now_ms;
        }
        free
    }

    /// Who waits does so once.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// The core is done with one who had a place.
    pub(crate) fn leave(&mut self, now_ms: u64) {
        self.inside = self.inside.saturating_sub(1);
        self.moved_ms = now_ms;
    }

    /// The next who waits, if a place is free, which is taken.
    pub(crate) fn next(&mut self, now_ms: u64) -> Option<Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        // What the core is so long about is not its work for them: a store that hangs, a resumption that waits.
        if now_ms >= self.moved_ms.saturating_add(ENTRY_STUCK_MS) {
            self.inside = 0;
        }
        if self.inside >= NEWCOMERS_AT_ONCE {
            return None;
        }
        self.inside = self.inside.saturating_add(1);
        self.moved_ms = now_ms;
        self.waiting.pop_front()
    }

    /// When somebody is let in at the latest, `Now::mono_ms`.
    pub(crate) fn next_ms(&self) -> u64 {
        if self.waiting.is_empty() { u64::MAX } else { self.moved_ms.saturating_add(ENTRY_STUCK_MS) }
    }

    /// Forgets those that are gone; asked with place and counter.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32, u64) -> bool) {
        self.waiting.retain(|waiting| keep(waiting.place, waiting.counter));
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(place: u32) -> Waiting {
        Waiting { place, counter: u64::from(place), question: None }
    }

    #[test]
    fn so_many_are_inside_and_the_others_come_in_order() {
        let mut entrance = Entrance::default();
        assert!((0..NEWCOMERS_AT_ONCE).all(|_| entrance.enter(1)));
        assert!(!entrance.enter(1));
        entrance.wait(waiting(1));
        entrance.wait(waiting(2));
        assert!(entrance.next(1).is_none());
        entrance.leave(2);
        assert!(!entrance.enter(2), "others wait");
        assert_eq!(entrance.next(2).map(|next| next.place), Some(1));
        assert!(entrance.next(2).is_none());
        entrance.leave(3);
        assert_eq!(entrance.next(3).map(|next| next.place), Some(2));
        assert!(!entrance.enter(3));
        entrance.leave(4);
        assert!(entrance.enter(4));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut entrance = Entrance::default();
        assert!((0..NEWCOMERS_AT_ONCE).all(|_| entrance.enter(5)));
        assert_eq!(entrance.next_ms(), u64::MAX);
        entrance.wait(waiting(1));
        assert!(entrance.next(4 + ENTRY_STUCK_MS).is_none());
        assert_eq!(entrance.next_ms(), 5 + ENTRY_STUCK_MS);
        assert_eq!(entrance.next(5 + ENTRY_STUCK_MS).map(|next| next.place), Some(1));
    }
}
