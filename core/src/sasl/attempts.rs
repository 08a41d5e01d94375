//! How often one source may fail for one account.
//!
//! Counted by account *and* source prefix, so that a stranger's guesses lock out the stranger and
//! not the account's owner elsewhere. Names without an account are counted alike.

use super::limits::{ATTEMPTS_MAX, ATTEMPTS_ROWS_MAX, ATTEMPTS_WINDOW_MS};
use hearth_wire::BareJid;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// A network that one subscriber may be expected to hold: /24 of IPv4, /64 of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix(u64);

impl Prefix {
    /// The network of an address; an IPv4 address in IPv6 clothes is taken as what it is.
    pub fn of(address: IpAddr) -> Prefix {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                // ::/64 is no network of subscribers: IPv4 lies there.
                Prefix(u64::from_be_bytes([0, 0, 0, 0, 1, a, b, c]))
            }
            IpAddr::V6(v6) => Prefix((v6.to_bits() >> 64) as u64),
        }
    }
}

/// Failures of late, of all accounts of a shard.
#[derive(Default)]
pub struct Attempts {
    rows: BTreeMap<Key, Row>,
    /// The key of every row, in the order the rows began.
    began: VecDeque<Key>,
}

type Key = (Prefix, Box<str>);

struct Row {
    since_ms: u64,
    failures: u32,
}

impl Attempts {
    pub fn new() -> Attempts {
        Attempts::default()
    }

    /// Whether this source may try (or its try may count) for this account now. To be asked before
    /// an attempt is begun and again before its outcome is told: tries may run side by side.
    pub fn may_try(&self, account: &BareJid, source: IpAddr, now_ms: u64) -> bool {
        self.rows.get(&key(account, source)).is_none_or(|row| row.failures < ATTEMPTS_MAX || row.is_past(now_ms))
    }

    /// The proof was wrong, or there is no such account.
    pub fn failed(&mut self, account: &BareJid, source: IpAddr, now_ms: u64) {
        while self.began.front().and_then(|key| self.rows.get(key)).is_some_and(|row| row.is_past(now_ms)) {
            self.forget_oldest();
        }
        let key = key(account, source);
        if let Some(row) = self.rows.get_mut(&key) {
            row.failures = row.failures.saturating_add(1);
            return;
        }
        if self.began.len() >= ATTEMPTS_ROWS_MAX {
            self.forget_oldest();
        }
        self.began.push_back(key.clone());
        self.rows.insert(key, Row { since_ms: now_ms, failures: 1 });
    }

    /// The account's owner was here.
    pub fn succeeded(&mut self, account: &BareJid, source: IpAddr) {
        if let Some(row) = self.rows.get_mut(&key(account, source)) {
            row.failures = 0;
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.began.pop_front() {
            self.rows.remove(&key);
        }
        debug_assert_eq!(self.rows.len(), self.began.len());
    }
}

fn key(account: &BareJid, source: IpAddr) -> Key {
    (Prefix::of(source), account.as_str().into())
}

impl Row {
    fn is_past(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= ATTEMPTS_WINDOW_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_locks_out_only_the_stranger() {
        let mut attempts = Attempts::new();
        let ada = jid("ada@example.org");
        for _ in 0..ATTEMPTS_MAX {
            assert!(attempts.may_try(&ada, ip("192.0.2.1"), 0));
            attempts.failed(&ada, ip("192.0.2.1"), 0);
        }
        assert!(!attempts.may_try(&ada, ip("192.0.2.1"), 0));
        assert!(!attempts.may_try(&ada, ip("192.0.2.200"), 0), "same /24");
        assert!(!attempts.may_try(&ada, ip("::ffff:192.0.2.7"), 0), "mapped");
        assert!(attempts.may_try(&ada, ip("192.0.3.1"), 0), "another network");
        assert!(attempts.may_try(&jid("grace@example.org"), ip("192.0.2.1"), 0), "another account");
        assert!(!attempts.may_try(&ada, ip("192.0.2.1"), ATTEMPTS_WINDOW_MS - 1));
        assert!(attempts.may_try(&ada, ip("192.0.2.1"), ATTEMPTS_WINDOW_MS));
    }

    #[test]
    fn ipv6_counts_by_64() {
        let mut attempts = Attempts::new();
        let ada = jid("ada@example.org");
        (0..ATTEMPTS_MAX).for_each(|_| attempts.failed(&ada, ip("2001:db8:0:1::1"), 0));
        assert!(!attempts.may_try(&ada, ip("2001:db8:0:1:ffff::9"), 0));
        assert!(attempts.may_try(&ada, ip("2001:db8:0:2::1"), 0));
    }

    #[test]
    fn success_clears_and_a_new_row_counts_from_its_own_start() {
        let mut attempts = Attempts::new();
        let (ada, here) = (jid("ada@example.org"), ip("192.0.2.1"));
        (0..ATTEMPTS_MAX).for_each(|_| attempts.failed(&ada, here, 0));
        attempts.succeeded(&ada, here);
        assert!(attempts.may_try(&ada, here, 0));
        (0..ATTEMPTS_MAX).for_each(|_| attempts.failed(&ada, here, ATTEMPTS_WINDOW_MS));
        attempts.failed(&jid("grace@example.org"), here, ATTEMPTS_WINDOW_MS * 2 - 1);
        assert!(!attempts.may_try(&ada, here, ATTEMPTS_WINDOW_MS * 2 - 1));
        assert!(attempts.may_try(&ada, here, ATTEMPTS_WINDOW_MS * 2));
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes() {
        let mut attempts = Attempts::new();
        let here = ip("192.0.2.1");
        for index in 0..ATTEMPTS_ROWS_MAX + 10 {
            let name = jid(&format!("user{index}@example.org"));
            (0..ATTEMPTS_MAX).for_each(|_| attempts.failed(&name, here, 1));
            assert!(attempts.rows.len() <= ATTEMPTS_ROWS_MAX && attempts.began.len() <= ATTEMPTS_ROWS_MAX);
        }
        assert!(attempts.may_try(&jid("user0@example.org"), here, 1));
        assert!(!attempts.may_try(&jid(&format!("user{}@example.org", ATTEMPTS_ROWS_MAX + 9)), here, 1));
    }
}
