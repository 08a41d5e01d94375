//! A sum over the sessions of a shard, kept up to date with every change.

/// Bytes of all sessions together, and how many have some.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    bytes: u64,
    sessions: u64,
}

impl Total {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A session's part of `limit`, where those that have some share it evenly; `None` while nobody has any.
    pub fn share(&self, limit: u64) -> Option<u64> {
        limit.checked_div(self.sessions)
    }

    /// A session that had `before` has `after`.
    pub fn changed(&mut self, before: u64, after: u64) {
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
        self.sessions = self.sessions.saturating_sub(u64::from(before > 0)).saturating_add(u64::from(after > 0));
    }

    /// The sum of these: for tests and simulations.
    pub fn of(each: impl Iterator<Item = u64>) -> Total {
        each.fold(Total::default(), |mut sum, bytes| {
            sum.changed(0, bytes);
            sum
        })
    }
}
