//! Slots that move.

use super::World;
use super::lanes::{Carries, Item};
use hearth_core::shard::Input;
use hearth_wire::ids::{ShardIndex, Slot};

impl World {
    /// The slot of somebody's account goes to another shard: in good order, or by force, of which the shards
    /// hear one by one.
    pub(super) fn move_slot(&mut self) {
        let user = self.pick(self.options.users);
        let slot = self.slot_key.slot(&crate::sim::client::address(user));
        let to = u16::try_from(self.pick(self.shards.len())).unwrap_or(0);
        let forced = self.pick(3) == 0 || self.options.unfenced;
        let Some(owner) = self.at_rest(slot).filter(|owner| *owner != to) else { return };
        self.trace.slots_moved += 1;
        if forced {
            self.leased += 1_000;
            self.lease = Some((slot, self.leased));
            self.forced.insert(slot);
            for shard in 0..self.shards.len() {
                // The old owner may hear of it long after the new one began to serve.
                let wait_ms = if shard == usize::from(owner) { self.pick(12_000) as u64 } else { 0 };
                let item = Item::Leased { shard, slot, epoch: self.leased, to };
                self.late.push((self.now.mono_ms + wait_ms, (Carries::Leases, shard, 0), item));
            }
            self.arrive();
        } else {
            self.tell(|| format!("{slot:?} moves from {owner} to {to}"));
            self.feed(usize::from(owner), Input::MoveSlot { slot, to });
        }
    }

    /// The owner of a slot, if all agree and no move of it is under way.
    pub(super) fn at_rest(&self, slot: Slot) -> Option<ShardIndex> {
        let first = self.shards.first()?;
        let (owner, epoch) = (first.slots.owner(slot), first.slots.epoch(slot));
        let agreed = self.shards.iter().all(|s| (s.slots.owner(slot), s.slots.epoch(slot)) == (owner, epoch));
        let moving = self.shards.iter().any(|s| s.slots.is_moving(slot));
        (agreed && !moving && !self.has_two_owners(slot)).then_some(owner)
    }

    /// The slot was taken by force, and not everybody knows. Its old owner keeps to itself what it has for the slot.
    pub(super) fn has_two_owners(&self, slot: Slot) -> bool {
        let hears = |item: &Item| matches!(item, Item::Leased { slot: leased, .. } if *leased == slot);
        self.late.iter().any(|(_, _, item)| hears(item)) || self.lanes.values().flatten().any(hears)
    }
}
