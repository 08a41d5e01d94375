//! The pretend disk under the memory store: it fails, is full, is slow, and at a crash has done only some of what
//! it was asked.

use super::World;
use super::lanes::{Carries, Item};
use crate::sim::check::Value;
use crate::sim::client::{PAL, address, friend};
use hearth_core::sasl::crypto::{Hash, Secret};
use hearth_core::shard::Input;
use hearth_storage::{
    Answer, Answered, Ask, Boot, Change, Condition, Credentials, Health, Question, Refusal, RosterItem, Snapshot,
    Storage, StoreError, Subscription,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotEpoch};
use std::collections::BTreeSet;

/// Questions that wait for one thread of storage in a tight world; more are refused as busy.
const QUESTIONS_TIGHT: usize = 2;

/// The threads of storage: one reads, one applies changes, one appends.
pub(super) const THREADS: usize = 3;

/// See the module.
pub(super) struct Disk {
    storage: Storage,
    /// Until when it answers `Failed` to reads, and to writes and appends, `Now::mono_ms`.
    unreadable_until_ms: u64,
    failing_until_ms: u64,
    /// Until when each of its threads does nothing.
    slow_until_ms: [u64; THREADS],
    /// Fences nobody.
    pub(super) unfenced: bool,
    pub(super) fenced: u64,
    /// The values that were stored, and one that was stored twice.
    values: BTreeSet<Value>,
    pub(super) repeated: Option<Value>,
}

impl Disk {
    /// A store with an account for each user, contacts of each other in pairs.
    pub(super) fn new(users: usize) -> (Disk, Boot) {
        let (storage, boot) = Storage::memory().unwrap_or_else(|error| unreachable!("memory store: {error}"));
        make_accounts(&storage, &boot, users);
        let disk = Disk {
            storage,
            unreadable_until_ms: 0,
            failing_until_ms: 0,
            slow_until_ms: [0; THREADS],
            unfenced: false,
            fenced: 0,
            values: BTreeSet::new(),
            repeated: None,
        };
        (disk, boot)
    }

    /// The next core starts. Whoever leases slots remembers the last lease.
    pub(super) fn boot(&self, lease: Option<(Slot, SlotEpoch)>) -> Boot {
        if let Some((slot, epoch)) = lease {
            self.storage.answer(Question { id: 0, slot, epoch, ask: Ask::Apply { changes: Vec::new() } });
        }
        self.storage.boot().unwrap_or_else(|error| unreachable!("memory store: {error}"))
    }

    /// Nothing is wrong any more.
    pub(super) fn recover(&mut self) {
        (self.unreadable_until_ms, self.failing_until_ms, self.slow_until_ms) = (0, 0, [0; THREADS]);
    }

    pub(super) fn is_slow(&self, thread: usize, now_ms: u64) -> bool {
        self.slow_until_ms.get(thread).is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// What whoever watches it says of it.
    fn condition(&self, now_ms: u64) -> Condition {
        if now_ms < self.failing_until_ms {
            Condition::Full
        } else if (1..THREADS).any(|thread| self.is_slow(thread, now_ms)) {
            Condition::Slow
        } else {
            Condition::Ok
        }
    }

    /// It cannot be read for a while.
    pub(super) fn be_unreadable(&mut self, until_ms: u64) {
        self.unreadable_until_ms = until_ms;
    }

    /// It is full for a while.
    pub(super) fn be_full(&mut self, until_ms: u64) {
        self.failing_until_ms = until_ms;
    }

    /// One thread does nothing for a while.
    pub(super) fn slow_down(&mut self, thread: usize, until_ms: u64) {
        if let Some(slow) = self.slow_until_ms.get_mut(thread) {
            *slow = until_ms;
        }
    }

    /// Whether a question of this kind fails now.
    fn fails(&self, ask: &Ask, now_ms: u64) -> bool {
        now_ms < if thread(ask) > 0 { self.failing_until_ms } else { self.unreadable_until_ms }
    }

    pub(super) fn answer(&mut self, mut question: Question, now_ms: u64) -> Answered {
        if self.unfenced {
            question.epoch = SlotEpoch::MAX;
        }
        let answered = if self.fails(&question.ask, now_ms) {
            Answered { id: question.id, answer: Answer::Failed(StoreError::Full) }
        } else {
            let values = values(&question.ask);
            let answered = self.storage.answer(question);
            for value in values.into_iter().filter(|_| matches!(answered.answer, Answer::Applied)) {
                self.repeated = self.repeated.or((!self.values.insert(value)).then_some(value));
            }
            answered
        };
        self.fenced += u64::from(matches!(answered.answer, Answer::Refused(Refusal::Fenced)));
        answered
    }

    /// What lies there of an account.
    pub(super) fn account(&self, boot: &World, account: &BareJid) -> Option<Snapshot> {
        let slot = boot.slot_key.slot(account.as_str());
        let ask = Ask::Load { account: account.clone() };
        match self.storage.answer(Question { id: 0, slot, epoch: SlotEpoch::MAX, ask }).answer {
            Answer::Loaded(Some(snapshot)) => Some(*snapshot),
            _ => None,
        }
    }
}

impl World {
    /// Shards hear how the disk does; that it does badly, not always.
    pub(super) fn tell_health(&mut self) {
        let condition = self.disk.condition(self.now.mono_ms);
        let is_told = condition == Condition::Ok || self.now.mono_ms.is_multiple_of(2);
        for shard in 0..self.shards.len() {
            let Some(machine) = self.shards.get_mut(shard).filter(|s| is_told && s.storage.condition != condition)
            else {
                continue;
            };
            let health = Health { condition, since_ms: self.now.utc_ms, cause: String::new() };
            machine.handle(Input::Storage(health), self.now, &mut self.out);
            self.drain(shard);
        }
    }

    /// A shard asks storage.
    pub(super) fn question(&mut self, shard: usize, question: Question) {
        let thread = thread(&question.ask);
        let lane = (Carries::Questions, thread, shard);
        if self.options.tight && self.lanes.get(&lane).is_some_and(|waiting| waiting.len() >= QUESTIONS_TIGHT) {
            let answered = Answered { id: question.id, answer: Answer::Failed(StoreError::Busy) };
            self.push((Carries::Answers, thread, shard), Item::Answer { shard, answered });
        } else {
            self.push(lane, Item::Question { shard, question });
        }
    }

    /// The core dies, or has stopped: of what each thread was asked the first few were done, or all; nobody hears
    /// of it.
    pub(super) fn storage_ends(&mut self, all: bool) {
        for thread in 0..THREADS {
            for shard in 0..self.shards.len() {
                let asked = self.lanes.remove(&(Carries::Questions, thread, shard)).unwrap_or_default();
                self.lanes.remove(&(Carries::Answers, thread, shard));
                let done = if all { asked.len() } else { self.pick(asked.len() + 1) };
                for item in asked.into_iter().take(done) {
                    if let Item::Question { question, .. } = item {
                        self.tell(|| format!("storage, unheard: {question:?}"));
                        self.disk.answer(question, self.now.mono_ms);
                    }
                }
            }
        }
    }
}

/// What clients write into their rosters.
fn values(ask: &Ask) -> Vec<Value> {
    let Ask::Apply { changes } = ask else { return Vec::new() };
    let value = |change: &Change| match change {
        Change::PutRosterItem { item, .. } if *item.contact == *PAL => item.name.as_deref().and_then(Value::parse),
        _ => None,
    };
    changes.iter().filter_map(value).collect()
}

/// Which of storage's threads a question goes to.
fn thread(ask: &Ask) -> usize {
    match ask {
        Ask::Load { .. }
        | Ask::LoadBlob { .. }
        | Ask::ReadLog { .. }
        | Ask::ListAccounts { .. }
        | Ask::Search { .. } => 0,
        Ask::Apply { .. } => 1,
        Ask::Append { .. } | Ask::AppendAgain { .. } => 2,
    }
}

/// Everybody's password is `secret`, at one iteration: proving it is not what is simulated.
fn make_accounts(storage: &Storage, boot: &Boot, users: usize) {
    let password = Secret::new("secret");
    let keys = |hash: Hash| hash.keys(password.expose(), &[1; 16], 1);
    let (sha1, sha256, sha512) = (keys(Hash::Sha1), keys(Hash::Sha256), keys(Hash::Sha512));
    let credentials = Credentials { generation: 1, sha1, sha256, sha512 };
    for user in 0..users {
        let Ok(account) = BareJid::parse(&address(user)) else { continue };
        let slot = boot.slot_key.slot(account.as_str());
        let item = RosterItem {
            contact: address(friend(user)).into(),
            name: None,
            groups: Vec::new(),
            subscription: Subscription::Both,
            ask: false,
            approved: false,
        };
        let create = Change::CreateAccount { account: account.clone(), credentials: credentials.clone() };
        let mut changes = vec![create];
        if friend(user) < users {
            changes.push(Change::PutRosterItem { account, item });
        }
        storage.answer(Question { id: 0, slot, epoch: boot.epoch, ask: Ask::Apply { changes } });
    }
}
