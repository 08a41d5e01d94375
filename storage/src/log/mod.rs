//! Messages on disk: segments that are only appended to, each dropped whole when it is old.
//!
//! ```text
//!  log/00000007.seg  sealed   log/00000007.idx  where each account's records lie
//!  log/00000008.seg  sealed   log/00000008.idx  (made when sealed; made again if missing or damaged)
//!  log/00000009.seg  active   its index is in memory, made by walking it at start
//!  log/latest                 the newest sealed segment of each account
//! ```
//!
//! * **An id** is segment ‖ offset. A segment's number is never used again, and after a failure
//!   nothing more is written to it, so an id once given is never given again.
//! * **Append**: one write and one sync for a batch; records become visible to readers after it.
//! * **A failed write or sync** fails its batch and ends the segment at its last good sync. What comes
//!   next goes into a new one, whose header pins the length of the old; so nothing is ever
//!   acknowledged from bytes whose sync failed. (If the machine dies before the new header is down,
//!   records whose senders were told of a failure may be found whole, and are kept.)
//! * **At start** only segments without an index are walked: the last, and none other as a rule. Bytes
//!   behind its last whole record were never answered for; the segment ends before them and a
//!   new one begins, nothing is overwritten. What was found is synced before it is served.
//! * **A damaged record** in the middle is skipped with an error in the operator's log; what follows
//!   it is found again by its checksum and its id.

mod again;
mod index;
mod latest;
pub(crate) mod pin;
mod record;
mod sealed;
mod segment;
#[cfg(test)]
mod tests;

use crate::disk::{Disk, DiskFile, io_error};
use crate::memory::{Page, check_append};
use crate::store::{Append, Denied, Fences, LogStore, Made};
use crate::{LogId, LogRecord, NewRecord, StoreError, limits};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotEpoch};
use index::Place;
use latest::Latest;
use record::{Keys, log_id, place};
use sealed::Sealed;
pub(crate) use segment::SCHEMA_VERSION;
use segment::{Contents, HEADER_BYTES, Header};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// When a segment is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// At this length; it may pass it by one batch.
    pub segment_bytes: u64,
    /// When a message comes this much later than its first.
    pub segment_period_ms: u64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { segment_bytes: limits::SEGMENT_BYTES, segment_period_ms: limits::SEGMENT_PERIOD_MS }
    }
}

/// [`LogStore`] over segments.
pub struct SegmentLog {
    shared: Shared,
    config: LogConfig,
    appender: Mutex<Appender>,
    visible: RwLock<Visible>,
    /// A segment was sealed since its index was last tried to be written.
    untidy: AtomicBool,
}

/// What reading and writing segments needs.
struct Shared {
    dir: PathBuf,
    disk: Disk,
    keys: Keys,
    store_id: [u8; 16],
}

/// What only the appending thread touches.
struct Appender {
    fences: Fences,
    next_segment: u32,
    /// The batch as it will lie on disk; kept for its memory.
    bytes: Vec<u8>,
    closed: bool,
}

/// What readers see.
struct Visible {
    sealed: Arc<Vec<Arc<Sealed>>>,
    latest: Latest,
    /// `None` before the first append, and after a failure until the next.
    active: Option<Active>,
    head: LogId,
}

struct Active {
    number: u32,
    file: Arc<DiskFile>,
    contents: Contents,
}

/// Where an account's records lie.
struct Mine {
    hash: u64,
    all: Arc<Vec<Arc<Sealed>>>,
    /// Which of all segments may have some.
    some: Range<usize>,
    active: Option<(u32, Arc<DiskFile>, Vec<Place>)>,
}

impl Mine {
    /// The segments that may have some, in order.
    fn sealed(&self) -> &[Arc<Sealed>] {
        self.all.get(self.some.clone()).unwrap_or_default()
    }
}

/// The offset behind which a segment's records have ids > `after`.
fn floor(after: LogId, segment: u32) -> u32 {
    let (first, offset) = place(after);
    if segment == first { offset } else { 0 }
}

/// A record of the batch in hand.
struct Fresh {
    hash: u64,
    place: Place,
    received_ms: u64,
}

impl SegmentLog {
    /// Opens the log in `dir`/log, or begins one. The caller holds the directory's
    /// [`DirLock`](crate::DirLock).
    pub fn open(dir: &Path, disk: Disk, store_id: [u8; 16], config: LogConfig) -> Result<SegmentLog, StoreError> {
        let dir = dir.join("log");
        let opening = |error| io_error("opening the log", &error);
        std::fs::create_dir_all(&dir).map_err(opening)?;
        let shared = Shared { dir, disk, keys: Keys::new(store_id), store_id };
        let (sealed, active) = shared.load()?;
        let latest = shared.load_latest(&sealed)?;
        let newest = sealed.iter().map(|sealed| sealed.summary.segment).chain(active.as_ref().map(|a| a.number)).max();
        let head = match (&active, sealed.last()) {
            (Some(active), _) => log_id(active.number, active.contents.end.saturating_sub(1)),
            (None, Some(sealed)) => sealed.last_possible_id(),
            (None, None) => LogId(0),
        };
        let segment_bytes = config.segment_bytes.min(limits::SEGMENT_BYTES_MAX);
        Ok(SegmentLog {
            shared,
            config: LogConfig { segment_bytes, ..config },
            appender: Mutex::new(Appender {
                fences: Fences::default(),
                next_segment: newest.unwrap_or(0).saturating_add(1),
                bytes: Vec::new(),
                closed: false,
            }),
            visible: RwLock::new(Visible { sealed: Arc::new(sealed), latest, active, head }),
            untidy: AtomicBool::new(true),
        })
    }

    fn appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn visible(&self) -> RwLockReadGuard<'_, Visible> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_visible<T>(&self, change: impl FnOnce(&mut Visible) -> T) -> T {
        change(&mut self.visible.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The segment to append to, a new one if there is none or it has had its share.
    fn active(&self, appender: &mut Appender, received_ms: u64) -> Result<(u32, Arc<DiskFile>, u32), StoreError> {
        if let Some(active) = &self.visible().active {
            let contents = &active.contents;
            let aged = received_ms.saturating_sub(contents.first_ms) >= self.config.segment_period_ms;
            let full = u64::from(contents.end) >= self.config.segment_bytes;
            if !full && (!aged || contents.chains.len() == 0) {
                return Ok((active.number, active.file.clone(), contents.end));
            }
        }
        self.seal();
        let previous_bytes = self.visible().sealed.last().map_or(0, |sealed| sealed.summary.bytes);
        let number = appender.next_segment;
        let header = Header { segment: number, store_id: self.shared.store_id, previous_bytes };
        let file = Arc::new(segment::create(&self.shared.disk, &self.shared.dir, &header)?);
        appender.next_segment = number.saturating_add(1);
        let active = Active { number, file: file.clone(), contents: Contents::empty() };
        self.change_visible(|visible| visible.active = Some(active));
        Ok((number, file, HEADER_BYTES))
    }

    /// Ends the active segment where its last good sync left it.
    fn seal(&self) {
        self.change_visible(|visible| {
            let Some(active) = visible.active.take() else { return };
            visible.latest.add(active.number, active.contents.chains.accounts());
            let sealed = Sealed::in_memory(self.shared.store_id, active.number, active.contents);
            let mut all = visible.sealed.to_vec();
            all.push(Arc::new(sealed));
            visible.sealed = Arc::new(all);
            self.untidy.store(true, Ordering::Relaxed);
        });
    }

    /// Only a time-saver for the next start: if it fails, that asks more indexes.
    fn save_latest(&self, newest: u32) -> Result<(), StoreError> {
        let bytes = self.change_visible(|visible| visible.latest.encode(self.shared.store_id, newest));
        self.shared.save_latest(&bytes)
    }

    /// Writes and syncs the batch, then shows it. An error means that nothing of it will ever be shown.
    fn commit(
        &self,
        (number, file, end): (u32, Arc<DiskFile>, u32),
        bytes: &[u8],
        fresh: &[Fresh],
    ) -> Result<(), StoreError> {
        let written = file.write_all_at(bytes, u64::from(end)).and_then(|()| file.sync_data());
        if let Err(error) = written {
            let error = io_error("appending to the log", &error);
            tracing::error!(event = "log_append_failed", segment = number, %error);
            // Best effort: the header of the next segment says it for certain.
            let _untidy = file.set_len(u64::from(end));
            self.seal();
            return Err(error);
        }
        self.change_visible(|visible| {
            let Some(active) = &mut visible.active else { return };
            for Fresh { hash, place, received_ms } in fresh {
                active.contents.push(*hash, *place, *received_ms);
            }
            visible.head = log_id(number, active.contents.end.saturating_sub(1));
        });
        Ok(())
    }

    /// Where records of the account with id > `after` lie; of the active segment the first `limit` places.
    fn mine(&self, account: &BareJid, after: LogId, limit: usize) -> Mine {
        let hash = self.shared.keys.account(account.as_str());
        let (first, _) = place(after);
        let (all, newest, active) = {
            let visible = self.visible();
            let active = visible.active.as_ref().filter(|active| active.number >= first).map(|active| {
                let places = active.contents.chains.after(hash, floor(after, active.number), limit);
                (active.number, active.file.clone(), places)
            });
            (visible.sealed.clone(), visible.latest.segment(hash).unwrap_or(0), active)
        };
        let at = |segment| all.partition_point(|sealed| sealed.summary.segment < segment);
        let some = at(first)..at(newest.saturating_add(1));
        Mine { hash, all, some, active }
    }

    fn page_from(
        &self,
        file: &DiskFile,
        segment: u32,
        places: &[Place],
        account: &BareJid,
        page: &mut Page,
    ) -> Result<bool, StoreError> {
        let mut bytes = Vec::new();
        for place in places {
            let found = self.shared.read_record(file, segment, *place, account, &mut bytes);
            let Some(record) = found.map_err(|error| io_error("reading the log", &error))? else { continue };
            if !page.has_room(record.stanza.bytes().len()) {
                return Ok(false);
            }
            page.records.push(record);
        }
        Ok(page.rest() > 0)
    }
}

impl LogStore for SegmentLog {
    fn append(&self, batch: &[Append]) -> Vec<Result<LogId, Denied>> {
        let appender = &mut *self.appender();
        let all = |denied: &Denied| batch.iter().map(|_| Err(denied.clone())).collect();
        if appender.closed {
            return all(&Denied::Failed(StoreError::Closed));
        }
        let Some(first) = batch.first() else { return Vec::new() };
        let active = match self.active(appender, first.record.received_ms) {
            Ok(active) => active,
            Err(error) => return all(&Denied::Failed(error)),
        };
        let (number, _, end) = active;
        let Appender { fences, bytes, .. } = appender;
        bytes.clear();
        let mut fresh = Vec::with_capacity(batch.len());
        let mut one = |Append { slot, epoch, record }: &Append| {
            check_append(fences, *slot, *epoch, record.stanza.bytes().len())?;
            let offset = end.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            let id = log_id(number, offset);
            let len = u32::try_from(record::encode(&self.shared.keys, id, *slot, record, bytes)).unwrap_or(u32::MAX);
            let hash = self.shared.keys.account(record.account.as_str());
            fresh.push(Fresh { hash, place: Place { offset, len }, received_ms: record.received_ms });
            Ok(id)
        };
        let mut outcomes: Vec<Result<LogId, Denied>> = batch.iter().map(&mut one).collect();
        if !fresh.is_empty()
            && let Err(error) = self.commit(active, bytes, &fresh)
        {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(Denied::Failed(error.clone()));
            }
        }
        bytes.shrink_to(limits::APPEND_BUFFER_KEPT);
        outcomes
    }

    fn tidy(&self) {
        if !self.untidy.swap(false, Ordering::Relaxed) {
            return;
        }
        let sealed = self.visible().sealed.clone();
        for sealed in sealed.iter().filter(|sealed| sealed.is_in_memory()) {
            if let Err(error) = sealed.write_index(&self.shared) {
                // It stays in memory; the next segment's turn tries again.
                tracing::warn!(event = "log_index_not_written", segment = sealed.summary.segment, %error);
                return;
            }
        }
        if let Some(newest) = sealed.last().map(|sealed| sealed.summary.segment)
            && self.visible().latest.wants_saving(newest)
            && let Err(error) = self.save_latest(newest)
        {
            tracing::warn!(event = "log_latest_not_written", %error);
        }
    }

    fn read(&self, account: &BareJid, after: LogId, limit: u32) -> Result<Vec<LogRecord>, StoreError> {
        let mut page = Page::new(limit);
        let mine = self.mine(account, after, page.rest());
        for sealed in mine.sealed() {
            let number = sealed.summary.segment;
            let places = sealed.after(&self.shared, mine.hash, floor(after, number), page.rest())?;
            if places.is_empty() {
                continue;
            }
            // Dropped since: too old to be read.
            let Some(file) = self.shared.open_sealed(number)? else { continue };
            if !self.page_from(&file, number, &places, account, &mut page)? {
                return Ok(page.records);
            }
        }
        if let Some((number, file, places)) = &mine.active {
            self.page_from(file, *number, places, account, &mut page)?;
        }
        Ok(page.records)
    }

    fn find(&self, record: &NewRecord, after: LogId) -> Result<Made, StoreError> {
        self.find_again(record, after)
    }

    fn any_above(&self, account: &BareJid, mark: LogId) -> Result<bool, StoreError> {
        let hash = self.shared.keys.account(account.as_str());
        let (first, offset) = place(mark);
        let visible = self.visible();
        if let Some(active) = visible.active.as_ref().filter(|active| active.number >= first) {
            let floor = if active.number == first { offset } else { 0 };
            if active.contents.chains.any_after(hash, floor) {
                return Ok(true);
            }
        }
        let Some(newest) = visible.latest.segment(hash).filter(|newest| *newest >= first) else { return Ok(false) };
        if newest > first {
            return Ok(true);
        }
        let found = visible.sealed.binary_search_by_key(&first, |sealed| sealed.summary.segment);
        let Some(sealed) = found.ok().and_then(|at| visible.sealed.get(at)).cloned() else { return Ok(false) };
        drop(visible);
        Ok(!sealed.after(&self.shared, hash, offset, 1)?.is_empty())
    }

    fn head(&self) -> LogId {
        self.visible().head
    }

    fn fence(&self, slot: Option<Slot>, epoch: SlotEpoch) {
        self.appender().fences.raise(slot, epoch);
    }

    fn drop_older(&self, before_ms: u64) -> Result<usize, StoreError> {
        let old: Vec<Arc<Sealed>> = self.change_visible(|visible| {
            let count = visible.sealed.iter().take_while(|sealed| sealed.summary.last_ms < before_ms).count();
            let mut kept = visible.sealed.to_vec();
            let old = kept.drain(..count).collect();
            visible.latest.forget_before(kept.first().map_or(u32::MAX, |sealed| sealed.summary.segment));
            visible.sealed = Arc::new(kept);
            old
        });
        let remove = |path: PathBuf| match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("dropping a log segment", &error)),
            Ok(()) | Err(_) => Ok(()),
        };
        for sealed in &old {
            // An index without its segment is removed at the next start.
            remove(segment::path(&self.shared.dir, sealed.summary.segment))?;
            remove(segment::index_path(&self.shared.dir, sealed.summary.segment))?;
        }
        Ok(old.len())
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.shared.disk.probe(&self.shared.dir.join("probe"))
    }

    fn close(&self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.appender().closed, true) {
            return Ok(());
        }
        self.change_visible(|visible| visible.active = None);
        let newest = self.visible().sealed.last().map(|sealed| sealed.summary.segment);
        newest.map_or(Ok(()), |newest| self.save_latest(newest))
    }
}
