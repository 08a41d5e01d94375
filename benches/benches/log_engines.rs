//! The log store's engine, on our own pattern: appends by many accounts in synced batches, an account's records behind a
//! point, a whole period dropped, the start after a kill. `cargo bench -p hearth-benches --bench log_engines`. A word
//! behind `--` takes the engines whose name contains it, `--records=1200000` more than the 200,000 there are else. Without
//! `--bench`, as `cargo test` calls it, small.
//!
//! Each engine fills its folder in a process of its own that ends without closing anything; CPU time is that process', its
//! background threads included, and bytes written are what its `/proc/self/io` says. Another process then starts on the
//! folder, reads, and drops the first period.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "fixed input, the bench's own files")]

use hearth_storage::log::SegmentLog;
use hearth_storage::{Append, Disk, LogConfig, LogId, LogStore, NewRecord, Sync};
use hearth_wire::BareJid;
use hearth_wire::ids::{IngestId, StreamId};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use redb::{ReadableDatabase as _, TableDefinition};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const ACCOUNTS: usize = 5_000;
const BATCH: usize = 100;
const PERIODS: usize = 4;
const PERIOD_MS: u64 = 86_400_000;
/// Records of an account that are asked for at once.
const PAGE: usize = 50;
const ENGINES: [&str; 3] = ["segments", "redb", "redb, quick repair"];

/// What the log is to an engine: periods of records, ordered by account and number within.
trait Engine {
    fn append(&mut self, period: usize, first: usize, batch: &[Append]);
    /// Records of an account from a point in the middle of the second period on, at most [`PAGE`].
    fn read(&self, account: usize, middle: usize) -> usize;
    fn drop_first(&mut self);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, engine, dir, period] = &arguments[..]
        && (verb == "fill" || verb == "use")
    {
        let (dir, period) = (Path::new(dir), period.parse().unwrap());
        return if verb == "fill" { fill(engine, dir, period) } else { go_on(engine, dir, period) };
    }
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let records = arguments.iter().find_map(|argument| argument.strip_prefix("--records="));
    let records = records.map_or(if measure { 200_000 } else { 2_000 }, |records| records.parse().unwrap());
    let period = records / PERIODS;
    println!("{} records in {PERIODS} periods, {BATCH} a commit, of {ACCOUNTS} accounts", period * PERIODS);
    for engine in ENGINES.into_iter().filter(|engine| only.is_none_or(|only| engine.contains(only.as_str()))) {
        println!("{engine}");
        let dir = tempfile::tempdir().unwrap();
        for verb in ["fill", "use"] {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let done = again.args([verb, engine]).arg(dir.path()).arg(period.to_string()).status().unwrap();
            assert!(done.success(), "{engine}: {verb}");
        }
    }
}

fn written_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| if e.path().is_dir() { size(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}

fn message(number: usize, period: usize) -> Append {
    let mut payload = hearth_wire::tree::Builder::new();
    payload.leaf(None, "body", &"x".repeat(100));
    let payload = payload.finish();
    let id = format!("8d7c0a8f-5b0e-4f0e-9d53-{number:012}");
    let stanza = Stanza {
        id: Some(&id),
        to: Some("grace@example.org"),
        from: Some("ada@example.org/desk"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    let record = NewRecord {
        account: account(number * 7_919 % ACCOUNTS),
        ingest: Some(IngestId { stream: StreamId([7; 16]), number: number as u64 }),
        received_ms: 1_700_000_000_000 + period as u64 * PERIOD_MS,
        stanza: SharedStanza::new(&stanza),
    };
    Append { slot: hearth_wire::ids::SlotKey([1; 16]).slot(record.account.as_str()), epoch: 1, record }
}

fn account(number: usize) -> BareJid {
    BareJid::parse(&format!("user{number}@example.org")).unwrap()
}

fn open(engine: &str, dir: &Path) -> Box<dyn Engine> {
    match engine {
        "segments" => Box::new(Segments::open(dir)),
        _ => Box::new(Redb::open(dir, engine != "redb")),
    }
}

fn fill(name: &str, dir: &Path, period_records: usize) {
    let mut engine = open(name, dir);
    let (mut made, mut wall, start, bytes) = (0.0, 0.0, cpu(), written_bytes());
    for period in 0..PERIODS {
        for batch in 0..period_records / BATCH {
            let first = period * period_records + batch * BATCH;
            let before = thread_cpu();
            let batch: Vec<Append> = (first..first + BATCH).map(|number| message(number, period)).collect();
            made += thread_cpu() - before;
            let start = Instant::now();
            engine.append(period, first, &batch);
            wall += start.elapsed().as_secs_f64();
        }
    }
    // All threads, without the making of messages: what an engine does in the background is in it.
    let (spent, bytes) = (cpu() - start - made, written_bytes() - bytes);
    let count = (period_records * PERIODS) as f64;
    println!("    append, synced        {:>8.3} CPU-s per 100,000 {wall:>8.2} s wall", spent * 100_000.0 / count);
    println!("    written, a record     {:>8.0} bytes {:>12.0} on disk", bytes / count, size(dir) as f64 / count);
    // As if killed: nothing is closed.
    std::process::exit(0);
}

/// CPU time of this process so far, all its threads.
fn cpu() -> f64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn thread_cpu() -> f64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own.
    #[allow(unsafe_code, reason = "the standard library has no CPU clock")]
    let done = unsafe { libc::clock_gettime(id, &mut time) };
    assert_eq!(done, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn go_on(name: &str, dir: &Path, period_records: usize) {
    let timed = |what: &str, count: usize, run: &mut dyn FnMut()| {
        let (before, start) = (cpu(), Instant::now());
        run();
        let (cpu, wall) = (cpu() - before, start.elapsed().as_secs_f64());
        println!("    {what:<22}{:>8.1} us CPU {:>12.1} us wall", cpu * 1e6 / count as f64, wall * 1e6 / count as f64);
    };
    let mut engine = None;
    timed("open after the kill", 1, &mut || engine = Some(open(name, dir)));
    let mut engine = engine.unwrap();
    let middle = period_records + period_records / 2;
    let mut found = 0;
    timed("read behind a point", ACCOUNTS, &mut || {
        found = (0..ACCOUNTS).map(|account| engine.read(account, middle)).sum();
    });
    // Two and a half periods lie behind it; in segments the point is half the file, a few records off.
    let expected = (period_records * 5 / 2).min(ACCOUNTS * PAGE);
    assert!(found.abs_diff(expected) * 20 <= expected, "{found} records, not some {expected}");
    let before = size(dir);
    timed("drop a period", 1, &mut || engine.drop_first());
    let back = || (before as f64 - size(dir) as f64) / period_records as f64;
    let at_once = back();
    drop(engine);
    println!("    given back a record    {at_once:>7.0} bytes {:>12.0} once closed", back());
}

struct Segments {
    log: SegmentLog,
    dir: PathBuf,
}

impl Segments {
    fn open(dir: &Path) -> Segments {
        let disk = Disk { sync: Sync::Full, faults: None };
        let config = LogConfig { segment_period_ms: PERIOD_MS, ..LogConfig::default() };
        let log = SegmentLog::open(dir, disk, [3; 16], config).unwrap();
        Segments { log, dir: dir.to_owned() }
    }
}

impl Engine for Segments {
    fn append(&mut self, _: usize, _: usize, batch: &[Append]) {
        assert!(self.log.append(batch).iter().all(Result::is_ok));
        self.log.tidy();
    }

    /// A log id is segment and offset.
    fn read(&self, number: usize, _: usize) -> usize {
        let half = std::fs::metadata(self.dir.join("log/00000002.seg")).unwrap().len() / 2;
        self.log.read(&account(number), LogId(2 << 32 | half), u32::try_from(PAGE).unwrap()).unwrap().len()
    }

    /// What a retention will do; the log bears that the files are gone.
    fn drop_first(&mut self) {
        for file in ["log/00000001.seg", "log/00000001.idx"] {
            std::fs::remove_file(self.dir.join(file)).unwrap();
        }
        std::fs::File::open(self.dir.join("log")).unwrap().sync_all().unwrap();
    }
}

/// Account, then number: an account's records lie together, in order.
fn key(account: &str, number: usize) -> [u8; 16] {
    let mut key = [0; 16];
    // FNV-1a: the accounts must be spread, not more.
    let hash = account
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    key[..8].copy_from_slice(&hash.to_be_bytes());
    key[8..].copy_from_slice(&(number as u64).to_be_bytes());
    key
}

/// What our record holds besides lengths and checksum.
fn value(Append { slot, record, .. }: &Append) -> Vec<u8> {
    let ingest = record.ingest.unwrap();
    let mut bytes = Vec::with_capacity(400);
    bytes.extend_from_slice(format!("{slot:?}").as_bytes());
    bytes.extend_from_slice(&ingest.stream.0);
    bytes.extend_from_slice(&ingest.number.to_be_bytes());
    bytes.extend_from_slice(&record.received_ms.to_be_bytes());
    bytes.extend_from_slice(record.account.as_str().as_bytes());
    bytes.extend_from_slice(record.stanza.bytes());
    bytes
}

struct Redb {
    db: redb::Database,
    quick_repair: bool,
}

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;
const TABLES: [Table; PERIODS] =
    [TableDefinition::new("p0"), TableDefinition::new("p1"), TableDefinition::new("p2"), TableDefinition::new("p3")];

impl Redb {
    fn open(dir: &Path, quick_repair: bool) -> Redb {
        Redb { db: redb::Database::create(dir.join("log.redb")).unwrap(), quick_repair }
    }

    fn change(&self, change: impl FnOnce(&redb::WriteTransaction)) {
        let mut transaction = self.db.begin_write().unwrap();
        transaction.set_quick_repair(self.quick_repair);
        change(&transaction);
        transaction.commit().unwrap();
    }
}

impl Engine for Redb {
    fn append(&mut self, period: usize, first: usize, batch: &[Append]) {
        self.change(|transaction| {
            let mut table = transaction.open_table(TABLES[period]).unwrap();
            for (at, append) in batch.iter().enumerate() {
                let key = key(append.record.account.as_str(), first + at);
                table.insert(key.as_slice(), value(append).as_slice()).unwrap();
            }
        });
    }

    fn read(&self, number: usize, middle: usize) -> usize {
        let account = account(number);
        let (from, to) = (key(account.as_str(), middle), key(account.as_str(), usize::MAX));
        let transaction = self.db.begin_read().unwrap();
        let mut found = 0;
        for table in &TABLES[1..] {
            let table = transaction.open_table(*table).unwrap();
            let range = table.range(from.as_slice()..=to.as_slice()).unwrap();
            found +=
                range.take(PAGE - found).filter(|item| item.as_ref().unwrap().1.value().to_vec().len() > 100).count();
        }
        found
    }

    fn drop_first(&mut self) {
        self.change(|transaction| assert!(transaction.delete_table(TABLES[0]).unwrap()));
    }
}
