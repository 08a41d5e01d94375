//! How the store does: seen by the threads that write, told to whoever asks, and while it is not well tried
//! now and then until it is.
//!
//! ```text
//!            waited longer than SLOW_MS          no room            a write or sync failed
//!  Ok ─────────────▶ Slow        Ok, Slow ─────▶ Full     any ─────▶ Failing
//!   ▲                  │                          │                    │
//!   └──────────────────┴─ PROBES_GOOD probes in a row went well ───────┘
//! ```
//!
//! Whoever asks decides what is still worth asking of a store that is not well: [`Change::is_urgent`] says what
//! the reserve is for. A full store appends no messages until it is well, so that they do not eat that.
//!
//! [`Change::is_urgent`]: crate::Change::is_urgent

use crate::reserve::Reserve;
use crate::{Answer, StoreError, limits};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What ails the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    #[default]
    Ok,
    /// A change or an append waited longer than [`limits::SLOW_MS`].
    Slow,
    /// The device has no room.
    Full,
    /// A write or sync failed otherwise.
    Failing,
}

/// The condition, and since when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    pub condition: Condition,
    /// Milliseconds since 1970, UTC; 0: since the start.
    pub since_ms: u64,
    /// What the device said, if it said something.
    pub cause: String,
}

impl Health {
    /// What to answer to a change or an append that is not even tried; `None`: it is well, try.
    pub fn refusal(&self) -> Option<StoreError> {
        match self.condition {
            Condition::Ok => None,
            Condition::Slow => Some(StoreError::Slow),
            Condition::Full => Some(StoreError::Full),
            Condition::Failing => Some(StoreError::Io { doing: "storing", cause: self.cause.clone() }),
        }
    }
}

impl Condition {
    /// For an operator to read.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Ok => "ok",
            Condition::Slow => "slow",
            Condition::Full => "full",
            Condition::Failing => "failing",
        }
    }

    /// What an operator should do about it.
    pub fn next(self) -> Option<&'static str> {
        match self {
            Condition::Ok => None,
            Condition::Slow => Some("see what else keeps the disk of the data folder busy, and whether it is sound"),
            Condition::Full => Some("make room on the disk of the data folder; the rest happens by itself"),
            Condition::Failing => Some("see the core's log and the kernel's, mend the disk or the folder's rights"),
        }
    }
}

/// A thread that writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lane {
    Changes,
    Appends,
}

/// Shared by the threads of one store.
pub(crate) struct Monitor {
    started: Instant,
    state: Mutex<State>,
    /// How often the condition changed.
    changes: AtomicU64,
    /// Of each lane: when the oldest of what is being written was asked, in milliseconds since `started` and
    /// one more; 0: nothing is.
    busy: [AtomicU64; 2],
    done: [Commits; 2],
    reserve: Option<Reserve>,
}

/// Upper bounds of [`LaneFigures::commits`], milliseconds; what took longer is behind the last.
pub const COMMIT_BOUNDS_MS: [u64; 8] = [1, 3, 10, 30, 100, 300, 1_000, 3_000];

/// What one of the store's writing threads has done and has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneFigures {
    /// `changes` or `appends`.
    pub name: &'static str,
    /// Questions that were accepted and are not answered.
    pub waiting: usize,
    /// Commits by how long the oldest question of each had waited for its answer.
    pub commits: [u64; COMMIT_BOUNDS_MS.len() + 1],
    /// Of all together, microseconds.
    pub waited_us: u64,
}

/// Of one lane, since the store was opened.
#[derive(Default)]
struct Commits {
    by_bound: [AtomicU64; COMMIT_BOUNDS_MS.len() + 1],
    waited_us: AtomicU64,
}

#[derive(Default)]
struct State {
    health: Health,
    /// Good probes in a row.
    good: u32,
}

impl Monitor {
    pub(crate) fn new(now: Instant, reserve: Option<Reserve>) -> Monitor {
        Monitor {
            started: now,
            state: Mutex::default(),
            changes: AtomicU64::new(0),
            busy: Default::default(),
            done: Default::default(),
            reserve,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self, lane: Lane) -> &AtomicU64 {
        let [changes, appends] = &self.busy;
        match lane {
            Lane::Changes => changes,
            Lane::Appends => appends,
        }
    }

    /// The lane begins to write what was asked at `oldest`.
    pub(crate) fn begin(&self, lane: Lane, oldest: Instant) {
        let at = millis(oldest.saturating_duration_since(self.started));
        self.busy(lane).store(at.saturating_add(1), Ordering::Release);
    }

    /// What it began has ended so.
    pub(crate) fn end(&self, lane: Lane, answers: &[Answer], now: Instant) {
        let waited = self.waited(lane, now);
        self.busy(lane).store(0, Ordering::Release);
        if !answers.is_empty() {
            self.note(lane, waited);
        }
        let failed = |answer: &Answer| match answer {
            Answer::Failed(error) => Some(error.clone()),
            _ => None,
        };
        match answers.iter().filter_map(failed).find(|error| ailing(error).is_some()) {
            Some(error) => self.failed(&error),
            None if is_slow(waited) => self.worsen(Condition::Slow, String::new()),
            None => {}
        }
    }

    fn note(&self, lane: Lane, waited: Duration) {
        let [changes, appends] = &self.done;
        let done = match lane {
            Lane::Changes => changes,
            Lane::Appends => appends,
        };
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let at = COMMIT_BOUNDS_MS.partition_point(|bound| bound.saturating_mul(1000) < waited_us);
        if let Some(count) = done.by_bound.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        done.waited_us.fetch_add(waited_us, Ordering::Relaxed);
    }

    /// Of both lanes, with so many questions waiting for each.
    pub(crate) fn figures(&self, waiting: [usize; 2]) -> [LaneFigures; 2] {
        let [changes, appends] = waiting;
        let lane = |name, waiting, at: usize| {
            let done = self.done.get(at);
            LaneFigures {
                name,
                waiting,
                commits: std::array::from_fn(|bound| {
                    done.and_then(|done| done.by_bound.get(bound)).map_or(0, |count| count.load(Ordering::Relaxed))
                }),
                waited_us: done.map_or(0, |done| done.waited_us.load(Ordering::Relaxed)),
            }
        };
        [lane("changes", changes, 0), lane("appends", appends, 1)]
    }

    /// A write failed.
    pub(crate) fn failed(&self, error: &StoreError) {
        if let Some(condition) = ailing(error) {
            self.worsen(condition, error.to_string());
        }
    }

    fn waited(&self, lane: Lane, now: Instant) -> Duration {
        match self.busy(lane).load(Ordering::Acquire).checked_sub(1) {
            Some(at) => now.saturating_duration_since(self.started).saturating_sub(Duration::from_millis(at)),
            None => Duration::ZERO,
        }
    }

    /// Looks whether a lane is stuck; whether the store is well.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        if [Lane::Changes, Lane::Appends].into_iter().any(|lane| is_slow(self.waited(lane, now))) {
            self.worsen(Condition::Slow, String::new());
        }
        self.condition() == Condition::Ok
    }

    pub(crate) fn condition(&self) -> Condition {
        self.lock().health.condition
    }

    /// How it does, if that changed since `seen`, which is brought up to date.
    pub(crate) fn news(&self, seen: &mut u64) -> Option<Health> {
        let changes = self.changes.load(Ordering::Acquire);
        (std::mem::replace(seen, changes) != changes).then(|| self.lock().health.clone())
    }

    /// A probe ended so after this time.
    pub(crate) fn probed(&self, outcome: &Result<(), StoreError>, took: Duration) {
        if let Err(error) = outcome {
            // What the store is not known to ail from is no sign of health either.
            self.lock().good = 0;
            return self.failed(error);
        }
        let state = &mut *self.lock();
        state.good = if is_slow(took.saturating_mul(limits::PROBE_SLACK)) { 0 } else { state.good.saturating_add(1) };
        if state.good >= limits::PROBES_GOOD {
            self.change(state, Condition::Ok, String::new());
        }
    }

    fn worsen(&self, condition: Condition, cause: String) {
        let state = &mut *self.lock();
        state.good = 0;
        // What waits for a full or failing device is slow as well.
        if condition != Condition::Slow || state.health.condition == Condition::Ok {
            self.change(state, condition, cause);
        }
    }

    fn change(&self, state: &mut State, condition: Condition, cause: String) {
        if condition == Condition::Full
            && let Some(reserve) = &self.reserve
        {
            reserve.release();
        }
        if state.health.condition == condition {
            return;
        }
        let before = std::mem::replace(&mut state.health, Health { condition, since_ms: utc_ms(), cause });
        let (was, now) = (before.condition.name(), condition.name());
        match condition.next() {
            Some(next) => {
                let cause = &state.health.cause;
                tracing::error!(event = "storage_degraded", condition = now, was, cause, next);
            }
            None => {
                let after_s = state.health.since_ms.saturating_sub(before.since_ms) / 1_000;
                // Whoever saw the one must see the other.
                tracing::warn!(event = "storage_recovered", was, after_s);
            }
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// What an error says of the store as a whole, if it does.
fn ailing(error: &StoreError) -> Option<Condition> {
    match error {
        StoreError::Full => Some(Condition::Full),
        StoreError::Io { .. } => Some(Condition::Failing),
        StoreError::UnknownVersion { .. }
        | StoreError::Locked { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Busy
        | StoreError::Slow
        | StoreError::TooLarge { .. }
        | StoreError::HalfRestored { .. }
        | StoreError::Closed => None,
    }
}

fn is_slow(waited: Duration) -> bool {
    waited >= Duration::from_millis(limits::SLOW_MS)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn utc_ms() -> u64 {
    millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Result<(), StoreError> = Ok(());

    fn io() -> StoreError {
        StoreError::Io { doing: "appending to the log", cause: "broken".to_owned() }
    }

    fn recover(monitor: &Monitor) {
        for _ in 0..limits::PROBES_GOOD {
            assert_ne!(monitor.condition(), Condition::Ok);
            monitor.probed(&WELL, Duration::ZERO);
        }
        assert_eq!(monitor.condition(), Condition::Ok);
    }

    #[test]
    fn what_waits_too_long_makes_it_slow_while_it_waits_and_after() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let monitor = Monitor::new(start, None);
        let mut seen = 0;
        for lane in [Lane::Changes, Lane::Appends] {
            // Asked long before it was begun.
            monitor.begin(lane, at(10));
            assert!(monitor.is_well(at(9 + limits::SLOW_MS)));
            assert_eq!(monitor.news(&mut seen), None);
            assert!(!monitor.is_well(at(10 + limits::SLOW_MS)));
            assert_eq!(monitor.news(&mut seen).map(|health| health.condition), Some(Condition::Slow));
            assert_eq!(monitor.news(&mut seen), None);
            monitor.end(lane, &[Answer::Applied], at(20 + limits::SLOW_MS));
            recover(&monitor);
            assert_eq!(monitor.news(&mut seen).map(|health| health.condition), Some(Condition::Ok));
            // Nobody looked while it waited.
            monitor.begin(lane, at(0));
            monitor.end(lane, &[Answer::Applied], at(limits::SLOW_MS));
            assert_eq!(monitor.news(&mut seen).and_then(|health| health.refusal()), Some(StoreError::Slow));
            assert!(!monitor.is_well(at(limits::SLOW_MS)));
            recover(&monitor);
            assert!(monitor.news(&mut seen).is_some_and(|health| health.refusal().is_none()));
        }
    }

    #[test]
    fn failures_of_the_device_count_and_no_others() {
        let now = Instant::now();
        let monitor = Monitor::new(now, None);
        let end = |answers: &[Answer]| {
            monitor.begin(Lane::Appends, now);
            monitor.end(Lane::Appends, answers, now);
            monitor.condition()
        };
        let too_large = StoreError::TooLarge { what: "message", bytes_max: 1 };
        let others = [StoreError::Busy, too_large, StoreError::Corrupt { what: "one record".to_owned() }];
        assert_eq!(end(&others.map(Answer::Failed)), Condition::Ok);
        assert_eq!(end(&[Answer::Applied, Answer::Failed(StoreError::Full)]), Condition::Full);
        assert_eq!(end(&[Answer::Failed(io())]), Condition::Failing);
        monitor.begin(Lane::Changes, now);
        assert!(!monitor.is_well(now + Duration::from_millis(limits::SLOW_MS)));
        assert_eq!(monitor.condition(), Condition::Failing, "not merely slow");
        assert_eq!(end(&[Answer::Failed(StoreError::Full)]), Condition::Full);
    }

    #[test]
    fn it_is_well_after_good_probes_in_a_row() {
        let monitor = Monitor::new(Instant::now(), None);
        monitor.failed(&StoreError::Full);
        let slow = Duration::from_millis(limits::SLOW_MS);
        let bad: [&dyn Fn(); 4] = [
            &|| monitor.probed(&Err(StoreError::Full), Duration::ZERO),
            &|| monitor.probed(&Err(StoreError::Corrupt { what: "it".to_owned() }), Duration::ZERO),
            &|| monitor.probed(&WELL, slow / limits::PROBE_SLACK),
            &|| monitor.end(Lane::Appends, &[Answer::Failed(StoreError::Full)], Instant::now()),
        ];
        for spoil in bad {
            (1..limits::PROBES_GOOD).for_each(|_| monitor.probed(&WELL, Duration::ZERO));
            spoil();
            assert_eq!(monitor.condition(), Condition::Full);
        }
        recover(&monitor);
    }
}
