//! Room kept for when there is none: a file that is removed when the device is full, so that what is small
//! and urgent can still be stored, and made again when there is room.
//!
//! On file systems that copy what is overwritten the room is still there, but is not only ours.

use crate::disk::{Disk, io_error};
use crate::{StoreError, limits};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "hearth.reserve";

/// The reserve of one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    disk: Disk,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, bytes: u64, disk: Disk) -> Reserve {
        Reserve { path: dir.join(NAME), bytes, disk }
    }

    /// Makes it, unless it is there.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        if std::fs::metadata(&self.path).is_ok_and(|there| there.len() == self.bytes) {
            return Ok(());
        }
        self.make().map_err(|error| {
            self.release();
            io_error("making the reserve", &error)
        })
    }

    /// As [`Reserve::keep`] where the device was full. Not before there is more than it takes: the room that it gave
    /// back is for others, and must not be gone even while it is tried out.
    pub(crate) fn keep_again(&self) -> Result<(), StoreError> {
        if std::fs::metadata(&self.path).is_err() {
            let dir = self.path.parent().unwrap_or(&self.path);
            let free = self.disk.free_bytes(dir).map_err(|error| io_error("looking for room", &error))?;
            if free < self.bytes.saturating_add(limits::RESERVE_SPARE_BYTES) {
                return Err(StoreError::Full);
            }
        }
        self.keep()
    }

    fn make(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path)?;
        file.set_len(0)?;
        // Bytes, so that blocks are taken everywhere; not zeros, which may be kept as none.
        let block = vec![0xa5; limits::PROBE_BYTES];
        let mut at = 0;
        while at < self.bytes {
            let rest = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
            let part = block.get(..rest).unwrap_or(&block);
            file.write_all_at(part, at)?;
            at = at.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        }
        file.sync_data()
    }

    /// Gives the room to whoever writes next.
    pub(crate) fn release(&self) {
        remove(&self.path);
    }
}

/// [`Reserve::release`] for who knows only the data directory. Without a reserve nothing happens.
pub(crate) fn release(dir: &Path) {
    remove(&dir.join(NAME));
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => tracing::warn!(event = "storage_reserve_released"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::error!(event = "storage_reserve_stuck", cause = %error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskFaults;
    use std::sync::Arc;

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Arc::new(DiskFaults::default());
        let bytes = 2_500_000;
        let reserve = Reserve::new(dir.path(), bytes, Disk { faults: Some(faults.clone()), ..Disk::default() });
        let len = || std::fs::metadata(dir.path().join("hearth.reserve")).map(|there| there.len()).ok();
        faults.set_space(Some(bytes - 1));
        assert_eq!((reserve.keep(), len()), (Err(StoreError::Full), None));
        faults.set_space(Some(bytes));
        assert_eq!((reserve.keep(), len()), (Ok(()), Some(bytes)));
        assert_eq!(reserve.keep(), Ok(()), "without writing anything");
        assert_eq!(reserve.keep_again(), Ok(()));
        reserve.release();
        assert_eq!(len(), None);
        reserve.release();
        // The room it gave back is not taken to see whether it fits.
        for (room, wanted) in [(bytes, Err(StoreError::Full)), (bytes + limits::RESERVE_SPARE_BYTES, Ok(()))] {
            faults.set_space(Some(room));
            assert_eq!(reserve.keep_again(), wanted);
            assert_eq!(len().is_some(), wanted.is_ok());
        }
        reserve.release();
        // Cut by a crash while it was made.
        std::fs::write(dir.path().join("hearth.reserve"), b"begun").unwrap();
        faults.set_space(None);
        assert_eq!((reserve.keep(), len()), (Ok(()), Some(bytes)));
    }
}
