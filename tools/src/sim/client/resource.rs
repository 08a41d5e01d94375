//! A bound resource as its client sees it.

use super::managed::Managed;
use crate::sim::check::{Rule, Stamp, Value};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Default)]
pub(in crate::sim) struct Resource {
    /// Names this session among all of the run.
    pub(in crate::sim) session: u64,
    pub(in crate::sim) jid: String,
    pub(in crate::sim) priority: i8,
    /// How often it said that it is unavailable.
    pub(in crate::sim) times: u64,
    /// The stanza by which it became available, as long as it never was less than that for messages to its bare JID.
    pub(in crate::sim) available: Option<u64>,
    /// The first message that comes to it whoever else gets it: it was sent when this was known.
    pub(in crate::sim) since: Option<u64>,
    /// Messages by their stanza number, until settled.
    pub(in crate::sim) unsettled: BTreeMap<u64, u64>,
    /// It has been available with a negative priority, or unavailable again.
    was_below: bool,
    /// Stanzas sent since bind.
    pub(super) number: u64,
    pub(super) managed: Option<Managed>,
    /// Its stream was ended in good order, or by a stream error.
    pub(super) over: bool,
    /// Questions, and how often they were answered.
    waiting: BTreeMap<String, usize>,
    /// Those of them that were asked before `<enable/>`.
    before: BTreeSet<String>,
    /// Those of them that nobody can tell of any more.
    uncertain: BTreeSet<String>,
    /// Those of them that change something, and to what.
    values: BTreeMap<String, u64>,
    refused: BTreeSet<String>,
    iqs: u64,
}

impl Resource {
    /// Of a session that is not bound yet.
    pub(super) fn new(session: u64, priority: i8) -> Resource {
        Resource { session, priority, ..Resource::default() }
    }

    /// It has said so, and is to get messages to its bare JID: or it is not, and those of some time will be missing.
    pub(super) fn receives(&mut self, receives: bool) {
        match self.available {
            None if receives && self.times == 0 && !self.was_below => self.available = Some(self.number),
            Some(_) if receives => {}
            _ => (self.available, self.since, self.was_below) = (None, None, true),
        }
    }

    /// The id of the next question, which is waited for.
    pub(super) fn next_iq(&mut self) -> String {
        self.iqs += 1;
        let id = format!("q{}-{}", self.session, self.iqs);
        self.waiting.insert(id.clone(), 0);
        id
    }

    /// Counting begins. Should the session be resumed, what was asked before may have been lost with its core.
    pub(super) fn uncounted(&mut self) {
        self.before = self.waiting.keys().cloned().collect();
    }

    /// Whoever answers the last question may do so where nobody knows the session.
    pub(in crate::sim) fn may_lose_answer(&mut self) {
        self.uncertain.insert(format!("q{}-{}", self.session, self.iqs));
    }

    /// The core has answered for whoever was asked, too late for which another core does not know that it is.
    pub(super) fn may_answer_late(&mut self, id: &str) {
        self.uncertain.insert(id.to_owned());
    }

    /// The session goes on at another socket.
    pub(super) fn resumed(&mut self) {
        self.uncertain.append(&mut self.before);
    }

    /// What the question of this id writes.
    pub(super) fn next_value(&mut self, id: &str) -> Value {
        self.values.insert(id.to_owned(), self.iqs);
        Value { session: self.session, number: self.iqs }
    }

    pub(super) fn value_of(&self, id: &str) -> Option<Value> {
        self.values.get(id).map(|number| Value { session: self.session, number: *number })
    }

    pub(in crate::sim) fn stamp(&self) -> Stamp {
        Stamp { session: self.session, times: self.times }
    }

    /// An answer came; false if it answers nothing of this session.
    pub(super) fn answered(&mut self, id: &str, client: &str) -> Result<bool, Rule> {
        let Some(count) = self.waiting.get_mut(id) else { return Ok(false) };
        *count += 1;
        if *count > 1 && !self.uncertain.contains(id) {
            return Err(Rule::Answers { client: client.to_owned(), id: id.to_owned(), count: *count });
        }
        Ok(true)
    }

    /// A change was answered with an error.
    pub(super) fn refused(&mut self, id: &str) {
        self.refused.insert(id.to_owned());
    }

    /// A question is sent again, whether it was answered or not: one more answer is due. True of a change that was
    /// refused, and may now be made behind later ones.
    pub(super) fn ask_again(&mut self, id: &str) -> bool {
        if let Some(count) = self.waiting.get_mut(id) {
            *count = 0;
        }
        self.refused.contains(id)
    }

    /// A question that needs an answer, but for `excused`, and does not have exactly one.
    pub(in crate::sim) fn unanswered(&self, excused: &BTreeSet<String>) -> Option<(&String, usize)> {
        let uncertain = |id| self.uncertain.contains(id) || excused.contains(id);
        let mut wrong = self.waiting.iter().filter(|(id, count)| **count != 1 && !uncertain(*id));
        wrong.next().map(|(id, count)| (id, *count))
    }
}
