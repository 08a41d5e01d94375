//! What a shard wants done. The shell drains all of it after each input or batch of inputs.

use crate::commands::{Call, ControlId, Reply};
use crate::derive::Task;
use crate::link::LinkId;
use crate::route::PeerMessage;
use hearth_storage::Question;
use hearth_wire::SaslCondition;
use hearth_wire::ids::{ShardIndex, Slot, SlotEpoch};
use hearth_wire::to_edge::ToEdge;
use std::net::IpAddr;

/// Names a key derivation under way.
pub type DerivationId = u64;

/// Outputs since the last drain; the vectors are reused.
#[derive(Default)]
pub struct Outputs {
    /// Encoded frames by link index.
    pub to_edges: Vec<Vec<u8>>,
    /// Messages by shard index.
    pub to_shards: Vec<Vec<PeerMessage>>,
    /// For storage.
    pub questions: Vec<Question>,
    /// For the key derivation workers, each with the id its answer repeats.
    pub derive: Vec<(DerivationId, Task)>,
    /// Links to close, behind what was sent.
    pub close_links: Vec<LinkId>,
    /// Answers to `hearthctl`.
    pub replies: Vec<(ControlId, Reply)>,
    /// Commands that another shard is to answer, behind the messages to it.
    pub passed_on: Vec<(ShardIndex, Call)>,
    /// For the operator's log.
    pub events: Vec<Event>,
    /// The shell calls again with `WakeUp` at this time (`Now::mono_ms`) at the latest.
    pub wake_at_ms: Option<u64>,
}

impl Outputs {
    /// Appends one frame to a link's buffer and returns its encoded length.
    pub fn frame(&mut self, link: LinkId, frame: &ToEdge<'_>) -> usize {
        if link == LinkId::NOWHERE {
            return 0;
        }
        let index = usize::from(link.0);
        if self.to_edges.len() <= index {
            self.to_edges.resize_with(index.saturating_add(1), Vec::new);
        }
        let Some(buffer) = self.to_edges.get_mut(index) else { return 0 };
        let before = buffer.len();
        frame.encode(buffer);
        buffer.len().saturating_sub(before)
    }

    /// Adds a message to another shard's batch.
    pub fn peer(&mut self, shard: ShardIndex, message: PeerMessage) {
        let index = usize::from(shard);
        if self.to_shards.len() <= index {
            self.to_shards.resize_with(index.saturating_add(1), Vec::new);
        }
        if let Some(batch) = self.to_shards.get_mut(index) {
            batch.push(message);
        }
    }

    /// Asks to be called no later than `at_ms`.
    pub fn wake_at(&mut self, at_ms: u64) {
        self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |before| before.min(at_ms)));
    }
}

/// Something the operator may want to know. No bodies, no secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    EdgeUp {
        link: LinkId,
        edge: String,
        event_loop: u16,
    },
    EdgeDown {
        link: LinkId,
        edge: String,
        sessions: usize,
    },
    EdgeRefused {
        link: LinkId,
        reason: String,
    },
    LoggedIn {
        account: String,
        mechanism: &'static str,
    },
    /// `account` is what the client claimed to be, if it came that far.
    LoginFailed {
        account: Option<String>,
        source: Option<IpAddr>,
        condition: SaslCondition,
    },
    SessionStarted {
        jid: String,
    },
    SessionEnded {
        jid: String,
        reason: &'static str,
    },
    /// A session of the core before this one goes on.
    SessionAdopted {
        jid: String,
    },
    /// The sessions of the core before this one are adopted; `missing` event loops did not return theirs.
    Recovered {
        sessions: usize,
        missing: usize,
    },
    SessionDetached {
        jid: String,
        held_bytes: usize,
    },
    StorageFailed {
        doing: &'static str,
        cause: String,
    },
    /// From now on `shard` owns the slot.
    SlotMoved {
        slot: Slot,
        epoch: SlotEpoch,
        shard: ShardIndex,
    },
    /// Storage says that another owns the slot that this shard had under `epoch`.
    SlotLost {
        slot: Slot,
        epoch: SlotEpoch,
    },
    AccountChanged {
        account: String,
        change: &'static str,
    },
}
