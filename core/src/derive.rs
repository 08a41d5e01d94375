//! Keys of passwords (PBKDF2), worked out off the shards.
//!
//! [`Task`] and [`Derived`] are the pure question and answer. [`Pool`] is the shell: a few worker
//! threads behind one bounded queue.

use crate::limits::{DERIVE_QUEUE_MAX, SCRAM_ITERATIONS, SCRAM_SALT_BYTES};
use crate::random::Random;
use crate::sasl::crypto::{Hash, Secret};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use hearth_storage::ScramKeys;
use std::thread::JoinHandle;

/// What to derive. Passwords are prepared (SASLprep).
#[derive(Debug)]
pub enum Task {
    /// The keys of a password under a stored salt → [`Derived::Keys`].
    Verify { hash: Hash, password: Secret, salt: Vec<u8>, iterations: u32 },
    /// What to store for a new password → [`Derived::All`].
    Store { password: Secret, salts: [[u8; SCRAM_SALT_BYTES]; 3] },
}

/// The answer to a [`Task`].
#[derive(Clone)]
pub enum Derived {
    Keys(ScramKeys),
    /// Under one salt each.
    All {
        sha1: ScramKeys,
        sha256: ScramKeys,
        sha512: ScramKeys,
    },
    /// No worker had time for it: try again later.
    Busy,
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Derived::Keys(_) => "Keys(..)",
            Derived::All { .. } => "All(..)",
            Derived::Busy => "Busy",
        })
    }
}

impl Task {
    /// What a new password needs, with fresh salts.
    pub fn store(password: Secret, random: &mut dyn Random) -> Task {
        let mut salts = [[0; SCRAM_SALT_BYTES]; 3];
        salts.iter_mut().for_each(|salt| random.fill_bytes(salt));
        Task::Store { password, salts }
    }

    /// Works it out: 1.3 ms to verify, 6 ms for all three hashes.
    pub fn run(&self) -> Derived {
        match self {
            Task::Verify { hash, password, salt, iterations } => {
                Derived::Keys(hash.keys(password.expose(), salt, *iterations))
            }
            Task::Store { password, salts: [sha1, sha256, sha512] } => {
                let keys = |hash: Hash, salt: &[u8]| hash.keys(password.expose(), salt, SCRAM_ITERATIONS);
                Derived::All {
                    sha1: keys(Hash::Sha1, sha1),
                    sha256: keys(Hash::Sha256, sha256),
                    sha512: keys(Hash::Sha512, sha512),
                }
            }
        }
    }
}

/// A task and where its answer goes.
struct Job {
    task: Task,
    done: Box<dyn FnOnce(Derived) + Send>,
}

/// Worker threads; dropping it finishes what is queued and joins them.
pub struct Pool {
    queue: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` workers, at least one. An error is the operating system's refusal of a thread.
    pub fn start(threads: usize) -> std::io::Result<Pool> {
        let (queue, jobs) = bounded(DERIVE_QUEUE_MAX);
        let mut pool = Pool { queue: Some(queue), workers: Vec::new() };
        for index in 0..threads.max(1) {
            let jobs = jobs.clone();
            let worker = std::thread::Builder::new().name(format!("derive-{index}")).spawn(move || work(&jobs))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Queues a task. `done` runs once: on a worker with the answer, or at once, on this thread, with
    /// [`Derived::Busy`] if the queue is full.
    pub fn ask(&self, task: Task, done: impl FnOnce(Derived) + Send + 'static) {
        let job = Job { task, done: Box::new(done) };
        let refused = match &self.queue {
            Some(queue) => queue.try_send(job).err(),
            None => Some(TrySendError::Disconnected(job)),
        };
        if let Some(TrySendError::Full(job) | TrySendError::Disconnected(job)) = refused {
            (job.done)(Derived::Busy);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so itself.
            let _ = worker.join();
        }
    }
}

fn work(jobs: &Receiver<Job>) {
    for Job { task, done } in jobs {
        done(task.run());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn verify(password: &str) -> Task {
        Task::Verify { hash: Hash::Sha256, password: Secret::new(password), salt: vec![1; 16], iterations: 2 }
    }

    #[test]
    fn answers_every_question() {
        let pool = Pool::start(2).unwrap();
        let (tell, told) = mpsc::channel();
        for index in 0..100 {
            let tell = tell.clone();
            pool.ask(verify("pencil"), move |derived| tell.send((index, derived)).unwrap());
        }
        let expected = Hash::Sha256.keys(b"pencil", &[1; 16], 2);
        let mut seen: Vec<u32> = told
            .iter()
            .take(100)
            .map(|(index, derived)| {
                assert!(matches!(derived, Derived::Keys(keys) if keys == expected));
                index
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn full_queue_is_busy_and_nothing_is_forgotten() {
        let pool = Pool::start(1).unwrap();
        let (tell, told) = mpsc::channel();
        let (started, is_started) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        // The only worker stands in the first answer until the queue has overflowed.
        pool.ask(verify("a"), move |_| {
            started.send(()).unwrap();
            let _ = held.recv();
        });
        is_started.recv().unwrap();
        for _ in 0..DERIVE_QUEUE_MAX + 3 {
            let tell = tell.clone();
            pool.ask(verify("b"), move |derived| tell.send(matches!(derived, Derived::Busy)).unwrap());
        }
        drop(hold);
        drop(pool);
        drop(tell);
        let answers: Vec<bool> = told.iter().collect();
        assert_eq!(answers.len(), DERIVE_QUEUE_MAX + 3);
        assert_eq!(answers.iter().filter(|busy| **busy).count(), 3);
    }
}
