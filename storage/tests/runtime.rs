//! The threads: order, batching, refusal, ending.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared with the suite")]
mod suite;

use crossbeam_channel::Receiver;
use hearth_storage::faulty::{Fault, Faults, FaultyLog, FaultySmall, Point};
use hearth_storage::memory::{MemoryLog, MemorySmall};
use hearth_storage::{
    Answer, Answered, Ask, Boot, Change, Condition, DirLock, Disk, DiskFaults, Fresh, LogId, Question, Refusal,
    Storage, StorageConfig, StorageHandle, StoreError, limits,
};
use hearth_wire::ids::{ShardIndex, SlotKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use suite::{append, create, jid, message, put_item, slot};

const PATIENCE: Duration = Duration::from_secs(30);

fn fresh() -> Fresh {
    Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: [3; 16] }
}

type Deliveries = Receiver<(ShardIndex, Vec<Answered>)>;

struct Rig {
    handle: StorageHandle,
    deliveries: Deliveries,
    faults: Faults,
    epoch: u64,
}

fn start(storage: Storage, boot: &Boot, faults: Faults) -> Rig {
    let (sender, deliveries) = crossbeam_channel::unbounded();
    let deliver = move |shard, answers| sender.send((shard, answers)).unwrap();
    Rig { handle: storage.start(4, deliver).unwrap(), deliveries, faults, epoch: boot.epoch }
}

fn rig() -> Rig {
    let faults = Faults::new();
    let small = FaultySmall { inner: MemorySmall::new(&fresh()).unwrap(), faults: faults.clone() };
    let log = FaultyLog { inner: MemoryLog::new(), faults: faults.clone() };
    let (storage, boot) = Storage::new(Arc::new(small), Arc::new(log)).unwrap();
    start(storage, &boot, faults)
}

impl Rig {
    fn question(&self, id: u64, ask: Ask) -> Question {
        Question { id, slot: slot(1), epoch: self.epoch, ask }
    }

    fn apply(&self, id: u64, changes: Vec<Change>) -> Question {
        self.question(id, Ask::Apply { changes })
    }

    fn append(&self, id: u64, account: &str) -> Question {
        self.question(id, Ask::Append { record: append(account, &id.to_string()).record })
    }

    /// The next `count` answers, by question.
    fn answers(&self, count: usize) -> HashMap<u64, Answer> {
        let mut all = HashMap::new();
        while all.len() < count {
            let (_, answers) = self.deliveries.recv_timeout(PATIENCE).unwrap();
            all.extend(answers.into_iter().map(|answered| (answered.id, answered.answer)));
        }
        all
    }

    fn ask(&self, question: Question) -> Answer {
        let id = question.id;
        self.handle.ask(0, vec![question]).unwrap();
        self.answers(1).remove(&id).unwrap()
    }
}

#[test]
fn what_waits_shares_a_commit_and_a_delivery() {
    let rig = rig();
    rig.faults.strike(Point::Apply, 0, 1, Fault::Delay(Duration::from_millis(200)));
    rig.handle.ask(0, vec![rig.apply(0, vec![create("first@b")])]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    for shard in 0..3u16 {
        for n in 0..10u64 {
            let id = u64::from(shard) * 100 + n + 1;
            rig.handle.ask(shard, vec![rig.apply(id, vec![create(&format!("a{id}@b"))])]).unwrap();
        }
    }
    let batches: Vec<(ShardIndex, usize)> = (0..4)
        .map(|_| {
            let (shard, answers) = rig.deliveries.recv_timeout(PATIENCE).unwrap();
            (shard, answers.len())
        })
        .collect();
    assert_eq!(batches, [(0, 1), (0, 10), (1, 10), (2, 10)]);
}

#[test]
fn appends_under_way_are_seen_by_one_that_is_made_again() {
    let rig = rig();
    assert!(matches!(rig.ask(rig.apply(1, vec![create("a@b")])), Answer::Applied));
    rig.faults.strike(Point::Append, 0, 1, Fault::Delay(Duration::from_millis(100)));
    let record = |body: &str| append("a@b", body).record;
    let first = |id, body| rig.question(id, Ask::Append { record: record(body) });
    let again = |id, body| rig.question(id, Ask::AppendAgain { record: record(body) });
    rig.handle.ask(0, vec![first(2, "held back")]).unwrap();
    let batch = vec![again(3, "held back"), again(4, "x"), first(5, "y"), again(6, "y"), again(7, "x"), first(8, "z")];
    rig.handle.ask(1, batch).unwrap();
    let answers = rig.answers(7);
    let id = |number: u64| match answers[&number] {
        Answer::Appended(id) => (id, true),
        Answer::Already(id) => (id, false),
        ref other => panic!("{other:?}"),
    };
    let [held_back, x, y, z] = [2, 4, 5, 8].map(|number| id(number).0);
    let expected = [(held_back, true), (held_back, false), (x, true), (y, true), (y, false), (x, false), (z, true)];
    assert_eq!([2, 3, 4, 5, 6, 7, 8].map(id), expected);
    assert!(held_back < x && x < y && y < z);
}

#[test]
fn one_refused_set_does_not_spoil_its_batch() {
    let rig = rig();
    rig.handle.ask(0, (0..3).map(|id| rig.apply(id, vec![create("same@b")])).collect()).unwrap();
    let answers = rig.answers(3);
    assert!(matches!(answers[&0], Answer::Applied));
    assert!(matches!(answers[&1], Answer::Refused(Refusal::Exists)));
    assert!(matches!(answers[&2], Answer::Refused(Refusal::Exists)));
}

#[test]
fn reads_see_what_was_answered_and_order_is_kept() {
    let rig = rig();
    assert!(matches!(rig.ask(rig.apply(1, vec![create("a@b")])), Answer::Applied));
    for round in 0..200u64 {
        let id = 10 + round * 10;
        assert!(matches!(rig.ask(rig.apply(id, vec![put_item("a@b", &format!("{round}@c"))])), Answer::Applied));
        match rig.ask(rig.question(id + 1, Ask::Load { account: jid("a@b") })) {
            Answer::Loaded(Some(snapshot)) => assert_eq!(u64::try_from(snapshot.roster.len()).unwrap(), round + 1),
            other => panic!("{other:?}"),
        }
        rig.handle.ask(0, (id + 2..id + 5).map(|id| rig.append(id, "a@b")).collect()).unwrap();
        let answers = rig.answers(3);
        let ids: Vec<LogId> = (id + 2..id + 5)
            .map(|id| match answers[&id] {
                Answer::Appended(id) => id,
                ref other => panic!("{other:?}"),
            })
            .collect();
        assert!(ids.is_sorted());
        let after = LogId(ids[0].0 - 1);
        match rig.ask(rig.question(id + 6, Ask::ReadLog { account: jid("a@b"), after, limit: 9 })) {
            Answer::Records(records) => {
                assert_eq!(records.iter().map(|record| record.id).collect::<Vec<_>>(), ids);
                assert_eq!(records[2].stanza, message(&(id + 4).to_string()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn full_queue_gives_questions_back() {
    let rig = rig();
    rig.faults.strike(Point::Apply, 0, 1, Fault::Delay(Duration::from_millis(500)));
    let count = limits::QUEUE_QUESTIONS_MAX + 10;
    let all: Vec<Question> = (0..count).map(|n| rig.apply(u64::try_from(n).unwrap(), vec![])).collect();
    let refused = rig.handle.ask(0, all).unwrap_err();
    assert_eq!(refused.error, StoreError::Busy);
    let ids: Vec<u64> = refused.questions.iter().map(|question| question.id).collect();
    let first = u64::try_from(limits::QUEUE_QUESTIONS_MAX).unwrap();
    assert_eq!(ids, (first..first + 10).collect::<Vec<_>>(), "the last ones");
    let answers = refused.into_answers();
    assert!(answers.iter().all(|answered| matches!(answered.answer, Answer::Failed(StoreError::Busy))));
    // Other kinds have their own room.
    rig.handle.ask(0, vec![rig.question(1_000_000, Ask::Load { account: jid("a@b") })]).unwrap();
    let answers = rig.answers(limits::QUEUE_QUESTIONS_MAX + 1);
    assert!(matches!(answers[&1_000_000], Answer::Loaded(None)));
    assert!(matches!(rig.ask(rig.apply(1_000_001, vec![])), Answer::Applied), "there is room again");
}

#[test]
fn queues_are_bounded_in_bytes_too() {
    let rig = rig();
    rig.faults.strike(Point::Append, 0, 1, Fault::Delay(Duration::from_millis(500)));
    let long = message(&"x".repeat(limits::STANZA_BYTES_MAX / 2));
    let mut taken = 0;
    let refused = loop {
        let mut question = rig.append(taken, "a@b");
        if let Ask::Append { record } = &mut question.ask {
            record.stanza = long.clone();
        }
        match rig.handle.ask(0, vec![question]) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.error, refused.questions[0].id), (StoreError::Busy, taken));
    assert!((100..200).contains(&taken), "{taken} of half a megabyte in 64");
    rig.answers(usize::try_from(taken).unwrap());
}

#[test]
fn failures_are_answered_and_pass() {
    let rig = rig();
    rig.faults.strike(Point::Append, 0, 1, Fault::LostAnswer);
    assert!(matches!(rig.ask(rig.append(1, "a@b")), Answer::Failed(StoreError::Io { .. })));
    assert!(matches!(rig.ask(rig.append(2, "a@b")), Answer::Appended(_)));
    rig.faults.strike(Point::Apply, 0, 1, Fault::LostAnswer);
    assert!(matches!(rig.ask(rig.apply(3, vec![create("a@b")])), Answer::Failed(StoreError::Io { .. })));
    assert!(matches!(rig.ask(rig.apply(4, vec![create("a@b")])), Answer::Refused(Refusal::Exists)));
    rig.faults.strike(Point::Load, 1, 1, Fault::Error(StoreError::Full));
    assert!(matches!(rig.ask(rig.question(5, Ask::Load { account: jid("a@b") })), Answer::Loaded(Some(_))));
    assert!(matches!(rig.ask(rig.question(6, Ask::Load { account: jid("a@b") })), Answer::Failed(StoreError::Full)));
}

#[test]
fn new_account_waits_for_its_forerunners_messages() {
    let rig = rig();
    assert!(matches!(rig.ask(rig.apply(1, vec![create("a@b")])), Answer::Applied));
    // The append is slow, and asked before the account is deleted and created again.
    rig.faults.strike(Point::Append, 0, 1, Fault::Delay(Duration::from_millis(200)));
    let changes = vec![Change::DeleteAccount { account: jid("a@b") }, create("a@b")];
    rig.handle.ask(0, vec![rig.apply(2, changes), rig.append(3, "a@b")]).unwrap();
    let answers = rig.answers(2);
    assert!(matches!((&answers[&2], &answers[&3]), (Answer::Applied, Answer::Appended(_))));
    let read = rig.question(4, Ask::ReadLog { account: jid("a@b"), after: LogId(0), limit: 9 });
    assert!(matches!(rig.ask(read), Answer::Records(records) if records.is_empty()));
}

impl Rig {
    /// Waits until the store is in this condition.
    fn until(&self, condition: Condition) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        while self.handle.health(&mut seen).is_none_or(|health| health.condition != condition) {
            assert!(Instant::now() < deadline, "not {condition:?}");
            seen = 0;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn full_store_takes_urgent_changes_and_no_messages_until_it_is_well() {
    let rig = rig();
    assert!(matches!(rig.ask(rig.apply(1, vec![create("a@b")])), Answer::Applied));
    assert!(matches!(rig.ask(rig.append(1, "a@b")), Answer::Appended(_)));
    assert_eq!(rig.handle.health(&mut 0), None, "well from the start");
    // Of the appends one fails; until the device is well its probes do.
    rig.faults.strike(Point::Append, 0, u32::MAX, Fault::Error(StoreError::Full));
    assert!(matches!(rig.ask(rig.append(2, "a@b")), Answer::Failed(StoreError::Full)));
    rig.until(Condition::Full);
    let again = |id| Ask::AppendAgain { record: append("a@b", id).record };
    assert!(matches!(rig.ask(rig.question(6, again("1"))), Answer::Already(_)));
    assert!(matches!(rig.ask(rig.question(7, again("2"))), Answer::Failed(StoreError::Full)));
    let disabled = Change::PutDisabled { account: jid("a@b"), disabled: None };
    assert!(matches!(rig.ask(rig.apply(3, vec![disabled])), Answer::Applied));
    rig.faults.heal();
    let healed = Instant::now();
    assert!(matches!(rig.ask(rig.append(4, "a@b")), Answer::Failed(StoreError::Full)), "not before it is known well");
    rig.until(Condition::Ok);
    assert!(healed.elapsed() > Duration::from_millis(limits::PROBE_PAUSE_MS), "more than one probe");
    assert!(matches!(rig.ask(rig.append(5, "a@b")), Answer::Appended(_)));
}

#[test]
fn stuck_store_is_known_slow_while_it_is_stuck_and_nothing_is_answered_before_its_time() {
    let rig = rig();
    let stuck = Duration::from_millis(limits::SLOW_MS + 10 * limits::WATCH_MS);
    for (point, question) in [(Point::Append, rig.append(1, "a@b")), (Point::Apply, rig.apply(1, vec![create("a@b")]))]
    {
        rig.faults.strike(point, 0, 1, Fault::Delay(stuck));
        rig.handle.ask(0, vec![question]).unwrap();
        rig.until(Condition::Slow);
        assert!(rig.deliveries.try_recv().is_err(), "it is not stored, and nobody said so");
        assert!(matches!(rig.answers(1)[&1], Answer::Appended(_) | Answer::Applied));
        rig.until(Condition::Ok);
    }
}

#[test]
fn reserve_is_given_up_when_the_device_is_full_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = dir.path().join("hearth.reserve");
    let faults = Arc::new(DiskFaults::default());
    let disk = Disk { faults: Some(faults.clone()), ..Disk::default() };
    let config = StorageConfig { disk, reserve_bytes: 100_000, ..StorageConfig::new(dir.path(), fresh()) };
    let (storage, boot) = Storage::open(&config).unwrap();
    let rig = start(storage, &boot, Faults::new());
    assert!(matches!(rig.ask(rig.apply(1, vec![create("a@b")])), Answer::Applied));
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 100_000);
    faults.set_space(Some(0));
    assert!(matches!(rig.ask(rig.append(2, "a@b")), Answer::Failed(StoreError::Full)));
    rig.until(Condition::Full);
    assert!(!reserve.exists());
    // Room for the log's probe, not for the reserve.
    faults.set_space(Some(u64::try_from(limits::PROBE_BYTES).unwrap() + 90_000));
    std::thread::sleep(Duration::from_millis(limits::PROBE_PAUSE_MS * 3 / 2));
    assert!(!reserve.exists());
    faults.set_space(None);
    rig.until(Condition::Ok);
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 100_000);
    assert!(matches!(rig.ask(rig.append(3, "a@b")), Answer::Appended(_)));
    // Found full by somebody else: it is probed, and well.
    rig.handle.is_full();
    rig.until(Condition::Full);
    rig.until(Condition::Ok);
    rig.handle.shutdown().unwrap();
    drop(rig);
    // Began on a device without room for a reserve.
    std::fs::remove_file(&reserve).unwrap();
    let (storage, boot) = Storage::open(&config).unwrap();
    faults.set_space(Some(50_000));
    let rig = start(storage, &boot, Faults::new());
    rig.until(Condition::Full);
}

#[test]
fn new_owner_of_a_slot_fences_the_old_in_both_stores() {
    let rig = rig();
    let new = Question { epoch: rig.epoch + 1, ..rig.apply(1, vec![]) };
    assert!(matches!(rig.ask(new), Answer::Applied));
    assert!(matches!(rig.ask(rig.apply(2, vec![create("a@b")])), Answer::Refused(Refusal::Fenced)));
    assert!(matches!(rig.ask(rig.append(3, "a@b")), Answer::Refused(Refusal::Fenced)));
    let elsewhere = Question { slot: slot(2), ..rig.append(4, "a@b") };
    assert!(matches!(rig.ask(elsewhere), Answer::Appended(_)));
}

#[test]
fn shutdown_answers_everything_accepted() {
    for round in 0..20u64 {
        let rig = rig();
        rig.faults.strike(Point::Append, 0, 2, Fault::Delay(Duration::from_millis(5)));
        let accepted: u64 = std::thread::scope(|scope| {
            let askers: Vec<_> = (0..3u16)
                .map(|shard| {
                    let rig = &rig;
                    scope.spawn(move || {
                        let mut accepted = 0;
                        loop {
                            let batch = vec![rig.append(1, "a@b"), rig.apply(2, vec![]), rig.append(3, "a@b")];
                            match rig.handle.ask(shard, batch) {
                                Ok(()) => accepted += 3,
                                Err(refused) => {
                                    accepted += 3 - u64::try_from(refused.questions.len()).unwrap();
                                    if refused.error == StoreError::Closed {
                                        return accepted;
                                    }
                                }
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(round));
            rig.handle.shutdown().unwrap();
            askers.into_iter().map(|asker| asker.join().unwrap()).sum()
        });
        let answered: usize = rig.deliveries.try_iter().map(|(_, answers)| answers.len()).sum();
        assert_eq!(u64::try_from(answered).unwrap(), accepted);
        rig.handle.shutdown().unwrap();
    }
}

#[test]
fn handles_that_are_gone_end_the_threads() {
    let Rig { handle, deliveries, faults, epoch } = rig();
    faults.strike(Point::Append, 0, 1, Fault::Delay(Duration::from_millis(50)));
    let question = Ask::Append { record: append("a@b", "m").record };
    handle.ask(0, vec![Question { id: 1, slot: slot(1), epoch, ask: question }]).unwrap();
    drop((handle.clone(), handle));
    assert_eq!(deliveries.recv_timeout(PATIENCE).unwrap().1.len(), 1);
    assert!(deliveries.recv_timeout(PATIENCE).is_err_and(|error| error.is_disconnected()));
}

#[test]
fn quiet_appends_are_not_delayed() {
    let rig = rig();
    let mut times: Vec<Duration> = (0..50)
        .map(|id| {
            let asked = Instant::now();
            rig.ask(rig.append(id, "a@b"));
            let time = asked.elapsed();
            std::thread::sleep(Duration::from_millis(2));
            time
        })
        .collect();
    times.sort();
    assert!(times[10] < Duration::from_millis(limits::GATHER_MS), "{times:?}");
}

#[test]
fn store_on_disk_through_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/data");
    let config = StorageConfig::new(&path, fresh());
    let mut epoch = 0;
    for round in 0..3u64 {
        let (storage, boot) = Storage::open(&config).unwrap();
        assert!(boot.epoch > epoch);
        assert_eq!((boot.slot_key, boot.secret), (fresh().slot_key, [2; 32]));
        epoch = boot.epoch;
        let locked = StoreError::Locked { path: path.display().to_string() };
        assert_eq!(Storage::open(&config).err(), Some(locked));
        let rig = start(storage, &boot, Faults::new());
        if round == 0 {
            assert!(matches!(rig.ask(rig.apply(1, vec![create("a@b")])), Answer::Applied));
        }
        assert!(matches!(rig.ask(rig.append(2, "a@b")), Answer::Appended(_)));
        match rig.ask(rig.question(3, Ask::ReadLog { account: jid("a@b"), after: LogId(0), limit: 9 })) {
            Answer::Records(records) => assert_eq!(u64::try_from(records.len()).unwrap(), round + 1),
            other => panic!("{other:?}"),
        }
        rig.handle.shutdown().unwrap();
        drop(DirLock::take(&path).unwrap());
    }
}
