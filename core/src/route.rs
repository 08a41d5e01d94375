//! Who gets a stanza: out of the sender's session, to the recipient's shard, into the account.
//! Two stops at most; the second may be this shard.

use crate::account::{Account, AccountKey, Pending, Sent, State, Work};
use crate::cx::Cx;
use crate::presence::fanout::Recipients;
use crate::session::{Origin, SessionKey};
use crate::slots::handover;
use crate::subscription::state::Action;
use crate::{blocking, executed, iq, message, owned, presence, questions, reply};
use hearth_wire::ids::{Generation, ShardIndex, Slot, SlotEpoch};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaFault, StanzaKind, StanzaType};
use hearth_wire::{BareJid, StanzaCondition, StreamCondition, jid};

/// What one shard tells another.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// A stanza whose recipient lives there.
    /// `hops`: how often it was sent on since its slot moved.
    Route {
        stanza: SharedStanza,
        origin: Option<Origin>,
        hops: u8,
    },
    /// Presence of a session for accounts that live there, and probes on its behalf. `epoch` is that of the
    /// session's slot.
    Presence {
        stanza: SharedStanza,
        recipients: Recipients,
        epoch: SlotEpoch,
    },
    /// What probes of the session `to` found.
    Presences {
        to: Box<str>,
        presences: Vec<SharedStanza>,
    },
    /// The answer to a stanza of one of its sessions, which is settled with it.
    Answer {
        origin: Origin,
        answer: SharedStanza,
    },
    /// An effect of a stanza of one of its sessions is done.
    Settled {
        origin: Origin,
    },
    /// The sender gave up this slot: see `slots/handover.rs`. Answered with [`PeerMessage::SlotHeard`].
    SlotOwner {
        slot: Slot,
        epoch: SlotEpoch,
        shard: ShardIndex,
    },
    SlotHeard {
        slot: Slot,
        epoch: SlotEpoch,
    },
    /// To the slot's new owner: there is nothing more of it.
    SlotYielded {
        slot: Slot,
        epoch: SlotEpoch,
    },
    /// The receiver handled this many bytes: they may be sent again.
    Room {
        bytes: u64,
    },
}

impl PeerMessage {
    /// What the message is charged against [`crate::limits::OUTBOX_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        match self {
            PeerMessage::Route { stanza, .. } => PeerMessage::route_bytes(stanza),
            PeerMessage::Presence { stanza, recipients, .. } => {
                (stanza.bytes().len() as u64).saturating_add(recipients.bytes() as u64).saturating_add(64)
            }
            // The stanzas are the sessions' own, shared by reference.
            PeerMessage::Presences { to, presences } => {
                (to.len() as u64).saturating_add(16_u64.saturating_mul(presences.len() as u64)).saturating_add(64)
            }
            PeerMessage::Answer { answer, .. } => (answer.bytes().len() as u64).saturating_add(64),
            PeerMessage::Settled { .. }
            | PeerMessage::SlotOwner { .. }
            | PeerMessage::SlotHeard { .. }
            | PeerMessage::SlotYielded { .. } => 64,
            PeerMessage::Room { .. } => 0,
        }
    }

    /// The same for a [`PeerMessage::Route`] of this stanza.
    pub fn route_bytes(stanza: &SharedStanza) -> u64 {
        (stanza.bytes().len() as u64).saturating_add(64)
    }
}

/// The client stanza being handled, and how many of its effects went elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    pub origin: Origin,
    pub parts: u16,
}

/// The bare address of a prepared one.
pub fn bare(address: &str) -> &str {
    address.split_once('/').map_or(address, |(bare, _)| bare)
}

impl Cx<'_> {
    /// First stop: a stanza of one of this shard's sessions.
    pub fn from_session(&mut self, key: SessionKey, generation: Generation, from: Sent, encoded: &[u8]) {
        let Sent { number, fault, bytes, again } = from;
        let index = self.shard.settings.index;
        let Some(session) = self.session_at(key, generation) else { return };
        let (account, stream, received) = (session.account, session.stream, session.inbound.received());
        let again = again || session.earlier.as_ref().is_some_and(|earlier| number <= earlier.again_until);
        let known = self.account(account).filter(|account| account.moved.is_none());
        let Some((state, slot)) = known.map(|account| (account.state, account.slot)) else {
            // Its stream is being closed, and the stanza stays unsettled.
            return;
        };
        if state != State::Ready {
            let stanza = encoded.to_vec();
            self.shard.change_inbound(key, |inbound| inbound.waits(bytes));
            self.enqueue(account, Work::FromSession { session: key, generation, from, stanza });
            return;
        }
        if number != received.saturating_add(1) {
            if number > received {
                self.close_session(key, Some(StreamCondition::InternalServerError), "stanza number out of order");
            }
            return;
        }
        self.shard.stats.stanzas_in = self.shard.stats.stanzas_in.wrapping_add(1);
        let decoded = Stanza::decode(encoded);
        let hash = match (&decoded, self.session(key)) {
            (Ok(stanza), Some(session)) => executed::hash(session.jid.bare_str(), stanza, encoded),
            _ => [0; 4],
        };
        let origin = Origin { shard: index, slot, session: key, generation, stream, number, again, hash };
        self.shard.current = Some(Current { origin, parts: 0 });
        match decoded {
            Ok(stanza) if stanza.validate().is_ok() && is_prepared(stanza.to) => {
                self.outbound(key, stanza, fault);
            }
            Ok(_) | Err(_) => self.close_session(key, Some(StreamCondition::InternalServerError), "broken stanza"),
        }
        let parts = self.shard.current.take().map_or(0, |current| current.parts);
        if self.session_at(key, generation).is_some() {
            // The order was checked above.
            let handled = self.shard.change_inbound(key, |inbound| inbound.handled(number, bytes, parts));
            debug_assert!(handled.is_some_and(|handled| handled.is_ok()));
        }
    }

    /// Stamps `from` and hands the stanza to the rules of its kind.
    fn outbound(&mut self, key: SessionKey, stanza: Stanza<'_>, fault: Option<StanzaFault>) {
        let Some(jid) = self.session(key).map(|session| session.jid.clone()) else { return };
        let stanza = Stanza { from: Some(jid.as_str()), ..stanza };
        let condition = match fault {
            Some(StanzaFault::JidMalformed) => Some(StanzaCondition::JidMalformed),
            Some(StanzaFault::BadRequest) => Some(StanzaCondition::BadRequest),
            Some(StanzaFault::Answered) => return,
            None if stanza.ty == StanzaType::Unknown => Some(StanzaCondition::BadRequest),
            None => None,
        };
        if let Some(condition) = condition.or_else(|| owned::refuses(&stanza)) {
            self.refuse_to(key, &stanza, condition);
            return;
        }
        let stripped = owned::strip(&self.shard.domains, &stanza);
        let stanza = Stanza { payload: stripped.as_deref().unwrap_or(stanza.payload), ..stanza };
        if blocking::stops_outbound(self, key, &stanza) || executed::again(self, key, &stanza) {
            return;
        }
        match stanza.kind {
            StanzaKind::Message => message::outbound(self, key, &stanza),
            StanzaKind::Presence => presence::outbound(self, key, &stanza),
            StanzaKind::Iq => iq::outbound(self, key, &stanza),
        }
    }

    /// Answers a stanza of one of this shard's own sessions with an error.
    pub fn refuse_to(&mut self, key: SessionKey, stanza: &Stanza<'_>, condition: StanzaCondition) {
        if let Some(error) = reply::error(stanza, condition, None) {
            self.deliver(key, &error, &Overlay::default(), None);
        }
    }

    /// Answers a stanza with an error wherever its sender is, and settles it. Presence is not
    /// answered: RFC 6121 §8.5 ignores what cannot be delivered; but a subscription stanza that
    /// there was no room for may be sent again, and its sender should know.
    pub fn refuse(&mut self, stanza: &SharedStanza, origin: Option<Origin>, condition: StanzaCondition) {
        let view = stanza.view();
        let error = match view.kind {
            StanzaKind::Presence
                if condition != StanzaCondition::ResourceConstraint || Action::of(view.ty).is_none() =>
            {
                None
            }
            StanzaKind::Presence | StanzaKind::Message | StanzaKind::Iq => reply::error(&view, condition, None),
        };
        match (error, origin) {
            (Some(error), Some(origin)) => self.answer(origin, error),
            (Some(error), None) => self.route(error, None),
            (None, origin) => self.settle(origin),
        }
    }

    /// Answers the client stanza that `origin` names and settles it. The answer goes past whatever its
    /// account waits for: it must stand in the session's outbound list before the mark covers it.
    pub fn answer(&mut self, origin: Origin, answer: SharedStanza) {
        if origin.shard != self.shard.settings.index {
            return self.send_peer(origin.shard, PeerMessage::Answer { origin, answer });
        }
        if self.session_of_origin(&origin).is_some() {
            self.deliver(origin.session, &answer, &Overlay::default(), None);
        }
        self.settle(Some(origin));
    }

    /// To the shard that owns the recipient. Outcome is always a settled origin, sooner or later.
    pub fn route(&mut self, stanza: SharedStanza, origin: Option<Origin>) {
        let Some(to) = stanza.view().to else {
            self.settle(origin);
            return;
        };
        let (localpart, domainpart, _) = jid::split(to);
        if !self.shard.domains.contains(domainpart) {
            self.refuse(&stanza, origin, StanzaCondition::RemoteServerNotFound);
            return;
        }
        if localpart.is_none() {
            // The server itself asks nothing, so nothing is answered to it.
            self.settle(origin);
            return;
        }
        let slot = self.shard.settings.slot_key.slot(bare(to));
        let owner = self.shard.slots.owner(slot);
        if owner == self.shard.settings.index {
            self.inbound(stanza, origin);
        } else if self.shard.slots.busy() && self.shard.slots.giving_mut(slot).is_some() {
            handover::keep(self, slot, stanza, origin, 0);
        } else {
            self.relay(owner, stanza, origin, 0);
        }
    }

    /// Sends a stanza to the shard of its recipient, if there is room. What answers another needs none: it is
    /// bounded by its sender's credit, and refusing it would leave a question open.
    pub fn relay(&mut self, owner: ShardIndex, stanza: SharedStanza, origin: Option<Origin>, hops: u8) {
        let answers = matches!(stanza.view().ty, StanzaType::Result | StanzaType::Error);
        let message = PeerMessage::Route { stanza, origin, hops };
        if answers || self.shard.outbox_has_room(owner, message.bytes()) {
            self.send_peer(owner, message);
        } else if let PeerMessage::Route { stanza, origin, .. } = message {
            self.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
        }
    }

    /// Sends to another shard, charging its outbox. Answers and settlements use the reserve above
    /// the limit that requests were refused at.
    pub fn send_peer(&mut self, shard: ShardIndex, message: PeerMessage) {
        self.shard.charge_outbox(shard, message.bytes());
        self.out.peer(shard, message);
    }

    /// Second stop: a stanza for an account of this shard.
    pub fn inbound(&mut self, stanza: SharedStanza, origin: Option<Origin>) {
        if self.shard.slots.busy() {
            if let Some((stanza, origin)) = handover::divert(self, stanza, origin) {
                self.second_stop(stanza, origin);
            }
        } else {
            self.second_stop(stanza, origin);
        }
    }

    /// The same, whatever move of its slot is under way.
    pub fn second_stop(&mut self, stanza: SharedStanza, origin: Option<Origin>) {
        let view = stanza.view();
        let Some(to) = view.to.map(bare) else {
            self.settle(origin);
            return;
        };
        match self.shard.accounts.find(to) {
            Some(key) if self.may_pass(key, &view) => self.inbound_ready(key, stanza, origin),
            Some(key) => self.enqueue(key, Work::Inbound { stanza, origin }),
            None if self.shard.slots.moved() && self.shard.owner(to) != self.shard.settings.index => {
                let slot = self.shard.settings.slot_key.slot(to);
                handover::keep(self, slot, stanza, origin, 0);
            }
            None if needs_nobody(&view) => self.settle(origin),
            None => {
                let Ok(jid) = BareJid::parse(to) else {
                    self.refuse(&stanza, origin, StanzaCondition::JidMalformed);
                    return;
                };
                let key = self.load(&jid);
                self.enqueue(key, Work::Inbound { stanza, origin });
            }
        }
    }

    /// Whether a stanza need not wait for the account: it is ready and nothing waits already, for
    /// while what waited is being dealt with, an answer to it must not overtake the rest. What the
    /// account's own sessions sent has its place in that order and keeps it.
    fn may_pass(&self, key: AccountKey, stanza: &Stanza<'_>) -> bool {
        self.account(key).is_some_and(|account| {
            account.state == State::Ready
                && (account.queue.is_empty() || stanza.from.map(bare) == Some(account.jid.as_str()))
        })
    }

    /// A stanza for an account that is ready: behind what waits for the log, if anything does and there is room.
    pub fn inbound_ready(&mut self, key: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
        let most = self.shard.settings.limits.pending;
        let Some(account) = self.account_mut(key) else { return };
        if account.log.pending.is_empty() || message::logged(&stanza) {
            self.dispatch(key, stanza, origin);
        } else if account.log.pending.len() < most {
            let settled = origin.filter(|_| nothing_is_kept_of(&stanza.view()));
            let origin = origin.filter(|_| settled.is_none());
            account.log.pending.push_back(Pending::Stanza { stanza, origin });
            self.settle(settled);
        } else {
            self.no_room(key, stanza, origin);
        }
    }

    /// Too much waits for the account already. An answer goes past it, for refusing it would leave its question open.
    pub fn no_room(&mut self, key: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
        if questions::is_answer(&stanza.view()) {
            self.dispatch(key, stanza, origin);
        } else {
            self.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
        }
    }

    /// Inbound rules by kind.
    pub fn dispatch(&mut self, key: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
        if blocking::stops_inbound(self, key, &stanza, origin) {
            return;
        }
        match stanza.view().kind {
            StanzaKind::Message => message::inbound(self, key, stanza, origin),
            StanzaKind::Presence => presence::inbound(self, key, stanza, origin),
            StanzaKind::Iq => iq::inbound(self, key, stanza, origin),
        }
    }

    /// The account, if it is in memory and ready.
    pub fn ready_account(&self, jid: &str) -> Option<(AccountKey, &Account)> {
        let key = self.shard.accounts.find(jid)?;
        self.account(key).filter(|account| account.state == State::Ready).map(|account| (key, account))
    }
}

/// RFC 7622: whatever an edge says, no other form of an address than the one is looked up, stored or answered.
fn is_prepared(to: Option<&str>) -> bool {
    to.is_none_or(|to| jid::prepare(to).is_ok_and(|prepared| prepared == to))
}

/// Needs nothing durable and no answer: accepted is settled, whatever it stands behind.
fn nothing_is_kept_of(stanza: &Stanza<'_>) -> bool {
    match stanza.kind {
        StanzaKind::Message => true,
        StanzaKind::Presence => Action::of(stanza.ty).is_none(),
        StanzaKind::Iq => false,
    }
}

/// What is dropped, not loaded for, when its account is not in memory: nobody is online to have it.
fn needs_nobody(stanza: &Stanza<'_>) -> bool {
    match stanza.kind {
        StanzaKind::Presence => {
            matches!(stanza.ty, StanzaType::Available | StanzaType::Unavailable | StanzaType::Error)
        }
        StanzaKind::Iq => matches!(stanza.ty, StanzaType::Result | StanzaType::Error),
        StanzaKind::Message => stanza.ty == StanzaType::Error,
    }
}
