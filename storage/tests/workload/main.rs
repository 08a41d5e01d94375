//! kill -9 at random points of a random workload, again and again on one store: while it opens, works, shuts
//! down. What was acknowledged is there, what was refused is not, what was not answered is there whole or
//! not at all, and in the order it was asked.
//!
//! `HEARTH_KILL_ROUNDS=1000 cargo test -p hearth-storage --test workload` is the long run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod backed_up;
mod model;
mod op;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../suite/mod.rs"]
mod suite;

use hearth_storage::{Answered, Fresh, LogConfig, Storage, StorageConfig};
use hearth_wire::ids::SlotKey;
use model::{Log, Small, messages};
use op::{ACCOUNTS, ALL, Op, Outcome, SLOTS, What};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DIR: &str = "HEARTH_WORKLOAD_DIR";
const SEED: &str = "HEARTH_WORKLOAD_SEED";
const UNSETTLED: &str = "HEARTH_WORKLOAD_UNSETTLED";
const ROUNDS: &str = "HEARTH_KILL_ROUNDS";
const ROUNDS_DEFAULT: u64 = 40;

/// Questions under way.
const WINDOW: usize = 24;

fn config(dir: &Path) -> StorageConfig {
    let fresh = Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: [3; 16] };
    // Small segments, so that many are sealed while the process dies.
    let log = LogConfig { segment_bytes: 48 * 1024, ..LogConfig::default() };
    StorageConfig { log, ..StorageConfig::new(dir, fresh) }
}

/// SplitMix64 (Steele, Lea, Flood).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// What the child knows, so that it asks as a shard would: it appends for accounts that it has seen created.
struct Asker {
    random: Random,
    epochs: BTreeMap<u64, u64>,
    exists: BTreeSet<u64>,
    /// Being created or deleted.
    changing: BTreeMap<u64, usize>,
    next: u64,
    /// Messages that may be there, and may be asked for again.
    sent: Vec<Op>,
    /// Of these the ones to ask for before all else: what a killed process had not answered.
    unsettled: VecDeque<Op>,
}

impl Asker {
    /// A message that may be there, asked for again as soon as its account is one.
    fn again(&mut self) -> Option<Op> {
        let op = match self.unsettled.pop_front() {
            Some(op) => op,
            None => *self.sent.get(usize::try_from(self.random.below(self.sent.len().max(1) as u64)).unwrap())?,
        };
        let can = self.exists.contains(&op.account) && !self.changing.contains_key(&op.account);
        can.then_some(Op { what: What::Again, ..op })
    }

    fn next(&mut self) -> Op {
        loop {
            if (!self.unsettled.is_empty() || self.random.below(10) == 0)
                && let Some(op) = self.again()
            {
                let op = Op { id: self.next, epoch: self.epochs[&(op.account % SLOTS)], ..op };
                self.next += 1;
                return op;
            }
            let account = self.random.below(ACCOUNTS);
            // Half of it are messages; accounts come more than they go.
            let what = match self.random.below(100) {
                0..=49 => What::Append,
                50..=52 => What::Delete,
                53..=64 => What::Create,
                _ => ALL[usize::try_from(self.random.below(ALL.len() as u64)).unwrap()],
            };
            let epoch = self.epochs.get_mut(&(account % SLOTS)).unwrap();
            let stale = self.random.below(30) == 0;
            match what {
                What::Again => continue,
                What::Append if !self.exists.contains(&account) || self.changing.contains_key(&account) => continue,
                What::Take if stale => {}
                What::Take => *epoch += 1,
                What::Create | What::Delete => *self.changing.entry(account).or_default() += 1,
                _ => {}
            }
            let epoch = if stale { 0 } else { *epoch };
            let op = Op { id: self.next, what, account, epoch, value: self.random.below(1 << 32), first: self.next };
            self.next += 1;
            if what == What::Append {
                self.sent.push(op);
            }
            return op;
        }
    }

    fn answered(&mut self, op: &Op, outcome: Outcome) {
        if matches!(op.what, What::Create | What::Delete) {
            let left = self.changing.get_mut(&op.account).unwrap();
            *left -= 1;
            if *left == 0 {
                self.changing.remove(&op.account);
            }
            match (op.what, outcome) {
                (What::Create, Outcome::Applied | Outcome::Exists) => drop(self.exists.insert(op.account)),
                (What::Delete, Outcome::Applied) => drop(self.exists.remove(&op.account)),
                _ => {}
            }
        }
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let mut out = std::io::stdout();
    let mut say = |text: &str| {
        out.write_all(text.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    say("\nopening\n");
    let (storage, boot) = Storage::open(&config(Path::new(&dir))).unwrap();
    let mut random = Random(seed.parse().unwrap());
    let mut left = 50 + random.below(600);
    let unsettled: Vec<Op> = std::env::var(UNSETTLED).unwrap().lines().filter_map(Op::parse).collect();
    let existing = Small::read(&storage, &boot).accounts;
    let mut asker = Asker {
        random,
        epochs: (0..SLOTS).map(|slot| (slot, boot.epoch)).collect(),
        exists: existing.keys().copied().collect(),
        changing: BTreeMap::new(),
        next: 1,
        sent: unsettled.clone(),
        unsettled: unsettled.into(),
    };
    let (sender, answers) = crossbeam_channel::unbounded();
    let handle = storage.start(1, move |_, batch| sender.send(batch).unwrap()).unwrap();
    say(&format!("ready {}\n", boot.epoch));
    let mut under_way: BTreeMap<u64, Op> = BTreeMap::new();
    while left > 0 || !under_way.is_empty() {
        while left > 0 && under_way.len() < WINDOW {
            left -= 1;
            let op = asker.next();
            // Said before it is asked: what is not said was not asked.
            say(&format!("{}\n", op.line()));
            under_way.insert(op.id, op);
            handle.ask(0, vec![op.question()]).unwrap();
        }
        let batch: Vec<Answered> = answers.recv().unwrap();
        let mut said = String::new();
        for Answered { id, answer } in &batch {
            let outcome = Outcome::of(answer);
            asker.answered(&under_way.remove(id).unwrap(), outcome);
            said += &outcome.line(*id);
            said.push('\n');
        }
        say(&said);
    }
    say("stopping\n");
    handle.shutdown().unwrap();
}

/// When the child dies: this long after it says this.
struct Plan {
    word: &'static str,
    mercy: Duration,
}

impl Plan {
    fn new(random: &mut Random) -> Plan {
        let (word, most_us) = match random.below(10) {
            0..=1 => ("opening", 12_000),
            2..=3 => ("stopping", 4_000),
            _ => ("ready", 120_000),
        };
        Plan { word, mercy: Duration::from_micros(random.below(most_us)) }
    }
}

fn start(dir: &Path, seed: u64, unsettled: &[Op]) -> Child {
    let unsettled: Vec<String> = unsettled.iter().map(Op::line).collect();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .env(UNSETTLED, unsettled.join("\n"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child said before it died, the last line cut maybe.
fn listen(mut child: Child, plan: &Plan) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let mut killer = None;
    let mut child = Some(child);
    for line in lines {
        let Ok(line) = line else { break };
        if line.starts_with(plan.word)
            && let Some(mut child) = child.take()
        {
            let mercy = plan.mercy;
            killer = Some(std::thread::spawn(move || {
                std::thread::sleep(mercy);
                // It may have come to its end.
                let _ = child.kill();
                child.wait().unwrap();
            }));
        }
        said.push(line);
    }
    match (killer, child) {
        (Some(killer), _) => killer.join().unwrap(),
        (None, Some(mut child)) => assert!(child.wait().unwrap().success(), "{said:?}"),
        (None, None) => {}
    }
    said
}

/// A record that was half written when the power went.
fn tear(dir: &Path, random: &mut Random) {
    let segments = std::fs::read_dir(dir.join("log")).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = segments.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).max();
    let Some(path) = newest else { return };
    let bytes = std::fs::read(&path).unwrap();
    // A header is durable before anything is written behind it.
    if bytes.len() < 48 {
        return;
    }
    // What looks most like a record is the beginning of one.
    let cut = usize::try_from(1 + random.below(200)).unwrap();
    let torn: Vec<u8> = match random.below(2) {
        0 => bytes.iter().skip(48).take(cut).copied().collect(),
        _ => (0..cut).map(|_| u8::try_from(random.below(256)).unwrap()).collect(),
    };
    let whole = first_record_len(&bytes);
    if whole.is_none_or(|len| len > torn.len()) {
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&torn).unwrap();
    }
}

/// Length of the first record of a segment, if it has one: a whole one must not be put there twice.
fn first_record_len(segment: &[u8]) -> Option<usize> {
    let len = segment.get(48..52)?;
    Some(usize::try_from(u32::from_le_bytes(len.try_into().unwrap())).unwrap())
}

#[test]
fn killed_at_random_points_of_a_random_workload() {
    let rounds = std::env::var(ROUNDS).map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (mut small, mut log) = (Small::default(), Log::default());
    let (mut answered, mut found_unanswered, mut slowest) = (0u64, 0u64, Duration::ZERO);
    let (mut unsettled, mut known_again) = (Vec::new(), 0u64);
    let mut random = Random(1);
    for round in 0..rounds {
        let plan = Plan::new(&mut random);
        let said = listen(start(dir.path(), round, &unsettled), &plan);
        let mut lately: Vec<Op> = Vec::new();
        let mut unanswered: Vec<Op> = Vec::new();
        // By which question of this round a record came to be.
        let mut asked_by: BTreeMap<u64, u64> = BTreeMap::new();
        for line in &said {
            if let Some(epoch) = line.strip_prefix("ready ").and_then(|epoch| epoch.parse().ok()) {
                small.boot(epoch);
            } else if let Some(op) = Op::parse(line) {
                unanswered.push(op);
            } else if let Some((id, outcome)) = Outcome::parse(line) {
                answered += 1;
                let at = unanswered.iter().position(|op| op.id == id).unwrap();
                let op = unanswered.remove(at);
                match (op.what, outcome) {
                    (What::Append | What::Again, Outcome::Appended(id)) => {
                        log.appended(&op, id);
                        asked_by.insert(id, op.id);
                    }
                    (What::Again, Outcome::Already(id)) => {
                        // It may have been removed since it was asked.
                        if small.accounts.contains_key(&op.account) {
                            log.already(&op, id);
                        }
                        known_again += 1;
                    }
                    (What::Again, Outcome::Overtaken) => {
                        if small.accounts.contains_key(&op.account) {
                            log.overtaken(&op);
                        }
                    }
                    // Another epoch may have come between asking and answering.
                    (What::Append | What::Again, Outcome::Fenced) => {}
                    _ => assert_eq!(small.apply(&op), outcome, "round {round}: {op:?}"),
                }
                if op.is_append() {
                    lately.push(op);
                }
                if outcome == Outcome::Applied && matches!(op.what, What::Create | What::Delete) {
                    log.forget(&op, &asked_by);
                }
            }
        }
        if random.below(3) == 0 {
            tear(dir.path(), &mut random);
        }
        let opened = Instant::now();
        let (storage, boot) = Storage::open(&config(dir.path())).unwrap();
        slowest = slowest.max(opened.elapsed());
        let found = Small::read(&storage, &boot);
        // Of what was not answered the first so many were done.
        let mut changes = unanswered.iter().filter(|op| !op.is_append());
        while !small.looks_like(&found) {
            let op = changes.next().unwrap_or_else(|| panic!("round {round}:\n{small:#?}\nfound\n{found:#?}"));
            if small.apply(op) == Outcome::Applied {
                found_unanswered += 1;
                if matches!(op.what, What::Create | What::Delete) {
                    log.forget(op, &asked_by);
                }
            }
        }
        for number in 0..ACCOUNTS {
            let there = messages(&storage, number);
            if small.accounts.contains_key(&number) {
                log.check(number, &there, &unanswered);
                log.0.insert(number, there);
            } else {
                assert_eq!(there, [], "user{number} is no account");
            }
        }
        small.boot(boot.epoch);
        // Some were answered, and an edge did not hear of it.
        let from = lately.len().saturating_sub(10);
        unsettled = lately.drain(from..).chain(unanswered.into_iter().filter(Op::is_append)).collect();
    }
    println!(
        "{rounds} kills: {answered} answered, {found_unanswered} changes found that were not, {known_again} messages known again, slowest opening {slowest:?}"
    );
    assert!(answered > rounds * 10 && known_again > rounds);
}
