//! kill -9 at any point: everything acknowledged is there, nothing is torn.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared with the suite")]
mod suite;

use hearth_storage::{Answer, Answered, Ask, Change, Fresh, LogConfig, LogId, Question, Storage, StorageConfig};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotKey};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use suite::{append, create, jid, put_item, slot};

const ACCOUNTS: u64 = 8;
const ROUNDS: u64 = 25;
const DIR: &str = "HEARTH_KILL_TEST_DIR";

fn config(dir: &Path) -> StorageConfig {
    let fresh = Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: [3; 16] };
    // Small segments, so that many are sealed while the process dies.
    let log = LogConfig { segment_bytes: 32 * 1024, ..LogConfig::default() };
    StorageConfig { log, ..StorageConfig::new(dir, fresh) }
}

fn account(number: u64) -> BareJid {
    jid(&format!("user{number}@example.org"))
}

/// Item and version together: they must never part.
fn fill(account: &BareJid, version: u64) -> Vec<Change> {
    let item = put_item(account.as_str(), &format!("{version}@example.net"));
    vec![item, Change::PutRosterVersion { account: account.clone(), version }]
}

/// Not a test of its own: the process that is killed. Says what was acknowledged, a line each.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (storage, boot) = Storage::open(&config(Path::new(&dir))).unwrap();
    let versions: Vec<u64> = (0..ACCOUNTS).map(|number| version(&storage, slot(1), &account(number))).collect();
    let (sender, answers) = crossbeam_channel::unbounded();
    let handle = storage.start(1, move |_, batch| sender.send(batch).unwrap()).unwrap();
    let question = |id, ask| Question { id, slot: slot(1), epoch: boot.epoch, ask };
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    let mut next = versions;
    for (number, next) in (0..ACCOUNTS).zip(&mut next).filter(|(_, next)| **next == 0) {
        let changes = vec![create(account(number).as_str())];
        handle.ask(0, vec![question(number, Ask::Apply { changes })]).unwrap();
        assert!(matches!(answers.recv().unwrap()[..], [Answered { answer: Answer::Applied, .. }]));
        *next = 1;
    }
    // Every account has one change and five messages under way; an answer asks for the next.
    let mut step = 0u64;
    let mut ask = |number: u64, change: bool, next: &[u64]| {
        step += 1;
        let account = account(number);
        let ask = if change {
            Ask::Apply { changes: fill(&account, next[usize::try_from(number).unwrap()]) }
        } else {
            let body = format!("{} {}", boot.epoch, "text ".repeat(usize::try_from(step % 40).unwrap()));
            Ask::Append { record: append(account.as_str(), &body).record }
        };
        handle.ask(0, vec![question(number * 2 + u64::from(change), ask)]).unwrap();
    };
    for number in 0..ACCOUNTS {
        ask(number, true, &next);
        (0..5).for_each(|_| ask(number, false, &next));
    }
    loop {
        let batch = answers.recv().unwrap();
        let mut said = Vec::new();
        for Answered { id, answer } in &batch {
            let number = id / 2;
            match answer {
                Answer::Applied => {
                    let version = &mut next[usize::try_from(number).unwrap()];
                    writeln!(said, "applied {number} {version}").unwrap();
                    *version += 1;
                }
                Answer::Appended(LogId(id)) => writeln!(said, "appended {number} {id}").unwrap(),
                other => panic!("{other:?}"),
            }
        }
        out.write_all(&said).unwrap();
        out.flush().unwrap();
        batch.iter().for_each(|Answered { id, .. }| ask(id / 2, id % 2 == 1, &next));
    }
}

/// The next version to write: 0 if there is no account.
fn version(storage: &Storage, slot: Slot, account: &BareJid) -> u64 {
    let ask = Ask::Load { account: account.clone() };
    match storage.answer(Question { id: 0, slot, epoch: u64::MAX, ask }).answer {
        Answer::Loaded(None) => 0,
        Answer::Loaded(Some(snapshot)) => {
            assert_eq!(u64::try_from(snapshot.roster.len()).unwrap(), snapshot.roster_version, "torn");
            snapshot.roster_version + 1
        }
        other => panic!("{other:?}"),
    }
}

fn log_ids(storage: &Storage, account: &BareJid) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let after = LogId(ids.last().copied().unwrap_or(0));
        let ask = Ask::ReadLog { account: account.clone(), after, limit: 1000 };
        match storage.answer(Question { id: 0, slot: slot(1), epoch: u64::MAX, ask }).answer {
            Answer::Records(records) if records.is_empty() => return ids,
            Answer::Records(records) => ids.extend(records.iter().map(|record| record.id.0)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn killed_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let mut appended: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut applied: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut total, mut slowest) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "ready"));
        // Spread over everything that happens in a few dozen commits.
        let mercy = Duration::from_micros(round * 7_919 % 60_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(mercy);
            child.kill().unwrap();
            child.wait().unwrap()
        });
        for line in lines {
            let line = line.unwrap();
            let fields: Vec<&str> = line.split(' ').collect();
            // The last line may be cut.
            let [what, number, value] = fields[..] else { continue };
            let (Ok(number), Ok(value)) = (number.parse(), value.parse()) else { continue };
            match what {
                "applied" => drop(applied.insert(number, value)),
                "appended" => appended.entry(number).or_default().push(value),
                other => panic!("{other}"),
            }
            total += 1;
        }
        assert!(!killer.join().unwrap().success());
        let opened = Instant::now();
        let (storage, _) = Storage::open(&config(dir.path())).unwrap();
        slowest = slowest.max(opened.elapsed());
        for number in 0..ACCOUNTS {
            let account = account(number);
            if let Some(acknowledged) = applied.get(&number) {
                let next = version(&storage, slot(1), &account);
                assert!(next > *acknowledged && next <= acknowledged + 2, "{next} {acknowledged}");
                applied.insert(number, next - 1);
            }
            let found = log_ids(&storage, &account);
            assert!(found.is_sorted_by(|a, b| a < b));
            let acknowledged = appended.get(&number).map_or(&[][..], Vec::as_slice);
            assert!(acknowledged.is_sorted_by(|a, b| a < b), "an id was given twice");
            for id in acknowledged {
                assert!(found.binary_search(id).is_ok(), "account {number} lost {id}");
            }
            // What is there once stays, acknowledged or not.
            appended.insert(number, found);
        }
    }
    println!("{total} acknowledged over {ROUNDS} kills, slowest opening {slowest:?}");
    assert!(total > ROUNDS * 10);
}
