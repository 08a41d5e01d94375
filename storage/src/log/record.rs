//! One message in a segment.
//!
//! ```text
//!  ┌──────────┬────────────┬─────────┬───────────────────────────────────────────────────────┐
//!  │ len: u32 │ crc32: u32 │ version │ postcard: id, slot, account, ingest, received_ms,     │
//!  │  LE      │  LE        │ u8      │           stanza                                      │
//!  └──────────┴────────────┴─────────┴───────────────────────────────────────────────────────┘
//!              of the rest, seeded    len counts version and postcard
//! ```
//!
//! The id is the record's own place, so bytes that lie elsewhere are none. The checksum's seed comes
//! from the store's id, which nobody outside knows: no text that a client sends can look like a
//! record after a torn write.

use crate::{LogId, NewRecord};
use hearth_wire::ids::{IngestId, Slot, SlotKey};
use serde::{Deserialize, Serialize};

/// The version this build writes.
const VERSION: u8 = 1;

/// Bytes of length and checksum.
pub(super) const PREFIX_BYTES: usize = 8;

/// Length of the longest record: a stanza and what surrounds it (an address has at most 2,047 bytes).
pub(super) const BODY_BYTES_MAX: usize = crate::limits::STANZA_BYTES_MAX + 4 * 1024;

/// A record's id: segment and offset of its first byte there.
pub(super) fn log_id(segment: u32, offset: u32) -> LogId {
    LogId((u64::from(segment) << 32) | u64::from(offset))
}

/// Segment and offset of an id.
pub(super) fn place(id: LogId) -> (u32, u32) {
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    (half(id.0 >> 32), half(id.0))
}

/// What the checksums and account hashes of one store are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    seed: u32,
    accounts: SlotKey,
}

impl Keys {
    pub(super) fn new(store_id: [u8; 16]) -> Keys {
        let accounts = SlotKey(store_id);
        let (_, seed) = place(LogId(accounts.hash("checksums of the log")));
        Keys { seed, accounts }
    }

    /// By which the indexes know an account.
    pub(super) fn account(&self, account: &str) -> u64 {
        self.accounts.hash(account)
    }

    fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.seed);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// A record, borrowed from the bytes of its segment.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Body<'a> {
    id: u64,
    pub(super) slot: Slot,
    #[serde(borrow)]
    pub(super) account: &'a str,
    pub(super) ingest: Option<IngestId>,
    pub(super) received_ms: u64,
    #[serde(borrow, with = "serde_bytes")]
    pub(super) stanza: &'a [u8],
}

/// Bytes before a record's stanza, the account's name not counted, at most: prefix, version, and the longest
/// form of each number.
pub(super) const HEAD_BYTES_MAX: usize = PREFIX_BYTES + 1 + 10 + 3 + 2 + (1 + 16 + 10) + 10;

/// What of a [`Body`] stands before its stanza.
#[derive(Serialize, Deserialize)]
pub(super) struct Head<'a> {
    _id: u64,
    _slot: Slot,
    #[serde(borrow)]
    _account: &'a str,
    pub(super) ingest: Option<IngestId>,
    pub(super) received_ms: u64,
}

/// Reads the first [`HEAD_BYTES_MAX`] and more bytes of a record, believing them: no checksum is known of a
/// part. `None`: damaged.
pub(super) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let (_, rest) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    let (version, fields) = rest.split_first()?;
    let known = *version == VERSION;
    postcard::take_from_bytes::<Head<'_>>(fields).ok().filter(|_| known).map(|(head, _)| head)
}

/// Appends a record that will lie at `id`; bytes it takes.
pub(super) fn encode(keys: &Keys, id: LogId, slot: Slot, record: &NewRecord, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.push(VERSION);
    let NewRecord { account, ingest, received_ms, stanza } = record;
    let body = Body {
        id: id.0,
        slot,
        account: account.as_str(),
        ingest: *ingest,
        received_ms: *received_ms,
        stanza: stanza.bytes(),
    };
    // Writing our own struct into memory has no failure: no maps of unknown length, no I/O.
    let written = postcard::serialize_with_flavor(&body, Tail(out));
    debug_assert!(written.is_ok());
    let (prefix, body) =
        out.get_mut(start..).unwrap_or_default().split_at_mut_checked(PREFIX_BYTES).unwrap_or_default();
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sum = keys.checksum(body).to_le_bytes();
    prefix.iter_mut().zip(len.into_iter().chain(sum)).for_each(|(place, byte)| *place = byte);
    out.len().saturating_sub(start)
}

struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// What the bytes at one place are.
#[derive(PartialEq, Debug)]
pub(super) enum Decoded<'a> {
    /// A record and the bytes it takes.
    Record(Body<'a>, usize),
    /// A record would be this long, with its prefix; there are fewer bytes.
    Needs(usize),
    Damaged,
}

/// Reads the record at `id`, which `bytes` begin with. Any bytes are allowed.
pub(super) fn decode<'a>(keys: &Keys, id: LogId, bytes: &'a [u8]) -> Decoded<'a> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Decoded::Needs(PREFIX_BYTES) };
    let [l0, l1, l2, l3, s0, s1, s2, s3] = *prefix;
    let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if len == 0 || len > BODY_BYTES_MAX {
        return Decoded::Damaged;
    }
    // The cheap test first: it ends almost every try at bytes that are no record.
    if rest.first().is_some_and(|version| *version != VERSION) {
        return Decoded::Damaged;
    }
    let Some(body) = rest.get(..len) else { return Decoded::Needs(len.saturating_add(PREFIX_BYTES)) };
    let Some((_, fields)) = body.split_first() else { return Decoded::Damaged };
    match postcard::take_from_bytes::<Body<'a>>(fields) {
        Ok((record, [])) if record.id == id.0 && keys.checksum(body) == u32::from_le_bytes([s0, s1, s2, s3]) => {
            Decoded::Record(record, len.saturating_add(PREFIX_BYTES))
        }
        Ok(_) | Err(_) => Decoded::Damaged,
    }
}
