//! What durability costs: `cargo bench -p hearth-benches --bench storage`. CPU is that of the one
//! thread that calls the store (user and system); wall time is the device's business. A word behind
//! `--` runs the cases whose name contains it. Without `--bench`, as `cargo test` calls it, each case
//! runs small.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "fixed input, the bench's own files")]

use hearth_storage::log::SegmentLog;
use hearth_storage::redb::RedbSmall;
use hearth_storage::{
    Append, Change, ChangeSet, Credentials, Disk, Fresh, LogConfig, LogId, LogMarks, LogStore, NewRecord, RedbConfig,
    RosterItem, ScramKeys, SmallStore, Storage, StorageConfig, Subscription, Sync,
};
use hearth_wire::ids::{IngestId, SlotKey, StreamId};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::{BareJid, tree};
use std::path::Path;
use std::time::Instant;

const STORE: [u8; 16] = [3; 16];

struct Bench {
    only: Option<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let only = arguments.into_iter().find(|argument| !argument.starts_with("--"));
    let bench = Bench { only };
    let scale = if measure { 1 } else { 1_000 };
    let accounts = if measure { 20_000 } else { 20 };
    bench.case("idle", idle);
    for per_commit in [1, 10, 100, 1_000] {
        bench.case(&format!("append, {per_commit} per commit"), || {
            append(if per_commit < 100 { 10_000 } else { 100_000 } / scale, per_commit);
        });
    }
    bench.case("log open after kill", || log_open(100_000 / scale));
    for (name, quick_repair_from_bytes) in [("", u64::MAX), (", quick repair", 0)] {
        for (synced, sync) in [("sync full", Sync::Full), ("sync none", Sync::None)] {
            bench.case(&format!("small, {synced}{name}"), || small(accounts, sync, quick_repair_from_bytes));
        }
    }
}

impl Bench {
    fn case(&self, name: &str, run: impl FnOnce()) {
        if self.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            println!("{name}");
            run();
        }
    }
}

/// CPU seconds of this thread so far.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Megabytes this process holds.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / 1e6
}

fn timed<T>(what: &str, count: usize, run: impl FnOnce() -> T) -> T {
    let (cpu_before, wall) = (cpu(), Instant::now());
    let value = run();
    let (used, wall) = (cpu() - cpu_before, wall.elapsed().as_secs_f64());
    let each = used * 1e6 / f64::from(u32::try_from(count).unwrap());
    println!("    {what:<44} {count:>7}  {used:>7.3} CPU-s  {each:>8.2} us each  {wall:>7.3} s wall");
    value
}

fn fresh() -> Fresh {
    Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: STORE }
}

fn jid(number: usize) -> BareJid {
    BareJid::parse(&format!("user{number}@example.org")).unwrap()
}

fn idle() {
    let dir = tempfile::tempdir().unwrap();
    let before = resident();
    let (storage, _) = Storage::open(&StorageConfig::new(dir.path(), fresh())).unwrap();
    let handle = storage.start(2, |_, _| {}).unwrap();
    println!("    resident: {before:.1} MB before, {:.1} MB with an empty store and its threads", resident());
    handle.shutdown().unwrap();
}

fn message(number: usize) -> Append {
    let mut builder = tree::Builder::new();
    builder.leaf(None, "body", "A message of about the length that people write to each other all day long.");
    builder.open(Some("urn:xmpp:receipts"), "request").close();
    builder.open(Some("http://jabber.org/protocol/chatstates"), "active").close();
    let payload = builder.finish();
    let stanza = Stanza {
        id: Some("8d7c0a8f-5b0e-4f0e-9d53-1f5be7a4b0c5"),
        to: Some("grace@example.org"),
        from: Some("ada@example.org/desk"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    let record = NewRecord {
        account: jid(number * 7_919 % 5_000),
        ingest: Some(IngestId { stream: StreamId([7; 16]), number: 300 }),
        received_ms: 1_700_000_000_000,
        stanza: SharedStanza::new(&stanza),
    };
    let slot = fresh().slot_key.slot(record.account.as_str());
    Append { slot, epoch: 1, record }
}

fn append(count: usize, per_commit: usize) {
    let dir = tempfile::tempdir().unwrap();
    let batches: Vec<Vec<Append>> = (0..count.div_ceil(per_commit))
        .map(|batch| (0..per_commit).map(|n| message(batch * per_commit + n)).collect())
        .collect();
    let stanza = message(1).record.stanza.bytes().len();
    for (name, sync) in [("sync full", Sync::Full), ("sync none", Sync::None)] {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let log = SegmentLog::open(&path, Disk { sync, faults: None }, STORE, LogConfig::default()).unwrap();
        timed(name, count, || {
            for batch in &batches {
                assert!(log.append(batch).iter().all(Result::is_ok));
                log.tidy();
            }
        });
        let bytes: u64 =
            std::fs::read_dir(path.join("log")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        println!("    {} bytes a record, of which stanza {stanza}", bytes / u64::try_from(count).unwrap());
    }
}

fn log_open(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let open = |segment_bytes| {
        let config = LogConfig { segment_bytes, ..LogConfig::default() };
        SegmentLog::open(dir.path(), Disk { sync: Sync::None, faults: None }, STORE, config).unwrap()
    };
    let log = open(1 << 30);
    let batch: Vec<Append> = (0..count).map(message).collect();
    for batch in batch.chunks(1_000) {
        assert!(log.append(batch).iter().all(Result::is_ok));
    }
    let before = resident();
    let log = timed("all in the active segment: walked", count, || {
        drop(log);
        open(1)
    });
    println!("    resident {:.1} MB more", resident() - before);
    let reads = count.min(5_000);
    timed("read 10 records of an account, in memory", reads, || {
        (0..reads).for_each(|n| drop(log.read(&jid(n), LogId(0), 10).unwrap()));
    });
    log.append(&[message(0)]);
    timed("seal: sort and write the index", count, || log.tidy());
    timed("any above a mark, in the index file", reads, || {
        (0..reads).for_each(|n| assert!(log.any_above(&jid(n * 7_919 % 5_000), LogId(0)).unwrap()));
    });
    timed("read 10 records of an account, index file", reads, || {
        (0..reads).for_each(|n| drop(log.read(&jid(n), LogId(0), 10).unwrap()));
    });
    drop(log);
    timed("all in a sealed segment: not walked", count, || drop(open(1)));
}

fn item(number: usize) -> RosterItem {
    RosterItem {
        contact: format!("contact{number}@example.net").into(),
        name: Some("A Contact".into()),
        groups: vec!["Friends".into()],
        subscription: Subscription::Both,
        ask: false,
        approved: false,
    }
}

fn set(number: usize, changes: impl Fn(BareJid) -> Vec<Change>) -> ChangeSet {
    let account = jid(number);
    let slot = fresh().slot_key.slot(account.as_str());
    ChangeSet { slot, epoch: 1, changes: changes(account) }
}

fn open_small(dir: &Path, sync: Sync, quick_repair_from_bytes: u64) -> RedbSmall {
    let config = RedbConfig { quick_repair_from_bytes, ..RedbConfig::default() };
    RedbSmall::open(dir, config, Disk { sync, faults: None }, &fresh()).unwrap()
}

fn small(accounts: usize, sync: Sync, quick_repair_from_bytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let before = resident();
    let store = open_small(dir.path(), sync, quick_repair_from_bytes);
    let apply = |sets: &[ChangeSet]| assert!(store.apply(sets, LogId(0)).iter().all(Result::is_ok));
    let keys =
        |len| ScramKeys { iterations: 10_000, salt: vec![1; 16], stored_key: vec![2; len], server_key: vec![3; len] };
    let credentials = Credentials { generation: 1, sha1: keys(20), sha256: keys(32), sha512: keys(64) };
    let create = |number| {
        set(number, |account| {
            let create = Change::CreateAccount { account: account.clone(), credentials: credentials.clone() };
            let put = |n| Change::PutRosterItem { account: account.clone(), item: item(n) };
            std::iter::once(create).chain((0..25).map(put)).collect()
        })
    };
    timed("create an account with 25 items, 100 a commit", accounts, || {
        for first in (0..accounts).step_by(100) {
            apply(&(first..(first + 100).min(accounts)).map(create).collect::<Vec<_>>());
        }
    });
    let size = std::fs::metadata(dir.path().join("hearth.redb")).unwrap().len();
    println!("    hearth.redb: {} KB, {} bytes an item", size / 1024, size / u64::try_from(accounts * 25).unwrap());
    let load = |number: usize| {
        let account = jid(number * 7_919 % accounts);
        let slot = fresh().slot_key.slot(account.as_str());
        assert_eq!(store.load(slot, &account).unwrap().unwrap().roster.len(), 25);
    };
    let loads = accounts.min(20_000);
    timed("load a snapshot, any account", loads, || (0..loads).for_each(load));
    timed("load a snapshot, one of 100 accounts", loads, || (0..loads).for_each(|n| load(n % 100)));
    println!("    resident {:.1} MB more, with a cache of 16 MiB", resident() - before);
    let marks = |number: usize| {
        set(number * 7_919 % accounts, |account| {
            let marks = LogMarks { low_water: LogId(u64::try_from(number).unwrap()), undelivered: vec![] };
            vec![Change::PutMarks { account, marks }]
        })
    };
    for per_commit in [1, 10, 100] {
        let count = if accounts < 1_000 { 10 } else { 200 } * per_commit;
        let sets: Vec<ChangeSet> = (0..count).map(marks).collect();
        timed(&format!("put marks, {per_commit} a commit"), count, || sets.chunks(per_commit).for_each(apply));
    }
    std::mem::forget(store); // As if the process had died.
    timed("open after kill", 1, || drop(open_small(dir.path(), sync, quick_repair_from_bytes)));
    timed("open after closing", 1, || open_small(dir.path(), sync, quick_repair_from_bytes).close().unwrap());
}
