//! What must hold in every run.

mod messages;
mod presences;
mod rosters;
mod streams;

pub(super) use messages::Messages;
pub(super) use presences::{Presences, Stamp};
pub(super) use rosters::{Rosters, Value};
use std::fmt;
pub(super) use streams::Streams;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A message that was acknowledged reached nobody.
    Lost { message: u64, to: String, by: u64 },
    /// One session, with all its resumptions, got one message twice.
    Twice { message: u64, session: String },
    /// A session that was there for it did not get a message.
    Withheld { message: u64, session: String },
    /// What came is not what was sent under this id.
    Changed { message: u64, session: String },
    /// The log's name for it is not what it was (XEP-0359).
    Renamed { message: u64, session: String },
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
    /// The server says that it handled fewer stanzas than before, or more than there were (XEP-0198 §4).
    Handled { client: String, h: u32, before: u32, sent: u32 },
    /// A number of a session, or the version of a roster, went backwards.
    Backwards { what: &'static str, of: String },
    /// A session was announced as unavailable that is available.
    SaidGone { jid: String, to: u64 },
    /// A change that was answered with a result is not there, or was undone by an older one.
    Undone { account: String, acknowledged: Value, found: Option<Value> },
    /// One stanza changed its account twice.
    Repeated { value: Value },
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
            Rule::Lost { message, to, by } => {
                write!(f, "message {message} of session {by} to {to} was acknowledged and never delivered")
            }
            Rule::Twice { message, session } => write!(f, "message {message} came twice to {session}"),
            Rule::Withheld { message, session } => write!(f, "message {message} did not come to {session}"),
            Rule::Changed { message, session } => write!(f, "message {message} came to {session} as another"),
            Rule::Renamed { message, session } => write!(f, "message {message} came to {session} by another stanza-id"),
            Rule::Order { session, before, after } => write!(f, "{session} got message {after} before {before}"),
            Rule::Answers { client, id, count } => write!(f, "iq {id} of {client} has {count} answers"),
            Rule::Unsettled { client, stanzas } => write!(f, "{client} has {stanzas} unsettled stanzas at rest"),
            Rule::NotXml { client } => write!(f, "{client} got bytes that are not XML"),
            Rule::StreamError { client, condition } => write!(f, "{client} got stream error {condition}"),
            Rule::Handled { client, h, before, sent } => {
                write!(f, "{client} was told h={h} after h={before}, of {sent} stanzas")
            }
            Rule::Backwards { what, of } => write!(f, "{what} of {of} went backwards"),
            Rule::SaidGone { jid, to } => write!(f, "session {to} was told that {jid} is gone, which is there"),
            Rule::Undone { account, acknowledged, found } => {
                write!(f, "{account} was acknowledged a change to {acknowledged:?}, and has {found:?}")
            }
            Rule::Repeated { value } => write!(f, "a change to {value:?} was made twice"),
            Rule::Zombie { jid, what } => write!(f, "{jid}: {what}"),
            Rule::Queue { what, of, len } => write!(f, "{what} of {of}: {len}"),
            Rule::Owners { slot } => write!(f, "the shards do not agree who owns slot {slot}"),
            Rule::LeftBehind { what, count } => write!(f, "{count} {what} left at the end"),
        }
    }
}

/// What is remembered of a run to check it.
#[derive(Default)]
pub(super) struct Checks {
    pub(super) messages: Messages,
    pub(super) presences: Presences,
    pub(super) rosters: Rosters,
    pub(super) streams: Streams,
}
