//! Accounts of removed domains that are being deleted: by a thread for each domain, whether or not the operator who
//! wanted it waits for the end.

use super::{Refused, RefusedKind};
use crate::limits::DELETIONS_MAX;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Those under way, and those that are over and whose end nobody has heard yet, by domain.
#[derive(Default)]
pub struct Deletions(Mutex<BTreeMap<String, Deletion>>);

/// One of them.
#[derive(Clone, Debug)]
pub struct Deletion {
    progress: Arc<Mutex<Progress>>,
    /// Closed by its end.
    over: Receiver<Infallible>,
}

/// How far a deletion is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub deleted: u64,
    /// `None` while they are being counted.
    pub left: Option<u64>,
    /// How it ended.
    pub end: Option<Result<(), Refused>>,
}

/// The end of whoever does the work; dropped when it is done.
pub struct Running {
    progress: Arc<Mutex<Progress>>,
    _over: Sender<Infallible>,
}

impl Running {
    /// Says how far it is.
    pub fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
    }
}

impl Deletions {
    /// That of the domain; `work` begins it if there is none.
    pub fn of(&self, domain: &str, work: impl FnOnce(Running)) -> Result<Deletion, Refused> {
        let mut all = self.0.lock();
        if let Some(deletion) = all.get(domain) {
            return Ok(deletion.clone());
        }
        if all.values().filter(|other| !other.is_over()).count() >= DELETIONS_MAX {
            let message = format!("accounts of {DELETIONS_MAX} other domains are being deleted");
            return Err(Refused::new(RefusedKind::Unavailable, message, "try again when one is done"));
        }
        let (sender, over) = bounded(0);
        let deletion = Deletion { progress: Arc::default(), over };
        all.insert(domain.to_owned(), deletion.clone());
        drop(all);
        work(Running { progress: Arc::clone(&deletion.progress), _over: sender });
        Ok(deletion)
    }

    /// Waits for the end, so long.
    pub fn wait(&self, domain: &str, deletion: &Deletion, patience: Duration) -> Result<Progress, Refused> {
        let Deletion { progress, over } = deletion;
        let ended = over.recv_timeout(patience).is_err_and(|error| error.is_disconnected());
        if ended {
            // Unless it makes way for a later one already.
            let this = |there: &Deletion| Arc::ptr_eq(&there.progress, progress);
            self.0.lock().retain(|of, there| of != domain || !this(there));
        }
        let progress = progress.lock().clone();
        match progress.end {
            Some(Err(refused)) => Err(refused),
            None if ended => Err(Refused::new(RefusedKind::Unavailable, "the deletion broke off", "ask again")),
            _ => Ok(progress),
        }
    }

    /// Whether the domain may be served: not while its accounts are being deleted.
    pub fn allow(&self, domain: &str) -> Result<(), Refused> {
        let mut all = self.0.lock();
        let Some(deletion) = all.get(domain).filter(|deletion| !deletion.is_over()) else {
            all.remove(domain);
            return Ok(());
        };
        let left = deletion.progress.lock().left.map_or_else(String::new, |left| format!(": {left} left"));
        let next = format!("wait for the end; `hearthctl domain remove {domain} --delete-data` shows how far it is");
        Err(Refused::new(RefusedKind::Unavailable, format!("accounts of {domain} are being deleted{left}"), next))
    }
}

impl Deletion {
    fn is_over(&self) -> bool {
        self.over.try_recv().is_err_and(|error| error.is_disconnected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn run(all: &Deletions, domain: &str, work: impl FnOnce(Running), wait: Duration) -> Result<Progress, Refused> {
        let deletion = all.of(domain, work)?;
        all.wait(domain, &deletion, wait)
    }

    fn refuse(_: Running) {
        panic!("a second one");
    }

    #[test]
    fn who_asks_again_hears_how_far_it_is() {
        let deletions = Deletions::default();
        let mut running = None;
        let first = run(&deletions, "a.example", |work| running = Some(work), AT_ONCE).unwrap();
        assert_eq!(first, Progress::default());
        let running = running.unwrap();
        running.update(|progress| (progress.deleted, progress.left) = (3, Some(9)));
        let progress = run(&deletions, "a.example", refuse, AT_ONCE).unwrap();
        assert_eq!((progress.deleted, progress.left, progress.end), (3, Some(9), None));
        assert!(deletions.allow("a.example").unwrap_err().message.contains("9 left"));
        assert_eq!(deletions.allow("b.example"), Ok(()));
        // Its end is told once, to whoever waits or asks later.
        running.update(|progress| (progress.deleted, progress.end) = (12, Some(Ok(()))));
        drop(running);
        let end = run(&deletions, "a.example", refuse, Duration::MAX).unwrap();
        assert_eq!((end.deleted, end.end), (12, Some(Ok(()))));
        assert_eq!(deletions.allow("a.example"), Ok(()));
        // Another one: it fails, and one that says nothing has failed too.
        let failed = Refused::new(RefusedKind::Unavailable, "storage: full", "mend it");
        let fail = |work: Running| work.update(|progress| progress.end = Some(Err(failed.clone())));
        assert_eq!(run(&deletions, "a.example", fail, Duration::MAX), Err(failed.clone()));
        assert!(run(&deletions, "a.example", drop, Duration::MAX).unwrap_err().message.contains("broke off"));
    }

    #[test]
    fn there_are_not_too_many() {
        let deletions = Deletions::default();
        let mut running = Vec::new();
        let domain = |n: usize| format!("{n}.example");
        for n in 0..DELETIONS_MAX {
            run(&deletions, &domain(n), |work| running.push(work), AT_ONCE).unwrap();
        }
        assert!(run(&deletions, "more.example", refuse, AT_ONCE).is_err());
        running.pop();
        assert!(run(&deletions, "more.example", |work| running.push(work), AT_ONCE).is_ok());
    }
}
