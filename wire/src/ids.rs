//! Names of things that cross the link (design: identity of sessions).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of slots; a slot is the unit of ownership. Fixed for the life of a data directory.
pub const SLOTS: u16 = 4096;

/// A share of all entities. Made only by [`SlotKey::slot`] or by decoding with a range check;
/// its owner is looked up, never computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this index, if there is one.
    pub fn new(index: u16) -> Option<Slot> {
        (index < SLOTS).then_some(Slot(index))
    }
    /// 0 ≤ index < [`SLOTS`].
    pub fn index(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Slot, D::Error> {
        let index = u16::deserialize(deserializer)?;
        Slot::new(index).ok_or_else(|| serde::de::Error::custom("slot out of range"))
    }
}

/// The keyed hash that places entities into slots. The key is stored by the core, told to edges
/// in `Welcome`; a client that cannot know it cannot pile entities onto one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotKey(pub [u8; 16]);

impl SlotKey {
    /// The slot of an entity, by its prepared address: an account's bare JID, a domain.
    pub fn slot(&self, entity: &str) -> Slot {
        Slot(u16::try_from(self.hash(entity) % u64::from(SLOTS)).unwrap_or(0))
    }
    /// SipHash-2-4 of the address under this key: the same in every release and on every platform.
    pub fn hash(&self, entity: &str) -> u64 {
        siphash24(&self.0, entity.as_bytes())
    }

    /// What clients know a record of an account's log by (XEP-0359 §3.1): 16 hexadecimal digits. The same for ever;
    /// different for different records, as it is a permutation of their numbers (four Feistel rounds), which tells
    /// nobody how much else there is in the log.
    pub fn stanza_id(&self, log: u64) -> [u8; 16] {
        let half = |word: u64| word & u64::from(u32::MAX);
        let (mut left, mut right) = (log >> 32, half(log));
        for round in 0..4u8 {
            let mut input = [round; 9];
            for (to, from) in input.iter_mut().zip(right.to_le_bytes()) {
                *to = from;
            }
            (left, right) = (right, left ^ half(siphash24(&self.0, &input)));
        }
        let id = (left << 32) | right;
        let mut text = [b'0'; 16];
        for (at, digit) in (0u32..).zip(text.iter_mut()) {
            let nibble = usize::try_from((id >> (60 - 4 * at)) & 15).unwrap_or(0);
            *digit = b"0123456789abcdef".get(nibble).copied().unwrap_or(b'0');
        }
        text
    }
}

/// SipHash-2-4 (Aumasson, Bernstein), fixed so that slots never move between releases or platforms.
fn siphash24(key: &[u8; 16], data: &[u8]) -> u64 {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |acc, b| (acc << 8) | u64::from(*b));
    let (k0, k1) = key.split_at(8);
    let (k0, k1) = (word(k0), word(k1));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        let [a, b, c, d] = v;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    };
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let m = word(chunk);
        v[3] ^= m;
        round(&mut v);
        round(&mut v);
        v[0] ^= m;
    }
    let last = word(chunks.remainder()) | ((data.len() as u64) << 56);
    v[3] ^= last;
    round(&mut v);
    round(&mut v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// Ownership of a slot; only grows, stored whenever a shard takes the slot.
pub type SlotEpoch = u64;

/// One attachment of a session: raised at every attach. Compared as a pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Generation {
    pub epoch: SlotEpoch,
    pub counter: u64,
}

/// One run of an edge process: milliseconds since 1970 at its start, so later runs are greater.
pub type EdgeIncarnation = u64;

/// Names a socket, made by the edge, never reused. On a link the incarnation is the link's own
/// (its `Hello`), so frames carry the counter alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Handle {
    pub incarnation: EdgeIncarnation,
    pub counter: u64,
}

/// Names a session for life; 128 random bits made by the core; public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub [u8; 16]);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

/// Names a stanza a client sent, for life: which stream, and its number there, from 1 at bind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct IngestId {
    pub stream: StreamId,
    pub number: u64,
}

impl IngestId {
    /// Whether the same stream sent the other before this.
    pub fn is_behind(&self, other: &IngestId) -> bool {
        self.stream == other.stream && self.number > other.number
    }
}

/// One shard of one core.
pub type ShardIndex = u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_reference_vectors() {
        // Reference vectors of the SipHash paper: key 00..0f, inputs 00, 00 01, …
        let key: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let data: Vec<u8> = (0..15).collect();
        assert_eq!(siphash24(&key, &data), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash24(&key, &[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn ids_of_records_differ_tell_nothing_and_never_change() {
        let key = SlotKey([7; 16]);
        let text = |log| String::from_utf8(key.stanza_id(log).to_vec()).unwrap();
        let ids: std::collections::HashSet<_> = (0..10_000).chain(u64::MAX - 10_000..=u64::MAX).map(text).collect();
        assert_eq!(ids.len(), 20_001);
        assert!(ids.iter().all(|id| id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit())));
        // Neighbours have nothing in common but chance: one digit of sixteen.
        let alike: usize =
            (0..1000).map(|log| text(log).bytes().zip(text(log + 1).bytes()).filter(|(a, b)| a == b).count()).sum();
        assert!((800..1200).contains(&alike), "{alike}");
        assert_ne!(SlotKey([8; 16]).stanza_id(1), key.stanza_id(1));
        assert_eq!((text(0).as_str(), text(1).as_str()), ("1cc4d26d8f4db9ed", "9866789e32e72bb5"));
    }

    #[test]
    fn slots_spread() {
        let key = SlotKey([7; 16]);
        let mut seen = std::collections::HashSet::new();
        for i in 0..20_000 {
            seen.insert(key.slot(&format!("user{i}@example.org")));
        }
        assert!(seen.len() > 4000, "{}", seen.len());
    }
}
