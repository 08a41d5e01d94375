//! A bound resource: what came in and is not settled, what went out and is not written.

use crate::account::AccountKey;
use crate::limits;
use crate::link::LinkId;
use crate::questions::{self, Questions};
use crate::route::bare;
use crate::sm::Sm;
use crate::subscription::state::Action;
use hearth_storage::LogId;
use hearth_wire::FullJid;
use hearth_wire::ids::{Generation, ShardIndex, Slot, StreamId};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use std::collections::{BTreeSet, VecDeque};

/// Index of a session of one shard; with its generation it is never ambiguous.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey(pub u32);

/// Names one client stanza while its effects are under way, across shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub shard: ShardIndex,
    /// Of the session's account.
    pub slot: Slot,
    pub session: SessionKey,
    pub generation: Generation,
    pub stream: StreamId,
    pub number: u64,
    /// Sent again: what it does may have been done before.
    pub again: bool,
    /// Tells it from another of this number: [`crate::executed::hash`].
    pub hash: [u8; 4],
}

/// One session.
#[derive(Debug)]
pub struct Session {
    pub account: AccountKey,
    pub jid: FullJid,
    pub stream: StreamId,
    pub generation: Generation,
    /// The generation before: an edge that has not heard of the new one attaches the session by it.
    pub before: Generation,
    /// Generation at bind, or when it was resumed last: what an edge has of an earlier one is worth nothing.
    pub since: Generation,
    /// Generation at bind: of two sessions of one full JID the later one is meant.
    pub bound: Generation,
    /// [`LinkId::NOWHERE`] while it is parked.
    pub link: LinkId,
    /// The socket's handle on its link.
    pub counter: u64,
    /// Stream management (XEP-0198), once it is enabled.
    pub sm: Option<Box<Sm>>,
    /// Its capsule at the edge is not what it should be.
    pub capsule_due: bool,
    /// Storage knows of it.
    pub on_record: bool,
    /// What an earlier core did with it; `None` for most.
    pub earlier: Option<Box<Earlier>>,
    pub inbound: Inbound,
    pub outbound: Outbound,
    /// Last broadcast available presence, `from` stamped; `None` while not available (RFC 6121 §4.2).
    pub presence: Option<SharedStanza>,
    pub priority: i8,
    pub visibility: Visibility,
    /// It was available, and is not any more.
    pub said_unavailable: bool,
    /// Asked for the roster (RFC 6121 §2.2): gets pushes.
    pub interested: bool,
    /// Asked for the block list (XEP-0191 §3.2): gets pushes.
    pub blocklist_asked: bool,
    /// Where directed presence went (RFC 6121 §4.6.4), bare and full addresses.
    pub directed: Option<Box<BTreeSet<Box<str>>>>,
    /// Questions between clients that want an answer; `None` for most.
    pub questions: Option<Box<Questions>>,
}

impl Session {
    /// Its socket is gone; its client may resume it.
    pub fn is_parked(&self) -> bool {
        self.link == LinkId::NOWHERE
    }

    /// A socket has asked for it and has no answer yet.
    pub fn is_resuming(&self) -> bool {
        self.sm.as_ref().is_some_and(|sm| sm.resuming.is_some())
    }

    /// What its socket is closed by: the edge does not know the generation of a session that is resuming.
    pub fn generation_at_edge(&self) -> Option<Generation> {
        (!self.is_resuming()).then_some(self.generation)
    }

    pub fn available(&self) -> bool {
        self.presence.is_some()
    }

    /// Whether it sent directed presence to this address or to its bare JID, and did not take it back.
    pub fn told(&self, address: &str) -> bool {
        self.directed.as_ref().is_some_and(|to| to.contains(address) || to.contains(bare(address)))
    }

    /// Takes addresses out of those that directed presence went to.
    pub fn take_directed(&mut self, which: impl Fn(&str) -> bool) -> Vec<Box<str>> {
        let Some(directed) = &mut self.directed else { return Vec::new() };
        let mut taken = Vec::new();
        directed.retain(|to| {
            let goes = which(to);
            if goes {
                taken.push(to.clone());
            }
            !goes
        });
        if directed.is_empty() {
            self.directed = None;
        }
        taken
    }

    /// Gets presence and requests sent to the bare JID: it is available, or hears as if it were (XEP-0186 §3.2).
    pub fn receives_presence(&self) -> bool {
        self.available() || self.visibility == Visibility::Invisible
    }

    /// Gets messages sent to the bare JID (RFC 6121 §8.5.2.1.1).
    pub fn receives_bare(&self) -> bool {
        self.receives_presence() && self.priority >= 0 && !self.outbound.detached
    }
}

/// Of a session that is adopted or restored: what an earlier core did with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Earlier {
    /// Records of the account's log up to this one were sent to it, or were not for it.
    pub log: LogId,
    /// Stanzas of its client up to this one may have been handled.
    pub again_until: u64,
    /// It had no socket: what it was to be told of its contacts is lost.
    pub missed_presence: bool,
}

/// What a session's undirected presence does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visibility {
    /// It is broadcast.
    Visible,
    /// It is not (XEP-0186); the session hears as an available one does.
    Invisible,
    /// As `Invisible`, and the client said that it is not available: it hears nothing.
    InvisibleAway,
}

/// Stanzas from the client: received, and settled in order.
#[derive(Debug)]
pub struct Inbound {
    received: u64,
    settled: u64,
    settled_bytes: u64,
    /// Bytes that came, counted from where `settled_bytes` is.
    taken_bytes: u64,
    /// What follows `settled`, up to `received`.
    unsettled: VecDeque<Unsettled>,
    /// Bytes of that, and of what waits for its account before it is handled.
    unsettled_bytes: u64,
    waiting_bytes: u64,
    /// A `Settled` frame is due at the end of the turn.
    pub dirty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Unsettled {
    parts: u16,
    bytes: u32,
}

/// A number that does not follow the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfOrder;

impl Inbound {
    pub fn new() -> Inbound {
        Inbound {
            received: 0,
            settled: 0,
            settled_bytes: 0,
            taken_bytes: 0,
            unsettled: VecDeque::new(),
            unsettled_bytes: 0,
            waiting_bytes: 0,
            dirty: false,
        }
    }

    /// Of a session that an earlier core settled up to `settled`.
    pub fn adopted(settled: u64) -> Inbound {
        Inbound { received: settled, settled, ..Inbound::new() }
    }

    /// Bytes are counted anew from the settled mark on.
    pub fn count_bytes_anew(&mut self) {
        (self.settled_bytes, self.taken_bytes) = (0, 0);
    }

    /// A stanza came; false if it is beyond what the client may have sent. An edge counts as much as this or more.
    pub fn take(&mut self, bytes: u32, window_bytes: u64) -> bool {
        self.taken_bytes = self.taken_bytes.saturating_add(u64::from(bytes));
        self.taken_bytes <= self.credit(window_bytes)
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Absolute bytes the client may have sent.
    pub fn credit(&self, window_bytes: u64) -> u64 {
        self.settled_bytes.saturating_add(window_bytes)
    }

    /// See [`limits::UNDER_WAY_BYTES_MAX`].
    pub fn under_way_bytes(&self) -> u64 {
        self.unsettled_bytes.saturating_add(self.waiting_bytes)
    }

    /// A stanza waits for its account, until [`Inbound::goes_on`].
    pub fn waits(&mut self, bytes: u32) {
        self.waiting_bytes = self.waiting_bytes.saturating_add(u64::from(bytes));
    }

    /// What waits is of a generation before: it comes again.
    pub fn forget_waiting(&mut self) {
        self.waiting_bytes = 0;
    }

    /// It waits no more: it is about to be handled.
    pub fn goes_on(&mut self, bytes: u32) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(u64::from(bytes));
    }

    /// A stanza was handled; `parts` of its effects are under way (none: it settles as soon as
    /// those before it have).
    pub fn handled(&mut self, number: u64, bytes: u32, parts: u16) -> Result<(), OutOfOrder> {
        if number != self.received.saturating_add(1) {
            return Err(OutOfOrder);
        }
        self.received = number;
        if parts == 0 && self.unsettled.is_empty() {
            self.settled = number;
            self.settled_bytes = self.settled_bytes.saturating_add(u64::from(bytes));
            self.dirty = true;
        } else {
            self.unsettled.push_back(Unsettled { parts, bytes });
            self.unsettled_bytes = self.unsettled_bytes.saturating_add(u64::from(bytes));
        }
        Ok(())
    }

    /// One part of a stanza's effects is done. Late or repeated answers change nothing.
    pub fn part_done(&mut self, number: u64) {
        let Some(at) = number.checked_sub(self.settled.saturating_add(1)) else { return };
        let Some(entry) = usize::try_from(at).ok().and_then(|at| self.unsettled.get_mut(at)) else { return };
        entry.parts = entry.parts.saturating_sub(1);
        while let Some(first) = self.unsettled.front() {
            if first.parts > 0 {
                break;
            }
            self.settled = self.settled.saturating_add(1);
            self.settled_bytes = self.settled_bytes.saturating_add(u64::from(first.bytes));
            self.unsettled_bytes = self.unsettled_bytes.saturating_sub(u64::from(first.bytes));
            self.unsettled.pop_front();
            self.dirty = true;
        }
        if self.unsettled.is_empty() {
            self.unsettled = VecDeque::new();
        }
    }
}

impl Default for Inbound {
    fn default() -> Inbound {
        Inbound::new()
    }
}

/// Stanzas to the client: numbered when emitted, kept until written.
#[derive(Debug)]
pub struct Outbound {
    /// Number of the last entry emitted.
    pub last: u64,
    pub sent_bytes: u64,
    pub credit_bytes: u64,
    /// The greatest log id among what was emitted.
    pub log: LogId,
    /// Records that a lost socket was sent, that its client has not acknowledged and that only the log has: to be sent
    /// again, whoever else had them. In order.
    pub owed: Vec<LogId>,
    /// Emitted and not written, oldest first; their numbers end at `last`.
    pub entries: VecDeque<Entry>,
    /// Its client was seen to have records of the log since its edge was told last what of that is stored.
    pub unstored: bool,
    /// Not yet emitted for want of credit, oldest first.
    pub held: VecDeque<Held>,
    /// While it is behind, what is not logged and must not overtake: each comes behind the records up to its id.
    pub later: VecDeque<(LogId, Held)>,
    /// Of both.
    pub held_bytes: usize,
    /// Of both, the errors that tell its client what became of its messages.
    pub held_refusals: usize,
    /// In its link's list of those that wait for the link's credit.
    pub waits_for_link: bool,
    /// Its client does not read: its stream is being closed, nothing more is held for it.
    pub detached: bool,
    /// It does not keep up with its account's log; `None` for most.
    pub behind: Option<Behind>,
}

/// Where a session that does not keep up stands in its account's log, which is read for it at its client's pace
/// (`offline.rs`). Live messages wait there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Records up to this one need not be read for it.
    pub after: LogId,
    /// What is addressed to it behind this record it gets, whoever else does. What came before it has had, or was
    /// not for it, but for what it is owed and what nobody has.
    pub from: LogId,
    /// A page is being read.
    pub asked: bool,
    /// That page is of no use: reading begins elsewhere.
    pub anew: bool,
}

/// What a client has not yet been seen to have.
#[derive(Clone, Debug)]
pub enum Entry {
    /// To be sent again, or answered for, should the session lose its socket or end.
    Kept(Held),
    /// In the account's log under this id; an earlier core sent it.
    Logged(LogId),
    /// Not logged and nobody's loss; an earlier core sent it.
    Gone,
}

impl Entry {
    /// Its record in the account's log, if it has one.
    pub fn log(&self) -> Option<LogId> {
        match self {
            Entry::Kept(held) => held.log,
            Entry::Logged(id) => Some(*id),
            Entry::Gone => None,
        }
    }
}

/// A stanza of one session's outbound list: emitted, or waiting for credit.
#[derive(Clone, Debug)]
pub struct Held {
    pub stanza: SharedStanza,
    pub overlay: KeptOverlay,
    pub log: Option<LogId>,
}

/// An [`Overlay`] as its session keeps it: most say nothing that the session does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeptOverlay {
    None,
    ToBare,
    ToFull,
    Other(Box<OwnedOverlay>),
}

impl KeptOverlay {
    pub fn of(overlay: &Overlay<'_>, jid: &FullJid) -> KeptOverlay {
        match overlay {
            Overlay { to, delay: None, stanza_id: None, carbon: None } => match to {
                None => KeptOverlay::None,
                Some(to) if *to == jid.bare_str() => KeptOverlay::ToBare,
                Some(to) if *to == jid.as_str() => KeptOverlay::ToFull,
                Some(_) => KeptOverlay::Other(Box::new(OwnedOverlay::of(overlay))),
            },
            Overlay { .. } => KeptOverlay::Other(Box::new(OwnedOverlay::of(overlay))),
        }
    }

    pub fn view<'a>(&'a self, jid: &'a FullJid) -> Overlay<'a> {
        match self {
            KeptOverlay::None => Overlay::default(),
            KeptOverlay::ToBare => Overlay { to: Some(jid.bare_str()), ..Overlay::default() },
            KeptOverlay::ToFull => Overlay { to: Some(jid.as_str()), ..Overlay::default() },
            KeptOverlay::Other(owned) => owned.view(),
        }
    }
}

/// [`Overlay`] that owns its parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnedOverlay {
    pub to: Option<Box<str>>,
    pub delay: Option<(Box<str>, u64)>,
    pub stanza_id: Option<(Box<str>, Box<str>)>,
}

impl OwnedOverlay {
    pub fn of(overlay: &Overlay<'_>) -> OwnedOverlay {
        OwnedOverlay {
            to: overlay.to.map(Into::into),
            delay: overlay.delay.map(|delay| (delay.from.into(), delay.stamp_ms)),
            stanza_id: overlay.stanza_id.map(|stanza_id| (stanza_id.id.into(), stanza_id.by.into())),
        }
    }

    pub fn view(&self) -> Overlay<'_> {
        Overlay {
            to: self.to.as_deref(),
            delay: self.delay.as_ref().map(|(from, stamp_ms)| hearth_wire::stanza::Delay { from, stamp_ms: *stamp_ms }),
            stanza_id: self.stanza_id.as_ref().map(|(id, by)| hearth_wire::stanza::StanzaIdOverlay { id, by }),
            carbon: None,
        }
    }
}

impl Held {
    /// Bytes of its stanza.
    pub fn size(&self) -> usize {
        self.stanza.bytes().len()
    }

    /// Of the frame it goes out in, at most.
    pub fn framed_len(&self, jid: &FullJid) -> usize {
        let Overlay { to, delay, stanza_id, carbon: _ } = self.overlay.view(jid);
        let texts = [to, delay.map(|delay| delay.from), stanza_id.map(|id| id.id), stanza_id.map(|id| id.by)];
        let texts = texts.into_iter().flatten().map(str::len).fold(0, usize::saturating_add);
        self.size().saturating_add(texts).saturating_add(limits::FRAME_REST_BYTES_MAX)
    }

    /// Whether it tells a client what became of its message.
    pub fn is_refusal(&self) -> bool {
        let view = self.stanza.view();
        view.kind == StanzaKind::Message && view.ty == StanzaType::Error
    }
}

impl Outbound {
    pub fn new(credit_bytes: u64) -> Outbound {
        Outbound {
            last: 0,
            sent_bytes: 0,
            credit_bytes,
            log: LogId(0),
            owed: Vec::new(),
            entries: VecDeque::new(),
            unstored: false,
            held: VecDeque::new(),
            later: VecDeque::new(),
            held_bytes: 0,
            held_refusals: 0,
            waits_for_link: false,
            detached: false,
            behind: None,
        }
    }

    /// What counts as held for it: nothing once it is detached, for then it is being ended.
    pub fn counted(&self) -> u64 {
        if self.detached { 0 } else { self.held_bytes as u64 }
    }

    /// Keeps a stanza until credit comes, or, with a `turn`, until the log is read up to there.
    pub fn hold(&mut self, held: Held, turn: Option<LogId>) {
        self.held_bytes = self.held_bytes.saturating_add(held.size());
        self.held_refusals = self.held_refusals.saturating_add(usize::from(held.is_refusal()));
        match turn {
            Some(turn) => self.later.push_back((turn, held)),
            None => self.held.push_back(held),
        }
    }

    /// The first that waits for credit.
    pub fn take_held(&mut self) -> Option<Held> {
        let held = self.held.pop_front();
        self.not_held(held.as_ref());
        held
    }

    /// The first that waits for its turn.
    pub fn take_later(&mut self) -> Option<Held> {
        let held = self.later.pop_front().map(|(_, held)| held);
        self.not_held(held.as_ref());
        held
    }

    fn not_held(&mut self, held: Option<&Held>) {
        self.held_bytes = self.held_bytes.saturating_sub(held.map_or(0, Held::size));
        self.held_refusals = self.held_refusals.saturating_sub(held.map_or(0, |held| usize::from(held.is_refusal())));
    }

    /// What is behind record `heard`, the last one that the account has dealt with, waits in the log.
    pub fn fall_behind(&mut self, heard: LogId) {
        self.behind.get_or_insert(Behind { after: heard, from: heard, asked: false, anew: false });
    }

    /// The log is read for it from behind `after` on, if it is further; what it has had does not come again.
    pub fn go_back(&mut self, after: LogId, heard: LogId) {
        self.fall_behind(heard);
        if let Some(behind) = &mut self.behind {
            behind.from = behind.from.max(behind.after);
            behind.after = behind.after.min(after);
            behind.anew = behind.asked;
        }
    }

    /// Of an account that has dealt with records up to `heard`: up to which one it was sent all that was for it, but
    /// for what it is owed and what nobody has.
    pub fn had_all_to(&self, heard: LogId) -> LogId {
        self.behind.map_or(heard, |behind| behind.from.max(behind.after))
    }

    /// As an edge or a record has it: of what was sent by an earlier core, up to `entry` and written up to `written`,
    /// only is known which lies in the log.
    pub fn of_earlier(entry: u64, written: u64, unwritten: &[(u64, LogId)], log: LogId) -> Outbound {
        let mut outbound = Outbound::new(0);
        (outbound.last, outbound.log) = (entry, log);
        let logged = |entry: u64| unwritten.iter().find(|(at, _)| *at == entry).map(|(_, id)| *id);
        let entries = written.saturating_add(1)..=entry;
        outbound.entries = entries.map(|entry| logged(entry).map_or(Entry::Gone, Entry::Logged)).collect();
        outbound
    }

    /// Of what it was to be sent, all that it was not: the next core must not believe so.
    pub fn all_owed(&self) -> Vec<LogId> {
        let held = self.held.iter().filter_map(|held| held.log);
        let mut owed: Vec<_> = self.owed.iter().copied().chain(held).collect();
        owed.sort_unstable();
        owed.dedup();
        owed
    }

    /// Answers to questions of its client that wait here.
    pub fn held_answers(&self) -> impl Iterator<Item = Stanza<'_>> {
        let later = self.later.iter().map(|(_, held)| held);
        self.held.iter().chain(later).map(|held| held.stanza.view()).filter(questions::is_answer)
    }

    /// Of what is not written, the entries that lie in the log.
    pub fn unwritten(&self) -> Vec<(u64, LogId)> {
        let first = self.mark().saturating_add(1);
        (first..).zip(&self.entries).filter_map(|(at, entry)| Some((at, entry.log()?))).collect()
    }

    /// Entries up to this one are written.
    pub fn mark(&self) -> u64 {
        self.last.saturating_sub(self.entries.len() as u64)
    }

    /// Entries up to `entry` were written; returns their log ids. A mark from nowhere is ignored.
    pub fn written(&mut self, entry: u64) -> Vec<LogId> {
        let unwritten = usize::try_from(self.last.saturating_sub(entry)).unwrap_or(usize::MAX);
        let done = self.entries.len().saturating_sub(unwritten);
        let ids: Vec<_> = self.entries.drain(..done).filter_map(|entry| entry.log()).collect();
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        self.unstored |= !ids.is_empty();
        ids
    }

    /// Of a contact's resource only the last presence is of use: an earlier one that is held makes room.
    pub fn supersede_presence(&mut self, stanza: &SharedStanza) {
        let state = |stanza: &Stanza<'_>| matches!(stanza.ty, StanzaType::Available | StanzaType::Unavailable);
        let new = stanza.view();
        if new.kind != StanzaKind::Presence || !state(&new) {
            return;
        }
        let older = |held: &Held| {
            let view = held.stanza.view();
            view.kind == StanzaKind::Presence && view.from == new.from && state(&view)
        };
        let later = self.later.iter().position(|(_, held)| older(held)).and_then(|at| self.later.remove(at));
        let held = self.held.iter().position(older).and_then(|at| self.held.remove(at));
        self.not_held(later.map(|(_, held)| held).as_ref());
        self.not_held(held.as_ref());
    }

    /// Whether something behind `entry` cannot be sent again.
    pub fn has_lost(&self, entry: u64) -> bool {
        let behind = usize::try_from(self.last.saturating_sub(entry)).unwrap_or(usize::MAX);
        self.entries.iter().rev().take(behind).any(|entry| matches!(entry, Entry::Gone))
    }

    /// The socket or link that entries behind `entry` were sent to is lost: they go back in front of what is
    /// held, and numbers go on from there. Where only the log has one of them, records that came behind it are
    /// read there, too, so that they stay in order: those are owed from here on, and returned. What others sent and no
    /// log has waits for that; what comes directly does not, now as later. `jid`: the session's own.
    pub fn back_to(&mut self, jid: &FullJid, entry: u64) -> Vec<LogId> {
        let lost = usize::try_from(self.last.saturating_sub(entry)).unwrap_or(usize::MAX);
        let from = self.entries.len().saturating_sub(lost);
        let lost = self.entries.split_off(from);
        self.last = self.last.min(entry);
        let to_read = lost.iter().any(|entry| matches!(entry, Entry::Logged(_)));
        self.hold_anew(jid, lost, to_read)
    }

    /// What is held and lies in the log is left there: those records are owed from here on, and returned. What others
    /// sent behind them and no log has waits for that, as in [`Outbound::back_to`].
    pub fn leave_in_log(&mut self, jid: &FullJid) -> Vec<LogId> {
        let logged = self.held.iter().any(|held| held.log.is_some());
        if logged { self.hold_anew(jid, VecDeque::new(), true) } else { Vec::new() }
    }

    /// Holds these entries in front of what is held; `to_read`: those of the log are read there instead.
    fn hold_anew(&mut self, jid: &FullJid, front: VecDeque<Entry>, to_read: bool) -> Vec<LogId> {
        let held = std::mem::take(&mut self.held).into_iter().map(Entry::Kept);
        let all: Vec<Entry> = front.into_iter().chain(held).collect();
        let later = std::mem::take(&mut self.later);
        (self.held_bytes, self.held_refusals) = (0, 0);
        let (mut owed, mut last) = (Vec::new(), LogId(0));
        for entry in all {
            match (entry.log().filter(|_| to_read), entry) {
                (Some(id), _) => {
                    last = last.max(id);
                    owed.push(id);
                }
                (None, Entry::Kept(held)) => {
                    let waits = to_read && !comes_directly(&held.stanza.view(), jid);
                    self.hold(held, waits.then_some(last));
                }
                (None, Entry::Logged(_) | Entry::Gone) => {}
            }
        }
        later.into_iter().for_each(|(turn, held)| self.hold(held, Some(turn)));
        self.owed.extend_from_slice(&owed);
        self.owed.sort_unstable();
        self.owed.dedup();
        owed
    }
}

/// What goes past messages that wait in the log: what the account and its server say themselves, and subscription
/// stanzas, which go with the roster's push (RFC 6121 §3.1.3).
fn comes_directly(stanza: &Stanza<'_>, jid: &FullJid) -> bool {
    match stanza.kind {
        StanzaKind::Iq => stanza.from.is_none_or(|from| [jid.bare_str(), jid.bare().domainpart()].contains(&from)),
        StanzaKind::Presence => {
            Action::of(stanza.ty).is_some() || stanza.from.is_some_and(|from| bare(from) == jid.bare_str())
        }
        StanzaKind::Message => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_in_order_only() {
        let mut inbound = Inbound::new();
        inbound.handled(1, 10, 0).unwrap();
        assert_eq!(inbound.settled(), 1);
        inbound.handled(2, 10, 2).unwrap();
        inbound.handled(3, 10, 0).unwrap();
        inbound.handled(4, 10, 1).unwrap();
        assert_eq!(inbound.settled(), 1);
        inbound.part_done(4);
        assert_eq!(inbound.settled(), 1);
        inbound.part_done(2);
        inbound.part_done(2);
        assert_eq!(inbound.settled(), 4);
        inbound.part_done(2);
        inbound.part_done(9);
        assert_eq!((inbound.settled(), inbound.received()), (4, 4));
        assert_eq!(inbound.handled(4, 1, 0), Err(OutOfOrder));
        assert_eq!(inbound.handled(6, 1, 0), Err(OutOfOrder));
        assert_eq!(inbound.credit(1000), 1040);
        assert!(inbound.take(1040, 1000) && !inbound.take(1, 1000));
        inbound.count_bytes_anew();
        assert!(inbound.take(1000, 1000) && !inbound.take(1, 1000));
    }

    #[test]
    fn written_marks_are_bounded() {
        let mut outbound = Outbound::new(1);
        for _ in 0..3 {
            outbound.last += 1;
            outbound.entries.push_back(Entry::Logged(LogId(outbound.last)));
        }
        assert_eq!(outbound.written(2), [LogId(1), LogId(2)]);
        assert_eq!(outbound.written(2), []);
        assert_eq!(outbound.written(99), [LogId(3)]);
    }

    #[test]
    fn what_was_lost_goes_back_in_front() {
        let mut outbound = Outbound::new(1);
        let jid = FullJid::parse("ada@example.org/desk").unwrap();
        let held = |id: &'static str| {
            let stanza =
                hearth_wire::stanza::Stanza { id: Some(id), ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
            Held { stanza: SharedStanza::new(&stanza), overlay: KeptOverlay::of(&Overlay::default(), &jid), log: None }
        };
        let push = Stanza { id: Some("push"), ..Stanza::new(StanzaKind::Iq, StanzaType::Set) };
        outbound.held.push_back(held("5"));
        outbound.held.push_back(Held { stanza: SharedStanza::new(&push), ..held("6") });
        for (id, from) in [("theirs", "grace@example.org/desk"), ("own", "ada@example.org/phone")] {
            let gone = Stanza::new(StanzaKind::Presence, StanzaType::Unavailable);
            let gone = SharedStanza::new(&Stanza { id: Some(id), from: Some(from), ..gone });
            outbound.held.push_back(Held { stanza: gone, ..held("7") });
        }
        for entry in [Entry::Kept(held("1")), Entry::Kept(held("2")), Entry::Logged(LogId(3)), Entry::Kept(held("4"))] {
            outbound.last += 1;
            outbound.entries.push_back(entry);
        }
        assert_eq!(outbound.back_to(&jid, 2), [LogId(3)]);
        let left: Vec<_> = outbound.held.iter().map(|held| held.stanza.view().id.unwrap()).collect();
        assert_eq!((outbound.all_owed(), left), (vec![LogId(3)], vec!["push", "own"]), "another would overtake it");
        let later: Vec<_> = outbound.later.iter().map(|(id, held)| (id.0, held.stanza.view().id.unwrap())).collect();
        assert_eq!(later, [(3, "4"), (3, "5"), (3, "theirs")], "they do not overtake what is to be read");
        assert_eq!(outbound.back_to(&jid, 1), []);
        let ids: Vec<_> = outbound.held.iter().map(|held| held.stanza.view().id.unwrap().to_owned()).collect();
        assert_eq!((ids.join(" ").as_str(), outbound.last, outbound.entries.len()), ("2 push own", 1, 1));
        let bytes = outbound.held.iter().chain(outbound.later.iter().map(|(_, held)| held));
        assert_eq!(outbound.held_bytes, bytes.map(|held| held.stanza.bytes().len()).sum::<usize>());
        assert_eq!(outbound.back_to(&jid, 7), []);
        assert_eq!(outbound.last, 1);
    }
}
