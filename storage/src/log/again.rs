//! Whether a record is in the log already: asked only of what an edge sends again after a crash or a lost link.

use super::index::Place;
use super::record::{self, log_id};
use super::{SegmentLog, Shared, floor};
use crate::disk::{DiskFile, io_error};
use crate::store::Made;
use crate::{LogId, NewRecord, StoreError, limits};
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};

impl SegmentLog {
    /// [`LogStore::find`](crate::LogStore::find).
    pub(super) fn find_again(&self, record: &NewRecord, after: LogId) -> Result<Made, StoreError> {
        let mine = self.mine(&record.account, after, usize::MAX);
        let mut search = Search::new(&self.shared, record);
        if let Some((number, file, places)) = &mine.active
            && let Break(made) = search.through(file, *number, places)?
        {
            return Ok(made);
        }
        for sealed in mine.sealed().iter().rev().take(limits::AGAIN_SEGMENTS_MAX) {
            let number = sealed.summary.segment;
            if sealed.summary.last_ms < search.since_ms {
                continue;
            }
            let places = sealed.after(&self.shared, mine.hash, floor(after, number), usize::MAX)?;
            if places.is_empty() {
                continue;
            }
            // Dropped since: too old to be looked for.
            let Some(file) = self.shared.open_sealed(number)? else { break };
            if let Break(made) = search.through(&file, number, &places)? {
                return Ok(made);
            }
        }
        Ok(search.made)
    }
}

struct Search<'r> {
    shared: &'r Shared,
    record: &'r NewRecord,
    /// What was received before is not it.
    since_ms: u64,
    /// How many records may still be looked at.
    left: usize,
    /// What is known if nothing more is found.
    made: Made,
    bytes: Vec<u8>,
}

impl<'r> Search<'r> {
    fn new(shared: &'r Shared, record: &'r NewRecord) -> Search<'r> {
        let since_ms = record.received_ms.saturating_sub(limits::AGAIN_AGE_MS);
        Search { shared, record, since_ms, left: limits::AGAIN_RECORDS_MAX, made: Made::No, bytes: Vec::new() }
    }

    /// Looks at the account's records in one segment, newest first; `Break`: that was all.
    fn through(&mut self, file: &DiskFile, segment: u32, places: &[Place]) -> Result<ControlFlow<Made>, StoreError> {
        for place in places.iter().rev() {
            let Some(left) = self.left.checked_sub(1) else { return Ok(Break(self.made)) };
            self.left = left;
            let looked = self.look(file, segment, *place).map_err(|error| io_error("reading the log", &error))?;
            if looked.is_break() {
                return Ok(looked);
            }
        }
        Ok(Continue(()))
    }

    fn look(&mut self, file: &DiskFile, segment: u32, place: Place) -> io::Result<ControlFlow<Made>> {
        let NewRecord { account, ingest, stanza, .. } = self.record;
        let head_bytes = record::HEAD_BYTES_MAX.saturating_add(account.as_str().len());
        self.bytes.resize(usize::try_from(place.len).unwrap_or(usize::MAX).min(head_bytes), 0);
        file.read_exact_at(&mut self.bytes, u64::from(place.offset))?;
        // What is damaged there will be said when it is read; here it is another record.
        let Some(head) = record::head(&self.bytes) else { return Ok(Continue(())) };
        if head.received_ms < self.since_ms {
            return Ok(Break(self.made));
        }
        if head.ingest.zip(*ingest).is_some_and(|(held, this)| held.is_behind(&this)) {
            self.made = Made::LaterOne;
        }
        if head.ingest != *ingest {
            return Ok(Continue(()));
        }
        let held = self.shared.read_record(file, segment, place, account, &mut self.bytes)?;
        let same = held.is_some_and(|held| held.ingest == *ingest && held.stanza == *stanza);
        Ok(if same { Break(Made::Yes(log_id(segment, place.offset))) } else { Continue(()) })
    }
}
