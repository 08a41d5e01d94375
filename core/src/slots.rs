//! Who owns which slot: data that each shard holds and that only news changes, epoch by epoch.
//!
//! Slots are dealt to the shards in turn when the core starts, all under the epoch of the start. From
//! then on a slot moves under an epoch of its own, greater than any it had: see `slots/handover.rs`.

pub mod handover;

#[cfg(test)]
mod tests;

use handover::{Giving, Taking};
use hearth_wire::ids::{SLOTS, ShardIndex, Slot, SlotEpoch};
use std::collections::BTreeMap;

/// Owner of a slot that this shard has lost and does not yet know to whom.
pub const NOBODY: ShardIndex = ShardIndex::MAX;

/// The map of slots, 10 bytes each, and the moves under way.
pub struct Slots {
    owners: Box<[ShardIndex]>,
    epochs: Box<[SlotEpoch]>,
    /// Epoch of the start, and the newest of any slot.
    boot: SlotEpoch,
    newest: SlotEpoch,
    /// Slots that come to this shard and are not served yet.
    pub(crate) taking: BTreeMap<Slot, Taking>,
    /// Slots that this shard gave up, each by the epoch it had here, until nothing of them is left.
    pub(crate) giving: BTreeMap<(Slot, SlotEpoch), Giving>,
}

impl Slots {
    /// Deals the slots to `shards` shards in turn.
    pub fn new(shards: ShardIndex, epoch: SlotEpoch) -> Slots {
        let owners = (0..SLOTS).map(|slot| slot.checked_rem(shards).unwrap_or(0)).collect();
        let epochs = vec![epoch; usize::from(SLOTS)].into_boxed_slice();
        Slots { owners, epochs, boot: epoch, newest: epoch, taking: BTreeMap::new(), giving: BTreeMap::new() }
    }

    /// Who owns a slot, as far as this shard knows.
    pub fn owner(&self, slot: Slot) -> ShardIndex {
        self.owners.get(usize::from(slot.index())).copied().unwrap_or(NOBODY)
    }

    /// Under which epoch.
    pub fn epoch(&self, slot: Slot) -> SlotEpoch {
        self.epochs.get(usize::from(slot.index())).copied().unwrap_or(self.boot)
    }

    /// Whether any slot has moved since the start.
    pub fn moved(&self) -> bool {
        self.newest > self.boot
    }

    /// Whether a move of this shard's slots is under way.
    pub fn busy(&self) -> bool {
        !self.taking.is_empty() || !self.giving.is_empty()
    }

    /// Takes news over; false if they are not newer than what is known.
    pub(crate) fn learn(&mut self, slot: Slot, epoch: SlotEpoch, owner: ShardIndex) -> bool {
        let at = usize::from(slot.index());
        let (Some(known), Some(shard)) = (self.epochs.get_mut(at), self.owners.get_mut(at)) else { return false };
        if epoch <= *known {
            return false;
        }
        (*known, *shard) = (epoch, owner);
        self.newest = self.newest.max(epoch);
        true
    }

    /// The slot is somebody else's under an epoch that is not known yet.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if let Some(shard) = self.owners.get_mut(usize::from(slot.index())) {
            *shard = NOBODY;
        }
        // It has moved, under an epoch that is still to be heard of.
        self.newest = self.newest.max(self.boot.saturating_add(1));
    }

    /// Whether a move of this slot is under way here.
    pub fn is_moving(&self, slot: Slot) -> bool {
        self.taking.contains_key(&slot) || self.giving.range((slot, 0)..=(slot, SlotEpoch::MAX)).next().is_some()
    }

    /// The move by which this shard gives the slot up, the latest if there are several.
    pub(crate) fn giving_mut(&mut self, slot: Slot) -> Option<&mut Giving> {
        self.giving.range_mut((slot, 0)..=(slot, SlotEpoch::MAX)).next_back().map(|(_, giving)| giving)
    }

    /// All slots in runs of one owner and epoch, for an edge that knows none.
    pub fn runs(&self) -> Vec<(Slot, Slot, SlotEpoch, ShardIndex)> {
        let mut runs: Vec<(Slot, Slot, SlotEpoch, ShardIndex)> = Vec::new();
        for slot in (0..SLOTS).filter_map(Slot::new) {
            let (epoch, shard) = (self.epoch(slot), self.owner(slot));
            match runs.last_mut().filter(|run| (run.2, run.3) == (epoch, shard)) {
                Some(run) => run.1 = slot,
                None => runs.push((slot, slot, epoch, shard)),
            }
        }
        runs
    }
}
