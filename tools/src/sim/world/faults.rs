//! What breaks: links, clients' sockets, edges, the disk, the core; one at a time or all together.

use super::World;
use super::disk::THREADS;
use super::lanes::{Carries, Item};
use crate::sim::check::Rule;
use crate::sim::edge::EdgeLoop;
use hearth_core::drain;
use hearth_core::session::Session;
use hearth_core::shard::Input;
use hearth_wire::ids::StreamId;

/// Steps for which a core that is to stop waits for its clients.
const STOP_STEPS: usize = 600;

impl World {
    /// Something breaks.
    pub(super) fn fault(&mut self) -> Result<(), Rule> {
        match self.pick(12) {
            0..=1 => {
                let (edge, shard) = (self.pick(self.edges.len()), self.pick(self.shards.len()));
                self.lose_link(edge, shard);
            }
            2..=6 => self.disk_fails(),
            7 if self.pick(3) == 0 => self.edge_dies(),
            8 if self.options.crashes => return self.core_fails(),
            _ => {
                let index = self.pick(self.clients.len());
                self.vanish(index);
            }
        }
        Ok(())
    }

    fn disk_fails(&mut self) {
        let until_ms = self.now.mono_ms + self.pick(6_000) as u64;
        match self.pick(5) {
            0 => self.disk.be_full(until_ms),
            1 => self.disk.be_unreadable(until_ms),
            _ => {
                let thread = self.pick(THREADS);
                self.disk.slow_down(thread, until_ms);
            }
        }
    }

    /// The edge's process dies with all its loops, and is started again.
    fn edge_dies(&mut self) {
        self.trace.edges_lost += 1;
        self.tell(|| "the edge dies".to_owned());
        for index in 0..self.clients.len() {
            self.never_comes(index);
        }
        for client in &mut self.clients {
            client.gone();
        }
        self.edges.iter_mut().for_each(EdgeLoop::restart);
        let of_edge = |item: &Item| matches!(item, Item::Eof { .. } | Item::LinkLost { .. } | Item::Dial { .. });
        self.late.retain(|(_, _, item)| !of_edge(item));
        self.lanes.values_mut().for_each(|lane| lane.retain(|item| !of_edge(item)));
        for edge in 0..self.edges.len() {
            for shard in 0..self.shards.len() {
                if self.links.contains_key(&(edge, shard)) {
                    self.lose_link(edge, shard);
                } else {
                    self.edge_will_notice(edge, shard, 0);
                }
            }
        }
    }

    // ---- the core ----

    /// The core dies at once, or is told to stop; sometimes the edge dies with it.
    fn core_fails(&mut self) -> Result<(), Rule> {
        if self.options.unfenced {
            // A store that fences nobody has no epochs that a start could go on from.
            return Ok(());
        }
        if self.stopping.is_none() && self.pick(3) == 0 {
            self.tell(|| "the core is to stop".to_owned());
            self.stopping = Some(u32::try_from(self.pick(STOP_STEPS)).unwrap_or(0));
            for shard in 0..self.shards.len() {
                self.feed(shard, Input::Drain);
            }
            return Ok(());
        }
        self.core_dies(false)?;
        match self.pick(6) {
            0 => self.edge_dies(),
            // Once more, while the sessions of the first come back.
            1 => self.core_dies_soon(),
            _ => {}
        }
        Ok(())
    }

    /// Between two steps a core that is to stop may be done.
    pub(super) fn go_on_stopping(&mut self) -> Result<(), Rule> {
        let Some(steps) = self.stopping else { return Ok(()) };
        self.stopping = Some(steps.saturating_sub(1));
        if steps == 0 || self.shards.iter().all(drain::is_done) {
            return self.core_stops();
        }
        Ok(())
    }

    /// The core stops in good order: all that it asked of storage is done.
    pub(super) fn core_stops(&mut self) -> Result<(), Rule> {
        for shard in 0..self.shards.len() {
            self.feed(shard, Input::Stop);
        }
        self.core_dies(true)
    }

    /// A crash is to come when some of the sessions are adopted.
    fn core_dies_soon(&mut self) {
        let ms = 1 + self.pick(3_000) as u64;
        self.late.push((self.now.mono_ms + ms, (Carries::Crash, 0, 0), Item::Crash));
    }

    /// The core dies with all that it has in memory and between its shards, and is started again over what was
    /// stored. Edges notice, each in its time.
    pub(super) fn core_dies(&mut self, in_good_order: bool) -> Result<(), Rule> {
        self.trace.crashes += u64::from(!in_good_order);
        self.trace.stops += u64::from(in_good_order);
        self.tell(|| format!("the core ends, {}", if in_good_order { "in good order" } else { "by a crash" }));
        self.note_ended();
        self.storage_ends(in_good_order);
        self.last_bytes(in_good_order);
        let of_core = |item: &Item| matches!(item, Item::LinkDown { .. } | Item::Leased { .. } | Item::Crash);
        self.late.retain(|(_, _, item)| !of_core(item));
        self.lanes.retain(|(carries, ..), _| matches!(carries, Carries::Links | Carries::Sockets));
        self.lanes.values_mut().for_each(|lane| lane.retain(|item| !of_core(item)));
        let links: Vec<(usize, usize)> = self.links.keys().copied().collect();
        self.links.clear();
        let boot = self.disk.boot(self.lease.take());
        self.start_core(&boot);
        for (edge, shard) in links {
            let silent_ms = if self.pick(3) == 0 { self.pick(4_000) as u64 } else { 0 };
            self.edge_will_notice(edge, shard, silent_ms);
        }
        Ok(())
    }

    /// Sessions that the core has ended, of which its edge has not heard, or the store: the next core has them again.
    fn note_ended(&mut self) {
        for client in &self.clients {
            let session = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            let stream = session.map(|session| session.stream_id());
            let its_token = |session: &Session| {
                let token = session.sm.as_ref().and_then(|sm| sm.token);
                token.is_some_and(|token| client.previd() == Some(StreamId(token).to_string().as_str()))
            };
            let is_its = |session: &Session| Some(session.stream) == stream || its_token(session);
            let mut known = self.shards.iter().flat_map(|shard| shard.sessions.iter());
            if !known.any(|(_, session)| is_its(session)) {
                self.checks.presences.ended(client.resource.stamp());
            }
        }
    }

    /// What the core had sent before it ended may still come, all of it or a part.
    fn last_bytes(&mut self, all: bool) {
        for (edge, shard) in self.links.keys().copied().collect::<Vec<_>>() {
            let sent = self.lanes.remove(&(Carries::Down, edge, shard)).unwrap_or_default();
            let come = if all { sent.len() } else { self.pick(sent.len() + 1) };
            for item in sent.into_iter().take(come) {
                if let Item::ToEdge { link, bytes, .. } = item {
                    self.frames_to_edge(edge, shard, link, &bytes);
                }
            }
        }
    }
}
