//! Any store, failing where a test says. [`DiskFaults`](crate::DiskFaults) does the same one level
//! below, to the files of the stores on disk.

use crate::listing::{Found, Search};
use crate::store::{Append, ChangeSet, Denied, LogStore, Made, SmallStore};
use crate::{Blob, Boot, LogId, LogRecord, NewRecord, Snapshot, StoreError};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotEpoch};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a fault strikes: one call of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    Apply,
    Load,
    LoadBlob,
    ListAccounts,
    Search,
    Append,
    ReadLog,
}

/// What happens there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is done, this is answered. [`StoreError::Full`] is a full disk.
    Error(StoreError),
    /// It is done, but a failure is answered.
    LostAnswer,
    /// It is done after this time.
    Delay(Duration),
}

/// The faults to come. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Planned>>>);

#[derive(Debug)]
struct Planned {
    point: Point,
    /// Calls that pass unharmed before.
    skip: u32,
    /// Calls that are struck.
    times: u32,
    fault: Fault,
}

impl Faults {
    /// None yet.
    pub fn new() -> Faults {
        Faults::default()
    }

    /// Lets `skip` calls at `point` pass, then strikes `times`. Plans for one point follow each other.
    pub fn strike(&self, point: Point, skip: u32, times: u32, fault: Fault) {
        let planned = Planned { point, skip, times, fault };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(planned);
    }

    /// Forgets all plans: the device is well again.
    pub fn heal(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn next(&self, point: Point) -> Option<Fault> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = plans.iter().position(|planned| planned.point == point)?;
        let planned = plans.get_mut(index)?;
        if let Some(skip) = planned.skip.checked_sub(1) {
            planned.skip = skip;
            return None;
        }
        let fault = planned.fault.clone();
        planned.times = planned.times.saturating_sub(1);
        if planned.times == 0 {
            plans.remove(index);
        }
        Some(fault)
    }

    fn pass<T>(&self, point: Point, run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.next(point) {
            None => run(),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::LostAnswer) => run().and_then(|_| Err(lost())),
            Some(Fault::Delay(time)) => {
                std::thread::sleep(time);
                run()
            }
        }
    }

    fn pass_batch<T>(
        &self,
        point: Point,
        count: usize,
        run: impl FnOnce() -> Vec<Result<T, Denied>>,
    ) -> Vec<Result<T, Denied>> {
        match self.pass(point, || Ok(run())) {
            Ok(outcomes) => outcomes,
            Err(error) => (0..count).map(|_| Err(Denied::Failed(error.clone()))).collect(),
        }
    }
}

fn lost() -> StoreError {
    StoreError::Io { doing: "waiting for the outcome", cause: "injected: the answer was lost".to_owned() }
}

/// A [`SmallStore`] with faults.
pub struct FaultySmall<S> {
    pub inner: S,
    pub faults: Faults,
}

impl<S: SmallStore> SmallStore for FaultySmall<S> {
    fn boot(&self) -> Result<Boot, StoreError> {
        self.inner.boot()
    }
    fn apply(&self, sets: &[ChangeSet], born_at: LogId) -> Vec<Result<(), Denied>> {
        self.faults.pass_batch(Point::Apply, sets.len(), || self.inner.apply(sets, born_at))
    }
    fn load(&self, slot: Slot, account: &BareJid) -> Result<Option<Snapshot>, StoreError> {
        self.faults.pass(Point::Load, || self.inner.load(slot, account))
    }
    fn born_at(&self, slot: Slot, account: &BareJid) -> Result<Option<LogId>, StoreError> {
        self.inner.born_at(slot, account)
    }
    fn load_blob(&self, slot: Slot, account: &BareJid, blob: Blob) -> Result<Option<Vec<u8>>, StoreError> {
        self.faults.pass(Point::LoadBlob, || self.inner.load_blob(slot, account, blob))
    }
    fn list_accounts(&self, domain: &str, after: Option<&BareJid>, limit: u32) -> Result<Vec<BareJid>, StoreError> {
        self.faults.pass(Point::ListAccounts, || self.inner.list_accounts(domain, after, limit))
    }

    fn search(&self, search: &Search) -> Result<Found, StoreError> {
        self.faults.pass(Point::Search, || self.inner.search(search))
    }
    fn probe(&self) -> Result<(), StoreError> {
        self.faults.pass(Point::Apply, || self.inner.probe())
    }
    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

/// A [`LogStore`] with faults.
pub struct FaultyLog<L> {
    pub inner: L,
    pub faults: Faults,
}

impl<L: LogStore> LogStore for FaultyLog<L> {
    fn append(&self, batch: &[Append]) -> Vec<Result<LogId, Denied>> {
        self.faults.pass_batch(Point::Append, batch.len(), || self.inner.append(batch))
    }
    fn tidy(&self) {
        self.inner.tidy();
    }
    fn read(&self, account: &BareJid, after: LogId, limit: u32) -> Result<Vec<LogRecord>, StoreError> {
        self.faults.pass(Point::ReadLog, || self.inner.read(account, after, limit))
    }
    fn find(&self, record: &NewRecord, after: LogId) -> Result<Made, StoreError> {
        self.faults.pass(Point::ReadLog, || self.inner.find(record, after))
    }
    fn any_above(&self, account: &BareJid, mark: LogId) -> Result<bool, StoreError> {
        self.inner.any_above(account, mark)
    }
    fn head(&self) -> LogId {
        self.inner.head()
    }
    fn fence(&self, slot: Option<Slot>, epoch: SlotEpoch) {
        self.inner.fence(slot, epoch);
    }
    fn drop_older(&self, before_ms: u64) -> Result<usize, StoreError> {
        self.inner.drop_older(before_ms)
    }
    fn probe(&self) -> Result<(), StoreError> {
        self.faults.pass(Point::Append, || self.inner.probe())
    }
    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}
