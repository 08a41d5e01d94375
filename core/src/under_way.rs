//! What clients sent and is not settled, of all sessions of a shard together: bounded by [`Limits::under_way_bytes`],
//! however many clients flood.
//!
//! Two brakes. From half of the limit on, a session that has something under way is granted its share of the whole and no
//! more; one that has nothing is granted its full window, so that its longest stanza fits. Beyond the limit no link gets
//! credit until enough is settled. Neither can lock up: what settles a stanza waits for no client and for no link.
//!
//! [`Limits::under_way_bytes`]: crate::limits::Limits::under_way_bytes

use crate::session::{Inbound, SessionKey};
use crate::shard::Shard;
use crate::total::Total;

impl Shard {
    /// Changes what a session has sent and keeps the sum. `None` if there is no such session.
    pub fn change_inbound<R>(&mut self, key: SessionKey, change: impl FnOnce(&mut Inbound) -> R) -> Option<R> {
        let inbound = &mut self.sessions.get_mut(key.0)?.inbound;
        let before = inbound.under_way_bytes();
        let done = change(inbound);
        let (after, dirty) = (inbound.under_way_bytes(), inbound.dirty);
        self.under_way.changed(before, after);
        if dirty {
            self.dirty_sessions.push(key);
        }
        Some(done)
    }

    /// Whether links may bring more.
    pub fn takes_more(&self) -> bool {
        self.under_way.bytes() <= self.settings.limits.under_way_bytes
    }

    /// What a session may have under way from now on.
    pub fn window(&self, inbound: &Inbound) -> u64 {
        let (window, limit) = (self.settings.limits.session_window_bytes, self.settings.limits.under_way_bytes);
        if inbound.under_way_bytes() == 0 || self.under_way.bytes() <= limit / 2 {
            return window;
        }
        window.min(self.under_way.share(limit).unwrap_or(window))
    }

    /// Whether the sum is that of the sessions: for tests and simulations.
    pub fn under_way_is_exact(&self) -> bool {
        self.under_way == Total::of(self.sessions.iter().map(|(_, session)| session.inbound.under_way_bytes()))
    }
}

#[cfg(test)]
mod tests;
