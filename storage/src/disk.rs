//! Files as the engines use them: positioned reads and writes, an explicit sync, and for tests a
//! device that fails where told.

use crate::{StoreError, limits};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether a commit waits for the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sync {
    /// Always; the promises of this crate need it.
    #[default]
    Full,
    /// Never: a crash of the machine may lose or tear what was answered. For measuring only.
    None,
}

/// How files of one store are opened.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub sync: Sync,
    /// `None` on a real device.
    pub faults: Option<Arc<DiskFaults>>,
}

/// An open file of a store.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

/// The operator's view of a failed system call.
pub(crate) fn io_error(doing: &'static str, error: &io::Error) -> StoreError {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return StoreError::Full;
    }
    StoreError::Io { doing, cause: error.to_string() }
}

impl Disk {
    /// Opens for reading and writing; creates it if it is missing.
    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(DiskFile { file, path: path.to_owned(), disk: self.clone() })
    }

    /// Opens one that exists.
    pub(crate) fn open_existing(&self, path: &Path) -> io::Result<DiskFile> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(DiskFile { file, path: path.to_owned(), disk: self.clone() })
    }

    /// Creates it; one that exists is an error.
    pub(crate) fn create_new(&self, path: &Path) -> io::Result<DiskFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(DiskFile { file, path: path.to_owned(), disk: self.clone() })
    }

    /// Bytes that the device under a folder has room for.
    pub(crate) fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if let Some(space) = self.faults.as_ref().and_then(|faults| faults.lock().space) {
            return Ok(space);
        }
        let device = rustix::fs::statvfs(dir)?;
        Ok(device.f_bavail.saturating_mul(device.f_frsize))
    }

    /// Whether the device takes anything: writes a file of [`limits::PROBE_BYTES`] and removes it.
    pub(crate) fn probe(&self, path: &Path) -> Result<(), StoreError> {
        let attempt = || {
            let file = self.open(path)?;
            file.write_all_at(&vec![0; limits::PROBE_BYTES], 0)?;
            file.sync_data()
        };
        let result = attempt().map_err(|error| io_error("probing the device", &error));
        // Left behind it costs a megabyte; the next probe overwrites it.
        let _kept = std::fs::remove_file(path);
        result
    }

    /// Makes names created or removed in `dir` durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match (&self.faults, self.sync) {
            (None, Sync::Full) => File::open(dir)?.sync_all(),
            // A pretended device keeps names at once.
            (Some(_), _) | (None, Sync::None) => Ok(()),
        }
    }
}

impl DiskFile {
    /// To be read from its beginning.
    pub(crate) fn into_reader(self) -> File {
        self.file
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.disk.faults {
            None => self.file.write_all_at(bytes, offset),
            Some(faults) => faults.write(self, bytes, offset),
        }
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.disk.faults {
            None => self.file.set_len(len),
            Some(faults) => faults.set_len(self, len),
        }
    }

    /// Returns when everything written to the file is on the device.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match (&self.disk.faults, self.disk.sync) {
            (Some(faults), _) => faults.sync(self),
            (None, Sync::Full) => self.file.sync_data(),
            (None, Sync::None) => Ok(()),
        }
    }
}

/// Keeps other processes out of a data directory, for as long as it lives.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl DirLock {
    /// Fails with [`StoreError::Locked`] if another process, or another store of this one, has it.
    pub fn take(dir: &Path) -> Result<DirLock, StoreError> {
        let path = dir.join("hearth.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| io_error("opening the lock file", &error))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.display().to_string() }),
            Err(TryLockError::Error(error)) => Err(io_error("locking the data directory", &error)),
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing alone leaves it to a child that is just being started, which has the file until it is another program.
        let _closed_anyway = self.file.unlock();
    }
}

/// A device that fails where a test says. It remembers what was written since the last sync of each
/// file, so that a failed sync really loses it, and so that a test can cut the power.
#[derive(Debug, Default)]
pub struct DiskFaults(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    /// Bytes that may still be written.
    space: Option<u64>,
    syncs_to_fail: u32,
    /// After the power was cut nothing works.
    dead: bool,
    unsynced: Vec<Write>,
}

/// One write that was not synced yet, and what it replaced.
#[derive(Debug)]
struct Write {
    path: PathBuf,
    offset: u64,
    before: Vec<u8>,
    len_before: u64,
    /// What was written; `Err`: the file was only cut or grown to this length.
    after: Result<Vec<u8>, u64>,
}

impl DiskFaults {
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that may still be written before the device is full; `None`: plenty.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.lock().space = bytes;
    }

    /// The next `count` syncs fail, and what they should have made durable is lost: the file reads
    /// as it was at its last good sync.
    pub fn fail_syncs(&self, count: u32) {
        self.lock().syncs_to_fail = count;
    }

    /// The power goes: of what was not synced only the writes that `keep` chooses reach the device
    /// (it answers how many bytes of each). Everything fails from here on.
    pub fn cut_power(&self, mut keep: impl FnMut(usize) -> usize) -> io::Result<()> {
        let mut plan = self.lock();
        plan.dead = true;
        let writes = std::mem::take(&mut plan.unsynced);
        for write in writes.iter().rev() {
            write.undo()?;
        }
        writes.iter().try_for_each(|write| write.redo(&mut keep))
    }

    fn write(&self, on: &DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut plan = self.lock();
        plan.alive()?;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let space = plan.space.unwrap_or(u64::MAX);
        let fits = bytes.get(..usize::try_from(space.min(len)).unwrap_or(usize::MAX)).unwrap_or(bytes);
        plan.remember(on, offset, Ok(fits.to_vec()))?;
        on.file.write_all_at(fits, offset)?;
        plan.space = plan.space.map(|space| space.saturating_sub(len));
        if fits.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, on: &DiskFile, len: u64) -> io::Result<()> {
        let mut plan = self.lock();
        plan.alive()?;
        plan.remember(on, len, Err(len))?;
        on.file.set_len(len)
    }

    fn sync(&self, on: &DiskFile) -> io::Result<()> {
        let mut plan = self.lock();
        plan.alive()?;
        let (mine, others) = std::mem::take(&mut plan.unsynced).into_iter().partition(|w| w.path == on.path);
        plan.unsynced = others;
        let Some(left) = plan.syncs_to_fail.checked_sub(1) else { return Ok(()) };
        plan.syncs_to_fail = left;
        let mine: Vec<Write> = mine;
        mine.iter().rev().try_for_each(Write::undo)?;
        Err(io::Error::other("injected: sync failed"))
    }
}

impl Plan {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("injected: no power")) } else { Ok(()) }
    }

    fn remember(&mut self, on: &DiskFile, offset: u64, after: Result<Vec<u8>, u64>) -> io::Result<()> {
        let len_before = on.len()?;
        let reach = match &after {
            Ok(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Err(_) => len_before.saturating_sub(offset),
        };
        let old = len_before.saturating_sub(offset).min(reach);
        let mut before = vec![0; usize::try_from(old).unwrap_or(usize::MAX)];
        on.file.read_exact_at(&mut before, offset)?;
        self.unsynced.push(Write { path: on.path.clone(), offset, before, len_before, after });
        Ok(())
    }
}

impl Write {
    /// `None`: it was removed since.
    fn file(&self) -> io::Result<Option<File>> {
        match OpenOptions::new().write(true).open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn undo(&self) -> io::Result<()> {
        let Some(file) = self.file()? else { return Ok(()) };
        file.set_len(self.len_before)?;
        file.write_all_at(&self.before, self.offset)
    }

    fn redo(&self, keep: &mut impl FnMut(usize) -> usize) -> io::Result<()> {
        let Some(file) = self.file()? else { return Ok(()) };
        match &self.after {
            Ok(bytes) => file.write_all_at(bytes.get(..keep(bytes.len())).unwrap_or(bytes), self.offset),
            Err(len) if keep(1) > 0 => file.set_len(*len),
            Err(_) => Ok(()),
        }
    }
}
