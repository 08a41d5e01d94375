//! The threads behind a [`StorageHandle`], and group commit.
//!
//! ```text
//!  ask ─▶ gauge ─▶ channel ─▶ reader: each batch at once
//!  ask ─▶ gauge ─▶ channel ─▶ writer: all that waits, one commit ──┐ a batch that creates accounts
//!  ask ─▶ gauge ─▶ channel ─▶ log:    all that waits, one sync ◀───┘ waits for the appends before it
//! ```
//!
//! A fourth thread looks whether one of them is stuck, and probes a store that is not well (`health.rs`).
//! Nothing here waits for a shard but `deliver`, and no shard waits for anything here.

use crate::backup::{BackupError, Manifest, Order};
use crate::engine::{Storage, Wanted};
use crate::health::{Condition, Health, Lane, LaneFigures, Monitor};
use crate::reserve::Reserve;
use crate::store::{Append, ChangeSet};
use crate::{Answer, Answered, Ask, Change, ExecutedStanza, ListedField, LogId};
use crate::{Question, QuestionId, StoreError, limits};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use hearth_wire::ids::ShardIndex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Asks a running store. Clones ask the same one. When the last is gone the threads answer what was
/// accepted and end; [`StorageHandle::shutdown`] waits for that.
#[derive(Clone)]
pub struct StorageHandle {
    reader: Queue,
    writer: Queue,
    log: Queue,
    monitor: Arc<Monitor>,
    shared: Arc<Shared>,
}

struct Shared {
    closing: AtomicBool,
    threads: Mutex<Option<Threads>>,
    /// Held by who makes a backup.
    backup: Mutex<()>,
}

struct Threads {
    storage: Storage,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    log: JoinHandle<()>,
    watch: JoinHandle<()>,
    /// The watching thread ends when this is gone.
    watching: Sender<()>,
}

/// Questions that were not taken: of each kind the last ones of the call. Nothing was done for them.
#[derive(Debug)]
pub struct Refused {
    /// In the order asked.
    pub questions: Vec<Question>,
    /// [`StoreError::Busy`] or [`StoreError::Closed`].
    pub error: StoreError,
}

impl Refused {
    /// As the answers a shard would get for a store that fails.
    pub fn into_answers(self) -> Vec<Answered> {
        let Refused { questions, error } = self;
        let answer = |question: Question| Answered { id: question.id, answer: Answer::Failed(error.clone()) };
        questions.into_iter().map(answer).collect()
    }
}

impl Storage {
    /// Starts the threads. `deliver` is called from them with the answers for one shard, once per
    /// shard and batch; it may wait for room in the shard's inbox, but not for the shard to ask.
    pub fn start<D>(self, shards: ShardIndex, deliver: D) -> Result<StorageHandle, StoreError>
    where
        D: Fn(ShardIndex, Vec<Answered>) + Send + Sync + Clone + 'static,
    {
        let shared =
            Arc::new(Shared { closing: AtomicBool::new(false), threads: Mutex::new(None), backup: Mutex::new(()) });
        let (reader, reads) = queue();
        let (writer, writes) = queue();
        let (log, appends) = queue();
        let outbox = || Outbox::new(shards, deliver.clone());
        let monitor = Arc::new(Monitor::new(Instant::now(), self.reserve.clone()));
        if let Some(Err(error)) = self.reserve.as_ref().map(Reserve::keep) {
            monitor.failed(&error);
        }
        let (watching, stop) = crossbeam_channel::bounded(0);
        let seen = || (self.clone(), monitor.clone());
        let threads = Threads {
            reader: spawn("hearth-read", (self.clone(), reads, outbox()), |(s, i, o)| read_loop(&s, i, o))?,
            writer: spawn("hearth-write", (seen(), writes, outbox(), log.sender.clone()), |((s, m), i, o, l)| {
                write_loop(&s, &m, i, o, &l);
            })?,
            log: spawn("hearth-log", (seen(), appends, outbox()), |((s, m), i, o)| log_loop(&s, &m, i, o))?,
            watch: spawn("hearth-watch", (seen(), stop), |((s, m), stop)| watch_loop(&s, &m, &stop))?,
            watching,
            storage: self,
        };
        *shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        Ok(StorageHandle { reader, writer, log, monitor, shared })
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    with: T,
    run: impl FnOnce(T) + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || run(with))
        .map_err(|error| StoreError::Io { doing: "starting a storage thread", cause: error.to_string() })
}

fn join(thread: JoinHandle<()>) -> Result<(), StoreError> {
    let panicked = |_| StoreError::Io { doing: "stopping a storage thread", cause: "it had panicked".to_owned() };
    thread.join().map_err(panicked)
}

impl StorageHandle {
    /// Hands the questions over without waiting. Those that find their queue full come back; of
    /// each kind (read, change, append) the ones taken were asked before the ones refused.
    pub fn ask(&self, shard: ShardIndex, questions: Vec<Question>) -> Result<(), Refused> {
        let (mut reads, mut writes, mut appends) = (Vec::new(), Vec::new(), Vec::new());
        for question in questions {
            match &question.ask {
                Ask::Load { .. }
                | Ask::LoadBlob { .. }
                | Ask::ReadLog { .. }
                | Ask::ListAccounts { .. }
                | Ask::Search { .. } => {
                    reads.push(question);
                }
                Ask::Apply { .. } => writes.push(question),
                Ask::Append { .. } | Ask::AppendAgain { .. } => appends.push(question),
            }
        }
        // Appends first: a change that creates an account waits for the appends asked before it.
        let mut refused = self.log.put(shard, appends, &self.shared.closing);
        refused.append(&mut self.writer.put(shard, writes, &self.shared.closing));
        refused.append(&mut self.reader.put(shard, reads, &self.shared.closing));
        if refused.is_empty() {
            return Ok(());
        }
        let closing = self.shared.closing.load(Ordering::SeqCst);
        Err(Refused { questions: refused, error: if closing { StoreError::Closed } else { StoreError::Busy } })
    }

    /// How the store does, if that changed since `seen`, a number that begins at 0 and is brought up to date.
    pub fn health(&self, seen: &mut u64) -> Option<Health> {
        self.monitor.news(seen)
    }

    /// What the writing threads have done and have to do, for whoever collects figures.
    pub fn figures(&self) -> [LaneFigures; 2] {
        let waiting = |queue: &Queue| queue.gauge.questions.load(Ordering::Relaxed);
        self.monitor.figures([waiting(&self.writer), waiting(&self.log)])
    }

    /// Somebody else found the device full: the store knows, and gives up its reserve.
    pub fn is_full(&self) {
        self.monitor.failed(&StoreError::Full);
    }

    /// Makes a backup, on the calling thread; [`crate::backup`] says of what point it is. It ends early when the
    /// store is shut down.
    pub fn backup(&self, order: Order<'_>) -> Result<Manifest, BackupError> {
        let _one = match self.shared.backup.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(BackupError::Running),
        };
        let threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let storage = threads.as_ref().map(|threads| threads.storage.clone());
        drop(threads);
        storage.ok_or(StoreError::Closed)?.backup(order, &self.shared.closing)
    }

    /// Refuses what is asked from now on, waits until everything accepted is answered, and closes
    /// the files. A second call does nothing.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        self.shared.closing.store(true, Ordering::SeqCst);
        let Some(threads) = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let Threads { storage, writer, reader, log, watch, watching } = threads;
        drop(watching);
        // The writer may wait for the log thread, so it goes first.
        for (queue, thread) in [(&self.writer, writer), (&self.reader, reader), (&self.log, log)] {
            // A thread that is gone already needs no word to stop.
            let _gone = queue.sender.send(Work::Stop);
            join(thread)?;
        }
        join(watch)?;
        // It looks often whether to go on.
        let _ended = self.shared.backup.lock().unwrap_or_else(PoisonError::into_inner);
        storage.small.close()?;
        storage.log.close()
    }
}

/// What a channel carries.
enum Work {
    /// When they were asked, too.
    Questions(ShardIndex, Instant, Vec<Question>),
    /// Answer with the log's head when everything before this is appended.
    Barrier(Sender<LogId>),
    Stop,
}

/// The asking end of one thread's queue.
#[derive(Clone)]
struct Queue {
    sender: Sender<Work>,
    gauge: Arc<Gauge>,
}

/// How much was accepted and is not answered yet.
#[derive(Default)]
struct Gauge {
    questions: AtomicUsize,
    bytes: AtomicUsize,
}

fn queue() -> (Queue, Inbox) {
    let (sender, receiver) = crossbeam_channel::bounded(limits::QUEUE_BATCHES_MAX);
    let gauge = Arc::new(Gauge::default());
    (
        Queue { sender, gauge: gauge.clone() },
        Inbox { receiver, gauge, waiting: VecDeque::new(), oldest: Instant::now(), stopping: false },
    )
}

impl Queue {
    /// What was not taken.
    fn put(&self, shard: ShardIndex, mut questions: Vec<Question>, closing: &AtomicBool) -> Vec<Question> {
        if questions.is_empty() {
            return questions;
        }
        let fit = questions.iter().take_while(|question| self.gauge.reserve(weight(question))).count();
        let mut refused = questions.split_off(fit);
        // Reserved first, looked afterwards: a thread that was told to stop sees the reservation.
        let left = if closing.load(Ordering::SeqCst) {
            questions
        } else if questions.is_empty() {
            return refused;
        } else {
            match self.sender.try_send(Work::Questions(shard, Instant::now(), questions)) {
                Ok(()) => return refused,
                Err(
                    TrySendError::Full(Work::Questions(.., left))
                    | TrySendError::Disconnected(Work::Questions(.., left)),
                ) => left,
                Err(_) => Vec::new(),
            }
        };
        left.iter().for_each(|question| self.gauge.release(weight(question)));
        let mut all = left;
        all.append(&mut refused);
        all
    }
}

impl Gauge {
    fn reserve(&self, bytes: usize) -> bool {
        let questions = self.questions.fetch_add(1, Ordering::SeqCst);
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let fits = questions < limits::QUEUE_QUESTIONS_MAX && before < limits::QUEUE_BYTES_MAX;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.questions.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// Bytes a waiting question holds, about.
fn weight(question: &Question) -> usize {
    let more = match &question.ask {
        Ask::Append { record } | Ask::AppendAgain { record } => record.stanza.bytes().len(),
        Ask::Apply { changes } => changes.iter().map(change_weight).fold(0, usize::saturating_add),
        Ask::Load { .. }
        | Ask::LoadBlob { .. }
        | Ask::ReadLog { .. }
        | Ask::ListAccounts { .. }
        | Ask::Search { .. } => 0,
    };
    more.saturating_add(size_of::<Question>())
}

fn change_weight(change: &Change) -> usize {
    let more = match change {
        Change::PutBlob { bytes: Some(bytes), .. } => bytes.len(),
        Change::PutListing { listing: Some(listing), .. } => listing.longest().saturating_mul(ListedField::ALL.len()),
        Change::PutRequest { request, .. } => request.stanza.len(),
        Change::PutSession { session, .. } => session.contents.len(),
        Change::PutExecuted { executed, .. } => executed.stanzas.len().saturating_mul(size_of::<ExecutedStanza>()),
        Change::PutDevice { device, .. } => device.weight(),
        Change::PutMarks { marks, .. } => marks.undelivered.len().saturating_mul(size_of::<LogId>()),
        Change::PutLastSeen { seen, .. } => seen.status.as_deref().map_or(0, str::len),
        Change::PutDisabled { disabled: Some(disabled), .. } => disabled.reason.as_deref().map_or(0, str::len),
        Change::CreateAccount { .. }
        | Change::MustNotLookAlike { .. }
        | Change::SetCredentials { .. }
        | Change::PutDisabled { disabled: None, .. }
        | Change::DeleteAccount { .. }
        | Change::PutRosterItem { .. }
        | Change::RemoveRosterItem { .. }
        | Change::PutRosterVersion { .. }
        | Change::RemoveRequest { .. }
        | Change::PutBlocked { .. }
        | Change::RemoveBlocked { .. }
        | Change::RemoveExecuted { .. }
        | Change::RemoveDevice { .. }
        | Change::PutBlob { bytes: None, .. }
        | Change::PutListing { listing: None, .. }
        | Change::PutDomain { .. }
        | Change::RemoveDomain { .. }
        | Change::PutEdge { .. }
        | Change::PutEdgeRun { .. }
        | Change::RemoveEdgeRun { .. }
        | Change::PutSettled { .. }
        | Change::RemoveSession { .. } => 0,
    };
    more.saturating_add(size_of::<Change>())
}

/// The thread's end of its queue.
struct Inbox {
    receiver: Receiver<Work>,
    gauge: Arc<Gauge>,
    waiting: VecDeque<Item>,
    /// When the first question of the turn was asked.
    oldest: Instant,
    stopping: bool,
}

enum Item {
    Question(ShardIndex, Instant, Question),
    Barrier(Sender<LogId>),
}

/// How much one turn of a thread takes.
struct Turn {
    questions_max: usize,
    bytes_max: usize,
}

impl Inbox {
    /// Waits for something to do; false when there will never be anything again.
    fn wait(&mut self) -> bool {
        while self.waiting.is_empty() {
            if self.stopping {
                // Someone may have been let in just before the door was closed.
                if self.gauge.questions.load(Ordering::SeqCst) == 0 && self.receiver.is_empty() {
                    return false;
                }
                match self.receiver.recv_timeout(Duration::from_millis(1)) {
                    Ok(work) => self.keep(work),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            } else {
                match self.receiver.recv() {
                    Ok(work) => self.keep(work),
                    Err(_) => return false,
                }
            }
        }
        true
    }

    fn keep(&mut self, work: Work) {
        match work {
            Work::Questions(shard, asked, questions) => {
                self.waiting.extend(questions.into_iter().map(|question| Item::Question(shard, asked, question)));
            }
            Work::Barrier(reply) => self.waiting.push_back(Item::Barrier(reply)),
            Work::Stop => self.stopping = true,
        }
    }

    /// Takes in what has arrived, as far as one turn can use it.
    fn gather(&mut self, turn: &Turn) {
        while self.waiting.len() < turn.questions_max {
            let Ok(work) = self.receiver.try_recv() else { break };
            self.keep(work);
        }
    }

    /// Moves one turn's worth into `batch`, up to the first barrier; bytes they held.
    fn take(&mut self, turn: &Turn, batch: &mut Vec<(ShardIndex, Question)>) -> usize {
        let mut bytes: usize = 0;
        while batch.len() < turn.questions_max && bytes < turn.bytes_max {
            match self.waiting.pop_front() {
                Some(Item::Question(shard, asked, question)) => {
                    if batch.is_empty() {
                        self.oldest = asked;
                    }
                    bytes = bytes.saturating_add(weight(&question));
                    batch.push((shard, question));
                }
                Some(barrier @ Item::Barrier(_)) => {
                    self.waiting.push_front(barrier);
                    break;
                }
                None => break,
            }
        }
        bytes
    }

    fn take_barrier(&mut self) -> Option<Sender<LogId>> {
        match self.waiting.pop_front() {
            Some(Item::Barrier(reply)) => Some(reply),
            Some(question @ Item::Question(..)) => {
                self.waiting.push_front(question);
                None
            }
            None => None,
        }
    }

    fn answered(&self, questions: usize, bytes: usize) {
        self.gauge.questions.fetch_sub(questions, Ordering::SeqCst);
        self.gauge.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// Collects answers and hands them out with one call per shard.
struct Outbox<D> {
    shards: Vec<Vec<Answered>>,
    deliver: D,
}

impl<D: Fn(ShardIndex, Vec<Answered>)> Outbox<D> {
    fn new(shards: ShardIndex, deliver: D) -> Outbox<D> {
        Outbox { shards: (0..shards).map(|_| Vec::new()).collect(), deliver }
    }

    fn push(&mut self, shard: ShardIndex, id: QuestionId, answer: Answer) {
        let answered = Answered { id, answer };
        match self.shards.get_mut(usize::from(shard)) {
            Some(answers) => answers.push(answered),
            None => (self.deliver)(shard, vec![answered]),
        }
    }

    fn flush(&mut self) {
        for (shard, answers) in (0..).zip(&mut self.shards) {
            if !answers.is_empty() {
                (self.deliver)(shard, std::mem::take(answers));
            }
        }
    }
}

fn read_loop<D: Fn(ShardIndex, Vec<Answered>)>(storage: &Storage, mut inbox: Inbox, mut outbox: Outbox<D>) {
    // Answers leave after each call's worth, so that none waits for a stranger's long read.
    let turn = Turn { questions_max: limits::READS_PER_TURN_MAX, bytes_max: usize::MAX };
    let mut batch = Vec::new();
    while inbox.wait() {
        let bytes = inbox.take(&turn, &mut batch);
        let count = batch.len();
        for (shard, question) in batch.drain(..) {
            outbox.push(shard, question.id, storage.read(question.slot, &question.ask));
        }
        outbox.flush();
        inbox.answered(count, bytes);
    }
}

fn write_loop<D: Fn(ShardIndex, Vec<Answered>)>(
    storage: &Storage,
    monitor: &Monitor,
    mut inbox: Inbox,
    mut outbox: Outbox<D>,
    log: &Sender<Work>,
) {
    let turn = Turn { questions_max: limits::COMMIT_SETS_MAX, bytes_max: limits::COMMIT_BYTES_MAX };
    let (mut batch, mut sets, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    while inbox.wait() {
        inbox.gather(&turn);
        let bytes = inbox.take(&turn, &mut batch);
        for (shard, Question { id, slot, epoch, ask }) in batch.drain(..) {
            let Ask::Apply { changes } = ask else { continue };
            sets.push(ChangeSet { slot, epoch, changes });
            asked.push((shard, id));
        }
        monitor.begin(Lane::Changes, inbox.oldest);
        let creates = sets.iter().flat_map(|set| &set.changes).any(|c| matches!(c, Change::CreateAccount { .. }));
        let born_at = if creates { head_after_waiting(storage, log) } else { LogId::default() };
        let answers = storage.apply(&sets, born_at);
        monitor.end(Lane::Changes, &answers, Instant::now());
        let count = asked.len();
        for ((shard, id), answer) in asked.drain(..).zip(answers) {
            outbox.push(shard, id, answer);
        }
        sets.clear();
        outbox.flush();
        inbox.answered(count, bytes);
    }
}

/// The log's head once every append asked so far has been made: what an account of the same name
/// got before must not show in the one created now.
fn head_after_waiting(storage: &Storage, log: &Sender<Work>) -> LogId {
    let (reply, head) = crossbeam_channel::bounded(1);
    match log.send(Work::Barrier(reply)) {
        Ok(()) => head.recv().unwrap_or_else(|_| storage.log.head()),
        Err(_) => storage.log.head(),
    }
}

fn log_loop<D: Fn(ShardIndex, Vec<Answered>)>(
    storage: &Storage,
    monitor: &Monitor,
    mut inbox: Inbox,
    mut outbox: Outbox<D>,
) {
    let turn = Turn { questions_max: limits::APPEND_RECORDS_MAX, bytes_max: limits::APPEND_BYTES_MAX };
    let (mut batch, mut appends, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    let mut pace = Pace::new(Instant::now());
    while inbox.wait() {
        if let Some(rest) = pace.rest(Instant::now()) {
            // Asleep rather than at the channel: there each that comes would wake this thread.
            std::thread::sleep(rest);
        }
        inbox.gather(&turn);
        let bytes = inbox.take(&turn, &mut batch);
        for (shard, Question { id, slot, epoch, ask }) in batch.drain(..) {
            let (record, again) = match ask {
                Ask::Append { record } => (record, false),
                Ask::AppendAgain { record } => (record, true),
                _ => continue,
            };
            appends.push(Wanted { append: Append { slot, epoch, record }, again });
            asked.push((shard, id));
        }
        let count = asked.len();
        pace.took(count, Instant::now());
        if count > 0 {
            let answers = if monitor.condition() == Condition::Full {
                // What there is of the reserve is not for messages; what is there already needs no room.
                let held = |wanted: &Wanted| if wanted.again { storage.held(&wanted.append) } else { None };
                appends.iter().map(|wanted| held(wanted).unwrap_or(Answer::Failed(StoreError::Full))).collect()
            } else {
                monitor.begin(Lane::Appends, inbox.oldest);
                let answers = storage.append(std::mem::take(&mut appends));
                monitor.end(Lane::Appends, &answers, Instant::now());
                answers
            };
            appends.clear();
            for ((shard, id), answer) in asked.drain(..).zip(answers) {
                outbox.push(shard, id, answer);
            }
            outbox.flush();
            inbox.answered(count, bytes);
        }
        while let Some(reply) = inbox.take_barrier() {
            // The writer waits for this; if it is gone, nobody does.
            let _gone = reply.send(storage.log.head());
        }
        if monitor.condition() != Condition::Full {
            monitor.begin(Lane::Appends, Instant::now());
            storage.log.tidy();
            monitor.end(Lane::Appends, &[], Instant::now());
        }
    }
}

/// Looks whether a lane is stuck, and probes a store that is not well until it is.
fn watch_loop(storage: &Storage, monitor: &Monitor, stop: &Receiver<()>) {
    let mut pause_ms = limits::WATCH_MS;
    while stop.recv_timeout(Duration::from_millis(pause_ms)) == Err(RecvTimeoutError::Timeout) {
        let began = Instant::now();
        if monitor.is_well(began) {
            pause_ms = limits::WATCH_MS;
            continue;
        }
        let outcome = storage.probe();
        monitor.probed(&outcome, began.elapsed());
        pause_ms = limits::PROBE_PAUSE_MS;
    }
}

/// Decides whether the next sync is worth waiting for company.
struct Pace {
    since: Instant,
    count: usize,
    busy: bool,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace { since: now, count: 0, busy: false }
    }

    /// How long more appends are let come.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let silence = Duration::from_millis(limits::GATHER_COUNTED_MS.saturating_mul(2));
        let busy = self.busy && now.duration_since(self.since) < silence;
        busy.then_some(Duration::from_millis(limits::GATHER_MS))
    }

    fn took(&mut self, count: usize, now: Instant) {
        self.count = self.count.saturating_add(count);
        let counted = now.duration_since(self.since);
        if counted >= Duration::from_millis(limits::GATHER_COUNTED_MS) {
            let windows = counted.as_secs_f64() * 1000.0 / limits::GATHER_MS as f64;
            let busy = self.count as f64 >= windows * limits::GATHER_RECORDS_MIN;
            (self.busy, self.since, self.count) = (busy, now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_wait_for_company_only_under_load() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let wait = Some(Duration::from_millis(limits::GATHER_MS));
        let mut pace = Pace::new(start);
        assert_eq!(pace.rest(start), None);
        // One a millisecond: two would come while waiting.
        (1..20).for_each(|turn| pace.took(1, at(turn)));
        assert_eq!(pace.rest(at(20)), wait);
        // One in two milliseconds is not worth it, nor is a burst after silence.
        (10..30).for_each(|turn| pace.took(1, at(2 * turn)));
        assert_eq!(pace.rest(at(60)), None);
        (60..80).for_each(|turn| pace.took(9, at(turn)));
        assert_eq!(pace.rest(at(80)), wait);
        assert_eq!(pace.rest(at(10_000)), None);
        pace.took(100, at(10_000));
        assert_eq!(pace.rest(at(10_000)), None);
    }
}
