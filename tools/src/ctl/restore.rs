//! `hearthctl restore`: needs no core, and none may run.

use super::Failure;
use super::progress::Bar;
use hearth_core::commands::{Arguments, Did, Progress, Refused, did_backup};
use hearth_storage::backup;
use std::path::Path;
use std::time::SystemTime;

/// Puts the backup that the arguments name into the folder `data`.
pub(super) fn run(arguments: &Arguments, data: &Path, mut bar: Bar) -> Result<Did, Failure> {
    let dir = Path::new(arguments.text("dir")?);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let utc_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut report = |progress: backup::Progress| {
        bar.show(Progress { done: progress.done, total: progress.total });
        true
    };
    let restored = backup::restore(dir, data, utc_ms, &mut report).map_err(Refused::from)?;
    bar.clear();
    let next = format!("start a core on {}, with the configuration it had", data.display());
    Ok(did_backup(dir, "restored", &restored, next))
}
