//! One shard's thread: polls its links and its inbox, runs the machine, performs what it asks.

use super::link_io::{LinkIo, LinkLost};
use super::mail::{Inbox, Mail, Mailbox};
use super::{Clock, WAKE_TOKEN, log_event};
use crate::Now;
use crate::commands::{ControlId, Reply};
use crate::derive::Pool;
use crate::drain;
use crate::limits;
use crate::link::LinkId;
use crate::outputs::Outputs;
use crate::shard::{Input, Shard};
use crossbeam_channel::Sender;
use hearth_link::metrics::Times;
use hearth_link::{Pace, Socket, Watch};
use hearth_storage::StorageHandle;
use hearth_wire::ids::ShardIndex;
use hearth_wire::to_edge::{Heartbeat, ToEdge};
use mio::{Events, Poll, Token};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Mail taken per turn.
const MAIL_PER_TURN: usize = 4096;

pub(crate) struct ShardThread {
    pub(crate) index: ShardIndex,
    pub(crate) shard: Shard,
    pub(crate) poll: Poll,
    pub(crate) inbox: Inbox,
    pub(crate) own: Mailbox,
    pub(crate) peers: Vec<Mailbox>,
    pub(crate) storage: StorageHandle,
    /// News of its health that the shard had.
    pub(crate) health_seen: u64,
    pub(crate) pool: Arc<Pool>,
    pub(crate) clock: Clock,
    pub(crate) links: BTreeMap<LinkId, LinkIo>,
    pub(crate) next_link: u16,
    pub(crate) controls: BTreeMap<ControlId, Sender<Reply>>,
    pub(crate) next_control: ControlId,
    pub(crate) out: Outputs,
    /// What links are read into.
    pub(crate) scratch: Box<[u8]>,
    pub(crate) stopping: bool,
    /// Told once there is nothing left to wait for.
    pub(crate) drained: Option<Sender<ShardIndex>>,
    pub(crate) turns: Arc<Times>,
}

impl ShardThread {
    /// Runs until told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut pace = Pace::new();
        loop {
            pace.wait();
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                if event.token() == WAKE_TOKEN {
                    continue;
                }
                let Some(link) = self.links.get_mut(&link_of(event.token())) else { continue };
                link.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                if event.is_writable() {
                    link.blocked = false;
                }
            }
            let now = self.clock.now();
            self.out.wake_at_ms = None;
            if let Some(health) = self.storage.health(&mut self.health_seen) {
                self.shard.handle(Input::Storage(health), now, &mut self.out);
            }
            pace.begin();
            let began = pace.began();
            pace.did(self.take_mail(now).saturating_add(self.read_links(now)));
            self.shard.handle(Input::EndOfTurn, now, &mut self.out);
            self.perform(now);
            self.turns.note(began.elapsed());
            if let Some(done) = self.drained.take_if(|_| drain::is_done(&self.shard)) {
                // Whoever waited may have lost patience.
                let _ = done.send(self.index);
            }
            if self.stopping {
                return Ok(());
            }
        }
    }

    fn timeout(&self) -> Duration {
        let now_ms = self.clock.now().mono_ms;
        if self.links.values().any(|link| link.readable) || !self.inbox.receiver.is_empty() {
            return Duration::ZERO;
        }
        let wake_ms = self.out.wake_at_ms.map_or(limits::HEARTBEAT_MS, |at_ms| at_ms.saturating_sub(now_ms));
        // Idle shards wake for heartbeats only.
        Duration::from_millis(wake_ms.min(limits::HEARTBEAT_MS / 2))
    }

    /// How much there was.
    fn take_mail(&mut self, now: Now) -> usize {
        self.inbox.about_to_drain();
        for taken in 0..MAIL_PER_TURN {
            let Ok(mail) = self.inbox.receiver.try_recv() else { return taken };
            match mail {
                Mail::Link { socket, edge } => self.add_link(socket, edge, now),
                Mail::Peer { from, messages } => {
                    for message in messages {
                        self.shard.handle(Input::Peer { from, message }, now, &mut self.out);
                    }
                }
                Mail::Answers(answers) => {
                    for answered in answers {
                        self.shard.handle(Input::Answer(answered), now, &mut self.out);
                    }
                }
                Mail::Derived { id, derived } => {
                    self.shard.handle(Input::Derived { id, derived }, now, &mut self.out);
                }
                Mail::PutEdge { edge, reply } => {
                    let id = self.control_id(reply);
                    self.shard.handle(Input::PutEdge { id, edge }, now, &mut self.out);
                }
                Mail::EdgeRevoked { edge } => {
                    self.shard.handle(Input::EdgeRevoked { edge: edge.into() }, now, &mut self.out);
                }
                Mail::Control { mut call, reply } => {
                    call.id = self.control_id(reply);
                    self.shard.handle(Input::Control(call), now, &mut self.out);
                }
                Mail::Drain { done } => {
                    self.shard.handle(Input::Drain, now, &mut self.out);
                    self.drained = Some(done);
                }
                Mail::Stop => {
                    self.shard.handle(Input::Stop, now, &mut self.out);
                    self.stopping = true;
                }
            }
        }
        MAIL_PER_TURN
    }

    /// A number for a command under way.
    fn control_id(&mut self, reply: Sender<Reply>) -> ControlId {
        let id = self.next_control;
        self.next_control = id.wrapping_add(1);
        self.controls.insert(id, reply);
        id
    }

    fn add_link(&mut self, mut socket: Socket, edge: Option<String>, now: Now) {
        if self.links.len() >= limits::LINKS_MAX {
            return tracing::warn!(event = "link_refused", shard = self.index, reason = "too many links");
        }
        let mut id = LinkId(self.next_link);
        // An index is free again when the machine has closed all that it named.
        while self.links.contains_key(&id) || self.shard.links.contains_key(&id) {
            id = LinkId(id.0.wrapping_add(1));
        }
        self.next_link = id.0.wrapping_add(1);
        let watch = match Watch::begin(&mut socket, self.poll.registry(), token_of(id)) {
            Ok(watch) => watch,
            Err(error) => return tracing::warn!(event = "link_refused", shard = self.index, cause = %error),
        };
        self.links.insert(id, LinkIo::new(socket, watch, now.mono_ms));
        self.shard.handle(Input::LinkUp(id), now, &mut self.out);
        if let Some(edge) = edge {
            self.shard.handle(Input::LinkKey { link: id, edge: edge.into() }, now, &mut self.out);
        }
    }

    /// How many frames there were.
    fn read_links(&mut self, now: Now) -> usize {
        let (mut lost, mut frames) = (Vec::new(), 0usize);
        for (id, link) in &mut self.links {
            // What a refused edge still says is nobody's to read.
            if !link.readable || link.closing {
                continue;
            }
            let (shard, out) = (&mut self.shard, &mut self.out);
            let read = link.read(&mut self.scratch, now.mono_ms, |frame, bytes| {
                frames = frames.saturating_add(1);
                shard.handle(Input::Frame { link: *id, frame, bytes }, now, out);
            });
            if let Err(cause) = read {
                lost.push((*id, cause));
            }
        }
        for (id, cause) in lost {
            self.lose(id, &cause, now);
        }
        frames
    }

    fn lose(&mut self, id: LinkId, cause: &LinkLost, now: Now) {
        if let Some(mut link) = self.links.remove(&id) {
            link.deregister(self.poll.registry());
            tracing::info!(event = "link_lost", shard = self.index, link = id.0, cause = %cause);
            self.shard.handle(Input::LinkDown(id), now, &mut self.out);
        }
    }

    /// Does what the machine asked for, in the order that loses nothing: storage first, frames last.
    fn perform(&mut self, now: Now) {
        for event in self.out.events.drain(..) {
            log_event(self.index, &event);
        }
        if !self.out.questions.is_empty() {
            let questions = std::mem::take(&mut self.out.questions);
            if let Err(refused) = self.storage.ask(self.index, questions) {
                // The shard hears of it as of any failure, in its next turn.
                self.own.send(Mail::Answers(refused.into_answers()));
            }
        }
        for (id, task) in self.out.derive.drain(..) {
            let own = self.own.clone();
            self.pool.ask(task, move |derived| {
                own.send(Mail::Derived { id, derived });
            });
        }
        for (index, messages) in self.out.to_shards.iter_mut().enumerate() {
            if let Some(peer) = self.peers.get(index).filter(|_| !messages.is_empty()) {
                peer.send(Mail::Peer { from: self.index, messages: std::mem::take(messages) });
            }
        }
        for (shard, call) in self.out.passed_on.drain(..) {
            let peer = self.peers.get(usize::from(shard));
            if let Some((reply, peer)) = self.controls.remove(&call.id).zip(peer) {
                peer.send(Mail::Control { call, reply });
            }
        }
        for (id, reply) in self.out.replies.drain(..) {
            if let Some(to) = self.controls.remove(&id) {
                // Whoever asked may have gone.
                let _ = to.send(reply);
            }
        }
        self.flush_links(now);
    }

    fn flush_links(&mut self, now: Now) {
        for id in self.out.close_links.drain(..) {
            if let Some(link) = self.links.get_mut(&id) {
                link.closing = true;
            }
        }
        let mut lost = Vec::new();
        for (id, link) in &mut self.links {
            let silent_ms = now.mono_ms.saturating_sub(link.last_sent_ms);
            let frames = self.out.to_edges.get_mut(usize::from(id.0));
            let something = frames.as_ref().is_some_and(|frames| !frames.is_empty());
            if let Some(frames) = frames.filter(|_| something) {
                link.push(frames);
            } else if silent_ms >= limits::HEARTBEAT_MS && link.drained() {
                let mut heartbeat = Vec::new();
                ToEdge::Heartbeat(Heartbeat {}).encode(&mut heartbeat);
                link.push(&mut heartbeat);
            }
            let dead = (!link.readable || link.closing)
                && now.mono_ms.saturating_sub(link.last_received_ms) >= limits::LINK_DEAD_MS;
            if let Err(cause) = link.write(now.mono_ms, self.poll.registry()) {
                lost.push((*id, cause));
            } else if dead {
                lost.push((*id, LinkLost::Silent));
            }
        }
        for (id, cause) in lost {
            self.lose(id, &cause, now);
        }
        // Frames for links that are gone.
        for (index, frames) in self.out.to_edges.iter_mut().enumerate() {
            if !frames.is_empty() && !u16::try_from(index).is_ok_and(|id| self.links.contains_key(&LinkId(id))) {
                frames.clear();
            }
        }
    }
}

fn token_of(id: LinkId) -> Token {
    Token(usize::from(id.0))
}

fn link_of(token: Token) -> LinkId {
    LinkId(u16::try_from(token.0).unwrap_or(u16::MAX))
}
