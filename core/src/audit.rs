//! The audit log: every change an operator makes, on the disk before it is made.
//!
//! `audit.log` in the data folder is one JSON object per line, in order:
//!
//! ```text
//! {"at":"2026-11-22T15:04:05.006Z","by":{"transport":"unix","uid":0,"user":"root"},
//!  "command":"user add","parameters":{"account":"ada@localhost"},"outcome":"done"       }
//! ```
//! A line is written and synced with the outcome `begun`, padded, before the command runs; the outcome
//! then takes the padding's place and is synced before the operator has the reply. So nothing is changed
//! that is not in the log, and where a full disk has not even the store's reserve, changes are refused, not forgotten. Secrets are no
//! part of what is shown of arguments. Full, the file becomes `audit.log.1`, that one `audit.log.2`, ….

use crate::commands::{Arguments, Command, Refused, RefusedKind};
use crate::limits::{AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX};
use hearth_storage::backup::Also;
use hearth_wire::date_time;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json, json};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Before the outcome is known.
const BEGUN: &str = "begun";
/// The longest outcome.
const OUTCOME_BYTES: usize = 11;

/// Who runs a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct By {
    pub transport: &'static str,
    pub uid: Option<u32>,
    /// As `/etc/passwd` names it.
    pub user: Option<String>,
}

impl By {
    /// Somebody at the control socket.
    pub fn of_uid(uid: Option<u32>) -> By {
        By { transport: "unix", uid, user: uid.and_then(user_name) }
    }
}

/// The name of a user of this machine. Directories beyond `/etc/passwd` are not asked.
fn user_name(uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// The log of one data folder; only one process has it, as it has the store.
pub struct Audit {
    path: PathBuf,
    file_bytes_max: u64,
    open: Mutex<Option<Open>>,
    make_room: MakeRoom,
}

/// Called when the disk is full, to make room for what must be written all the same.
pub type MakeRoom = Box<dyn Fn() + Send + Sync>;

struct Open {
    file: Arc<File>,
    bytes: u64,
}

/// A line whose outcome is not known yet.
pub struct Begun {
    file: Arc<File>,
    /// Where its outcome stands.
    at: u64,
}

impl Audit {
    /// Of this data folder. The file is opened at the first change.
    pub fn new(data: &Path, make_room: MakeRoom) -> Audit {
        let path = data.join("audit.log");
        Audit { path, file_bytes_max: AUDIT_FILE_BYTES_MAX, open: Mutex::new(None), make_room }
    }

    /// Writes that a command begins. Refused if it cannot be written: then it must not begin.
    pub fn begin(&self, utc_ms: u64, by: &By, command: &Command, arguments: &Arguments) -> Result<Begun, Refused> {
        let text = |value: &str| Json::from(value).to_string();
        let who = json!({"transport": by.transport, "uid": by.uid, "user": by.user});
        let parameters = Json::from(arguments.shown());
        let (at, name) = (text(&date_time::text(utc_ms)), text(command.name));
        let line = format!(
            "{{\"at\":{at},\"by\":{who},\"command\":{name},\"parameters\":{parameters},\"outcome\":{}}}\n",
            padded(BEGUN)
        );
        let begun = match self.append(&line) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                (self.make_room)();
                self.append(&line)
            }
            begun => begun,
        };
        begun.map_err(|cause| {
            let message = format!("the audit log {} cannot be written: {cause}; nothing was done", self.path.display());
            Refused::new(RefusedKind::Unavailable, message, "make room or mend the file's rights, then try again")
        })
    }

    fn append(&self, line: &str) -> io::Result<Begun> {
        let mut open = self.open.lock();
        let bytes = line.len() as u64;
        let usable = open.as_ref().is_some_and(|open| open.bytes.saturating_add(bytes) <= self.file_bytes_max);
        // Somebody may have moved it away.
        if !usable || !open.as_ref().is_some_and(|open| same(&open.file, &self.path)) {
            *open = None;
            let mut opened = Open::at(&self.path)?;
            if opened.bytes > 0 && opened.bytes.saturating_add(bytes) > self.file_bytes_max {
                rotate(&self.path)?;
                opened = Open::at(&self.path)?;
            }
            *open = Some(opened);
        }
        let Some(open) = open.as_mut() else { return Err(io::Error::other("not open")) };
        let start = open.bytes;
        if let Err(error) = open.file.write_all_at(line.as_bytes(), start).and_then(|()| open.file.sync_data()) {
            // No half line stays in the way of the next one.
            let _ = open.file.set_len(start);
            return Err(error);
        }
        open.bytes = start.saturating_add(bytes);
        let tail = padded("").len().saturating_add("}\n".len()) as u64;
        Ok(Begun { file: open.file.clone(), at: open.bytes.saturating_sub(tail) })
    }

    /// Writes how a command ended, before anybody is told. It takes no more room, so that it fails only
    /// if the disk does.
    pub fn end(&self, begun: &Begun, outcome: &'static str) -> io::Result<()> {
        debug_assert!(outcome.len() <= OUTCOME_BYTES);
        begun.file.write_all_at(padded(outcome).as_bytes(), begun.at)?;
        begun.file.sync_data()
    }

    /// All its files as they are now, for a backup.
    pub fn files(&self) -> io::Result<Vec<Also>> {
        // None takes another's number meanwhile.
        let _open = self.open.lock();
        let mut files = Vec::new();
        for number in 0..AUDIT_FILES_MAX {
            let path = numbered(&self.path, number);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            let bytes = file.metadata()?.len();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(Also { name, file, bytes });
        }
        Ok(files)
    }

    /// The latest lines, the oldest first. A line that makes no sense is shown as it is.
    pub fn last(&self, count: usize) -> Result<Vec<Map<String, Json>>, Refused> {
        let mut latest: Vec<Map<String, Json>> = Vec::new();
        for number in 0..AUDIT_FILES_MAX {
            let path = numbered(&self.path, number);
            let text = match std::fs::read(&path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => {
                    let message = format!("{}: {error}", path.display());
                    return Err(Refused::new(RefusedKind::Unavailable, message, "mend the file's rights"));
                }
            };
            let left = count.saturating_sub(latest.len());
            latest.extend(text.lines().rev().take(left).map(|line| {
                let torn = || Map::from_iter([("command".to_owned(), Json::from(line))]);
                serde_json::from_str(line).unwrap_or_else(|_| torn())
            }));
            if latest.len() >= count {
                break;
            }
        }
        latest.reverse();
        Ok(latest)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let mut bytes = file.metadata()?.len();
        // What a crash left half written ends here, so that the next line is one.
        if bytes > 0 && !ends_with_line_break(path)? {
            file.write_all_at(b"\n", bytes)?;
            bytes = bytes.saturating_add(1);
        }
        Ok(Open { file: Arc::new(file), bytes })
    }
}

fn ends_with_line_break(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let mut last = [0];
    file.read_exact_at(&mut last, file.metadata()?.len().saturating_sub(1))?;
    Ok(last == *b"\n")
}

fn same(file: &File, path: &Path) -> bool {
    let there = std::fs::metadata(path).map(|there| (there.dev(), there.ino()));
    there.ok() == file.metadata().ok().map(|open| (open.dev(), open.ino()))
}

/// The outcome as JSON, in the same room whatever it is.
fn padded(outcome: &str) -> String {
    format!("{:1$}", format!("\"{outcome}\""), OUTCOME_BYTES.saturating_add(2))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    }
}

/// Each file takes the next number, the last one goes.
fn rotate(path: &Path) -> io::Result<()> {
    for number in (1..AUDIT_FILES_MAX).rev() {
        match std::fs::rename(numbered(path, number.saturating_sub(1)), numbered(path, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::find;

    fn in_folder(data: &Path) -> Audit {
        Audit::new(data, Box::new(|| panic!("there is room")))
    }

    fn by() -> By {
        By { transport: "unix", uid: Some(7), user: Some("ops".to_owned()) }
    }

    fn arguments(account: &str) -> Arguments {
        let given = json!({"account": account, "password": "correct horse"});
        Arguments::parse(find("user add").unwrap(), given.as_object().unwrap()).unwrap()
    }

    fn write(audit: &Audit, account: &str, outcome: Option<&'static str>) {
        let begun = audit.begin(0, &by(), find("user add").unwrap(), &arguments(account)).unwrap();
        if let Some(outcome) = outcome {
            audit.end(&begun, outcome).unwrap();
        }
    }

    #[test]
    fn a_line_for_each_change_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let audit = in_folder(folder.path());
        write(&audit, "ada@a", Some("unavailable"));
        write(&audit, "bob@a", None);
        // Another process goes on with it.
        let audit = in_folder(folder.path());
        write(&audit, "eve@a", Some("done"));
        let text = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"at":"1970-01-01T00:00:00.000Z","by":{"transport":"unix","uid":7,"user":"ops"},"command":"user add","parameters":{"account":"ada@a"},"outcome":"unavailable"}"#
        );
        let outcomes: Vec<_> = audit.last(9).unwrap().iter().map(|line| line["outcome"].clone()).collect();
        assert_eq!(outcomes, ["unavailable", "begun", "done"]);
        assert_eq!(audit.last(1).unwrap()[0]["parameters"]["account"], "eve@a");
        assert!(!text.contains("horse"));
        let mode = std::fs::metadata(folder.path().join("audit.log")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn it_is_bounded_and_survives_what_is_done_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit { file_bytes_max: 1000, ..in_folder(folder.path()) };
        for number in 0..60 {
            write(&audit, &format!("user{number}@a"), Some("done"));
        }
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, usize::try_from(AUDIT_FILES_MAX).unwrap());
        for file in std::fs::read_dir(folder.path()).unwrap() {
            assert!(file.unwrap().metadata().unwrap().len() <= 1000);
        }
        let kept = audit.files().unwrap();
        assert_eq!((kept.len(), kept[0].name.as_str(), kept[7].name.as_str()), (files, "audit.log", "audit.log.7"));
        assert!(kept.iter().all(|kept| (1..=1000).contains(&kept.bytes)));
        let named: Vec<_> = audit.last(30).unwrap().iter().map(|line| line["parameters"]["account"].clone()).collect();
        assert_eq!((named.len(), named[0].as_str(), named[29].as_str()), (30, Some("user30@a"), Some("user59@a")));
        // Moved away, or cut by a crash.
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        write(&audit, "moved@a", Some("done"));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        std::fs::write(&path, "{\"at\":").unwrap();
        let audit = in_folder(folder.path());
        write(&audit, "cut@a", Some("done"));
        let last = audit.last(2).unwrap();
        assert_eq!((&last[0]["command"], &last[1]["parameters"]["account"]), (&json!("{\"at\":"), &json!("cut@a")));
    }

    #[test]
    fn what_cannot_be_written_is_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let audit = in_folder(&folder.path().join("not there"));
        let refused = audit.begin(0, &by(), find("user add").unwrap(), &arguments("ada@a")).err().unwrap();
        assert_eq!(refused.kind, RefusedKind::Unavailable);
        assert!(refused.message.contains("nothing was done") && refused.message.contains("audit.log"), "{refused:?}");
    }

    #[test]
    fn a_full_disk_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let room = path.clone();
        let audit = Audit::new(folder.path(), Box::new(move || std::fs::remove_file(&room).unwrap()));
        write(&audit, "ada@a", Some("done"));
        assert_eq!(audit.last(9).unwrap()[0]["outcome"], "done");
    }

    #[test]
    fn users_have_names() {
        assert_eq!(By::of_uid(Some(0)).user.as_deref(), Some("root"));
        assert_eq!(By::of_uid(None), By { transport: "unix", uid: None, user: None });
    }
}
