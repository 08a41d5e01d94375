//! A copy of a store in use, at one point, and back from it.
//!
//! ```text
//!  DIR/hearth.redb        what one read transaction saw, as a file of its own
//!  DIR/log/NNNNNNNN.seg   every segment up to where it reached; of sealed ones the index too
//!  DIR/…                  files the owner of the store adds (the core: link.key and its audit log)
//!  DIR/backup.json        the manifest, last: without it there is no backup
//! ```
//!
//! **The point.** The thread that makes the backup takes the lock of those who commit, so that no commit is
//! under way; begins a read transaction R; notes H, how far the log is visible; lets go. A commit waits for that
//! at most some microseconds, an append never. R and H then say one thing:
//!
//! * *Nothing answered is missing.* A commit or an append that was answered before the backup was asked for
//!   had returned before it was answered, so R sees it, H is not before it.
//! * *R speaks of nothing behind H.* A mark or a birth (`born_at`) names an id that was given out before the
//!   commit that stored it, which is in R and so came before H was noted.
//! * *No message finds the wrong owner.* A message is appended for an account only once the commit that created
//!   it is answered. Between R and H there is none, so each record up to H is of an account that R has, or of
//!   one that was removed before R; a later account of that name begins at the restored log's head, which
//!   is H at least. Had a commit come between, an account removed and made again would leave its new messages,
//!   up to H, to the old one of R.
//! * *What H has beyond R's marks* (delivered, the mark not stored yet) is delivered again with the same
//!   id, as after a crash.
//!
//! **While it is copied** nothing is held up. Commits use other pages than R's (the file grows by what they
//! change); appends lie behind H; segments are copied newest first, and where an old one is dropped meanwhile,
//! so are all before it, and the copy ends there. Should redb's file fail and be opened anew, R cannot be
//! read any more, and the backup fails. Segments are not hard-linked, which would be quick: a copy must not share its
//! bytes with what it is to replace, nor let whoever handles it write into a store in use.
//!
//! **Effect**: one thread, a rate ([`limits::BACKUP_MB_PER_S`]), syncs of [`limits::COPY_SYNC_BYTES`].
//!
//! **After a restore** the first start has an epoch above all that the store had at the point and above
//! the second (since 1970) of the restore, which passes what it had afterwards: epochs count starts and moves of slots.
//! Sessions on record and runs of edges are forgotten, and [`Boot::restored`](crate::Boot) says which sessions a core must
//! not adopt from an edge that outlived the store: they name records of the log that came after the point.
//! Roster versions begin with a moment, so they too pass those of the time that was lost.

mod error;
mod manifest;
mod pace;
mod restore;
#[cfg(test)]
mod tests;

pub use error::BackupError;
pub use manifest::{FileEntry, Manifest};
pub use pace::Report;
pub(crate) use restore::check_restored;
pub use restore::restore;

use crate::engine::{OnDisk, Storage};
use crate::limits;
use crate::log::pin::Pinned;
use crate::redb::copy::View;
use pace::Pace;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

const SMALL: &str = "hearth.redb";
const LOG: &str = "log";

/// What to back up, and where to.
pub struct Order<'a> {
    /// Not there yet, or empty.
    pub dir: &'a Path,
    pub bytes_per_s: u64,
    /// Milliseconds since 1970, UTC: now.
    pub utc_ms: u64,
    /// Files that belong to the store's owner.
    pub also: Vec<Also>,
    pub report: Report<'a>,
}

/// One file more. Of one that grows what there is of it now is copied.
#[derive(Debug)]
pub struct Also {
    /// In the folder of the store, and of the backup.
    pub name: String,
    pub file: File,
    pub bytes: u64,
}

/// How far it is, in bytes; about, before the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

impl Storage {
    /// Makes a backup, on this thread. Where it fails, `order.dir` is left as it was found.
    pub(crate) fn backup(&self, order: Order<'_>, stop: &AtomicBool) -> Result<Manifest, BackupError> {
        let Some(store) = &self.on_disk else { return Err(BackupError::NotOnDisk) };
        let mut target = Target::take(order.dir)?;
        let (view, pinned) = store.small.view(|| store.log.pin())?;
        let segments = pinned.newest_first().map(|segment| segment.bytes);
        let also = order.also.iter().map(|also| also.bytes);
        // Small state is written, then read for its checksum.
        let total = segments.chain(also).fold(view.file_bytes.saturating_mul(2), u64::saturating_add);
        let pace = Pace::new(Some(order.bytes_per_s), total, Some(stop), order.report);
        let manifest = Making { store, dir: order.dir, pace }.run(order.utc_ms, view, &pinned, order.also)?;
        target.done = true;
        Ok(manifest)
    }
}

struct Making<'a> {
    store: &'a OnDisk,
    dir: &'a Path,
    pace: Pace<'a>,
}

impl Making<'_> {
    fn run(mut self, utc_ms: u64, mut view: View, pinned: &Pinned, also: Vec<Also>) -> Result<Manifest, BackupError> {
        let (store_id, epoch) = view.identity()?;
        let mut manifest = Manifest::new(utc_ms, store_id, epoch, pinned.head.0);
        manifest.files.push(self.small(view)?);
        self.log(pinned, &mut manifest.files)?;
        for Also { name, mut file, bytes } in also {
            let path = self.dir.join(&name);
            manifest.files.push(copy(name, &mut file, bytes, &path, &mut self.pace)?);
        }
        sync_dir(&self.dir.join(LOG))?;
        manifest.write(self.dir)?;
        Ok(manifest)
    }

    fn small(&mut self, mut view: View) -> Result<FileEntry, BackupError> {
        let path = self.dir.join(SMALL);
        let file = create_file(&path).map_err(BackupError::io("creating", &path))?;
        let (entries, total) = (view.entries()?, view.file_bytes);
        let (mut copied, mut said) = (0_u64, 0_u64);
        view.copy_to(file, |more, bytes| {
            copied = copied.saturating_add(more);
            // The copy will be smaller than the file, so entries say how far it is.
            let done = u128::from(total).saturating_mul(copied.into()).checked_div(entries.into()).unwrap_or(0);
            let done = u64::try_from(done).unwrap_or(u64::MAX);
            let of = done.saturating_sub(std::mem::replace(&mut said, done));
            self.pace.spend(bytes, of)
        })?;
        drop(view);
        let (bytes, crc32) = checksum(&path, &mut self.pace)?;
        Ok(FileEntry { name: SMALL.to_owned(), bytes, crc32 })
    }

    fn log(&mut self, pinned: &Pinned, files: &mut Vec<FileEntry>) -> Result<(), BackupError> {
        let dir = self.dir.join(LOG);
        create_dir(&dir)?;
        let mut newest = true;
        for segment in pinned.newest_first() {
            let Some(file) = self.store.log.open_pinned(&segment)? else { break };
            let name = segment.name();
            let mut file = file.into_reader();
            files.push(copy(format!("{LOG}/{name}"), &mut file, segment.bytes, &dir.join(name), &mut self.pace)?);
            // The newest is appended to again where it is restored.
            if !std::mem::take(&mut newest)
                && let Some(mut index) = self.store.log.open_index(&segment)?
            {
                let name = segment.index_name();
                let path = dir.join(&name);
                let bytes = index.metadata().map_err(BackupError::io("reading", &path))?.len();
                files.push(copy(format!("{LOG}/{name}"), &mut index, bytes, &path, &mut self.pace)?);
            }
        }
        Ok(())
    }
}

/// The folder of a backup; until it is done it is emptied when dropped.
struct Target<'a> {
    dir: &'a Path,
    /// It was not there.
    made: bool,
    done: bool,
}

impl<'a> Target<'a> {
    fn take(dir: &'a Path) -> Result<Target<'a>, BackupError> {
        let made = !dir.exists();
        create_dir(dir)?;
        if entries(dir)?.next().is_some() {
            return Err(BackupError::NotEmpty { path: dir.to_owned() });
        }
        Ok(Target { dir, made, done: false })
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // What stays has no manifest, so that nobody takes it for a backup.
        let removed = if self.made {
            std::fs::remove_dir_all(self.dir)
        } else {
            entries(self.dir).map_err(io::Error::other).and_then(|mut all| {
                all.try_for_each(|path| {
                    if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
                })
            })
        };
        if let Err(error) = removed {
            tracing::warn!(event = "backup_not_removed", path = %self.dir.display(), %error);
        }
    }
}

fn entries(dir: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>, BackupError> {
    let listed = std::fs::read_dir(dir).map_err(BackupError::io("listing", dir))?;
    Ok(listed.map_while(Result::ok).map(|entry| entry.path()))
}

/// For its owner alone: secrets lie within.
fn create_dir(dir: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(BackupError::io("creating", dir))
}

/// For its owner alone, new.
fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(BackupError::io("syncing", dir))
}

/// Copies the first `bytes` bytes of `from` into a new file, which is on the device afterwards.
fn copy(
    name: String,
    from: &mut impl Read,
    bytes: u64,
    path: &Path,
    pace: &mut Pace<'_>,
) -> Result<FileEntry, BackupError> {
    let mut to = create_file(path).map_err(BackupError::io("creating", path))?;
    let mut unsynced = 0_u64;
    let crc32 = pour(from, bytes, path, pace, |chunk| {
        to.write_all(chunk)?;
        unsynced = unsynced.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if unsynced < limits::COPY_SYNC_BYTES {
            return Ok(());
        }
        unsynced = 0;
        to.sync_data()
    })?;
    to.sync_all().map_err(BackupError::io("syncing", path))?;
    Ok(FileEntry { name, bytes, crc32 })
}

/// Length and checksum of a file.
fn checksum(path: &Path, pace: &mut Pace<'_>) -> Result<(u64, u32), BackupError> {
    let reading = |error| BackupError::io("reading", path)(error);
    let mut file = File::open(path).map_err(reading)?;
    let bytes = file.metadata().map_err(reading)?.len();
    Ok((bytes, pour(&mut file, bytes, path, pace, |_| Ok(()))?))
}

/// Hands the first `bytes` bytes to `to`, and answers their checksum. A file that is shorter is damaged.
fn pour(
    from: &mut impl Read,
    bytes: u64,
    path: &Path,
    pace: &mut Pace<'_>,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<u32, BackupError> {
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; limits::COPY_CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = buffer.get_mut(..want).unwrap_or_default();
        from.read_exact(chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::damaged(path, format!("{left} bytes or fewer are missing")),
            _ => BackupError::io("copying to", path)(error),
        })?;
        sum.update(chunk);
        to(chunk).map_err(BackupError::io("writing", path))?;
        let done = u64::try_from(want).unwrap_or(u64::MAX);
        left = left.saturating_sub(done);
        pace.spend(done, done)?;
    }
    Ok(sum.finalize())
}
