//! One suite over every implementation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod suite;

use hearth_storage::faulty::{Faults, FaultyLog, FaultySmall};
use hearth_storage::log::SegmentLog;
use hearth_storage::memory::{MemoryLog, MemorySmall};
use hearth_storage::redb::{RedbConfig, RedbSmall};
use hearth_storage::{Disk, Fresh, LogConfig};
use hearth_wire::ids::SlotKey;
use std::sync::Arc;
use suite::{Home, Pair};

fn fresh() -> Fresh {
    Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: [3; 16] }
}

struct Memory(MemorySmall, MemoryLog);

impl Home for Memory {
    fn open(&mut self) -> Pair {
        (Arc::new(self.0.clone()), Arc::new(self.1.clone()))
    }
}

#[test]
fn memory() {
    suite::run(|| Box::new(Memory(MemorySmall::new(&fresh()).unwrap(), MemoryLog::new())));
}

struct Unharmed(Memory);

impl Home for Unharmed {
    fn open(&mut self) -> Pair {
        let Memory(small, log) = &self.0;
        let faults = Faults::new();
        let small = FaultySmall { inner: small.clone(), faults: faults.clone() };
        (Arc::new(small), Arc::new(FaultyLog { inner: log.clone(), faults }))
    }
}

#[test]
fn faulty_without_faults() {
    suite::run(|| Box::new(Unharmed(Memory(MemorySmall::new(&fresh()).unwrap(), MemoryLog::new()))));
}

struct OnDisk(tempfile::TempDir, LogConfig);

impl Home for OnDisk {
    fn open(&mut self) -> Pair {
        let small = RedbSmall::open(self.0.path(), RedbConfig::default(), Disk::default(), &fresh()).unwrap();
        let log = SegmentLog::open(self.0.path(), Disk::default(), [3; 16], self.1).unwrap();
        (Arc::new(small), Arc::new(log))
    }
}

#[test]
fn disk() {
    suite::run(|| Box::new(OnDisk(tempfile::tempdir().unwrap(), LogConfig::default())));
}

/// Every append begins a new segment.
#[test]
fn disk_with_tiny_segments() {
    let config = LogConfig { segment_bytes: 1, ..LogConfig::default() };
    suite::run(|| Box::new(OnDisk(tempfile::tempdir().unwrap(), config)));
}
