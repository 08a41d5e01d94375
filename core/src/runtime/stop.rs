//! The end of a core, and another configuration for it: asked for by a signal or another thread.

use super::mail::{Mail, Mailbox};
use super::spawn;
use crate::config::{Config, CoreError};
use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Ends a running core, or changes its settings, from any thread.
#[derive(Clone)]
pub struct StopHandle {
    /// How often it was asked for.
    asked: Arc<AtomicU8>,
    /// To be put in force; a later one takes its place.
    next: Arc<Mutex<Option<Config>>>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Default for StopHandle {
    fn default() -> StopHandle {
        let (wake, woken) = bounded(1);
        StopHandle { asked: Arc::default(), next: Arc::default(), wake, woken }
    }
}

impl StopHandle {
    pub fn new() -> StopHandle {
        StopHandle::default()
    }

    /// Asks. [`super::run`] takes no new links, tells the clients and lets what is under way end, at most for
    /// `drain_s`; it returns when all is stored and closed. The second time: without waiting for clients.
    pub fn stop(&self) {
        let _ = self.asked.fetch_update(Ordering::AcqRel, Ordering::Acquire, |asked| asked.checked_add(1));
        // Full means that it is signalled already.
        let _ = self.wake.try_send(());
    }

    /// Puts another configuration in force, as far as a running core can change (`core.toml` says which keys);
    /// what cannot change is told in the log and stays as it was.
    pub fn reload(&self, config: Config) {
        *self.next.lock() = Some(config);
        let _ = self.wake.try_send(());
    }

    pub(super) fn asked(&self) -> u8 {
        self.asked.load(Ordering::Acquire)
    }

    /// Until it is asked to stop. Configurations that come meanwhile go to `reload`.
    pub(super) fn wait(&self, reload: impl Fn(Config)) {
        while self.asked() == 0 {
            let next = self.next.lock().take();
            match next {
                Some(config) => reload(config),
                None => drop(self.woken.recv()),
            }
        }
    }
}

/// Lets the shards come to an end of what is under way, all of them or until patience is lost.
pub(super) fn drain(shards: &[Mailbox], drain_s: u32, stop: &StopHandle) {
    let (done, drained) = bounded(shards.len().max(1));
    for shard in shards {
        shard.send(Mail::Drain { done: done.clone() });
    }
    drop(done);
    let late = after(Duration::from_secs(drain_s.into()));
    let mut left = shards.len();
    while left > 0 && stop.asked() < 2 {
        select! {
            recv(drained) -> shard => match shard {
                Ok(_) => left = left.saturating_sub(1),
                // A shard that is gone is drained as well.
                Err(_) => return,
            },
            recv(stop.woken) -> _ => {}
            recv(late) -> _ => {
                tracing::warn!(event = "drain_late", drain_s, shards = left, "not all streams have ended");
                return;
            }
        }
    }
}

/// SIGTERM and SIGINT stop the core; `on_reload` is called at each SIGHUP.
pub fn stop_on_signals(stop: &StopHandle, on_reload: impl Fn() + Send + 'static) -> Result<(), CoreError> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|cause| CoreError::os("wait for signals", cause))?;
    let stop = stop.clone();
    spawn("signals".to_owned(), move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                on_reload();
            } else {
                stop.stop();
            }
        }
        Ok(())
    })?;
    Ok(())
}
