//! The newest sealed segment of each account, so that "has it any record above its mark?", asked at
//! each login, costs one look into memory however many segments there are.
//!
//! ```text
//!  log/latest, written now and then; segments sealed later are added from their indexes at start:
//!  ┌──────────────────────────────────────────────────────────────┬───────────────────────┬───
//!  │ magic "hearthlt", version, store id, up to: u32, count: u32, │ hash: u32 segment: u32 │ …
//!  │ crc32 of all else                                   40 bytes │                        │
//!  └──────────────────────────────────────────────────────────────┴───────────────────────┴───
//! ```
//!
//! Half of an account's hash is enough: where two accounts share it, one may be told yes and find
//! nothing. Some 10 to 20 bytes of memory for each account that received something.

use super::index::{IndexFile, Summary};
use super::sealed::Sealed;
use super::{Shared, segment};
use crate::disk::io_error;
use crate::{StoreError, limits};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"hearthlt";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;

#[derive(Debug, Default)]
pub(super) struct Latest {
    segments: HashMap<u32, u32, BuildHasherDefault<Spread>>,
    /// The newest segment that the file knows.
    saved: u32,
}

/// The keys are halves of keyed hashes; the table wants their bits at both ends of a word.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u32(&mut self, key: u32) {
        self.0 = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(u32::MAX)
}

impl Latest {
    /// The newest sealed segment with a record of the account, perhaps of another.
    pub(super) fn segment(&self, hash: u64) -> Option<u32> {
        self.segments.get(&half(hash)).copied()
    }

    /// Segments are added in their order.
    pub(super) fn add(&mut self, segment: u32, accounts: impl Iterator<Item = u64>) {
        self.segments.extend(accounts.map(|hash| (half(hash), segment)));
    }

    /// Forgets segments before `first`.
    pub(super) fn forget_before(&mut self, first: u32) {
        self.segments.retain(|_, segment| *segment >= first);
    }

    /// Whether so many segments were sealed since that it should be saved.
    pub(super) fn wants_saving(&self, newest: u32) -> bool {
        newest.saturating_sub(self.saved) >= limits::LATEST_SAVED_EVERY
    }

    /// The bytes of the file, and its segment noted as saved.
    pub(super) fn encode(&mut self, store_id: [u8; 16], newest: u32) -> Vec<u8> {
        self.saved = newest;
        let count = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(self.segments.len().saturating_mul(8).saturating_add(HEADER_BYTES));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&store_id);
        out.extend_from_slice(&newest.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (hash, segment) in &self.segments {
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&segment.to_le_bytes());
        }
        let sum = crc32fast::hash(&out).to_le_bytes();
        if let Some(place) = out.get_mut(HEADER_BYTES - 4..HEADER_BYTES) {
            place.copy_from_slice(&sum);
        }
        out
    }

    /// `None` for anything this build did not write so.
    pub(super) fn decode(store_id: [u8; 16], bytes: &[u8]) -> Option<Latest> {
        let mut unsummed = bytes.to_vec();
        let place = unsummed.get_mut(HEADER_BYTES - 4..HEADER_BYTES)?;
        let sum = u32::from_le_bytes(place.try_into().ok()?);
        place.fill(0);
        let (magic, rest) = unsummed.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (saved, rest) = rest.split_first_chunk::<4>()?;
        let (_count_and_sum, entries) = rest.split_first_chunk::<8>()?;
        if crc32fast::hash(&unsummed) != sum
            || magic != MAGIC
            || *version != VERSION.to_le_bytes()
            || *store != store_id
        {
            return None;
        }
        let entry = |entry: &[u8]| {
            let (hash, segment) = entry.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*hash), u32::from_le_bytes(*segment.first_chunk()?)))
        };
        Some(Latest {
            segments: entries.chunks_exact(8).filter_map(entry).collect(),
            saved: u32::from_le_bytes(*saved),
        })
    }
}

impl Shared {
    fn latest_path(&self) -> PathBuf {
        self.dir.join("latest")
    }

    pub(super) fn load_latest(&self, sealed: &[Arc<Sealed>]) -> Result<Latest, StoreError> {
        let newest = sealed.last().map_or(0, |sealed| sealed.summary.segment);
        let saved = match std::fs::read(self.latest_path()) {
            Ok(bytes) => Latest::decode(self.store_id, &bytes).filter(|latest| latest.saved <= newest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("reading the log's latest file", &error)),
        };
        let mut latest = saved.unwrap_or_default();
        let start = sealed.partition_point(|sealed| sealed.summary.segment <= latest.saved);
        for sealed in sealed.get(start..).unwrap_or_default() {
            sealed.add_to(self, &mut latest)?;
        }
        if let Some(first) = sealed.first() {
            latest.forget_before(first.summary.segment);
        }
        Ok(latest)
    }

    pub(super) fn save_latest(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(&self.latest_path(), bytes).map_err(|error| io_error("writing the log's latest file", &error))
    }

    /// Puts a new file in the place of an old one.
    pub(super) fn replace(&self, path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let file = self.disk.open(&unfinished)?;
        file.set_len(0)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        std::fs::rename(&unfinished, path)
    }

    /// The index file of a segment, if it is whole and fits it.
    pub(super) fn index_file(&self, fits: impl Fn(&Summary) -> bool, number: u32) -> io::Result<Option<IndexFile>> {
        let file = self.disk.open_existing(&segment::index_path(&self.dir, number))?;
        Ok(IndexFile::open(file)?.filter(|index| fits(&index.summary)))
    }
}
