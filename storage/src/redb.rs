//! Small state on disk: one file, `hearth.redb`, by group commit.
//!
//! **A failed commit.** redb refuses everything after its first failed write or sync, so the file is
//! closed and opened again at once. Linux forgets pages whose write-back failed, and reading them
//! back proves nothing; therefore [`backend`] keeps a copy of all that was written since the last
//! good sync, and opening again first writes and syncs it anew. Only then is it known what the file
//! holds, and a counter stored with each commit tells whether the failed one is in it. A device that
//! stays away fails reads too, and whether its last commit is in is known when it comes back.
//!
//! **A full device** fails one commit; afterwards a probe file is written first, and redb is left
//! alone until the probe fits. Reads go on.
//!
//! **Quick repair** (the allocator's state is saved in each commit) makes commits dearer and opening
//! after a crash independent of the file's size; a file below [`limits::QUICK_REPAIR_FROM_BYTES`] is
//! walked faster than anyone notices and goes without.

mod backend;
pub(crate) mod copy;
#[cfg(test)]
mod tests;
mod views;

use crate::disk::{Disk, io_error};
use crate::listing::{self, Found, Search};
use crate::reserve;
use crate::store::{ChangeSet, Denied, Fences, Fresh, SmallStore};
use crate::tables;
use crate::{Blob, Boot, LogId, Snapshot, StoreError, limits};
use backend::{Backend, Unsynced};
use hearth_wire::BareJid;
use hearth_wire::ids::Slot;
use redb::{Database, ReadableDatabase};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use views::{ReadTables, WriteTables, redb_error};

/// How the file is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedbConfig {
    /// Memory for pages of the file; it grows to this as data is touched.
    pub cache_bytes: usize,
    /// Size of the file from which on commits save the allocator's state.
    pub quick_repair_from_bytes: u64,
}

impl Default for RedbConfig {
    fn default() -> RedbConfig {
        RedbConfig { cache_bytes: limits::CACHE_BYTES, quick_repair_from_bytes: limits::QUICK_REPAIR_FROM_BYTES }
    }
}

/// [`SmallStore`] over redb.
pub struct RedbSmall {
    dir: PathBuf,
    config: RedbConfig,
    disk: Disk,
    file: RwLock<OpenFile>,
    unsynced: Arc<Mutex<Unsynced>>,
    writing: Mutex<Writing>,
}

struct OpenFile {
    /// `None` between a failure and the next good opening, and after the end.
    db: Option<Database>,
    /// Counts openings, so that of two who saw the same failure one opens again.
    generation: u64,
    /// Not tried again before, since this happened.
    failed: Option<(Instant, StoreError)>,
}

/// What only a writer touches.
#[derive(Default)]
struct Writing {
    fences: Fences,
    /// Commits over the life of the file.
    commits: u64,
    /// The device was full at the last attempt.
    full: bool,
}

impl RedbSmall {
    /// Opens `hearth.redb` in `dir`, or creates it with the keys of `fresh`. The caller holds the
    /// directory's [`DirLock`](crate::DirLock).
    pub fn open(dir: &Path, config: RedbConfig, disk: Disk, fresh: &Fresh) -> Result<RedbSmall, StoreError> {
        let store = RedbSmall {
            dir: dir.to_owned(),
            config,
            disk,
            file: RwLock::new(OpenFile { db: None, generation: 0, failed: None }),
            unsynced: Arc::default(),
            writing: Mutex::default(),
        };
        store.reopen(0)?;
        // Checked before anything of ours is written: what another release stored stays as it is.
        let exists = store.read(tables::schema_exists)?;
        let mut writing = store.writing();
        writing.commits = store.read(tables::commits)?;
        if !exists {
            store.commit(&mut writing, |tables| tables::create(tables, fresh))?;
            store.disk.sync_dir(dir).map_err(|error| io_error("syncing the data directory", &error))?;
        }
        drop(writing);
        Ok(store)
    }

    /// Name of the store, made when it was created.
    pub(crate) fn store_id(&self) -> Result<[u8; 16], StoreError> {
        self.read(|tables| Ok(tables::store_record(tables)?.store_id))
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("hearth.redb")
    }

    /// Runs `work` on one view; once more on a newly opened file if the first try broke it.
    fn read<T>(&self, work: impl Fn(&mut ReadTables) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let (result, generation) = self.try_read(&work);
        match result {
            Err(StoreError::Io { .. } | StoreError::Full) => {
                self.reopen(generation)?;
                self.try_read(&work).0
            }
            result => result,
        }
    }

    fn try_read<T>(&self, work: impl Fn(&mut ReadTables) -> Result<T, StoreError>) -> (Result<T, StoreError>, u64) {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let result = match &file.db {
            Some(db) => db
                .begin_read()
                .map_err(|error| redb_error("reading hearth.redb", error))
                .and_then(|txn| work(&mut ReadTables::new(txn))),
            None => Err(file.unavailable()),
        };
        (result, file.generation)
    }

    /// One transaction, one commit. What `work` answers is returned only if it is durable.
    fn commit<T>(
        &self,
        writing: &mut Writing,
        work: impl FnOnce(&mut WriteTables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if writing.full {
            self.disk.probe(&self.dir.join("hearth.probe"))?;
            writing.full = false;
        }
        let number = writing.commits.saturating_add(1);
        let mut done = None;
        let (result, generation) = self.try_commit(number, work, &mut done);
        let error = match (result, done.take()) {
            (Ok(dirty), Some(value)) => {
                writing.commits = if dirty { number } else { writing.commits };
                return Ok(value);
            }
            (Err(error), value) => {
                done = value;
                error
            }
            (Ok(_), None) => StoreError::Corrupt { what: "a commit without an outcome".to_owned() },
        };
        tracing::warn!(event = "small_commit_failed", %error);
        writing.full = error == StoreError::Full;
        if writing.full {
            // Opening again may have to write.
            reserve::release(&self.dir);
        }
        self.reopen(generation)?;
        writing.commits = self.read(tables::commits)?;
        match done {
            Some(value) if writing.commits == number => Ok(value),
            Some(_) | None => Err(error),
        }
    }

    /// Whether anything was written. `done` is set once `work` is through, whatever becomes of it.
    fn try_commit<T>(
        &self,
        number: u64,
        work: impl FnOnce(&mut WriteTables<'_>) -> Result<T, StoreError>,
        done: &mut Option<T>,
    ) -> (Result<bool, StoreError>, u64) {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let run = || -> Result<bool, StoreError> {
            let Some(db) = &file.db else { return Err(file.unavailable()) };
            let mut txn = db.begin_write().map_err(|error| redb_error("beginning a commit", error))?;
            txn.set_quick_repair(self.wants_quick_repair());
            let mut view = WriteTables::new(&txn);
            let value = work(&mut view)?;
            let dirty = view.dirty();
            if dirty {
                tables::put_commits(&mut view, number)?;
            }
            drop(view);
            *done = Some(value);
            if dirty {
                txn.commit().map_err(|error| redb_error("committing to hearth.redb", error))?;
            } else {
                txn.abort().map_err(|error| redb_error("ending an empty commit", error))?;
            }
            Ok(dirty)
        };
        (run(), file.generation)
    }

    fn wants_quick_repair(&self) -> bool {
        let size = std::fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        size >= self.config.quick_repair_from_bytes
    }

    /// Closes the file and opens it again, unless that was done since `generation`.
    fn reopen(&self, generation: u64) -> Result<(), StoreError> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if file.generation != generation {
            return if file.db.is_some() { Ok(()) } else { Err(file.unavailable()) };
        }
        if file.must_wait() {
            return Err(file.unavailable());
        }
        // Whatever it could not write is in `unsynced`.
        file.db = None;
        match self.open_file() {
            Ok(db) => {
                *file = OpenFile { db: Some(db), generation: generation.wrapping_add(1), failed: None };
                Ok(())
            }
            Err(error) => {
                file.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn open_file(&self) -> Result<Database, StoreError> {
        let opening = |error| io_error("opening hearth.redb", &error);
        let disk_file = self.disk.open(&self.path()).map_err(opening)?;
        let keep = self.disk.sync == crate::Sync::Full;
        let backend = Backend::recover(disk_file, self.unsynced.clone(), keep).map_err(opening)?;
        let mut builder = Database::builder();
        builder.set_cache_size(self.config.cache_bytes);
        builder.create_with_backend(backend).map_err(|error| redb_error("opening hearth.redb", error))
    }
}

impl OpenFile {
    fn must_wait(&self) -> bool {
        let pause = Duration::from_millis(limits::REOPEN_PAUSE_MS);
        self.failed.as_ref().is_some_and(|(when, error)| *error == StoreError::Closed || when.elapsed() < pause)
    }

    fn unavailable(&self) -> StoreError {
        match &self.failed {
            Some((_, error)) => error.clone(),
            None => StoreError::Io { doing: "using hearth.redb", cause: "it is not open".to_owned() },
        }
    }
}

impl SmallStore for RedbSmall {
    fn boot(&self) -> Result<Boot, StoreError> {
        let mut writing = self.writing();
        let mut fences = Fences::default();
        let boot = self.commit(&mut writing, |tables| tables::boot(tables, &mut fences))?;
        writing.fences = fences;
        Ok(boot)
    }

    fn apply(&self, sets: &[ChangeSet], born_at: LogId) -> Vec<Result<(), Denied>> {
        let mut writing = self.writing();
        let mut fences = writing.fences.clone();
        match self.commit(&mut writing, |tables| tables::apply(tables, &mut fences, sets, born_at)) {
            Ok(outcomes) => {
                writing.fences = fences;
                outcomes
            }
            Err(error) => sets.iter().map(|_| Err(Denied::Failed(error.clone()))).collect(),
        }
    }

    fn load(&self, slot: Slot, account: &BareJid) -> Result<Option<Snapshot>, StoreError> {
        self.read(|tables| tables::load(tables, slot, account))
    }

    fn born_at(&self, slot: Slot, account: &BareJid) -> Result<Option<LogId>, StoreError> {
        self.read(|tables| tables::born_at(tables, slot, account))
    }

    fn load_blob(&self, slot: Slot, account: &BareJid, blob: Blob) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|tables| tables::load_blob(tables, slot, account, blob))
    }

    fn list_accounts(&self, domain: &str, after: Option<&BareJid>, limit: u32) -> Result<Vec<BareJid>, StoreError> {
        self.read(|tables| tables::list_accounts(tables, domain, after, limit))
    }

    fn search(&self, search: &Search) -> Result<Found, StoreError> {
        self.read(|tables| listing::search(tables, search))
    }

    fn probe(&self) -> Result<(), StoreError> {
        // The counter is part of every commit that writes something: this one writes nothing else.
        self.commit(&mut self.writing(), |tables| tables::put_commits(tables, 0))
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        file.failed = Some((Instant::now(), StoreError::Closed));
        match file.db.take() {
            Some(db) => db.close().map_err(|error| redb_error("closing hearth.redb", error)),
            None => Ok(()),
        }
    }
}
