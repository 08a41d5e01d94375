//! The first seconds of a core whose predecessor had sessions: edges return them (`attach.rs`), and until every
//! event loop on record has said that it did, or a grace has passed, everything else waits in the order it
//! came. So nobody is told that somebody is gone who is only on the way, and nothing is refused for it.

use crate::cx::Cx;
use crate::limits;
use crate::link::LinkId;
use crate::outputs::Event;
use crate::records::{self, Before};
use crate::route::PeerMessage;
use crate::shard;
use hearth_storage::EdgeRun;
use hearth_wire::codec;
use hearth_wire::ids::{EdgeIncarnation, Generation, ShardIndex, StreamId};
use hearth_wire::to_core::{Hello, ToCore};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// See the module.
pub struct Recovery {
    /// When the wait ends at the latest, `Now::mono_ms`; unknown before the first turn.
    until_ms: Option<u64>,
    /// Event loops that have not returned all their sessions.
    expected: BTreeSet<(Box<str>, EdgeIncarnation, u16)>,
    /// Sessions whose accounts are being loaded.
    pub adopting: usize,
    /// Sessions on record that were not returned yet.
    before: BTreeMap<StreamId, Before>,
    /// Those of them that were parked.
    parked: Vec<StreamId>,
    waiting: VecDeque<Waiting>,
}

enum Waiting {
    Frame { link: LinkId, frame: Vec<u8>, bytes: usize },
    Peer { from: ShardIndex, message: PeerMessage },
}

impl Recovery {
    /// `None`: nobody had a session, there is nothing to wait for.
    pub fn of(runs: &[EdgeRun], before: Vec<Before>) -> Option<Box<Recovery>> {
        let loops = |run: &EdgeRun| {
            let (edge, incarnation) = (run.edge.clone(), run.incarnation);
            (0..run.event_loops).map(move |event_loop| (edge.as_str().into(), incarnation, event_loop))
        };
        let expected: BTreeSet<_> = runs.iter().flat_map(loops).collect();
        let before: BTreeMap<_, _> = before.into_iter().map(|before| (before.1.stream, before)).collect();
        let parked = before.values().filter(|(_, record)| record.parked.is_some()).map(|(_, r)| r.stream).collect();
        let none = expected.is_empty() && before.is_empty();
        let recovery = Recovery { until_ms: None, expected, adopting: 0, before, parked, waiting: VecDeque::new() };
        (!none).then(|| Box::new(recovery))
    }

    /// Which attachment of a session is on record.
    pub fn on_record(&self, stream: StreamId) -> Option<Generation> {
        self.before.get(&stream).map(|(_, record)| record.generation)
    }

    /// Sessions on record that nobody has returned yet.
    pub fn expected(&self) -> usize {
        self.before.len()
    }

    /// An edge has the session.
    pub fn returned(&mut self, stream: StreamId) {
        self.before.remove(&stream);
    }
}

/// An edge is there. An earlier run of it is not, and one that cannot attach sessions has none.
pub fn on_hello(cx: &mut Cx<'_>, hello: &Hello<'_>, attaches: bool) {
    let Some(recovery) = &mut cx.shard.recovery else { return };
    recovery.expected.retain(|(edge, incarnation, event_loop)| {
        **edge != *hello.edge
            || *incarnation > hello.incarnation
            || (*incarnation == hello.incarnation && (attaches || *event_loop != hello.event_loop))
    });
}

/// The event loop behind this link has returned all its sessions.
pub fn on_all_sent(cx: &mut Cx<'_>, link: LinkId) {
    let Some(link) = cx.shard.links.get(&link) else { return };
    let returned = (link.edge.clone(), link.incarnation, link.event_loop);
    if let Some(recovery) = &mut cx.shard.recovery {
        recovery.expected.remove(&returned);
    }
}

/// Whether a frame has to wait, and does now.
pub fn hold_frame(cx: &mut Cx<'_>, link: LinkId, frame: &ToCore<'_>, bytes: usize) -> bool {
    let passes = matches!(
        frame,
        ToCore::Hello(_)
            | ToCore::Heartbeat(_)
            | ToCore::Echo(_)
            | ToCore::LinkCredit(_)
            | ToCore::Drained(_)
            | ToCore::OpenQuestions(_)
            | ToCore::Recent(_)
            | ToCore::Attach(_)
            | ToCore::AllSent(_)
    );
    let Some(recovery) = cx.shard.recovery.as_mut().filter(|_| !passes) else { return false };
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    recovery.waiting.push_back(Waiting::Frame { link, frame: encoded, bytes });
    true
}

/// Gives a message of another shard back unless it has to wait.
pub fn hold_peer(cx: &mut Cx<'_>, from: ShardIndex, message: PeerMessage) -> Option<PeerMessage> {
    let waits =
        matches!(message, PeerMessage::Route { .. } | PeerMessage::Presence { .. } | PeerMessage::Presences { .. });
    let Some(recovery) = cx.shard.recovery.as_mut().filter(|_| waits) else { return Some(message) };
    recovery.waiting.push_back(Waiting::Peer { from, message });
    None
}

/// Ends the wait if it is time, and goes on with what waited.
pub fn advance(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    let Some(recovery) = &mut cx.shard.recovery else { return };
    let until_ms = *recovery.until_ms.get_or_insert(now_ms.saturating_add(limits::LINK_GRACE_MS));
    let late = now_ms >= until_ms || recovery.waiting.len() > limits::RECOVERY_WAITING_MAX;
    if !recovery.expected.is_empty() && !late {
        return cx.out.wake_at(until_ms);
    }
    restore_parked(cx);
    let settled = |recovery: &Recovery| recovery.adopting == 0 && recovery.parked.is_empty();
    if late || cx.shard.recovery.as_deref().is_some_and(settled) {
        finish(cx);
    } else {
        cx.out.wake_at(until_ms);
    }
}

/// No edge has sessions on record that were parked: they can be resumed as soon as anybody is heard. So many at a
/// time.
fn restore_parked(cx: &mut Cx<'_>) {
    loop {
        let Some(recovery) = cx.shard.recovery.as_mut().filter(|r| r.adopting < limits::RESTORED_AT_ONCE_MAX) else {
            return;
        };
        let Some(stream) = recovery.parked.pop() else { return };
        let Some(before) = recovery.before.remove(&stream) else { continue };
        recovery.adopting = recovery.adopting.saturating_add(1);
        cx.shard.too_late.insert(stream);
        records::restore(cx, before, |cx| {
            if let Some(recovery) = &mut cx.shard.recovery {
                recovery.adopting = recovery.adopting.saturating_sub(1);
            }
        });
    }
}

fn finish(cx: &mut Cx<'_>) {
    let Some(recovery) = cx.shard.recovery.take() else { return };
    let missing = recovery.expected.len();
    cx.event(Event::Recovered { sessions: cx.shard.sessions.len(), missing });
    cx.shard.too_late.extend(recovery.before.keys());
    cx.shard.not_returned.extend(recovery.before.into_values());
    for (edge, ..) in recovery.expected {
        crate::edges::forget_run(cx, &edge);
    }
    for waiting in recovery.waiting {
        match waiting {
            Waiting::Peer { from, message } => shard::on_peer(cx, from, message),
            Waiting::Frame { link, frame, bytes } => {
                // As it was encoded above.
                if let Ok(Some((frame, _))) = codec::split(&frame, codec::FRAME_BYTES_MAX)
                    && let Ok(Some(frame)) = ToCore::decode(frame)
                {
                    shard::on_frame(cx, link, &frame, bytes);
                }
            }
        }
    }
}
