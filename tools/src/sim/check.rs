//! What must hold in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A message that was settled reached nobody.
    Lost { message: u64, to: String },
    /// One session got one message twice.
    Twice { message: u64, session: String },
    /// Messages of one sending session reached a receiving session out of order (RFC 6120 §10.1).
    Order { session: String, before: u64, after: u64 },
    /// A question had no answer, or more than one (RFC 6120 §8.2.3).
    Answers { client: String, id: String, count: usize },
    /// At rest something still waits.
    Unsettled { client: String, stanzas: u64 },
    /// What a client got is not XML that the edge's own parser takes.
    NotXml { client: String },
    /// A stream ended with an error that nothing in the run explains.
    StreamError { client: String, condition: String },
    /// A session that only one side knows, or that a shard serves without owning its slot.
    Zombie { jid: String, what: &'static str },
    /// A queue is longer than its limit, or waits for nothing.
    Queue { what: &'static str, of: String, len: usize },
    /// At rest two shards do not agree who owns a slot.
    Owners { slot: u16 },
    /// After everyone left, something stayed.
    LeftBehind { what: &'static str, count: usize },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Lost { message, to } => write!(f, "message {message} to {to} was settled and never delivered"),
            Rule::Twice { message, session } => write!(f, "message {message} came twice to session {session}"),
            Rule::Order { session, before, after } => write!(f, "{session} got message {after} before {before}"),
            Rule::Answers { client, id, count } => write!(f, "iq {id} of {client} has {count} answers"),
            Rule::Unsettled { client, stanzas } => write!(f, "{client} has {stanzas} unsettled stanzas at rest"),
            Rule::NotXml { client } => write!(f, "{client} got bytes that are not XML"),
            Rule::StreamError { client, condition } => write!(f, "{client} got stream error {condition}"),
            Rule::Zombie { jid, what } => write!(f, "{jid}: {what}"),
            Rule::Queue { what, of, len } => write!(f, "{what} of {of}: {len}"),
            Rule::Owners { slot } => write!(f, "the shards do not agree who owns slot {slot}"),
            Rule::LeftBehind { what, count } => write!(f, "{count} {what} left at the end"),
        }
    }
}

/// What is known of every chat message.
#[derive(Default)]
pub(super) struct Messages {
    sent: BTreeMap<u64, Sent>,
    /// By receiving session: what it got, and the last message of each sending session.
    got: BTreeMap<u64, BTreeSet<u64>>,
    last: BTreeMap<(u64, u64), u64>,
    pub(super) delivered: u64,
}

struct Sent {
    to: String,
    /// The sending session.
    by: u64,
    settled: bool,
    refused: bool,
    deliveries: usize,
}

impl Messages {
    /// A client sent message `id`; ids grow.
    pub(super) fn sent(&mut self, id: u64, to: &str, by: u64) {
        let sent = Sent { to: to.to_owned(), by, settled: false, refused: false, deliveries: 0 };
        self.sent.insert(id, sent);
    }

    /// The core settled it.
    pub(super) fn settled(&mut self, id: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.settled = true;
        }
    }

    /// An error for it went to the sender's edge.
    pub(super) fn refused(&mut self, id: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.refused = true;
        }
    }

    /// A client read it. `live`: without a delay stamp.
    pub(super) fn delivered(&mut self, id: u64, session: u64, name: &str, live: bool) -> Result<(), Rule> {
        let Some(sent) = self.sent.get_mut(&id) else { return Ok(()) };
        sent.deliveries += 1;
        self.delivered += 1;
        if !self.got.entry(session).or_default().insert(id) {
            return Err(Rule::Twice { message: id, session: name.to_owned() });
        }
        let last = self.last.entry((session, sent.by)).or_default();
        if live && *last > id {
            return Err(Rule::Order { session: name.to_owned(), before: id, after: *last });
        }
        *last = (*last).max(id);
        Ok(())
    }

    /// At the very end.
    pub(super) fn none_lost(&self) -> Result<u64, Rule> {
        let lost = self.sent.iter().find(|(_, sent)| sent.settled && !sent.refused && sent.deliveries == 0);
        match lost {
            Some((id, sent)) => Err(Rule::Lost { message: *id, to: sent.to.clone() }),
            None => Ok(self.sent.values().filter(|sent| sent.settled).count() as u64),
        }
    }
}
