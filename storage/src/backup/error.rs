//! Why there is no backup, or nothing was restored.

use crate::StoreError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Each with what to do about it.
#[derive(Debug)]
pub enum BackupError {
    /// The store could not be read, or not be opened.
    Store(StoreError),
    /// The store is in memory.
    NotOnDisk,
    /// One backup at a time.
    Running,
    /// Nobody waits for it any more, or the core stops.
    Stopped,
    /// Nothing is ever overwritten.
    NotEmpty {
        path: PathBuf,
    },
    /// A folder without a manifest.
    NoBackup {
        path: PathBuf,
    },
    /// The manifest is of a later release.
    UnknownFormat {
        found: u32,
        known: u32,
    },
    /// Something is not as it was written.
    Damaged {
        path: PathBuf,
        what: String,
    },
    Io {
        doing: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
}

impl BackupError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
        let path = path.to_owned();
        move |cause| BackupError::Io { doing, path, cause }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> BackupError {
        BackupError::Damaged { path: path.to_owned(), what: what.into() }
    }

    /// What to do next.
    pub fn next(&self) -> &'static str {
        match self {
            BackupError::Store(StoreError::Locked { .. }) => "stop the core that serves it, or restore elsewhere",
            BackupError::Store(StoreError::UnknownVersion { .. }) | BackupError::UnknownFormat { .. } => {
                "use the release that made it, or a later one"
            }
            BackupError::Store(StoreError::HalfRestored { .. }) => "empty that folder, or name another one",
            BackupError::Store(_) => "see the core's log, then try again",
            BackupError::NotOnDisk => "there is nothing to do",
            BackupError::Running => "wait for the one that runs, `hearthctl audit` shows who started it",
            BackupError::Stopped => "start it again; what there was of it is removed",
            BackupError::NotEmpty { .. } => "name a folder that is empty or not there yet",
            BackupError::NoBackup { .. } => "name the folder of a backup that came to its end",
            BackupError::Damaged { .. } => "use another backup; nothing was restored from this one",
            BackupError::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there, then try again",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "name a folder that the server's user may write, and its unit lets it (ReadWritePaths)"
                }
                _ => "mend that, then try again",
            },
        }
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> BackupError {
        BackupError::Store(error)
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::Store(error) => error.fmt(f),
            BackupError::NotOnDisk => f.write_str("the store is in memory only"),
            BackupError::Running => f.write_str("a backup is being made already"),
            BackupError::Stopped => f.write_str("the backup was stopped before its end"),
            BackupError::NotEmpty { path } => write!(f, "{} is not empty", path.display()),
            BackupError::NoBackup { path } => {
                write!(f, "{} is no backup, or one that did not come to its end: it has no manifest", path.display())
            }
            BackupError::UnknownFormat { found, known } => {
                write!(f, "the backup has format {found}, this build knows {known}")
            }
            BackupError::Damaged { path, what } => write!(f, "{} is damaged: {what}", path.display()),
            BackupError::Io { doing, path, cause } => write!(f, "{doing} {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for BackupError {}
