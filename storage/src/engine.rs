//! From a question to its answer over a pair of stores. The runtime calls this from its threads;
//! the simulator calls [`Storage::answer`] when it thinks the time has come.

use crate::backup;
use crate::disk::{DirLock, Disk, io_error};
use crate::log::{LogConfig, SegmentLog};
use crate::memory::{MemoryLog, MemorySmall};
use crate::redb::{RedbConfig, RedbSmall};
use crate::reserve::Reserve;
use crate::store::{Append, ChangeSet, Denied, Fences, Fresh, LogStore, Made, SmallStore};
use crate::{Answer, Answered, Ask, Boot, LogId, Question, Refusal, StoreError, limits};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotKey};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A pair of open stores. Clones are the same pair.
#[derive(Clone)]
pub struct Storage {
    pub(crate) small: Arc<dyn SmallStore>,
    pub(crate) log: Arc<dyn LogStore>,
    /// What the log was told of; touched only where changes are applied.
    fences: Arc<Mutex<Fences>>,
    pub(crate) reserve: Option<Reserve>,
    /// `None`: it is not in a data directory.
    pub(crate) on_disk: Option<OnDisk>,
    /// Of the data directory, if there is one.
    _lock: Option<Arc<DirLock>>,
}

/// The same pair as what it is in a data directory.
#[derive(Clone)]
pub(crate) struct OnDisk {
    pub(crate) small: Arc<RedbSmall>,
    pub(crate) log: Arc<SegmentLog>,
}

/// An append of a batch.
pub(crate) struct Wanted {
    pub(crate) append: Append,
    /// Only if the log does not hold the record yet.
    pub(crate) again: bool,
}

/// Where a store lies and how it is kept.
#[derive(Clone)]
pub struct StorageConfig {
    /// Holds `hearth.redb`, `log/`, `hearth.reserve` and `hearth.lock`.
    pub dir: PathBuf,
    pub redb: RedbConfig,
    pub disk: Disk,
    pub log: LogConfig,
    /// Kept for when the disk is full.
    pub reserve_bytes: u64,
    /// Used only if the store does not exist yet.
    pub fresh: Fresh,
}

impl StorageConfig {
    /// The defaults: 16 MiB of cache, everything synced.
    pub fn new(dir: impl Into<PathBuf>, fresh: Fresh) -> StorageConfig {
        StorageConfig {
            dir: dir.into(),
            redb: RedbConfig::default(),
            disk: Disk::default(),
            log: LogConfig::default(),
            reserve_bytes: limits::RESERVE_BYTES,
            fresh,
        }
    }
}

impl Storage {
    /// Opens the store in `config.dir`, or creates it. Fails with [`StoreError::Locked`] while
    /// another process has it, [`StoreError::UnknownVersion`] if a later release wrote it,
    /// [`StoreError::HalfRestored`] where a restore did not come to its end.
    pub fn open(config: &StorageConfig) -> Result<(Storage, Boot), StoreError> {
        let StorageConfig { dir, disk, .. } = config;
        // Secrets lie within.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| io_error("creating the data directory", &error))?;
        let lock = DirLock::take(dir)?;
        backup::check_restored(dir)?;
        let reserve = Reserve::new(dir, config.reserve_bytes, disk.clone());
        let opened = match Storage::open_locked(config) {
            Err(StoreError::Full) => {
                reserve.release();
                Storage::open_locked(config)
            }
            opened => opened,
        };
        let (mut storage, boot) = opened?;
        storage.reserve = Some(reserve);
        storage._lock = Some(Arc::new(lock));
        Ok((storage, boot))
    }

    fn open_locked(config: &StorageConfig) -> Result<(Storage, Boot), StoreError> {
        let StorageConfig { dir, redb, disk, log, fresh, .. } = config;
        let small = Arc::new(RedbSmall::open(dir, *redb, disk.clone(), fresh)?);
        let log = Arc::new(SegmentLog::open(dir, disk.clone(), small.store_id()?, *log)?);
        let (mut storage, boot) = Storage::new(small.clone(), log.clone())?;
        storage.on_disk = Some(OnDisk { small, log });
        Ok((storage, boot))
    }

    /// Over any two stores; a start in the sense of [`Storage::boot`].
    pub fn new(small: Arc<dyn SmallStore>, log: Arc<dyn LogStore>) -> Result<(Storage, Boot), StoreError> {
        let storage = Storage { small, log, fences: Arc::default(), reserve: None, on_disk: None, _lock: None };
        let boot = storage.boot()?;
        Ok((storage, boot))
    }

    /// An empty store in memory, the same each time.
    pub fn memory() -> Result<(Storage, Boot), StoreError> {
        let fresh = Fresh { slot_key: SlotKey([7; 16]), secret: [8; 32], store_id: [9; 16] };
        Storage::new(Arc::new(MemorySmall::new(&fresh)?), Arc::new(MemoryLog::new()))
    }

    /// A new start: raises the epoch above every earlier one, durably, and fences those.
    pub fn boot(&self) -> Result<Boot, StoreError> {
        let boot = self.small.boot()?;
        self.log.fence(None, boot.epoch);
        self.fences.lock().unwrap_or_else(PoisonError::into_inner).raise(None, boot.epoch);
        Ok(boot)
    }

    /// Answers one question here and now, on this thread.
    pub fn answer(&self, question: Question) -> Answered {
        let Question { id, slot, epoch, ask } = question;
        let first = |answers: Vec<Answer>| answers.into_iter().next().unwrap_or(Answer::Failed(StoreError::Closed));
        let append = |record, again| first(self.append(vec![Wanted { append: Append { slot, epoch, record }, again }]));
        let answer = match ask {
            Ask::Apply { changes } => first(self.apply(&[ChangeSet { slot, epoch, changes }], self.log.head())),
            Ask::Append { record } => append(record, false),
            Ask::AppendAgain { record } => append(record, true),
            read @ (Ask::Load { .. }
            | Ask::LoadBlob { .. }
            | Ask::ReadLog { .. }
            | Ask::ListAccounts { .. }
            | Ask::Search { .. }) => self.read(slot, &read),
        };
        Answered { id, answer }
    }

    /// Applies a batch with one commit. Every append that belongs to an account before it is created
    /// here has an id up to `born_at`.
    pub(crate) fn apply(&self, sets: &[ChangeSet], born_at: LogId) -> Vec<Answer> {
        let outcomes = self.small.apply(sets, born_at);
        let mut fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
        for (set, outcome) in sets.iter().zip(&outcomes) {
            if outcome.is_ok() && fences.raise(Some(set.slot), set.epoch) {
                self.log.fence(Some(set.slot), set.epoch);
            }
        }
        outcomes.into_iter().map(|outcome| answer(outcome.map(|()| Answer::Applied))).collect()
    }

    /// Appends a batch in order; one sync is enough, unless records of it may be the same.
    pub(crate) fn append(&self, batch: Vec<Wanted>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut run = Vec::with_capacity(batch.len());
        for Wanted { append, again } in batch {
            if again && run.iter().any(|earlier: &Append| earlier.record.ingest == append.record.ingest) {
                self.append_run(&mut run, &mut answers);
            }
            match if again { self.held(&append) } else { None } {
                None => run.push(append),
                Some(held) => {
                    self.append_run(&mut run, &mut answers);
                    answers.push(held);
                }
            }
        }
        self.append_run(&mut run, &mut answers);
        answers
    }

    fn append_run(&self, run: &mut Vec<Append>, answers: &mut Vec<Answer>) {
        let outcomes = self.log.append(run);
        answers.extend(outcomes.into_iter().map(|outcome| answer(outcome.map(Answer::Appended))));
        run.clear();
    }

    /// The answer to an append that may have been made before; `None`: it was not.
    pub(crate) fn held(&self, append: &Append) -> Option<Answer> {
        let Append { slot, epoch, record } = append;
        record.ingest?;
        if *epoch < self.fences.lock().unwrap_or_else(PoisonError::into_inner).epoch(*slot) {
            return Some(Answer::Refused(Refusal::Fenced));
        }
        // An earlier account of the name may have got it: this one has not.
        let found = self.small.born_at(*slot, &record.account);
        match found.and_then(|born_at| self.log.find(record, born_at.unwrap_or_default())) {
            Ok(Made::No) => None,
            Ok(Made::Yes(id)) => Some(Answer::Already(id)),
            Ok(Made::LaterOne) => Some(Answer::Overtaken),
            Err(error) => Some(Answer::Failed(error)),
        }
    }

    /// Whether changes and appends could be made durable now, and there is a reserve.
    pub(crate) fn probe(&self) -> Result<(), StoreError> {
        self.small.probe()?;
        self.log.probe()?;
        self.reserve.as_ref().map_or(Ok(()), Reserve::keep_again)
    }

    /// Answers a question that changes nothing.
    pub(crate) fn read(&self, slot: Slot, ask: &Ask) -> Answer {
        let answer = match ask {
            Ask::Load { account } => self.load(slot, account),
            Ask::LoadBlob { account, blob } => self.small.load_blob(slot, account, *blob).map(Answer::Blob),
            Ask::ReadLog { account, after, limit } => self.read_log(slot, account, *after, *limit),
            Ask::ListAccounts { domain, after, limit } => {
                self.small.list_accounts(domain, after.as_ref(), *limit).map(Answer::Accounts)
            }
            Ask::Search { search } => self.small.search(search).map(Answer::Found),
            Ask::Apply { .. } | Ask::Append { .. } | Ask::AppendAgain { .. } => {
                debug_assert!(false, "a write among the reads");
                Err(StoreError::Busy)
            }
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    fn load(&self, slot: Slot, account: &BareJid) -> Result<Answer, StoreError> {
        let Some(mut snapshot) = self.small.load(slot, account)? else { return Ok(Answer::Loaded(None)) };
        snapshot.log_above_mark = self.log.any_above(account, snapshot.marks.low_water)?;
        Ok(Answer::Loaded(Some(Box::new(snapshot))))
    }

    fn read_log(&self, slot: Slot, account: &BareJid, after: LogId, limit: u32) -> Result<Answer, StoreError> {
        let Some(born_at) = self.small.born_at(slot, account)? else { return Ok(Answer::Records(Vec::new())) };
        self.log.read(account, after.max(born_at), limit).map(Answer::Records)
    }
}

fn answer(outcome: Result<Answer, Denied>) -> Answer {
    match outcome {
        Ok(answer) => answer,
        Err(Denied::Refused(refusal)) => Answer::Refused(refusal),
        Err(Denied::Failed(error)) => Answer::Failed(error),
    }
}
