//! What a workload does not come across: damage, refusals, what is stopped, what is dropped meanwhile.

use super::*;
use crate::store::Append;
use crate::{
    Answer, Ask, Change, Credentials, Disk, DiskFaults, EdgeRun, Fresh, LogConfig, LogId, NewRecord, Question,
    ScramKeys, SessionRecord, StorageConfig, StoreError,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{Generation, Slot, SlotKey, StreamId};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use std::cell::Cell;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ACCOUNT: &str = "ada@example.org";
const FAST: u64 = u64::MAX / 2_000_000;

fn config(dir: &Path) -> StorageConfig {
    let fresh = Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: [3; 16] };
    let log = LogConfig { segment_bytes: 16 * 1024, ..LogConfig::default() };
    StorageConfig { log, ..StorageConfig::new(dir, fresh) }
}

struct Rig {
    folder: tempfile::TempDir,
    storage: Storage,
    epoch: u64,
}

impl Rig {
    /// A store with one account and some segments.
    fn new() -> Rig {
        Rig::on(Disk::default())
    }

    fn on(disk: Disk) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig { disk, ..config(&folder.path().join("data")) };
        let (storage, boot) = Storage::open(&config).unwrap();
        let rig = Rig { folder, storage, epoch: boot.epoch };
        let keys = ScramKeys { iterations: 1, salt: vec![], stored_key: vec![], server_key: vec![] };
        let credentials = Credentials { generation: 1, sha1: keys.clone(), sha256: keys.clone(), sha512: keys };
        let changes = vec![Change::CreateAccount { account: account(), credentials }];
        assert!(matches!(ask(&rig.storage, rig.epoch, Ask::Apply { changes }), Answer::Applied));
        (0..80).for_each(|number| rig.append(number));
        assert!(segments(&rig.folder.path().join("data/log")) > 3);
        rig
    }

    fn append(&self, received_ms: u64) {
        let body = "text ".repeat(200);
        let stanza = Stanza { id: Some(&body), ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
        let stanza = SharedStanza::new(&stanza);
        let record = NewRecord { account: account(), ingest: None, received_ms, stanza };
        let appended = self.storage.log.append(&[Append { slot: slot(), epoch: self.epoch, record }]);
        assert!(appended[0].is_ok());
        self.storage.log.tidy();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn backup(&self, dir: &Path, rate: u64, report: Report<'_>) -> Result<Manifest, BackupError> {
        let order = Order { dir, bytes_per_s: rate, utc_ms: 5_000, also: Vec::new(), report };
        self.storage.backup(order, &AtomicBool::new(false))
    }
}

fn account() -> BareJid {
    BareJid::parse(ACCOUNT).unwrap()
}

fn slot() -> Slot {
    Slot::new(5).unwrap()
}

fn ask(storage: &Storage, epoch: u64, ask: Ask) -> Answer {
    storage.answer(Question { id: 0, slot: slot(), epoch, ask }).answer
}

fn messages(storage: &Storage) -> usize {
    match ask(storage, u64::MAX, Ask::ReadLog { account: account(), after: LogId(0), limit: 1_000 }) {
        Answer::Records(records) => records.len(),
        other => panic!("{other:?}"),
    }
}

fn segments(log: &Path) -> usize {
    entries(log).unwrap().filter(|path| path.extension().is_some_and(|kind| kind == "seg")).count()
}

fn restore_to(from: &Path, data: &Path) -> Result<Manifest, BackupError> {
    restore(from, data, 9_000_000, &mut |_| true)
}

#[test]
fn nothing_damaged_is_restored() {
    let rig = Rig::new();
    let (from, data) = (rig.path("backup"), rig.path("restored"));
    let manifest = rig.backup(&from, FAST, &mut |_| true).unwrap();
    let newest = manifest.files.iter().filter(|file| file.name.ends_with("seg")).map(|file| &file.name).max().unwrap();
    let sealed = manifest.files.iter().filter(|file| file.name.ends_with("seg")).map(|file| &file.name).min().unwrap();
    let names = [newest.as_str(), sealed.as_str(), "log/00000001.idx", SMALL];
    for name in names {
        let path = from.join(name);
        let whole = std::fs::read(&path).unwrap();
        let shorter = whole[..whole.len() - 100].to_vec();
        let mut other = whole.clone();
        other[whole.len() / 2] ^= 1;
        for wrong in [Some(shorter), Some(other), None] {
            match &wrong {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let refused = restore_to(&from, &data).unwrap_err();
            assert!(
                matches!(&refused, BackupError::Damaged { path: found, .. } if *found == path),
                "{name}: {refused}"
            );
            assert!(!data.exists(), "{name}: something was written");
        }
        std::fs::write(&path, whole).unwrap();
    }
    // Whole again, it is one.
    restore_to(&from, &data).unwrap();
    let (restored, boot) = Storage::open(&config(&data)).unwrap();
    assert_eq!((messages(&restored), boot.epoch), (80, 9_001));
    assert_eq!((restored.log.head(), manifest.log_head), (rig.storage.log.head(), rig.storage.log.head().0));
    // Without its last line it never came to its end.
    std::fs::remove_file(from.join("backup.json")).unwrap();
    let refused = restore_to(&from, &rig.path("other")).unwrap_err();
    assert!(matches!(refused, BackupError::NoBackup { .. }), "{refused}");
}

#[test]
fn nothing_is_overwritten() {
    let rig = Rig::new();
    let from = rig.path("backup");
    rig.backup(&from, FAST, &mut |_| true).unwrap();
    assert!(matches!(rig.backup(&from, FAST, &mut |_| true), Err(BackupError::NotEmpty { .. })));
    let refused = restore_to(&from, &rig.path("data")).unwrap_err();
    assert!(matches!(refused, BackupError::Store(StoreError::Locked { .. })), "{refused}");
    let full = rig.path("full");
    std::fs::create_dir(&full).and_then(|()| std::fs::write(full.join("mine"), "mine")).unwrap();
    assert!(matches!(restore_to(&from, &full), Err(BackupError::NotEmpty { .. })));
    assert!(matches!(rig.backup(&full, FAST, &mut |_| true), Err(BackupError::NotEmpty { .. })));
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
    // An empty one with the lock file of a core that was there is as good as none.
    std::fs::remove_file(full.join("mine")).and_then(|()| std::fs::write(full.join("hearth.lock"), "")).unwrap();
    restore_to(&from, &full).unwrap();
    // What a restore left half filled serves nobody.
    std::fs::write(full.join("hearth.restoring"), "").unwrap();
    assert!(matches!(Storage::open(&config(&full)), Err(StoreError::HalfRestored { .. })));
    let refused = restore_to(&from, &full).unwrap_err();
    assert!(matches!(refused, BackupError::Store(StoreError::HalfRestored { .. })), "{refused}");
}

#[test]
fn what_is_stopped_leaves_nothing() {
    let rig = Rig::new();
    let empty = rig.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for dir in [rig.path("new"), empty.clone()] {
        let refused = rig.backup(&dir, 50_000, &mut |_| false).unwrap_err();
        assert!(matches!(refused, BackupError::Stopped), "{refused}");
    }
    assert!(!rig.path("new").exists() && entries(&empty).unwrap().next().is_none());
    let stop = AtomicBool::new(true);
    let order = Order { dir: &empty, bytes_per_s: FAST, utc_ms: 0, also: Vec::new(), report: &mut |_| true };
    assert!(matches!(rig.storage.backup(order, &stop), Err(BackupError::Stopped)));
    assert!(stop.load(Ordering::Relaxed) && entries(&empty).unwrap().next().is_none());
    let order = Order { dir: &empty, bytes_per_s: FAST, utc_ms: 0, also: Vec::new(), report: &mut |_| true };
    let (memory, _) = Storage::memory().unwrap();
    assert!(matches!(memory.backup(order, &AtomicBool::new(false)), Err(BackupError::NotOnDisk)));
}

/// One at a time, and the end of the store is its end.
#[test]
fn the_store_ends_when_it_is_told_to() {
    let rig = Rig::new();
    let handle = rig.storage.clone().start(1, |_, _| {}).unwrap();
    let (said, progress) = crossbeam_channel::unbounded();
    let (dir, second) = (rig.path("backup"), rig.path("second"));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut report = |progress| said.send(progress).is_ok();
            handle.backup(Order { dir: &dir, bytes_per_s: 1_000, utc_ms: 0, also: Vec::new(), report: &mut report })
        });
        progress.recv().unwrap();
        let order = Order { dir: &second, bytes_per_s: FAST, utc_ms: 0, also: Vec::new(), report: &mut |_| true };
        assert!(matches!(handle.backup(order), Err(BackupError::Running)));
        handle.shutdown().unwrap();
        assert!(!dir.exists(), "it was waited for");
        assert!(matches!(running.join().unwrap(), Err(BackupError::Stopped)));
    });
    let order = Order { dir: &second, bytes_per_s: FAST, utc_ms: 0, also: Vec::new(), report: &mut |_| true };
    assert!(matches!(handle.backup(order), Err(BackupError::Store(StoreError::Closed))));
}

/// Sessions went on after the point, so a restored store has none, and says which ones it does not take back.
#[test]
fn sessions_do_not_come_back() {
    let rig = Rig::new();
    let generation = Generation { epoch: rig.epoch, counter: 1 };
    let session = SessionRecord { stream: StreamId([1; 16]), generation, contents: vec![1], parked: None };
    let run = EdgeRun { edge: "edge".to_owned(), incarnation: 5, event_loops: 1 };
    let changes = vec![Change::PutSession { account: account(), session }, Change::PutEdgeRun { run }];
    assert!(matches!(ask(&rig.storage, rig.epoch, Ask::Apply { changes }), Answer::Applied));
    let (from, data) = (rig.path("backup"), rig.path("restored"));
    rig.backup(&from, FAST, &mut |_| true).unwrap();
    restore_to(&from, &data).unwrap();
    let (_, boot) = Storage::open(&config(&data)).unwrap();
    assert_eq!((boot.sessions, boot.edge_runs), (Vec::new(), Vec::new()));
    assert_eq!((boot.restored, boot.epoch), (9_000, 9_001));
}

/// What is dropped while it is copied is too old for the copy as well; what is missing otherwise is not.
#[test]
fn old_segments_may_go_meanwhile() {
    let rig = Rig::new();
    let (from, data) = (rig.path("backup"), rig.path("restored"));
    let dropped = Cell::new(0);
    let mut drop_once = |_| {
        if dropped.get() == 0 {
            dropped.set(rig.storage.log.drop_older(60).unwrap());
        }
        true
    };
    // Slow enough that this comes before the oldest are copied.
    rig.backup(&from, 400_000, &mut drop_once).unwrap();
    assert!(dropped.get() > 1);
    restore_to(&from, &data).unwrap();
    let (restored, _) = Storage::open(&config(&data)).unwrap();
    assert_eq!((messages(&restored), restored.log.head()), (messages(&rig.storage), rig.storage.log.head()));
    let sealed = entries(&rig.path("data/log")).unwrap().filter(|path| path.extension().is_some_and(|k| k == "seg"));
    std::fs::remove_file(sealed.min().unwrap()).unwrap();
    let refused = rig.backup(&rig.path("second"), FAST, &mut |_| true).unwrap_err();
    assert!(matches!(refused, BackupError::Store(StoreError::Corrupt { .. })), "{refused}");
}

/// Once redb's file was opened anew nobody keeps the pages of a view.
#[test]
fn a_view_that_may_be_torn_is_no_backup() {
    let faults = Arc::new(DiskFaults::default());
    let rig = Rig::on(Disk { sync: crate::Sync::Full, faults: Some(faults.clone()) });
    let mut reports = 0;
    let mut fail_once = |_| {
        reports += 1;
        if rig.storage.small.load(slot(), &account()).unwrap().unwrap().roster_version == 0 {
            faults.fail_syncs(1);
            // Repaired at once: it is written again from memory.
            let changes = vec![Change::PutRosterVersion { account: account(), version: 1 }];
            assert!(matches!(ask(&rig.storage, rig.epoch, Ask::Apply { changes }), Answer::Applied));
        }
        reports < 20
    };
    // Slow enough that this comes before small state is copied.
    let refused = rig.backup(&rig.path("backup"), 150, &mut fail_once).unwrap_err();
    assert!(refused.to_string().contains("closed"), "{refused}");
    assert!(!rig.path("backup").exists());
}

/// What a failed append left behind the end of a segment is no part of the copy, wherever it lies.
#[test]
fn only_what_was_answered_is_copied() {
    let rig = Rig::new();
    let newest = entries(&rig.path("data/log")).unwrap().filter(|path| path.extension().is_some_and(|k| k == "seg"));
    let newest = newest.max().unwrap();
    let mut file = OpenOptions::new().write(true).open(&newest).unwrap();
    let end = file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(&[7; 300]).unwrap();
    let also = rig.path("mine");
    std::fs::write(&also, "0123456789").unwrap();
    // Of a file that grows.
    let also = vec![Also { name: "mine".to_owned(), file: File::open(&also).unwrap(), bytes: 4 }];
    let from = rig.path("backup");
    let order = Order { dir: &from, bytes_per_s: FAST, utc_ms: 0, also, report: &mut |_| true };
    rig.storage.backup(order, &AtomicBool::new(false)).unwrap();
    assert_eq!(std::fs::metadata(from.join("log").join(newest.file_name().unwrap())).unwrap().len(), end);
    restore_to(&from, &rig.path("restored")).unwrap();
    assert_eq!(std::fs::read(rig.path("restored/mine")).unwrap(), b"0123");
}
