//! `backup.json`: what a backup holds. It is written last, so that a folder without it is no backup.
//!
//! ```text
//! {"format":1,"release":"0.1.0","at_ms":1764255600123,"store":"9f…","small_schema":2,"log_schema":1,
//!  "epoch":7,"log_head":12884901935,
//!  "files":[{"name":"hearth.redb","bytes":1589248,"crc32":2774099158},{"name":"log/00000003.seg",…}]}
//! ```

use super::{BackupError, SMALL, create_file};
use crate::{StoreError, limits, log, tables};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path};

/// Raised when an older release would restore something else than what was kept.
const FORMAT: u32 = 1;
const NAME: &str = "backup.json";

/// What was copied, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub(super) format: u32,
    /// That wrote it.
    pub release: String,
    /// Milliseconds since 1970, UTC: when the point was that the backup is of.
    pub at_ms: u64,
    /// Name of the store, in hexadecimal.
    pub store: String,
    pub(super) small_schema: u32,
    pub(super) log_schema: u32,
    /// Newest of the store at the point.
    pub epoch: u64,
    /// Greatest log id given out up to the point.
    pub log_head: u64,
    pub files: Vec<FileEntry>,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Below the folder of the backup, and of the store.
    pub name: String,
    pub bytes: u64,
    pub crc32: u32,
}

impl Manifest {
    pub(super) fn new(at_ms: u64, store_id: [u8; 16], epoch: u64, log_head: u64) -> Manifest {
        Manifest {
            format: FORMAT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            at_ms,
            store: store_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            small_schema: tables::SCHEMA_VERSION,
            log_schema: log::SCHEMA_VERSION,
            epoch,
            log_head,
            files: Vec::new(),
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// Makes the folder a backup.
    pub(super) fn write(&self, dir: &Path) -> Result<(), BackupError> {
        let (path, unfinished) = (dir.join(NAME), dir.join("backup.json.new"));
        let attempt = || {
            let mut file = create_file(&unfinished)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
            File::open(dir)?.sync_all()
        };
        attempt().map_err(BackupError::io("writing", &path))
    }

    /// Of a folder; any bytes are allowed there.
    pub(super) fn read(dir: &Path) -> Result<Manifest, BackupError> {
        let path = dir.join(NAME);
        let reading = BackupError::io("reading", &path);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(limits::MANIFEST_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(BackupError::NoBackup { path: dir.to_owned() });
            }
            Err(error) => return Err(reading(error)),
        }
        Manifest::parse(&bytes, &path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Manifest, BackupError> {
        let damaged = |error: serde_json::Error| BackupError::damaged(path, error.to_string());
        /// What every format says.
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let Any { format: found } = serde_json::from_slice(bytes).map_err(damaged)?;
        if found != FORMAT {
            return Err(BackupError::UnknownFormat { found, known: FORMAT });
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(damaged)?;
        for (found, known) in
            [(manifest.small_schema, tables::SCHEMA_VERSION), (manifest.log_schema, log::SCHEMA_VERSION)]
        {
            if found != known {
                return Err(StoreError::UnknownVersion { found, known }.into());
            }
        }
        let plain = |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(file) = manifest.files.iter().find(|file| file.name.is_empty() || !plain(&file.name)) {
            return Err(BackupError::damaged(path, format!("it names {:?}", file.name)));
        }
        if !manifest.files.iter().any(|file| file.name == SMALL) {
            return Err(BackupError::damaged(path, format!("it lists no {SMALL}")));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_wrote_is_read() {
        let mut manifest = Manifest::new(5, [0xab; 16], 3, 9);
        assert_eq!(manifest.store, "ab".repeat(16));
        let entry = |name: &str| FileEntry { name: name.to_owned(), bytes: 48, crc32: 7 };
        manifest.files = vec![entry("log/00000001.seg"), entry(SMALL)];
        let parse = |manifest: &Manifest| Manifest::parse(&serde_json::to_vec(manifest).unwrap(), Path::new("x"));
        assert_eq!(parse(&manifest).unwrap(), manifest);
        for name in ["../link.key", "/etc/passwd", "log/../../x", "", "./x", "log/00000002.seg"] {
            let mut wrong = manifest.clone();
            // Neither names that lead elsewhere nor a list without small state.
            let at = usize::from(name.ends_with("seg"));
            wrong.files[at].name = name.to_owned();
            assert!(matches!(parse(&wrong), Err(BackupError::Damaged { .. })), "{name}");
        }
        let mut later = serde_json::to_value(&manifest).unwrap();
        later["format"] = 2.into();
        later.as_object_mut().unwrap().remove("files");
        let read = Manifest::parse(later.to_string().as_bytes(), Path::new("x"));
        assert!(matches!(read, Err(BackupError::UnknownFormat { found: 2, known: FORMAT })));
        let mut schema = manifest.clone();
        schema.log_schema += 1;
        assert!(matches!(parse(&schema), Err(BackupError::Store(StoreError::UnknownVersion { .. }))));
        let whole = serde_json::to_vec(&manifest).unwrap();
        assert!(matches!(Manifest::parse(&whole[..whole.len() - 1], Path::new("x")), Err(BackupError::Damaged { .. })));
    }
}
