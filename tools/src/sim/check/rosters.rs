//! A change of state that was answered is there, and stays until a later one of the same session takes its place.
//!
//! Each session writes growing values into the name of one contact of its account.

use super::Rule;
use std::collections::BTreeMap;

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
    /// By receiving session and writing session: the last value that was pushed.
    pushed: BTreeMap<(u64, u64), u64>,
    pub(in crate::sim) changes: u64,
}

impl Rosters {
    pub(in crate::sim) fn acknowledged(&mut self, account: &str, value: Value) {
        self.changes += 1;
        let known = self.acknowledged.entry(account.to_owned()).or_default().entry(value.session).or_default();
        *known = (*known).max(value.number);
    }

    /// A session got a roster push.
    pub(in crate::sim) fn pushed(&mut self, to: u64, name: &str, value: Value) -> Result<(), Rule> {
        let last = self.pushed.entry((to, value.session)).or_default();
        if *last > value.number {
            return Err(Rule::Backwards { what: "a contact's name in pushes", of: name.to_owned() });
        }
        *last = value.number;
        Ok(())
    }

    /// A core that starts does again what was done and not settled, in the same order.
    pub(in crate::sim) fn forget_pushes(&mut self) {
        self.pushed.clear();
    }

    /// At the end: what the store has.
    pub(in crate::sim) fn check(&self, account: &str, found: Option<Value>) -> Result<(), Rule> {
        let Some(acknowledged) = self.acknowledged.get(account) else { return Ok(()) };
        let undone = match found {
            Some(found) => acknowledged
                .get(&found.session)
                .filter(|number| **number > found.number)
                .map(|number| Value { session: found.session, number: *number }),
            None => acknowledged.iter().next().map(|(session, number)| Value { session: *session, number: *number }),
        };
        match undone {
            Some(acknowledged) => Err(Rule::Undone { account: account.to_owned(), acknowledged, found }),
            None => Ok(()),
        }
    }
}
