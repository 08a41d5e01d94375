//! One segment file: its header, and the walk over its records.
//!
//! ```text
//!  NNNNNNNN.seg
//!  ┌──────────────────────────────────────────────────────────────────────────────┬────────┬───
//!  │ magic "hearthlg", version: u32, segment: u32, store id: 16, previous: u64,   │ record │ …
//!  │ reserved: u32, crc32: u32                                       48 bytes, LE │        │
//!  └──────────────────────────────────────────────────────────────────────────────┴────────┴───
//! ```
//!
//! `previous` is the length of the segment before: what lies beyond was never answered for.

use super::index::{Chains, Place};
use super::record::{self, Body, Decoded, Keys, log_id};
use crate::StoreError;
use crate::disk::{Disk, DiskFile, io_error};
use std::io;
use std::path::{Path, PathBuf};

/// Of the layout of segments. A segment with another is refused.
pub(crate) const SCHEMA_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"hearthlg";
pub(super) const HEADER_BYTES: u32 = 48;

/// Bytes read at a time while walking a segment.
const WALK_BYTES: usize = 1024 * 1024;

pub(super) fn path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08}.seg"))
}

pub(super) fn index_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08}.idx"))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) segment: u32,
    pub(super) store_id: [u8; 16],
    pub(super) previous_bytes: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; 48] {
        let fields: [&[u8]; 6] = [
            MAGIC,
            &SCHEMA_VERSION.to_le_bytes(),
            &self.segment.to_le_bytes(),
            &self.store_id,
            &self.previous_bytes.to_le_bytes(),
            &[0; 4],
        ];
        let body = fields.concat();
        let sum = crc32fast::hash(&body).to_le_bytes();
        let mut header = [0; 48];
        header.iter_mut().zip(body.into_iter().chain(sum)).for_each(|(place, byte)| *place = byte);
        header
    }

    /// `Ok(None)`: these are not the bytes of a header.
    pub(super) fn decode(header: &[u8; 48]) -> Result<Option<Header>, StoreError> {
        let rest = header.as_slice();
        let Some((magic, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let Some((version, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some((segment, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some((store_id, rest)) = rest.split_first_chunk::<16>() else { return Ok(None) };
        let Some((previous, _)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let found = u32::from_le_bytes(*version);
        if magic == MAGIC && found > SCHEMA_VERSION {
            return Err(StoreError::UnknownVersion { found, known: SCHEMA_VERSION });
        }
        let decoded = Header {
            segment: u32::from_le_bytes(*segment),
            store_id: *store_id,
            previous_bytes: u64::from_le_bytes(*previous),
        };
        Ok((decoded.encode() == *header).then_some(decoded))
    }
}

/// Creates a segment whose header is durable.
pub(super) fn create(disk: &Disk, dir: &Path, header: &Header) -> Result<DiskFile, StoreError> {
    let path = path(dir, header.segment);
    let attempt = || {
        let file = disk.create_new(&path)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(file)
    };
    attempt().map_err(|error| {
        // Without records it says nothing; the next start removes it if this cannot.
        let _kept = std::fs::remove_file(&path);
        io_error("creating a log segment", &error)
    })
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) chains: Chains,
    /// End of the last whole record.
    pub(super) end: u32,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    /// Places between whole records where there was none: the medium lost something.
    pub(super) holes: u32,
}

impl Contents {
    pub(super) fn empty() -> Contents {
        Contents { end: HEADER_BYTES, ..Contents::default() }
    }

    /// Takes up one more record, behind all others.
    pub(super) fn push(&mut self, hash: u64, place: Place, received_ms: u64) {
        let first = self.chains.len() == 0;
        self.first_ms = if first { received_ms } else { self.first_ms.min(received_ms) };
        self.last_ms = self.last_ms.max(received_ms);
        self.chains.push(hash, place);
        self.end = place.offset.saturating_add(place.len);
    }

    fn take(&mut self, keys: &Keys, offset: u32, body: &Body<'_>, bytes: usize) {
        if offset > self.end {
            self.holes = self.holes.saturating_add(1);
        }
        let len = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.push(keys.account(body.account), Place { offset, len }, body.received_ms);
    }
}

/// Finds every whole record of a segment in its first `bytes` bytes. Where there is none it looks
/// on byte by byte: the first damage is the end only if nothing whole follows.
pub(super) fn walk(file: &DiskFile, keys: &Keys, segment: u32, bytes: u64) -> io::Result<Contents> {
    let end = u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut contents = Contents::empty();
    let mut window = Window { file, end, start: HEADER_BYTES, bytes: Vec::new() };
    let mut offset = HEADER_BYTES;
    while offset < end {
        let mut wanted = record::PREFIX_BYTES;
        let step = loop {
            match record::decode(keys, log_id(segment, offset), window.at(offset, wanted)?) {
                Decoded::Record(body, bytes) => {
                    contents.take(keys, offset, &body, bytes);
                    break u32::try_from(bytes).unwrap_or(u32::MAX);
                }
                Decoded::Needs(more) if more > wanted => wanted = more,
                Decoded::Needs(_) | Decoded::Damaged => break 1,
            }
        };
        offset = offset.saturating_add(step);
    }
    Ok(contents)
}

/// A part of the file in memory that moves forward.
struct Window<'f> {
    file: &'f DiskFile,
    end: u32,
    start: u32,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// At least `wanted` bytes at `offset`, unless the segment ends before.
    fn at(&mut self, offset: u32, wanted: usize) -> io::Result<&[u8]> {
        let skip = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let have = self.bytes.len().saturating_sub(skip);
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(0);
        if have < wanted.min(left) {
            self.bytes.resize(wanted.max(WALK_BYTES).min(left), 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.bytes, u64::from(offset))?;
            return Ok(&self.bytes);
        }
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }
}
