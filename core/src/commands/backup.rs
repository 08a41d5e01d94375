//! `hearthctl backup` and `hearthctl restore`: the store as it was at one moment. What that means, and what
//! it does to a store in use, stands in [`hearth_storage::backup`].

use super::{
    Arguments, Command, Did, Done, Group, Kind, Parameter, Process, Progress, Refused, RefusedKind, Run, Shape,
};
use hearth_storage::backup::{Also, BackupError, Manifest, Order};
use hearth_storage::limits::{BACKUP_MB_PER_S, BACKUP_MB_PER_S_MAX};
use hearth_wire::date_time;
use serde_json::{Map, json};
use std::fs::File;
use std::io;
use std::path::Path;

pub(super) const GROUP: Group =
    Group { name: "backup", help: "Copy the store of a running core into a folder.", commands: &[BACKUP] };

pub(super) const RESTORE_GROUP: Group =
    Group { name: "restore", help: "Put a backup into an empty data folder.", commands: &[RESTORE] };

const BACKUP: Command = Command {
    name: "backup",
    help: "Copy the store of a running core into a folder, all of it of one moment.",
    details: "Whatever was acknowledged before is in it. The core writes the folder, for its own user alone.\n\
              In it are accounts, rosters, messages and all else in the store, the core's key for links, and\n\
              the audit log; not in it are configuration files, certificates and keys of edges.",
    parameters: &[
        Parameter::required("dir", Kind::Folder, "a folder of the core's machine, empty or not there yet"),
        Parameter::option(
            "rate",
            Kind::Number { min: 1, max: BACKUP_MB_PER_S_MAX },
            "megabytes a second it may take, at most (default: 50)",
        ),
    ],
    examples: &["backup /var/backups/hearth/monday", "backup ./monday --rate 10"],
    changes: true,
    result: Shape::Did("dir"),
    run: Run::Process(backup),
    ..Command::BASE
};

const RESTORE: Command = Command {
    name: "restore",
    help: "Put a backup into an empty data folder; then start a core on it.",
    details: "The data folder is what --data names. No core may run on it; run this as the user of the server.\n\
              Nothing is written before all of the backup is found to be as it was made.",
    parameters: &[Parameter::required("dir", Kind::Folder, "the folder of the backup")],
    examples: &["restore /var/backups/hearth/monday --data ./hearth-data"],
    result: Shape::Did("dir"),
    run: Run::Here,
    ..Command::BASE
};

fn backup(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let dir = Path::new(arguments.text("dir")?);
    let also = also(process).map_err(|cause| {
        let path = process.config().data.clone();
        BackupError::Io { doing: "reading in", path, cause }
    })?;
    let order = Order {
        dir,
        bytes_per_s: arguments.number_or("rate", BACKUP_MB_PER_S).saturating_mul(1_000_000),
        utc_ms: process.utc_ms,
        also,
        report: &mut |progress| (process.progress)(Progress { done: progress.done, total: progress.total }),
    };
    let made = process.storage.backup(order)?;
    tracing::info!(event = "backup_made", path = %dir.display(), bytes = made.bytes());
    let next = format!("hearthctl restore {} --data FOLDER brings it back", dir.display());
    Ok(Done::Did(did(dir, "backed up", &made, next)))
}

/// What the core keeps beside its store.
fn also(process: &Process<'_>) -> io::Result<Vec<Also>> {
    let mut all = process.audit.files()?;
    match File::open(process.config().link_key()) {
        Ok(file) => {
            let bytes = file.metadata()?.len();
            all.push(Also { name: crate::config::LINK_KEY.to_owned(), file, bytes });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

/// What was done with a backup.
pub fn did(dir: &Path, done: &str, backup: &Manifest, next: String) -> Did {
    let (bytes, files, at) = (backup.bytes(), backup.files.len(), date_time::text(backup.at_ms));
    #[expect(clippy::cast_precision_loss, reason = "to be read by people")]
    let megabytes = bytes as f64 / 1e6;
    let details = json!({"at": at, "bytes": bytes, "files": files, "store": backup.store, "release": backup.release});
    Did {
        subject: dir.display().to_string(),
        what: format!("{done}, {megabytes:.1} MB in {files} files, as of {at}"),
        details: details.as_object().cloned().unwrap_or_else(Map::new),
        next: vec![next],
        file: None,
    }
}

impl From<BackupError> for Refused {
    fn from(error: BackupError) -> Refused {
        let kind = match &error {
            BackupError::NotEmpty { .. } => RefusedKind::Exists,
            BackupError::NoBackup { .. } => RefusedKind::NotFound,
            BackupError::Damaged { .. } | BackupError::UnknownFormat { .. } => RefusedKind::BadRequest,
            BackupError::Store(_)
            | BackupError::NotOnDisk
            | BackupError::Running
            | BackupError::Stopped
            | BackupError::Io { .. } => RefusedKind::Unavailable,
        };
        Refused::new(kind, error.to_string(), error.next())
    }
}
