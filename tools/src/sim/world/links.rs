//! Links between event loops and shards: they break, either side notices when it does, and the edge dials again.

use super::World;
use super::lanes::{Carries, Item};
use hearth_core::link::LinkId;
use hearth_core::outputs::Event;
use hearth_core::shard::Input;
use hearth_wire::codec;
use hearth_wire::stanza::Stanza;
use hearth_wire::to_core::{Attach, Bind, Resume, ToCore, Written};
use hearth_wire::to_edge::ToEdge;

/// What a session of a tight world may be sent, and what the edge that ships would allow it.
const SESSION_CREDIT_TIGHT: u64 = 1_000;
const SESSION_CREDIT: u64 = hearth_connmgr::limits::SESSION_WINDOW_BYTES;

impl World {
    pub(super) fn edge_of(&self, shard: usize, link: u16) -> Option<(usize, usize)> {
        self.links.iter().find(|((_, to), id)| *to == shard && **id == link).map(|(ends, _)| *ends)
    }

    pub(super) fn dial(&mut self, edge: usize, shard: usize) {
        let link = self.next_link;
        self.next_link += 1;
        self.tell(|| format!("edge {edge} dials shard {shard}: link {link}"));
        self.links.insert((edge, shard), link);
        self.feed(shard, Input::LinkUp(LinkId(link)));
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.dial(u16::try_from(shard).unwrap_or(0));
        }
    }

    /// The connection breaks: what is under way on it is lost. Both sides notice, at once or each in its time; then
    /// the edge dials again.
    pub(super) fn lose_link(&mut self, edge: usize, shard: usize) {
        let Some(link) = self.cut_link(edge, shard) else { return };
        self.trace.links_lost += 1;
        self.tell(|| format!("link {link} of edge {edge} and shard {shard} breaks"));
        let down = Item::LinkDown { shard, link };
        if self.pick(3) == 0 {
            // The shard may not have noticed when the new link comes.
            let at_ms = self.now.mono_ms + self.pick(3_000) as u64;
            self.late.push((at_ms, (Carries::Links, edge, shard), down));
        } else {
            // The shard hears of it before the new link's frames.
            self.push((Carries::Up, edge, shard), down);
        }
        let silent_ms = if self.pick(3) == 0 { self.pick(4_000) as u64 } else { 0 };
        self.edge_will_notice(edge, shard, silent_ms);
    }

    /// What is under way on a link is lost; its number.
    pub(super) fn cut_link(&mut self, edge: usize, shard: usize) -> Option<u16> {
        let link = self.links.remove(&(edge, shard))?;
        // News of an earlier loss is not on the wire.
        if let Some(lane) = self.lanes.get_mut(&(Carries::Up, edge, shard)) {
            lane.retain(|item| matches!(item, Item::LinkDown { .. }));
        }
        self.lanes.remove(&(Carries::Down, edge, shard));
        Some(link)
    }

    /// The edge notices that a link is gone, and tries again; sometimes that takes longer than anybody waits.
    pub(super) fn edge_will_notice(&mut self, edge: usize, shard: usize, silent_ms: u64) {
        if silent_ms > 0 {
            let at_ms = self.now.mono_ms + silent_ms;
            self.late.push((at_ms, (Carries::Links, edge, shard), Item::LinkLost { edge, shard }));
        } else {
            self.edge_loses_link(edge, shard);
        }
    }

    pub(super) fn edge_loses_link(&mut self, edge: usize, shard: usize) {
        self.tell(|| format!("edge {edge} has no link to shard {shard}"));
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.link_lost(u16::try_from(shard).unwrap_or(0));
        }
        let pause_ms = match self.pick(8) {
            0..=3 => return self.dial(edge, shard),
            4..=6 => self.pick(3_000),
            _ => self.pick(14_000),
        };
        let at_ms = self.now.mono_ms + pause_ms as u64;
        self.late.push((at_ms, (Carries::Links, edge, shard), Item::Dial { edge, shard }));
    }

    pub(super) fn collect_links(&mut self) {
        for edge in 0..self.edges.len() {
            for shard in 0..self.shards.len() {
                let Some(out) = self.edges.get_mut(edge).and_then(|e| e.links.get_mut(shard)).map(|l| &mut l.out)
                else {
                    continue;
                };
                let bytes = std::mem::take(out);
                if let Some(link) = self.links.get(&(edge, shard)).copied().filter(|_| !bytes.is_empty()) {
                    self.push((Carries::Up, edge, shard), Item::ToShard { edge, shard, link, bytes });
                }
            }
        }
    }

    pub(super) fn frames_to_shard(&mut self, edge: usize, shard: usize, link: u16, bytes: &[u8]) {
        if self.links.get(&(edge, shard)) != Some(&link) {
            return;
        }
        let mut rest = bytes;
        while let Ok(Some((frame, used))) = codec::split(rest, codec::FRAME_BYTES_MAX) {
            if let Ok(Some(mut frame)) = ToCore::decode(frame) {
                self.tighten(&mut frame);
                self.tell(|| format!("edge {edge} -> shard {shard}: {frame:?}{}", up(&frame)));
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
            | ToCore::Written(Written { credit, .. })
            | ToCore::Resume(Resume { credit, .. })
            | ToCore::Attach(Attach { credit, .. }) = frame
        {
            *credit = credit.saturating_sub(SESSION_CREDIT - SESSION_CREDIT_TIGHT);
        }
    }

    pub(super) fn frames_to_edge(&mut self, edge: usize, shard: usize, link: u16, bytes: &[u8]) {
        if self.links.get(&(edge, shard)) != Some(&link) {
            return;
        }
        let blind = self.options.canary && self.pick(20) == 0;
        let index = u16::try_from(shard).unwrap_or(0);
        let mut rest = bytes;
        while let Ok(Some((frame, used))) = codec::split(rest, codec::FRAME_BYTES_MAX) {
            let Ok(Some(frame)) = ToEdge::decode(frame) else { return };
            self.tell(|| format!("shard {shard} -> edge {edge}: {frame:?}{}", down(&frame)));
            self.trace.attached += u64::from(matches!(frame, ToEdge::Attached(_)));
            let lost = blind && matches!(frame, ToEdge::Deliver(_) | ToEdge::DeliverLogged(_));
            if let Some(edge) = self.edges.get_mut(edge).filter(|_| !lost) {
                edge.frame(index, &frame, used);
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        self.note_settled();
    }

    /// What a shard tells the operator.
    pub(super) fn note_event(&mut self, shard: usize, event: &Event) {
        self.tell(|| format!("shard {shard}: {event:?}"));
        self.trace.adopted += u64::from(matches!(event, Event::SessionAdopted { .. }));
    }

    /// What the edge learned of its sessions' messages.
    pub(super) fn note_settled(&mut self) {
        for edge in &mut self.edges {
            for id in edge.refused.drain(..) {
                self.checks.messages.refused(id);
            }
        }
        for client in &mut self.clients {
            let session = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            let Some(settled) = session.map(hearth_connmgr::session::Session::settled) else { continue };
            if client.resource.since.is_none() && client.resource.available.is_some_and(|number| number <= settled) {
                client.resource.since = Some(self.next_message);
            }
            let unsettled = &mut client.resource.unsettled;
            while let Some(entry) = unsettled.first_entry().filter(|entry| *entry.key() <= settled) {
                self.checks.messages.acknowledged(entry.remove());
            }
        }
    }
}

/// The stanza in a frame, for whoever reads the story.
fn up(frame: &ToCore<'_>) -> String {
    match frame {
        ToCore::Stanza(stanza) | ToCore::StanzaAgain(stanza) => said(stanza.stanza),
        _ => String::new(),
    }
}

fn down(frame: &ToEdge<'_>) -> String {
    match frame {
        ToEdge::Deliver(deliver) => said(deliver.stanza),
        ToEdge::DeliverLogged(logged) => said(logged.deliver.stanza),
        ToEdge::Multicast(multicast) => said(multicast.stanza),
        ToEdge::MulticastLogged(logged) => said(logged.multicast.stanza),
        _ => String::new(),
    }
}

fn said(stanza: &[u8]) -> String {
    Stanza::decode(stanza).map(|view| format!(" {view:?}")).unwrap_or_default()
}
