//! How often one source may fail for one account.
//!
//! Counted by account *and* source prefix, so that a stranger's guesses lock out the stranger and
//! not the account's owner elsewhere. Names without an account are counted alike.

use crate::limits::{ATTEMPTS_MAX, ATTEMPTS_ROWS_MAX, ATTEMPTS_WINDOW_MS};
use crate::tally::{Bounds, Prefix, Tally};
use hearth_wire::BareJid;
use std::net::IpAddr;

/// Failures of late, of all accounts of a shard.
pub struct Attempts(Tally<Key>);

type Key = (Prefix, Box<str>);

const BOUNDS: Bounds = Bounds { events_max: ATTEMPTS_MAX, window_ms: ATTEMPTS_WINDOW_MS, rows_max: ATTEMPTS_ROWS_MAX };

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts::new()
    }
}

impl Attempts {
    pub fn new() -> Attempts {
        Attempts(Tally::new(BOUNDS))
    }

    /// Whether this source may try (or its try may count) for this account now. To be asked before
    /// an attempt is begun and again before its outcome is told: tries may run side by side.
    pub fn may_try(&self, account: &BareJid, source: IpAddr, now_ms: u64) -> bool {
        self.0.may(&key(account, source), now_ms)
    }

    /// The proof was wrong, or there is no such account.
    pub fn failed(&mut self, account: &BareJid, source: IpAddr, now_ms: u64) {
        self.0.count(key(account, source), now_ms);
    }

    /// The account's owner was here.
    pub fn succeeded(&mut self, account: &BareJid, source: IpAddr) {
        self.0.clear(&key(account, source));
    }
}

fn key(account: &BareJid, source: IpAddr) -> Key {
    (Prefix::of(source), account.as_str().into())
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
    fn threat_035_a_stranger_locks_out_only_the_stranger() {
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
    fn success_forgives() {
        let mut attempts = Attempts::new();
        let (ada, here) = (jid("ada@example.org"), ip("192.0.2.1"));
        (0..ATTEMPTS_MAX).for_each(|_| attempts.failed(&ada, here, 0));
        attempts.succeeded(&ada, here);
        assert!(attempts.may_try(&ada, here, 0));
    }
}
