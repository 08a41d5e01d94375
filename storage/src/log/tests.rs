//! What the shared suite cannot see: bytes, crashes, failing devices.

use super::index::{Chains, IndexFile, Summary};
use super::record::Decoded;
use super::*;
use crate::{DiskFaults, NewRecord};
use hearth_wire::ids::{IngestId, StreamId};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use proptest::prelude::*;

const STORE: [u8; 16] = [3; 16];

fn open(dir: &Path) -> SegmentLog {
    open_with(dir, Disk::default(), LogConfig::default())
}

fn open_with(dir: &Path, disk: Disk, config: LogConfig) -> SegmentLog {
    SegmentLog::open(dir, disk, STORE, config).unwrap()
}

fn quick() -> Disk {
    Disk { sync: crate::Sync::None, faults: None }
}

fn append(account: &str, body: &str) -> Append {
    let stanza = Stanza { id: Some(body), ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
    let record = NewRecord {
        account: BareJid::parse(account).unwrap(),
        ingest: Some(IngestId { stream: StreamId([7; 16]), number: 300 }),
        received_ms: 1_700_000_000_000,
        stanza: SharedStanza::new(&stanza),
    };
    Append { slot: Slot::new(0x123).unwrap(), epoch: 1, record }
}

fn add(log: &SegmentLog, account: &str, body: &str) -> Result<LogId, Denied> {
    let outcome = log.append(&[append(account, body)]).remove(0);
    log.tidy();
    outcome
}

fn bodies(log: &SegmentLog, account: &str) -> Vec<(LogId, String)> {
    let records = log.read(&BareJid::parse(account).unwrap(), LogId(0), 1000).unwrap();
    records.iter().map(|record| (record.id, record.stanza.view().id.unwrap().to_owned())).collect()
}

fn texts(log: &SegmentLog, account: &str) -> Vec<String> {
    bodies(log, account).into_iter().map(|(_, text)| text).collect()
}

fn segment_file(dir: &Path, number: u32) -> PathBuf {
    segment::path(&dir.join("log"), number)
}

#[test]
fn stored_bytes_stay_what_they_are() {
    let mut bytes = Vec::new();
    let Append { slot, record, .. } = append("a@b", "hi");
    record::encode(&Keys::new(STORE), log_id(2, 0x30), slot, &record, &mut bytes);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&bytes), RECORD);
    let header = Header { segment: 2, store_id: STORE, previous_bytes: 0x1234 };
    assert_eq!(hex(&header.encode()), HEADER);
    let mut chains = Chains::default();
    chains.push(0x0102_0304_0506_0708, Place { offset: 0x30, len: 0x50 });
    let summary = Summary { segment: 2, count: 1, bytes: 0x80, first_ms: 5, last_ms: 6, store_id: STORE };
    let file = index::encode(&summary, &chains);
    assert_eq!((hex(&file[..64]).as_str(), hex(&file[64..96]).as_str()), INDEX);
    assert!(file[96..].iter().all(|byte| *byte == 0));
    let mut latest = Latest::default();
    latest.add(2, [0x0102_0304_0506_0708].into_iter());
    assert_eq!(hex(&latest.encode(STORE, 2)), LATEST);
    assert_eq!(file.len(), 64 + 4096);
}

#[test]
fn head_is_read_of_the_longest_record() {
    for (number, slot, domain) in [(u64::MAX, 4095, "d".repeat(63)), (0, 0, "b".to_owned())] {
        let account = format!("{}@{domain}", "l".repeat(if number == 0 { 1 } else { 1_000 }));
        let mut record = append(&account, &"x".repeat(500)).record;
        record.ingest = Some(IngestId { stream: StreamId([255; 16]), number });
        record.received_ms = number;
        let mut bytes = Vec::new();
        record::encode(&Keys::new(STORE), LogId(u64::MAX), Slot::new(slot).unwrap(), &record, &mut bytes);
        let head = record::head(&bytes[..record::HEAD_BYTES_MAX + account.len()]).unwrap();
        assert_eq!((head.ingest, head.received_ms), (record.ingest, number));
    }
}

const LATEST: &str = "6865617274686c74010000000303030303030303030303030303030302000000010000002120e8150403020102000000";
const RECORD: &str =
    "30000000e7244c9601b080808020a302036140620107070707070707070707070707070707ac0280d095ffbc310a00010102686900000000";
const HEADER: &str = "6865617274686c670100000002000000030303030303030303030303030303033412000000000000000000000f0c040e";
const INDEX: (&str, &str) = (
    "686561727468697801000000020000000100000080000000000000000500000000000000060000000000000003030303030303030303030303030303bac3dda1",
    "52931e4801000000080706050403020130000000500000000000000000000000",
);

#[test]
fn later_layout_and_foreign_segment_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    add(&log, "a@b", "one").unwrap();
    drop(log);
    let foreign = SegmentLog::open(dir.path(), quick(), [4; 16], LogConfig::default());
    assert!(matches!(foreign.err(), Some(StoreError::Corrupt { .. })));
    let path = segment_file(dir.path(), 1);
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[8] = 2;
    std::fs::write(&path, &bytes).unwrap();
    let later = SegmentLog::open(dir.path(), quick(), STORE, LogConfig::default());
    assert_eq!(later.err(), Some(StoreError::UnknownVersion { found: 2, known: 1 }));
    bytes[8] = 1;
    bytes[30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let damaged = SegmentLog::open(dir.path(), quick(), STORE, LogConfig::default());
    assert!(matches!(damaged.err(), Some(StoreError::Corrupt { .. })));
    std::fs::write(&path, &good).unwrap();
    assert_eq!(texts(&open(dir.path()), "a@b"), ["one"]);
}

#[test]
fn failed_sync_loses_its_batch_only() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let disk = Disk { faults: Some(faults.clone()), ..Disk::default() };
    let log = open_with(dir.path(), disk, LogConfig::default());
    let one = add(&log, "a@b", "one").unwrap();
    faults.fail_syncs(1);
    assert!(matches!(add(&log, "a@b", "lost"), Err(Denied::Failed(StoreError::Io { .. }))));
    assert_eq!((texts(&log, "a@b"), log.head() >= one), (vec!["one".to_owned()], true));
    let two = add(&log, "a@b", "two").unwrap();
    assert!(place(two).0 > place(one).0, "never again into the segment that failed");
    faults.fail_syncs(3);
    for _ in 0..3 {
        assert!(log.append(&[append("a@b", "lost")])[0].is_err());
    }
    add(&log, "a@b", "three").unwrap();
    assert_eq!(texts(&log, "a@b"), ["one", "two", "three"]);
    drop(log);
    assert_eq!(texts(&open(dir.path()), "a@b"), ["one", "two", "three"]);
}

#[test]
fn full_device_is_refused_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let disk = Disk { faults: Some(faults.clone()), ..Disk::default() };
    let log = open_with(dir.path(), disk, LogConfig::default());
    add(&log, "a@b", "one").unwrap();
    for space in 0..110 {
        faults.set_space(Some(space));
        assert_eq!(
            log.append(&[append("a@b", "lost"), append("a@b", "lost")])[1],
            Err(Denied::Failed(StoreError::Full))
        );
        assert_eq!(texts(&log, "a@b"), ["one"]);
    }
    faults.set_space(None);
    add(&log, "a@b", "two").unwrap();
    assert_eq!(texts(&log, "a@b"), ["one", "two"]);
    drop(log);
    assert_eq!(texts(&open(dir.path()), "a@b"), ["one", "two"]);
}

#[test]
fn what_a_failed_batch_left_is_not_found_by_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let disk = Disk { faults: Some(faults.clone()), ..Disk::default() };
    let log = open_with(dir.path(), disk, LogConfig::default());
    add(&log, "a@b", "one").unwrap();
    // The first of two is written whole.
    faults.set_space(Some(80));
    assert!(log.append(&[append("a@b", "lost"), append("a@b", "lost")])[0].is_err());
    drop(log);
    assert_eq!(texts(&open(dir.path()), "a@b"), ["one"]);
}

#[test]
fn what_a_killed_process_had_not_synced_is_synced_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let disk = Disk { faults: Some(faults.clone()), ..Disk::default() };
    let log = open_with(dir.path(), disk.clone(), LogConfig::default());
    add(&log, "a@b", "one").unwrap();
    let (file, end) = log.visible().active.as_ref().map(|a| (a.file.clone(), a.contents.end)).unwrap();
    let mut bytes = Vec::new();
    let Append { slot, record, .. } = append("a@b", "two");
    record::encode(&Keys::new(STORE), log_id(1, end), slot, &record, &mut bytes);
    file.write_all_at(&bytes, u64::from(end)).unwrap();
    drop((log, file));
    assert_eq!(texts(&open_with(dir.path(), disk, LogConfig::default()), "a@b"), ["one", "two"]);
    faults.cut_power(|_| 0).unwrap();
    assert_eq!(texts(&open(dir.path()), "a@b"), ["one", "two"]);
}

#[test]
fn index_is_made_again_when_missing_or_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 200, ..LogConfig::default() };
    let log = open_with(dir.path(), quick(), config);
    let expected: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    for text in &expected {
        add(&log, if text.len() % 2 == 0 { "c@d" } else { "a@b" }, text).unwrap();
    }
    let even: Vec<String> = expected.iter().filter(|text| text.len() % 2 == 0).cloned().collect();
    let index = segment::index_path(&dir.path().join("log"), 2);
    assert!(index.exists());
    // Damaged under a running store, which looks it up.
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[80] ^= 1;
    std::fs::write(&index, &bytes).unwrap();
    assert_eq!(texts(&log, "c@d"), even);
    drop(log);
    std::fs::remove_file(&index).unwrap();
    std::fs::write(index.with_extension("new"), b"unfinished").unwrap();
    let log = open_with(dir.path(), quick(), config);
    assert!(index.exists() && !index.with_extension("new").exists());
    assert_eq!((texts(&log, "a@b").len(), texts(&log, "c@d")), (10, even));
}

#[test]
fn marks_are_judged_alike_after_every_kind_of_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 150, ..LogConfig::default() };
    let accounts = ["a@b", "c@d", "e@f", "nobody@g"];
    let latest = dir.path().join("log/latest");
    let check = |log: &SegmentLog| {
        let ids: Vec<LogId> = accounts.iter().flat_map(|account| bodies(log, account)).map(|(id, _)| id).collect();
        for account in accounts {
            let account = BareJid::parse(account).unwrap();
            for mark in ids.iter().flat_map(|id| [LogId(id.0 - 1), *id]).chain([LogId(0), log.head()]) {
                let any = !log.read(&account, mark, 1).unwrap().is_empty();
                assert_eq!(log.any_above(&account, mark).unwrap(), any, "{account} {mark:?}");
            }
        }
        ids.len()
    };
    for round in 0..6 {
        let log = open_with(dir.path(), quick(), config);
        assert_eq!(check(&log), round * 40);
        // One account falls silent, so that its newest segment lies far back.
        for n in 0..40 {
            add(&log, accounts[if n < 4 { n % 2 } else { 1 + round % 2 }], &n.to_string()).unwrap();
        }
        assert_eq!(check(&log), round * 40 + 40);
        match round {
            0 => log.close().unwrap(),
            1 => {}
            2 => std::fs::remove_file(&latest).unwrap(),
            3 => {
                let mut bytes = std::fs::read(&latest).unwrap();
                bytes[HEADER_BYTES as usize] ^= 1;
                std::fs::write(&latest, bytes).unwrap();
            }
            _ => assert!(log.drop_older(0).is_ok() && latest.exists()),
        }
    }
}

#[test]
fn old_segments_are_dropped_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 1 << 20, segment_period_ms: 100 };
    let log = open_with(dir.path(), quick(), config);
    let at = |received_ms: u64| {
        let mut append = append("a@b", &received_ms.to_string());
        append.record.received_ms = received_ms;
        log.append(&[append])[0].clone().unwrap()
    };
    let ids: Vec<LogId> = [1000, 1050, 1099, 1100, 1190, 1250].map(at).to_vec();
    let segments: Vec<u32> = ids.iter().map(|id| place(*id).0).collect();
    assert_eq!(segments, [1, 1, 1, 2, 2, 3], "a period has passed");
    log.tidy();
    assert_eq!(log.drop_older(1099).unwrap(), 0);
    assert_eq!(log.drop_older(1100).unwrap(), 1);
    assert_eq!(texts(&log, "a@b"), ["1100", "1190", "1250"]);
    assert!(!segment_file(dir.path(), 1).exists());
    assert_eq!(log.drop_older(u64::MAX).unwrap(), 1, "the active one stays");
    drop(log);
    let log = open_with(dir.path(), quick(), config);
    assert_eq!(texts(&log, "a@b"), ["1250"]);
    assert!(log.append(&[append("a@b", "next")])[0].clone().unwrap() > ids[5]);
}

#[test]
fn readers_and_appender_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 4_000, ..LogConfig::default() };
    let log = open_with(dir.path(), quick(), config);
    let account = BareJid::parse("a@b").unwrap();
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..2_000u64 {
                log.append(&[append("a@b", &n.to_string()), append("c@d", "x")])[0].clone().unwrap();
                acknowledged.store(n + 1, Ordering::SeqCst);
                log.tidy();
            }
        });
        loop {
            let before = acknowledged.load(Ordering::SeqCst);
            let (mut after, mut seen) = (LogId(0), 0);
            loop {
                let page = log.read(&account, after, 100).unwrap();
                let Some(last) = page.last() else { break };
                for record in &page {
                    assert_eq!(record.stanza.view().id, Some(seen.to_string().as_str()));
                    seen += 1;
                }
                assert!(log.any_above(&account, after).unwrap());
                after = last.id;
            }
            assert!(seen >= before, "{seen} {before}");
            if before == 2_000 {
                break;
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..200), len in 0..300u32) {
        let keys = Keys::new(STORE);
        prop_assert!(!matches!(record::decode(&keys, LogId(7), &bytes), Decoded::Record(..)));
        // With a plausible start.
        let bytes = [&len.to_le_bytes()[..], &[0; 4], &[1], &bytes].concat();
        prop_assert!(!matches!(record::decode(&keys, LogId(7), &bytes), Decoded::Record(..)));
        let _ = record::head(&bytes);
        prop_assert!(Latest::decode(STORE, &bytes).is_none());
        if let Some(header) = bytes.first_chunk::<48>() {
            prop_assert_eq!(Header::decode(header), Ok(None));
        }
    }

    /// A crash leaves any part of the tail, and anything behind it.
    #[test]
    fn cut_anywhere_keeps_whole_records(
        cut in 0.0..1.0f64,
        garbage in prop::collection::vec(any::<u8>(), 0..50),
        zeros in 0..200usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open_with(dir.path(), quick(), LogConfig::default());
        let batch: Vec<Append> = (0..20).map(|n| append("a@b", &"x".repeat(n * 7))).collect();
        let ids: Vec<LogId> = log.append(&batch).into_iter().map(Result::unwrap).collect();
        drop(log);
        let path = segment_file(dir.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let start = usize::try_from(HEADER_BYTES).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share")]
        let cut = start + ((bytes.len() - start) as f64 * cut) as usize;
        let written = bytes.clone();
        bytes.truncate(cut);
        bytes.extend_from_slice(&garbage);
        bytes.extend(std::iter::repeat_n(0, zeros));
        std::fs::write(&path, &bytes).unwrap();
        // What follows the cut may happen to be what was there.
        let same = bytes.iter().zip(&written).take_while(|(now, was)| now == was).count();
        let ends = ids.iter().skip(1).map(|id| usize::try_from(place(*id).1).unwrap()).chain([written.len()]);
        let whole = ends.filter(|end| *end <= same).count();
        for round in 0..3 {
            let log = open_with(dir.path(), quick(), LogConfig::default());
            let found = bodies(&log, "a@b");
            prop_assert_eq!(found.len(), whole + round);
            prop_assert!(found.iter().zip(&ids).take(whole).all(|((id, text), was)| id == was && text.bytes().all(|b| b == b'x')));
            let newest = found.last().map_or(LogId(0), |(id, _)| *id);
            prop_assert!(add(&log, "a@b", "more").unwrap() > newest);
        }
    }

    /// A damaged byte costs the record it lies in, no other.
    #[test]
    fn damage_in_the_middle_costs_one_record(at in any::<prop::sample::Index>(), sealed in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let log = open_with(dir.path(), quick(), LogConfig::default());
        let batch: Vec<Append> = (0..20).map(|n| append("a@b", &format!("text {n}"))).collect();
        log.append(&batch);
        drop(log);
        if sealed {
            let log = open_with(dir.path(), quick(), LogConfig { segment_bytes: 1, ..LogConfig::default() });
            add(&log, "c@d", "in the next").unwrap();
            drop(log);
            std::fs::remove_file(segment::index_path(&dir.path().join("log"), 1)).unwrap();
        }
        let path = segment_file(dir.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let start = usize::try_from(HEADER_BYTES).unwrap();
        let at = start + at.index(bytes.len() - start);
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        let log = open_with(dir.path(), quick(), LogConfig::default());
        prop_assert_eq!(texts(&log, "a@b").len(), 19);
        add(&log, "a@b", "more").unwrap();
        drop(log);
        prop_assert_eq!(texts(&open_with(dir.path(), quick(), LogConfig::default()), "a@b").len(), 20);
    }

    /// The power goes with any part of the unsynced writes on the device: what was acknowledged is there.
    #[test]
    fn power_cut_keeps_what_was_acknowledged(
        batches in prop::collection::vec(1..6usize, 1..20),
        keep in prop::collection::vec(any::<prop::sample::Index>(), 1..10),
        fail_at in prop::option::of(0..20usize),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            let faults = Arc::new(DiskFaults::default());
            let disk = Disk { faults: Some(faults.clone()), ..Disk::default() };
            let log = open_with(dir.path(), disk, LogConfig { segment_bytes: 700, ..LogConfig::default() });
            for (number, count) in batches.iter().enumerate() {
                if fail_at == Some(number) {
                    faults.fail_syncs(1);
                }
                let batch: Vec<Append> = (0..*count).map(|n| append("a@b", &format!("{round} {number} {n}"))).collect();
                for (outcome, append) in log.append(&batch).into_iter().zip(&batch) {
                    if let Ok(id) = outcome {
                        acknowledged.push((id, append.record.stanza.view().id.unwrap().to_owned()));
                    }
                }
                if number % 3 == 0 {
                    log.tidy();
                }
            }
            // One write that is never synced.
            let last = log.visible().active.as_ref().map(|active| (active.file.clone(), u64::from(active.contents.end)));
            if let Some((file, end)) = last {
                let mut bytes = Vec::new();
                let Append { slot, record, .. } = append("a@b", "unacknowledged");
                record::encode(&Keys::new(STORE), LogId(1), slot, &record, &mut bytes);
                file.write_all_at(&bytes, end).unwrap();
            }
            let mut keeps = keep.iter().cycle();
            faults.cut_power(|len| keeps.next().unwrap().index(len + 1)).unwrap();
            drop(log);
            let log = open_with(dir.path(), quick(), LogConfig::default());
            prop_assert_eq!(bodies(&log, "a@b"), acknowledged.clone());
        }
    }

    #[test]
    fn index_file_finds_what_chains_find(
        accounts in prop::collection::vec(any::<u64>(), 1..20),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..1500),
        after in 0..20_000u32,
        limit in 1..40usize,
    ) {
        let mut chains = Chains::default();
        let mut offset = HEADER_BYTES;
        for pick in &picks {
            chains.push(*pick.get(&accounts), Place { offset, len: 10 });
            offset += 10;
        }
        let count = u32::try_from(picks.len()).unwrap();
        let summary = Summary { segment: 1, count, bytes: u64::from(offset), first_ms: 0, last_ms: 0, store_id: STORE };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.idx");
        std::fs::write(&path, index::encode(&summary, &chains)).unwrap();
        let file = IndexFile::open(quick().open_existing(&path).unwrap()).unwrap().unwrap();
        prop_assert_eq!(file.summary, summary);
        for hash in accounts.iter().copied().chain([0, u64::MAX, accounts[0].wrapping_add(1)]) {
            let found = file.after(hash, after, limit).unwrap().unwrap();
            prop_assert_eq!(&found, &chains.after(hash, after, limit));
            let all: Vec<Place> = picks.iter().enumerate()
                .filter(|(_, pick)| *pick.get(&accounts) == hash)
                .map(|(n, _)| Place { offset: HEADER_BYTES + 10 * u32::try_from(n).unwrap(), len: 10 })
                .filter(|place| place.offset > after)
                .collect();
            prop_assert_eq!(&found, &all[..limit.min(all.len())]);
            prop_assert_eq!(chains.any_after(hash, after), !all.is_empty());
        }
    }
}
