//! An account's working state: loaded with one read, one change at a time, gone when idle.
//!
//! ```text
//!           Load asked            Loaded                 write()             Applied / Failed
//!  (absent) ───────────▶ Loading ────────▶ Ready ────────────────▶ Writing ─────────────────▶ Ready
//!                          │ no such account
//!                          ▼ queue is answered, account forgotten
//! ```
//! What arrives while the account is not ready waits in `queue`, in order. So every change is
//! computed on settled state and its effects run after the commit; there is no undo.

use crate::blocking::BlockList;
use crate::contact::Contact;
use crate::cx::Cx;
use crate::executed;
use crate::message::Fenced;
use crate::session::{Earlier, Origin, SessionKey};
use hearth_storage::{
    Answer, Change, Device, Disabled, LastSeen, LogId, LogMarks, RosterItem, Snapshot, StoreError, StoredRequest,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{Generation, Slot, SlotEpoch, SlotKey};
use hearth_wire::stanza::{SharedStanza, StanzaFault};
use std::collections::VecDeque;

/// Index of an account in memory of one shard; not reused while anything refers to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountKey(pub u32);

/// What is done with the answer to a question.
pub type Then = Box<dyn FnOnce(&mut Cx<'_>, Answer) + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Loading,
    Ready,
    Writing,
}

/// One account in memory.
pub struct Account {
    pub jid: BareJid,
    pub slot: Slot,
    pub state: State,
    /// Waits for `Ready`.
    pub queue: VecDeque<Work>,
    /// Raised by what needs the account to stay though it has no session yet: logins.
    pub pins: u32,
    pub credentials_generation: u64,
    /// Sorted by address.
    pub roster: Vec<Contact>,
    pub roster_version: u64,
    /// Subscription requests that wait for an answer (RFC 6121 §3.1.3), oldest first.
    pub requests: Vec<StoredRequest>,
    pub sessions: Vec<SessionKey>,
    pub log: AccountLog,
    /// Nobody logs in (`provision::disable`); all else is as if it were offline.
    pub disabled: Option<Box<Disabled>>,
    /// When its last available resource went; what is newer than the store has it is in `seen_dirty`.
    pub last_seen: Option<Box<LastSeen>>,
    /// Addresses it wants nothing of; `None` for most.
    pub blocked: Option<Box<BlockList>>,
    /// Stanzas of its sessions that changed it and may be sent again; `None` for nearly all.
    pub executed: Option<Box<executed::List>>,
    /// Clients that may authenticate by tokens; none for most.
    pub devices: Vec<Device>,
    pub seen_dirty: bool,
    /// What may be stored late is being stored.
    pub storing_late: bool,
    /// When the last session, login or stanza was here, `Now::mono_ms`.
    pub used_ms: u64,
    /// Removed from storage; stays here, unlisted, until what still refers to it has been answered.
    pub gone: bool,
    /// Given to another shard, in whose memory it lives now; what is left here is of the slot's ownership under
    /// this epoch, and unlisted as above.
    pub moved: Option<SlotEpoch>,
}

/// Where the account stands in its log, and stanzas that wait for appends.
#[derive(Default)]
pub struct AccountLog {
    pub marks: LogMarks,
    /// `marks` differ from what is stored.
    pub dirty: bool,
    /// Records that clients were seen to have since that was last stored, once for each that has one; and how many of
    /// these marks on their way to storage tell of.
    unstored: u32,
    storing: u32,
    /// The youngest record that was dealt with: those behind it are on their way in.
    pub heard: LogId,
    /// Delivered to sessions and not written by all of them, in the log's order: what another resource gave back
    /// comes to a session behind what is younger.
    pub inflight: VecDeque<Inflight>,
    /// Those of the undelivered of which is not known whether somebody had them before the last core ended, in
    /// order. A session that is adopted has had those that its edge had.
    pub unknown: Vec<LogId>,
    /// Stanzas on their way in, in order: those that wait for their append, and those behind them.
    pub pending: VecDeque<Pending>,
}

/// A logged message some sessions have been sent.
#[derive(Clone, Copy, Debug)]
pub struct Inflight {
    pub id: LogId,
    /// Sessions that have it and have not written it.
    pub sessions: u16,
    /// One session has written it.
    pub written: bool,
}

/// One step of what an account gets, in order.
pub enum Pending {
    /// A message whose append is under way; `done` once answered.
    Append {
        question: u64,
        stanza: SharedStanza,
        origin: Option<Origin>,
        received_ms: u64,
        done: Option<Result<LogId, Fenced>>,
    },
    /// Needs no log, but stands behind what does.
    Stanza { stanza: SharedStanza, origin: Option<Origin> },
}

/// Why an account cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Absent {
    NoAccount,
    /// Too much waits for it already, or its slot moves.
    Busy,
    /// Storage could not read it.
    Failed(StoreError),
}

/// Runs with the account once it is ready, or with why it cannot be had.
pub type Call = Box<dyn FnOnce(&mut Cx<'_>, Result<AccountKey, Absent>) + Send>;

/// What an edge says of a client's stanza.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub number: u64,
    pub fault: Option<StanzaFault>,
    pub bytes: u32,
    /// It may have come before.
    pub again: bool,
}

/// What waits for an account to be ready.
pub enum Work {
    /// A stanza one of its own sessions sent.
    FromSession { session: SessionKey, generation: Generation, from: Sent, stanza: Vec<u8> },
    /// A stanza for the account or one of its sessions.
    Inbound { stanza: SharedStanza, origin: Option<Origin> },
    /// Anything else.
    Call(Call),
}

impl AccountLog {
    /// A message nobody has: it waits in the log. Ids below the mark stay known one by one.
    pub fn undelivered(&mut self, id: LogId) {
        if let Err(at) = self.marks.undelivered.binary_search(&id) {
            self.marks.undelivered.insert(at, id);
        }
        self.raise_mark(id);
    }

    /// As [`AccountLog::undelivered`], of a record that was found above the mark.
    pub fn found(&mut self, id: LogId) {
        self.undelivered(id);
        self.heard = self.heard.max(id);
        if let Err(at) = self.unknown.binary_search(&id) {
            self.unknown.insert(at, id);
        }
    }

    /// A client had it: an edge says so, of whom the store may know less.
    pub fn found_delivered(&mut self, id: LogId) {
        self.unstored = self.unstored.saturating_add(1);
        self.dirty = true;
        if let Some(entry) = self.inflight.iter_mut().find(|entry| entry.id == id) {
            entry.written = true;
        }
        if self.marks.undelivered.binary_search(&id).is_ok() {
            self.delivered(id);
        }
    }

    /// Whether a session of an earlier core has had it, or it was not for it.
    pub fn had(&self, id: LogId, earlier: &Earlier) -> bool {
        id <= earlier.log && self.unknown.binary_search(&id).is_ok()
    }

    /// How much of what clients were seen to have is not stored: [`limits::UNSTORED_MAX`](crate::limits::UNSTORED_MAX).
    pub fn unstored(&self) -> usize {
        self.unstored as usize
    }

    /// What the next core should know is asked to be stored; how much of [`AccountLog::unstored`] that is.
    fn stores(&mut self) -> u32 {
        let more = self.unstored.saturating_sub(self.storing);
        self.storing = self.unstored;
        more
    }

    /// So much that was asked to be stored is, or could not be.
    pub fn stored(&mut self, count: u32, done: bool) {
        self.storing = self.storing.saturating_sub(count);
        if done {
            self.unstored = self.unstored.saturating_sub(count);
        }
    }

    /// A client has it.
    pub fn delivered(&mut self, id: LogId) {
        if let Ok(at) = self.marks.undelivered.binary_search(&id) {
            self.marks.undelivered.remove(at);
        }
        self.raise_mark(id);
    }

    /// The mark follows what is settled. It may pass what is on its way to a client: [`AccountLog::marks_to_store`].
    fn raise_mark(&mut self, id: LogId) {
        self.marks.low_water = self.marks.low_water.max(id);
        self.dirty = true;
    }

    /// What the next core should know: what is on its way to a client counts as undelivered, one by one, so that what
    /// others have had behind it is known to be delivered.
    fn marks_to_store(&self) -> LogMarks {
        let mut marks = self.marks.clone();
        for entry in &self.inflight {
            marks.low_water = marks.low_water.max(entry.id);
            if let Some(at) = marks.undelivered.binary_search(&entry.id).err().filter(|_| !entry.written) {
                marks.undelivered.insert(at, entry.id);
            }
        }
        marks
    }

    /// A session is sent it, be it as the only one or as one that comes behind others.
    pub fn sent(&mut self, id: LogId) {
        match self.inflight.binary_search_by_key(&id, |entry| entry.id) {
            Ok(at) => {
                if let Some(entry) = self.inflight.get_mut(at) {
                    entry.sessions = entry.sessions.saturating_add(1);
                }
            }
            Err(at) => {
                // Others have had it: should this one not, it is nobody's loss but its own.
                let written = id <= self.heard && self.marks.undelivered.binary_search(&id).is_err();
                self.inflight.insert(at, Inflight { id, sessions: 1, written });
            }
        }
    }

    /// Nobody has it, and no session is being sent it.
    pub fn nobody_has(&self, id: LogId) -> bool {
        let inflight = self.inflight.binary_search_by_key(&id, |entry| entry.id).is_ok();
        !inflight && self.marks.undelivered.binary_search(&id).is_ok()
    }

    /// A session is done with a logged message: it was written there, or the session ended without.
    pub fn inflight_done(&mut self, id: LogId, written: bool) {
        let Ok(at) = self.inflight.binary_search_by_key(&id, |entry| entry.id) else { return };
        let Some(entry) = self.inflight.get_mut(at) else { return };
        entry.sessions = entry.sessions.saturating_sub(1);
        entry.written |= written;
        let (over, had) = (entry.sessions == 0, entry.written);
        // What is stored says that somebody has it.
        self.dirty |= written;
        self.unstored = self.unstored.saturating_add(u32::from(written));
        if let Some(at) = self.marks.undelivered.binary_search(&id).ok().filter(|_| written) {
            self.marks.undelivered.remove(at);
        }
        if !over {
            return;
        }
        self.inflight.remove(at);
        if had {
            self.delivered(id);
        } else {
            self.undelivered(id);
        }
        if self.inflight.is_empty() {
            self.inflight = VecDeque::new();
        }
    }
}

impl Account {
    /// An account whose load is under way.
    pub fn loading(jid: BareJid, slot: Slot) -> Account {
        Account {
            jid,
            slot,
            state: State::Loading,
            queue: VecDeque::new(),
            pins: 0,
            credentials_generation: 0,
            roster: Vec::new(),
            roster_version: 0,
            requests: Vec::new(),
            sessions: Vec::new(),
            log: AccountLog::default(),
            disabled: None,
            last_seen: None,
            blocked: None,
            executed: None,
            devices: Vec::new(),
            seen_dirty: false,
            storing_late: false,
            used_ms: 0,
            gone: false,
            moved: None,
        }
    }

    /// Takes what storage had. Credentials are not kept: each login reads them anew.
    pub fn install(&mut self, snapshot: Snapshot, slots: &SlotKey, now_ms: u64) {
        let Snapshot {
            credentials,
            roster,
            roster_version,
            mut requests,
            marks,
            disabled,
            last_seen,
            blocked,
            executed,
            devices,
            log_above_mark,
        } = snapshot;
        self.roster = roster.iter().map(|item| Contact::new(item, slots)).collect();
        self.roster.sort_by(|a, b| a.address().cmp(b.address()));
        requests.sort_by_key(|request| request.received_ms);
        self.credentials_generation = credentials.generation;
        self.roster_version = roster_version;
        self.requests = requests;
        self.log.heard = marks.undelivered.last().copied().unwrap_or_default().max(marks.low_water);
        self.log.marks = marks;
        self.disabled = disabled.map(Box::new);
        self.last_seen = last_seen.map(Box::new);
        self.blocked = BlockList::new(blocked);
        self.executed = executed::List::new(executed, now_ms);
        self.devices = devices;
        // Ready when it is known what lies there.
        self.state = if log_above_mark { State::Loading } else { State::Ready };
    }

    fn roster_index(&self, contact: &str) -> Result<usize, usize> {
        self.roster.binary_search_by(|other| other.address().cmp(contact))
    }

    /// The roster item of a contact, by its bare JID.
    pub fn contact(&self, contact: &str) -> Option<&Contact> {
        self.roster_index(contact).ok().and_then(|at| self.roster.get(at))
    }

    /// Inserts or replaces an item.
    pub fn put_contact(&mut self, item: &RosterItem, slots: &SlotKey) {
        let contact = Contact::new(item, slots);
        match self.roster_index(contact.address()) {
            Ok(at) => {
                if let Some(slot) = self.roster.get_mut(at) {
                    *slot = contact;
                }
            }
            Err(at) => {
                self.roster.reserve_exact(1);
                self.roster.insert(at, contact);
            }
        }
    }

    /// Removes the item of a contact.
    pub fn remove_contact(&mut self, contact: &str) -> Option<Contact> {
        let at = self.roster_index(contact).ok()?;
        Some(self.roster.remove(at))
    }

    /// The subscription request of this bare JID that waits for an answer.
    pub fn request(&self, contact: &str) -> Option<&StoredRequest> {
        self.requests.iter().find(|request| request.contact.as_ref() == contact)
    }

    /// Whether one more piece of work may wait.
    pub fn queue_has_room(&self, most: usize) -> bool {
        self.queue.len() < most
    }

    /// Whether a stanza that comes now would be dealt with now: nothing stands before it.
    pub fn is_free(&self) -> bool {
        self.state == State::Ready && self.queue.is_empty() && self.log.pending.is_empty()
    }

    /// Whether nothing refers to it any more.
    pub fn idle(&self) -> bool {
        self.state == State::Ready
            && self.pins == 0
            && self.sessions.is_empty()
            && self.queue.is_empty()
            && self.log.pending.is_empty()
            && self.log.inflight.is_empty()
            && (!self.log.dirty && !self.seen_dirty || self.moved.is_some())
            && !self.storing_late
    }

    /// What may be stored late and has changed since it was last asked for, and how much of what clients have it tells
    /// ([`AccountLog::stored`]): from here on it is the caller's.
    pub fn late_changes(&mut self) -> (Vec<Change>, u32) {
        let (marks, seen) = (std::mem::take(&mut self.log.dirty), std::mem::take(&mut self.seen_dirty));
        let (mut changes, mut count) = (Vec::with_capacity(2), 0);
        if marks {
            changes.push(Change::PutMarks { account: self.jid.clone(), marks: self.log.marks_to_store() });
            count = self.log.stores();
        }
        if let Some(seen) = self.last_seen.as_deref().filter(|_| seen) {
            changes.push(Change::PutLastSeen { account: self.jid.clone(), seen: seen.clone() });
        }
        (changes, count)
    }

    /// Messages known to wait for a session.
    pub fn undelivered(&self) -> usize {
        self.log.marks.undelivered.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written is remembered whatever older messages are still on their way, in whichever order they left.
    #[test]
    fn marks_tell_of_what_was_written_before_older_ones() {
        let mut log = AccountLog::default();
        log.undelivered(LogId(1));
        for id in [LogId(5), LogId(1), LogId(2)] {
            log.sent(id);
        }
        log.heard = LogId(5);
        log.inflight_done(LogId(5), true);
        let marks = log.marks_to_store();
        assert_eq!((marks.low_water, marks.undelivered), (LogId(5), vec![LogId(1), LogId(2)]));
        log.inflight_done(LogId(2), false);
        log.inflight_done(LogId(1), true);
        let marks = log.marks_to_store();
        assert_eq!((marks.low_water, marks.undelivered), (LogId(5), vec![LogId(2)]));
        assert!(log.inflight.is_empty());
    }
}
