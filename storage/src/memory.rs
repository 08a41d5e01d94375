//! Both stores in memory: for the simulator, whose disk this is, and for tests. Clones share one
//! store, so what a "crashed" owner left is there for the next.

use crate::listing::{self, Found, Search};
use crate::store::{Append, ChangeSet, Denied, Fences, Fresh, LogStore, Made, SmallStore};
use crate::tables::{self, Table, Tables, TablesMut, Visit};
use crate::{Blob, Boot, LogId, LogRecord, NewRecord, Refusal, Snapshot, StoreError, limits};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotEpoch};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// [`SmallStore`] without a disk.
#[derive(Clone)]
pub struct MemorySmall(Arc<Mutex<Small>>);

#[derive(Default)]
struct Small {
    tables: Maps,
    fences: Fences,
}

#[derive(Default)]
struct Maps([BTreeMap<Vec<u8>, Vec<u8>>; Table::COUNT]);

impl MemorySmall {
    /// An empty store with these keys.
    pub fn new(fresh: &Fresh) -> Result<MemorySmall, StoreError> {
        let mut small = Small::default();
        tables::create(&mut small.tables, fresh)?;
        Ok(MemorySmall(Arc::new(Mutex::new(small))))
    }

    fn lock(&self) -> MutexGuard<'_, Small> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SmallStore for MemorySmall {
    fn boot(&self) -> Result<Boot, StoreError> {
        let Small { tables, fences } = &mut *self.lock();
        tables::boot(tables, fences)
    }

    fn apply(&self, sets: &[ChangeSet], born_at: LogId) -> Vec<Result<(), Denied>> {
        let Small { tables, fences } = &mut *self.lock();
        match tables::apply(tables, fences, sets, born_at) {
            Ok(outcomes) => outcomes,
            Err(error) => sets.iter().map(|_| Err(Denied::Failed(error.clone()))).collect(),
        }
    }

    fn load(&self, slot: Slot, account: &BareJid) -> Result<Option<Snapshot>, StoreError> {
        tables::load(&mut self.lock().tables, slot, account)
    }

    fn born_at(&self, slot: Slot, account: &BareJid) -> Result<Option<LogId>, StoreError> {
        tables::born_at(&mut self.lock().tables, slot, account)
    }

    fn load_blob(&self, slot: Slot, account: &BareJid, blob: Blob) -> Result<Option<Vec<u8>>, StoreError> {
        tables::load_blob(&mut self.lock().tables, slot, account, blob)
    }

    fn list_accounts(&self, domain: &str, after: Option<&BareJid>, limit: u32) -> Result<Vec<BareJid>, StoreError> {
        tables::list_accounts(&mut self.lock().tables, domain, after, limit)
    }

    fn search(&self, search: &Search) -> Result<Found, StoreError> {
        listing::search(&mut self.lock().tables, search)
    }

    fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Maps {
    fn table(&mut self, table: Table) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        table.place(&mut self.0)
    }
}

impl Tables for Maps {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.table(table).get(key).cloned())
    }

    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        for (key, value) in self.table(table).range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl TablesMut for Maps {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.table(table).insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.table(table).remove(key);
        Ok(())
    }
}

/// [`LogStore`] without a disk.
#[derive(Clone, Default)]
pub struct MemoryLog(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    last: u64,
    accounts: HashMap<BareJid, Vec<LogRecord>>,
    fences: Fences,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for MemoryLog {
    fn append(&self, batch: &[Append]) -> Vec<Result<LogId, Denied>> {
        let log = &mut *self.lock();
        let append = |Append { slot, epoch, record }: &Append| {
            check_append(&log.fences, *slot, *epoch, record.stanza.bytes().len())?;
            log.last = log.last.saturating_add(1);
            let id = LogId(log.last);
            log.accounts.entry(record.account.clone()).or_default().push(LogRecord {
                id,
                ingest: record.ingest,
                received_ms: record.received_ms,
                stanza: record.stanza.clone(),
            });
            Ok(id)
        };
        batch.iter().map(append).collect()
    }

    fn read(&self, account: &BareJid, after: LogId, limit: u32) -> Result<Vec<LogRecord>, StoreError> {
        let log = self.lock();
        let records = log.accounts.get(account).map_or(&[][..], Vec::as_slice);
        let start = records.partition_point(|record| record.id <= after);
        let mut page = Page::new(limit);
        for record in records.get(start..).unwrap_or_default() {
            if !page.has_room(record.stanza.bytes().len()) {
                break;
            }
            page.records.push(record.clone());
        }
        Ok(page.records)
    }

    fn find(&self, record: &NewRecord, after: LogId) -> Result<Made, StoreError> {
        let log = self.lock();
        let since_ms = record.received_ms.saturating_sub(limits::AGAIN_AGE_MS);
        let records = log.accounts.get(&record.account).map_or(&[][..], Vec::as_slice);
        let newest = records.iter().rev().take(limits::AGAIN_RECORDS_MAX);
        let recent = newest.take_while(|held| held.id > after && held.received_ms >= since_ms);
        let mut made = Made::No;
        for held in recent {
            if held.ingest == record.ingest && held.stanza == record.stanza {
                return Ok(Made::Yes(held.id));
            }
            if held.ingest.zip(record.ingest).is_some_and(|(held, this)| held.is_behind(&this)) {
                made = Made::LaterOne;
            }
        }
        Ok(made)
    }

    fn any_above(&self, account: &BareJid, mark: LogId) -> Result<bool, StoreError> {
        let log = self.lock();
        let newest = log.accounts.get(account).and_then(|records| records.last());
        Ok(newest.is_some_and(|record| record.id > mark))
    }

    fn head(&self) -> LogId {
        LogId(self.lock().last)
    }

    fn fence(&self, slot: Option<Slot>, epoch: SlotEpoch) {
        self.lock().fences.raise(slot, epoch);
    }

    fn drop_older(&self, before_ms: u64) -> Result<usize, StoreError> {
        let mut dropped: usize = 0;
        for records in self.lock().accounts.values_mut() {
            let before = records.len();
            records.retain(|record| record.received_ms >= before_ms);
            dropped = dropped.saturating_add(before.saturating_sub(records.len()));
        }
        Ok(dropped)
    }

    fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What every log asks of an append before it takes it.
pub(crate) fn check_append(fences: &Fences, slot: Slot, epoch: SlotEpoch, bytes: usize) -> Result<(), Denied> {
    if epoch < fences.epoch(slot) {
        return Err(Denied::Refused(Refusal::Fenced));
    }
    if bytes > limits::STANZA_BYTES_MAX {
        return Err(Denied::Failed(StoreError::TooLarge { what: "message", bytes_max: limits::STANZA_BYTES_MAX }));
    }
    Ok(())
}

/// The answer to a read of the log as it fills.
pub(crate) struct Page {
    pub(crate) records: Vec<LogRecord>,
    limit: usize,
    bytes: usize,
}

impl Page {
    pub(crate) fn new(limit: u32) -> Page {
        let limit = usize::try_from(limit.min(limits::READ_RECORDS_MAX)).unwrap_or(usize::MAX);
        Page { records: Vec::new(), limit, bytes: 0 }
    }

    /// How many records more it may hold.
    pub(crate) fn rest(&self) -> usize {
        self.limit.saturating_sub(self.records.len())
    }

    /// Whether a record of this many bytes still belongs here; counts it if so.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        let after = self.bytes.saturating_add(bytes);
        if self.records.len() >= self.limit || (after > limits::READ_BYTES_MAX && !self.records.is_empty()) {
            return false;
        }
        self.bytes = after;
        true
    }
}
