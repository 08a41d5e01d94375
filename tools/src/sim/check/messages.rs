//! Every chat message from its sender to its readers.

use super::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of every chat message.
#[derive(Default)]
pub(in crate::sim) struct Messages {
    sent: BTreeMap<u64, Sent>,
    /// By receiving session: what it got, and the last message of each sending session.
    got: BTreeMap<u64, BTreeSet<u64>>,
    last: BTreeMap<(u64, u64), u64>,
    pub(in crate::sim) delivered: u64,
    /// Messages that reached more than one session.
    pub(in crate::sim) repeated: u64,
}

struct Sent {
    to: String,
    /// The sending session.
    by: u64,
    /// Its sender was told that it is safe.
    acknowledged: bool,
    refused: bool,
    /// It was refused, by a core that may not have lived to say so.
    late: bool,
    deliveries: usize,
    /// What its readers know it by (XEP-0359), by account.
    known_by: BTreeMap<String, Option<String>>,
}

impl Messages {
    /// A client sent message `id`; ids grow.
    pub(in crate::sim) fn sent(&mut self, id: u64, to: &str, by: u64) {
        let sent = Sent {
            to: to.to_owned(),
            by,
            acknowledged: false,
            refused: false,
            late: false,
            deliveries: 0,
            known_by: BTreeMap::new(),
        };
        self.sent.insert(id, sent);
    }

    /// The core settled it, or its client was told that it is handled (XEP-0198 §4).
    pub(in crate::sim) fn acknowledged(&mut self, id: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.acknowledged = true;
        }
    }

    /// An error for it went to the sender's edge.
    pub(in crate::sim) fn refused(&mut self, id: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.refused = true;
        }
    }

    /// It was refused. Whoever sends it again because nobody heard of that sends it late.
    pub(in crate::sim) fn may_come_late(&mut self, id: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.late = true;
        }
    }

    /// A client read it. `live`: without a delay stamp; `text`: what it said; for its account the log calls it so.
    pub(in crate::sim) fn delivered(
        &mut self,
        id: u64,
        session: u64,
        name: &str,
        live: bool,
        text: &str,
        (account, stanza_id): (&str, Option<&str>),
    ) -> Result<(), Rule> {
        let Some(sent) = self.sent.get_mut(&id).filter(|_| text == body(id)) else {
            return Err(Rule::Changed { message: id, session: name.to_owned() });
        };
        let before = sent.known_by.entry(account.to_owned()).or_insert_with(|| stanza_id.map(str::to_owned));
        if before.as_deref() != stanza_id {
            return Err(Rule::Renamed { message: id, session: name.to_owned() });
        }
        sent.deliveries += 1;
        self.delivered += 1;
        self.repeated += u64::from(sent.deliveries == 2);
        if !self.got.entry(session).or_default().insert(id) {
            return Err(Rule::Twice { message: id, session: name.to_owned() });
        }
        let last = self.last.entry((session, sent.by)).or_default();
        if live && !sent.late && *last > id {
            return Err(Rule::Order { session: name.to_owned(), before: id, after: *last });
        }
        *last = (*last).max(id);
        Ok(())
    }

    /// At rest: nothing that came to the account since message `since` is missing from a session that was there for
    /// it all the time, whether another one had it or not.
    pub(in crate::sim) fn none_withheld(
        &self,
        session: u64,
        since: u64,
        account: &str,
        name: &str,
    ) -> Result<(), Rule> {
        let got = |id: &u64| self.got.get(&session).is_some_and(|got| got.contains(id));
        let due = |sent: &Sent| sent.to == account && sent.acknowledged && !sent.refused && !sent.late;
        match self.sent.range(since..).find(|(id, sent)| due(sent) && !got(id)) {
            Some((id, _)) => Err(Rule::Withheld { message: *id, session: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// At the very end: how many were acknowledged.
    pub(in crate::sim) fn none_lost(&self) -> Result<u64, Rule> {
        let lost = self.sent.iter().find(|(_, sent)| sent.acknowledged && !sent.refused && sent.deliveries == 0);
        match lost {
            Some((id, sent)) => Err(Rule::Lost { message: *id, to: sent.to.clone(), by: sent.by }),
            None => Ok(self.sent.values().filter(|sent| sent.acknowledged).count() as u64),
        }
    }
}

/// What a message says.
pub(in crate::sim) fn body(id: u64) -> String {
    format!("<{id}>")
}
