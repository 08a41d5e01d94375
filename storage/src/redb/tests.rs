//! What the shared suite cannot see: failing devices, foreign files, reopening.

use super::*;
use crate::{Change, Credentials, DiskFaults, LastSeen, RosterItem, ScramKeys, Subscription};
use hearth_wire::ids::SlotKey;
use proptest::prelude::*;

fn fresh() -> Fresh {
    Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: [3; 16] }
}

fn open(dir: &Path, faults: Option<&Arc<DiskFaults>>) -> RedbSmall {
    let sync = if faults.is_some() { crate::Sync::Full } else { crate::Sync::None };
    RedbSmall::open(dir, RedbConfig::default(), Disk { sync, faults: faults.cloned() }, &fresh()).unwrap()
}

fn account(number: usize) -> BareJid {
    BareJid::parse(&format!("a{number}@b")).unwrap()
}

fn slot() -> Slot {
    Slot::new(5).unwrap()
}

fn create(number: usize) -> ChangeSet {
    let keys = ScramKeys { iterations: 1, salt: vec![], stored_key: vec![], server_key: vec![] };
    let credentials = Credentials { generation: 1, sha1: keys.clone(), sha256: keys.clone(), sha512: keys };
    ChangeSet { slot: slot(), epoch: 1, changes: vec![Change::CreateAccount { account: account(number), credentials }] }
}

/// Version and that many roster items, together.
fn fill(number: usize, version: u64) -> ChangeSet {
    let item = RosterItem {
        contact: format!("{version}@c").into(),
        name: None,
        groups: vec![],
        subscription: Subscription::None,
        ask: false,
        approved: false,
    };
    let changes = vec![
        Change::PutRosterItem { account: account(number), item },
        Change::PutRosterVersion { account: account(number), version },
    ];
    ChangeSet { slot: slot(), epoch: 1, changes }
}

fn apply(store: &RedbSmall, set: ChangeSet) -> Result<(), Denied> {
    store.apply(&[set], LogId(0)).remove(0)
}

fn version(store: &RedbSmall, number: usize) -> Option<u64> {
    let snapshot = store.load(slot(), &account(number)).unwrap()?;
    assert_eq!(u64::try_from(snapshot.roster.len()).unwrap(), snapshot.roster_version, "torn");
    Some(snapshot.roster_version)
}

#[test]
fn failed_sync_is_repaired_before_anything_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let store = open(dir.path(), Some(&faults));
    apply(&store, create(0)).unwrap();
    for version_put in 1..20 {
        // The sync fails and the device forgets; writing it all again succeeds.
        faults.fail_syncs(1);
        let outcome = apply(&store, fill(0, version_put));
        assert_eq!(version(&store, 0), Some(version_put));
        assert_eq!(outcome, Ok(()), "it is there, so it was applied");
    }
    drop(store);
    assert_eq!(version(&open(dir.path(), None), 0), Some(19));
}

#[test]
fn device_that_stays_away_fails_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let store = open(dir.path(), Some(&faults));
    apply(&store, create(0)).unwrap();
    apply(&store, fill(0, 1)).unwrap();
    faults.fail_syncs(u32::MAX);
    assert!(matches!(apply(&store, fill(0, 2)), Err(Denied::Failed(StoreError::Io { .. }))));
    assert!(store.load(slot(), &account(0)).is_err(), "what the file holds is not known");
    faults.fail_syncs(0);
    std::thread::sleep(Duration::from_millis(limits::REOPEN_PAUSE_MS + 50));
    // The failed change may or may not be in; either way the store is whole.
    let now = version(&store, 0).unwrap();
    assert!(now == 1 || now == 2);
    apply(&store, fill(0, now + 1)).unwrap();
    drop(store);
    assert_eq!(version(&open(dir.path(), None), 0), Some(now + 1));
}

#[test]
fn full_device_refuses_changes_serves_reads_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let store = open(dir.path(), Some(&faults));
    apply(&store, create(0)).unwrap();
    apply(&store, fill(0, 1)).unwrap();
    let mut known = 1;
    for space in [0, 100, 4096, 10_000, 30_000] {
        // What recovery writes in place needs no space on a real device, so there is some again.
        faults.set_space(Some(space));
        let outcome = apply(&store, fill(0, known + 1));
        if outcome.is_ok() {
            known += 1;
        } else {
            assert_eq!(outcome, Err(Denied::Failed(StoreError::Full)));
        }
        faults.set_space(Some(200_000));
        std::thread::sleep(Duration::from_millis(limits::REOPEN_PAUSE_MS + 50));
        assert_eq!(version(&store, 0), Some(known), "reads go on");
        if outcome.is_err() {
            assert_eq!(
                apply(&store, fill(0, known + 1)),
                Err(Denied::Failed(StoreError::Full)),
                "the probe does not fit"
            );
            assert_eq!(version(&store, 0), Some(known));
        }
        faults.set_space(None);
        apply(&store, fill(0, known + 1)).unwrap();
        known += 1;
    }
    drop(store);
    assert_eq!(version(&open(dir.path(), None), 0), Some(known));
}

#[test]
fn later_layout_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    apply(&store, create(0)).unwrap();
    store
        .commit(&mut store.writing(), |view| {
            use crate::tables::{Table, TablesMut};
            view.put(Table::Meta, b"schema", &9u32.to_le_bytes())
        })
        .unwrap();
    store.close().unwrap();
    drop(store);
    let refused = RedbSmall::open(dir.path(), RedbConfig::default(), Disk::default(), &fresh());
    assert_eq!(refused.err(), Some(StoreError::UnknownVersion { found: 9, known: 2 }));
}

#[test]
fn foreign_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hearth.redb");
    let foreign = "not a database, but somebody's novel. ".repeat(500);
    std::fs::write(&path, &foreign).unwrap();
    let refused = RedbSmall::open(dir.path(), RedbConfig::default(), Disk::default(), &fresh());
    assert!(matches!(refused.err(), Some(StoreError::Io { .. } | StoreError::Corrupt { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
}

#[test]
fn closed_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    store.close().unwrap();
    assert_eq!(apply(&store, create(0)), Err(Denied::Failed(StoreError::Closed)));
    assert_eq!(store.load(slot(), &account(0)).err(), Some(StoreError::Closed));
    store.close().unwrap();
}

#[test]
fn commits_of_refused_sets_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    apply(&store, create(0)).unwrap();
    let before = store.read(tables::commits).unwrap();
    assert!(apply(&store, create(0)).is_err());
    assert_eq!(store.read(tables::commits).unwrap(), before);
}

/// Accounts lie wherever their slots are, and there are more of them than fit into the cache: as when thousands of
/// marks and sessions are stored late.
#[test]
fn a_commit_of_thousands_writes_each_page_about_once() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let disk = Disk { sync: crate::Sync::Full, faults: Some(faults.clone()) };
    let config = RedbConfig { cache_bytes: 512 * 1024, ..RedbConfig::default() };
    let store = RedbSmall::open(dir.path(), config, disk.clone(), &fresh()).unwrap();
    // Neighbours in time are none in the file.
    let at = |number: usize| Slot::new(u16::try_from(number * 2_113 % 4_096).unwrap()).unwrap();
    let accounts = 0..6_000;
    let sets: Vec<_> = accounts.clone().map(|number| ChangeSet { slot: at(number), ..create(number) }).collect();
    assert!(store.apply(&sets, LogId(0)).iter().all(Result::is_ok));
    let seen = |number: usize, at_ms| {
        let change = Change::PutLastSeen { account: account(number), seen: LastSeen { at_ms, status: None } };
        ChangeSet { slot: at(number), epoch: 1, changes: vec![change] }
    };
    for round in 1..4 {
        let plenty = 1_000_000_000;
        faults.set_space(Some(plenty));
        let sets: Vec<_> = accounts.clone().map(|number| seen(number, round)).collect();
        assert!(store.apply(&sets, LogId(0)).iter().all(Result::is_ok));
        let written = plenty - disk.free_bytes(dir.path()).unwrap();
        // The table itself is some 200 KB.
        assert!(written < 1_500_000, "{written} bytes in round {round}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The power goes with any part of the unsynced writes on the device, between failing syncs.
    #[test]
    fn power_cut_keeps_what_was_applied(
        steps in prop::collection::vec((0..3usize, 0..4u32), 1..12),
        keep in prop::collection::vec(any::<prop::sample::Index>(), 1..10),
    ) {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), None));
        let mut known = [None::<u64>; 3];
        for _ in 0..3 {
            let faults = Arc::new(DiskFaults::default());
            let store = open(dir.path(), Some(&faults));
            for (number, fail) in &steps {
                faults.fail_syncs(u32::from(*fail == 3));
                let known = &mut known[*number];
                let outcome = match *known {
                    None => apply(&store, create(*number)),
                    Some(version) => apply(&store, fill(*number, version + 1)),
                };
                // A sync that fails before the commit fails the change; within it, it is repaired.
                prop_assert!(outcome.is_ok() || *fail == 3, "{:?}", outcome);
                if outcome.is_ok() {
                    *known = Some(known.map_or(0, |version| version + 1));
                }
            }
            let mut keeps = keep.iter().cycle();
            faults.cut_power(|len| keeps.next().unwrap().index(len + 1)).unwrap();
            drop(store);
            let store = open(dir.path(), None);
            for (number, known) in known.iter().enumerate() {
                prop_assert_eq!(&version(&store, number), known);
            }
        }
    }
}
