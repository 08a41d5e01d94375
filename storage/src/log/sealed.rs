//! Segments that are not appended to any more, and finding them all at start.

use super::index::{Chains, IndexFile, Place, Summary};
use super::latest::Latest;
use super::record::{self, Decoded, log_id};
use super::segment::{self, Contents, HEADER_BYTES, Header};
use super::{Active, Shared};
use crate::disk::{DiskFile, io_error};
use crate::{LogId, LogRecord, StoreError, limits};
use hearth_wire::BareJid;
use hearth_wire::stanza::SharedStanza;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

/// A segment with its index.
pub(super) struct Sealed {
    pub(super) summary: Summary,
    /// `None`: it is in the index file.
    chains: RwLock<Option<Chains>>,
}

impl Sealed {
    pub(super) fn in_memory(store_id: [u8; 16], segment: u32, contents: Contents) -> Sealed {
        let Contents { chains, end, first_ms, last_ms, .. } = contents;
        let count = u32::try_from(chains.len()).unwrap_or(u32::MAX);
        let summary = Summary { segment, count, bytes: u64::from(end), first_ms, last_ms, store_id };
        Sealed { summary, chains: RwLock::new(Some(chains)) }
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// No record of the segment has a greater id.
    pub(super) fn last_possible_id(&self) -> LogId {
        let last = u32::try_from(self.summary.bytes).unwrap_or(u32::MAX).saturating_sub(1);
        log_id(self.summary.segment, last)
    }

    /// The first `limit` records of an account behind `after`, in order.
    pub(super) fn after(&self, shared: &Shared, hash: u64, after: u32, limit: usize) -> Result<Vec<Place>, StoreError> {
        if let Some(chains) = &*self.chains.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(chains.after(hash, after, limit));
        }
        match self.look_up(shared, hash, after, limit) {
            Ok(Some(places)) => return Ok(places),
            Ok(None) => tracing::error!(event = "log_index_damaged", segment = self.summary.segment),
            Err(error) => tracing::error!(event = "log_index_unreadable", segment = self.summary.segment, %error),
        }
        // Dropped since: too old to be read.
        let Some(file) = shared.open_sealed(self.summary.segment)? else { return Ok(Vec::new()) };
        let contents = shared.walk(&file, self.summary.segment, self.summary.bytes)?;
        let places = contents.chains.after(hash, after, limit);
        *self.chains.write().unwrap_or_else(PoisonError::into_inner) = Some(contents.chains);
        Ok(places)
    }

    fn look_up(&self, shared: &Shared, hash: u64, after: u32, limit: usize) -> io::Result<Option<Vec<Place>>> {
        match shared.index_file(|summary| *summary == self.summary, self.summary.segment)? {
            Some(index) => index.after(hash, after, limit),
            None => Ok(None),
        }
    }

    /// Tells `latest` which accounts have records here.
    pub(super) fn add_to(&self, shared: &Shared, latest: &mut Latest) -> Result<(), StoreError> {
        let number = self.summary.segment;
        if let Some(chains) = &*self.chains.read().unwrap_or_else(PoisonError::into_inner) {
            latest.add(number, chains.accounts());
            return Ok(());
        }
        if let Ok(Some(index)) = shared.index_file(|summary| *summary == self.summary, number)
            && let Ok(Some(accounts)) = index.accounts()
        {
            latest.add(number, accounts.into_iter());
            return Ok(());
        }
        let Some(file) = shared.open_sealed(number)? else { return Ok(()) };
        latest.add(number, shared.walk(&file, number, self.summary.bytes)?.chains.accounts());
        Ok(())
    }

    /// Moves the index from memory to its file.
    pub(super) fn write_index(&self, shared: &Shared) -> Result<(), StoreError> {
        let path = segment::index_path(&shared.dir, self.summary.segment);
        let bytes = match &*self.chains.read().unwrap_or_else(PoisonError::into_inner) {
            Some(chains) => super::index::encode(&self.summary, chains),
            None => return Ok(()),
        };
        shared.replace(&path, &bytes).map_err(|error| io_error("writing a log index", &error))?;
        *self.chains.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

impl Shared {
    /// `None`: it was dropped.
    pub(super) fn open_sealed(&self, number: u32) -> Result<Option<DiskFile>, StoreError> {
        match self.disk.open_existing(&segment::path(&self.dir, number)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("opening a log segment", &error)),
        }
    }

    pub(super) fn walk(&self, file: &DiskFile, number: u32, bytes: u64) -> Result<Contents, StoreError> {
        let walked = segment::walk(file, &self.keys, number, bytes);
        let contents = walked.map_err(|error| io_error("reading a log segment", &error))?;
        if contents.holes > 0 {
            let holes = contents.holes;
            tracing::error!(event = "log_segment_damaged", segment = number, holes, "records are lost");
        }
        Ok(contents)
    }

    /// `None`: not this account's after all, or damaged.
    pub(super) fn read_record(
        &self,
        file: &DiskFile,
        segment: u32,
        place: Place,
        account: &BareJid,
        bytes: &mut Vec<u8>,
    ) -> io::Result<Option<LogRecord>> {
        let len = usize::try_from(place.len).unwrap_or(usize::MAX);
        bytes.resize(len.min(record::BODY_BYTES_MAX.saturating_add(record::PREFIX_BYTES)), 0);
        match file.read_exact_at(bytes, u64::from(place.offset)) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let id = log_id(segment, place.offset);
        if let Decoded::Record(body, _) = record::decode(&self.keys, id, bytes) {
            if body.account != account.as_str() {
                return Ok(None);
            }
            if let Ok(stanza) = SharedStanza::from_bytes(body.stanza) {
                return Ok(Some(LogRecord { id, ingest: body.ingest, received_ms: body.received_ms, stanza }));
            }
        }
        tracing::error!(event = "log_record_damaged", segment, offset = place.offset, "a message is lost");
        Ok(None)
    }

    /// Finds all segments. The last is active again if it ends with a whole record and is not full.
    pub(super) fn load(&self) -> Result<(Vec<Arc<Sealed>>, Option<Active>), StoreError> {
        let numbers = self.numbers().map_err(|error| io_error("listing the log", &error))?;
        let mut segments = Vec::with_capacity(numbers.len());
        let last = numbers.last().copied();
        for number in numbers {
            let Some(file) = self.open_sealed(number)? else { continue };
            match self.header(&file, number)? {
                Some(header) => segments.push((header, file)),
                // Its header is synced before anything else is written.
                None if last == Some(number) && self.len(&file)? <= u64::from(HEADER_BYTES) => {
                    let path = segment::path(&self.dir, number);
                    std::fs::remove_file(path).map_err(|error| io_error("removing an unborn segment", &error))?;
                }
                None => return Err(StoreError::Corrupt { what: format!("header of log segment {number}") }),
            }
        }
        let mut sealed = Vec::with_capacity(segments.len());
        let Some((newest, file)) = segments.pop() else { return Ok((sealed, None)) };
        let ends = segments.iter().skip(1).map(|(header, _)| header).chain([&newest]).map(|next| next.previous_bytes);
        for ((header, file), end) in segments.iter().zip(ends) {
            sealed.push(Arc::new(self.load_sealed(header.segment, file, end)?));
        }
        let active = match self.load_last(newest.segment, file)? {
            Ok(active) => Some(active),
            Err(ended) => {
                sealed.push(Arc::new(ended));
                None
            }
        };
        Ok((sealed, active))
    }

    fn load_sealed(&self, number: u32, file: &DiskFile, end: u64) -> Result<Sealed, StoreError> {
        if self.len(file)? < end {
            return Err(StoreError::Corrupt { what: format!("log segment {number} is cut off") });
        }
        let fits =
            |summary: &Summary| (summary.segment, summary.bytes, summary.store_id) == (number, end, self.store_id);
        if let Ok(Some(IndexFile { summary, .. })) = self.index_file(fits, number) {
            return Ok(Sealed { summary, chains: RwLock::new(None) });
        }
        tracing::info!(event = "log_index_rebuilt", segment = number);
        let contents = self.walk(file, number, end)?;
        // Its end is what was acknowledged, even where the last record is damaged.
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let sealed = Sealed::in_memory(self.store_id, number, Contents { end, ..contents });
        sealed.write_index(self)?;
        Ok(sealed)
    }

    fn load_last(&self, number: u32, file: DiskFile) -> Result<Result<Active, Sealed>, StoreError> {
        let len = self.len(&file)?;
        let contents = self.walk(&file, number, len)?;
        // Found in the page cache is not on the device yet.
        file.sync_data().map_err(|error| io_error("syncing the log", &error))?;
        let end = u64::from(contents.end);
        if len == end && end < limits::SEGMENT_BYTES_MAX {
            return Ok(Ok(Active { number, file: Arc::new(file), contents }));
        }
        let bytes = len.saturating_sub(end);
        let what = "behind the last whole record, never answered for; a new segment begins";
        tracing::warn!(event = "log_tail_ended", segment = number, end, bytes, what);
        Ok(Err(Sealed::in_memory(self.store_id, number, contents)))
    }

    fn len(&self, file: &DiskFile) -> Result<u64, StoreError> {
        file.len().map_err(|error| io_error("measuring a log segment", &error))
    }

    fn header(&self, file: &DiskFile, number: u32) -> Result<Option<Header>, StoreError> {
        let mut bytes = [0; 48];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(io_error("reading a log segment", &error)),
        }
        let header = Header::decode(&bytes)?;
        match header {
            Some(header) if header.segment != number || header.store_id != self.store_id => {
                Err(StoreError::Corrupt { what: format!("log segment {number} belongs to another store") })
            }
            header => Ok(header),
        }
    }

    /// Numbers of all segments, in order. Removes what an interrupted dropping or sealing left.
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let (mut segments, mut others) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let Some((number, kind)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match kind {
                "seg" => segments.push(number),
                "idx" | "new" => others.push((number, kind.to_owned())),
                _ => {}
            }
        }
        segments.sort_unstable();
        for (number, kind) in others {
            if kind == "new" || segments.binary_search(&number).is_err() {
                std::fs::remove_file(segment::path(&self.dir, number).with_extension(kind))?;
            }
        }
        Ok(segments)
    }
}
