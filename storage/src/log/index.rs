//! Where an account's records lie in a segment: in memory while it grows, in a file once it is sealed.
//!
//! ```text
//!  in memory   heads: account hash ─▶ newest entry;  entry: offset, len, previous entry   (12 bytes)
//!
//!  NNNNNNNN.idx, entries by (hash, offset), 16 bytes each:
//!  ┌─────────────────────────────┬────────────────────────────────────────────────┬───
//!  │ header, 64 bytes            │ block, 4096 bytes                              │ …
//!  │ magic version segment count │ crc32 count │ hash offset len │ … up to 255    │
//!  │ bytes first_ms last_ms      │             │ u64  u32    u32 │                │
//!  │ store id, crc32             │             │                 │                │
//!  └─────────────────────────────┴────────────────────────────────────────────────┴───
//! ```
//!
//! The hashes are spread evenly, so the block of an account is found by guessing: one or two reads.

use crate::disk::DiskFile;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

/// Where one record lies in its segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) offset: u32,
    /// With its prefix.
    pub(super) len: u32,
}

/// Index of a segment in memory.
#[derive(Debug, Default)]
pub(super) struct Chains {
    entries: Vec<Entry>,
    heads: HashMap<u64, u32, BuildHasherDefault<Already>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    /// Number of the account's entry before this one, or [`NONE`].
    previous: u32,
}

const NONE: u32 = u32::MAX;

/// The keys are keyed hashes already.
#[derive(Default)]
pub(super) struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Chains {
    /// Records come in the order of their offsets.
    pub(super) fn push(&mut self, hash: u64, place: Place) {
        if self.entries.len() == self.entries.capacity() {
            // Doubling would leave half of the memory unused.
            self.entries.reserve_exact((self.entries.len() / 8).saturating_add(256));
        }
        let number = u32::try_from(self.entries.len()).unwrap_or(NONE);
        let previous = self.heads.insert(hash, number).unwrap_or(NONE);
        self.entries.push(Entry { place, previous });
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn newest_first(&self, hash: u64) -> impl Iterator<Item = Place> + '_ {
        let entry = |number: u32| self.entries.get(usize::try_from(number).unwrap_or(usize::MAX));
        let head = self.heads.get(&hash).and_then(|number| entry(*number));
        std::iter::successors(head, move |this| entry(this.previous)).map(|entry| entry.place)
    }

    /// Whether the account has a record behind `after`.
    pub(super) fn any_after(&self, hash: u64, after: u32) -> bool {
        self.newest_first(hash).next().is_some_and(|place| place.offset > after)
    }

    /// The first `limit` records of an account behind `after`, in order.
    pub(super) fn after(&self, hash: u64, after: u32, limit: usize) -> Vec<Place> {
        let mut places: Vec<Place> = self.newest_first(hash).take_while(|place| place.offset > after).collect();
        places.reverse();
        places.truncate(limit);
        places
    }

    /// The hashes of all accounts.
    pub(super) fn accounts(&self) -> impl Iterator<Item = u64> + '_ {
        self.heads.keys().copied()
    }

    /// All entries by (hash, offset).
    fn sorted(&self) -> Vec<(u64, Place)> {
        let mut heads: Vec<u64> = self.accounts().collect();
        heads.sort_unstable();
        let mut all = Vec::with_capacity(self.entries.len());
        for hash in heads {
            let start = all.len();
            all.extend(self.newest_first(hash).map(|place| (hash, place)));
            if let Some(mine) = all.get_mut(start..) {
                mine.reverse();
            }
        }
        all
    }
}

const MAGIC: &[u8; 8] = b"hearthix";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const BLOCK_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 16;
const BLOCK_ENTRIES: usize = (BLOCK_BYTES - 8) / ENTRY_BYTES;

/// What an index file says of its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub(super) segment: u32,
    pub(super) count: u32,
    /// Length of the segment.
    pub(super) bytes: u64,
    /// The earliest and latest time at which one of its records was received.
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    pub(super) store_id: [u8; 16],
}

impl Summary {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let fields: [&[u8]; 8] = [
            MAGIC,
            &VERSION.to_le_bytes(),
            &self.segment.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.bytes.to_le_bytes(),
            &self.first_ms.to_le_bytes(),
            &self.last_ms.to_le_bytes(),
            &self.store_id,
        ];
        let mut header = [0; HEADER_BYTES];
        let body = fields.concat();
        let sum = crc32fast::hash(&body).to_le_bytes();
        header.iter_mut().zip(body.into_iter().chain(sum)).for_each(|(place, byte)| *place = byte);
        header
    }

    /// `None` for anything this build did not write so.
    fn decode(header: &[u8; HEADER_BYTES]) -> Option<Summary> {
        fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
            let (field, left) = rest.split_first_chunk::<N>()?;
            *rest = left;
            Some(*field)
        }
        let rest = &mut header.as_slice();
        let (magic, version) = (take::<8>(rest)?, take::<4>(rest)?);
        let summary = Summary {
            segment: u32::from_le_bytes(take(rest)?),
            count: u32::from_le_bytes(take(rest)?),
            bytes: u64::from_le_bytes(take(rest)?),
            first_ms: u64::from_le_bytes(take(rest)?),
            last_ms: u64::from_le_bytes(take(rest)?),
            store_id: take(rest)?,
        };
        let known = magic == *MAGIC && version == VERSION.to_le_bytes() && summary.encode() == *header;
        known.then_some(summary)
    }

    fn blocks(&self) -> u32 {
        self.count.div_ceil(u32::try_from(BLOCK_ENTRIES).unwrap_or(1))
    }
}

/// The bytes of an index file.
pub(super) fn encode(summary: &Summary, chains: &Chains) -> Vec<u8> {
    let sorted = chains.sorted();
    let mut out = Vec::with_capacity(sorted.len().div_ceil(BLOCK_ENTRIES).saturating_mul(BLOCK_BYTES));
    out.extend_from_slice(&summary.encode());
    for entries in sorted.chunks(BLOCK_ENTRIES) {
        let mut body = Vec::with_capacity(BLOCK_BYTES);
        body.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(0).to_le_bytes());
        for (hash, Place { offset, len }) in entries {
            body.extend_from_slice(&hash.to_le_bytes());
            body.extend_from_slice(&offset.to_le_bytes());
            body.extend_from_slice(&len.to_le_bytes());
        }
        body.resize(BLOCK_BYTES - 4, 0);
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&body);
    }
    out
}

/// An open index file.
pub(super) struct IndexFile {
    file: DiskFile,
    pub(super) summary: Summary,
}

impl IndexFile {
    /// `None` if this is not a whole index file.
    pub(super) fn open(file: DiskFile) -> io::Result<Option<IndexFile>> {
        let len = file.len()?;
        let mut header = [0; HEADER_BYTES];
        if len < u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX) {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let Some(summary) = Summary::decode(&header) else { return Ok(None) };
        let whole = block_offset(summary.blocks()) == len;
        Ok(whole.then_some(IndexFile { file, summary }))
    }

    /// The first `limit` records of an account behind `after`, in order; `None`: a block is damaged.
    pub(super) fn after(&self, hash: u64, after: u32, limit: usize) -> io::Result<Option<Vec<Place>>> {
        let mut places = Vec::new();
        let Some(mut number) = self.first_block(hash)? else { return Ok(None) };
        while number < self.summary.blocks() && places.len() < limit {
            let Some(block) = self.block(number)? else { return Ok(None) };
            for (this, place) in block.entries() {
                if this > hash {
                    return Ok(Some(places));
                }
                if this == hash && place.offset > after && places.len() < limit {
                    places.push(place);
                }
            }
            number = number.saturating_add(1);
        }
        Ok(Some(places))
    }

    /// The hashes of all accounts; `None`: a block is damaged.
    pub(super) fn accounts(&self) -> io::Result<Option<Vec<u64>>> {
        let mut accounts = Vec::new();
        for number in 0..self.summary.blocks() {
            let Some(block) = self.block(number)? else { return Ok(None) };
            accounts.extend(block.entries().map(|(hash, _)| hash));
            accounts.dedup();
        }
        Ok(Some(accounts))
    }

    /// The first block that may hold `hash`.
    fn first_block(&self, hash: u64) -> io::Result<Option<u32>> {
        let (mut low, mut high) = (0, self.summary.blocks());
        let (mut low_hash, mut high_hash) = (0, u64::MAX);
        let mut tries: u32 = 0;
        while low < high {
            let middle = if tries < 4 { guess(low, high, low_hash, high_hash, hash) } else { low.midpoint(high) };
            let Some(block) = self.block(middle)? else { return Ok(None) };
            let (Some((first, _)), Some((last, _))) = (block.entries().next(), block.entries().last()) else {
                return Ok(None);
            };
            if hash > last {
                low = middle.saturating_add(1);
                low_hash = last;
            } else if hash > first {
                return Ok(Some(middle));
            } else {
                // An equal first entry may continue the block before.
                high = middle;
                high_hash = first;
            }
            tries = tries.saturating_add(1);
        }
        Ok(Some(low))
    }

    fn block(&self, number: u32) -> io::Result<Option<Block>> {
        let mut block = Block { bytes: [0; BLOCK_BYTES] };
        self.file.read_exact_at(&mut block.bytes, block_offset(number))?;
        Ok(block.is_whole().then_some(block))
    }
}

fn block_offset(number: u32) -> u64 {
    let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    u64::from(number).saturating_mul(bytes(BLOCK_BYTES)).saturating_add(bytes(HEADER_BYTES))
}

/// Where `hash` should be between two places if hashes are spread evenly.
fn guess(low: u32, high: u32, low_hash: u64, high_hash: u64, hash: u64) -> u32 {
    let span = u128::from(high_hash.saturating_sub(low_hash)).max(1);
    let share = u128::from(hash.saturating_sub(low_hash)).min(span);
    let blocks = u128::from(high.saturating_sub(low));
    let step = u32::try_from(share.saturating_mul(blocks) / span).unwrap_or(0);
    low.saturating_add(step).min(high.saturating_sub(1))
}

struct Block {
    bytes: [u8; BLOCK_BYTES],
}

impl Block {
    fn is_whole(&self) -> bool {
        let Some((sum, body)) = self.bytes.split_first_chunk::<4>() else { return false };
        crc32fast::hash(body) == u32::from_le_bytes(*sum)
    }

    fn entries(&self) -> impl Iterator<Item = (u64, Place)> + '_ {
        let (_, body) = self.bytes.split_at(4);
        let (count, entries) = body.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let count = usize::try_from(u32::from_le_bytes(*count)).unwrap_or(0).min(BLOCK_ENTRIES);
        entries.chunks_exact(ENTRY_BYTES).take(count).filter_map(|entry| {
            let (hash, rest) = entry.split_first_chunk::<8>()?;
            let (offset, rest) = rest.split_first_chunk::<4>()?;
            let (len, _) = rest.split_first_chunk::<4>()?;
            let place = Place { offset: u32::from_le_bytes(*offset), len: u32::from_le_bytes(*len) };
            Some((u64::from_le_bytes(*hash), place))
        })
    }
}
