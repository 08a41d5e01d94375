//! What is held for all sessions of a shard together: bounded by [`Limits::held_bytes_all`], however many clients do not
//! read, and however far their edges are behind.
//!
//! Who makes stanzas wait pays for it, and nobody else:
//!
//! | | a session that holds more than its share | a link without room | beyond the limit |
//! |---|---|---|---|
//! | a record of the log | waits there from half of the limit on | | goes back there |
//! | what no log has | only the last presence of a resource, from then on | its edge is granted no more from then on | its session is detached |
//!
//! Clients that do not read cannot slow down others: they take no credit from any link that has room. A link that has
//! none brings nothing that could go out on it, and its room waits for no client, for an edge reads its links always. Nor
//! can they have others detached: first go those whose own client has not read, in order of what they hold, and those who
//! wait for their link behind all of them.
//!
//! [`Limits::held_bytes_all`]: crate::limits::Limits::held_bytes_all

use crate::cx::Cx;
use crate::delivery::has_credit;
use crate::link::Link;
use crate::offline;
use crate::session::{Session, SessionKey};
use crate::shard::Shard;
use crate::total::Total;

impl Shard {
    /// Changes what a session is sent and keeps the sum of what is held. `None` if there is no such session.
    pub fn change_held<R>(&mut self, key: SessionKey, change: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let session = self.sessions.get_mut(key.0)?;
        let before = session.outbound.counted();
        let done = change(session);
        self.held.changed(before, session.outbound.counted());
        Some(done)
    }

    /// Whether so much is held that nothing more should be which can wait elsewhere.
    pub fn holds_much(&self) -> bool {
        self.held.bytes() > self.settings.limits.held_bytes_all / 2
    }

    /// What a session may be held of what the log has, too: half of what it may be held in all, and once much is held its
    /// share of half of the limit, so that the other half is left to what no log has.
    pub fn held_share(&self) -> usize {
        let limits = &self.settings.limits;
        let share = self.held.share(limits.held_bytes_all / 2).filter(|_| self.holds_much());
        share.and_then(|share| usize::try_from(share).ok()).unwrap_or(usize::MAX).min(limits.held_bytes / 2)
    }

    /// Whether a link may bring more: not while sessions wait for its own room.
    pub fn may_bring(&self, link: &Link) -> bool {
        !self.holds_much() || link.waiting.is_empty()
    }

    /// Whether the sum is that of the sessions: for tests and simulations.
    pub fn held_is_exact(&self) -> bool {
        self.held == Total::of(self.sessions.iter().map(|(_, session)| session.outbound.counted()))
    }
}

/// End of a turn: beyond the limit, what the log has is left there, then sessions are detached, until a quarter of the limit is
/// free. Not in the middle of a fan-out, which must find a session as it was.
pub fn shed(cx: &mut Cx<'_>) {
    let limit = cx.shard.settings.limits.held_bytes_all;
    if cx.shard.held.bytes() <= limit {
        return;
    }
    for give_up in [leave_in_log, detach] {
        for key in holders(cx) {
            if cx.shard.held.bytes() <= limit - limit / 4 {
                return;
            }
            give_up(cx, key);
        }
    }
}

/// Sessions that something is held for, in the order in which they are to pay.
fn holders(cx: &Cx<'_>) -> Vec<SessionKey> {
    let entries = cx.shard.settings.limits.entries;
    let holder = |(index, session): (u32, &Session)| {
        let key = SessionKey(index);
        let outbound = &session.outbound;
        let reads = outbound.held.front().is_none_or(|held| has_credit(session, &held.stanza, entries));
        let counted = outbound.counted();
        (counted > 0).then_some((reads && !cx.is_away(key), std::cmp::Reverse(counted), key))
    };
    let mut holders: Vec<_> = cx.shard.sessions.iter().filter_map(holder).collect();
    holders.sort_unstable();
    holders.into_iter().map(|(_, _, key)| key).collect()
}

/// The session falls behind: what the log has is read there when its turn comes.
fn leave_in_log(cx: &mut Cx<'_>, key: SessionKey) {
    let owed = cx.shard.change_held(key, |session| session.outbound.leave_in_log(&session.jid)).unwrap_or_default();
    offline::owe_again(cx, key, &owed);
}

fn detach(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(held_bytes) = cx.session(key).map(|session| session.outbound.held_bytes) else { return };
    cx.detach(key, held_bytes);
}

#[cfg(test)]
mod tests;
