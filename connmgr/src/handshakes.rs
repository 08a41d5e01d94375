//! Who may begin a TLS handshake now: they are the dearest thing that a stranger can ask for (threats, row 15). Pure.
//!
//! Each source has a token bucket. Who finds it empty has the next token that comes for good, and waits for it unread: a
//! crowd behind one address gets in a little later, and a flood of one address takes no more of the processor than its
//! share. The bucket is one number, the moment at which it would be full (as in the virtual scheduling of ITU-T I.371).

use crate::limits::{HANDSHAKE_SOURCES_MAX, HANDSHAKE_WAIT_MS_MAX};
use crate::listener::prefix;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv6Addr};

/// What a source may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    /// Handshakes a second in the long run; 0: any number.
    pub(crate) per_s: u32,
    /// Handshakes at once, of a source that was quiet.
    pub(crate) burst: u32,
}

/// The answer to one who wants to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    Now,
    /// At this `Now::mono_ms`, which is reserved.
    At(u64),
    /// Too many wait already.
    Never,
}

/// Of one event loop.
#[derive(Default)]
pub(crate) struct Handshakes {
    /// When each source's bucket is full again, microseconds; none: it is full.
    full_at_us: BTreeMap<IpAddr, u64>,
    /// Who waits: until when, its place in the table, its counter.
    waiting: BinaryHeap<Reverse<(u64, u32, u64)>>,
}

impl Handshakes {
    /// One of `peer` wants to begin.
    pub(crate) fn ask(&mut self, peer: IpAddr, rate: Rate, now_ms: u64) -> Turn {
        if rate.per_s == 0 {
            return Turn::Now;
        }
        let now_us = now_ms.saturating_mul(1_000);
        let each_us = 1_000_000 / u64::from(rate.per_s);
        let room_us = each_us.saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        let mut source = prefix(peer);
        if self.full_at_us.len() >= HANDSHAKE_SOURCES_MAX && !self.full_at_us.contains_key(&source) {
            self.forget(now_ms);
            if self.full_at_us.len() >= HANDSHAKE_SOURCES_MAX {
                source = IpAddr::V6(Ipv6Addr::UNSPECIFIED); // all newcomers together
            }
        }
        let full_at_us = self.full_at_us.entry(source).or_insert(0);
        let begin_us = (*full_at_us).max(now_us);
        let wait_us = begin_us.saturating_sub(now_us).saturating_sub(room_us);
        if wait_us > HANDSHAKE_WAIT_MS_MAX.saturating_mul(1_000) {
            return Turn::Never;
        }
        *full_at_us = begin_us.saturating_add(each_us);
        if wait_us == 0 { Turn::Now } else { Turn::At(now_ms.saturating_add(wait_us.div_ceil(1_000))) }
    }

    /// A client waits for the moment that was reserved for it.
    pub(crate) fn wait(&mut self, until_ms: u64, place: u32, counter: u64) {
        self.waiting.push(Reverse((until_ms, place, counter)));
    }

    /// The next whose moment has come: its place and its counter.
    pub(crate) fn due(&mut self, now_ms: u64) -> Option<(u32, u64)> {
        if self.next_ms() > now_ms {
            return None;
        }
        self.waiting.pop().map(|Reverse((_, place, counter))| (place, counter))
    }

    /// When somebody's moment comes, `Now::mono_ms`.
    pub(crate) fn next_ms(&self) -> u64 {
        self.waiting.peek().map_or(u64::MAX, |Reverse((until_ms, ..))| *until_ms)
    }

    /// Forgets sources whose buckets are full: about once a second.
    pub(crate) fn forget(&mut self, now_ms: u64) {
        let now_us = now_ms.saturating_mul(1_000);
        self.full_at_us.retain(|_, full_at_us| *full_at_us > now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 100, burst: 50 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn threat_015_a_burst_passes_and_then_everybody_waits_for_a_turn() {
        let mut handshakes = Handshakes::default();
        let peer = ip("192.0.2.1");
        assert!((0..50).all(|_| handshakes.ask(peer, RATE, 1_000) == Turn::Now));
        // A thousand behind one address: all get in, ten milliseconds apart, and in order.
        let turns: Vec<Turn> = (0..1_000).map(|_| handshakes.ask(peer, RATE, 1_000)).collect();
        let wanted: Vec<Turn> = (1..=1_000u64).map(|nth| Turn::At(1_000 + nth * 10)).collect();
        assert_eq!(turns, wanted);
        // Somebody else does not notice.
        assert_eq!(handshakes.ask(ip("192.0.2.2"), RATE, 1_000), Turn::Now);
        // The bucket fills again.
        assert_eq!(handshakes.ask(peer, RATE, 11_000 + 500), Turn::Now);
        handshakes.forget(12_000);
        assert!(handshakes.full_at_us.is_empty());
    }

    #[test]
    fn threat_015_a_flood_is_turned_away_when_it_would_wait_too_long() {
        let mut handshakes = Handshakes::default();
        let peer = ip("2001:db8::1");
        // A network of /64 is one source.
        let flood = |nth: u64| ip(&format!("2001:db8::{nth:x}"));
        let all: Vec<Turn> = (0..20_000).map(|nth| handshakes.ask(flood(nth), RATE, 0)).collect();
        let taken = all.iter().filter(|turn| **turn != Turn::Never).count();
        assert_eq!(taken as u64, 50 + HANDSHAKE_WAIT_MS_MAX / 10);
        assert_eq!(handshakes.ask(peer, RATE, 0), Turn::Never);
        // Refused ones hold nothing: a moment later one more may wait.
        assert_eq!(handshakes.ask(peer, RATE, 10), Turn::At(10 + HANDSHAKE_WAIT_MS_MAX));
        assert_eq!(handshakes.ask(peer, Rate { per_s: 0, ..RATE }, 0), Turn::Now);
    }

    #[test]
    fn threat_015_sources_are_bounded() {
        let mut handshakes = Handshakes::default();
        let source = |nth: usize| IpAddr::V4(u32::try_from(nth).unwrap().into());
        for nth in 0..HANDSHAKE_SOURCES_MAX + 1_000 {
            handshakes.ask(source(nth), RATE, 5);
        }
        assert!(handshakes.full_at_us.len() <= HANDSHAKE_SOURCES_MAX + 1);
        assert!(handshakes.ask(source(1 << 30), RATE, 5) != Turn::Now, "newcomers share one");
        assert_eq!(handshakes.ask(source(1 << 30), RATE, 100_000), Turn::Now);
    }

    #[test]
    fn those_who_wait_are_let_in_by_their_moments() {
        let mut handshakes = Handshakes::default();
        assert_eq!(handshakes.next_ms(), u64::MAX);
        handshakes.wait(30, 3, 33);
        handshakes.wait(10, 1, 11);
        assert_eq!((handshakes.next_ms(), handshakes.due(9)), (10, None));
        assert_eq!((handshakes.due(10), handshakes.due(10)), (Some((1, 11)), None));
        assert_eq!(handshakes.due(40), Some((3, 33)));
    }
}
