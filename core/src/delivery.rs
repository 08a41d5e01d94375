//! Sending to sessions: numbering, credit, holding back, multicast, and what becomes of entries
//! when a session ends. Only an account's own shard calls this for the account's sessions.

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::fate;
use crate::late;
use crate::limits;
use crate::link::{Link, LinkId};
use crate::outputs::Event;
use crate::questions;
use crate::records;
use crate::session::{Entry, Held, KeptOverlay, Session, SessionKey};
use crate::sm;
use hearth_storage::LogId;
use hearth_wire::StreamCondition;
use hearth_wire::stanza::{Overlay, SharedStanza};
use hearth_wire::to_edge::{
    Close, Deliver, DeliverLogged, MULTICAST_TARGETS_MAX, Multicast, MulticastLogged, Settled, Target, ToEdge,
};

impl Cx<'_> {
    /// Sends one stanza to one session: at once within its credit, else held back in order.
    /// `log` names its record in the account's log, if it has one.
    pub fn deliver(&mut self, key: SessionKey, stanza: &SharedStanza, overlay: &Overlay<'_>, log: Option<LogId>) {
        if log.is_some() || questions::passes(self, key, stanza) {
            self.send_or_hold(key, stanza, overlay, log);
        }
    }

    fn send_or_hold(&mut self, key: SessionKey, stanza: &SharedStanza, overlay: &Overlay<'_>, log: Option<LogId>) {
        if let Some(id) = log {
            self.track_inflight(key, id);
        }
        if self.passes(key, stanza) {
            self.emit(key, stanza, overlay, log);
        } else if let Some(session) = self.session(key) {
            let held = kept(session, stanza, overlay, log);
            self.hold(key, held, None);
        }
    }

    /// The same for what somebody else sent and no log has: it comes behind the messages that wait for the session in
    /// the log, some of which may be of the same sender (RFC 6120 §10.1).
    pub fn deliver_in_turn(&mut self, key: SessionKey, stanza: &SharedStanza, overlay: &Overlay<'_>) {
        if self.session(key).is_none_or(|session| session.outbound.behind.is_none()) {
            return self.deliver(key, stanza, overlay, None);
        }
        if !questions::passes(self, key, stanza) {
            return;
        }
        let Some(session) = self.session(key) else { return };
        let heard = self.account(session.account).map_or(LogId(0), |account| account.log.heard);
        let held = kept(session, stanza, overlay, None);
        self.hold(key, held, Some(heard));
    }

    /// Whether a stanza would be sent to the session now.
    fn passes(&self, key: SessionKey, stanza: &SharedStanza) -> bool {
        let Some(session) = self.session(key) else { return false };
        self.link_room(key, stanza.bytes().len())
            && session.outbound.held.is_empty()
            && has_credit(session, stanza, self.shard.settings.limits.entries)
            && !session.outbound.detached
    }

    /// Whether a message from the log, live or read there, is sent to the session or held for it; if not it waits in
    /// the log. It leaves half of the room to what cannot ([`Shard::held_share`](crate::shard::Shard::held_share)).
    pub fn takes_logged(&self, key: SessionKey, stanza: &SharedStanza) -> bool {
        let limits = &self.shard.settings.limits;
        let Some(Session { outbound, .. }) = self.session(key).filter(|_| !self.is_unstored(key)) else { return false };
        let room = outbound.held_bytes.saturating_add(stanza.bytes().len()) <= self.shard.held_share()
            && outbound.held.len() < limits.entries / 2;
        room || self.passes(key, stanza)
    }

    /// Whether the session was sent as much of its account's log as its edge remembers: [`limits::UNSTORED_MAX`].
    pub fn is_unstored(&self, key: SessionKey) -> bool {
        let Some(session) = self.session(key) else { return false };
        let unstored = self.account(session.account).map_or(0, |account| account.log.unstored());
        unstored.saturating_add(session.outbound.entries.len()) >= self.shard.settings.limits.unstored
    }

    /// Stores at once what the account's clients have, if that is half of what their edges remember.
    pub fn store_if_much(&mut self, account: AccountKey) {
        let unstored = self.account(account).map_or(0, |account| account.log.unstored());
        if unstored >= self.shard.settings.limits.unstored / 2 {
            late::store(self, account, |_| {});
        }
    }

    /// [`Cx::deliver_in_turn`] to many sessions.
    pub fn multicast_in_turn(&mut self, keys: &[SessionKey], stanza: &SharedStanza, overlay: &Overlay<'_>) {
        let is_behind = |key: &SessionKey| self.session(*key).is_some_and(|session| session.outbound.behind.is_some());
        if !keys.iter().any(is_behind) {
            return self.multicast(keys, stanza, overlay, None);
        }
        let (behind, ready): (Vec<_>, Vec<_>) = keys.iter().copied().partition(is_behind);
        self.multicast(&ready, stanza, overlay, None);
        behind.into_iter().for_each(|key| self.deliver_in_turn(key, stanza, overlay));
    }

    /// Sends one stanza to many sessions, one frame per link. `overlay` is the same for all.
    pub fn multicast(&mut self, keys: &[SessionKey], stanza: &SharedStanza, overlay: &Overlay<'_>, log: Option<LogId>) {
        if let [key] = keys {
            self.deliver(*key, stanza, overlay, log);
            return;
        }
        self.send_all(keys.iter().map(|key| (*key, *overlay)), stanza, log);
    }

    /// Sends one stanza to sessions of many accounts, one frame per link, each with its own `to`, and in turn.
    pub fn fan_out(&mut self, mut targets: Vec<(SessionKey, &str)>, stanza: &SharedStanza) {
        let overlay = |to| Overlay { to: Some(to), ..Overlay::default() };
        targets.retain(|(key, to)| {
            let behind = self.session(*key).is_some_and(|session| session.outbound.behind.is_some());
            if behind {
                self.deliver_in_turn(*key, stanza, &overlay(to));
            }
            !behind
        });
        if let [(key, to)] = targets[..] {
            self.deliver(key, stanza, &overlay(to), None);
            return;
        }
        self.send_all(targets.iter().map(|(key, to)| (*key, overlay(to))), stanza, None);
    }

    fn send_all<'t>(
        &mut self,
        targets: impl Iterator<Item = (SessionKey, Overlay<'t>)>,
        stanza: &SharedStanza,
        log: Option<LogId>,
    ) {
        let mut batches: Vec<Batch<'_>> = Vec::new();
        for (key, overlay) in targets {
            if !self.passes(key, stanza) {
                self.deliver(key, stanza, &overlay, log);
                continue;
            }
            let Some(session) = self.session_mut(key) else { continue };
            let target = number(session, stanza, &overlay, log);
            let link = session.link;
            if let Some(id) = log {
                self.track_inflight(key, id);
            }
            let bytes = overlay.to.map_or(0, str::len);
            match batches.iter_mut().find(|batch| batch.link == link && batch.has_room(bytes)) {
                Some(batch) => {
                    batch.bytes = batch.bytes.saturating_add(bytes);
                    batch.targets.push(target);
                }
                None => batches.push(Batch { link, bytes, targets: vec![target] }),
            }
        }
        for Batch { link, mut targets, .. } in batches {
            match targets.pop() {
                Some(target) if targets.is_empty() => {
                    self.send_one(link, Deliver { target, stanza: stanza.bytes() }, log);
                }
                Some(target) => {
                    targets.push(target);
                    let multicast = Multicast { targets, stanza: stanza.bytes() };
                    let log = log.filter(|_| self.attaches(link));
                    let frame = match log {
                        Some(LogId(log)) => ToEdge::MulticastLogged(MulticastLogged { log, multicast }),
                        None => ToEdge::Multicast(multicast),
                    };
                    self.send_credited(link, &frame);
                }
                None => {}
            }
        }
    }

    fn emit(&mut self, key: SessionKey, stanza: &SharedStanza, overlay: &Overlay<'_>, log: Option<LogId>) {
        let Some(session) = self.session_mut(key) else { return };
        let target = number(session, stanza, overlay, log);
        let link = session.link;
        self.send_one(link, Deliver { target, stanza: stanza.bytes() }, log);
    }

    fn send_one(&mut self, link: LinkId, deliver: Deliver<'_>, log: Option<LogId>) {
        let log = log.filter(|_| self.attaches(link));
        let frame = match log {
            Some(LogId(log)) => ToEdge::DeliverLogged(DeliverLogged { log, deliver }),
            None => ToEdge::Deliver(deliver),
        };
        self.send_credited(link, &frame);
    }

    /// Whether the edge at the other end of a link keeps what it needs to attach sessions anew.
    fn attaches(&self, link: LinkId) -> bool {
        self.shard.links.get(&link).is_some_and(Link::attaches)
    }

    fn send_credited(&mut self, link: LinkId, frame: &ToEdge<'_>) {
        let bytes = self.out.frame(link, frame);
        self.shard.stats.stanzas_out = self.shard.stats.stanzas_out.wrapping_add(1);
        if let Some(link) = self.shard.links.get_mut(&link) {
            link.sent_bytes = link.sent_bytes.saturating_add(bytes as u64);
        }
    }

    fn link_room(&self, key: SessionKey, bytes: usize) -> bool {
        self.session(key).is_some_and(|session| self.link_takes(session.link, bytes as u64))
    }

    /// Whether so much goes out on a link now.
    pub fn link_takes(&self, link: LinkId, bytes: u64) -> bool {
        let link = self.shard.links.get(&link);
        link.is_some_and(|link| link.up && link.sent_bytes.saturating_add(bytes) <= link.credit_bytes)
    }

    /// Keeps a stanza until credit comes, or until the log is read up to `turn`; past the limit the session is
    /// detached, of one that has no socket for now no more is held.
    fn hold(&mut self, key: SessionKey, held: Held, turn: Option<LogId>) {
        let (bytes, logged) = (held.size(), held.log.is_some());
        let (held_max, entries_max) = (self.shard.settings.limits.held_bytes, self.shard.settings.limits.entries);
        let (away, much) = (self.is_away(key), self.shard.holds_much());
        self.shard.change_held(key, |session| {
            if away || much || turn.is_some() || session.outbound.held_bytes > held_max / 2 {
                session.outbound.supersede_presence(&held.stanza);
            }
        });
        let Some(session) = self.shard.sessions.get_mut(key.0) else { return };
        let outbound = &session.outbound;
        let stanzas = outbound.held.len().saturating_add(outbound.later.len());
        let full = outbound.held_bytes.saturating_add(bytes) > held_max || stanzas >= entries_max;
        if outbound.detached || (away && full) {
            let account = session.account;
            // Who comes back must not believe to have had all.
            self.close_later(key, StreamCondition::ResourceConstraint, "more came than is held while it was away");
            questions::on_refused(self, key, &held.stanza.view());
            fate::meet(self, account, held);
            return;
        }
        if session.is_parked() && (questions::is_answer(&held.stanza.view()) || held.is_refusal()) {
            self.shard.records_due.insert(key);
        }
        self.shard.change_held(key, |session| session.outbound.hold(held, turn));
        let held_bytes = self.session(key).map_or(0, |session| session.outbound.held_bytes);
        if !logged && (held_bytes > held_max || stanzas >= entries_max) {
            self.detach(key, held_bytes);
        } else if turn.is_none() {
            self.wait_for_link(key, bytes);
        }
    }

    /// Whether the session has no socket that stanzas may go to for now.
    pub fn is_away(&self, key: SessionKey) -> bool {
        self.session(key).is_none_or(|session| {
            session.is_resuming() || !self.shard.links.get(&session.link).is_some_and(|link| link.up)
        })
    }

    /// What waits for its turn comes, but for what must come behind records from `before` on.
    pub fn release_later(&mut self, key: SessionKey, before: Option<LogId>) {
        loop {
            let Some(session) = self.session_mut(key) else { return };
            let is_due = |turn: LogId| before.is_none_or(|before| turn < before);
            if session.outbound.later.front().is_none_or(|(turn, _)| !is_due(*turn)) {
                return;
            }
            let jid = session.jid.clone();
            let Some(held) = self.shard.change_held(key, |session| session.outbound.take_later()).flatten() else {
                return;
            };
            // Whether it is the first answer was looked at when it came.
            self.send_or_hold(key, &held.stanza, &held.overlay.view(&jid), None);
            self.mark_goes_on(key, &held);
        }
    }

    /// Closes the stream of a session that does not read. The session ends with the turn, not here in
    /// the middle of a fan-out: its presence may find the next one that does not read.
    pub fn detach(&mut self, key: SessionKey, held_bytes: usize) {
        let Some(jid) = self.session(key).map(|session| session.jid.as_str().to_owned()) else { return };
        self.event(Event::SessionDetached { jid, held_bytes });
        self.close_later(key, StreamCondition::ResourceConstraint, "does not read");
    }

    /// Closes a session's stream now; the session ends with the turn, when other shards have room for what
    /// that means. Until then nothing more is sent to it.
    pub fn close_later(&mut self, key: SessionKey, condition: StreamCondition, reason: &'static str) {
        if self.session(key).is_none_or(|session| session.outbound.detached) {
            return;
        }
        self.shard.change_held(key, |session| session.outbound.detached = true);
        let Some(session) = self.session(key) else { return };
        let (link, counter, generation) = (session.link, session.counter, session.generation_at_edge());
        let this = session.generation;
        let condition = Some(condition);
        self.out.frame(link, &ToEdge::Close(Close { counter, generation, condition, text: "" }));
        self.shard.ending.push_back((key, this, reason));
        self.out.wake_at(self.now.mono_ms);
    }

    /// Remembers a session that the link's credit holds up, once.
    fn wait_for_link(&mut self, key: SessionKey, bytes: usize) {
        let Some(session) = self.shard.sessions.get_mut(key.0).filter(|s| !s.outbound.waits_for_link) else { return };
        if let Some(link) = self.shard.links.get_mut(&session.link)
            && link.sent_bytes.saturating_add(bytes as u64) > link.credit_bytes
        {
            session.outbound.waits_for_link = true;
            link.waiting.push_back(key);
        }
    }

    /// Credit came: sends what is held, in order, as far as it goes.
    pub fn release_held(&mut self, key: SessionKey) {
        loop {
            let Some(session) = self.session(key).filter(|session| !session.outbound.detached) else { return };
            let Some(bytes) = session.outbound.held.front().map(Held::size) else {
                return crate::offline::read_on(self, key);
            };
            let entries = self.shard.settings.limits.entries;
            let credit = session.outbound.held.front().is_some_and(|held| has_credit(session, &held.stanza, entries));
            if !credit || !self.link_room(key, bytes) {
                return self.wait_for_link(key, bytes);
            }
            let Some(held) = self.shard.change_held(key, |session| session.outbound.take_held()).flatten() else {
                return;
            };
            let Some(jid) = self.session(key).map(|session| session.jid.clone()) else { return };
            self.emit(key, &held.stanza, &held.overlay.view(&jid), held.log);
            self.mark_goes_on(key, &held);
        }
    }

    /// The edge wrote a session's entries up to `entry`; `credit` is its restated absolute credit.
    pub fn on_written(&mut self, key: SessionKey, entry: u64, credit: u64) {
        let Some(session) = self.session_mut(key) else { return };
        let account = session.account;
        session.outbound.credit_bytes = session.outbound.credit_bytes.max(credit);
        for id in session.outbound.written(entry) {
            self.inflight_done(account, id, true);
        }
        self.store_if_much(account);
        self.release_held(key);
    }

    /// A session of an earlier core was sent these records, which its client has not acknowledged.
    pub fn track_unwritten(&mut self, key: SessionKey, unwritten: &[(u64, LogId)]) {
        unwritten.iter().for_each(|(_, id)| self.track_inflight(key, *id));
    }

    fn track_inflight(&mut self, key: SessionKey, id: LogId) {
        let Some(account) = self.session(key).map(|session| session.account) else { return };
        let Some(account) = self.account_mut(account) else { return };
        account.log.sent(id);
    }

    fn inflight_done(&mut self, account: AccountKey, id: LogId, written: bool) {
        if let Some(account) = self.account_mut(account) {
            account.log.inflight_done(id, written);
        }
    }

    /// Tells the edge to close a session's stream, and ends the session.
    pub fn close_session(&mut self, key: SessionKey, condition: Option<StreamCondition>, reason: &'static str) {
        if let Some(session) = self.session(key) {
            let (link, counter, generation) = (session.link, session.counter, session.generation_at_edge());
            let text = if condition.is_some() { reason } else { "" };
            self.out.frame(link, &ToEdge::Close(Close { counter, generation, condition, text }));
        }
        self.end_session(key, reason);
    }

    /// Ends a session whose stream is gone or going: presence first, while it is still there, then
    /// its entries go back to the account.
    pub fn end_session(&mut self, key: SessionKey, reason: &'static str) {
        if self.session(key).is_none() {
            return;
        }
        crate::features::on_session_end(self, key);
        let Some(session) = self.shard.sessions.remove(key.0) else { return };
        self.shard.under_way.changed(session.inbound.under_way_bytes(), 0);
        self.shard.held.changed(session.outbound.counted(), 0);
        self.shard.by_socket.remove(&(session.link, session.counter));
        self.shard.parked.remove(key);
        records::on_end(self, &session);
        sm::on_end(self, &session);
        if let Some(account) = self.account_mut(session.account) {
            account.sessions.retain(|other| *other != key);
            account.sessions.shrink_to_fit();
        }
        let account = session.account;
        self.event(Event::SessionEnded { jid: session.jid.as_str().to_owned(), reason });
        let mut questions = session.questions.unwrap_or_default();
        for entry in session.outbound.entries {
            match entry {
                Entry::Kept(held) if questions.has_answered(&held.stanza.view()) => {}
                Entry::Kept(held) => fate::meet(self, account, held),
                Entry::Logged(id) => fate::give_back(self, account, id, false),
                Entry::Gone => {}
            }
        }
        for held in session.outbound.held.into_iter().chain(session.outbound.later.into_iter().map(|(_, held)| held)) {
            if !questions.has_answered(&held.stanza.view()) {
                fate::meet(self, account, held);
            }
        }
        questions.give_up(self, session.jid.as_str());
        // What only this session was sent, or was to be sent, need not wait for a login where another one is there.
        if let Some(other) = fate::another(self, account) {
            crate::offline::read_again(self, other);
        }
    }

    /// What [`Cx::flush_settled`] waits for may have been sent.
    fn mark_goes_on(&mut self, key: SessionKey, sent: &Held) {
        if sent.is_refusal() {
            self.shard.dirty_sessions.push(key);
        }
    }

    /// End of a turn: one `Settled` per session that moved, one `LinkCredit` per link that is due. The mark does not pass
    /// a message whose refusal is held: should this core die, its edge sends the message again.
    pub fn flush_settled(&mut self) {
        for key in std::mem::take(&mut self.shard.dirty_sessions) {
            let Some(session) = self.session(key).filter(|session| session.inbound.dirty) else { continue };
            let window = self.shard.window(&session.inbound);
            let Some(session) = self.session_mut(key) else { continue };
            if session.outbound.held_refusals > 0 {
                continue; // See `mark_goes_on`.
            }
            session.inbound.dirty = false;
            let frame = Settled {
                counter: session.counter,
                generation: session.generation,
                number: session.inbound.settled(),
                credit: session.inbound.credit(window),
            };
            let link = session.link;
            self.out.frame(link, &ToEdge::Settled(frame));
        }
    }
}

/// Whether the session's own credit and its number of entries allow another.
pub fn has_credit(session: &Session, stanza: &SharedStanza, entries_max: usize) -> bool {
    session.outbound.sent_bytes.saturating_add(stanza.bytes().len() as u64) <= session.outbound.credit_bytes
        && session.outbound.entries.len() < entries_max
}

/// One frame of a fan-out as it fills.
struct Batch<'t> {
    link: LinkId,
    /// Of the targets' own addresses.
    bytes: usize,
    targets: Vec<Target<'t>>,
}

impl Batch<'_> {
    fn has_room(&self, bytes: usize) -> bool {
        self.targets.len() < MULTICAST_TARGETS_MAX
            && self.bytes.saturating_add(bytes) <= limits::MULTICAST_ADDRESS_BYTES_MAX
    }
}

/// How a session remembers a stanza until it is written.
fn kept(session: &Session, stanza: &SharedStanza, overlay: &Overlay<'_>, log: Option<LogId>) -> Held {
    Held { stanza: stanza.clone(), overlay: KeptOverlay::of(overlay, &session.jid), log }
}

/// Gives the stanza the session's next entry number and charges it.
fn number<'a>(session: &mut Session, stanza: &SharedStanza, overlay: &Overlay<'a>, log: Option<LogId>) -> Target<'a> {
    let entry = Entry::Kept(kept(session, stanza, overlay, log));
    let outbound = &mut session.outbound;
    outbound.last = outbound.last.saturating_add(1);
    outbound.log = outbound.log.max(log.unwrap_or(LogId(0)));
    outbound.sent_bytes = outbound.sent_bytes.saturating_add(stanza.bytes().len() as u64);
    outbound.entries.push_back(entry);
    Target { counter: session.counter, generation: session.generation, entry: outbound.last, overlay: *overlay }
}
