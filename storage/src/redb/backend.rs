//! The file under redb. It keeps what was written since the last good sync, because after a failed
//! sync nothing else can say what the device has.

use crate::disk::DiskFile;
use crate::limits;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In the order it was done; outlives the file's being closed and opened again.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    steps: Vec<Step>,
    bytes: Vec<u8>,
    /// A sync failed: the device may lack any of this.
    lost: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next `len` of `bytes` went here.
    Write {
        offset: u64,
        len: usize,
    },
    SetLen(u64),
}

impl Unsynced {
    fn clear(&mut self) {
        self.steps.clear();
        self.bytes.clear();
        self.bytes.shrink_to(limits::UNSYNCED_BYTES_KEPT);
        self.steps.shrink_to(limits::UNSYNCED_BYTES_KEPT / size_of::<Step>());
        self.lost = false;
    }

    fn replay(&self, file: &DiskFile) -> io::Result<()> {
        let mut bytes = self.bytes.as_slice();
        for step in &self.steps {
            match *step {
                Step::Write { offset, len } => {
                    let (these, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
                    file.write_all_at(these, offset)?;
                    bytes = rest;
                }
                Step::SetLen(len) => file.set_len(len)?,
            }
        }
        file.sync_data()
    }
}

#[derive(Debug)]
pub(super) struct Backend {
    file: DiskFile,
    unsynced: Arc<Mutex<Unsynced>>,
    keep: bool,
}

impl Backend {
    /// Over a file just opened: what an earlier failed sync may have lost is written again first.
    /// `keep` is false where nobody waits for the device anyway.
    pub(super) fn recover(file: DiskFile, unsynced: Arc<Mutex<Unsynced>>, keep: bool) -> io::Result<Backend> {
        let backend = Backend { file, unsynced, keep };
        let mut unsynced = backend.unsynced();
        if unsynced.lost {
            unsynced.replay(&backend.file)?;
            unsynced.clear();
        }
        drop(unsynced);
        Ok(backend)
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self, unsynced: &mut Unsynced) -> io::Result<()> {
        match self.file.sync_data() {
            Ok(()) => unsynced.clear(),
            Err(error) => {
                unsynced.lost = true;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        if self.keep {
            self.unsynced().steps.push(Step::SetLen(len));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(&mut self.unsynced())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        if !self.keep {
            return Ok(());
        }
        let mut unsynced = self.unsynced();
        unsynced.steps.push(Step::Write { offset, len: data.len() });
        unsynced.bytes.extend_from_slice(data);
        if unsynced.bytes.len() > limits::UNSYNCED_BYTES_MAX {
            // Pages nobody refers to yet: to have them on the device early harms nothing.
            self.sync(&mut unsynced)?;
        }
        Ok(())
    }
}
