//! A file that a command makes: the path is taken before the core is asked, so that nothing is made that cannot
//! be kept, and given back if the core refuses.

use super::{Exit, Failure};
use hearth_core::commands::{Command, Did, FILE, Kind};
use hearth_link::write_secret;
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};

/// A path that is ours. An empty file lies there until it is filled; dropped before, it is removed.
pub(super) struct OutFile {
    path: PathBuf,
    filled: bool,
}

impl OutFile {
    /// Takes the path out of the parameters of a command that makes a file.
    pub(super) fn reserve(command: &Command, parameters: &mut Map<String, Json>) -> Result<Option<OutFile>, Failure> {
        let Some(parameter) = command.parameters.iter().find(|parameter| parameter.kind == Kind::OutFile) else {
            return Ok(None);
        };
        let path = match (parameters.remove(parameter.name), command.parameters.first()) {
            (Some(Json::String(path)), _) => PathBuf::from(path),
            (_, first) => {
                let name =
                    first.and_then(|first| parameters.get(first.name)).and_then(Json::as_str).unwrap_or_default();
                if !hearth_link::is_edge_name(name) {
                    return Ok(None); // The core says what is wrong with it.
                }
                PathBuf::from(format!("{name}.edge"))
            }
        };
        write_secret(&path, "").map_err(|error| cannot_write(&path, &error))?;
        Ok(Some(OutFile { path, filled: false }))
    }

    /// Writes what the command made, and puts the path where the answer has a place for it.
    pub(super) fn fill(this: Option<OutFile>, did: &mut Did) -> Result<(), Failure> {
        let (Some(mut this), Some(file)) = (this, did.file.take()) else { return Ok(()) };
        std::fs::write(&this.path, &file.text).map_err(|error| cannot_write(&this.path, &error))?;
        this.filled = true;
        let path = this.path.display().to_string();
        for next in &mut did.next {
            *next = next.replace(FILE, &path);
        }
        did.details.insert("file".to_owned(), Json::from(path));
        Ok(())
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if !self.filled {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()), "give another path with --out")
}
