//! A change of state that was answered is there, and stays until a later one takes its place: one of the same session,
//! or one that is not known to have been made before it.
//!
//! Each session writes growing values into the name of one contact of its account. What a session was pushed before
//! it wrote was there before, and must not be there after: a change is made once.

use super::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// A value, and the session that wrote it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Value {
    pub session: u64,
    pub number: u64,
}

impl Value {
    pub(in crate::sim) fn text(self) -> String {
        format!("{}.{}", self.session, self.number)
    }

    pub(in crate::sim) fn parse(text: &str) -> Option<Value> {
        let (session, number) = text.split_once('.')?;
        Some(Value { session: session.parse().ok()?, number: number.parse().ok()? })
    }
}

/// See the module.
#[derive(Default)]
pub(in crate::sim) struct Rosters {
    /// By account: the latest value of each session that was answered with a result.
    acknowledged: BTreeMap<String, BTreeMap<u64, u64>>,
    /// By value, until it is answered, then the latest of each session: what its session had been pushed of others
    /// when it wrote it.
    before: BTreeMap<Value, BTreeMap<u64, u64>>,
    /// By receiving session and writing session: the last value that was pushed.
    pushed: BTreeMap<(u64, u64), u64>,
    /// Sessions of which nobody knows what they wrote last.
    late: BTreeSet<u64>,
    pub(in crate::sim) changes: u64,
}

impl Rosters {
    /// A session sends a change.
    pub(in crate::sim) fn written(&mut self, value: Value) {
        let session = value.session;
        let others = self.pushed.range((session, 0)..=(session, u64::MAX)).filter(|((_, of), _)| *of != session);
        self.before.insert(value, others.map(|((_, of), number)| (*of, *number)).collect());
    }

    pub(in crate::sim) fn acknowledged(&mut self, account: &str, value: Value) {
        self.changes += 1;
        if self.late.contains(&value.session) {
            return;
        }
        self.before.retain(|other, _| other.session != value.session || other.number >= value.number);
        let known = self.acknowledged.entry(account.to_owned()).or_default().entry(value.session).or_default();
        *known = (*known).max(value.number);
    }

    /// A session sends a change again that was refused: nobody knows any more what it wrote last.
    pub(in crate::sim) fn may_come_late(&mut self, session: u64) {
        self.acknowledged.values_mut().for_each(|acknowledged| {
            acknowledged.remove(&session);
        });
        self.late.insert(session);
    }

    /// A session got a roster push.
    pub(in crate::sim) fn pushed(&mut self, to: u64, name: &str, value: Value) -> Result<(), Rule> {
        let last = self.pushed.entry((to, value.session)).or_default();
        if *last > value.number && !self.late.contains(&value.session) {
            return Err(Rule::Backwards { what: "a contact's name in pushes", of: name.to_owned() });
        }
        *last = value.number;
        Ok(())
    }

    /// At the end: what the store has.
    pub(in crate::sim) fn check(&self, account: &str, found: Option<Value>) -> Result<(), Rule> {
        let Some(acknowledged) = self.acknowledged.get(account) else { return Ok(()) };
        let mut values = acknowledged.iter().map(|(session, number)| Value { session: *session, number: *number });
        let undone = values.find(|value| match found {
            Some(found) if found.session == value.session => value.number > found.number,
            Some(found) => self.came_before(found, *value),
            None => true,
        });
        match undone {
            Some(acknowledged) => Err(Rule::Undone { account: account.to_owned(), acknowledged, found }),
            None => Ok(()),
        }
    }

    /// Whether the session of `value` had been told of `other` when it wrote it.
    fn came_before(&self, other: Value, value: Value) -> bool {
        let before = self.before.get(&value).and_then(|before| before.get(&other.session));
        before.is_some_and(|number| *number >= other.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn value(session: u64, number: u64) -> Value {
        Value { session, number }
    }

    #[test]
    fn what_was_known_before_does_not_come_back() {
        let mut rosters = Rosters::default();
        rosters.written(value(1, 1));
        rosters.pushed(2, "2", value(1, 1)).unwrap();
        rosters.written(value(2, 1));
        rosters.written(value(3, 1));
        for value in [value(1, 1), value(2, 1), value(3, 1)] {
            rosters.acknowledged("a", value);
        }
        assert_eq!(rosters.check("a", Some(value(2, 1))), Ok(()));
        assert_eq!(rosters.check("a", Some(value(3, 1))), Ok(()), "nobody knows which was first");
        assert!(
            matches!(rosters.check("a", Some(value(1, 1))), Err(Rule::Undone { acknowledged, .. }) if acknowledged == value(2, 1))
        );
        assert!(matches!(rosters.check("a", None), Err(Rule::Undone { .. })));
        assert!(matches!(rosters.pushed(2, "2", value(1, 0)), Err(Rule::Backwards { .. })));
        rosters.may_come_late(1);
        assert_eq!(rosters.pushed(2, "2", value(1, 0)), Ok(()));
        assert!(matches!(rosters.check("a", Some(value(1, 1))), Err(Rule::Undone { .. })), "of others all holds");
    }
}
