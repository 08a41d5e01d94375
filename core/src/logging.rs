//! The level of this process's log, which an operator may change while it runs. Global as the
//! subscriber itself is.

use std::sync::OnceLock;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::{EnvFilter, Registry};

/// What a level may be, from little to much.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

static FILTER: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// The filter a subscriber begins with; [`set`] changes it. Only a process's first one can be changed.
pub fn filter(level: &str) -> Layer<EnvFilter, Registry> {
    let (filter, handle) = Layer::new(EnvFilter::new(level));
    let _ = FILTER.set(handle);
    filter
}

/// What is logged now, or `None` if this process's log is not ours.
pub fn level() -> Option<String> {
    FILTER.get()?.with_current(ToString::to_string).ok()
}

/// Logs at another level from now on. False if this process's log is not ours.
pub fn set(level: &str) -> bool {
    FILTER.get().is_some_and(|handle| handle.reload(EnvFilter::new(level)).is_ok())
}
