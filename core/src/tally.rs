//! How often someone may do something: failures to log in, registrations.
//!
//! A [`Tally`] counts within a window that begins with the first event of a key; it is bounded, and
//! when full the key whose window began longest ago makes room.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// A network that one subscriber may be expected to hold: /24 of IPv4, /64 of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix(u64);

impl Prefix {
    /// As [`Prefix::of`], but one address of IPv4: for what people do once, where many of them share a
    /// network.
    pub fn of_host(address: IpAddr) -> Prefix {
        match address.to_canonical() {
            IpAddr::V4(v4) => Prefix(u64::from(v4.to_bits()) | 1 << 32),
            IpAddr::V6(_) => Prefix::of(address),
        }
    }

    /// The network of an address; an IPv4 address in IPv6 clothes is taken as what it is.
    pub fn of(address: IpAddr) -> Prefix {
        match address.to_canonical() {
            // ::/64 is no network of subscribers: IPv4 lies there.
            IpAddr::V4(v4) => Prefix(u64::from(v4.to_bits() >> 8) | 1 << 24),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Prefix(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

/// What bounds a [`Tally`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Events of one key within the window; then it may no more.
    pub events_max: u32,
    /// Milliseconds from the first event of a key.
    pub window_ms: u64,
    /// Keys at most.
    pub rows_max: usize,
}

/// Events of late by key.
pub struct Tally<K> {
    bounds: Bounds,
    rows: BTreeMap<K, Row>,
    /// The key of every row, in the order the rows began.
    began: VecDeque<K>,
}

struct Row {
    since_ms: u64,
    events: u32,
}

impl<K: Ord + Clone> Tally<K> {
    pub fn new(bounds: Bounds) -> Tally<K> {
        Tally { bounds, rows: BTreeMap::new(), began: VecDeque::new() }
    }

    /// Whether this key has not used up what its window allows.
    pub fn may(&self, key: &K, now_ms: u64) -> bool {
        self.rows.get(key).is_none_or(|row| row.events < self.bounds.events_max || self.is_past(row, now_ms))
    }

    /// How often it happened within its window.
    pub fn events(&self, key: &K, now_ms: u64) -> u32 {
        self.rows.get(key).filter(|row| !self.is_past(row, now_ms)).map_or(0, |row| row.events)
    }

    /// It happened once more.
    pub fn count(&mut self, key: K, now_ms: u64) {
        while self.began.front().and_then(|key| self.rows.get(key)).is_some_and(|row| self.is_past(row, now_ms)) {
            self.forget_oldest();
        }
        if let Some(row) = self.rows.get_mut(&key) {
            row.events = row.events.saturating_add(1);
            return;
        }
        if self.began.len() >= self.bounds.rows_max {
            self.forget_oldest();
        }
        self.began.push_back(key.clone());
        self.rows.insert(key, Row { since_ms: now_ms, events: 1 });
    }

    /// What this key did is forgiven.
    pub fn clear(&mut self, key: &K) {
        if let Some(row) = self.rows.get_mut(key) {
            row.events = 0;
        }
    }

    fn is_past(&self, row: &Row, now_ms: u64) -> bool {
        now_ms.saturating_sub(row.since_ms) >= self.bounds.window_ms
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.began.pop_front() {
            self.rows.remove(&key);
        }
        debug_assert_eq!(self.rows.len(), self.began.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { events_max: 2, window_ms: 100, rows_max: 8 };

    #[test]
    fn prefixes() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.200"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::9"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("::1"), of("0.0.0.1"));
        assert_ne!(of("::1"), of("127.0.0.1"));
        let host = |text: &str| Prefix::of_host(text.parse().unwrap());
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
        assert_eq!(host("192.0.2.1"), host("::ffff:192.0.2.1"));
        assert_eq!(host("2001:db8:0:1::1"), host("2001:db8:0:1::2"));
        assert_ne!(host("2001:db8:0:1::1"), host("2001:db8:0:2::1"));
    }

    #[test]
    fn a_window_ends_and_begins_anew() {
        let mut tally = Tally::new(BOUNDS);
        tally.count("a", 10);
        assert!(tally.may(&"a", 10));
        tally.count("a", 50);
        assert!(!tally.may(&"a", 109) && tally.may(&"b", 109));
        assert!(tally.may(&"a", 110));
        tally.count("a", 110);
        tally.count("a", 120);
        assert!(!tally.may(&"a", 209));
        tally.clear(&"a");
        assert!(tally.may(&"a", 120));
    }

    #[test]
    fn bounded_and_the_oldest_goes() {
        let mut tally = Tally::new(BOUNDS);
        for key in 0..20 {
            tally.count(key, 1);
            tally.count(key, 1);
            assert!(tally.rows.len() <= BOUNDS.rows_max);
        }
        assert!(tally.may(&11, 1) && !tally.may(&12, 1) && !tally.may(&19, 1));
    }
}
