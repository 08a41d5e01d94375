//! One shard: everything it owns and its single door, [`Shard::handle`].
//!
//! Contract: one input, then drain every output, then the next input; after a batch of inputs one
//! [`Input::EndOfTurn`]. Answers may come late, repeated or never.

#![warn(clippy::wildcard_enum_match_arm)] // a new input or frame must be met

use crate::Now;
use crate::account::{AccountKey, Sent, Then};
use crate::accounts::Accounts;
use crate::attach;
use crate::bind;
use crate::capsule;
use crate::commands::{self, Call, ControlId};
use crate::cx::Cx;
use crate::derive::Derived;
use crate::domain::Domains;
use crate::drain;
use crate::edges;
use crate::held;
use crate::last_activity;
use crate::late::{self, Late};
use crate::limits;
use crate::link::{Link, LinkId};
use crate::login::{self, Login};
use crate::outputs::{DerivationId, Outputs};
use crate::presence::fanout::{self, Due};
use crate::questions;
use crate::random::Random;
use crate::records::{self, Before};
use crate::recovery::{self, Recovery};
use crate::register;
use crate::route::{Current, PeerMessage, bare};
use crate::sasl::attempts::Attempts;
use crate::session::{Origin, Session, SessionKey};
use crate::slab::Slab;
use crate::slots::{Slots, handover};
use crate::sm;
use crate::tally::{Prefix, Tally};
use crate::total::Total;
use hearth_storage::{Answered, EdgeRecord, EdgeRun, Health, QuestionId};
use hearth_wire::BareJid;
use hearth_wire::ids::{EdgeIncarnation, Generation, ShardIndex, Slot, SlotEpoch, SlotKey, StreamId};
use hearth_wire::stanza::StanzaType;
use hearth_wire::to_core::{StanzaIn, ToCore};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a shard is told at construction; of this only `clear_login` changes later.
#[derive(Clone, Debug)]
pub struct Settings {
    pub index: ShardIndex,
    pub shards: ShardIndex,
    pub slot_key: SlotKey,
    /// Behind fake salts and sealed records; stored.
    pub secret: [u8; 32],
    /// Epoch of this start, for every slot until it moves.
    pub epoch: SlotEpoch,
    /// Clear login is offered to edges that say their client is on loopback.
    pub clear_login: bool,
    pub limits: limits::Limits,
    /// The newest link version that is spoken: [`VERSION_MAX`](hearth_wire::to_core::VERSION_MAX), or the one before.
    pub link_version: u16,
    /// Edges that were linked to the core before this one.
    pub edges_before: Vec<EdgeRun>,
    /// Sessions of up to this epoch are of before the store was restored: [`Boot::restored`](hearth_storage::Boot).
    pub restored: SlotEpoch,
    /// Sessions of before this epoch that are not on record have ended: [`Boot::settled`](hearth_storage::Boot).
    pub settled: SlotEpoch,
}

/// What happens to a shard.
pub enum Input<'a> {
    /// A connection for this shard came; `Hello` follows.
    LinkUp(LinkId),
    /// The connection's key is bound to this edge's name, and `Hello` must say it. Comes right after `LinkUp`.
    LinkKey {
        link: LinkId,
        edge: Box<str>,
    },
    /// An operator's change of an edge's key is to be stored; answered as a command.
    PutEdge {
        id: ControlId,
        edge: EdgeRecord,
    },
    /// The edge's key was revoked: its links end now.
    EdgeRevoked {
        edge: Box<str>,
    },
    /// The connection ended. No frames of it follow.
    LinkDown(LinkId),
    /// A frame, and its bytes with prefix.
    Frame {
        link: LinkId,
        frame: ToCore<'a>,
        bytes: usize,
    },
    /// From another shard of this core.
    Peer {
        from: ShardIndex,
        message: PeerMessage,
    },
    Answer(Answered),
    /// Storage does otherwise than before: while it is not well, what needs the disk is refused at once,
    /// before it waits behind what is stuck there.
    Storage(Health),
    Derived {
        id: DerivationId,
        derived: Derived,
    },
    Control(Call),
    /// Gives a slot that this shard serves to another, in good order.
    MoveSlot {
        slot: Slot,
        to: ShardIndex,
    },
    /// Whoever leases slots says that this one is `shard`'s from now on, under this epoch, whatever its
    /// owner until now believes.
    SlotOwner {
        slot: Slot,
        epoch: SlotEpoch,
        shard: ShardIndex,
    },
    WakeUp,
    /// Nothing more is there to read: settle, restate credit, go on with what was put off.
    EndOfTurn,
    /// The core is about to stop: clients are told, and nobody new is bound.
    Drain,
    /// The core stops: what was put off is stored now.
    Stop,
}

/// What is done with derived keys.
pub type ThenDerived = Box<dyn FnOnce(&mut Cx<'_>, Derived) + Send>;

/// Counters for `hearthctl status`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub stanzas_in: u64,
    pub stanzas_out: u64,
    pub messages_logged: u64,
    /// Addresses that presence went to, and the most of one stanza.
    pub presence_recipients: u64,
    pub presence_recipients_most: u64,
}

/// The machine. Fields are its modules' to use through [`Cx`].
pub struct Shard {
    pub settings: Settings,
    pub random: Box<dyn Random + Send>,
    pub domains: Domains,
    pub slots: Slots,
    pub links: BTreeMap<LinkId, Link>,
    pub logins: BTreeMap<(LinkId, u64), Login>,
    /// Failures of late, so that nobody guesses for long.
    pub attempts: Attempts,
    /// Wrong passwords by PLAIN of late, by source.
    pub plain_failures: Tally<Prefix>,
    /// Accounts that are being made or re-keyed: one change at a time.
    pub rekeying: BTreeSet<BareJid>,
    /// Registrations of late, by source.
    pub registrations: Tally<Prefix>,
    /// The same, by domain.
    pub domain_registrations: Tally<Box<str>>,
    /// Searches of late, by who searched.
    pub searches: Tally<BareJid>,
    /// Requests for presence of late, by who asked.
    pub subscriptions: Tally<BareJid>,
    /// Serial number of the next SASL exchange.
    pub next_attempt: u64,
    pub accounts: Accounts,
    pub sessions: Slab<Session>,
    /// Sessions without a socket.
    pub parked: sm::Parked,
    /// Sessions that could have been resumed and ended.
    pub ended: sm::Ended,
    /// Sessions whose resumption waits until their stanzas are settled.
    pub resuming: Vec<SessionKey>,
    /// When questions of sessions are answered for, `Now::mono_ms`.
    pub questions_due: BTreeSet<(u64, SessionKey)>,
    pub capsules_due: Vec<SessionKey>,
    /// Sessions of which storage knows too little, and those it need not know of any more.
    pub records_due: BTreeSet<SessionKey>,
    pub records_gone: VecDeque<(BareJid, StreamId)>,
    /// Sessions of the core before this one that nobody returned, and how many of them are being ended.
    pub not_returned: VecDeque<Before>,
    /// All those whom no edge returned in time: should one come with them later, they have ended.
    pub too_late: BTreeSet<StreamId>,
    /// Hashes of the full JIDs of sessions restored from their records: when such a one ends, its contacts hear that the
    /// resource is gone, so that no other session of it may then come back unheard.
    pub told_gone: BTreeSet<u64>,
    pub burying: usize,
    /// Edges on record as linked; kept by the first shard.
    pub edge_runs: BTreeMap<Box<str>, EdgeIncarnation>,
    /// `None` once every session of the core before this one is adopted or given up.
    pub recovery: Option<Box<Recovery>>,
    pub by_socket: hashbrown::HashMap<(LinkId, u64), SessionKey, foldhash::fast::FixedState>,
    pub questions: BTreeMap<QuestionId, Then>,
    pub next_question: QuestionId,
    pub derivations: BTreeMap<DerivationId, ThenDerived>,
    pub next_derivation: DerivationId,
    pub generations: u64,
    /// The client stanza being handled.
    pub current: Option<Current>,
    /// The client stanza that goes on now that something was read for it.
    pub executing: Option<Origin>,
    /// Sessions with a `Settled` due, links with a `LinkCredit` due.
    pub dirty_sessions: Vec<SessionKey>,
    pub dirty_links: Vec<LinkId>,
    /// What clients sent and is not settled.
    pub under_way: Total,
    /// What is held for sessions ([`held`]).
    pub held: Total,
    /// Bytes under way to each other shard; bytes of each handled and not yet told.
    outbox_bytes: Vec<u64>,
    handled_bytes: Vec<u64>,
    /// Dead links whose sessions are being closed, with the cursor.
    pub closing: VecDeque<(LinkId, u32)>,
    /// Sessions of closed sockets that ended in this turn already.
    pub closed_in_turn: usize,
    /// Set once the core is about to stop: the next place whose session is to be told.
    pub draining: Option<u32>,
    /// Sessions whose sockets are closed, to end when other shards have room for what that means.
    pub ending: VecDeque<(SessionKey, Generation, &'static str)>,
    /// Broadcasts that wait for room in another shard's outbox: the last one of each session.
    pub presence_due: BTreeMap<(ShardIndex, SessionKey), Due>,
    /// Sessions for which the log could not be read: tried again with the next sweep.
    pub unread: Vec<SessionKey>,
    /// How storage does, as this shard was told last.
    pub storage: Health,
    next_sweep_ms: u64,
    pub late: Late,
    pub stats: Stats,
}

impl Shard {
    /// `sessions_before`: those on record, of whichever shard's slots.
    pub fn new(
        settings: Settings,
        domains: Domains,
        sessions_before: &[Before],
        mut random: Box<dyn Random + Send>,
    ) -> Shard {
        let mut seed = [0; 8];
        random.fill_bytes(&mut seed);
        let shards = usize::from(settings.shards);
        let slots = Slots::new(settings.shards, settings.epoch);
        let ours = |(account, _): &&Before| slots.owner(settings.slot_key.slot(account.as_str())) == settings.index;
        let before = sessions_before.iter().filter(ours).cloned().collect();
        Shard {
            accounts: Accounts::new(u64::from_le_bytes(seed)),
            slots,
            random,
            domains,
            links: BTreeMap::new(),
            logins: BTreeMap::new(),
            attempts: Attempts::new(),
            plain_failures: Tally::new(login::PLAIN_BOUNDS),
            rekeying: BTreeSet::new(),
            registrations: Tally::new(crate::register::BOUNDS),
            domain_registrations: Tally::new(crate::register::BOUNDS),
            searches: Tally::new(crate::search::BOUNDS),
            subscriptions: Tally::new(crate::subscription::BOUNDS),
            next_attempt: 0,
            sessions: Slab::default(),
            parked: sm::Parked::default(),
            ended: sm::Ended::default(),
            resuming: Vec::new(),
            questions_due: BTreeSet::new(),
            capsules_due: Vec::new(),
            records_due: BTreeSet::new(),
            records_gone: VecDeque::new(),
            not_returned: VecDeque::new(),
            too_late: BTreeSet::new(),
            told_gone: BTreeSet::new(),
            burying: 0,
            edge_runs: settings.edges_before.iter().map(|run| (run.edge.as_str().into(), run.incarnation)).collect(),
            recovery: Recovery::of(&settings.edges_before, before),
            by_socket: hashbrown::HashMap::default(),
            questions: BTreeMap::new(),
            next_question: 1,
            derivations: BTreeMap::new(),
            next_derivation: 1,
            generations: 0,
            current: None,
            executing: None,
            dirty_sessions: Vec::new(),
            dirty_links: Vec::new(),
            under_way: Total::default(),
            held: Total::default(),
            outbox_bytes: vec![0; shards],
            handled_bytes: vec![0; shards],
            closing: VecDeque::new(),
            closed_in_turn: 0,
            draining: None,
            ending: VecDeque::new(),
            presence_due: BTreeMap::new(),
            unread: Vec::new(),
            storage: Health::default(),
            next_sweep_ms: 0,
            late: Late::default(),
            stats: Stats::default(),
            settings,
        }
    }

    /// The single door.
    pub fn handle(&mut self, input: Input<'_>, now: Now, out: &mut Outputs) {
        let mut cx = Cx { shard: self, out, now };
        match input {
            Input::LinkUp(link) => edges::on_up(&mut cx, link),
            Input::LinkKey { link, edge } => edges::on_key(&mut cx, link, edge),
            Input::PutEdge { id, edge } => commands::edge::store(&mut cx, id, edge),
            Input::EdgeRevoked { edge } => edges::on_revoked(&mut cx, &edge),
            Input::LinkDown(link) => edges::on_down(&mut cx, link),
            Input::Frame { link, frame, bytes } => on_frame(&mut cx, link, &frame, bytes),
            Input::Peer { from, message } => {
                if let Some(message) = recovery::hold_peer(&mut cx, from, message) {
                    on_peer(&mut cx, from, message);
                }
            }
            Input::Answer(Answered { id, answer }) => cx.answered(id, answer),
            Input::Storage(health) => cx.shard.storage = health,
            Input::Derived { id, derived } => {
                if let Some(then) = cx.shard.derivations.remove(&id) {
                    then(&mut cx, derived);
                }
            }
            Input::Control(call) => commands::on_call(&mut cx, call),
            Input::MoveSlot { slot, to } => handover::on_move(&mut cx, slot, to),
            Input::SlotOwner { slot, epoch, shard } => handover::on_owner(&mut cx, slot, epoch, shard, true),
            Input::WakeUp => {}
            Input::EndOfTurn => end_of_turn(&mut cx),
            Input::Drain => drain::begin(&mut cx),
            Input::Stop => {
                for key in cx.shard.accounts.sweep(usize::MAX).0 {
                    last_activity::on_stop(&mut cx, key);
                    // What is being stored already is older.
                    if let Some(account) = cx.account_mut(key) {
                        account.storing_late = false;
                    }
                    late::store(&mut cx, key, |_| {});
                }
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// Who owns the slot of a bare address.
    pub fn owner(&self, entity: &str) -> ShardIndex {
        self.slot_owner(self.settings.slot_key.slot(entity))
    }

    /// Who owns a slot.
    pub fn slot_owner(&self, slot: Slot) -> ShardIndex {
        self.slots.owner(slot)
    }

    /// Whether a request of so many bytes may still go to another shard.
    pub fn outbox_has_room(&self, shard: ShardIndex, bytes: u64) -> bool {
        self.outbox_bytes.get(usize::from(shard)).is_some_and(|under_way| {
            *under_way == 0 || under_way.saturating_add(bytes) <= self.settings.limits.outbox_bytes
        })
    }

    /// Whether work that nobody waits for may go on: every outbox is at most half full.
    pub fn outboxes_calm(&self) -> bool {
        self.outbox_bytes.iter().all(|bytes| *bytes <= self.settings.limits.outbox_bytes / 2)
    }

    /// Whether work that nobody waits for, of which `done` pieces were done in this turn, may go on: other shards have room, and
    /// no edge is far behind, but for one piece a turn.
    pub fn may_go_on(&self, done: usize) -> bool {
        self.outboxes_calm() && (done == 0 || self.links.values().all(Link::is_calm))
    }

    /// Bytes that the other shards have not handled.
    pub fn outbox_bytes(&self) -> u64 {
        self.outbox_bytes.iter().copied().fold(0, u64::saturating_add)
    }

    /// Whether the other shards have handled all that was sent to them.
    pub fn outboxes_empty(&self) -> bool {
        self.outbox_bytes.iter().all(|bytes| *bytes == 0)
    }

    pub fn charge_outbox(&mut self, shard: ShardIndex, bytes: u64) {
        if let Some(under_way) = self.outbox_bytes.get_mut(usize::from(shard)) {
            *under_way = under_way.saturating_add(bytes);
        }
    }

    fn check_invariants(&self) -> bool {
        (self.current.is_none() && self.executing.is_none())
            && self.by_socket.len().saturating_add(self.parked.len()) == self.sessions.len()
    }
}

/// A frame of an edge.
pub fn on_frame(cx: &mut Cx<'_>, link: LinkId, frame: &ToCore<'_>, bytes: usize) {
    if !cx.shard.links.get(&link).is_some_and(|link| link.up) {
        return; // Refused, and not closed yet.
    }
    if let ToCore::Hello(hello) = frame {
        return edges::on_hello(cx, link, hello);
    }
    if !cx.shard.links.get(&link).is_some_and(|link| link.greeted) {
        return edges::refuse(cx, link, "the first frame must be Hello");
    }
    if edges::is_for_a_taken_socket(cx, link, frame) {
        return edges::refuse(cx, link, "a login on a socket that has a session");
    }
    if cx.shard.recovery.is_some() && recovery::hold_frame(cx, link, frame, bytes) {
        return;
    }
    match frame {
        ToCore::Hello(_) | ToCore::Heartbeat(_) => {}
        ToCore::Echo(echo) => edges::on_echo(cx, link, *echo),
        ToCore::LinkCredit(credit) => edges::on_credit(cx, link, credit.bytes),
        ToCore::Authenticate(frame) => login::on_authenticate(cx, link, frame),
        ToCore::AuthenticateInline(frame) => login::on_authenticate_inline(cx, link, frame),
        ToCore::Certificate(frame) => edges::on_certificate(cx, link, frame),
        ToCore::AuthResponse(frame) => login::on_response(cx, link, frame),
        ToCore::AuthAbort(frame) => login::on_abort(cx, link, frame.counter),
        ToCore::PreAuthIq(frame) => register::on_pre_auth_iq(cx, link, frame),
        ToCore::Bind(frame) => bind::on_bind(cx, link, frame),
        ToCore::Stanza(frame) => on_stanza(cx, link, frame, bytes, false),
        ToCore::StanzaAgain(frame) => on_stanza(cx, link, frame, bytes, true),
        ToCore::Written(frame) => {
            let Some(key) = cx.shard.by_socket.get(&(link, frame.counter)).copied() else { return };
            if cx.session_at(key, frame.generation).is_some() {
                cx.on_written(key, frame.entry, frame.credit);
            }
        }
        ToCore::Closed(frame) => {
            login::on_closed(cx, link, frame.counter);
            if let Some(key) = cx.shard.by_socket.get(&(link, frame.counter)).copied() {
                edges::on_socket_closed(cx, key, frame.clean);
            }
        }
        ToCore::SmEnable(frame) => sm::on_enable(cx, link, frame),
        ToCore::Resume(frame) => sm::on_resume(cx, link, frame),
        ToCore::Attach(frame) => attach::on_attach(cx, link, frame),
        ToCore::AllSent(_) => attach::on_all_sent(cx, link),
        ToCore::OpenQuestions(frame) => questions::on_open(cx, link, frame),
        ToCore::Recent(frame) => attach::on_recent(cx, link, frame),
        ToCore::Drained(frame) => {
            if let Some(link) = cx.shard.links.get_mut(&link) {
                link.draining = frame.draining;
            }
        }
    }
}

fn on_stanza(cx: &mut Cx<'_>, link: LinkId, frame: &StanzaIn<'_>, bytes: usize, again: bool) {
    if !edges::on_received(cx, link, bytes) || drain::leaves_to_the_next(cx, link) {
        return;
    }
    let Some(key) = cx.shard.by_socket.get(&(link, frame.counter)).copied() else { return };
    let bytes = u32::try_from(frame.stanza.len()).unwrap_or(u32::MAX);
    let window = cx.shard.settings.limits.session_window_bytes;
    if !cx.session_at(key, frame.generation).is_none_or(|session| session.inbound.take(bytes, window)) {
        return edges::refuse(cx, link, "more bytes than a session's credit");
    }
    let sent = Sent { number: frame.number, fault: frame.fault, bytes, again };
    cx.from_session(key, frame.generation, sent, frame.stanza);
}

/// A message of another shard.
pub fn on_peer(cx: &mut Cx<'_>, from: ShardIndex, message: PeerMessage) {
    let bytes = message.bytes();
    if let Some(handled) = cx.shard.handled_bytes.get_mut(usize::from(from)) {
        *handled = handled.saturating_add(bytes);
    }
    match message {
        PeerMessage::Route { stanza, origin, hops } => {
            // Of a session that is no more. What it was asked it was asked before, and nobody else will answer.
            let is_old = origin.is_some_and(|origin| handover::is_old(cx, origin.slot, origin.generation.epoch));
            if is_old && !questions::is_answer(&stanza.view()) {
                return;
            }
            if hops == 0 { cx.inbound(stanza, origin) } else { handover::on_forwarded(cx, stanza, origin, hops) }
        }
        PeerMessage::Presence { stanza, recipients, epoch } => {
            let view = stanza.view();
            let slot =
                view.from.filter(|_| cx.shard.slots.moved()).map(|from| cx.shard.settings.slot_key.slot(bare(from)));
            // Whoever was told that a session is there must hear that it is not.
            if view.ty != StanzaType::Available || !slot.is_some_and(|slot| handover::is_old(cx, slot, epoch)) {
                fanout::receive(cx, from, &stanza, &recipients);
            }
        }
        PeerMessage::Presences { to, presences } => fanout::deliver_answers(cx, &to, &presences),
        PeerMessage::Answer { origin, answer } => cx.answer(origin, answer),
        PeerMessage::Settled { origin } => cx.settle(Some(origin)),
        PeerMessage::SlotOwner { slot, epoch, shard } => handover::on_told(cx, from, slot, epoch, shard),
        PeerMessage::SlotHeard { slot, epoch } => handover::on_heard(cx, from, slot, epoch),
        PeerMessage::SlotYielded { slot, epoch } => handover::on_yielded(cx, slot, epoch),
        PeerMessage::Room { bytes } => {
            if let Some(under_way) = cx.shard.outbox_bytes.get_mut(usize::from(from)) {
                *under_way = under_way.saturating_sub(bytes);
            }
        }
    }
}

fn end_of_turn(cx: &mut Cx<'_>) {
    recovery::advance(cx);
    edges::expire_lost(cx);
    edges::close_some(cx);
    records::bury_some(cx);
    sm::advance(cx);
    sm::expire(cx);
    questions::expire(cx);
    drain::tell_some(cx);
    fanout::send_due(cx);
    if cx.shard.slots.busy() {
        handover::advance(cx);
    }
    held::shed(cx);
    capsule::flush(cx);
    cx.flush_settled();
    edges::flush_credit(cx);
    for index in 0..cx.shard.settings.shards {
        let handled = cx.shard.handled_bytes.get_mut(usize::from(index)).map_or(0, std::mem::take);
        if handled > 0 {
            cx.out.peer(index, PeerMessage::Room { bytes: handled });
        }
    }
    let now_ms = cx.now.mono_ms;
    if now_ms >= cx.shard.next_sweep_ms {
        cx.shard.next_sweep_ms = now_ms.saturating_add(limits::SWEEP_MS);
        cx.sweep();
    }
    if !cx.shard.accounts.is_empty() {
        cx.out.wake_at(cx.shard.next_sweep_ms);
    }
    late::advance(cx);
}

/// An account pinned in memory by a login.
pub fn pin(cx: &mut Cx<'_>, key: AccountKey) {
    if let Some(account) = cx.account_mut(key) {
        account.pins = account.pins.saturating_add(1);
    }
}
