//! A backup is made while the workload runs, restored elsewhere and compared: what was answered before it was
//! asked for is there, what it has more was asked for before it ended, all of it is of one point, nothing is torn.

use super::{Asker, Random, WINDOW, config};
use crate::model::{Log, Small, messages};
use crate::op::{ACCOUNTS, Op, Outcome, SLOTS, What};
use hearth_storage::backup::{Order, restore};
use hearth_storage::{Answered, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const ROUNDS: u64 = 5;
/// Slow enough for some hundred answers meanwhile.
const BYTES_PER_S: u64 = 12_000_000;
const UTC_MS: u64 = 1_764_000_000_000;

/// What is true of the store, as far as it answered.
#[derive(Clone, Default)]
struct Known {
    small: Small,
    log: Log,
    /// How often each account was made.
    made: BTreeMap<u64, u64>,
}

impl Known {
    /// What came of it.
    fn apply(&mut self, op: &Op) -> Outcome {
        let outcome = self.small.apply(op);
        if outcome == Outcome::Applied && matches!(op.what, What::Create | What::Delete) {
            self.log.0.remove(&op.account);
            if op.what == What::Create {
                *self.made.entry(op.account).or_default() += 1;
            }
        }
        outcome
    }
}

struct Rig {
    asker: Asker,
    known: Known,
    under_way: BTreeMap<u64, Op>,
    /// Since this was emptied.
    asked: Vec<Op>,
    /// The makings of the account that each message was asked for.
    meant_for: BTreeMap<u64, BTreeSet<u64>>,
}

impl Rig {
    fn ask(&mut self) -> Op {
        let op = self.asker.next();
        self.under_way.insert(op.id, op);
        self.asked.push(op);
        if op.is_append() {
            self.meant_for.entry(op.first).or_default().insert(self.known.made[&op.account]);
        }
        op
    }

    fn answered(&mut self, Answered { id, answer }: &Answered) {
        let outcome = Outcome::of(answer);
        let op = self.under_way.remove(id).unwrap();
        self.asker.answered(&op, outcome);
        match (op.what, outcome) {
            (What::Append | What::Again, Outcome::Appended(id)) => self.known.log.appended(&op, id),
            (What::Append | What::Again, Outcome::Fenced | Outcome::Already(_) | Outcome::Overtaken) => {}
            _ => assert_eq!(self.known.apply(&op), outcome, "{op:?}"),
        }
    }
}

#[test]
fn backed_up_while_a_random_workload_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, boot) = Storage::open(&config(&dir.path().join("data"))).unwrap();
    let mut rig = Rig {
        asker: Asker {
            random: Random(7),
            epochs: (0..SLOTS).map(|slot| (slot, boot.epoch)).collect(),
            exists: Default::default(),
            changing: BTreeMap::new(),
            next: 1,
            sent: Vec::new(),
            unsettled: Default::default(),
        },
        known: Known::default(),
        under_way: BTreeMap::new(),
        asked: Vec::new(),
        meant_for: BTreeMap::new(),
    };
    rig.known.small.boot(boot.epoch);
    let (sender, answers) = crossbeam_channel::unbounded();
    let handle = storage.start(1, move |_, batch| sender.send(batch).unwrap()).unwrap();
    let turn = |rig: &mut Rig| {
        while rig.under_way.len() < WINDOW {
            let op = rig.ask();
            handle.ask(0, vec![op.question()]).unwrap();
        }
        let batch: Vec<Answered> = answers.recv().unwrap();
        batch.iter().for_each(|answered| rig.answered(answered));
        batch.len()
    };
    for round in 0..ROUNDS {
        let mut before = 300 + rig.asker.random.below(300);
        while before > 0 {
            before = before.saturating_sub(turn(&mut rig) as u64);
        }
        let known = rig.known.clone();
        rig.asked.clear();
        let mut later: Vec<Op> = rig.under_way.values().copied().collect();
        let (backup, restored) = (dir.path().join(format!("backup{round}")), dir.path().join(format!("data{round}")));
        let mut answered = 0;
        std::thread::scope(|scope| {
            let (dir, handle) = (&backup, &handle);
            let running = scope.spawn(move || {
                let report = &mut |_| true;
                handle
                    .backup(Order { dir, bytes_per_s: BYTES_PER_S, utc_ms: UTC_MS, also: Vec::new(), report })
                    .unwrap();
            });
            while !running.is_finished() {
                answered += turn(&mut rig);
            }
            running.join().unwrap();
        });
        assert!(answered > WINDOW, "nothing went on meanwhile: {answered}");
        later.append(&mut rig.asked);
        restore(&backup, &restored, UTC_MS, &mut |_| true).unwrap();
        check(&restored, known, &later, &rig.meant_for, round);
    }
    handle.shutdown().unwrap();
}

/// Compares with what was known when the backup was asked for, and what was asked until it ended.
fn check(dir: &Path, mut known: Known, later: &[Op], meant_for: &BTreeMap<u64, BTreeSet<u64>>, round: u64) {
    let (storage, boot) = Storage::open(&config(dir)).unwrap();
    assert!(boot.epoch > UTC_MS / 1_000);
    let found = Small::read(&storage, &boot);
    let mut changes = later.iter().filter(|op| !op.is_append());
    let before = known.small.clone();
    while !known.small.restored().looks_like(&found) {
        let op = changes.next().unwrap_or_else(|| panic!("round {round}:\n{before:#?}\nfound\n{found:#?}"));
        known.apply(op);
    }
    for number in 0..ACCOUNTS {
        let there = messages(&storage, number);
        if !known.small.accounts.contains_key(&number) {
            assert_eq!(there, [], "user{number} is no account");
            continue;
        }
        known.log.check(number, &there, later);
        for (_, text) in &there {
            let first = text.split([' ', '.']).nth(1).and_then(|id| id.parse::<u64>().ok()).unwrap();
            let makings = &meant_for[&first];
            assert!(makings.contains(&known.made[&number]), "round {round}: user{number} has another's message");
        }
    }
}
