//! The world around the machines: lanes, choices, faults.

use super::check::{Messages, Rule};
use super::client::{Client, Life};
use super::edge::EdgeLoop;
use super::{Options, Trace};
use hearth_core::Now;
use hearth_core::derive::Task;
use hearth_core::domain::Domains;
use hearth_core::limits::Limits;
use hearth_core::link::LinkId;
use hearth_core::outputs::{DerivationId, Outputs};
use hearth_core::random::SeededRandom;
use hearth_core::route::PeerMessage;
use hearth_core::sasl::crypto::{Hash, Secret};
use hearth_core::shard::{Input, Settings, Shard};
use hearth_storage::{
    Answer, Answered, Ask, Boot, Change, Credentials, DomainRecord, Question, Refusal, Storage, StoreError,
};
use hearth_wire::BareJid;
use hearth_wire::codec;
use hearth_wire::ids::{ShardIndex, Slot, SlotEpoch, SlotKey};
use hearth_wire::stanza::{StanzaKind, StanzaType};
use hearth_wire::to_core::{Attach, Bind, Resume, ToCore, VERSION_MAX, Written};
use hearth_wire::to_edge::ToEdge;
use std::collections::{BTreeMap, VecDeque};

/// Channels of size 1: what each limit must at least hold is said at [`Limits`]. No stanza of this world has
/// more than 500 bytes.
const TIGHT: Limits = Limits {
    outbox_bytes: 1,
    session_window_bytes: 512,
    link_window_bytes: 1_500,
    held_bytes: 4_000,
    entries: 4,
    account_queue: 8,
    pending: 4,
    flush_page: 1,
    closes_per_turn: 1,
};

/// As [`TIGHT`], of what an edge takes: a frame may carry a stanza for many sessions.
const EDGE_WINDOW_TIGHT: u64 = 8 * 1024;

/// What a session of a tight world may be sent, and what the edge that ships would allow it.
const SESSION_CREDIT_TIGHT: u64 = 1_000;
const SESSION_CREDIT: u64 = hearth_connmgr::limits::SESSION_WINDOW_BYTES;

/// Questions that wait for one thread of storage in a tight world; more are refused as busy.
const QUESTIONS_TIGHT: usize = 2;

/// Something under way.
enum Item {
    ToShard {
        edge: usize,
        shard: usize,
        link: u16,
        bytes: Vec<u8>,
    },
    ToEdge {
        edge: usize,
        shard: usize,
        link: u16,
        bytes: Vec<u8>,
    },
    LinkDown {
        shard: usize,
        link: u16,
    },
    /// A slot was leased to another shard, and this one hears of it.
    Leased {
        shard: usize,
        slot: Slot,
        epoch: SlotEpoch,
        to: ShardIndex,
    },
    Peer {
        from: usize,
        to: usize,
        message: PeerMessage,
    },
    Question {
        shard: usize,
        question: Question,
    },
    Answer {
        shard: usize,
        answered: Answered,
    },
    Derive {
        shard: usize,
        id: DerivationId,
        task: Task,
    },
}

/// First in, first out within a lane; any order between lanes.
type Lane = (u8, usize, usize);

pub(super) struct World {
    options: Options,
    random: SeededRandom,
    now: Now,
    shards: Vec<Shard>,
    /// Shards with inputs since their last end of a turn.
    in_turn: Vec<bool>,
    out: Outputs,
    storage: Storage,
    edges: Vec<EdgeLoop>,
    /// Number of the link between an event loop and a shard; counts up at each redial.
    links: BTreeMap<(usize, usize), u16>,
    next_link: u16,
    lanes: BTreeMap<Lane, VecDeque<Item>>,
    /// What comes only when its time has come, `Now::mono_ms`.
    late: Vec<(u64, Lane, Item)>,
    clients: Vec<Client>,
    messages: Messages,
    next_message: u64,
    next_session: u64,
    slot_key: SlotKey,
    /// Epoch of the last lease: far above what orderly moves count up to.
    leased: SlotEpoch,
    /// Storage answers `Failed` to reads.
    unreadable: bool,
    /// Storage answers `Failed` to writes and appends.
    failing: bool,
    trace: Trace,
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> World {
        let mut random = SeededRandom::new(seed);
        let (storage, boot) = Storage::memory().unwrap_or_else(|error| unreachable!("memory store: {error}"));
        make_accounts(&storage, &boot, options.users);
        let domain = DomainRecord::new("example.org");
        let shards = (0..options.shards).map(|index| {
            let settings = Settings {
                index,
                shards: options.shards,
                slot_key: boot.slot_key,
                secret: boot.secret,
                epoch: boot.epoch,
                clear_login: true,
                limits: if options.tight { TIGHT } else { Limits::default() },
                link_version: VERSION_MAX,
                edges_before: Vec::new(),
                restored: 0,
            };
            let random = SeededRandom::new(random.next_u64());
            Shard::new(settings, Domains::new(vec![domain.clone()]), &[], Box::new(random))
        });
        let shards: Vec<Shard> = shards.collect();
        // Small, so that sessions wait for it now and then.
        let window = if options.tight { EDGE_WINDOW_TIGHT } else { 64 * 1024 };
        let edges = (0..options.event_loops)
            .map(|index| EdgeLoop::new(index, options.event_loops, options.shards, window, random.next_u64()))
            .collect();
        // Two clients a user: several resources, and conflicts.
        let clients = (0..options.users * 2).map(|index| Client::new(index % options.users)).collect();
        let mut world = World {
            options,
            random,
            now: Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 },
            in_turn: vec![false; shards.len()],
            shards,
            out: Outputs::default(),
            storage,
            edges,
            links: BTreeMap::new(),
            next_link: 0,
            lanes: BTreeMap::new(),
            late: Vec::new(),
            clients,
            messages: Messages::default(),
            next_message: 1,
            next_session: 1,
            slot_key: boot.slot_key,
            leased: boot.epoch,
            unreadable: false,
            failing: false,
            trace: Trace::default(),
        };
        for edge in 0..world.edges.len() {
            for shard in 0..world.shards.len() {
                world.dial(edge, shard);
            }
        }
        world
    }

    /// One event.
    pub(super) fn step(&mut self) -> Result<(), Rule> {
        self.event()?;
        self.within_limits(false)
    }

    fn event(&mut self) -> Result<(), Rule> {
        match self.pick(100) {
            0..=69 => self.progress(),
            70..=84 => self.move_bytes(),
            85..=96 => self.act(),
            97 if self.options.moves && self.pick(2) == 0 => {
                self.move_slot();
                Ok(())
            }
            98 => {
                let ms = 1 + self.pick(3_000) as u64;
                self.pass(ms);
                Ok(())
            }
            99 if self.options.faults => self.fault(),
            _ => self.progress(),
        }
    }

    /// No more actions and faults: everything under way arrives, then everyone is asked for, then all leave.
    pub(super) fn rest(&mut self) -> Result<Trace, Rule> {
        self.failing = false;
        self.unreadable = false;
        for client in &mut self.clients {
            client.stalled = false;
        }
        self.settle()?;
        // Late news come, and moves that were held up by failures go on.
        for _ in 0..20 {
            self.pass(1_000);
            self.settle()?;
        }
        self.within_limits(true)?;
        self.all_answered()?;
        self.no_zombies()?;
        self.everyone_leaves()?;
        // Whoever has something waiting gets it now: one session each, of high priority. One after the
        // other, since the smallest store refuses who comes third at a time, and nobody here tries again.
        for user in 0..self.options.users {
            self.connect(user, 5);
            self.settle()?;
        }
        // What could not be read is read with a later sweep.
        for _ in 0..5 {
            self.pass(1_000);
            self.settle()?;
        }
        self.all_answered()?;
        self.no_zombies()?;
        self.everyone_leaves()?;
        self.trace.messages_settled = self.messages.none_lost()?;
        self.trace.messages_delivered = self.messages.delivered;
        self.trace.iqs_answered = self.clients.iter().map(|client| client.answered).sum();
        // Longer than anything is remembered for.
        for _ in 0..140 {
            self.pass(5_000);
            self.settle()?;
        }
        self.nothing_left()?;
        Ok(std::mem::take(&mut self.trace))
    }

    fn everyone_leaves(&mut self) -> Result<(), Rule> {
        for index in 0..self.clients.len() {
            if let Some(client) = self.clients.get_mut(index).filter(|client| client.at.is_some()) {
                client.leave();
            }
        }
        self.settle()?;
        for index in 0..self.clients.len() {
            self.cut_off(index);
        }
        self.settle()
    }

    fn nothing_left(&self) -> Result<(), Rule> {
        let none = |what, count| if count == 0 { Ok(()) } else { Err(Rule::LeftBehind { what, count }) };
        none("sessions", self.shards.iter().map(|shard| shard.sessions.len()).sum())?;
        none("logins", self.shards.iter().map(|shard| shard.logins.len()).sum())?;
        none("accounts", self.shards.iter().map(|shard| shard.accounts.len()).sum())?;
        none("questions", self.shards.iter().map(|shard| shard.questions.len()).sum())?;
        none("connections", self.edges.iter().map(|edge| edge.conns.len()).sum())?;
        none("sessions without a link", self.edges.iter().filter(|edge| !edge.detached.is_empty()).count())?;
        none("sessions without a socket", self.edges.iter().map(|edge| edge.detached.tombs()).sum())
    }

    fn all_answered(&mut self) -> Result<(), Rule> {
        for client in self.clients.iter().filter(|client| client.life == Life::Bound) {
            if let Some((id, count)) = client.unanswered() {
                return Err(Rule::Answers { client: client.name(), id: id.clone(), count });
            }
            let session = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            if let Some(stanzas) = session.map(|session| session.unsettled()).filter(|stanzas| *stanzas > 0) {
                return Err(Rule::Unsettled { client: client.name(), stanzas });
            }
        }
        Ok(())
    }

    /// Until nothing moves.
    fn settle(&mut self) -> Result<(), Rule> {
        for _ in 0..200_000 {
            self.progress()?;
            self.move_bytes()?;
            for shard in 0..self.shards.len() {
                if self.in_turn.get_mut(shard).is_some_and(std::mem::take) {
                    self.feed(shard, Input::EndOfTurn);
                }
            }
            let idle = self.lanes.values().all(VecDeque::is_empty)
                && self.clients.iter().all(|c| c.output.is_empty())
                && self.edges.iter().all(|e| e.conns.values().all(|c| c.output.is_empty()));
            if idle && self.links_idle() {
                return Ok(());
            }
        }
        Err(Rule::LeftBehind { what: "things that never come to rest", count: 1 })
    }

    fn links_idle(&self) -> bool {
        self.edges.iter().all(|edge| edge.links.iter().all(|link| link.out.is_empty()))
    }

    fn pick(&mut self, most: usize) -> usize {
        usize::try_from(self.random.next_u64() % (most.max(1) as u64)).unwrap_or(0)
    }

    // ---- lanes ----

    fn push(&mut self, lane: Lane, item: Item) {
        self.lanes.entry(lane).or_default().push_back(item);
    }

    /// Delivers from some lane.
    fn progress(&mut self) -> Result<(), Rule> {
        self.collect_links();
        let busy: Vec<Lane> = self.lanes.iter().filter(|(_, items)| !items.is_empty()).map(|(lane, _)| *lane).collect();
        if busy.is_empty() {
            return Ok(());
        }
        let index = self.pick(busy.len());
        let Some(lane) = busy.get(index).copied() else { return Ok(()) };
        let Some(item) = self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) else { return Ok(()) };
        match item {
            Item::ToShard { edge, shard, link, bytes } => self.frames_to_shard(edge, shard, link, &bytes),
            Item::ToEdge { edge, shard, link, bytes } => self.frames_to_edge(edge, shard, link, &bytes),
            Item::LinkDown { shard, link } => self.feed(shard, Input::LinkDown(LinkId(link))),
            Item::Leased { shard, slot, epoch, to } => {
                self.tell(|| format!("shard {shard} hears: {slot:?} is leased to {to} under {epoch}"));
                self.feed(shard, Input::SlotOwner { slot, epoch, shard: to });
            }
            Item::Peer { from, to, message } => {
                self.tell(|| format!("shard {from} -> shard {to}: {message:?}"));
                let from = u16::try_from(from).unwrap_or(0);
                self.feed(to, Input::Peer { from, message });
            }
            Item::Question { shard, mut question } => {
                self.tell(|| format!("shard {shard} -> storage: {question:?}"));
                if self.options.unfenced {
                    question.epoch = SlotEpoch::MAX;
                }
                let writes = matches!(question.ask, Ask::Apply { .. } | Ask::Append { .. } | Ask::AppendAgain { .. });
                let answered = if (writes && self.failing) || (!writes && self.unreadable) {
                    Answered { id: question.id, answer: Answer::Failed(StoreError::Full) }
                } else {
                    self.storage.answer(question)
                };
                if matches!(answered.answer, Answer::Refused(Refusal::Fenced)) {
                    self.trace.fenced += 1;
                }
                self.push((5, lane.1, shard), Item::Answer { shard, answered });
            }
            Item::Answer { shard, answered } => {
                self.tell(|| format!("storage -> shard {shard}: {answered:?}"));
                self.feed(shard, Input::Answer(answered));
            }
            Item::Derive { shard, id, task } => {
                let derived = task.run();
                self.feed(shard, Input::Derived { id, derived });
            }
        }
        Ok(())
    }

    /// For whoever looks into a failure: what happens, in order.
    #[expect(clippy::print_stderr, reason = "asked for on the command line")]
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.options.verbose {
            eprintln!("{:>6} {}", self.now.mono_ms, what());
        }
    }

    fn feed(&mut self, shard: usize, input: Input<'_>) {
        let more = self.pick(2) == 0;
        let Some(machine) = self.shards.get_mut(shard) else { return };
        if let Some(in_turn) = self.in_turn.get_mut(shard) {
            *in_turn = more && !matches!(input, Input::EndOfTurn);
        }
        machine.handle(input, self.now, &mut self.out);
        if !more {
            machine.handle(Input::EndOfTurn, self.now, &mut self.out);
        }
        self.drain(shard);
    }

    /// Puts a shard's outputs into lanes.
    fn drain(&mut self, shard: usize) {
        let mut out = std::mem::take(&mut self.out);
        for (link, bytes) in (0u16..).zip(out.to_edges.iter_mut()) {
            if bytes.is_empty() {
                continue;
            }
            let bytes = std::mem::take(bytes);
            if let Some((edge, _)) = self.edge_of(shard, link) {
                self.push((1, edge, shard), Item::ToEdge { edge, shard, link, bytes });
            }
        }
        for (to, messages) in out.to_shards.iter_mut().enumerate() {
            for message in messages.drain(..) {
                self.push((2, shard, to), Item::Peer { from: shard, to, message });
            }
        }
        for question in out.questions.drain(..) {
            let lane = match question.ask {
                Ask::Apply { .. } => 1,
                Ask::Append { .. } | Ask::AppendAgain { .. } => 2,
                Ask::Load { .. }
                | Ask::LoadBlob { .. }
                | Ask::ReadLog { .. }
                | Ask::ListAccounts { .. }
                | Ask::Search { .. } => 0,
            };
            let lane = (3, lane, shard);
            if self.options.tight && self.lanes.get(&lane).is_some_and(|waiting| waiting.len() >= QUESTIONS_TIGHT) {
                let answered = Answered { id: question.id, answer: Answer::Failed(StoreError::Busy) };
                self.push((5, lane.1, shard), Item::Answer { shard, answered });
                continue;
            }
            self.push(lane, Item::Question { shard, question });
        }
        for (id, task) in out.derive.drain(..) {
            self.push((4, 0, shard), Item::Derive { shard, id, task });
        }
        for event in out.events.drain(..) {
            self.tell(|| format!("shard {shard}: {event:?}"));
        }
        out.replies.clear();
        for link in out.close_links.drain(..) {
            if let Some((edge, _)) = self.edge_of(shard, link.0) {
                self.lose_link(edge, shard);
            }
        }
        self.out = out;
        self.note_refused(shard);
    }

    /// Errors that stand in a session's outbound list count as told, whether its client lives to read them or not.
    fn note_refused(&mut self, shard: usize) {
        let Some(shard) = self.shards.get(shard) else { return };
        for held in shard.sessions.iter().flat_map(|(_, session)| &session.outbound.held) {
            let view = held.stanza.view();
            if (view.kind, view.ty) == (StanzaKind::Message, StanzaType::Error)
                && let Some(id) = view.id.and_then(|id| id.strip_prefix('m')).and_then(|id| id.parse().ok())
            {
                self.messages.refused(id);
            }
        }
    }

    fn edge_of(&self, shard: usize, link: u16) -> Option<(usize, usize)> {
        self.links.iter().find(|((_, to), id)| *to == shard && **id == link).map(|(ends, _)| *ends)
    }

    // ---- links ----

    fn dial(&mut self, edge: usize, shard: usize) {
        let link = self.next_link;
        self.next_link += 1;
        self.links.insert((edge, shard), link);
        self.feed(shard, Input::LinkUp(LinkId(link)));
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.dial(u16::try_from(shard).unwrap_or(0));
        }
    }

    /// The connection breaks: what is under way on it is lost; both sides notice; the edge dials again.
    fn lose_link(&mut self, edge: usize, shard: usize) {
        let Some(link) = self.links.remove(&(edge, shard)) else { return };
        // News of an earlier loss is not on the wire.
        if let Some(lane) = self.lanes.get_mut(&(0, edge, shard)) {
            lane.retain(|item| matches!(item, Item::LinkDown { .. }));
        }
        self.lanes.remove(&(1, edge, shard));
        self.trace.links_lost += 1;
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.link_lost(u16::try_from(shard).unwrap_or(0));
        }
        if self.pick(3) == 0 {
            // The shard has not noticed when the new link comes.
            let at_ms = self.now.mono_ms + self.pick(3_000) as u64;
            self.late.push((at_ms, (7, edge, shard), Item::LinkDown { shard, link }));
        } else {
            // The shard hears of it before the new link's frames.
            self.push((0, edge, shard), Item::LinkDown { shard, link });
        }
        self.dial(edge, shard);
    }

    /// The edge's process dies with all its loops, and is started again.
    fn edge_dies(&mut self) {
        self.trace.edges_lost += 1;
        for client in &mut self.clients {
            client.gone();
        }
        self.edges.iter_mut().for_each(EdgeLoop::restart);
        for edge in 0..self.edges.len() {
            for shard in 0..self.shards.len() {
                self.lose_link(edge, shard);
            }
        }
    }

    fn collect_links(&mut self) {
        for edge in 0..self.edges.len() {
            for shard in 0..self.shards.len() {
                let Some(out) = self.edges.get_mut(edge).and_then(|e| e.links.get_mut(shard)).map(|l| &mut l.out)
                else {
                    continue;
                };
                let bytes = std::mem::take(out);
                if let Some(link) = self.links.get(&(edge, shard)).copied().filter(|_| !bytes.is_empty()) {
                    self.push((0, edge, shard), Item::ToShard { edge, shard, link, bytes });
                }
            }
        }
    }

    fn frames_to_shard(&mut self, edge: usize, shard: usize, link: u16, bytes: &[u8]) {
        if self.links.get(&(edge, shard)) != Some(&link) {
            return;
        }
        let mut rest = bytes;
        while let Ok(Some((frame, used))) = codec::split(rest, codec::FRAME_BYTES_MAX) {
            if let Ok(Some(mut frame)) = ToCore::decode(frame) {
                self.tighten(&mut frame);
                self.tell(|| format!("edge {edge} -> shard {shard}: {frame:?}"));
                self.feed(shard, Input::Frame { link: LinkId(link), frame, bytes: used });
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        self.feed(shard, Input::EndOfTurn);
    }

    /// The edge's own window is a constant: the world says less on its behalf.
    fn tighten(&self, frame: &mut ToCore<'_>) {
        if self.options.tight
            && let ToCore::Bind(Bind { credit, .. })
            | ToCore::Resume(Resume { credit, .. })
            | ToCore::Attach(Attach { credit, .. })
            | ToCore::Written(Written { credit, .. }) = frame
        {
            *credit = credit.saturating_sub(SESSION_CREDIT - SESSION_CREDIT_TIGHT);
        }
    }

    fn frames_to_edge(&mut self, edge: usize, shard: usize, link: u16, bytes: &[u8]) {
        if self.links.get(&(edge, shard)) != Some(&link) {
            return;
        }
        let blind = self.options.canary && self.pick(20) == 0;
        let index = u16::try_from(shard).unwrap_or(0);
        let mut rest = bytes;
        while let Ok(Some((frame, used))) = codec::split(rest, codec::FRAME_BYTES_MAX) {
            if let Ok(Some(frame)) = ToEdge::decode(frame) {
                self.tell(|| format!("shard {shard} -> edge {edge}: {frame:?}"));
            }
            if let (Ok(Some(frame)), Some(edge)) = (ToEdge::decode(frame), self.edges.get_mut(edge))
                && !(blind && matches!(frame, ToEdge::Deliver(_)))
            {
                edge.frame(index, &frame, used);
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        self.note_settled();
    }

    /// What the edge learned of its sessions' messages.
    fn note_settled(&mut self) {
        for edge in &mut self.edges {
            for id in edge.refused.drain(..) {
                self.messages.refused(id);
            }
        }
        for client in &mut self.clients {
            let session = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            let Some(settled) = session.map(hearth_connmgr::session::Session::settled) else { continue };
            while let Some(entry) = client.unsettled.first_entry().filter(|entry| *entry.key() <= settled) {
                self.messages.settled(entry.remove());
            }
        }
    }

    // ---- clients ----

    /// Bytes between some client and its edge, cut anywhere.
    fn move_bytes(&mut self) -> Result<(), Rule> {
        let index = self.pick(self.clients.len());
        let Some((edge, counter)) = self.clients.get(index).and_then(|client| client.at) else { return Ok(()) };
        let (up, down) = (self.cut(), self.cut());
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        let take = client.output.len().min(up);
        let bytes: Vec<u8> = client.output.drain(..take).collect();
        let Some(edge) = self.edges.get_mut(edge) else { return Ok(()) };
        if !bytes.is_empty() {
            edge.bytes(counter, &bytes);
        }
        if client.stalled {
            return Ok(());
        }
        let Some(conn) = edge.conns.get_mut(&counter) else {
            // The edge closed it.
            client.gone();
            return Ok(());
        };
        let take = conn.output.len().min(down);
        let bytes: Vec<u8> = conn.output.drain(..take).collect();
        if conn.output.is_empty() {
            edge.written(counter);
        }
        for byte in &bytes {
            self.trace.hash = (self.trace.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        client.read(&bytes, &mut self.messages)
    }

    fn cut(&mut self) -> usize {
        match self.pick(4) {
            0 => 1 + self.pick(3),
            1 => 1 + self.pick(100),
            _ => 1 << 20,
        }
    }

    fn connect(&mut self, index: usize, priority: i8) {
        let edge = self.pick(self.edges.len());
        let session = self.next_session;
        self.next_session += 1;
        self.trace.sessions += 1;
        let (Some(client), Some(at)) = (self.clients.get_mut(index), self.edges.get_mut(edge)) else { return };
        client.connect((edge, at.accept()), session, priority);
    }

    fn cut_off(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if let Some((edge, counter)) = client.at
            && let Some(edge) = self.edges.get_mut(edge)
        {
            edge.vanish(counter);
        }
        client.gone();
    }

    /// Someone does something.
    fn act(&mut self) -> Result<(), Rule> {
        let index = self.pick(self.clients.len());
        let Some(life) = self.clients.get(index).map(|client| client.life) else { return Ok(()) };
        match life {
            Life::Away => {
                let priority = one_of(&[0, 0, 5, -1], self.pick(4));
                self.connect(index, priority);
            }
            Life::Bound => self.say(index),
            Life::Opening | Life::Authenticating | Life::Reopening | Life::Binding | Life::Leaving => {}
        }
        Ok(())
    }

    fn say(&mut self, index: usize) {
        let (what, other, resource) = (self.pick(20), self.pick(self.options.users), self.pick(4));
        let id = self.next_message;
        let Some(client) = self.clients.get_mut(index) else { return };
        let bare = format!("user{other}@example.org");
        match what {
            0..=9 => {
                self.next_message += 1;
                let to = if resource < 3 { format!("{bare}/r{resource}") } else { bare };
                client
                    .stanza(&format!("<message type='chat' id='m{id}' to='{to}'><body>&lt;{id}&gt;</body></message>"));
                client.unsettled.insert(client.number, id);
                self.messages.sent(id, &to, client.session);
            }
            10..=11 => {
                client.ask(one_of(&["", "example.org", "elsewhere.example"], resource), "<ping xmlns='urn:xmpp:ping'/>")
            }
            12 => client.wonder(&format!("{bare}/r{resource}"), "<query xmlns='jabber:iq:version'/>"),
            13 => client.ask(&bare, "<vCard xmlns='vcard-temp'/>"),
            14 => {
                let ty = one_of(&["subscribe", "subscribed", "unsubscribe", "unsubscribed"], resource);
                client.stanza(&format!("<presence type='{ty}' to='{bare}'/>"));
            }
            15 => {
                client.priority = one_of(&[0, 1, -1, 7], resource);
                client.stanza(&format!("<presence><priority>{}</priority></presence>", client.priority));
            }
            16 => client.stanza("<presence type='unavailable'/>"),
            17 => client.stanza(&format!("<presence to='{bare}/r{resource}'/>")),
            18 => client.stalled = !client.stalled && resource == 0,
            _ if resource == 0 => client.leave(),
            _ => {}
        }
    }

    /// Something breaks.
    fn fault(&mut self) -> Result<(), Rule> {
        match self.pick(6) {
            0 => {
                let (edge, shard) = (self.pick(self.edges.len()), self.pick(self.shards.len()));
                self.lose_link(edge, shard);
            }
            1 => self.failing = !self.failing,
            2 => self.unreadable = !self.unreadable,
            3 if self.pick(3) == 0 => self.edge_dies(),
            _ => {
                let index = self.pick(self.clients.len());
                self.cut_off(index);
            }
        }
        Ok(())
    }

    /// The slot of somebody's account goes to another shard: in good order, or by force, of which the shards
    /// hear one by one.
    fn move_slot(&mut self) {
        let user = self.pick(self.options.users);
        let slot = self.slot_key.slot(&format!("user{user}@example.org"));
        let to = u16::try_from(self.pick(self.shards.len())).unwrap_or(0);
        let forced = self.pick(3) == 0 || self.options.unfenced;
        let Some(owner) = self.at_rest(slot).filter(|owner| *owner != to) else { return };
        self.trace.slots_moved += 1;
        if forced {
            self.leased += 1_000;
            for shard in 0..self.shards.len() {
                // The old owner may hear of it long after the new one began to serve.
                let wait_ms = if shard == usize::from(owner) { self.pick(12_000) as u64 } else { 0 };
                let item = Item::Leased { shard, slot, epoch: self.leased, to };
                self.late.push((self.now.mono_ms + wait_ms, (6, shard, 0), item));
            }
            self.arrive();
        } else {
            self.tell(|| format!("{slot:?} moves from {owner} to {to}"));
            self.feed(usize::from(owner), Input::MoveSlot { slot, to });
        }
    }

    /// The owner of a slot, if all agree and no move of it is under way.
    fn at_rest(&self, slot: Slot) -> Option<ShardIndex> {
        let hears = |item: &Item| matches!(item, Item::Leased { slot: leased, .. } if *leased == slot);
        let first = self.shards.first()?;
        let (owner, epoch) = (first.slots.owner(slot), first.slots.epoch(slot));
        let agreed = self.shards.iter().all(|s| (s.slots.owner(slot), s.slots.epoch(slot)) == (owner, epoch));
        let late = self.late.iter().any(|(_, _, item)| hears(item));
        let moving = self.shards.iter().any(|s| s.slots.is_moving(slot));
        let busy = late || moving || self.lanes.values().flatten().any(hears);
        (agreed && !busy).then_some(owner)
    }

    /// Every queue under its limit; at rest none that nobody goes on with.
    fn within_limits(&self, at_rest: bool) -> Result<(), Rule> {
        let check = |what, of: &str, len: usize, most: usize| {
            if len <= most { Ok(()) } else { Err(Rule::Queue { what, of: of.to_owned(), len }) }
        };
        for shard in &self.shards {
            let limits = &shard.settings.limits;
            for (_, session) in shard.sessions.iter() {
                let (jid, out) = (session.jid.as_str(), &session.outbound);
                // The last one that was taken may pass the limit.
                check("held bytes", jid, out.held_bytes, limits.held_bytes + 1_000)?;
                check("held stanzas", jid, out.held.len(), limits.entries + 1)?;
                check("entries", jid, out.entries.len(), limits.entries)?;
            }
            for account in shard.accounts.iter() {
                let jid = account.jid.as_str();
                check("work that waits", jid, account.queue.len(), limits.account_queue)?;
                check("stanzas in order", jid, account.log.pending.len(), limits.pending + account.sessions.len() + 1)?;
                if at_rest {
                    check("work that nobody does", jid, account.queue.len(), 0)?;
                }
            }
        }
        Ok(())
    }

    /// No session that only one side knows, none outside its slot's owner, no two owners.
    fn no_zombies(&self) -> Result<(), Rule> {
        let zombie = |jid: &str, what| Err(Rule::Zombie { jid: jid.to_owned(), what });
        for ((edge, shard), link) in &self.links {
            let (Some(edge), Some(shard)) = (self.edges.get(*edge), self.shards.get(*shard)) else { continue };
            for (_, session) in shard.sessions.iter().filter(|(_, session)| session.link == LinkId(*link)) {
                if edge.session(session.counter).is_none_or(|other| other.generation() != session.generation) {
                    return zombie(session.jid.as_str(), "the core has a session that the edge has not");
                }
                if shard.owner(session.jid.bare_str()) != shard.settings.index {
                    return zombie(session.jid.as_str(), "a shard serves a session of another's slot");
                }
            }
        }
        for client in &self.clients {
            let Some((edge, counter)) = client.at else { continue };
            let Some(edge) = self.edges.get(edge) else { continue };
            let Some((session, shard)) = edge.session(counter).zip(edge.shard_of(counter)) else { continue };
            let known = self.shards.get(usize::from(shard)).is_some_and(|shard| {
                shard.sessions.iter().any(|(_, s)| s.counter == counter && s.generation == session.generation())
            });
            if !known {
                return zombie(&client.jid, "the edge has a session that the core has not");
            }
        }
        for slot in (0..hearth_wire::ids::SLOTS).filter_map(Slot::new) {
            if self.at_rest(slot).is_none() {
                return Err(Rule::Owners { slot: slot.index() });
            }
        }
        Ok(())
    }

    /// Moves what is due into its lane.
    fn arrive(&mut self) {
        let now_ms = self.now.mono_ms;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at_ms, _, _)| *at_ms <= now_ms);
        self.late = late;
        for (_, lane, item) in Vec::from_iter(due) {
            self.push(lane, item);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.utc_ms += ms;
        self.arrive();
        for shard in 0..self.shards.len() {
            self.feed(shard, Input::WakeUp);
            self.feed(shard, Input::EndOfTurn);
        }
    }
}

/// The `index`-th choice, counted round.
fn one_of<T: Copy + Default>(choices: &[T], index: usize) -> T {
    choices.get(index.checked_rem(choices.len()).unwrap_or(0)).copied().unwrap_or_default()
}

/// Everybody's password is `secret`, at one iteration: proving it is not what is simulated.
fn make_accounts(storage: &Storage, boot: &Boot, users: usize) {
    let password = Secret::new("secret");
    let keys = |hash: Hash| hash.keys(password.expose(), &[1; 16], 1);
    let (sha1, sha256, sha512) = (keys(Hash::Sha1), keys(Hash::Sha256), keys(Hash::Sha512));
    let credentials = Credentials { generation: 1, sha1, sha256, sha512 };
    for user in 0..users {
        let Ok(account) = BareJid::parse(&format!("user{user}@example.org")) else { continue };
        let slot = boot.slot_key.slot(account.as_str());
        let changes = vec![Change::CreateAccount { account, credentials: credentials.clone() }];
        storage.answer(Question { id: 0, slot, epoch: boot.epoch, ask: Ask::Apply { changes } });
    }
}
