//! What is under way, and its arrival: first in, first out within a lane, any order between lanes.

use super::World;
use crate::sim::check::Rule;
use hearth_core::derive::Task;
use hearth_core::link::LinkId;
use hearth_core::outputs::DerivationId;
use hearth_core::route::PeerMessage;
use hearth_core::session::Entry;
use hearth_core::shard::Input;
use hearth_storage::{Answer, Answered, Ask, Question};
use hearth_wire::ids::{ShardIndex, Slot, SlotEpoch};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use std::collections::VecDeque;

/// Something under way.
pub(super) enum Item {
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
    /// The shard notices that a link is gone.
    LinkDown {
        shard: usize,
        link: u16,
    },
    /// The edge does.
    LinkLost {
        edge: usize,
        shard: usize,
    },
    Dial {
        edge: usize,
        shard: usize,
    },
    /// The edge notices that a client is gone.
    Eof {
        edge: usize,
        counter: u64,
    },
    /// The core dies.
    Crash,
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

/// What a lane carries, and between whom.
pub(super) type Lane = (Carries, usize, usize);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Carries {
    /// From an event loop to a shard.
    Up,
    /// From a shard to an event loop.
    Down,
    /// From shard to shard.
    Peers,
    /// From a shard to one of storage's threads, by the thread and the shard; and back.
    Questions,
    Answers,
    Derivations,
    /// News of leases, by shard.
    Leases,
    /// Losses of links that are noticed, and new ones, by event loop and shard.
    Links,
    /// Sockets that are noticed to be dead, by event loop.
    Sockets,
    Crash,
}

impl World {
    pub(super) fn push(&mut self, lane: Lane, item: Item) {
        self.lanes.entry(lane).or_default().push_back(item);
    }

    /// Delivers from some lane.
    pub(super) fn progress(&mut self) -> Result<(), Rule> {
        self.collect_links();
        let now_ms = self.now.mono_ms;
        let goes = |lane: &Lane| lane.0 != Carries::Questions || !self.disk.is_slow(lane.1, now_ms);
        let busy: Vec<Lane> =
            self.lanes.iter().filter(|(lane, items)| !items.is_empty() && goes(lane)).map(|(lane, _)| *lane).collect();
        if busy.is_empty() {
            return Ok(());
        }
        let index = self.pick(busy.len());
        let Some(lane) = busy.get(index).copied() else { return Ok(()) };
        if let Some(item) = self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            return self.arrives(lane, item);
        }
        Ok(())
    }

    fn arrives(&mut self, lane: Lane, item: Item) -> Result<(), Rule> {
        match item {
            Item::ToShard { edge, shard, link, bytes } => self.frames_to_shard(edge, shard, link, &bytes),
            Item::ToEdge { edge, shard, link, bytes } => self.frames_to_edge(edge, shard, link, &bytes),
            Item::LinkDown { shard, link } => {
                self.tell(|| format!("shard {shard}: link {link} is down"));
                self.feed(shard, Input::LinkDown(LinkId(link)));
            }
            Item::LinkLost { edge, shard } => self.edge_loses_link(edge, shard),
            Item::Dial { edge, shard } => self.dial(edge, shard),
            Item::Eof { edge, counter } => self.edge_sees_eof(edge, counter),
            Item::Leased { shard, slot, epoch, to } => {
                self.tell(|| format!("shard {shard} hears: {slot:?} is leased to {to} under {epoch}"));
                self.feed(shard, Input::SlotOwner { slot, epoch, shard: to });
            }
            Item::Peer { from, to, message } => {
                self.tell(|| format!("shard {from} -> shard {to}: {message:?}"));
                let from = u16::try_from(from).unwrap_or(0);
                self.feed(to, Input::Peer { from, message });
            }
            Item::Question { shard, question } => {
                self.tell(|| format!("shard {shard} -> storage: {question:?}"));
                let append = match &question.ask {
                    Ask::Append { record } | Ask::AppendAgain { record } => message(&record.stanza.view()),
                    _ => None,
                };
                let answered = self.disk.answer(question, self.now.mono_ms);
                if let (Some(id), Answer::Failed(_) | Answer::Refused(_)) = (append, &answered.answer) {
                    self.checks.messages.may_come_late(id);
                }
                self.push((Carries::Answers, lane.1, shard), Item::Answer { shard, answered });
            }
            Item::Answer { shard, answered } => {
                self.tell(|| format!("storage -> shard {shard}: {answered:?}"));
                self.feed(shard, Input::Answer(answered));
            }
            Item::Derive { shard, id, task } => {
                let derived = task.run();
                self.feed(shard, Input::Derived { id, derived });
            }
            Item::Crash => return self.core_dies(false),
        }
        Ok(())
    }

    pub(super) fn feed(&mut self, shard: usize, input: Input<'_>) {
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
    pub(super) fn drain(&mut self, shard: usize) {
        let mut out = std::mem::take(&mut self.out);
        for (link, bytes) in (0u16..).zip(out.to_edges.iter_mut()) {
            if bytes.is_empty() {
                continue;
            }
            let bytes = std::mem::take(bytes);
            if let Some((edge, _)) = self.edge_of(shard, link) {
                self.push((Carries::Down, edge, shard), Item::ToEdge { edge, shard, link, bytes });
            }
        }
        for (to, messages) in out.to_shards.iter_mut().enumerate() {
            for message in messages.drain(..) {
                if let PeerMessage::Answer { answer, .. } = &message
                    && let Some(id) = refused(&answer.view())
                {
                    self.checks.messages.may_come_late(id);
                }
                self.push((Carries::Peers, shard, to), Item::Peer { from: shard, to, message });
            }
        }
        for question in out.questions.drain(..) {
            self.question(shard, question);
        }
        for (id, task) in out.derive.drain(..) {
            self.push((Carries::Derivations, 0, shard), Item::Derive { shard, id, task });
        }
        for event in out.events.drain(..) {
            self.note_event(shard, &event);
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

    /// Whoever is to be told that its message was refused, and is not yet, may send it again.
    fn note_refused(&mut self, shard: usize) {
        let Some(shard) = self.shards.get(shard) else { return };
        for outbound in shard.sessions.iter().map(|(_, session)| &session.outbound) {
            let sent = outbound.entries.iter().filter_map(|entry| match entry {
                Entry::Kept(held) => Some(held),
                Entry::Logged(_) | Entry::Gone => None,
            });
            let later = outbound.later.iter().map(|(_, held)| held);
            for held in sent.chain(&outbound.held).chain(later) {
                if let Some(id) = refused(&held.stanza.view()) {
                    self.checks.messages.may_come_late(id);
                }
            }
        }
    }
}

/// The number of a client's message.
fn message(stanza: &Stanza<'_>) -> Option<u64> {
    stanza.id.filter(|_| stanza.kind == StanzaKind::Message)?.strip_prefix('m')?.parse().ok()
}

/// That of one that is refused by this stanza.
fn refused(stanza: &Stanza<'_>) -> Option<u64> {
    message(stanza).filter(|_| stanza.ty == StanzaType::Error)
}
