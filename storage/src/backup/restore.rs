//! From a backup to a data folder, without a core.

use super::manifest::{FileEntry, Manifest};
use super::pace::{Pace, Report};
use super::{BackupError, LOG, SMALL, checksum, copy, create_dir, create_file, entries, sync_dir};
use crate::StoreError;
use crate::disk::DirLock;
use crate::redb::copy::restored;
use std::fs::File;
use std::path::Path;

/// Lies in a data folder while a restore fills it.
const HALF: &str = "hearth.restoring";
/// As [`DirLock`] leaves it.
const LOCK: &str = "hearth.lock";

/// Puts the backup in `from` into the folder `data`, which is not there yet or empty, and which no core uses.
/// Nothing is written before every file of the backup was read and found as it was made. `utc_ms`: now.
pub fn restore(from: &Path, data: &Path, utc_ms: u64, report: Report<'_>) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(from)?;
    if data.join(LOCK).exists() {
        // Says more than that it is not empty.
        drop(DirLock::take(data)?);
    }
    if data.exists() {
        check_empty(data)?;
    }
    // Read once to be checked, once to be copied.
    let mut pace = Pace::new(None, manifest.bytes().saturating_mul(2), None, report);
    for file in &manifest.files {
        check(file, &from.join(&file.name), &mut pace)?;
    }
    create_dir(data)?;
    let _lock = DirLock::take(data)?;
    check_empty(data)?;
    let half = data.join(HALF);
    create_file(&half).and_then(|file| file.sync_all()).map_err(BackupError::io("creating", &half))?;
    sync_dir(data)?;
    create_dir(&data.join(LOG))?;
    for file in &manifest.files {
        let (source, target) = (from.join(&file.name), data.join(&file.name));
        let mut opened = File::open(&source).map_err(BackupError::io("reading", &source))?;
        let copied = copy(file.name.clone(), &mut opened, file.bytes, &target, &mut pace)?;
        same(file, copied.bytes, copied.crc32, &source)?;
    }
    restored(&data.join(SMALL), utc_ms / 1_000)?;
    sync_dir(&data.join(LOG))?;
    sync_dir(data)?;
    std::fs::remove_file(&half).map_err(BackupError::io("removing", &half))?;
    sync_dir(data)?;
    Ok(manifest)
}

/// Refuses a data folder that a restore left half filled: its store lacks what it does not show.
pub(crate) fn check_restored(data: &Path) -> Result<(), StoreError> {
    if data.join(HALF).exists() {
        return Err(StoreError::HalfRestored { path: data.display().to_string() });
    }
    Ok(())
}

fn check_empty(data: &Path) -> Result<(), BackupError> {
    check_restored(data)?;
    match entries(data)?.find(|path| path.file_name().is_none_or(|name| name != LOCK)) {
        Some(_) => Err(BackupError::NotEmpty { path: data.to_owned() }),
        None => Ok(()),
    }
}

fn check(file: &FileEntry, path: &Path, pace: &mut Pace<'_>) -> Result<(), BackupError> {
    if !path.exists() {
        return Err(BackupError::damaged(path, "it is missing"));
    }
    let (bytes, crc32) = checksum(path, pace)?;
    same(file, bytes, crc32, path)
}

fn same(file: &FileEntry, bytes: u64, crc32: u32, path: &Path) -> Result<(), BackupError> {
    if bytes != file.bytes {
        return Err(BackupError::damaged(path, format!("it has {bytes} bytes, and had {}", file.bytes)));
    }
    if crc32 != file.crc32 {
        return Err(BackupError::damaged(path, "its checksum is another"));
    }
    Ok(())
}
